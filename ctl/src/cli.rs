//! The command line.

mod apps;
mod sessions;
mod workers;

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub use apps::{AppChoice, AppsCommand, PutArgs, SetArgs};
pub use sessions::{SessionFilter, SessionsCommand};
pub use workers::{DrainArgs, WorkersCommand};

const AFTER_HELP: &str = "\
Address and token are taken from, in this order: the flags; APP_PROXY_ADDRESS, APP_PROXY_TOKEN, APP_PROXY_TOKEN_FILE; the file
~/.config/app-proxy/ctl.yaml (address:, token_file:, token:); http://127.0.0.1:8081 and, for an address of this host, run/admin.token
in the current folder.

Exit codes:
  0  done
  1  refused or failed; what the coordinator said is on standard error, with its code and request ID
  2  wrong usage: arguments or settings
  3  a drain has left something, or cut it off
  4  the coordinator cannot be reached, or does not take the token

Examples:
  app-proxyctl check
  app-proxyctl apps list
  app-proxyctl drain w1 --deadline 10m --wait
  app-proxyctl -a http://10.0.0.5:8081 --token-file ~/admin.token sessions list --app notes -o json";

/// Looks after App-Proxy, through the admin API of a coordinator.
#[derive(Debug, Parser)]
#[command(name = "app-proxyctl", version, after_help = AFTER_HELP, arg_required_else_help = true)]
pub struct Cli {
    /// Where the coordinator is, and who asks.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// How results look: tables for people (wide: with more columns), json or yaml for programs.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT", hide_possible_values = true)]
    pub output: Format,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that say which coordinator is called.
#[derive(Clone, Debug, Default, Args)]
pub struct ConnectionArgs {
    /// The coordinator's admin listener, as in http://127.0.0.1:8081.
    #[arg(short, long, global = true, value_name = "URL")]
    pub address: Option<String>,
    /// A file with the bearer token. (There is no flag for the token itself: everybody on the host
    /// could read it.)
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The file with settings, instead of ~/.config/app-proxy/ctl.yaml.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// How results look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns.
    #[default]
    Table,
    /// Aligned columns, and more of them.
    Wide,
    /// The API's own objects; a list is an array.
    Json,
    /// The same as YAML.
    Yaml,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The app table: list, get, put, set, delete.
    #[command(subcommand, visible_alias = "app")]
    Apps(AppsCommand),
    /// The pool: list, get, drain, undrain, remove.
    #[command(subcommand, visible_alias = "worker")]
    Workers(WorkersCommand),
    /// Take a worker out of service: no new sessions, and what is left is closed at the deadline.
    /// The same as `workers drain`.
    Drain(DrainArgs),
    /// Sessions: list, get, delete.
    #[command(subcommand, visible_alias = "session")]
    Sessions(SessionsCommand),
    /// The story of one request, as both tiers tell it.
    #[command(visible_alias = "req")]
    Request(RequestArgs),
    /// Look for what is wrong: one line a finding, OK, WARN or FAIL.
    Check(CheckArgs),
    /// Print the completion script of a shell.
    Completion(CompletionArgs),
}

/// Arguments of `request`.
#[derive(Debug, Args)]
#[command(after_help = "\
The ID is in the header X-Backend-Request-ID of the response, on error pages, and in the access log.

Examples:
  app-proxyctl request 01a206a3-26b3-735f-bc87-84f3152d6e05
  app-proxyctl request 01a206a3-26b3-735f-bc87-84f3152d6e05 -o json")]
pub struct RequestArgs {
    /// The request's ID.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub id: String,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit code 0: everything is OK, or there are warnings alone. 1: something FAILs, also when the coordinator cannot be reached.

Examples:
  app-proxyctl check
  app-proxyctl check -o json")]
pub struct CheckArgs {
    /// How long workers may take to take over the newest app table.
    #[arg(long, value_name = "PERIOD", default_value = "5s", value_parser = period)]
    pub patience: app_proxy_api::units::Period,
}

/// Arguments of `completion`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  source <(app-proxyctl completion bash)
  app-proxyctl completion zsh > ~/.zfunc/_app-proxyctl
  app-proxyctl completion fish > ~/.config/fish/completions/app-proxyctl.fish")]
pub struct CompletionArgs {
    /// The shell.
    #[arg(value_enum)]
    pub shell: CompletedShell,
}

/// Shells that have a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompletedShell {
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

/// How much of a list is asked for.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct ListArgs {
    /// At most so many; without it all of them.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
}

/// Reads a period of time.
fn period(text: &str) -> Result<app_proxy_api::units::Period, String> {
    app_proxy_api::units::Period::try_from(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_makes_sense() {
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
    fn flags_of_the_connection_and_the_output_may_stand_anywhere() {
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
    fn what_makes_no_sense_is_refused() {
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
