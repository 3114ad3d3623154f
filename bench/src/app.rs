//! The application behind every chain: small, so that the proxies have most of the load.
//!
//! | path | answer |
//! |---|---|
//! | `/1k`, `/64k`, `/bytes/N` | so many bytes |
//! | `/id` | the request ID that arrived |
//! | `/upload` | reads a body, answers with its length |
//! | `/sse` | an event every 100 ms, with the time when it was sent |
//! | `/wait` | nothing, until the connection is closed |
//! | `/ws` | a WebSocket that echoes |
//!
//! A leading `/apps/NAME` is left out: App-Proxy strips it, the other proxies pass it on.

mod answer;
mod echo;
mod request;

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpSocket};

/// Serves until the process is ended.
///
/// # Errors
/// The address is taken.
pub async fn serve(address: SocketAddr) -> Result<()> {
    let listener = listen(address).with_context(|| format!("cannot listen on {address}"))?;
    loop {
        // A connection that breaks is the client's finding, not ours.
        if let Ok((stream, _)) = listener.accept().await {
            tokio::task::spawn_local(answer::connection(stream));
        }
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket.listen(4096)?)
}
