//! The bytes of requests.

use crate::REQUEST_ID;

/// A visitor: the app's path and the session cookie.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// The path prefix of the app: `/apps/NAME`.
    pub base: String,
    /// The whole value of the `Cookie` header.
    pub cookie: String,
}

/// A request to be written.
#[derive(Clone, Debug)]
pub struct Request {
    text: String,
}

impl Request {
    /// A request of a visitor, with the headers that ordinary clients send.
    #[must_use]
    pub fn new(method: &str, visitor: &Visitor, path: &str) -> Self {
        let mut request = Self {
            text: format!("{method} {}{path} HTTP/1.1\r\n", visitor.base),
        }
        .header("Host", "bench.test")
        .header("User-Agent", "app-proxy-bench")
        .header("Accept", "*/*");
        if !visitor.cookie.is_empty() {
            request = request.header("Cookie", &visitor.cookie);
        }
        request
    }

    /// A GET of a visitor.
    #[must_use]
    pub fn get(visitor: &Visitor, path: &str) -> Self {
        Self::new("GET", visitor, path)
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        for part in [name, ": ", value, "\r\n"] {
            self.text.push_str(part);
        }
        self
    }

    /// With a request ID of the client's.
    #[must_use]
    pub fn id(self, id: &str) -> Self {
        self.header(REQUEST_ID, id)
    }

    /// Returns the bytes of the request with this body.
    #[must_use]
    pub fn with_body(self, body: &[u8]) -> Vec<u8> {
        let mut bytes = self
            .header("Content-Length", &body.len().to_string())
            .into_bytes();
        bytes.extend_from_slice(body);
        bytes
    }

    /// Returns the bytes of the request.
    #[must_use]
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.text.push_str("\r\n");
        self.text.into_bytes()
    }
}
