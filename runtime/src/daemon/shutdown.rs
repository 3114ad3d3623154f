//! The end: what is in flight finishes, the log is written out, and the process goes as soon as
//! nothing is left.

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
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::daemon::listen::Bound;
use crate::daemon::reload::{Reload, at_signals};
use app_proxy_hop::config::DrainSection;
use app_proxy_hop::drain::{Drain, DrainStage};
use app_proxy_hop::observe::access_log::AccessLog;

/// How often what is in flight is counted during a drain.
const COUNT_EVERY: Duration = Duration::from_millis(20);
/// How long listeners have to come up; Pingora tries for 30 s to bind an address that is in use.
const LISTEN_LATEST: Duration = Duration::from_secs(40);
/// How often listeners are looked for at the start.
const LISTEN_EVERY: Duration = Duration::from_millis(5);
/// How long the access log may take to be written out.
const FLUSH: Duration = Duration::from_secs(2);
/// How long nothing must have been in flight before the process ends.
const QUIET: Duration = Duration::from_millis(100);
/// The same after a hand-over.
const QUIET_AFTER_HAND_OVER: Duration = Duration::from_secs(1);
/// How long it may take to log what was cut off.
const LOG_CUT_OFF: Duration = Duration::from_secs(1);
/// How long closing handshakes may take once tunnels are told to close.
const CLOSE: Duration = Duration::from_secs(6);

/// Waits for the signals and carries out the end.
#[derive(Clone)]
pub(super) struct Ending {
    drain: Drain,
    limits: DrainSection,
    log: AccessLog,
    pid_file: Option<PathBuf>,
    handed_over: Arc<AtomicBool>,
    /// How often the daemon was told to end: SIGTERM and SIGINT since the start.
    told: Arc<watch::Sender<u32>>,
}

/// The service that starts what a fork would have lost, says where the daemon listens, and drains
/// at its end.
pub(super) struct Lifecycle {
    ending: Ending,
    bound: Vec<Bound>,
    reload: Option<Arc<dyn Reload>>,
}

impl Ending {
    pub(super) fn new(
        drain: Drain,
        limits: DrainSection,
        log: AccessLog,
        pid_file: Option<PathBuf>,
    ) -> Self {
        let told = Arc::new(watch::Sender::new(0));
        Self {
            drain,
            limits,
            log,
            pid_file,
            handed_over: Arc::default(),
            told,
        }
    }

    /// The service that carries it out.
    pub(super) fn service(&self, bound: Vec<Bound>, reload: Option<Arc<dyn Reload>>) -> Lifecycle {
        Lifecycle {
            ending: self.clone(),
            bound,
            reload,
        }
    }

    /// Tells Pingora of the signals.
    pub(super) fn run_args(&self) -> RunArgs {
        RunArgs {
            shutdown_signal: Box::new(self.clone()),
        }
    }

    /// Writes out the log, removes the pid file and ends the process.
    pub(super) fn finish(&self) -> ! {
        self.log.flush(FLUSH);
        if let Some(file) = &self.pid_file {
            remove_own_pid_file(file);
        }
        info!("ended");
        std::process::exit(0)
    }

    /// Waits for the shutdown, and drains.
    async fn wait(&self, mut shutdown: ShutdownWatch) {
        if shutdown.wait_for(|ending| *ending).await.is_err() {
            return;
        }
        self.drain.advance(DrainStage::Draining);
        let mut told = self.told.subscribe();
        // One SIGTERM began this, unless a successor did.
        let mut enough = if self.handed_over.load(Ordering::Relaxed) {
            1
        } else {
            2
        };
        loop {
            tokio::select! {
                () = self.drained() => break,
                () = told_often(&mut told, enough) => {
                    // Told to end while a successor serves: what is left has as long as after a
                    // first SIGTERM.
                    if self.handed_over.swap(false, Ordering::Relaxed) {
                        enough += 1;
                        continue;
                    }
                    self.cut_off().await;
                    break;
                }
            }
        }
        self.finish();
    }

