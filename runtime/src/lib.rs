//! From a configuration file to a running daemon: command line, configuration, logging, secrets,
//! listeners, signals and the admin service of both tiers.

pub mod allocator;

pub mod config;
pub mod daemon;

pub mod admin;

mod pingora;
