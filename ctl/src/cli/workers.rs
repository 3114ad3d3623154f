//! Arguments of `app-proxyctl workers` and `app-proxyctl drain`.

use app_proxy_api::units::Period;
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};

use super::{ListArgs, period};

/// A command about workers.
#[derive(Debug, Subcommand)]
pub(crate) enum WorkersCommand {
    /// List workers.
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  app-proxyctl workers list\n  app-proxyctl workers list -o wide"
    )]
    List(ListArgs),
    /// Show a worker.
    #[command(
        visible_alias = "show",
        after_help = "\
Examples:
  app-proxyctl workers get w1
  app-proxyctl workers get w1 -o json | jq .drain"
    )]
    Get(WorkerChoice),
    /// Drain a worker: it gets no new sessions, and open streams are closed at the deadline.
    Drain(DrainArgs),
    /// End the drain of a worker.
    #[command(after_help = "Examples:\n  app-proxyctl workers undrain w1")]
    Undrain(WorkerChoice),
    /// Remove a registered worker from the pool. A worker that still runs registers again: stop it,
    /// or drain it instead.
    #[command(
        visible_alias = "rm",
        after_help = "Examples:\n  app-proxyctl workers remove w1"
    )]
    Remove(WorkerChoice),
}

/// The argument of commands about one worker.
#[derive(Debug, Args)]
pub(crate) struct WorkerChoice {
    /// The worker's identifier.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) id: String,
}

/// Arguments of `drain`.
#[derive(Debug, Args)]
#[command(after_help = "\
With --wait, the exit code is 0 if all requests and streams ended by themselves, and 3 if any were
left or cut off. The drain continues when the command is interrupted; `workers undrain` ends it.

Examples:
  app-proxyctl drain w1
  app-proxyctl drain w1 --deadline 10m --wait && ssh w1 systemctl stop app-proxy-worker")]
pub(crate) struct DrainArgs {
    /// The worker's identifier.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) id: String,
    /// Time after which streams are closed. Default: 5 minutes, set by the
    /// coordinator.
    #[arg(long, value_name = "PERIOD", value_parser = period)]
    pub(crate) deadline: Option<Period>,
    /// Wait until no request and no stream is left, or the deadline has passed; show the progress.
    #[arg(short, long)]
    pub(crate) wait: bool,
}
