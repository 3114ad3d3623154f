//! The commands.

pub(crate) mod apps;
pub(crate) mod check;
pub(crate) mod completion;
pub(crate) mod drain;
pub(crate) mod request;
pub(crate) mod sessions;
pub(crate) mod workers;

use crate::api::Api;
use crate::cli::Command;
use crate::error::CtlError;
use crate::output::Printer;

/// Runs a command.
///
/// # Errors
/// If the command fails.
pub(crate) async fn run(
    command: &Command,
    api: &Api,
    printer: &mut Printer<'_>,
) -> Result<(), CtlError> {
    match command {
        Command::Apps(command) => apps::run(command, api, printer).await,
        Command::Workers(command) => workers::run(command, api, printer).await,
        Command::Drain(args) => drain::run(args, api, printer).await,
        Command::Sessions(command) => sessions::run(command, api, printer).await,
        Command::Request(args) => request::run(args, api, printer).await,
        Command::Check(args) => check::run(args, api, printer).await,
        // Needs no coordinator; handled before the settings are read.
        Command::Completion(_) => Ok(()),
    }
}

/// The result of one action on several objects. A failed action is reported immediately, and the
/// others are still tried.
#[derive(Debug, Default)]
struct Batch {
    failed: bool,
}

impl Batch {
    /// Records the result for one object, and returns its value, or `None` if it failed.
    ///
    /// # Errors
    /// If the actions on the other objects would fail as well, such as without a coordinator.
    fn record<T>(
        &mut self,
        object: &str,
        result: Result<T, CtlError>,
        printer: &mut Printer<'_>,
    ) -> Result<Option<T>, CtlError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(CtlError::Failed(why)) => {
                self.failed = true;
                printer.note(&format!("{object}: {why}"))?;
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    /// Returns an error if an action failed.
    fn finish(self) -> Result<(), CtlError> {
        if self.failed {
            Err(CtlError::Reported)
        } else {
            Ok(())
        }
    }
}
