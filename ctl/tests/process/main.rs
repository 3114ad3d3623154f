//! The program as people run it, against an API that the test plays.

// A test says what went wrong by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod api;
mod run;

mod apps;
mod check;
mod connection;
mod drain;
mod lists;
mod request;
