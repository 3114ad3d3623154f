//! A tier that runs.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use log::{error, info};

use app_proxy_hop::exchange::HopServices;

use crate::daemon::error::{Cause, StartError};
use crate::daemon::listeners::ListenAddress;
use crate::daemon::shutdown::Shutdown;
use crate::pingora::supplied::Supplies;

/// Time for listeners to come up; Pingora tries for 30 s to bind an address in use.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(40);
/// Interval at which a start checks for listeners.
const LISTEN_EVERY: Duration = Duration::from_millis(5);
/// Time for the access log to be flushed.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// A tier that serves. Dropping it cuts off what is in flight, and ends the tier.
pub struct Running {
    shutdown: Shutdown,
    /// The thread of Pingora's server; `None` once it has ended.
    server: Option<JoinHandle<()>>,
    hop: Arc<HopServices>,
}

impl Running {
    /// Creates the handle of a server in a thread.
    pub(super) fn new(shutdown: Shutdown, server: JoinHandle<()>, hop: Arc<HopServices>) -> Self {
        Self {
            shutdown,
            server: Some(server),
            hop,
        }
    }

    /// Drains within the configured limits, and ends the tier. Then its ports are free. Blocks.
    pub fn stop(mut self) {
        self.shutdown.terminate();
        self.join();
    }

    /// Waits until a signal has ended the tier.
    pub(super) fn wait(mut self) {
        self.join();
    }

    fn join(&mut self) {
        let Some(server) = self.server.take() else {
            return;
        };
        if server.join().is_err() {
            error!("the server ended in a panic");
        }
        self.hop.log.flush(FLUSH_TIMEOUT);
        info!("shutdown: complete");
    }

    /// Logs each address once its service listens, and releases a port that was reserved.
    ///
    /// # Errors
    /// If a service does not listen in time: its failure would end its own task only.
    pub(super) fn await_listeners(
        &self,
        mut listeners: Vec<ListenAddress>,
        supplies: &Supplies,
        services: usize,
    ) -> Result<(), StartError> {
        let latest = Instant::now() + LISTEN_TIMEOUT;
        loop {
            if supplies.started() == services && self.shutdown.is_attentive() {
                listeners.retain(|listener| {
                    let listens = supplies.sockets.lock().get(listener.as_str()).is_some();
                    if listens {
                        info!("listening on {} ({})", listener.address(), listener.name());
                    }
                    !listens
                });
            }
            let Some(missing) = listeners.first() else {
                return Ok(());
            };
            if Instant::now() >= latest {
                return Err(Cause::Listen {
                    address: missing.address().to_string(),
                    name: missing.name(),
                    seconds: LISTEN_TIMEOUT.as_secs(),
                }
                .into());
            }
            if self.server.as_ref().is_none_or(JoinHandle::is_finished) {
                return Err(Cause::Stopped.into());
            }
            thread::sleep(LISTEN_EVERY);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.server.is_some() {
            // The first order begins the drain, the second one ends it.
            self.shutdown.terminate();
            self.shutdown.terminate();
            self.join();
        }
    }
}
