//! The policy of identifiers.

use std::net::IpAddr;

use http::HeaderMap;

use crate::identity::id::{InvalidId, RequestId};

/// A policy of identifiers: the decision which one a request has.
///
/// At the coordinator it decides about every request of a client, before anything else does. At
/// the worker the identifier of an authenticated coordinator always counts, and any other request
/// gets one of the worker's own (rule 6): for these, and for a header block that cannot be parsed,
/// the policy is called without headers. Both tiers call it for their admin API too.
///
/// Whatever a policy returns is valid by its type (rule 1). It should not return one identifier
/// twice. If it panics, the request gets a generated identifier.
///
/// ```
/// use std::net::IpAddr;
///
/// use app_proxy_hop::identity::{EstablishedId, HeaderMap, Identify, RequestId};
/// use http::HeaderValue;
///
/// /// Puts the name of a site before every identifier.
/// struct Site(&'static str);
///
/// impl Identify for Site {
///     fn identify(&self, headers: &HeaderMap, _peer: Option<IpAddr>) -> EstablishedId {
///         let inbound = headers.get("x-trace").and_then(|value| value.to_str().ok());
///         let own = RequestId::generate();
///         let text = format!("{}:{}", self.0, inbound.unwrap_or(own.as_str()));
///         text.parse().map_or_else(|_| EstablishedId::generate(), EstablishedId::new)
///     }
/// }
///
/// let mut headers = HeaderMap::new();
/// headers.insert("x-trace", HeaderValue::from_static("42"));
/// assert_eq!(Site("lab").identify(&headers, None).id.as_str(), "lab:42");
/// ```
pub trait Identify: Send + Sync + 'static {
    /// Returns the identifier of a request with these headers. `peer` is the address of the
    /// connection's other end; none on a Unix socket, and for a call of the admin API.
    fn identify(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> EstablishedId;
}

/// An established identifier.
///
/// ```
/// use app_proxy_hop::identity::{EstablishedId, InvalidId};
///
/// let kept = EstablishedId::new("build-42".parse()?);
/// assert!(!kept.generated);
/// let refused = EstablishedId::generate().refusing(kept.id);
/// assert_eq!(refused.refused.unwrap().as_str(), "build-42");
/// # Ok::<(), InvalidId>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct EstablishedId {
    /// The request's identifier from here on.
    pub id: RequestId,
    /// A valid identifier of a peer that is not accepted (rule 3).
    pub refused: Option<RequestId>,
    /// The reason why an invalid identifier was replaced, and its length (rule 4).
    pub replaced: Option<(InvalidId, usize)>,
    /// `id` was generated here.
    pub generated: bool,
}

impl EstablishedId {
    /// An identifier that the request has already, or that the policy derives.
    #[must_use]
    pub const fn new(id: RequestId) -> Self {
        Self {
            id,
            refused: None,
            replaced: None,
            generated: false,
        }
    }

    /// Generates an identifier (rule 2).
    #[must_use]
    pub fn generate() -> Self {
        Self {
            generated: true,
            ..Self::new(RequestId::generate())
        }
    }

    /// Adds a valid identifier that was not accepted; it is logged as `client_request_id` (rule 3).
    #[must_use]
    pub fn refusing(self, id: RequestId) -> Self {
        Self {
            refused: Some(id),
            ..self
        }
    }

    /// Adds the reason why an invalid identifier was replaced, and its length; it is counted
    /// (rule 4).
    #[must_use]
    pub fn replacing(self, reason: InvalidId, bytes: usize) -> Self {
        Self {
            replaced: Some((reason, bytes)),
            ..self
        }
    }
}
