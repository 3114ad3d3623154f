//! A request and the workers that may serve it, as a placement policy sees them.

use std::fmt;
use std::sync::Arc;

use app_proxy_api::apps::{App, Labels};
use http::request::Parts;
use http::{HeaderMap, Method};

use crate::pool::{Candidates, PoolWorker};

/// A request that needs a worker.
///
/// ```
/// use app_proxy_coordinator::{Candidate, PlacementRequest};
///
/// fn least_loaded<'p>(request: &PlacementRequest<'p>) -> Option<Candidate<'p>> {
///     request.pinned().or_else(|| request.candidates().min_by_key(Candidate::in_flight))
/// }
/// ```
#[derive(Clone, Copy)]
pub struct PlacementRequest<'p> {
    pub(crate) head: &'p Parts,
    pub(crate) app: &'p App,
    pub(crate) session: Option<&'p str>,
    pub(crate) user: Option<&'p str>,
    pub(crate) key: &'p [u8],
    pub(crate) pinned: Option<&'p Arc<PoolWorker>>,
    pub(crate) candidates: Candidates<'p>,
}

impl<'p> PlacementRequest<'p> {
    /// Returns the app.
    #[must_use]
    pub const fn app(&self) -> &'p App {
        self.app
    }

    /// Returns the method.
    #[must_use]
    pub const fn method(&self) -> &'p Method {
        &self.head.method
    }

    /// Returns the path as the client sent it.
    #[must_use]
    pub fn path(&self) -> &'p str {
        self.head.uri.path()
    }

    /// Returns the headers as the client sent them.
    #[must_use]
    pub const fn headers(&self) -> &'p HeaderMap {
        &self.head.headers
    }

    /// Returns the identifier of the session; none for an app with `affinity: none`.
    #[must_use]
    pub const fn session(&self) -> Option<&'p str> {
        self.session
    }

    /// Returns the user, if an access policy has established one.
    #[must_use]
    pub const fn user(&self) -> Option<&'p str> {
        self.user
    }

    /// Returns the key of [`PlacementRequest::by_ketama`]: the identifier of the session, or random
    /// bytes without one.
    #[must_use]
    pub const fn key(&self) -> &'p [u8] {
        self.key
    }

    /// Returns the worker that the session is pinned to, if it may serve the request.
    #[must_use]
    pub fn pinned(&self) -> Option<Candidate<'p>> {
        let pinned = self.pinned?;
        self.candidates.current(pinned).map(Candidate)
    }

    /// Returns the first worker in ketama's order for the key that may serve the request and that
    /// `wanted` accepts. All coordinators return the same one for a session.
    #[must_use]
    pub fn by_ketama(&self, wanted: impl Fn(Candidate<'p>) -> bool) -> Option<Candidate<'p>> {
        let found = self
            .candidates
            .first(self.key, |worker| wanted(Candidate(worker)));
        found.map(Candidate)
    }

    /// Iterates over the workers that may serve the request, in the order of their identifiers: the
    /// healthy ones with the labels of the app's `pool` that do not drain and have not failed in an
    /// earlier attempt.
    pub fn candidates(&self) -> impl Iterator<Item = Candidate<'p>> {
        self.candidates.iter().map(Candidate)
    }
}

impl fmt::Debug for PlacementRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlacementRequest")
            .field("app", &self.app.name)
            .field("session", &self.session)
            .field("candidates", &self.candidates().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// A worker that may serve a request.
///
/// ```
/// use app_proxy_coordinator::Candidate;
///
/// fn has_room(worker: Candidate<'_>) -> bool {
///     worker.in_flight() < 100 * usize::from(worker.weight())
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Candidate<'p>(pub(crate) &'p Arc<PoolWorker>);

impl<'p> Candidate<'p> {
    /// Returns the identifier.
    #[must_use]
    pub fn id(&self) -> &'p str {
        &self.0.id
    }

    /// Returns the labels.
    #[must_use]
    pub fn labels(&self) -> &'p Labels {
        &self.0.labels
    }

    /// Returns the value of a label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&'p str> {
        self.0.labels.get(name).map(String::as_str)
    }

    /// Returns the weight in the distribution of sessions.
    #[must_use]
    pub fn weight(&self) -> u16 {
        self.0.weight
    }

    /// Returns the number of requests and streams of this coordinator at the worker.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.0.in_flight()
    }

    /// Returns the number of streams among them.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.0.open_streams()
    }
}

impl fmt::Debug for Candidate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Candidate").field(&self.id()).finish()
    }
}
