//! Tests of selection, drains and labels; helpers for all tests of the pool.

use std::collections::BTreeMap;
use std::sync::Mutex as StdMutex;
use std::time::Duration;

use app_proxy_api::apps::Labels;
use app_proxy_api::units::Period;
use app_proxy_api::workers::{InstanceId, WorkerRegistration};
use async_trait::async_trait;
use serde_json::json;

use super::*;
use crate::clock::now_ms;
use app_proxy_store::{
    ActivityBatch, AppCommit, Cursor, Delta, Member, State, StoreError, StoredDrain, StoredWebhook,
    StoredWorker,
};

mod places;
mod registration;
mod store;

fn section(id: &str, port: u16, weight: u16) -> WorkerSection {
    let address = format!("127.0.0.1:{port}").parse().unwrap();
    WorkerSection {
        id: id.to_owned(),
        address,
        weight,
        labels: Labels::new(),
    }
}

async fn pool_of(fixed: &[WorkerSection]) -> Arc<Pool> {
    let (check, registration) = (
        HealthCheckSection::default(),
        RegistrationSection::default(),
    );
    Pool::new(fixed, check, registration, &TimeoutsSection::default())
        .await
        .unwrap()
        .0
}

async fn set_fixed(pool: &Pool, fixed: &[WorkerSection]) {
    pool.set_fixed(&ResolvedWorkers::resolve(fixed).await.unwrap())
        .await
        .unwrap();
}

async fn pool(weights: &[u16]) -> Arc<Pool> {
    let fixed: Vec<_> = (0_u16..)
        .zip(weights)
        .map(|(i, weight)| section(&format!("w{i}"), 1000 + i, *weight))
        .collect();
    pool_of(&fixed).await
}

fn registration(port: u16, more: serde_json::Value) -> WorkerRegistration {
    let mut registration = json!({"address": format!("127.0.0.1:{port}")});
    registration
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    serde_json::from_value(registration).unwrap()
}

fn labels(zone: &str) -> Labels {
    Labels::from([("zone".to_owned(), zone.to_owned())])
}

impl Pool {
    /// Selects as requests do without a placement policy.
    pub(crate) fn select(
        &self,
        selector: &Labels,
        key: &[u8],
        pinned: Option<&Arc<PoolWorker>>,
        failed: &[Arc<PoolWorker>],
    ) -> Option<Arc<PoolWorker>> {
        let snapshot = self.load();
        let candidates = Candidates::new(&snapshot, selector, failed);
        let pinned = pinned.and_then(|pinned| candidates.current(pinned));
        pinned.or_else(|| candidates.first(key, |_| true)).cloned()
    }
}

fn select(pool: &Pool, key: &[u8]) -> Option<String> {
    pool.select(&Labels::new(), key, None, &[])
        .map(|worker| worker.id.to_string())
}

fn ids(pool: &Pool) -> Vec<String> {
    let mut ids: Vec<_> = pool
        .workers()
        .iter()
        .map(|worker| worker.id.to_string())
        .collect();
    ids.sort();
    ids
}

/// Instances of one worker, in the order in which they started.
fn instances() -> [InstanceId; 3] {
    [1, 2, 3].map(|n| InstanceId::from(format!("0190000{n}-0000-7000-8000-000000000000").as_str()))
}

#[tokio::test]
async fn coordinators_with_the_same_pool_agree() {
    let (one, other) = (pool(&[1, 1, 1]).await, pool(&[1]).await);
    for id in [1, 2] {
        other
            .register(&format!("w{id}"), registration(1000 + id, json!({})))
            .await
            .unwrap();
    }
    for key in 0..100_u32 {
        let key = key.to_be_bytes();
        assert_eq!(select(&one, &key), select(&other, &key));
    }
}

#[tokio::test]
async fn weight_is_the_share_of_sessions() {
    let pool = pool(&[1, 3]).await;
    let share = (0..1000_u32)
        .filter(|key| select(&pool, &key.to_be_bytes()).unwrap() == "w1")
        .count();
    assert!((600..900).contains(&share), "{share} of 1000");
}

#[tokio::test]
async fn a_pinned_worker_is_selected_until_it_fails() {
    let pool = pool(&[1, 1]).await;
    let (all, pinned) = (Labels::new(), pool.by_id("w1").unwrap());
    for key in 0..50_u32 {
        assert_eq!(
            pool.select(&all, &key.to_be_bytes(), Some(&pinned), &[])
                .unwrap()
                .id,
            pinned.id
        );
    }
    assert_eq!(
        pool.select(&all, b"k", Some(&pinned), std::slice::from_ref(&pinned))
            .unwrap()
            .id
            .as_ref(),
        "w0"
    );
    assert!(
        pool.select(&all, b"k", Some(&pinned), &pool.workers())
            .is_none()
    );
}

#[tokio::test]
async fn an_empty_pool_selects_no_worker() {
    assert!(select(&*pool(&[]).await, b"k").is_none());
}

#[tokio::test]
async fn the_only_usable_worker_is_selected_or_none() {
    let pool = pool(&[1; 50]).await;
    let all = pool.workers();
    let (one, others) = all.split_first().unwrap();
    for key in 0..100_u32 {
        let key = key.to_be_bytes();
        assert_eq!(
            pool.select(&Labels::new(), &key, None, others).unwrap().id,
            one.id
        );
        assert!(pool.select(&Labels::new(), &key, None, &all).is_none());
        assert!(pool.select(&labels("nowhere"), &key, None, &[]).is_none());
    }
    for _ in 0..2 {
        // No worker listens.
        pool.check_health().await;
    }
    assert!(select(&pool, b"k").is_none());
}

