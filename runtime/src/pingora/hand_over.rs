//! The hand-over of listening sockets in an upgrade, by Pingora's [`Fds`]. Pingora's own bootstrap
//! would end the process where the sockets do not come.

use std::collections::HashSet;
use std::panic::catch_unwind;
use std::time::Duration;

use log::{error, info, warn};
use pingora_core::server::{Fds, ListenFds};
use tokio::time::sleep;

/// The time in which both processes accept connections: that of Pingora.
const BOTH_ACCEPT: Duration = Duration::from_secs(5);

/// The listening sockets of the predecessor did not come.
#[derive(Debug, thiserror::Error)]
#[error("no listening sockets came from the running process at {path}: {cause}")]
pub(crate) struct HandOverError {
    path: String,
    cause: String,
}

/// Waits some seconds for the sockets of the predecessor, and adds those at the `expected`
/// addresses to the table; others are closed. Blocks.
///
/// # Errors
/// If the predecessor does not send them.
pub(crate) fn receive(
    path: &str,
    expected: &HashSet<String>,
    table: &ListenFds,
) -> Result<(), HandOverError> {
    info!("waiting for the listening sockets of the running process at {path}");
    let failed = |cause: String| HandOverError {
        path: path.to_owned(),
        cause,
    };
    // Pingora panics where it cannot bind the socket.
    let received = catch_unwind(|| {
        let mut fds = Fds::new();
        fds.get_from_sock(path).map(|()| fds)
    });
    let mut fds = received
        .map_err(|_| failed("the socket cannot be bound".to_owned()))?
        .map_err(|e| failed(e.to_string()))?;
    let closed = fds.close_unclaimed(expected);
    if !closed.is_empty() {
        warn!("inherited sockets of no listener are closed: {closed:?}");
    }
    *table.lock() = fds;
    Ok(())
}

/// Sends the sockets to the successor, and waits until it has had time to accept connections. The
/// shutdown goes on if the successor does not receive them.
pub(crate) async fn send(path: String, table: ListenFds) {
    let sent = tokio::task::spawn_blocking(move || {
        let fds = table.lock();
        fds.send_to_sock(path.as_str()).map_err(|e| (path, e))
    });
    match sent.await {
        Ok(Ok(_)) => info!("the listening sockets are handed over"),
        Ok(Err((path, e))) => error!("cannot hand over the listening sockets at {path}: {e}"),
        Err(e) => error!("cannot hand over the listening sockets: {e}"),
    }
    sleep(BOTH_ACCEPT).await;
}
