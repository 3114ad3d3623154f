//! Names and identifiers in the path of a request.

use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;

use app_proxy_hop::identity::RequestId;

use crate::admin::problem::Problem;

/// The one name in a path, decoded. A name that is not UTF-8 is rejected with a [`Problem`], where
/// axum alone would answer plain text.
#[derive(Clone, Debug)]
pub struct Name(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(name) = Path::from_request_parts(parts, state)
            .await
            .map_err(|rejection| problem(&rejection))?;
        Ok(Self(name))
    }
}

fn problem(rejection: &PathRejection) -> Problem {
    let problem = Problem::new(
        StatusCode::BAD_REQUEST,
        "bad_request",
        "The path is not UTF-8.",
    );
    match rejection {
        PathRejection::FailedToDeserializePathParams(e) => match e.kind() {
            ErrorKind::InvalidUtf8InPathParam { key } => problem.with_field(key.clone()),
            _ => problem,
        },
        _ => problem,
    }
}

/// Parses the request identifier in a path.
///
/// # Errors
/// 400 if it is invalid (docs/reference/request-id.md, rule 1).
pub fn request_id_of(text: &str) -> Result<RequestId, Problem> {
    text.parse().map_err(|reason| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "bad_request",
            format!("The request identifier is not valid: {reason}."),
        )
        .with_field("request_id")
    })
}
