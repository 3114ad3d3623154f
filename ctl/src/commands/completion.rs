//! `app-proxyctl completion`.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::cli::{Cli, CompletionArgs};
use crate::failure::CtlError;

/// Prints the completion script of a shell.
///
/// # Errors
/// When it cannot be written.
pub fn run(args: &CompletionArgs, out: &mut dyn Write) -> Result<(), CtlError> {
    let mut command = Cli::command();
    // The generator does not expect that what it writes to can fail, as a pipe can.
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
