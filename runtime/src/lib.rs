//! From a configuration file to a running process: flags, logging, secrets, listeners, signals and
//! the admin service of both daemons.

pub mod admin;
pub mod config;
pub mod daemon;
