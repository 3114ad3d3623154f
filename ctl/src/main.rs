//! The program `app-proxyctl`.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    app_proxyctl::run().await
}
