//! The daemon `app-proxy-coordinator`.

use std::process::ExitCode;

use app_proxy_runtime::allocator::Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    app_proxy_coordinator::daemon::main(|builder| builder)
}
