//! Shutdown: requests in flight end, the access log is flushed, and the process exits once nothing
//! is left.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use log::{error, info, warn};
use pingora_core::server::{
    ListenFds, RunArgs, ShutdownSignal, ShutdownSignalWatch, ShutdownWatch,
};
use pingora_core::services::Service;
use tokio::signal::unix::SignalKind;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use app_proxy_hop::config::DrainSection;
use app_proxy_hop::drain::{Drain, DrainStage};
use app_proxy_hop::observe::access_log::AccessLog;

use crate::config::ConfigFile;
use crate::daemon::listeners::ListenAddress;
use crate::daemon::reload::{Reload, reload_on_hangup};
use crate::daemon::signals::{self, count_terminations};

/// Interval at which a drain counts what is in flight.
const COUNT_EVERY: Duration = Duration::from_millis(20);
/// Time for listeners to come up; Pingora tries for 30 s to bind an address in use.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(40);
/// Interval at which a start checks for listeners.
const LISTEN_EVERY: Duration = Duration::from_millis(5);
/// Time for the access log to be flushed.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// Time without anything in flight after which a drain ends.
const QUIET: Duration = Duration::from_millis(100);
/// The same after an upgrade.
const QUIET_AFTER_UPGRADE: Duration = Duration::from_secs(1);
/// Time to log what was cut off.
const LOG_CUT_OFF: Duration = Duration::from_secs(1);
/// Time for closing handshakes after tunnels begin to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(6);

/// Receives the signals that end the process, and drains. Clones share the state.
#[derive(Clone)]
pub(super) struct Shutdown {
    drain: Drain,
    limits: DrainSection,
    log: AccessLog,
    pid_file: Option<PathBuf>,
    /// A successor serves: the shutdown began with SIGQUIT.
    upgraded: Arc<AtomicBool>,
    /// The number of SIGTERM and SIGINT since the start.
    terminations: Arc<watch::Sender<u32>>,
}

/// The service that starts the tasks that would not survive the fork of `-d`, logs the listeners'
/// addresses, and drains.
pub(super) struct Lifecycle {
    shutdown: Shutdown,
    listeners: Vec<ListenAddress>,
    reload: Option<Arc<dyn Reload>>,
    file: ConfigFile,
}

impl Shutdown {
    /// Creates the shutdown of a daemon; `pid_file` is the file to remove.
    pub(super) fn new(
        drain: Drain,
        limits: DrainSection,
        log: AccessLog,
        pid_file: Option<PathBuf>,
    ) -> Self {
        Self {
            drain,
            limits,
            log,
            pid_file,
            upgraded: Arc::default(),
            terminations: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Returns the service that drains.
    pub(super) fn service(
        &self,
        listeners: Vec<ListenAddress>,
        reload: Option<Arc<dyn Reload>>,
        file: ConfigFile,
    ) -> Lifecycle {
        Lifecycle {
            shutdown: self.clone(),
            listeners,
            reload,
            file,
        }
    }

    /// Returns what makes Pingora react to this daemon's signals.
    pub(super) fn run_args(&self) -> RunArgs {
        RunArgs {
            shutdown_signal: Box::new(self.clone()),
        }
    }

    /// Flushes the access log, removes the pid file and ends the process.
    pub(super) fn exit(&self) -> ! {
        self.log.flush(FLUSH_TIMEOUT);
        if let Some(file) = &self.pid_file {
            remove_own_pid_file(file);
        }
        info!("shutdown: complete");
        std::process::exit(0)
    }

    /// Waits for the shutdown to begin, drains, and ends the process.
    async fn drain_and_exit(&self, mut shutdown: ShutdownWatch) {
        if shutdown.wait_for(|ending| *ending).await.is_err() {
            return;
        }
        self.drain.advance(DrainStage::Draining);
        let mut terminations = self.terminations.subscribe();
        // The first SIGTERM began this drain, unless an upgrade did.
        let mut enough = if self.upgraded.load(Ordering::Relaxed) {
            1
        } else {
            2
        };
        loop {
            tokio::select! {
                () = self.drained() => break,
                () = terminated(&mut terminations, enough) => {
                    // The first SIGTERM after an upgrade: what is left has as long as after any
                    // first SIGTERM.
                    if self.upgraded.swap(false, Ordering::Relaxed) {
                        enough += 1;
                        continue;
                    }
                    self.cut_off().await;
                    break;
                }
            }
        }
        self.exit();
    }

    /// Waits until nothing is in flight, or the time for it is over.
    async fn drained(&self) {
        let upgraded = self.upgraded.load(Ordering::Relaxed);
        let (requests, streams) = if upgraded {
            (self.limits.upgrade.0, self.limits.upgrade.0)
        } else {
            (self.limits.requests.0, self.limits.streams.0)
        };
        // A connection counts from the moment its task runs: on a busy machine, one that was just
        // accepted needs a moment. After an upgrade the successor serves, and there is no hurry.
        let quiet = if upgraded { QUIET_AFTER_UPGRADE } else { QUIET };
        let start = Instant::now();
        let mut idle_since = start;
        let close_streams = start + streams;
        let give_up = start + requests.max(streams + CLOSE_TIMEOUT);
        info!("draining: {} in flight", self.drain.in_flight());
        loop {
            if self.drain.in_flight() > 0 {
                idle_since = Instant::now();
            } else if idle_since.elapsed() >= quiet {
                return;
            }
            if Instant::now() >= close_streams {
                self.drain.advance(DrainStage::ClosingStreams);
            }
            if Instant::now() >= give_up {
                return self.cut_off().await;
            }
            sleep_until(give_up.min(Instant::now() + COUNT_EVERY)).await;
        }
    }

    /// Cuts off what is in flight, and waits for it to be logged.
    async fn cut_off(&self) {
        if self.drain.in_flight() > 0 {
            warn!("draining: {} in flight are cut off", self.drain.in_flight());
        }
        self.drain.advance(DrainStage::CuttingOff);
        let latest = Instant::now() + LOG_CUT_OFF;
        while self.drain.in_flight() > 0 && Instant::now() < latest {
            sleep(COUNT_EVERY).await;
        }
    }
}

#[async_trait]
impl Service for Lifecycle {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
    ) {
        // After the fork, where the other diagnostics of the daemon go.
        self.file.log_warnings();
        self.shutdown.log.start();
        tokio::spawn(count_terminations(Arc::clone(&self.shutdown.terminations)));
        tokio::spawn(reload_on_hangup(
            self.reload.take(),
            self.shutdown.drain.clone(),
        ));
        let listeners = std::mem::take(&mut self.listeners);
        let announced = async {
            if let Some(fds) = fds {
                announce(listeners, &fds).await;
            }
        };
        tokio::join!(announced, self.shutdown.drain_and_exit(shutdown));
    }

    fn name(&self) -> &'static str {
        "lifecycle"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(Vec::new())
    }
}

