//! `app-proxyctl workers` and `app-proxyctl drain`.

use app_proxy_api::units::Period;
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};

use super::{ListArgs, period};

/// What can be done with workers.
#[derive(Debug, Subcommand)]
pub enum WorkersCommand {
    /// List the workers.
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  app-proxyctl workers list\n  app-proxyctl workers list -o wide"
    )]
    List(ListArgs),
    /// Show one worker.
    #[command(
        visible_alias = "show",
        after_help = "Examples:\n  app-proxyctl workers get w1\n  app-proxyctl workers get w1 -o json | jq .drain"
    )]
    Get(WorkerChoice),
    /// Take a worker out of service: no new sessions, and what is left is closed at the deadline.
    Drain(DrainArgs),
    /// Take a worker into service again.
    #[command(after_help = "Examples:\n  app-proxyctl workers undrain w1")]
    Undrain(WorkerChoice),
    /// Take a worker that has registered out of the pool. One that still runs registers again: end
    /// it, or drain it.
    #[command(
        visible_alias = "rm",
        after_help = "Examples:\n  app-proxyctl workers remove w1"
    )]
    Remove(WorkerChoice),
}

/// One worker.
#[derive(Debug, Args)]
pub struct WorkerChoice {
    /// The worker's identifier.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub id: String,
}

/// Arguments of `drain`.
#[derive(Debug, Args)]
#[command(after_help = "\
With --wait the exit code is 0 when everything has ended by itself, and 3 when something was left or cut off. The drain goes on when the
command is interrupted; `workers undrain` ends it.

Examples:
  app-proxyctl drain w1
  app-proxyctl drain w1 --deadline 10m --wait && ssh w1 systemctl stop app-proxy-worker")]
pub struct DrainArgs {
    /// The worker's identifier.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub id: String,
    /// How long streams may go on before they are closed; without it the coordinator decides (5
    /// minutes).
    #[arg(long, value_name = "PERIOD", value_parser = period)]
    pub deadline: Option<Period>,
    /// Wait until nothing is left, or the deadline has passed, and show what is left meanwhile.
    #[arg(short, long)]
    pub wait: bool,
}
