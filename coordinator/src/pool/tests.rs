//! Tests of selection, and of who may change what in the pool.

use std::collections::BTreeMap;
use std::sync::Mutex as StdMutex;

use app_proxy_api::units::Period;
use app_proxy_api::workers::{InstanceId, WorkerRegistration};
use async_trait::async_trait;
use serde_json::json;

use super::*;
use crate::clock::now_ms;
use app_proxy_store::{
    ActivityBatch, AppCommit, Cursor, Delta, State, StoredDrain, StoredWebhook, StoredWorker,
};

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
    pool.set_fixed(&Resolved::of(fixed).await.unwrap())
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

fn said(port: u16, more: serde_json::Value) -> WorkerRegistration {
    let mut said = json!({"address": format!("127.0.0.1:{port}")});
    said.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    serde_json::from_value(said).unwrap()
}

fn labels(zone: &str) -> Labels {
    Labels::from([("zone".to_owned(), zone.to_owned())])
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

/// A store of workers, which can be full.
#[derive(Default)]
struct Shelf {
    workers: StdMutex<BTreeMap<String, StoredWorker>>,
    writes: StdMutex<usize>,
    is_full: StdMutex<bool>,
}

impl Shelf {
    fn get(&self, id: &str) -> Option<StoredWorker> {
        self.workers.lock().unwrap().get(id).cloned()
    }

    fn write(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, StoredWorker>),
    ) -> Result<(), StoreError> {
        if *self.is_full.lock().unwrap() {
            return Err(StoreError::Full("no room".to_owned()));
        }
        *self.writes.lock().unwrap() += 1;
        change(&mut self.workers.lock().unwrap());
        Ok(())
    }
}

#[async_trait]
impl Store for Shelf {
    async fn load(&self) -> Result<State, StoreError> {
        Ok(State::default())
    }
    async fn changes_since(&self, _: &Cursor) -> Result<Option<Delta>, StoreError> {
        Ok(None)
    }
    async fn commit_apps(&self, _: AppCommit) -> Result<(), StoreError> {
        Ok(())
    }
    async fn save_worker(&self, worker: StoredWorker) -> Result<(), StoreError> {
        self.write(|workers| drop(workers.insert(worker.id.clone(), worker)))
    }
    async fn delete_worker(&self, id: &str) -> Result<(), StoreError> {
        self.write(|workers| drop(workers.remove(id)))
    }
    async fn save_activity(&self, _: &ActivityBatch) -> Result<(), StoreError> {
        Ok(())
    }
    async fn delete_sessions(&self, _: &[String], _: u64) -> Result<(), StoreError> {
        Ok(())
    }
    async fn trim_sessions(&self, _: u64, _: u64) -> Result<u64, StoreError> {
        Ok(0)
    }
    async fn save_webhook(&self, _: StoredWebhook) -> Result<(), StoreError> {
        Ok(())
    }
    async fn webhooks(&self) -> Result<Vec<StoredWebhook>, StoreError> {
        Ok(Vec::new())
    }

    async fn delete_webhook(&self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }
}

