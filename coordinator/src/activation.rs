//! Apps that come and go: the last use of each app, the notice that an app is idle, and the start
//! of an app that a request needs and that has no endpoint.

pub mod event;
pub mod idle;
pub mod wake;
