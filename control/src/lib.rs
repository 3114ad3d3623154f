//! The control plane: what an app is, how the app table changes, and the client that follows it.

pub mod app;
pub mod client;
pub mod list;
pub mod request;
pub mod table;
pub mod worker;
