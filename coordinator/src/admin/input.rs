//! Extractors for the query and the body of a call. Malformed input becomes a problem that names
//! the field.

use std::error::Error;
use std::iter::successors;

use app_proxy_runtime::admin::Problem;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

/// Returns the problem of invalid input.
pub(super) fn bad_request(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_request", detail)
}

/// The query parameters of a call. Unknown parameters are rejected: a misspelt parameter must not
/// be ignored.
pub(super) struct QueryParams<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for QueryParams<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let Query(query) =
            Query::try_from_uri(&parts.uri).map_err(|rejection| bad_query(&rejection))?;
        Ok(Self(query))
    }
}

/// Returns the problem of a malformed query. The error inside axum's rejection names the parameter.
fn bad_query(rejection: &(dyn Error + 'static)) -> Problem {
    let fault = successors(Some(rejection), |e: &&(dyn Error + 'static)| (*e).source())
        .find_map(|e| e.downcast_ref::<serde_path_to_error::Error<serde::de::value::Error>>());
    match fault {
        Some(fault) => match fault.path().to_string() {
            path if path == "." => bad_request(fault.inner().to_string()),
            path => bad_request(fault.inner().to_string()).with_field(path),
        },
        None => bad_request("The query is malformed."),
    }
}

/// The whole body of a call.
pub(super) struct RawBody(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        Bytes::from_request(request, state)
            .await
            .map(Self)
            .map_err(|rejection| unreadable(&rejection))
    }
}

/// Returns the problem of a body that is too large or was not received.
fn unreadable(rejection: &BytesRejection) -> Problem {
    match rejection.status() {
        status @ StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(status, "body_too_large", "The body is larger than 1 MiB.")
        }
        _ => bad_request("The body was not received completely."),
    }
}

impl RawBody {
    /// Parses the body, a JSON object.
    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        // serde accepts an array of the fields' values for a struct.
        if self.0.trim_ascii_start().starts_with(b"[") {
            return Err(bad_request("The body must be a JSON object."));
        }
        parse(&mut serde_json::Deserializer::from_slice(&self.0))
    }

    /// Returns whether the body is empty or white space.
    pub(super) fn is_blank(&self) -> bool {
        self.0.trim_ascii().is_empty()
    }
}

/// Parses JSON. A problem names its field.
fn parse<'de, T: DeserializeOwned, R: serde_json::de::Read<'de>>(
    json: &mut serde_json::Deserializer<R>,
) -> Result<T, Problem> {
    let parsed = serde_path_to_error::deserialize(&mut *json).map_err(|e| {
        let problem = bad_request(format!("The body is malformed: {}", e.inner()));
        match e.path().to_string() {
            // In a truncated body no field is invalid.
            path if path == "." || e.inner().is_eof() || e.inner().is_syntax() => problem,
            path => problem.with_field(path),
        }
    })?;
    json.end()
        .map_err(|e| bad_request(format!("The body is malformed: {e}")))?;
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use app_proxy_api::units::Period;
    use app_proxy_api::workers::WorkerRegistration;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct SomeQuery {
        limit: Option<usize>,
        wait: Option<Period>,
    }

    fn field_of(problem: &Problem) -> Option<String> {
        let text = format!("{problem:?}");
        text.split("field: Some(\"")
            .nth(1)?
            .split('"')
            .next()
            .map(str::to_owned)
    }

    /// The parameter is in an error that axum wraps. The test fails if axum wraps another one.
    #[test]
    fn an_invalid_parameter_is_named() {
        for (query, field) in [
            ("limit=x", Some("limit")),
            ("limit=-1", Some("limit")),
            ("limit=", Some("limit")),
            ("wait=soon", Some("wait")),
            ("wiat=1s", Some("wiat")),
            ("limit=1&limit=2", None),
        ] {
            let uri = format!("/x?{query}").parse().unwrap();
            let problem = bad_query(&Query::<SomeQuery>::try_from_uri(&uri).unwrap_err());
            assert_eq!(field_of(&problem).as_deref(), field, "{query}: {problem:?}");
            assert!(
                !format!("{problem:?}").contains("is malformed"),
                "{query}: {problem:?}"
            );
        }
    }

    #[test]
    fn an_invalid_member_of_a_body_is_named() {
        for (body, field) in [
            (r#"{"address": 1}"#, Some("address")),
            (
                r#"{"address": "h:1", "load": {"in_flight": -1}}"#,
                Some("load.in_flight"),
            ),
            (r#"{"address": "h:1", "lod": {}}"#, Some("lod")),
            (r#"{"address": "h:1"} x"#, None),
            (r#"["h:1"]"#, None),
            (r#"{"address": "h:1""#, None),
            ("", None),
        ] {
            let problem = RawBody(Bytes::from(body))
                .parse::<WorkerRegistration>()
                .unwrap_err();
            assert_eq!(field_of(&problem).as_deref(), field, "{body}: {problem:?}");
        }
    }
}
