//! SIGHUP: the configuration is read again, and what can change while the daemon runs is changed.

use std::sync::Arc;

use async_trait::async_trait;
use log::{error, info, warn};
use tokio::signal::unix::{SignalKind, signal};

use app_proxy_hop::drain::{Drain, DrainStage};

/// What a daemon does at SIGHUP.
#[async_trait]
pub trait Reload: Send + Sync {
    /// Reads the configuration again and applies what it can. Says in the log what has become of
    /// it.
    async fn reload(&self);
}

/// SIGXFSZ, which tokio has no name for; the same number on all architectures that the daemons are
/// built for.
const FILE_TOO_LARGE: SignalKind = SignalKind::from_raw(25);

/// Keeps signals from ending the process from here on: SIGHUP, because a daemon that is starting up
/// is told to reload as easily as one that serves, and the one that comes with a write beyond a
/// limit of a file's size, which fails like any other.
pub(super) fn keep_alive() {
    // The handlers stay for the life of the process; the runtime is needed to set them up alone,
    // and must not be there at the fork of `-d`.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build();
    let listen = async {
        signal(SignalKind::hangup())
            .and(signal(FILE_TOO_LARGE))
            .map(drop)
    };
    let listened = runtime.and_then(|runtime| runtime.block_on(listen));
    if let Err(e) = listened {
        warn!("signals cannot be listened to: {e}");
    }
}

/// Reloads at each SIGHUP, one at a time: those that come during a reload lead to one more, those
/// that come during a drain to none.
pub(super) async fn at_signals(reload: Option<Arc<dyn Reload>>, drain: Drain) {
    let mut hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(e) => return error!("SIGHUP cannot be listened to: {e}"),
    };
    while hangups.recv().await.is_some() {
        let Some(reload) = reload
            .clone()
            .filter(|_| drain.phase() == DrainStage::Serving)
        else {
            info!("SIGHUP: nothing is reloaded now");
            continue;
        };
        // In a task of its own, so that a panic in it ends this reload and not those to come.
        if let Err(e) = tokio::spawn(async move { reload.reload().await }).await {
            error!("the configuration was not reloaded: {e}");
        }
    }
}
