//! The engine between raw clients and raw next hops, on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod bodies;
mod connections;
mod interim;
mod retries;
mod support;
