//! The types of App-Proxy's admin API, and a client of it.
//!
//! Configuration files, the admin API and the store share these types: apps, workers, sessions and
//! webhooks. The crate depends on no web framework and not on Pingora.

pub mod address;
pub mod units;

mod schema_format;

pub mod apps;
pub mod requests;
pub mod sessions;
pub mod table;
pub mod webhooks;
pub mod workers;

pub mod client;
pub mod lists;
