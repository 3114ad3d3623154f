//! Tests of the stored state of workers.

use super::*;

/// A store of workers that can be full.
#[derive(Default)]
struct FakeStore {
    workers: StdMutex<BTreeMap<String, StoredWorker>>,
    writes: StdMutex<usize>,
    is_full: StdMutex<bool>,
}

impl FakeStore {
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
impl Store for FakeStore {
    async fn load(&self) -> Result<State, StoreError> {
        Ok(State::default())
    }
    async fn changes_since(&self, _: &Cursor) -> Result<Option<Delta>, StoreError> {
        Ok(None)
    }
    async fn commit_apps(&self, _: AppCommit) -> Result<Vec<Member>, StoreError> {
        Ok(Vec::new())
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

#[tokio::test(start_paused = true)]
async fn the_drain_of_an_expired_worker_is_kept_but_not_of_one_that_left() {
    let (pool, store) = (pool(&[1]).await, Arc::new(FakeStore::default()));
    pool.set_store(Arc::clone(&store) as Arc<dyn Store>);
    let lease = Duration::from_secs(5);
    let register = async |pool: &Pool| {
        let registered = registration(1, json!({"lease": "5s", "instance": instances()[0]}));
        pool.register("w", registered).await.unwrap().0.drain
    };
    let lapse = async |pool: &Pool| {
        tokio::time::advance(lease * 2).await;
        pool.remove_expired().await;
        assert_eq!(ids(pool), ["w0"]);
    };
    assert!(!register(&pool).await);
    pool.drain("w", Duration::from_secs(60)).await.unwrap();
    lapse(&pool).await;
    let kept = store.get("w").unwrap();
    assert!(
        kept.registration.is_none() && kept.drain.is_some(),
        "{kept:?}"
    );
    assert!(register(&pool).await);
    assert!(pool.by_id("w").unwrap().is_draining());
    // Also after a restart of the coordinator.
    lapse(&pool).await;
    let after = pool_of(&[section("w0", 1000, 1)]).await;
    after.set_store(Arc::clone(&store) as Arc<dyn Store>);
    after.restore(vec![store.get("w").unwrap()]).await;
    assert!(register(&after).await);
    // An operator can delete the drain.
    lapse(&after).await;
    after.delete("w").await.unwrap();
    assert!(store.get("w").is_none());
    assert!(!register(&after).await);
    // A worker that leaves has completed its drain.
    after.drain("w", Duration::ZERO).await.unwrap();
    after.leave("w", &instances()[0]).await.unwrap();
    assert!(store.get("w").is_none());
    assert!(matches!(after.delete("w").await, Err(PoolError::Unknown)));
}

#[test]
fn orphaned_drains_are_removed_after_their_retention() {
    let mut registry = super::super::registry::Registry::new(&TimeoutsSection::default());
    let (now, day) = (now_ms(), 24 * 3600 * 1000);
    // The retention begins at the expiry of the registration, not at the drain.
    for (id, deadline_ms) in [("over", 1000), ("long", now + 3 * day)] {
        registry.set_drain(
            id,
            Some(StoredDrain {
                since_ms: 1,
                deadline_ms,
            }),
        );
    }
    assert!(registry.remove_overdue_drains(now + day - 1000).is_empty());
    assert_eq!(registry.remove_overdue_drains(now + 2 * day), ["over"]);
    assert!(registry.stored("over").is_none() && registry.stored("long").is_some());
    assert_eq!(registry.remove_overdue_drains(now + 3 * day + 1), ["long"]);
}

#[tokio::test]
async fn registrations_and_drains_survive_a_restart() {
    let (before, store) = (pool(&[1]).await, Arc::new(FakeStore::default()));
    before.set_store(Arc::clone(&store) as Arc<dyn Store>);
    before
        .register(
            "w",
            registration(
                1,
                json!({"labels": {"zone": "a"}, "load": {"in_flight": 3}}),
            ),
        )
        .await
        .unwrap();
    let writes = *store.writes.lock().unwrap();
    before
        .register(
            "w",
            registration(
                1,
                json!({"labels": {"zone": "a"}, "load": {"in_flight": 4}}),
            ),
        )
        .await
        .unwrap();
    assert_eq!(
        *store.writes.lock().unwrap(),
        writes,
        "a renewal is not stored"
    );
    before.drain("w0", Duration::from_secs(60)).await.unwrap();
    let after = pool(&[1]).await;
    let kept = store.workers.lock().unwrap().values().cloned().collect();
    after.restore(kept).await;
    assert_eq!(ids(&after), ["w", "w0"]);
    assert!(after.by_id("w").unwrap().matches(&labels("a")));
    assert!(after.by_id("w0").unwrap().is_draining());
    before.undrain("w0").await.unwrap();
    before.delete("w").await.unwrap();
    assert_eq!((store.get("w"), store.get("w0")), (None, None));
}

#[tokio::test]
async fn the_drain_of_a_worker_is_deleted_with_it_from_the_file() {
    let (pool, store) = (pool(&[1, 1]).await, Arc::new(FakeStore::default()));
    pool.set_store(Arc::clone(&store) as Arc<dyn Store>);
    pool.drain("w0", Duration::from_secs(60)).await.unwrap();
    pool.drain("w1", Duration::from_secs(60)).await.unwrap();
    set_fixed(&pool, &[section("w1", 1001, 1), section("w2", 1002, 1)]).await;
    assert_eq!((store.get("w0"), store.get("w1").is_some()), (None, true));
    assert!(pool.by_id("w1").unwrap().is_draining());
    set_fixed(&pool, &[section("w0", 1000, 1)]).await;
    assert!(!pool.by_id("w0").unwrap().is_draining());
}

#[tokio::test]
async fn with_a_full_store_workers_register_but_drains_are_rejected() {
    let (pool, store) = (pool(&[1]).await, Arc::new(FakeStore::default()));
    pool.set_store(Arc::clone(&store) as Arc<dyn Store>);
    pool.drain("w0", Duration::from_secs(60)).await.unwrap();
    *store.is_full.lock().unwrap() = true;
    pool.register("w", registration(1, json!({})))
        .await
        .unwrap();
    assert_eq!(select(&pool, b"k").as_deref(), Some("w"));
    assert!(matches!(
        pool.drain("w", Duration::ZERO).await,
        Err(PoolError::Store(_))
    ));
    assert!(matches!(pool.undrain("w0").await, Err(PoolError::Store(_))));
    assert!(matches!(pool.delete("w").await, Err(PoolError::Store(_))));
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
async fn changes_of_another_process_are_applied() {
    let (pool, store) = (pool(&[1]).await, Arc::new(FakeStore::default()));
    pool.set_store(Arc::clone(&store) as Arc<dyn Store>);
    pool.register("stays", registration(1, json!({})))
        .await
        .unwrap();
    pool.register("goes", registration(2, json!({})))
        .await
        .unwrap();
    pool.drain("w0", Duration::from_secs(60)).await.unwrap();
    *store.is_full.lock().unwrap() = true;
    pool.register("unsaved", registration(4, json!({})))
        .await
        .unwrap();
    let drain = Some(StoredDrain {
        since_ms: 1,
        deadline_ms: u64::MAX,
    });
    let stays = StoredWorker {
        drain,
        ..store.get("stays").unwrap()
    };
    let comes = StoredWorker {
        id: "comes".to_owned(),
        registration: Some(registration(3, json!({}))),
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
