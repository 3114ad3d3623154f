//! Signal handlers.

use std::sync::Arc;

use log::{error, warn};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// The orders to end, from signals and from the program around the tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Orders {
    /// A successor waits for the listening sockets (SIGQUIT).
    pub(super) upgrade: bool,
    /// The number of orders to end (SIGTERM, SIGINT); the second cuts the drain short.
    pub(super) terminations: u32,
    /// The first order was to end without a drain (SIGINT).
    pub(super) interrupted: bool,
}

/// SIGXFSZ, which Tokio does not name; the number is the same on all supported architectures.
const FILE_TOO_LARGE: SignalKind = SignalKind::from_raw(25);

/// Installs handlers for signals whose default action would end the process: SIGHUP, which may
/// arrive during the start, and SIGXFSZ, which comes with a write beyond the limit of a file's
/// size; that write fails like any other.
pub(super) fn install_early_handlers() {
    // Handlers stay for the life of the process; the runtime is needed to install them only.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build();
    let install = async {
        signal(SignalKind::hangup())
            .and(signal(FILE_TOO_LARGE))
            .map(drop)
    };
    if let Err(e) = runtime.and_then(|runtime| runtime.block_on(install)) {
        warn!("cannot install signal handlers: {e}");
    }
}

/// Returns the stream of a signal; `None` if its handler cannot be installed, which is logged.
pub(super) fn stream(kind: SignalKind) -> Option<Signal> {
    signal(kind)
        .inspect_err(|e| error!("cannot install the handler of signal {kind:?}: {e}"))
        .ok()
}

/// Adds the signals that end the process to the orders, from the call on.
pub(super) fn follow(orders: Arc<watch::Sender<Orders>>) {
    let (Some(mut quit), Some(mut terminate), Some(mut interrupt)) = (
        stream(SignalKind::quit()),
        stream(SignalKind::terminate()),
        stream(SignalKind::interrupt()),
    ) else {
        return;
    };
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = quit.recv() => orders.send_modify(|orders| orders.upgrade = true),
                _ = terminate.recv() => orders.send_modify(|orders| orders.terminations += 1),
                _ = interrupt.recv() => orders.send_modify(|orders| {
                    orders.interrupted |= orders.terminations == 0;
                    orders.terminations += 1;
                }),
            }
        }
    });
}