#[tokio::test]
async fn sessions_stay_pinned_when_a_worker_registers_again() {
    let pool = pool(&[1, 1, 1]).await;
    pool.register("w", registration(1, json!({})))
        .await
        .unwrap();
    let first = pool.by_id("w").unwrap();
    pool.register("w", registration(1, json!({"load": {"in_flight": 7}})))
        .await
        .unwrap();
    assert!(Arc::ptr_eq(&first, &pool.by_id("w").unwrap()));
    let busy = LoadGuard::new(Arc::clone(&first));
    pool.register(
        "w",
        registration(9, json!({"weight": 2, "labels": {"zone": "a"}})),
    )
    .await
    .unwrap();
    let second = pool.by_id("w").unwrap();
    assert!(first.is_retired() && !second.is_retired() && !Arc::ptr_eq(&first, &second));
    assert_eq!(second.in_flight(), 1);
    for key in 0..50_u32 {
        let chosen = pool
            .select(&Labels::new(), &key.to_be_bytes(), Some(&first), &[])
            .unwrap();
        assert!(Arc::ptr_eq(&chosen, &second));
    }
    drop(busy);
    assert_eq!(second.in_flight(), 0);
}

#[tokio::test]
async fn selectors_select_workers_with_all_labels() {
    let pool = pool(&[1]).await;
    for (id, zone) in [("a1", "a"), ("a2", "a"), ("b1", "b")] {
        let port = 1 + u16::from(id.as_bytes()[0]) * 10 + u16::from(id.as_bytes()[1]);
        pool.register(
            id,
            registration(port, json!({"labels": {"zone": zone, "disk": "ssd"}})),
        )
        .await
        .unwrap();
    }
    let used = |zone: &str| {
        let chosen = (0..200_u32)
            .filter_map(|key| pool.select(&labels(zone), &key.to_be_bytes(), None, &[]));
        let mut used: Vec<_> = chosen.map(|worker| worker.id.to_string()).collect();
        used.sort();
        used.dedup();
        used
    };
    // First from the ring of all workers, then from the rings of the selectors.
    assert_eq!(
        (used("a"), used("b"), used("c")),
        (vec!["a1".into(), "a2".into()], vec!["b1".into()], vec![])
    );
    pool.set_selectors([labels("a"), labels("c"), Labels::new()])
        .await
        .unwrap();
    assert_eq!(
        (used("a"), used("b"), used("c")),
        (vec!["a1".into(), "a2".into()], vec!["b1".into()], vec![])
    );
    let pinned = pool.by_id("b1").unwrap();
    assert_ne!(
        pool.select(&labels("a"), b"k", Some(&pinned), &[])
            .unwrap()
            .id,
        pinned.id
    );
    pool.register("c1", registration(9, json!({"labels": {"zone": "c"}})))
        .await
        .unwrap();
    assert_eq!(used("c"), ["c1"]);
}

#[tokio::test]
async fn a_draining_worker_gets_no_requests_and_reports_its_load() {
    let pool = pool(&[1, 1]).await;
    let (all, pinned) = (Labels::new(), pool.by_id("w1").unwrap());
    let mut stream = LoadGuard::new(Arc::clone(&pinned));
    stream.mark_stream();
    pool.drain("w1", Duration::from_secs(60)).await.unwrap();
    for key in 0..50_u32 {
        assert_eq!(
            pool.select(&all, &key.to_be_bytes(), Some(&pinned), &[])
                .unwrap()
                .id
                .as_ref(),
            "w0"
        );
    }
    let view = pool.view("w1").await.unwrap();
    assert_eq!(
        (view.in_flight, view.open_streams, view.drain.unwrap().done),
        (1, 1, false)
    );
    assert!(
        pool.register("w1", registration(1001, json!({})))
            .await
            .unwrap()
            .0
            .drain
    );
    drop(stream);
    assert!(pool.view("w1").await.unwrap().drain.unwrap().done);
    pool.drain("w0", Duration::ZERO).await.unwrap();
    assert!(select(&pool, b"k").is_none());
    pool.undrain("w1").await.unwrap();
    assert_eq!(
        pool.select(&all, b"k", Some(&pinned), &[]).unwrap().id,
        pinned.id
    );
    // If another coordinator drains the worker, the worker reports it.
    pool.register("w1", registration(1001, json!({"draining": true})))
        .await
        .unwrap();
    assert!(select(&pool, b"k").is_none());
    assert!(matches!(
        pool.drain("unknown", Duration::ZERO).await,
        Err(PoolError::Unknown)
    ));
}

#[tokio::test]
async fn streams_are_closed_at_the_deadline_of_a_drain() {
    let pool = pool(&[1]).await;
    let closed = Arc::new(StdMutex::new(Vec::new()));
    let log = Arc::clone(&closed);
    pool.set_close_streams(Arc::new(move |id| {
        log.lock().unwrap().push(id.to_owned());
        1
    }));
    let stream = LoadGuard::new(pool.by_id("w0").unwrap());
    pool.drain("w0", Duration::from_secs(60)).await.unwrap();
    pool.close_overdue().await;
    assert!(closed.lock().unwrap().is_empty());
    pool.drain("w0", Duration::ZERO).await.unwrap();
    pool.close_overdue().await;
    assert_eq!(*closed.lock().unwrap(), ["w0"]);
    drop(stream);
    pool.close_overdue().await;
    assert_eq!(closed.lock().unwrap().len(), 1);
}
