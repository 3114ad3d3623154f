//! HTTP/2 (RFC 9113) at the engine, over loopback: clients as they are, a small gateway, and a next
//! hop that each test plays itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod bodies;
mod detection;
mod early;
mod ends;
mod flow;
mod heads;
mod malformed;
mod support;
