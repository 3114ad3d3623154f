//! The name in the path of a call. One that is not UTF-8 is a problem, where axum would answer
//! plain text.

use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;

use crate::admin::Problem;

/// The one name in a path, decoded.
#[derive(Clone, Debug)]
pub struct Name(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(name) = Path::from_request_parts(parts, state)
            .await
            .map_err(|rejection| refused(&rejection))?;
        Ok(Self(name))
    }
}

fn refused(rejection: &PathRejection) -> Problem {
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
