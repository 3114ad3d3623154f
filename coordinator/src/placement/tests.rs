use std::sync::Arc;

use app_proxy_api::apps::{App, Labels};
use app_proxy_hop::config::TimeoutsSection;
use pingora_http::RequestHeader;

use super::*;
use crate::config::{HealthCheckSection, RegistrationSection, WorkerSection};
use crate::pool::{Candidates, Pool, PoolWorker};

/// Two workers in zone a, one in zone b.
async fn pool() -> Arc<Pool> {
    let worker = |(number, zone): (u16, &str)| WorkerSection {
        id: format!("w{number}"),
        address: format!("127.0.0.1:{}", 1000 + number).parse().unwrap(),
        weight: 1,
        labels: Labels::from([("zone".to_owned(), zone.to_owned())]),
    };
    let fixed: Vec<_> = (0..).zip(["a", "a", "b"]).map(worker).collect();
    let (check, registration) = (
        HealthCheckSection::default(),
        RegistrationSection::default(),
    );
    Pool::new(&fixed, check, registration, &TimeoutsSection::default())
        .await
        .unwrap()
        .0
}

/// The parts of a request for a worker.
struct Wanted {
    head: RequestHeader,
    app: App,
    key: String,
    pinned: Option<Arc<PoolWorker>>,
    failed: Vec<Arc<PoolWorker>>,
}

impl Wanted {
    /// A request of a client in a zone.
    fn of_zone(zone: &str) -> Self {
        let mut head = RequestHeader::build("GET", b"/apps/a/", None).unwrap();
        head.insert_header("X-Zone", zone).unwrap();
        Self {
            head,
            app: serde_json::from_value(serde_json::json!({"name": "a"})).unwrap(),
            key: "k".to_owned(),
            pinned: None,
            failed: Vec::new(),
        }
    }

    fn placed(&self, policy: &impl Placement, pool: &Pool) -> Option<String> {
        let snapshot = pool.load();
        let request = PlacementRequest {
            head: &self.head,
            app: &self.app,
            session: Some(&self.key),
            user: None,
            key: self.key.as_bytes(),
            pinned: self.pinned.as_ref(),
            candidates: Candidates::new(&snapshot, &self.app.pool, &self.failed),
        };
        policy.place(&request).map(|worker| worker.id().to_owned())
    }
}

/// Selects a worker of the zone that a header names, or none.
struct ByZone;

impl Placement for ByZone {
    fn place<'p>(&self, request: &PlacementRequest<'p>) -> Option<Candidate<'p>> {
        let zone = request.headers().get("x-zone")?.to_str().ok()?;
        request.by_ketama(|worker| worker.label("zone") == Some(zone))
    }
}

/// Selects the last candidate by identifier.
struct Last;

impl Placement for Last {
    fn place<'p>(&self, request: &PlacementRequest<'p>) -> Option<Candidate<'p>> {
        request.candidates().last()
    }
}

#[tokio::test]
async fn a_policy_selects_by_a_label_and_a_header() {
    let pool = pool().await;
    for (zone, workers) in [("a", &["w0", "w1"][..]), ("b", &["w2"]), ("c", &[])] {
        let mut wanted = Wanted::of_zone(zone);
        for key in 0..20 {
            wanted.key = key.to_string();
            let placed = wanted.placed(&ByZone, &pool);
            assert_eq!(placed.is_none(), workers.is_empty());
            assert!(placed.is_none_or(|worker| workers.contains(&&*worker)));
            let again = wanted.placed(&ByZone, &pool);
            assert_eq!(again, wanted.placed(&ByZone, &pool));
        }
    }
}

#[tokio::test]
async fn a_policy_sees_usable_workers_only() {
    let pool = pool().await;
    let mut wanted = Wanted::of_zone("a");
    assert_eq!(wanted.placed(&Last, &pool).as_deref(), Some("w2"));
    wanted.failed.push(pool.by_id("w2").unwrap());
    assert_eq!(wanted.placed(&Last, &pool).as_deref(), Some("w1"));
    pool.drain("w1", std::time::Duration::from_secs(60))
        .await
        .unwrap();
    assert_eq!(wanted.placed(&Last, &pool).as_deref(), Some("w0"));
    wanted.app.pool = Labels::from([("zone".to_owned(), "b".to_owned())]);
    assert_eq!(wanted.placed(&Last, &pool), None);
    wanted.failed.clear();
    assert_eq!(wanted.placed(&Last, &pool).as_deref(), Some("w2"));
    for _ in 0..2 {
        // No worker listens.
        pool.check_health().await;
    }
    assert_eq!(wanted.placed(&Last, &pool), None);
    assert_eq!(wanted.placed(&Ketama, &pool), None);
}

#[tokio::test]
async fn the_built_in_placement_prefers_the_pinned_worker_while_it_is_usable() {
    let pool = pool().await;
    let mut wanted = Wanted::of_zone("a");
    let by_key = wanted.placed(&Ketama, &pool).unwrap();
    for worker in pool.workers() {
        wanted.pinned = Some(Arc::clone(&worker));
        assert_eq!(wanted.placed(&Ketama, &pool).as_deref(), Some(&*worker.id));
    }
    let pinned = pool.workers().into_iter().find(|w| *w.id != *by_key);
    wanted.failed.extend(pinned.clone());
    wanted.pinned = pinned;
    assert_eq!(wanted.placed(&Ketama, &pool), Some(by_key));
}
