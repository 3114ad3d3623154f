//! The program `app-proxy-sample`.

use std::io::{self, Write};
use std::net::SocketAddr;

use anyhow::Context;
use clap::Parser;
use tokio::net::TcpListener;

/// A small application to try App-Proxy with: pages, a cookie, a redirect, an event stream and a
/// WebSocket, all of which show the request ID that arrived.
#[derive(Parser)]
#[command(name = "app-proxy-sample", version)]
struct Flags {
    /// The address to listen on. With port 0 the system chooses a free port, which is printed as
    /// "listening on ...".
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8890")]
    listen: SocketAddr,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"))
        .format_timestamp_millis()
        .init();

    let listener = TcpListener::bind(flags.listen)
        .await
        .with_context(|| format!("cannot listen on {}", flags.listen))?;
    writeln!(io::stdout(), "listening on {}", listener.local_addr()?)?;
    // No handler for SIGTERM: an event stream would never finish.
    axum::serve(listener, app_proxy_sample::routes::router()).await?;
    Ok(())
}
