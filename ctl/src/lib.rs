//! `app-proxyctl`, the command line of App-Proxy. A command becomes calls of a coordinator's admin
//! API.

mod cli;
mod settings;

mod commands;

mod api;
mod error;
mod output;

use std::io::{BufWriter, Write};
use std::process::ExitCode;

use chrono::Utc;
use clap::Parser;

use crate::api::Api;
use crate::cli::{Cli, Command};
use crate::error::CtlError;
use crate::output::{Printer, plain};
use crate::settings::{Environment, Settings};

/// Runs the program with the arguments and the environment of this process, and returns its exit
/// code.
///
/// Invalid arguments, `--help` and `--version` end the process.
pub async fn run() -> ExitCode {
    let cli = Cli::parse();
    let mut out = BufWriter::new(std::io::stdout().lock());
    let result = run_command(&cli, &mut out).await;
    // Output from before an error is written as well.
    let result = result.and(out.flush().map_err(CtlError::from));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(text) = error.text() {
                let _ = writeln!(std::io::stderr(), "app-proxyctl: {}", plain(&text));
            }
            ExitCode::from(error.exit_code())
        }
    }
}

/// Runs a command. Results are written to `out`, notes for people to standard error.
async fn run_command(cli: &Cli, out: &mut dyn Write) -> Result<(), CtlError> {
    if let Command::Completion(args) = &cli.command {
        return commands::completion::run(args, out);
    }
    let settings = Settings::find(&cli.connection, &Environment::of_process())
        .map_err(|e| CtlError::Usage(e.to_string()))?;
    let mut notes = std::io::stderr();
    let mut printer = Printer::new(cli.output, Utc::now, out, &mut notes);
    for warning in &settings.warnings {
        printer.note(warning)?;
    }
    commands::run(&cli.command, &Api::new(&settings), &mut printer).await?;
    printer.flush()
}
