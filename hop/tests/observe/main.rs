//! Observers and the policy of identifiers before real traffic: a tier of Pingora's phases between
//! a client and an application, all in this process.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod application;
mod client;
mod recorder;
mod tier;

mod events;
mod identifiers;
mod streams;
