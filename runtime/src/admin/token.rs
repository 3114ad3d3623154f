//! Bearer tokens of the admin API.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use crate::admin::problem::Problem;

/// A bearer token (RFC 6750).
#[derive(Clone)]
pub struct Token(Arc<[u8]>);

impl Token {
    /// Creates the token of a secret.
    #[must_use]
    pub fn new(secret: &str) -> Self {
        Self(secret.as_bytes().into())
    }

    /// Returns whether `presented` is the token, in time that does not depend on its bytes.
    #[must_use]
    pub fn is(&self, presented: &[u8]) -> bool {
        self.0.ct_eq(presented).into()
    }
}

/// Returns whether a request carries one of `tokens`.
fn bears(request: &Request<Body>, tokens: &[Token]) -> bool {
    let presented = request
        .headers()
        .get(header::AUTHORIZATION)
        .map(|value| value.as_bytes());
    let token = presented.and_then(|value| {
        let (scheme, token) = value.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
    });
    token.is_some_and(|token| tokens.iter().any(|known| known.is(token)))
}

/// Middleware that rejects requests without one of the tokens (401).
pub async fn require_token(
    State(tokens): State<Arc<[Token]>>,
    request: Request,
    next: Next,
) -> Response {
    if bears(&request, &tokens) {
        return next.run(request).await;
    }
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "unauthenticated",
        "A bearer token is required.",
    )
    .into_response()
}
