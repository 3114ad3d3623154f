//! The body of `PUT /api/v1/apps/{name}`: read whole, or refused with the field that is wrong.

use app_proxy_api::apps::{App, AppError};
use app_proxy_runtime::admin::Problem;
use serde_json::{Map, Value};

use crate::admin::input::bad_request;

/// What GET answers beside the app itself: whoever sends an app back as it came does not have to
/// take these out.
const READ_ONLY: [&str; 3] = ["revision", "source", "updated_at"];

/// The app that a body says, under the name of the path.
pub(super) fn read_app(name: &str, body: &[u8]) -> Result<App, Problem> {
    let mut fields: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|e| bad_request(format!("The body is no JSON object: {e}")))?;
    for field in READ_ONLY {
        fields.remove(field);
    }
    let said = fields.entry("name").or_insert_with(|| Value::from(name));
    if said.as_str().is_some_and(|said| said != name) {
        return Err(invalid(&AppError::new(
            "name",
            format!("`{name}` in the path, another in the body"),
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

/// What the caller is told of a field.
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
        let response = read_app("a", body.as_bytes()).unwrap_err().into_response();
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
    fn faults_name_their_field() {
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
    fn what_get_answers_can_be_put() {
        let body = r#"{"name": "a", "revision": 7, "source": "api", "updated_at": "x", "upstream_path": "keep"}"#;
        assert_eq!(read_app("a", body.as_bytes()).unwrap().name, "a");
        assert_eq!(read_app("a", b"{}").unwrap().name, "a");
    }
}
