//! The form of texts that have one, for descriptions of an API: what a text must look like, and an
//! example.

use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{RefOr, SchemaFormat as OpenApiFormat};

/// The form of a text.
#[derive(Clone, Copy, Debug)]
pub struct SchemaFormat {
    /// What it is, for people.
    pub description: &'static str,
    /// What it must match: a regular expression as in ECMA 262, without flags.
    pub pattern: &'static str,
    /// The longest that it may be, in characters.
    pub longest: usize,
    /// A name of a well-known form (`uri`).
    pub format: Option<&'static str>,
    /// An example.
    pub example: &'static str,
}

impl SchemaFormat {
    /// The schema of the text.
    #[must_use]
    pub fn schema(self) -> RefOr<Schema> {
        let schema = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(self.description))
            .pattern(Some(self.pattern))
            .max_length(Some(self.longest))
            .format(
                self.format
                    .map(|format| OpenApiFormat::Custom(format.to_owned())),
            )
            .examples([self.example]);
        RefOr::T(Schema::Object(schema.build()))
    }
}

/// Gives a type the schema of its form, under its name.
#[macro_export]
macro_rules! schema_format {
    ($type:ty, $name:literal, $form:expr) => {
        impl ::utoipa::PartialSchema for $type {
            fn schema() -> ::utoipa::openapi::RefOr<::utoipa::openapi::schema::Schema> {
                $form.schema()
            }
        }

        impl ::utoipa::ToSchema for $type {
            fn name() -> ::std::borrow::Cow<'static, str> {
                $name.into()
            }
        }
    };
}
