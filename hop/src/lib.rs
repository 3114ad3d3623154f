//! What one hop does to a request, shared by the coordinator and the worker: mechanism, no policy.
//!
//! The modules are listed in the order in which a request meets them.

pub mod config;
pub mod drain;

pub mod downstream;
pub mod error;
pub mod exchange;
pub mod forwarding;
pub mod header;
pub mod identity;
pub mod phase;
pub mod response;
pub mod streams;
pub mod tunnel;
pub mod websocket;

pub mod observe;
