//! How a request arrived: its identifier, and its line in the log.

use std::convert::Infallible;
use std::fmt;
use std::time::Instant;

use axum::extract::{FromRequestParts, Request};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;

/// The header in which App-Proxy gives an application the request ID.
pub const REQUEST_ID: &str = "x-backend-request-id";

/// The identifier with which a request arrived; absent when nobody in front of the application gave
/// it one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Arrival(Option<String>);

impl Arrival {
    /// Takes the identifier from the headers of a request.
    pub fn of(headers: &HeaderMap) -> Self {
        Self(header(headers, REQUEST_ID))
    }

    /// The identifier, if there is one.
    pub fn request_id(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.request_id().unwrap_or("none"))
    }
}

impl<S: Sync> FromRequestParts<S> for Arrival {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

/// The text of a header, with whatever is not ASCII made visible as `?`.
pub fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?;
    Some(value.as_bytes().iter().map(|&b| visible(b)).collect())
}

fn visible(byte: u8) -> char {
    if byte.is_ascii_graphic() || byte == b' ' {
        char::from(byte)
    } else {
        '?'
    }
}

/// Logs each request once its answer has begun, with its identifier.
pub async fn log_request(request: Request, next: Next) -> Response {
    let arrival = Arrival::of(request.headers());
    let line = format!("{} {}", request.method(), request.uri().path());
    let begun = Instant::now();
    let response = next.run(request).await;
    log::info!(
        "[{arrival}] {line} -> {} in {} ms",
        response.status().as_u16(),
        begun.elapsed().as_millis()
    );
    response
}