#[async_trait]
impl ShutdownSignalWatch for Shutdown {
    async fn recv(&self) -> ShutdownSignal {
        let (Some(mut quit), Some(mut terminate), Some(mut interrupt)) = (
            signals::stream(SignalKind::quit()),
            signals::stream(SignalKind::terminate()),
            signals::stream(SignalKind::interrupt()),
        ) else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = quit.recv() => {
                self.upgraded.store(true, Ordering::Relaxed);
                // Until this process stops accepting, responses ask clients to reconnect, so that
                // no client uses a connection at the moment when idle ones are closed.
                self.drain.advance(DrainStage::Upgrading);
                ShutdownSignal::GracefulUpgrade
            }
            _ = terminate.recv() => ShutdownSignal::GracefulTerminate,
            _ = interrupt.recv() => {
                self.cut_off().await;
                ShutdownSignal::FastShutdown
            }
        }
    }
}

/// Logs each address once a service listens on it, and releases a port that was reserved. Exits if
/// a service does not listen in time: its failure would end its own task only.
async fn announce(mut listeners: Vec<ListenAddress>, fds: &ListenFds) {
    let latest = Instant::now() + LISTEN_TIMEOUT;
    while !listeners.is_empty() {
        listeners.retain(|listener| {
            let listens = fds.lock().get(listener.as_str()).is_some();
            if listens {
                info!("listening on {} ({})", listener.display(), listener.name());
            }
            !listens
        });
        if let Some(missing) = listeners.first().filter(|_| Instant::now() >= latest) {
            let (address, name) = (missing.display(), missing.name());
            error!("cannot listen on {address} ({name}) within {LISTEN_TIMEOUT:?}; exiting");
            std::process::exit(1);
        }
        sleep(LISTEN_EVERY).await;
    }
}

/// Waits until the process has received `enough` SIGTERM and SIGINT.
async fn terminated(terminations: &mut watch::Receiver<u32>, enough: u32) {
    // Without a sender, none will be counted any more.
    if terminations
        .wait_for(|count| *count >= enough)
        .await
        .is_err()
    {
        std::future::pending::<()>().await;
    }
}

/// Removes the pid file unless a successor has written its own process id.
fn remove_own_pid_file(file: &Path) {
    let own = std::process::id().to_string();
    if std::fs::read_to_string(file).is_ok_and(|pid| pid.trim() == own)
        && let Err(e) = std::fs::remove_file(file)
    {
        warn!("cannot remove pid file {}: {e}", file.display());
    }
}
