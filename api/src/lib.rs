//! The control plane's types, without a framework: apps, workers, sessions and webhooks as
//! configuration files, the admin API and the store hold them, and the client of that API.

pub mod address;
pub mod schema_format;
pub mod units;

pub mod apps;
pub mod requests;
pub mod sessions;
pub mod table;
pub mod webhooks;
pub mod workers;

pub mod client;
pub mod lists;
