//! What each command does.

pub mod apps;
pub mod check;
pub mod completion;
pub mod drain;
pub mod request;
pub mod sessions;
pub mod workers;

use crate::api::Api;
use crate::cli::Command;
use crate::failure::CtlError;
use crate::output::Printer;

/// Does what a command asks for.
///
/// # Errors
/// When it cannot be done.
pub async fn run(command: &Command, api: &Api, printer: &mut Printer<'_>) -> Result<(), CtlError> {
    match command {
        Command::Apps(command) => apps::run(command, api, printer).await,
        Command::Workers(command) => workers::run(command, api, printer).await,
        Command::Drain(args) => drain::run(args, api, printer).await,
        Command::Sessions(command) => sessions::run(command, api, printer).await,
        Command::Request(args) => request::run(args, api, printer).await,
        Command::Check(args) => check::run(args, api, printer).await,
        // It needs no coordinator, and is done before one is looked for.
        Command::Completion(_) => Ok(()),
    }
}

/// What became of several things that were to be done: a refused one is told at once, and keeps
/// none of the others from being done.
#[derive(Debug, Default)]
struct Several {
    refused: bool,
}

impl Several {
    /// Takes note of one of them; what it results in, unless it was refused.
    ///
    /// # Errors
    /// When the others will fail as well, as without a coordinator.
    fn note<T>(
        &mut self,
        what: &str,
        result: Result<T, CtlError>,
        printer: &mut Printer<'_>,
    ) -> Result<Option<T>, CtlError> {
        match result {
            Ok(done) => Ok(Some(done)),
            Err(CtlError::Failed(why)) => {
                self.refused = true;
                printer.note(&format!("{what}: {why}"))?;
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    /// How all of it went.
    fn end(self) -> Result<(), CtlError> {
        if self.refused {
            Err(CtlError::Told)
        } else {
            Ok(())
        }
    }
}
