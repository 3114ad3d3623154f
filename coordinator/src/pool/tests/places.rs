//! Tests of the places of workers on the rings.

use super::*;

/// Registers a worker at an address of its own choice.
async fn join(pool: &Pool, id: &str, address: &str) -> Result<bool, PoolError> {
    let registration = serde_json::from_value(json!({ "address": address })).unwrap();
    pool.register(id, registration).await.map(|(_, new)| new)
}

/// Returns the workers in the order of selection for `key`.
fn order(pool: &Pool, key: &str) -> String {
    let (mut order, mut failed) = (Vec::new(), Vec::new());
    while let Some(worker) = pool.select(&Labels::new(), key.as_bytes(), None, &failed) {
        order.push(worker.id.to_string());
        failed.push(worker);
    }
    order.join(" ")
}

/// Another order moves sessions at the upgrade, and coordinators of two versions disagree.
#[tokio::test]
async fn the_order_of_workers_for_a_key_is_the_same_in_every_version() {
    let pool = pool(&[]).await;
    for (id, address) in [
        ("a", "127.0.0.1:1"),
        ("b", "[::1]:2"),
        ("c", "unix:/c"),
        ("d", "127.0.0.1:4"),
    ] {
        join(&pool, id, address).await.unwrap();
    }
    for (key, workers) in [
        ("", "d c a b"),
        ("k", "a b c d"),
        ("AAAAAAAAAAAAAAAAAAAAAA", "a b d c"),
        ("Zm9vYmFyYmF6cXV4MTIzNA", "b d c a"),
        ("_-_-_-_-_-_-_-_-_-_-_A", "d b c a"),
        ("0123456789abcdefghijkl", "d a c b"),
    ] {
        assert_eq!(order(&pool, key), workers, "{key}");
    }
    pool.register("d", registration(4, json!({"weight": 3})))
        .await
        .unwrap();
    for (key, workers) in [
        ("", "d c a b"),
        ("AAAAAAAAAAAAAAAAAAAAAA", "d a b c"),
        ("Zm9vYmFyYmF6cXV4MTIzNA", "b d c a"),
    ] {
        assert_eq!(order(&pool, key), workers, "{key}, weighted");
    }
}

#[tokio::test]
async fn no_session_moves_when_a_worker_moves_to_another_address() {
    let pool = pool(&[1, 1, 1]).await;
    join(&pool, "w", "127.0.0.1:1").await.unwrap();
    let keys: Vec<String> = (0..200).map(|key| key.to_string()).collect();
    let orders = |pool: &Pool| -> Vec<String> { keys.iter().map(|key| order(pool, key)).collect() };
    let before = orders(&pool);
    let pinned = pool.by_id("w").unwrap();
    for address in ["127.0.0.1:9", "[::1]:9", "unix:/w.sock"] {
        assert!(!join(&pool, "w", address).await.unwrap());
        assert_eq!(pool.by_id("w").unwrap().address.to_string(), address);
        assert_eq!(orders(&pool), before);
        let selected = pool.select(&Labels::new(), b"k", Some(&pinned), &[]);
        assert_eq!(selected.unwrap().address.to_string(), address);
    }
}

#[tokio::test]
async fn two_workers_cannot_have_one_address() {
    let pool = pool(&[]).await;
    for address in ["127.0.0.1:1", "unix:/w.sock"] {
        join(&pool, "one", address).await.unwrap();
        let taken = join(&pool, "other", address).await;
        assert!(matches!(taken, Err(PoolError::AddressTaken(id)) if *id == *"one"));
    }
    assert_eq!(ids(&pool), ["one"]);
}

#[tokio::test]
async fn the_health_of_a_worker_starts_anew_at_another_address_but_not_with_another_weight() {
    let pool = pool(&[]).await;
    join(&pool, "w", "127.0.0.1:1").await.unwrap();
    for _ in 0..2 {
        // Nothing listens.
        pool.check_health().await;
    }
    let state = |pool: &Pool| {
        let worker = pool.by_id("w").unwrap();
        (
            pool.is_healthy(&worker),
            worker.checked.load(Ordering::Relaxed),
        )
    };
    assert_eq!(state(&pool), (false, true));
    pool.register("w", registration(1, json!({"weight": 2})))
        .await
        .unwrap();
    assert_eq!(state(&pool), (false, true));
    pool.register("w", registration(2, json!({"weight": 2})))
        .await
        .unwrap();
    assert_eq!(state(&pool), (true, false));
}
