//! `app-proxyctl apps`.

use std::path::PathBuf;

use app_proxy_api::address::Address;
use app_proxy_api::apps::{Affinity, UpstreamPath, check_name};
use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

use super::ListArgs;

/// What can be done with apps.
#[derive(Debug, Subcommand)]
pub enum AppsCommand {
    /// List the apps.
    #[command(
        visible_alias = "ls",
        after_help = "\
Examples:
  app-proxyctl apps list
  app-proxyctl apps list -o wide
  app-proxyctl apps list -o yaml > apps.yaml"
    )]
    List(ListArgs),
    /// Show one app.
    #[command(
        visible_alias = "show",
        after_help = "\
Examples:
  app-proxyctl apps get notes
  app-proxyctl apps get notes -o yaml > notes.yaml"
    )]
    Get(AppChoice),
    /// Store the apps of a file, each in the place of the one of its name.
    Put(PutArgs),
    /// Store an app that needs no file.
    Set(SetArgs),
    /// Delete apps.
    #[command(
        visible_alias = "rm",
        after_help = "Examples:\n  app-proxyctl apps delete notes\n  app-proxyctl apps delete a b c"
    )]
    Delete {
        /// Names of the apps.
        #[arg(required = true, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
        names: Vec<String>,
    },
}

/// One app.
#[derive(Debug, Args)]
pub struct AppChoice {
    /// The app's name.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub name: String,
}

/// Arguments of `apps put`.
#[derive(Debug, Args)]
#[command(after_help = "\
The file is YAML or JSON: one app, a list of apps, or a list under `apps:`. What `apps get` and `apps list` write with -o yaml or -o json
can be put back. Nothing is stored unless every app of the file is valid.

Examples:
  app-proxyctl apps put notes.yaml
  app-proxyctl apps get notes -o json | jq '.affinity = \"none\"' | app-proxyctl apps put -
  app-proxyctl apps put notes.yaml --if-match 12")]
pub struct PutArgs {
    /// The file; `-` is standard input.
    pub file: PathBuf,
    /// Store the app only if it is still at this revision (`apps get` shows it).
    #[arg(long, value_name = "REVISION")]
    pub if_match: Option<u64>,
}

/// Arguments of `apps set`.
#[derive(Debug, Args)]
#[command(after_help = "\
The whole app is stored: what the flags do not say has its default, whatever the app of this name had before.

Examples:
  app-proxyctl apps set notes --endpoint 10.0.0.5:8888
  app-proxyctl apps set jupyter --endpoint 10.0.0.5:8888 --upstream-path keep
  app-proxyctl apps set model --endpoint 10.0.0.5:9000 --endpoint 10.0.0.6:9000 --affinity none --pool zone=gpu-a")]
pub struct SetArgs {
    /// The app's name.
    #[arg(value_parser = name)]
    pub name: String,
    /// Where it listens, as the workers see it: HOST:PORT or unix:/path. Repeat it for more.
    #[arg(short, long = "endpoint", value_name = "HOST:PORT", value_parser = address)]
    pub endpoints: Vec<Address>,
    /// What path it sees: without the matched prefix, or whole.
    #[arg(long, default_value = "strip", value_parser = PossibleValuesParser::new(["strip", "keep"]).map(upstream_path))]
    pub upstream_path: UpstreamPath,
    /// Whether its clients have sessions.
    #[arg(long, default_value = "session", value_parser = PossibleValuesParser::new(["session", "none"]).map(affinity))]
    pub affinity: Affinity,
    /// A label that its workers must have. Repeat it for more.
    #[arg(long = "pool", value_name = "LABEL=VALUE", value_parser = label)]
    pub pool: Vec<(String, String)>,
    /// Store the app only if it is still at this revision (`apps get` shows it).
    #[arg(long, value_name = "REVISION")]
    pub if_match: Option<u64>,
}

fn name(text: &str) -> Result<String, String> {
    check_name(text)
        .map(|()| text.to_owned())
        .map_err(|e| e.problem)
}

fn address(text: &str) -> Result<Address, String> {
    text.parse()
        .map_err(|e: app_proxy_api::address::AddressError| e.to_string())
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("write LABEL=VALUE, as in zone=gpu-a")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn upstream_path(text: String) -> UpstreamPath {
    if text == "keep" {
        UpstreamPath::Keep
    } else {
        UpstreamPath::Strip
    }
}

fn affinity(text: String) -> Affinity {
    if text == "none" {
        Affinity::None
    } else {
        Affinity::Session
    }
}
