//! The answer of an access policy to a client that may not enter.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// The answer to a client that may not enter.
///
/// The coordinator adds the request ID and `Cache-Control: no-store`, and drops headers of the
/// connection. A reply without a body gets the proxy's own page if its status is 401, 403 or 404.
///
/// ```
/// use app_proxy_coordinator::Reply;
/// use http::{HeaderValue, StatusCode, header};
///
/// let reply = Reply::new(StatusCode::FORBIDDEN)
///     .with_header(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"))
///     .with_body("Ask Anna to let you in.\n");
/// assert_eq!(reply.status(), StatusCode::FORBIDDEN);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    status: StatusCode,
    headers: Option<Box<HeaderMap>>,
    body: Option<Bytes>,
}

impl Reply {
    /// A reply with a status, which must be a final one (at least 200).
    #[must_use]
    pub const fn new(status: StatusCode) -> Self {
        Self {
            status,
            headers: None,
            body: None,
        }
    }

    /// The proxy's own page with status 403.
    #[must_use]
    pub const fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN)
    }

    /// The proxy's own page with status 401 and this `WWW-Authenticate` (RFC 9110, section 11.6.1).
    #[must_use]
    pub fn unauthorized(challenge: HeaderValue) -> Self {
        Self::new(StatusCode::UNAUTHORIZED).with_header(header::WWW_AUTHENTICATE, challenge)
    }

    /// A redirect (303) to a location. One that is not a valid header value is dropped, and the
    /// client gets the proxy's own page with status 403.
    #[must_use]
    pub fn redirect(location: &str) -> Self {
        match HeaderValue::from_str(location) {
            Ok(location) => {
                Self::new(StatusCode::SEE_OTHER).with_header(header::LOCATION, location)
            }
            Err(_) => Self::forbidden(),
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.get_or_insert_default().append(name, value);
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// The status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers.
    pub fn headers(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.headers.iter().flat_map(|headers| headers.iter())
    }

    /// The body, if there is one.
    #[must_use]
    pub const fn body(&self) -> Option<&Bytes> {
        self.body.as_ref()
    }
}
