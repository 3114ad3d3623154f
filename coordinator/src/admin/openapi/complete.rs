//! Completes the description with what derives cannot express: headers that all responses have, and
//! schemas that combine others.

use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{AllOf, ArrayItems, Object, Schema, Type};
use utoipa::openapi::{ObjectBuilder, OpenApi, Ref, RefOr};

/// Adds headers and combined schemas to a description.
pub(super) fn complete(description: &mut OpenApi) {
    let paths = description.paths.paths.values_mut();
    let operations = paths.flat_map(|item| {
        [
            &mut item.get,
            &mut item.put,
            &mut item.post,
            &mut item.delete,
        ]
    });
    operations.flatten().for_each(add_headers);
    let Some(components) = &mut description.components else {
        return;
    };
    if let Some(RefOr::T(Schema::Object(app))) = components.schemas.get_mut("App") {
        for list in ["match", "endpoints"] {
            app.properties
                .get_mut(list)
                .into_iter()
                .for_each(make_unique);
        }
    }
    let app = components.schemas.get("App").cloned();
    if let (Some(stored), Some(RefOr::T(Schema::Object(app)))) =
        (components.schemas.get_mut("StoredApp"), app)
    {
        join(stored, &app);
    }
    for (name, schema) in &mut components.schemas {
        if let Some(item) = name.strip_prefix("Page_") {
            refer(schema, item);
        }
    }
}

/// Adds the headers of an operation's responses.
fn add_headers(operation: &mut Operation) {
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else {
            continue;
        };
        let mut add =
            |name: &str, header: Header| response.headers.insert(name.to_owned(), RefOr::T(header));
        add(
            "X-Backend-Request-ID",
            header(
                "The identifier of the call.",
                Type::String,
                "01J9ZX3V5T8K2M4N6P8R0S2T4V",
            ),
        );
        match status.as_str() {
            "401" => add(
                "WWW-Authenticate",
                header("How to authenticate.", Type::String, "Bearer"),
            ),
            "503" if operation.tags != Some(vec!["probes".to_owned()]) => add(
                "Retry-After",
                header(
                    "The number of seconds after which to retry.",
                    Type::Integer,
                    "5",
                ),
            ),
            _ => None,
        };
    }
}

fn header(description: &str, kind: Type, example: &str) -> Header {
    let schema = ObjectBuilder::new().schema_type(kind).examples([example]);
    HeaderBuilder::new()
        .schema(Some(schema))
        .description(Some(description))
        .build()
}

/// Merges the schema of an app into that of a stored app: as `allOf`, each would exclude the
/// members of the other.
fn join(stored: &mut RefOr<Schema>, app: &Object) {
    let RefOr::T(Schema::AllOf(AllOf {
        items, description, ..
    })) = stored
    else {
        return;
    };
    let own = items.drain(..).find_map(|item| match item {
        RefOr::T(Schema::Object(own)) => Some(own),
        _ => None,
    });
    let Some(mut own) = own else { return };
    let mut properties = app.properties.clone();
    properties.append(&mut own.properties);
    own.properties = properties;
    own.required.insert(0, "name".to_owned());
    own.description = description.take().or(own.description);
    *stored = RefOr::T(Schema::Object(own));
}

/// Marks the items of a list as unique.
fn make_unique(list: &mut RefOr<Schema>) {
    if let RefOr::T(Schema::Array(list)) = list {
        list.unique_items = true;
    }
}

/// Replaces the items of a page by a reference to their schema.
fn refer(page: &mut RefOr<Schema>, item: &str) {
    let RefOr::T(Schema::Object(page)) = page else {
        return;
    };
    if let Some(RefOr::T(Schema::Array(items))) = page.properties.get_mut("items") {
        items.items = ArrayItems::RefOrSchema(Box::new(RefOr::Ref(Ref::from_schema_name(item))));
    }
}
