//! The command line.

mod apps;
mod sessions;
mod workers;

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub(crate) use apps::{AppsCommand, PutArgs, SetArgs};
pub(crate) use sessions::{SessionFilter, SessionsCommand};
pub(crate) use workers::{DrainArgs, WorkersCommand};

const AFTER_HELP: &str = "\
The address and the token are looked up in this order; the first one found applies: the flags;
APP_PROXY_ADDRESS, APP_PROXY_TOKEN, APP_PROXY_TOKEN_FILE; the file ~/.config/app-proxy/ctl.yaml
(address:, token_file:, token:); http://127.0.0.1:8081 and, for an address of this host,
run/admin.token in the current folder.

Exit codes:
  0  success
  1  failure; the coordinator's error is on standard error, with its code and request ID
  2  invalid arguments or settings
  3  a drain ended with requests or streams left or cut off
  4  the coordinator cannot be reached, or rejects the token (check: 1)

Examples:
  app-proxyctl check
  app-proxyctl apps list
  app-proxyctl drain w1 --deadline 10m --wait
  app-proxyctl -a http://10.0.0.5:8081 --token-file ~/admin.token sessions list --app notes";

/// Manage App-Proxy through the admin API of a coordinator.
#[derive(Debug, Parser)]
#[command(name = "app-proxyctl", version, after_help = AFTER_HELP, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// The coordinator's address and token.
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    /// Output format: table, wide (a table with more columns), json or yaml.
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t = Format::Table,
        value_name = "FORMAT",
        hide_possible_values = true
    )]
    pub(crate) output: Format,
    /// The command.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that select the coordinator.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ConnectionArgs {
    /// The coordinator's admin listener, such as http://127.0.0.1:8081.
    #[arg(short, long, global = true, value_name = "URL")]
    pub(crate) address: Option<String>,
    /// A file with the bearer token. (There is no flag for the token itself: every user of the host
    /// could read it.)
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The settings file, instead of ~/.config/app-proxy/ctl.yaml.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// An output format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns.
    #[default]
    Table,
    /// Aligned columns, with more of them.
    Wide,
    /// The objects of the API; a list is an array.
    Json,
    /// The objects of the API, as YAML.
    Yaml,
}

/// A command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Manage apps: list, get, put, set, delete.
    #[command(subcommand, visible_alias = "app")]
    Apps(AppsCommand),
    /// Manage workers: list, get, drain, undrain, remove.
    #[command(subcommand, visible_alias = "worker")]
    Workers(WorkersCommand),
    /// Drain a worker: it gets no new sessions, and open streams are closed at the deadline. The
    /// same as `workers drain`.
    Drain(DrainArgs),
    /// Manage sessions: list, get, delete.
    #[command(subcommand, visible_alias = "session")]
    Sessions(SessionsCommand),
    /// Trace a request: show its events at both tiers.
    #[command(visible_alias = "req")]
    Request(RequestArgs),
    /// Check the coordinator, its workers and its apps: one line a finding, OK, WARN or FAIL.
    Check(CheckArgs),
    /// Print the completion script for a shell.
    Completion(CompletionArgs),
}

/// Arguments of `request`.
#[derive(Debug, Args)]
#[command(after_help = "\
The ID is in the response's header X-Backend-Request-ID, on error pages, and in the access log.

Examples:
  app-proxyctl request 01a206a3-26b3-735f-bc87-84f3152d6e05
  app-proxyctl request 01a206a3-26b3-735f-bc87-84f3152d6e05 -o json")]
pub(crate) struct RequestArgs {
    /// The request's ID.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) id: String,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
#[command(after_help = "\
The exit code is 1 if any finding is FAIL, also if the coordinator cannot be reached, and 0
otherwise.

Examples:
  app-proxyctl check
  app-proxyctl check -o json")]
pub(crate) struct CheckArgs {
    /// Maximum wait for workers to apply the newest app table.
    #[arg(long, value_name = "PERIOD", default_value = "5s", value_parser = period)]
    pub(crate) patience: app_proxy_api::units::Period,
}

/// Arguments of `completion`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  source <(app-proxyctl completion bash)
  app-proxyctl completion zsh > ~/.zfunc/_app-proxyctl
  app-proxyctl completion fish > ~/.config/fish/completions/app-proxyctl.fish")]
pub(crate) struct CompletionArgs {
    /// The shell.
    #[arg(value_enum)]
    pub(crate) shell: CompletedShell,
}

/// A shell with a completion script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompletedShell {
    /// GNU bash.
    Bash,
    /// Zsh.
    Zsh,
    /// Fish.
    Fish,
}

impl From<CompletedShell> for Shell {
    fn from(shell: CompletedShell) -> Self {
        match shell {
            CompletedShell::Bash => Self::Bash,
            CompletedShell::Zsh => Self::Zsh,
            CompletedShell::Fish => Self::Fish,
        }
    }
}

/// The arguments of a list.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct ListArgs {
    /// Maximum number of items. Default: all.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
}

/// Parses a period of time.
fn period(text: &str) -> Result<app_proxy_api::units::Period, String> {
    app_proxy_api::units::Period::try_from(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_of_every_command_has_examples() {
        fn visit(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            let mut leaves = command
                .get_subcommands()
                .filter(|sub| sub.get_name() != "help")
                .peekable();
            if leaves.peek().is_none() {
                let help = command
                    .get_after_help()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                assert!(
                    help.contains("Examples:") || help.contains("Example:"),
                    "{path}"
                );
            }
            leaves.for_each(|sub| visit(sub, &path));
        }
        visit(&Cli::command(), "");
    }

    #[test]
    fn global_flags_may_follow_the_command() {
        let cli = Cli::try_parse_from([
            "app-proxyctl",
            "apps",
            "ls",
            "-o",
            "json",
            "-a",
            "http://h:1",
        ])
        .unwrap();
        assert_eq!(cli.output, Format::Json);
        assert_eq!(cli.connection.address.as_deref(), Some("http://h:1"));
    }

    #[test]
    fn invalid_arguments_are_rejected() {
        for bad in [
            &["app-proxyctl", "apps", "get", ""][..],
            &[
                "app-proxyctl",
                "apps",
                "set",
                "notes",
                "--endpoint",
                "nowhere",
            ],
            &["app-proxyctl", "apps", "set", "Notes"],
            &["app-proxyctl", "apps", "set", "notes", "--pool", "zone"],
            &["app-proxyctl", "apps", "list", "--limit", "0"],
            &["app-proxyctl", "drain", "w1", "--deadline", "soon"],
            &["app-proxyctl", "--token", "secret", "check"],
        ] {
            assert!(Cli::try_parse_from(bad).is_err(), "{bad:?}");
        }
    }
}
