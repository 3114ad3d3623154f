//! Placement: selects the worker of a request (phase `upstream_peer`).
//!
//! Without a policy of an embedder [`Ketama`] selects: the pinned worker of the session, otherwise
//! the one that ketama chooses.

mod request;

pub use request::{Candidate, PlacementRequest};

/// A policy that selects the worker of a request.
///
/// It is asked for each attempt, and sees usable workers only. It is called on the path of
/// requests, so it must not block. If it selects no worker or panics, the client gets 503
/// `no_worker_available`.
///
/// ```
/// use app_proxy_coordinator::{Candidate, Ketama, Placement, PlacementRequest};
///
/// /// Keeps the clients of a zone on its workers, as long as it has some.
/// struct Zones;
///
/// impl Placement for Zones {
///     fn place<'p>(&self, request: &PlacementRequest<'p>) -> Option<Candidate<'p>> {
///         let zone = request.headers().get("x-zone").and_then(|zone| zone.to_str().ok());
///         let in_zone = |worker: Candidate<'_>| worker.label("zone") == zone;
///         let pinned = request.pinned().filter(|worker| in_zone(*worker));
///         pinned.or_else(|| request.by_ketama(in_zone)).or_else(|| Ketama.place(request))
///     }
/// }
/// ```
pub trait Placement: Send + Sync + 'static {
    /// Returns the worker for an attempt of a request, if one is to serve it.
    fn place<'p>(&self, request: &PlacementRequest<'p>) -> Option<Candidate<'p>>;
}

/// The placement of a coordinator without another policy: the pinned worker of the session,
/// otherwise the first one in ketama's order for the session, or for a random key without one.
///
/// ```
/// use app_proxy_coordinator::{Candidate, Ketama, Placement, PlacementRequest};
///
/// /// Serves no request of anonymous clients.
/// struct UsersOnly;
///
/// impl Placement for UsersOnly {
///     fn place<'p>(&self, request: &PlacementRequest<'p>) -> Option<Candidate<'p>> {
///         request.user().and_then(|_| Ketama.place(request))
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Ketama;

impl Placement for Ketama {
    fn place<'p>(&self, request: &PlacementRequest<'p>) -> Option<Candidate<'p>> {
        request.pinned().or_else(|| request.by_ketama(|_| true))
    }
}

#[cfg(test)]
mod tests;
