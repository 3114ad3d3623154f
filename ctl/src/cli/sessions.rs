//! Arguments of `app-proxyctl sessions`.

use app_proxy_api::units::Period;
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};

use super::{ListArgs, period};

/// A command about sessions.
#[derive(Debug, Subcommand)]
pub(crate) enum SessionsCommand {
    /// List the sessions of the coordinator.
    #[command(
        visible_alias = "ls",
        after_help = "\
Examples:
  app-proxyctl sessions list
  app-proxyctl sessions list --app notes --worker w1
  app-proxyctl sessions list --idle-for 2h -o json | jq -r '.[].id'"
    )]
    List(SessionFilter),
    /// Show a session.
    #[command(
        visible_alias = "show",
        after_help = "Examples:\n  app-proxyctl sessions get OV3uBXZyJgUD-cVsKDQgeQ"
    )]
    Get {
        /// The session's identifier.
        #[arg(value_parser = NonEmptyStringValueParser::new(), allow_hyphen_values = true)]
        id: String,
    },
    /// Delete sessions, which closes their streams.
    #[command(
        visible_alias = "rm",
        after_help = "Examples:\n  app-proxyctl sessions delete OV3uBXZyJgUD-cVsKDQgeQ"
    )]
    Delete {
        /// Identifiers of the sessions.
        #[arg(required = true, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
        ids: Vec<String>,
    },
}

/// A filter for sessions.
#[derive(Debug, Args)]
pub(crate) struct SessionFilter {
    /// Only sessions of this app.
    #[arg(long)]
    pub(crate) app: Option<String>,
    /// Only sessions pinned to this worker.
    #[arg(long)]
    pub(crate) worker: Option<String>,
    /// Only sessions that were inactive for at least this long.
    #[arg(long, value_name = "PERIOD", value_parser = period)]
    pub(crate) idle_for: Option<Period>,
    /// The length of the list.
    #[command(flatten)]
    pub(crate) list: ListArgs,
}
