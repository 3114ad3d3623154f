//! Schemas of strings and maps that are validated without a type of their own.

use std::borrow::Cow;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::limits::{MAX_LABELS, MAX_NAME};
use crate::schema_format::{SchemaFormat, schema_format};
use crate::units::Period;

/// The schema of [`Labels`](super::Labels); [`check_labels`](super::check_labels) validates them.
#[derive(Debug)]
pub(crate) struct LabelsSchema;

impl PartialSchema for LabelsSchema {
    fn schema() -> RefOr<Schema> {
        let text = || {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .pattern(Some("^[A-Za-z0-9._/-]{1,63}$"))
                .build()
        };
        let labels = ObjectBuilder::new()
            .description(Some(
                "Labels of a worker, or labels that an app selects workers by.",
            ))
            .property_names(Some(text()))
            .additional_properties(Some(Schema::Object(text())))
            .max_properties(Some(MAX_LABELS))
            .examples([serde_json::json!({"zone": "gpu-a"})]);
        RefOr::T(Schema::Object(labels.build()))
    }
}

impl ToSchema for LabelsSchema {
    fn name() -> Cow<'static, str> {
        "Labels".into()
    }
}

/// The schema of an app's name; [`check_name`](super::check_name) validates it.
#[derive(Debug)]
pub struct AppName;

schema_format!(
    AppName,
    "AppName",
    SchemaFormat {
        description: "The name of an app: a DNS label (lower-case letters, digits and hyphens).",
        pattern: "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        max_length: MAX_NAME,
        format: None,
        example: "notes",
    }
);

/// The schema of a period that must be longer than 0; [`App::validate`](super::App::validate)
/// validates it.
#[derive(Debug)]
pub(crate) struct PositivePeriod;

schema_format!(
    PositivePeriod,
    "PositivePeriod",
    SchemaFormat {
        description: "A period of time longer than 0: one or more whole numbers with a unit \
                      (`ms`, `s`, `m`, `h`, `d`), which are added: `500ms`, `30s`, `1h30m`.",
        pattern: "^([1-9][0-9]{0,8}(ms|s|m|h|d))+$",
        max_length: Period::MAX_LENGTH,
        format: None,
        example: "30m",
    }
);
