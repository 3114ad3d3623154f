//! The coordinator's state: loaded from the store and the configuration file at startup, then kept
//! in step with the store and with other processes.

mod location;
pub(crate) mod startup;

pub(crate) mod members;

pub(crate) mod service;

pub(crate) mod journal;
pub(crate) mod reconciliation;
