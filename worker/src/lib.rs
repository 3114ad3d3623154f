//! The worker: proxies to the applications next to it, for coordinators alone.
//!
//! The modules are listed in the order in which a request meets them; `proxy` is the table of
//! contents.

pub mod config;
pub mod daemon;
pub mod reload;

pub mod admission;
pub mod apps;
pub mod context;
pub mod endpoints;
pub mod forward;
pub mod proxy;
pub mod registration;
pub mod sync;
pub mod websocket;

pub mod admin;
