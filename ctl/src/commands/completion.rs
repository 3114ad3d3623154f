//! `app-proxyctl completion`: the completion script of a shell.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::cli::{Cli, CompletionArgs};
use crate::error::CtlError;

/// Prints the completion script of a shell.
///
/// # Errors
/// If the script cannot be written.
pub(crate) fn run(args: &CompletionArgs, out: &mut dyn Write) -> Result<(), CtlError> {
    let mut command = Cli::command();
    // The generator panics if writing fails, as it can on a pipe.
    let mut script = Vec::new();
    generate(
        Shell::from(args.shell),
        &mut command,
        "app-proxyctl",
        &mut script,
    );
    out.write_all(&script)?;
    out.flush()?;
    Ok(())
}
