//! The worker: a proxy to the applications beside it, for coordinators only.
//!
//! Modules are in the order in which a request meets them; `request` has Pingora's phases.

pub mod config;
pub mod daemon;
mod reload;

mod request;

mod apps;
mod endpoints;

mod registration;
mod sync;

mod admin;
