//! Arguments of `app-proxyctl apps`.

use std::path::PathBuf;

use app_proxy_api::address::Address;
use app_proxy_api::apps::{Affinity, UpstreamPath, check_name};
use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

use super::ListArgs;

/// A command about apps.
#[derive(Debug, Subcommand)]
pub(crate) enum AppsCommand {
    /// List apps.
    #[command(
        visible_alias = "ls",
        after_help = "\
Examples:
  app-proxyctl apps list
  app-proxyctl apps list -o wide
  app-proxyctl apps list -o yaml > apps.yaml"
    )]
    List(ListArgs),
    /// Show an app.
    #[command(
        visible_alias = "show",
        after_help = "\
Examples:
  app-proxyctl apps get notes
  app-proxyctl apps get notes -o yaml > notes.yaml"
    )]
    Get(AppChoice),
    /// Create or replace the apps of a file.
    Put(PutArgs),
    /// Create or replace an app without a file.
    Set(SetArgs),
    /// Delete apps.
    #[command(
        visible_alias = "rm",
        after_help = "Examples:\n  app-proxyctl apps delete notes\n  app-proxyctl apps delete a b c"
    )]
    Delete {
        /// Names of the apps.
        #[arg(
            required = true,
            value_name = "NAME",
            value_parser = NonEmptyStringValueParser::new()
        )]
        names: Vec<String>,
    },
}

/// The argument of commands about one app.
#[derive(Debug, Args)]
pub(crate) struct AppChoice {
    /// The app's name.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) name: String,
}

/// Arguments of `apps put`.
#[derive(Debug, Args)]
#[command(after_help = "\
The file is YAML or JSON: one app, a list of apps, or a list under `apps:`. The output of `apps get`
and `apps list` with -o yaml or -o json is a valid file. Nothing is stored unless every app of the
file is valid.

Examples:
  app-proxyctl apps put notes.yaml
  app-proxyctl apps get notes -o json | jq '.affinity = \"none\"' | app-proxyctl apps put -
  app-proxyctl apps put notes.yaml --if-match 12")]
pub(crate) struct PutArgs {
    /// The file; `-` is standard input.
    pub(crate) file: PathBuf,
    /// Store the app only if it is still at this revision (see `apps get`).
    #[arg(long, value_name = "REVISION")]
    pub(crate) if_match: Option<u64>,
}

/// Arguments of `apps set`.
#[derive(Debug, Args)]
#[command(after_help = "\
The app is replaced as a whole: fields without a flag get their default.

Examples:
  app-proxyctl apps set notes --endpoint 10.0.0.5:8888
  app-proxyctl apps set jupyter --endpoint 10.0.0.5:8888 --upstream-path keep
  app-proxyctl apps set model --endpoint 10.0.0.5:9000 --endpoint 10.0.0.6:9000 --affinity none")]
pub(crate) struct SetArgs {
    /// The app's name.
    #[arg(value_parser = name)]
    pub(crate) name: String,
    /// An address of the app, as workers reach it: HOST:PORT or unix:/path. May be repeated.
    #[arg(short, long = "endpoint", value_name = "HOST:PORT", value_parser = address)]
    pub(crate) endpoints: Vec<Address>,
    /// The path that the app receives: without the matched prefix, or whole.
    #[arg(
        long,
        default_value = "strip",
        value_parser = PossibleValuesParser::new(["strip", "keep"]).map(upstream_path)
    )]
    pub(crate) upstream_path: UpstreamPath,
    /// Session affinity of the app's clients.
    #[arg(
        long,
        default_value = "session",
        value_parser = PossibleValuesParser::new(["session", "none"]).map(affinity)
    )]
    pub(crate) affinity: Affinity,
    /// A label that the app's workers must have. May be repeated.
    #[arg(long = "pool", value_name = "LABEL=VALUE", value_parser = label)]
    pub(crate) pool: Vec<(String, String)>,
    /// Store the app only if it is still at this revision (see `apps get`).
    #[arg(long, value_name = "REVISION")]
    pub(crate) if_match: Option<u64>,
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
