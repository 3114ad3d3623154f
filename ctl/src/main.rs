//! `app-proxyctl`.

use std::io::{BufWriter, Write};
use std::process::ExitCode;

use app_proxyctl::cli::Cli;
use app_proxyctl::failure::CtlError;
use app_proxyctl::output::plain;
use app_proxyctl::settings::Surroundings;
use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // A wrong command line, `--help` and `--version` end the process here.
    let cli = Cli::parse();
    let mut out = BufWriter::new(std::io::stdout().lock());
    let done = app_proxyctl::run(
        &cli,
        &Surroundings::of_the_process(),
        &mut out,
        &mut std::io::stderr(),
    )
    .await;
    // What was printed before a failure is a result too.
    let done = done.and(out.flush().map_err(CtlError::from));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(text) = failure.text() {
                let _ = writeln!(std::io::stderr(), "app-proxyctl: {}", plain(&text));
            }
            ExitCode::from(failure.exit_code())
        }
    }
}
