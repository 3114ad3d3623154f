//! The worker: proxies to the applications next to it, for coordinators alone.
//!
//! The modules are listed in the order in which a request meets them; `request` has Pingora's
//! phases.

pub mod config;
pub mod daemon;
pub mod reload;

pub mod request;

pub mod apps;
pub mod endpoints;

pub mod registration;
pub mod sync;

pub mod admin;
