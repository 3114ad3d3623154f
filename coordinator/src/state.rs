//! The coordinator's state: read from the store and the file at the start, and kept in step with
//! the store and with other processes from then on.

pub(crate) mod initial;
pub mod journal;
pub mod reconciliation;
pub mod service;
