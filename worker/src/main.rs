//! `app-proxy-worker`.

use std::process::ExitCode;

/// Needs half the instructions of the system's allocator for the allocations of a request, and
/// returns memory when streams end.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    app_proxy_worker::daemon::main(|builder| builder)
}
