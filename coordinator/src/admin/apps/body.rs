//! The body of `PUT /api/v1/apps/{name}`: parsed, or rejected with the name of the invalid field.

use app_proxy_api::apps::{App, AppError};
use app_proxy_runtime::admin::Problem;
use serde_json::{Map, Value};

use crate::admin::input::bad_request;

/// The fields that GET and PUT add to an app. PUT ignores them, so that clients can send back an
/// app that they got.
const READ_ONLY: [&str; 4] = ["revision", "source", "updated_at", "served_by"];

/// Parses the app in a body; `name` is the name in the path.
pub(super) fn parse_app(name: &str, body: &[u8]) -> Result<App, Problem> {
    let mut fields: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|e| bad_request(format!("The body is not a JSON object: {e}")))?;
    for field in READ_ONLY {
        fields.remove(field);
    }
    let in_body = fields.entry("name").or_insert_with(|| Value::from(name));
    if in_body.as_str().is_some_and(|in_body| in_body != name) {
        return Err(invalid(&AppError::new(
            "name",
            format!("`{name}` in the path, another name in the body"),
        )));
    }
    let app: App = serde_path_to_error::deserialize(Value::Object(fields)).map_err(|e| {
        let field = e.path().to_string();
        invalid(&AppError::new(
            if field == "." { String::new() } else { field },
            e.inner().to_string(),
        ))
    })?;
    app.validate().map_err(|e| invalid(&e))?;
    Ok(app)
}

/// Returns the problem of an invalid field.
pub(super) fn invalid(error: &AppError) -> Problem {
    match error.field.as_str() {
        "" => bad_request(&error.problem),
        field => bad_request(error.to_string()).with_field(field),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;

    fn field(body: &str) -> String {
        let response = parse_app("a", body.as_bytes()).unwrap_err().into_response();
        let problem = format!("{:?}", response.extensions().get::<Problem>().unwrap());
        problem
            .split("field: Some(\"")
            .nth(1)
            .unwrap_or("\"")
            .split('"')
            .next()
            .unwrap()
            .to_owned()
    }

    #[test]
    fn problems_name_their_field() {
        for (body, at) in [
            ("[]", ""),
            ("{", ""),
            (r#"{"name": "b"}"#, "name"),
            (r#"{"name": 1}"#, "name"),
            (r#"{"endpoint": []}"#, "endpoint"),
            (
                r#"{"endpoints": [{"address": "x"}]}"#,
                "endpoints[0].address",
            ),
            (
                r#"{"endpoints": [{"address": "h:1"}, {"address": "h:2", "weight": 0}]}"#,
                "endpoints[1].weight",
            ),
            (r#"{"match": [{"path": "/x"}, {}]}"#, "match[1]"),
            (
                r#"{"idle": {"after": "soon", "notify": "http://h/"}}"#,
                "idle.after",
            ),
            (r#"{"wake": {"notify": "ftp://h/"}}"#, "wake.notify"),
            (r#"{"pool": {"zone": ""}}"#, "pool.zone"),
            (r#"{"wake": {"notify": "http://h:99999/"}}"#, "wake.notify"),
            (r#"{"timeouts": {"read": 3}}"#, "timeouts.read"),
            (r#"{"timeouts": {"connect": "0s"}}"#, "timeouts.connect"),
            (
                r#"{"idle": {"after": "0s", "notify": "http://h/"}}"#,
                "idle.after",
            ),
        ] {
            assert_eq!(field(body), at, "{body}");
        }
    }

    #[test]
    fn a_response_of_get_can_be_put() {
        let body = r#"{"name": "a", "revision": 7, "source": "api", "updated_at": "x",
            "upstream_path": "keep"}"#;
        assert_eq!(parse_app("a", body.as_bytes()).unwrap().name, "a");
        assert_eq!(parse_app("a", b"{}").unwrap().name, "a");
    }
}
