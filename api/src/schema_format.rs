//! Schemas of strings with a format, for the OpenAPI description.

use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{RefOr, SchemaFormat as OpenApiFormat};

/// The format of a string.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SchemaFormat {
    /// The description for people.
    pub(crate) description: &'static str,
    /// A regular expression that the string matches, as in ECMA 262, without flags.
    pub(crate) pattern: &'static str,
    /// The maximum length in characters.
    pub(crate) max_length: usize,
    /// The name of a well-known format (`uri`).
    pub(crate) format: Option<&'static str>,
    /// An example.
    pub(crate) example: &'static str,
}

impl SchemaFormat {
    /// Returns the schema of the string.
    pub(crate) fn schema(self) -> RefOr<Schema> {
        let format = self
            .format
            .map(|format| OpenApiFormat::Custom(format.to_owned()));
        let schema = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(self.description))
            .pattern(Some(self.pattern))
            .max_length(Some(self.max_length))
            .format(format)
            .examples([self.example]);
        RefOr::T(Schema::Object(schema.build()))
    }
}

/// Implements `ToSchema` for a type that is serialised as a string with a format.
macro_rules! schema_format {
    ($type:ty, $name:literal, $format:expr) => {
        impl ::utoipa::PartialSchema for $type {
            fn schema() -> ::utoipa::openapi::RefOr<::utoipa::openapi::schema::Schema> {
                $format.schema()
            }
        }

        impl ::utoipa::ToSchema for $type {
            fn name() -> ::std::borrow::Cow<'static, str> {
                $name.into()
            }
        }
    };
}

pub(crate) use schema_format;
