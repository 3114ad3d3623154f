//! Tests of the program against a fake API.

// Tests fail by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod api;
mod run;

mod apps;
mod check;
mod connection;
mod drain;
mod lists;
mod request;