    /// Waits until nothing is in flight, or its time is over.
    async fn drained(&self) {
        let (requests, streams) = if self.handed_over.load(Ordering::Relaxed) {
            (self.limits.upgrade.0, self.limits.upgrade.0)
        } else {
            (self.limits.requests.0, self.limits.streams.0)
        };
        // A connection counts once its task runs: one that was accepted last, on a busy machine,
        // needs a moment until then. After a hand-over nobody waits for this process.
        let quiet = if self.handed_over.load(Ordering::Relaxed) {
            QUIET_AFTER_HAND_OVER
        } else {
            QUIET
        };
        let start = Instant::now();
        let mut idle_since = start;
        let close_streams = start + streams;
        let give_up = start + requests.max(streams + CLOSE);
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

    /// Cuts off what is in flight, and waits a moment for it to be logged.
    async fn cut_off(&self) {
        if self.drain.in_flight() > 0 {
            warn!("{} in flight are cut off", self.drain.in_flight());
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
        self.ending.log.start();
        tokio::spawn(count_signals(Arc::clone(&self.ending.told)));
        tokio::spawn(at_signals(self.reload.take(), self.ending.drain.clone()));
        let bound = std::mem::take(&mut self.bound);
        let announced = async {
            if let Some(fds) = fds {
                announce(bound, &fds).await;
            }
        };
        tokio::join!(announced, self.ending.wait(shutdown));
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
impl ShutdownSignalWatch for Ending {
    async fn recv(&self) -> ShutdownSignal {
        let (Some(mut quit), Some(mut terminate), Some(mut interrupt)) = (
            listen(SignalKind::quit()),
            listen(SignalKind::terminate()),
            listen(SignalKind::interrupt()),
        ) else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = quit.recv() => {
                self.handed_over.store(true, Ordering::Relaxed);
                // From here until this process stops taking connections, clients that keep theirs
                // are asked to connect anew, so that none is in use when the idle ones are closed.
                self.drain.advance(DrainStage::HandingOver);
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

/// Says where the daemon listens, once it does; a port that was held for a listener is let go then.
/// A listener that cannot bind ends only its own task, so a daemon whose listeners do not all come
/// up ends here.
async fn announce(mut bound: Vec<Bound>, fds: &ListenFds) {
    let latest = Instant::now() + LISTEN_LATEST;
    while !bound.is_empty() {
        bound.retain(|bound| {
            let listens = fds.lock().get(&bound.address).is_some();
            if listens {
                info!("listening on {} ({})", bound.display(), bound.name);
            }
            !listens
        });
        if let Some(missing) = bound.first().filter(|_| Instant::now() >= latest) {
            error!(
                "{} ({}) cannot be listened on",
                missing.display(),
                missing.name
            );
            std::process::exit(1);
        }
        sleep(LISTEN_EVERY).await;
    }
}

async fn told_often(told: &mut watch::Receiver<u32>, enough: u32) {
    // Without a sender nobody counts any more.
    if told.wait_for(|times| *times >= enough).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Counts how often the daemon is told to end: whoever asks twice means it.
async fn count_signals(told: Arc<watch::Sender<u32>>) {
    let (Some(mut terminate), Some(mut interrupt)) = (
        listen(SignalKind::terminate()),
        listen(SignalKind::interrupt()),
    ) else {
        return;
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        told.send_modify(|times| *times += 1);
    }
}

fn listen(kind: SignalKind) -> Option<Signal> {
    signal(kind)
        .inspect_err(|e| error!("signal {kind:?} cannot be listened to: {e}"))
        .ok()
}

/// Removes the pid file unless a successor has written its own into it.
fn remove_own_pid_file(file: &Path) {
    let own = std::process::id().to_string();
    if std::fs::read_to_string(file).is_ok_and(|pid| pid.trim() == own)
        && let Err(e) = std::fs::remove_file(file)
    {
        warn!("{} cannot be removed: {e}", file.display());
    }
}