#[tokio::test]
async fn coordinators_with_the_same_pool_agree() {
    let (one, other) = (pool(&[1, 1, 1]).await, pool(&[1]).await);
    for id in [1, 2] {
        other
            .register(&format!("w{id}"), said(1000 + id, json!({})))
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
async fn the_pin_holds_until_the_worker_has_failed() {
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
async fn an_empty_pool_selects_nobody() {
    assert!(select(&*pool(&[]).await, b"k").is_none());
}

#[tokio::test]
async fn the_only_worker_that_may_be_used_is_found_and_none_where_there_is_none() {
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
        // Nobody listens there.
        pool.check_health().await;
    }
    assert!(select(&pool, b"k").is_none());
}

#[tokio::test]
async fn a_worker_is_in_the_pool_at_once_and_until_it_leaves() {
    let pool = pool(&[]).await;
    let [one, two, _] = instances();
    let (registered, is_new) = pool
        .register("w", said(1, json!({"instance": one, "lease": "3s"})))
        .await
        .unwrap();
    assert!(is_new && !registered.drain);
    assert_eq!(registered.lease, Period::from_secs(3));
    assert_eq!(select(&pool, b"k").as_deref(), Some("w"));
    pool.leave("w", &two).await.unwrap();
    assert_eq!(ids(&pool), ["w"]);
    pool.leave("w", &one).await.unwrap();
    assert!(ids(&pool).is_empty() && select(&pool, b"k").is_none());
    // It left: what it said before that, and comes late, does not count.
    assert!(matches!(
        pool.register("w", said(1, json!({"instance": one}))).await,
        Err(PoolError::Superseded)
    ));
    pool.register("w", said(1, json!({"instance": two})))
        .await
        .unwrap();
    pool.take_out("w").await.unwrap();
    assert!(matches!(pool.take_out("w").await, Err(PoolError::Unknown)));
    assert!(
        pool.register("w", said(1, json!({"instance": two})))
            .await
            .unwrap()
            .1
    );
}

#[tokio::test]
async fn a_later_process_takes_the_place_of_an_earlier_one_and_never_the_other_way_round() {
    let pool = pool(&[]).await;
    let [one, two, three] = instances();
    pool.register("w", said(1, json!({"instance": two})))
        .await
        .unwrap();
    assert!(matches!(
        pool.register("w", said(1, json!({"instance": one}))).await,
        Err(PoolError::Superseded)
    ));
    pool.register("w", said(2, json!({"instance": three})))
        .await
        .unwrap();
    assert_eq!(pool.by_id("w").unwrap().address.to_string(), "127.0.0.1:2");
    pool.leave("w", &two).await.unwrap();
    assert_eq!(ids(&pool), ["w"]);
}

#[tokio::test(start_paused = true)]
async fn a_registration_that_is_not_renewed_lapses() {
    let pool = pool(&[]).await;
    pool.register("short", said(1, json!({"lease": "1s"})))
        .await
        .unwrap();
    pool.register("long", said(2, json!({}))).await.unwrap();
    tokio::time::advance(Duration::from_millis(900)).await;
    pool.register("short", said(1, json!({"lease": "1s"})))
        .await
        .unwrap();
    tokio::time::advance(Duration::from_millis(900)).await;
    pool.take_out_lapsed().await;
    assert_eq!(ids(&pool), ["long", "short"]);
    tokio::time::advance(Duration::from_millis(200)).await;
    assert!(pool.take_out_lapsed().await.is_some());
    assert_eq!(ids(&pool), ["long"]);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(pool.take_out_lapsed().await, None);
    assert!(ids(&pool).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_missed_worker_comes_back_drained_and_one_that_has_left_does_not() {
    let (pool, shelf) = (pool(&[1]).await, Arc::new(Shelf::default()));
    pool.keep_in(Arc::clone(&shelf) as Arc<dyn Store>);
    let lease = Duration::from_secs(5);
    let register = async |pool: &Pool| {
        let said = said(1, json!({"lease": "5s", "instance": instances()[0]}));
        pool.register("w", said).await.unwrap().0.drain
    };
    let lapse = async |pool: &Pool| {
        tokio::time::advance(lease * 2).await;
        pool.take_out_lapsed().await;
        assert_eq!(ids(pool), ["w0"]);
    };
    assert!(!register(&pool).await);
    pool.drain("w", Duration::from_secs(60)).await.unwrap();
    lapse(&pool).await;
    let kept = shelf.get("w").unwrap();
    assert!(
        kept.registration.is_none() && kept.drain.is_some(),
        "{kept:?}"
    );
    assert!(register(&pool).await);
    assert!(pool.by_id("w").unwrap().is_draining());
    // Also when the coordinator restarts meanwhile.
    lapse(&pool).await;
    let after = pool_of(&[section("w0", 1000, 1)]).await;
    after.keep_in(Arc::clone(&shelf) as Arc<dyn Store>);
    after.restore(vec![shelf.get("w").unwrap()]).await;
    assert!(register(&after).await);
    // An operator can end it.
    lapse(&after).await;
    after.take_out("w").await.unwrap();
    assert!(shelf.get("w").is_none());
    assert!(!register(&after).await);
    // A worker that leaves has done what it was drained for.
    after.drain("w", Duration::ZERO).await.unwrap();
    after.leave("w", &instances()[0]).await.unwrap();
    assert!(shelf.get("w").is_none());
    assert!(matches!(after.take_out("w").await, Err(PoolError::Unknown)));
}

#[test]
fn the_drain_of_a_worker_that_does_not_come_back_is_given_up() {
    let mut book = super::book::Registry::new(&TimeoutsSection::default());
    let (now, day) = (now_ms(), 24 * 3600 * 1000);
    // However long ago it was drained: it is missed since now.
    for (id, deadline_ms) in [("over", 1000), ("long", now + 3 * day)] {
        book.set_drain(
            id,
            Some(StoredDrain {
                since_ms: 1,
                deadline_ms,
            }),
        );
    }
    assert!(book.give_up_overdue(now + day - 1000).is_empty());
    assert_eq!(book.give_up_overdue(now + 2 * day), ["over"]);
    assert!(book.stored("over").is_none() && book.stored("long").is_some());
    assert_eq!(book.give_up_overdue(now + 3 * day + 1), ["long"]);
}

#[tokio::test]
async fn what_is_pinned_to_a_worker_stays_when_it_registers_anew() {
    let pool = pool(&[1, 1, 1]).await;
    pool.register("w", said(1, json!({}))).await.unwrap();
    let first = pool.by_id("w").unwrap();
    pool.register("w", said(1, json!({"load": {"in_flight": 7}})))
        .await
        .unwrap();
    assert!(Arc::ptr_eq(&first, &pool.by_id("w").unwrap()));
    let busy = LoadGuard::new(Arc::clone(&first));
    pool.register("w", said(9, json!({"weight": 2, "labels": {"zone": "a"}})))
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
async fn the_file_owns_its_workers_and_an_address_has_one_worker() {
    let pool = pool(&[1]).await;
    let (_, is_new) = pool
        .register("w0", said(1000, json!({"weight": 5, "version": "1.2"})))
        .await
        .unwrap();
    assert!(!is_new);
    assert!(matches!(
        pool.register("w0", said(1, json!({}))).await,
        Err(PoolError::OwnedByFile)
    ));
    assert!(matches!(
        pool.register("w", said(1000, json!({}))).await,
        Err(PoolError::AddressTaken(_))
    ));
    assert!(matches!(
        pool.take_out("w0").await,
        Err(PoolError::OwnedByFile)
    ));
    let view = pool.view("w0").await.unwrap();
    assert_eq!((view.weight, view.version.as_deref()), (1, Some("1.2")));
    let name = serde_json::from_value(json!({"address": "nowhere.invalid:1"})).unwrap();
    assert!(matches!(
        pool.register("w", name).await,
        Err(PoolError::Unresolved { .. })
    ));
}

#[tokio::test]
async fn a_reload_changes_the_fixed_workers_and_leaves_the_registered_ones() {
    let pool = pool_of(&[section("a", 1, 1), section("b", 2, 1), section("c", 3, 1)]).await;
    pool.register("b", said(2, json!({"weight": 7})))
        .await
        .unwrap();
    pool.register("w", said(4, json!({}))).await.unwrap();
    pool.register("x", said(5, json!({}))).await.unwrap();
    let kept = pool.by_id("a").unwrap();
    set_fixed(&pool, &[section("a", 1, 1), section("d", 5, 1)]).await;
    // `c` is gone, `b` stays because it has registered, `x` is at an address that the file gives to
    // another one.
    assert_eq!(ids(&pool), ["a", "b", "d", "w"]);
    assert!(Arc::ptr_eq(&kept, &pool.by_id("a").unwrap()));
    assert_eq!(pool.by_id("b").unwrap().weight, 7);
}

#[tokio::test]
async fn apps_get_workers_with_all_their_labels() {
    let pool = pool(&[1]).await;
    for (id, zone) in [("a1", "a"), ("a2", "a"), ("b1", "b")] {
        let port = 1 + u16::from(id.as_bytes()[0]) * 10 + u16::from(id.as_bytes()[1]);
        pool.register(
            id,
            said(port, json!({"labels": {"zone": zone, "disk": "ssd"}})),
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
    // At first from the ring of all workers, then from rings of their own.
    assert_eq!(
        (used("a"), used("b"), used("c")),
        (vec!["a1".into(), "a2".into()], vec!["b1".into()], vec![])
    );
    pool.want_selectors([labels("a"), labels("c"), Labels::new()])
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
    pool.register("c1", said(9, json!({"labels": {"zone": "c"}})))
        .await
        .unwrap();
    assert_eq!(used("c"), ["c1"]);
}

#[tokio::test]
async fn a_draining_worker_gets_nothing_new_and_says_what_is_left() {
    let pool = pool(&[1, 1]).await;
    let (all, pinned) = (Labels::new(), pool.by_id("w1").unwrap());
    let mut stream = LoadGuard::new(Arc::clone(&pinned));
    stream.becomes_stream();
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
        pool.register("w1", said(1001, json!({})))
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
    // Another coordinator may drain it too: the worker says so.
    pool.register("w1", said(1001, json!({"draining": true})))
        .await
        .unwrap();
    assert!(select(&pool, b"k").is_none());
    assert!(matches!(
        pool.drain("nobody", Duration::ZERO).await,
        Err(PoolError::Unknown)
    ));
}

#[tokio::test]
async fn streams_are_closed_when_the_drain_is_over() {
    let pool = pool(&[1]).await;
    let closed = Arc::new(StdMutex::new(Vec::new()));
    let log = Arc::clone(&closed);
    pool.on_deadline(Arc::new(move |id| {
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

#[tokio::test]
async fn registrations_and_drains_survive_a_restart() {
    let (before, shelf) = (pool(&[1]).await, Arc::new(Shelf::default()));
    before.keep_in(Arc::clone(&shelf) as Arc<dyn Store>);
    before
        .register(
            "w",
            said(
                1,
                json!({"labels": {"zone": "a"}, "load": {"in_flight": 3}}),
            ),
        )
        .await
        .unwrap();
    let writes = *shelf.writes.lock().unwrap();
    before
        .register(
            "w",
            said(
                1,
                json!({"labels": {"zone": "a"}, "load": {"in_flight": 4}}),
            ),
        )
        .await
        .unwrap();
    assert_eq!(
        *shelf.writes.lock().unwrap(),
        writes,
        "a renewal was written"
    );
    before.drain("w0", Duration::from_secs(60)).await.unwrap();
    let after = pool(&[1]).await;
    let kept = shelf.workers.lock().unwrap().values().cloned().collect();
    after.restore(kept).await;
    assert_eq!(ids(&after), ["w", "w0"]);
    assert!(after.by_id("w").unwrap().has(&labels("a")));
    assert!(after.by_id("w0").unwrap().is_draining());
    before.undrain("w0").await.unwrap();
    before.take_out("w").await.unwrap();
    assert_eq!((shelf.get("w"), shelf.get("w0")), (None, None));
}

#[tokio::test]
async fn the_drain_of_a_worker_goes_with_it_out_of_the_file() {
    let (pool, shelf) = (pool(&[1, 1]).await, Arc::new(Shelf::default()));
    pool.keep_in(Arc::clone(&shelf) as Arc<dyn Store>);
    pool.drain("w0", Duration::from_secs(60)).await.unwrap();
    pool.drain("w1", Duration::from_secs(60)).await.unwrap();
    set_fixed(&pool, &[section("w1", 1001, 1), section("w2", 1002, 1)]).await;
    assert_eq!((shelf.get("w0"), shelf.get("w1").is_some()), (None, true));
    assert!(pool.by_id("w1").unwrap().is_draining());
    set_fixed(&pool, &[section("w0", 1000, 1)]).await;
    assert!(!pool.by_id("w0").unwrap().is_draining());
}

#[tokio::test]
async fn a_full_store_keeps_nobody_out_and_lets_no_drain_begin() {
    let (pool, shelf) = (pool(&[1]).await, Arc::new(Shelf::default()));
    pool.keep_in(Arc::clone(&shelf) as Arc<dyn Store>);
    pool.drain("w0", Duration::from_secs(60)).await.unwrap();
    *shelf.is_full.lock().unwrap() = true;
    pool.register("w", said(1, json!({}))).await.unwrap();
    assert_eq!(select(&pool, b"k").as_deref(), Some("w"));
    assert!(matches!(
        pool.drain("w", Duration::ZERO).await,
        Err(PoolError::Store(_))
    ));
    assert!(matches!(pool.undrain("w0").await, Err(PoolError::Store(_))));
    assert!(matches!(pool.take_out("w").await, Err(PoolError::Store(_))));
    assert_eq!(ids(&pool), ["w", "w0"]);
    assert_eq!(
        (
            pool.by_id("w").unwrap().is_draining(),
            pool.by_id("w0").unwrap().is_draining()
        ),
        (false, true)
    );
}

#[tokio::test]
async fn what_another_process_has_changed_is_followed() {
    let (pool, shelf) = (pool(&[1]).await, Arc::new(Shelf::default()));
    pool.keep_in(Arc::clone(&shelf) as Arc<dyn Store>);
    pool.register("stays", said(1, json!({}))).await.unwrap();
    pool.register("goes", said(2, json!({}))).await.unwrap();
    pool.drain("w0", Duration::from_secs(60)).await.unwrap();
    *shelf.is_full.lock().unwrap() = true;
    pool.register("unsaved", said(4, json!({}))).await.unwrap();
    let drain = Some(StoredDrain {
        since_ms: 1,
        deadline_ms: u64::MAX,
    });
    let stays = StoredWorker {
        drain,
        ..shelf.get("stays").unwrap()
    };
    let comes = StoredWorker {
        id: "comes".to_owned(),
        registration: Some(said(3, json!({}))),
        drain: None,
    };
    pool.follow(vec![stays, comes]).await;
    assert_eq!(ids(&pool), ["comes", "stays", "unsaved", "w0"]);
    assert!(pool.by_id("stays").unwrap().is_draining() && !pool.by_id("w0").unwrap().is_draining());
    assert!(
        pool.view("stays")
            .await
            .unwrap()
            .drain
            .unwrap()
            .deadline
            .starts_with("9999")
    );
}
