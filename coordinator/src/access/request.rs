//! A request as an access policy sees it.

use std::fmt;
use std::net::IpAddr;

use app_proxy_api::apps::App;
use app_proxy_hop::websocket::is_websocket;
use http::request::Parts;
use http::{HeaderMap, Method, Version};

/// A request that wants to enter.
///
/// ```
/// use app_proxy_coordinator::AccessRequest;
///
/// // A view of a request, for tests of a policy.
/// let (head, ()) = http::Request::get("/apps/notes/a?x=1")
///     .header("cookie", "team=blue")
///     .body(())?
///     .into_parts();
/// let request = AccessRequest::new(&head).with_host("apps.example");
/// assert_eq!((request.path(), request.query()), ("/apps/notes/a", Some("x=1")));
/// assert!(request.app().is_none());
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct AccessRequest<'r> {
    pub(crate) head: &'r Parts,
    pub(crate) app: Option<&'r App>,
    pub(crate) request_id: &'r str,
    pub(crate) host: &'r str,
    pub(crate) matched_path: &'r [u8],
    pub(crate) client: Option<IpAddr>,
    pub(crate) is_secure: bool,
}

impl<'r> AccessRequest<'r> {
    /// The view of a request for no app, without TLS, of an unknown client.
    #[must_use]
    pub fn new(head: &'r Parts) -> Self {
        Self {
            head,
            app: None,
            request_id: "",
            host: "",
            matched_path: head.uri.path().as_bytes(),
            client: None,
            is_secure: false,
        }
    }

    /// Sets the app.
    #[must_use]
    pub const fn with_app(mut self, app: &'r App) -> Self {
        self.app = Some(app);
        self
    }

    /// Sets the host.
    #[must_use]
    pub const fn with_host(mut self, host: &'r str) -> Self {
        self.host = host;
        self
    }

    /// Sets the client's address.
    #[must_use]
    pub const fn with_client(mut self, client: IpAddr) -> Self {
        self.client = Some(client);
        self
    }

    /// Returns the app that the request is for. There is none if no app has its host and path; a
    /// policy answers such a request as one for an app, so that strangers learn no names.
    #[must_use]
    pub const fn app(&self) -> Option<&'r App> {
        self.app
    }

    /// Returns the request ID.
    #[must_use]
    pub const fn request_id(&self) -> &'r str {
        self.request_id
    }

    /// Returns the method.
    #[must_use]
    pub const fn method(&self) -> &'r Method {
        &self.head.method
    }

    /// Returns the host by which the app was found: `Host`, or the authority of the target. Empty
    /// in an HTTP/1.0 request without one.
    #[must_use]
    pub const fn host(&self) -> &'r str {
        self.host
    }

    /// Returns the path as the client sent it. Compare [`AccessRequest::matched_path`] instead: a
    /// client can spell one path in many ways.
    #[must_use]
    pub fn path(&self) -> &'r str {
        self.head.uri.path()
    }

    /// Returns the path by which the app was found, percent-decoded and without dot segments; it
    /// may be invalid UTF-8. For `/.app-proxy/waking?path=…` it is the path in question.
    #[must_use]
    pub const fn matched_path(&self) -> &'r [u8] {
        self.matched_path
    }

    /// Returns the query.
    #[must_use]
    pub fn query(&self) -> Option<&'r str> {
        self.head.uri.query()
    }

    /// Returns the headers as the client sent them. Any client can send any header.
    #[must_use]
    pub const fn headers(&self) -> &'r HeaderMap {
        &self.head.headers
    }

    /// Returns the address of the client, as `trusted_proxies` allows; none on a Unix socket.
    #[must_use]
    pub const fn client(&self) -> Option<IpAddr> {
        self.client
    }

    /// Returns whether the client's own connection is encrypted, as `trusted_proxies` allows.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// Returns whether the request is the handshake of a WebSocket.
    #[must_use]
    pub fn is_websocket(&self) -> bool {
        is_websocket(self.head)
    }

    /// Returns the version of HTTP.
    #[must_use]
    pub const fn protocol(&self) -> Version {
        self.head.version
    }
}

impl fmt::Debug for AccessRequest<'_> {
    /// Omits the query and the headers, which carry credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessRequest")
            .field("request_id", &self.request_id)
            .field("app", &self.app.map(|app| &app.name))
            .field("method", self.method())
            .field("host", &self.host)
            .field("path", &self.path())
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}
