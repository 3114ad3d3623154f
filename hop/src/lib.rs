//! What one hop does to a request, shared by the coordinator and the worker: mechanism, no policy.
//!
//! The modules are listed in the order in which a request meets them. `config` and `daemon` come
//! before any request: they turn a file into a validated configuration and a configuration into a
//! running process.

pub mod address;
pub mod config;
pub mod daemon;

pub mod drain;
pub mod entrance;
pub mod error;
pub mod exchange;
pub mod forwarding;
pub mod header;
pub mod phase;
pub mod request_id;
pub mod response;
pub mod streams;
pub mod websocket;

pub mod access_log;
pub mod admin;
pub mod form;
pub mod metrics;
