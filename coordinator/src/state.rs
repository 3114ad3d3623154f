//! The coordinator's state: read from the store and the file at the start, and kept in step with
//! the store and with other processes from then on.

pub(crate) mod initial;
pub(crate) mod journal;
pub(crate) mod reconciliation;
pub(crate) mod service;
