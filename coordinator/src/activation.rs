//! Starting and stopping apps through their schedulers: the last use of each app, the event that an
//! app is idle, and the event that a request needs an app without endpoints.

pub(crate) mod activator;
pub(crate) mod idle;

pub(crate) mod event;
