//! The worker: a proxy to the applications beside it, for coordinators only.
//!
//! A program around a worker calls [`Worker::builder`], or [`daemon::main`] to be a daemon. Modules
//! are in the order in which a request meets them; `request` has Pingora's phases.

mod builder;
mod config;
pub mod daemon;
mod reload;

pub use app_proxy_api::address::Address;
pub use app_proxy_hop::error::{ErrorCode, Tier};
pub use app_proxy_hop::identity::{EstablishedId, HeaderMap, Identify, InvalidId, RequestId};
pub use app_proxy_hop::observe::{
    ClosedBy, Event, EventKind, Observe, RequestKind, StreamObserver,
};
pub use app_proxy_hop::tunnel::Direction;
pub use app_proxy_runtime::config::ConfigError;
pub use app_proxy_runtime::daemon::StartError;
pub use builder::{Addresses, Builder, Running, Worker};
pub use config::Config;

mod request;

mod apps;
mod endpoints;

mod registration;
mod sync;

mod admin;
