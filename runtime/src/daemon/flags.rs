//! The command line of both daemons: Pingora's flags.

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches, Parser};

use crate::config::ConfigPath;

/// The command line.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub(super) struct Flags {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    pub(super) conf: ConfigPath,
    /// Run in the background and write the pid file. Returns when the daemon serves.
    #[arg(short, long)]
    pub(super) daemon: bool,
    /// Inherit the listening sockets of a running daemon, which then needs SIGQUIT to end.
    #[arg(short, long)]
    pub(super) upgrade: bool,
    /// Check the configuration and the files that it names, then exit.
    #[arg(short, long)]
    pub(super) test: bool,
}

impl Flags {
    /// Parses the command line of the program `name`.
    ///
    /// # Errors
    /// If it is invalid, and for `--help` and `--version`, whose text the error has.
    pub(super) fn parse(
        name: &'static str,
        about: &'static str,
        args: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, clap::Error> {
        let command = Self::command().name(name).about(about);
        Self::from_arg_matches(&command.try_get_matches_from(args)?)
    }
}
