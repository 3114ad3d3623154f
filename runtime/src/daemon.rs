//! A daemon's life: command line, logging, secrets, listeners, reload and shutdown.

mod account;
mod background;
mod block_on;
mod check;
mod command;
mod diff;
mod error;
mod flags;
mod launch;
mod listeners;
mod logging;
mod pid_file;
mod reload;
mod running;
mod secrets;
mod server;
mod service_manager;
mod shutdown;
mod signals;

pub use block_on::block_on;
pub use check::check_files;
pub use command::{Program, TierConfig, main};
pub use diff::{ConfigDiff, reject_reload};
pub use error::StartError;
pub use launch::Launch;
pub use listeners::{Buffers, ListenAddress, reserve};
pub use logging::{LogFilter, Logging};
pub use reload::Reload;
pub use running::Running;
pub use secrets::read_or_create;
pub use server::TierServer;
