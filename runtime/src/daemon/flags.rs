//! The command line of both daemons: Pingora's flags.

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches, Parser};
use log::info;
use pingora_core::server::configuration::Opt;

use crate::config::{ConfigFile, ConfigPath};

/// The command line.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Flags {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    pub conf: ConfigPath,
    /// Run in the background and write the pid file.
    #[arg(short, long)]
    daemon: bool,
    /// Inherit the listening sockets of a running daemon, which then needs SIGQUIT to end.
    #[arg(short, long)]
    pub upgrade: bool,
    /// Check the configuration and the files that it names, then exit.
    #[arg(short, long)]
    pub test: bool,
}

impl Flags {
    /// Parses the command line of the program `name`. An invalid one, `--help` and `--version` end
    /// the process.
    pub fn from_args(
        name: &'static str,
        about: &'static str,
        args: impl IntoIterator<Item = OsString>,
    ) -> Self {
        let command = Self::command().name(name).about(about);
        Self::from_arg_matches(&command.get_matches_from(args)).unwrap_or_else(|e| e.exit())
    }

    /// Ends the process after a check (`-t`) that found no error in `file`.
    pub fn end_check(&self, file: &ConfigFile) -> ! {
        file.log_warnings();
        info!("{} is valid", self.conf);
        std::process::exit(0)
    }

    /// The flags as Pingora's server reads them.
    pub(super) fn options(&self) -> Opt {
        Opt {
            upgrade: self.upgrade,
            daemon: self.daemon,
            nocapture: false,
            test: self.test,
            conf: None,
        }
    }
}
