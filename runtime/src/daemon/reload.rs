//! SIGHUP: reloads the configuration.

use std::sync::Arc;

use async_trait::async_trait;
use log::{error, info};
use tokio::signal::unix::{Signal, SignalKind};

use app_proxy_hop::drain::{Drain, DrainStage};

use crate::daemon::{service_manager, signals};

/// A daemon's reaction to SIGHUP.
#[async_trait]
pub trait Reload: Send + Sync {
    /// Reads the configuration again, applies what can change at runtime, and logs the result.
    async fn reload(&self);
}

/// Reloads at each SIGHUP from the call on, one reload at a time. Several SIGHUPs during a reload
/// lead to one more; a SIGHUP during a drain is ignored.
pub(super) fn reload_on_hangup(reload: Option<Arc<dyn Reload>>, drain: Drain) {
    if let Some(hangups) = signals::stream(SignalKind::hangup()) {
        tokio::spawn(reload_at_each(hangups, reload, drain));
    }
}

async fn reload_at_each(mut hangups: Signal, reload: Option<Arc<dyn Reload>>, drain: Drain) {
    while hangups.recv().await.is_some() {
        let Some(reload) = reload
            .clone()
            .filter(|_| drain.stage() == DrainStage::Serving)
        else {
            info!("SIGHUP: ignored; the daemon is shutting down");
            continue;
        };
        service_manager::reloading();
        // In a task of its own, so that a panic ends this reload and not the following ones.
        if let Err(e) = tokio::spawn(async move { reload.reload().await }).await {
            error!("cannot reload: {e}");
        }
        service_manager::reloaded();
    }
}
