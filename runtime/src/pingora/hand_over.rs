//! The hand-over of listening sockets in an upgrade, by Pingora's [`Fds`]. Pingora's own bootstrap
//! would end the process where the sockets do not come.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::panic::catch_unwind;
use std::time::Duration;

use log::{error, info, warn};
use pingora_core::server::{Fds, ListenFds};
use tokio::time::sleep;

/// The time in which both processes accept connections: that of Pingora.
const BOTH_ACCEPT: Duration = Duration::from_secs(5);

/// The listening sockets of the predecessor did not come.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandOverError {
    /// Another successor waits at the same socket.
    #[error("another new process waits for the listening sockets at {path}")]
    Claimed { path: String },
    /// The socket, or the file that locks it, cannot be created.
    #[error("{path}: {cause}")]
    Socket { path: String, cause: io::Error },
    /// The predecessor has sent nothing.
    #[error(
        "no listening sockets came from the running process at {path} in time: it needs SIGQUIT"
    )]
    TimedOut { path: String },
    /// The transfer failed.
    #[error("no listening sockets came from the running process at {path}: {cause}")]
    Failed { path: String, cause: String },
}

/// The right to wait at an upgrade socket, which one process has at a time.
pub(crate) struct Claim {
    path: String,
    /// Holds the lock until it is closed. The file stays: two processes could lock two files of the
    /// same name otherwise.
    _lock: File,
}

impl Claim {
    /// Claims the socket at `path`.
    ///
    /// # Errors
    /// If another process waits there, or no socket can be created there.
    pub(crate) fn new(path: &str) -> Result<Self, HandOverError> {
        let path = path.to_owned();
        let lock_path = format!("{path}.lock");
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path);
        let lock = match lock.map(|lock| lock.try_lock().map(|()| lock)) {
            Ok(Ok(lock)) => lock,
            Ok(Err(TryLockError::WouldBlock)) => return Err(HandOverError::Claimed { path }),
            Ok(Err(TryLockError::Error(cause))) | Err(cause) => {
                return Err(HandOverError::Socket {
                    path: lock_path,
                    cause,
                });
            }
        };
        // Pingora panics where it cannot bind the socket.
        match probe(&path) {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(cause) => Err(HandOverError::Socket { path, cause }),
        }
    }

    /// Waits some seconds for the sockets of the predecessor, and adds those at the `expected`
    /// addresses to the table; others are closed. Blocks.
    ///
    /// # Errors
    /// If the predecessor does not send them.
    pub(crate) fn receive(
        self,
        expected: &HashSet<String>,
        table: &ListenFds,
    ) -> Result<(), HandOverError> {
        let path = self.path.as_str();
        info!("waiting for the listening sockets of the running process at {path}");
        let received = catch_unwind(|| {
            let mut fds = Fds::new();
            fds.get_from_sock(path).map(|()| fds)
        });
        let failed = |cause: &str| HandOverError::Failed {
            path: path.to_owned(),
            cause: cause.to_owned(),
        };
        let mut fds = received
            .map_err(|_| failed("the transfer ended in a panic"))?
            .map_err(|e| match io::Error::from(e) {
                e if e.kind() == io::ErrorKind::WouldBlock => HandOverError::TimedOut {
                    path: path.to_owned(),
                },
                e => failed(&e.to_string()),
            })?;
        let closed = fds.close_unclaimed(expected);
        if !closed.is_empty() {
            warn!("inherited sockets of no listener are closed: {closed:?}");
        }
        *table.lock() = fds;
        Ok(())
    }
}

/// Checks that a socket can be created at `path`; one that is left over is removed.
fn probe(path: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    drop(UnixListener::bind(path)?);
    fs::remove_file(path)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn one_successor_waits_at_a_socket_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.sock").display().to_string();
        let first = Claim::new(&path).unwrap();
        let refused = Claim::new(&path).err().unwrap().to_string();
        assert_eq!(
            refused,
            format!("another new process waits for the listening sockets at {path}")
        );
        let lock = fs::metadata(format!("{path}.lock")).unwrap();
        assert_eq!(lock.permissions().mode() & 0o777, 0o600);
        drop(first);
        Claim::new(&path).unwrap();
    }

    #[test]
    fn a_socket_that_cannot_be_bound_is_found_before_the_wait() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing/d.sock").display().to_string();
        let long = folder.path().join("d".repeat(120)).display().to_string();
        for path in [missing, long] {
            let error = Claim::new(&path).err().unwrap().to_string();
            assert!(error.starts_with(&path), "{error}");
        }
    }
}
