//! Workers as the API shows them.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use app_proxy_api::workers::{DrainView, WorkerSource, WorkerView};
use app_proxy_hop::observe::access_log::timestamp;
use tokio::time::Instant;

use super::Pool;
use super::book::{Lease, Member};
use super::members::Members;
use app_proxy_store::StoredDrain;

impl Pool {
    /// All workers by their identifiers. How many sessions they have is for the caller to say.
    pub(crate) async fn views(&self) -> Vec<WorkerView> {
        let book = self.book.lock().await;
        let members = self.members.load();
        book.members
            .values()
            .map(|member| view(member, &members))
            .collect()
    }

    /// One worker.
    pub(crate) async fn view(&self, id: &str) -> Option<WorkerView> {
        let book = self.book.lock().await;
        book.members
            .get(id)
            .map(|member| view(member, &self.members.load()))
    }
}

fn view(member: &Member, members: &Members) -> WorkerView {
    let worker = &member.worker;
    let said = member.lease.as_ref().map(|lease| &lease.said);
    WorkerView {
        id: Arc::clone(&worker.id),
        address: worker.address.to_string(),
        weight: worker.weight,
        labels: worker.labels.clone(),
        healthy: members.is_healthy(worker),
        draining: worker.is_draining(),
        source: if member.fixed.is_some() {
            WorkerSource::File
        } else {
            WorkerSource::Api
        },
        lease_until: member.lease.as_ref().map(lease_until),
        held: said.and_then(|said| said.held.clone()),
        load: said.map(|said| said.load),
        version: said.and_then(|said| said.version.clone()),
        in_flight: worker.in_flight() as u64,
        open_streams: worker.open_streams() as u64,
        sessions: None,
        drain: member
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

/// The last time that RFC 3339 can write: the year 9999.
const LATEST_MS: u64 = 253_402_300_799_999;
