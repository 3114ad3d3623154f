//! The coordinator: routes requests at the edge and keeps session mappings.
//!
//! The modules are listed in the order in which a request meets them; `proxy` is the table of
//! contents.

pub mod clock;
pub mod config;
pub mod daemon;
pub mod reload;

pub mod admission;
pub mod apps;
pub mod context;
pub mod forward;
pub mod pool;
pub mod proxy;
pub mod router;
pub mod sessions;
pub mod usage;
pub mod wake;
pub mod websocket;

pub mod effects;
pub mod keeper;
pub mod store;

pub mod idle;
pub mod notice;
pub mod webhooks;

pub mod admin;

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]
mod measure;
