//! What handlers and types do not say for each other: the headers that every answer of a kind has,
//! and schemas that are made of others.

use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{AllOf, ArrayItems, Object, Schema, Type};
use utoipa::openapi::{ObjectBuilder, OpenApi, Ref, RefOr};

/// Completes a description.
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

/// Headers of the answers of a call.
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
                    "After how many seconds another try makes sense.",
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

/// Makes one object of an app and what is known of it: as one of both, each would exclude the
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

/// Says of a list that nothing is in it twice.
fn make_unique(list: &mut RefOr<Schema>) {
    if let RefOr::T(Schema::Array(list)) = list {
        list.unique_items = true;
    }
}

/// Lets a page refer to its items, which otherwise are described in each page anew.
fn refer(page: &mut RefOr<Schema>, item: &str) {
    let RefOr::T(Schema::Object(page)) = page else {
        return;
    };
    if let Some(RefOr::T(Schema::Array(items))) = page.properties.get_mut("items") {
        items.items = ArrayItems::RefOrSchema(Box::new(RefOr::Ref(Ref::from_schema_name(item))));
    }
}
