//! Tests of registration, expiry and the rules for changes.

use super::*;

#[tokio::test]
async fn a_worker_is_in_the_pool_from_registration_until_it_leaves() {
    let pool = pool(&[]).await;
    let [one, two, _] = instances();
    let (registered, is_new) = pool
        .register(
            "w",
            registration(1, json!({"instance": one, "lease": "3s"})),
        )
        .await
        .unwrap();
    assert!(is_new && !registered.drain);
    assert_eq!(registered.lease, Period::from_secs(3));
    assert_eq!(select(&pool, b"k").as_deref(), Some("w"));
    pool.leave("w", &two).await.unwrap();
    assert_eq!(ids(&pool), ["w"]);
    pool.leave("w", &one).await.unwrap();
    assert!(ids(&pool).is_empty() && select(&pool, b"k").is_none());
    // A late registration of the departed instance is rejected.
    assert!(matches!(
        pool.register("w", registration(1, json!({"instance": one})))
            .await,
        Err(PoolError::Superseded)
    ));
    pool.register("w", registration(1, json!({"instance": two})))
        .await
        .unwrap();
    pool.delete("w").await.unwrap();
    assert!(matches!(pool.delete("w").await, Err(PoolError::Unknown)));
    assert!(
        pool.register("w", registration(1, json!({"instance": two})))
            .await
            .unwrap()
            .1
    );
}

#[tokio::test]
async fn a_newer_instance_replaces_an_older_one_but_not_the_reverse() {
    let pool = pool(&[]).await;
    let [one, two, three] = instances();
    pool.register("w", registration(1, json!({"instance": two})))
        .await
        .unwrap();
    assert!(matches!(
        pool.register("w", registration(1, json!({"instance": one})))
            .await,
        Err(PoolError::Superseded)
    ));
    pool.register("w", registration(2, json!({"instance": three})))
        .await
        .unwrap();
    assert_eq!(pool.by_id("w").unwrap().address.to_string(), "127.0.0.1:2");
    pool.leave("w", &two).await.unwrap();
    assert_eq!(ids(&pool), ["w"]);
}

#[tokio::test(start_paused = true)]
async fn a_registration_that_is_not_renewed_expires() {
    let pool = pool(&[]).await;
    pool.register("short", registration(1, json!({"lease": "1s"})))
        .await
        .unwrap();
    pool.register("long", registration(2, json!({})))
        .await
        .unwrap();
    tokio::time::advance(Duration::from_millis(900)).await;
    pool.register("short", registration(1, json!({"lease": "1s"})))
        .await
        .unwrap();
    tokio::time::advance(Duration::from_millis(900)).await;
    pool.remove_expired().await;
    assert_eq!(ids(&pool), ["long", "short"]);
    tokio::time::advance(Duration::from_millis(200)).await;
    assert!(pool.remove_expired().await.is_some());
    assert_eq!(ids(&pool), ["long"]);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(pool.remove_expired().await, None);
    assert!(ids(&pool).is_empty());
}

#[tokio::test]
async fn the_file_overrides_registrations_and_addresses_are_unique() {
    let pool = pool(&[1]).await;
    let (_, is_new) = pool
        .register(
            "w0",
            registration(1000, json!({"weight": 5, "version": "1.2"})),
        )
        .await
        .unwrap();
    assert!(!is_new);
    assert!(matches!(
        pool.register("w0", registration(1, json!({}))).await,
        Err(PoolError::OwnedByFile)
    ));
    assert!(matches!(
        pool.register("w", registration(1000, json!({}))).await,
        Err(PoolError::AddressTaken(_))
    ));
    assert!(matches!(
        pool.delete("w0").await,
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
async fn a_reload_replaces_fixed_workers_and_keeps_registered_ones() {
    let pool = pool_of(&[section("a", 1, 1), section("b", 2, 1), section("c", 3, 1)]).await;
    pool.register("b", registration(2, json!({"weight": 7})))
        .await
        .unwrap();
    pool.register("w", registration(4, json!({})))
        .await
        .unwrap();
    pool.register("x", registration(5, json!({})))
        .await
        .unwrap();
    let kept = pool.by_id("a").unwrap();
    set_fixed(&pool, &[section("a", 1, 1), section("d", 5, 1)]).await;
    // `c` is removed, `b` stays because it has registered, `x` has an address that the file gives
    // to another worker.
    assert_eq!(ids(&pool), ["a", "b", "d", "w"]);
    assert!(Arc::ptr_eq(&kept, &pool.by_id("a").unwrap()));
    assert_eq!(pool.by_id("b").unwrap().weight, 7);
}

#[tokio::test(start_paused = true)]
async fn a_registration_that_another_member_may_renew_expires_when_that_member_is_gone() {
    let elsewhere = |id: &str, port| StoredWorker {
        id: id.to_owned(),
        registration: Some(registration(port, json!({"lease": "1s"}))),
        drain: None,
    };
    let pool = pool(&[]).await;
    pool.restore(vec![elsewhere("elsewhere", 1), elsewhere("here", 2)])
        .await;
    pool.register("here", registration(2, json!({"lease": "1s"})))
        .await
        .unwrap();
    tokio::time::advance(Duration::from_secs(2)).await;
    pool.remove_expired().await;
    assert_eq!(ids(&pool), ["elsewhere"]);
    pool.begin_leases().await;
    pool.remove_expired().await;
    assert_eq!(ids(&pool), ["elsewhere"], "its lease begins");
    tokio::time::advance(Duration::from_secs(2)).await;
    pool.remove_expired().await;
    assert_eq!(ids(&pool), [] as [&str; 0]);
}
