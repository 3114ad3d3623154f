//! Signal handlers.

use std::sync::Arc;

use log::{error, warn};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// SIGXFSZ, which Tokio does not name; the number is the same on all supported architectures.
const FILE_TOO_LARGE: SignalKind = SignalKind::from_raw(25);

/// Installs handlers for signals whose default action would end the process: SIGHUP, which may
/// arrive during the start, and SIGXFSZ, which comes with a write beyond the limit of a file's
/// size; that write fails like any other.
pub(super) fn install_early_handlers() {
    // Handlers stay for the life of the process. The runtime is needed to install them only, and
    // must not exist at the fork of `-d`.
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

/// Counts SIGTERM and SIGINT: a second one cuts a drain short.
pub(super) async fn count_terminations(count: Arc<watch::Sender<u32>>) {
    let (Some(mut terminate), Some(mut interrupt)) = (
        stream(SignalKind::terminate()),
        stream(SignalKind::interrupt()),
    ) else {
        return;
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        count.send_modify(|count| *count += 1);
    }
}
