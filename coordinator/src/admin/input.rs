//! What a call brings in its query and its body. What cannot be read is a problem that names the
//! field.

use std::error::Error;
use std::iter::successors;

use app_proxy_runtime::admin::Problem;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

/// A problem of what the caller says.
pub(super) fn bad_request(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_request", detail)
}

/// A query. A parameter that the call does not know is refused rather than ignored: misspelt, it
/// would ask for something else.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let Query(query) =
            Query::try_from_uri(&parts.uri).map_err(|rejection| bad_query(&rejection))?;
        Ok(Self(query))
    }
}

/// What a query that cannot be read is answered; the parameter is told by an error that axum wraps.
fn bad_query(rejection: &(dyn Error + 'static)) -> Problem {
    let fault = successors(Some(rejection), |e: &&(dyn Error + 'static)| (*e).source())
        .find_map(|e| e.downcast_ref::<serde_path_to_error::Error<serde::de::value::Error>>());
    match fault {
        Some(fault) => match fault.path().to_string() {
            path if path == "." => bad_request(fault.inner().to_string()),
            path => bad_request(fault.inner().to_string()).with_field(path),
        },
        None => bad_request("The query cannot be read."),
    }
}

/// A body, whole.
pub(super) struct Sent(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Sent {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        Bytes::from_request(request, state)
            .await
            .map(Self)
            .map_err(|rejection| unreadable(&rejection))
    }
}

/// What the caller is told of a body that is too large or did not come.
fn unreadable(rejection: &BytesRejection) -> Problem {
    match rejection.status() {
        status @ StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(status, "body_too_large", "The body is larger than 1 MiB.")
        }
        _ => bad_request("The body did not come."),
    }
}

impl Sent {
    /// What the body, a JSON object, says.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        // An array would be taken for an object without the names of its members.
        if self.0.trim_ascii_start().starts_with(b"[") {
            return Err(bad_request("The body is an array, and no object."));
        }
        read(&mut serde_json::Deserializer::from_slice(&self.0))
    }

    /// Whether there is nothing in it.
    pub(super) fn is_blank(&self) -> bool {
        self.0.trim_ascii().is_empty()
    }
}

/// What JSON says; a fault names its field.
fn read<'de, T: DeserializeOwned, R: serde_json::de::Read<'de>>(
    json: &mut serde_json::Deserializer<R>,
) -> Result<T, Problem> {
    let said = serde_path_to_error::deserialize(&mut *json).map_err(|e| {
        let problem = bad_request(format!("The body cannot be read: {}", e.inner()));
        match e.path().to_string() {
            // A body that breaks off has no field that is wrong.
            path if path == "." || e.inner().is_eof() || e.inner().is_syntax() => problem,
            path => problem.with_field(path),
        }
    })?;
    json.end()
        .map_err(|e| bad_request(format!("The body cannot be read: {e}")))?;
    Ok(said)
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
    struct Some {
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

    /// The parameter is found by looking into what axum wraps; this tells when axum wraps something
    /// else.
    #[test]
    fn a_wrong_parameter_is_named() {
        for (query, field) in [
            ("limit=x", Some("limit")),
            ("limit=-1", Some("limit")),
            ("limit=", Some("limit")),
            ("wait=soon", Some("wait")),
            ("wiat=1s", Some("wiat")),
            ("limit=1&limit=2", None),
        ] {
            let uri = format!("/x?{query}").parse().unwrap();
            let problem = bad_query(&Query::<Some>::try_from_uri(&uri).unwrap_err());
            assert_eq!(field_of(&problem).as_deref(), field, "{query}: {problem:?}");
            assert!(
                !format!("{problem:?}").contains("cannot be read"),
                "{query}: {problem:?}"
            );
        }
    }

    #[test]
    fn a_wrong_member_of_a_body_is_named() {
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
            let problem = Sent(Bytes::from(body))
                .read::<WorkerRegistration>()
                .unwrap_err();
            assert_eq!(field_of(&problem).as_deref(), field, "{body}: {problem:?}");
        }
    }
}
