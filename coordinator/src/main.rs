//! The daemon `app-proxy-coordinator`.

use std::process::ExitCode;

/// For a request's allocations mimalloc executes half the instructions of the system's allocator,
/// and it returns memory when streams end.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    app_proxy_coordinator::daemon::main(|builder| builder)
}
