//! The coordinator: routes requests at the edge and keeps sessions.
//!
//! A program around a coordinator calls [`Coordinator::builder`], or [`daemon::main`] to be a
//! daemon. The modules are listed in the order in which a request meets them; `request` has
//! Pingora's phases.

mod builder;
pub(crate) mod clock;
mod config;
pub mod daemon;
pub(crate) mod reload;

pub use access::{Access, AccessRequest, Decision, Identity, IdentityError, Reply};
pub use app_proxy_api::address::Address;
pub use app_proxy_api::apps::{App, Labels};
pub use app_proxy_hop::error::{ErrorCode, Tier};
pub use app_proxy_hop::identity::{EstablishedId, HeaderMap, Identify, InvalidId, RequestId};
pub use app_proxy_hop::observe::{
    ClosedBy, Event, EventKind, Observe, RequestKind, StreamObserver,
};
pub use app_proxy_hop::tunnel::Direction;
pub use app_proxy_runtime::config::ConfigError;
pub use app_proxy_runtime::daemon::StartError;
/// The attribute of implementations of [`Access`].
pub use async_trait::async_trait;
pub use builder::{Addresses, Builder, Coordinator, Running};
pub use config::Config;
pub use placement::{Candidate, Ketama, Placement, PlacementRequest};

pub(crate) mod access;
pub(crate) mod placement;
pub(crate) mod request;

pub(crate) mod activation;
pub(crate) mod apps;
pub(crate) mod pool;
pub(crate) mod router;
pub(crate) mod sessions;
pub(crate) mod webhooks;

pub(crate) mod admin;
pub(crate) mod state;

#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
#[allow(clippy::expect_used, clippy::indexing_slicing)]
pub mod fuzz;

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]
mod measure;
