//! `app-proxy-worker`.

use std::process::ExitCode;

use app_proxy_runtime::daemon::{Flags, Logging};
use app_proxy_worker::daemon;

/// Needs half the instructions of the system's allocator for the allocations of a request, and
/// returns memory when streams end.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let logging = Logging::start();
    let flags = Flags::from_args(
        "app-proxy-worker",
        "Proxies to the applications next to it, for coordinators.",
        std::env::args_os(),
    );
    match daemon::run(&flags, &logging) {
        Ok(never) => match never {},
        Err(e) => {
            // Printed at every log level.
            eprintln!("app-proxy-worker: {e:#}");
            ExitCode::FAILURE
        }
    }
}
