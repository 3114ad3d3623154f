//! The request ID of a request, and the log line with it.

use std::convert::Infallible;
use std::fmt;
use std::time::Instant;

use axum::extract::{FromRequestParts, Request};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;

/// The header with the request ID, which App-Proxy adds.
pub const REQUEST_ID: &str = "x-backend-request-id";

/// The request ID of a request, if a proxy in front of the application added one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Arrival(Option<String>);

impl Arrival {
    /// Reads the request ID from the headers of a request.
    pub fn of(headers: &HeaderMap) -> Self {
        Self(header(headers, REQUEST_ID))
    }

    /// Returns the request ID, if there is one.
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

/// Returns the text of a header, with `?` for characters that are not printable ASCII.
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

/// Logs each request with its ID when the response begins.
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
