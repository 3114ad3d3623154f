//! What happens to workers by itself: registrations lapse that are not renewed, and drains come to
//! their end.

use std::sync::Arc;
use std::time::Duration;

use app_proxy_hop::drain::{Drain, DrainStage};
use async_trait::async_trait;
use log::{error, info, warn};
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use tokio::time::Instant;

use super::Pool;
use crate::clock::now_ms;

/// How often streams are closed at a worker whose drain is over: requests that came before may
/// become some.
const CLOSE_EVERY: Duration = Duration::from_secs(1);
/// How long the sweep sleeps when nothing is due.
const NOTHING_DUE: Duration = Duration::from_secs(3600);

/// The service that sweeps.
pub(crate) struct Sweep {
    pool: Arc<Pool>,
    drain: Drain,
    /// For how long after the start no registration lapses.
    patience: Duration,
}

impl Sweep {
    /// Sweeps `pool`, of the daemon that `drain` is of. For `patience` after the start no
    /// registration lapses: it may be renewed where this process does not hear of it.
    #[must_use]
    pub(crate) fn new(pool: &Arc<Pool>, drain: &Drain, patience: Duration) -> Self {
        Self {
            pool: Arc::clone(pool),
            drain: drain.clone(),
            patience,
        }
    }
}

#[async_trait]
impl BackgroundService for Sweep {
    async fn start(&self, _shutdown: ShutdownWatch) {
        let patient_until = Instant::now() + self.patience;
        loop {
            // Workers renew at the successor once there is one: here they would only seem to be
            // gone, and be taken out of the store that both share.
            let mut due = self.pool.close_overdue().await;
            if Instant::now() < patient_until {
                due = due.min(patient_until);
            } else if self.drain.phase() == DrainStage::Serving {
                due = self
                    .pool
                    .take_out_lapsed()
                    .await
                    .map_or(due, |lapse| due.min(lapse));
            }
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = self.pool.changed.notified() => {}
            }
        }
    }
}

impl Pool {
    /// Takes out the workers that have not renewed their registration in time; says when the next
    /// one has to.
    pub(super) async fn take_out_lapsed(&self) -> Option<Instant> {
        let mut book = self.book.lock().await;
        let lapsed = book.lapsed(Instant::now());
        for id in &lapsed {
            warn!("worker {id} has not renewed its registration in time");
            book.miss(id);
        }
        let overdue = book.give_up_overdue(now_ms());
        let next = book.next_lapse();
        drop(book);
        if let Err(e) = self.publish().await {
            error!("workers that are gone stay in the pool: {e}");
        }
        for id in lapsed
            .iter()
            .map(AsRef::as_ref)
            .chain(overdue.iter().map(String::as_str))
        {
            self.forget(id).await;
        }
        next
    }

    /// Closes streams at workers whose drain is over; says when there is something to do next.
    pub(super) async fn close_overdue(&self) -> Instant {
        let (now, now_ms) = (Instant::now(), now_ms());
        let mut due = NOTHING_DUE;
        let mut overdue = Vec::new();
        {
            let book = self.book.lock().await;
            for member in book.members.values() {
                let Some(drain) = member.drain else { continue };
                if drain.deadline_ms > now_ms {
                    due = due.min(Duration::from_millis(drain.deadline_ms - now_ms));
                } else if member.worker.in_flight() > 0 {
                    due = due.min(CLOSE_EVERY);
                    overdue.push(Arc::clone(&member.worker.id));
                }
            }
        }
        if let Some(close) = self.close_streams.get() {
            for id in overdue {
                let closed = close(&id);
                if closed > 0 {
                    info!("the drain of worker {id} is over: {closed} streams are closed");
                }
            }
        }
        now + due
    }
}
