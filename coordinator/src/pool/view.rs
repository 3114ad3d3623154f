//! Workers as the API returns them.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use app_proxy_api::workers::{DrainView, WorkerSource, WorkerView};
use app_proxy_hop::observe::access_log::timestamp;
use tokio::time::Instant;

use super::Pool;
use super::registry::{Lease, RegistryEntry};
use super::snapshot::PoolSnapshot;
use app_proxy_store::StoredDrain;

impl Pool {
    /// Returns all workers in the order of their identifiers. The caller adds the session counts.
    pub(crate) async fn views(&self) -> Vec<WorkerView> {
        let registry = self.registry.lock().await;
        let snapshot = self.snapshot.load();
        registry
            .entries
            .values()
            .map(|entry| view(entry, &snapshot))
            .collect()
    }

    /// Returns one worker.
    pub(crate) async fn view(&self, id: &str) -> Option<WorkerView> {
        let registry = self.registry.lock().await;
        registry
            .entries
            .get(id)
            .map(|entry| view(entry, &self.snapshot.load()))
    }
}

fn view(entry: &RegistryEntry, snapshot: &PoolSnapshot) -> WorkerView {
    let worker = &entry.worker;
    let registration = entry.lease.as_ref().map(|lease| &lease.registration);
    WorkerView {
        id: Arc::clone(&worker.id),
        address: worker.address.to_string(),
        weight: worker.weight,
        labels: worker.labels.clone(),
        healthy: snapshot.is_healthy(worker),
        draining: worker.is_draining(),
        source: if entry.fixed.is_some() {
            WorkerSource::File
        } else {
            WorkerSource::Api
        },
        lease_until: entry.lease.as_ref().map(lease_until),
        held: registration.and_then(|registration| registration.held.clone()),
        load: registration.map(|registration| registration.load),
        version: registration.and_then(|registration| registration.version.clone()),
        in_flight: worker.in_flight() as u64,
        open_streams: worker.open_streams() as u64,
        sessions: None,
        drain: entry
            .drain
            .map(|drain| drain_view(drain, worker.in_flight() == 0)),
    }
}

fn drain_view(drain: StoredDrain, done: bool) -> DrainView {
    let time = |ms: u64| timestamp(UNIX_EPOCH + Duration::from_millis(ms.min(LATEST_MS)));
    DrainView {
        since: time(drain.since_ms),
        deadline: time(drain.deadline_ms),
        done,
    }
}

fn lease_until(lease: &Lease) -> String {
    timestamp(SystemTime::now() + lease.until.saturating_duration_since(Instant::now()))
}

/// The latest time that RFC 3339 can express: the end of the year 9999.
const LATEST_MS: u64 = 253_402_300_799_999;
