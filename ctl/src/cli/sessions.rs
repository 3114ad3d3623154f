//! `app-proxyctl sessions`.

use app_proxy_api::units::Period;
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};

use super::{ListArgs, period};

/// What can be done with sessions.
#[derive(Debug, Subcommand)]
pub enum SessionsCommand {
    /// List the sessions of this coordinator.
    #[command(
        visible_alias = "ls",
        after_help = "\
Examples:
  app-proxyctl sessions list
  app-proxyctl sessions list --app notes --worker w1
  app-proxyctl sessions list --idle-for 2h -o json | jq -r '.[].id'"
    )]
    List(SessionFilter),
    /// Show one session.
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

/// Which sessions are listed.
#[derive(Debug, Args)]
pub struct SessionFilter {
    /// Of this app.
    #[arg(long)]
    pub app: Option<String>,
    /// Pinned to this worker.
    #[arg(long)]
    pub worker: Option<String>,
    /// Without activity for at least so long.
    #[arg(long, value_name = "PERIOD", value_parser = period)]
    pub idle_for: Option<Period>,
    /// How many.
    #[command(flatten)]
    pub list: ListArgs,
}
