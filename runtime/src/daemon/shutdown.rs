//! Shutdown: requests in flight end, then everything else does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use log::{info, warn};
use pingora_core::server::{
    ListenFds, RunArgs, ShutdownSignal, ShutdownSignalWatch, ShutdownWatch,
};
use pingora_core::services::Service;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use app_proxy_hop::config::DrainSection;
use app_proxy_hop::drain::{Drain, DrainStage};

use crate::daemon::reload::{Reload, reload_on_hangup};
use crate::daemon::service_manager;
use crate::daemon::signals::{self, Orders};
use crate::pingora::hand_over;

/// Interval at which a drain counts what is in flight.
const COUNT_EVERY: Duration = Duration::from_millis(20);
/// Time without anything in flight after which a drain ends.
const QUIET: Duration = Duration::from_millis(100);
/// The same after an upgrade.
const QUIET_AFTER_UPGRADE: Duration = Duration::from_secs(1);
/// Time to log what was cut off.
const LOG_CUT_OFF: Duration = Duration::from_secs(1);
/// Time for closing handshakes after tunnels begin to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(6);

/// The shutdown of a tier. Clones share the state.
#[derive(Clone)]
pub(super) struct Shutdown {
    drain: Drain,
    limits: DrainSection,
    /// A successor serves: the shutdown began with SIGQUIT.
    upgraded: Arc<AtomicBool>,
    orders: Arc<watch::Sender<Orders>>,
    /// Signals are followed.
    attentive: Arc<AtomicBool>,
    /// Listeners close.
    closing: Arc<watch::Sender<bool>>,
    /// The drain is over.
    finished: Arc<watch::Sender<bool>>,
}

/// The service that waits for an order to end, and drains.
pub(super) struct Lifecycle {
    shutdown: Shutdown,
    daemon: Option<DaemonLife>,
}

/// The parts of a daemon's life that a tier inside another program does not have.
pub(super) struct DaemonLife {
    /// The reaction to SIGHUP.
    pub(super) reload: Option<Arc<dyn Reload>>,
    /// The socket at which a successor waits for the listening sockets.
    pub(super) upgrade_socket: String,
}

impl Shutdown {
    /// Creates the shutdown of a tier within `limits`.
    pub(super) fn new(drain: Drain, limits: DrainSection) -> Self {
        Self {
            drain,
            limits,
            upgraded: Arc::default(),
            orders: Arc::default(),
            attentive: Arc::default(),
            closing: Arc::default(),
            finished: Arc::default(),
        }
    }

    /// Returns the service that drains, in a daemon at a signal.
    pub(super) fn service(&self, daemon: Option<DaemonLife>) -> Lifecycle {
        Lifecycle {
            shutdown: self.clone(),
            daemon,
        }
    }

    /// Returns what ends Pingora's server once the drain is over: in a daemon at once, because the
    /// process ends; otherwise when its tasks have ended.
    pub(super) fn run_args(&self, is_daemon: bool) -> RunArgs {
        RunArgs {
            shutdown_signal: Box::new(Finished {
                finished: self.finished.subscribe(),
                is_daemon,
            }),
        }
    }

    /// Follows the closing of listeners.
    pub(super) fn closing(&self) -> ShutdownWatch {
        self.closing.subscribe()
    }

    /// Returns whether signals are followed, and orders carried out.
    pub(super) fn is_attentive(&self) -> bool {
        self.attentive.load(Ordering::Acquire)
    }

    /// Orders the end; the second order cuts off what is in flight.
    pub(super) fn terminate(&self) {
        self.orders.send_modify(|orders| orders.terminations += 1);
    }

    /// Waits for the first order, hands over or drains, and ends Pingora's server.
    async fn end_when_ordered(&self, sockets: Option<ListenFds>, upgrade_socket: Option<String>) {
        let mut orders = self.orders.subscribe();
        let first = orders.wait_for(|orders| *orders != Orders::default()).await;
        let first = first.map_or_else(|_| Orders::default(), |orders| *orders);
        let is_daemon = upgrade_socket.is_some();
        if let (true, Some(sockets), Some(path)) = (first.upgrade, sockets, upgrade_socket) {
            self.upgraded.store(true, Ordering::Relaxed);
            // Until this process stops accepting, responses ask clients to reconnect, so that no
            // client uses a connection at the moment when idle ones are closed.
            self.drain.advance(DrainStage::Upgrading);
            hand_over::send(path, sockets).await;
        } else if is_daemon {
            service_manager::stopping();
        }
        if first.interrupted {
            self.cut_off().await;
        } else {
            self.closing.send_replace(true);
            self.drain_in_time(orders).await;
        }
        self.finished.send_replace(true);
    }

    /// Drains; an order cuts that short.
    async fn drain_in_time(&self, mut orders: watch::Receiver<Orders>) {
        self.drain.advance(DrainStage::Draining);
        // The first SIGTERM began this drain, unless an upgrade did.
        let mut enough = if self.upgraded.load(Ordering::Relaxed) {
            1
        } else {
            2
        };
        loop {
            tokio::select! {
                () = self.drained() => break,
                () = terminated(&mut orders, enough) => {
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
        sockets: Option<ListenFds>,
        _closing: ShutdownWatch,
        _listeners_per_fd: usize,
    ) {
        let mut upgrade_socket = None;
        if let Some(daemon) = self.daemon.take() {
            signals::follow(Arc::clone(&self.shutdown.orders));
            reload_on_hangup(daemon.reload, self.shutdown.drain.clone());
            upgrade_socket = Some(daemon.upgrade_socket);
        }
        self.shutdown.attentive.store(true, Ordering::Release);
        self.shutdown
            .end_when_ordered(sockets, upgrade_socket)
            .await;
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

/// Ends Pingora's server once the drain is over.
struct Finished {
    finished: watch::Receiver<bool>,
    is_daemon: bool,
}

#[async_trait]
impl ShutdownSignalWatch for Finished {
    async fn recv(&self) -> ShutdownSignal {
        // Without a sender, nothing is left to wait for.
        let _ = self.finished.clone().wait_for(|finished| *finished).await;
        if self.is_daemon {
            ShutdownSignal::FastShutdown
        } else {
            ShutdownSignal::GracefulTerminate
        }
    }
}

/// Waits for `enough` orders to end.
async fn terminated(orders: &mut watch::Receiver<Orders>, enough: u32) {
    // Without a sender, none will come any more.
    if orders
        .wait_for(|orders| orders.terminations >= enough)
        .await
        .is_err()
    {
        std::future::pending::<()>().await;
    }
}
