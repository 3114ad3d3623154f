//! The daemon `app-proxy-coordinator`.

use std::process::ExitCode;

use app_proxy_coordinator::daemon;
use app_proxy_runtime::daemon::{Flags, Logging};

/// For a request's allocations mimalloc executes half the instructions of the system's allocator,
/// and it returns memory when streams end.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let logging = Logging::start();
    let flags = Flags::from_args(
        "app-proxy-coordinator",
        "Routes requests to workers and keeps sessions.",
        std::env::args_os(),
    );
    match daemon::run(&flags, &logging) {
        Ok(never) => match never {},
        Err(e) => {
            // One clear line, whatever the log level is.
            eprintln!("app-proxy-coordinator: {e:#}");
            ExitCode::FAILURE
        }
    }
}
