//! `app-proxyctl`, the command for people who look after App-Proxy: a command line becomes calls of
//! a coordinator's admin API.

pub mod cli;
pub mod settings;

pub mod commands;

pub mod api;
pub mod failure;
pub mod output;

use std::io::Write;

use chrono::Utc;

use crate::cli::{Cli, Command};
use crate::failure::CtlError;
use crate::output::Printer;
use crate::settings::{Settings, Surroundings};

/// Does what a command line asks for; results go to `out`, everything else that people should read
/// to `notes`.
///
/// # Errors
/// What went wrong, with the exit code that stands for it.
pub async fn run(
    cli: &Cli,
    surroundings: &Surroundings,
    out: &mut dyn Write,
    notes: &mut dyn Write,
) -> Result<(), CtlError> {
    if let Command::Completion(args) = &cli.command {
        return commands::completion::run(args, out);
    }
    let settings = Settings::find(&cli.connection, surroundings)
        .map_err(|e| CtlError::Usage(e.to_string()))?;
    let mut printer = Printer::new(cli.output, Utc::now, out, notes);
    for warning in &settings.warnings {
        printer.note(warning)?;
    }
    let api = api::Api::new(&settings);
    commands::run(&cli.command, &api, &mut printer).await?;
    printer.flush()
}
