//! The admin listener: an axum application as a Pingora service, so that an upgrade hands its
//! socket to the successor.

use std::io;
use std::net::TcpListener as StdTcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener as StdUnixListener;

use async_trait::async_trait;
use axum::Router;
use log::error;
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::Service;
use tokio::net::{TcpListener, UnixListener};

use crate::daemon::ListenAddress;

/// A Pingora service that serves a router on an admin address.
pub struct AdminService {
    address: String,
    is_unix: bool,
    router: Router,
}

impl AdminService {
    /// Creates the service of an address that [`crate::daemon::reserve`] returned.
    #[must_use]
    pub fn new(address: &ListenAddress, router: Router) -> Self {
        Self {
            address: address.as_str().to_owned(),
            is_unix: address.is_unix(),
            router,
        }
    }

    /// Returns the predecessor's listener, or a new one that a successor can inherit.
    fn listen(&self, fds: Option<&ListenFds>) -> io::Result<Listener> {
        let inherited = fds.and_then(|table| table.lock().get(&self.address).copied());
        let listener = match inherited {
            Some(fd) => inherit(fd, self.is_unix),
            None => self.bind(),
        }?;
        if let (None, Some(table)) = (inherited, fds) {
            table.lock().add(self.address.clone(), listener.as_raw_fd());
        }
        Ok(listener)
    }

    fn bind(&self) -> io::Result<Listener> {
        if self.is_unix {
            // A killed process leaves its socket file behind. That no process listens on it was
            // checked when the address was reserved.
            match std::fs::remove_file(&self.address) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            return StdUnixListener::bind(&self.address).map(Listener::Unix);
        }
        StdTcpListener::bind(&self.address).map(Listener::Tcp)
    }
}

enum Listener {
    Tcp(StdTcpListener),
    Unix(StdUnixListener),
}

impl Listener {
    fn as_raw_fd(&self) -> i32 {
        match self {
            Self::Tcp(listener) => listener.as_raw_fd(),
            Self::Unix(listener) => listener.as_raw_fd(),
        }
    }
}

#[allow(unsafe_code)]
fn inherit(fd: i32, is_unix: bool) -> io::Result<Listener> {
    // SAFETY: the descriptor came over the upgrade socket for this address, and one service alone
    // has the address.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    Ok(if is_unix {
        Listener::Unix(owned.into())
    } else {
        Listener::Tcp(owned.into())
    })
}

#[async_trait]
impl Service for AdminService {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
    ) {
        let router = self.router.clone();
        let served = match self.listen(fds.as_ref()) {
            Ok(Listener::Tcp(listener)) => match tcp(listener) {
                Ok(listener) => axum::serve(UntilShutdown::new(listener, shutdown), router).await,
                Err(e) => Err(e),
            },
            Ok(Listener::Unix(listener)) => match unix(listener) {
                Ok(listener) => axum::serve(UntilShutdown::new(listener, shutdown), router).await,
                Err(e) => Err(e),
            },
            Err(e) => Err(e),
        };
        if let Err(e) = served {
            error!("cannot serve the admin API at {}: {e}", self.address);
        }
    }

    fn name(&self) -> &'static str {
        "admin"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(vec![self.address.clone()])
    }
}

/// A listener that closes at shutdown, while its connections stay: a graceful shutdown of the
/// server would close a connection whose first request is on its way.
struct UntilShutdown<L> {
    listener: Option<L>,
    shutdown: ShutdownWatch,
}

impl<L> UntilShutdown<L> {
    const fn new(listener: L, shutdown: ShutdownWatch) -> Self {
        Self {
            listener: Some(listener),
            shutdown,
        }
    }
}

impl<L: axum::serve::Listener> axum::serve::Listener for UntilShutdown<L> {
    type Io = L::Io;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        if let Some(listener) = &mut self.listener {
            tokio::select! {
                accepted = listener.accept() => return accepted,
                // Without a sender the process is about to exit.
                _ = self.shutdown.wait_for(|ending| *ending) => {}
            }
        }
        self.listener = None;
        std::future::pending().await
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        match &self.listener {
            Some(listener) => listener.local_addr(),
            None => Err(io::Error::new(io::ErrorKind::NotConnected, "closed")),
        }
    }
}

fn tcp(listener: StdTcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

fn unix(listener: StdUnixListener) -> io::Result<UnixListener> {
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}
