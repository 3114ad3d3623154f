//! The control plane: what an app, a worker and a session are, how the app table changes, and the
//! client of the API.

pub mod app;
pub mod request;
pub mod session;
pub mod table;
pub mod webhook;
pub mod worker;

pub mod client;
pub mod list;
