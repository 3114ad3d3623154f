//! A measurement of the store. Run it in an optimised build:
//! `cargo test --release -p app-proxy-store --lib sqlite::measure -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use super::*;
use crate::conformance::samples::{batch, commit, first, put, session, worker};

const APPS: u64 = 10_000;
const SESSIONS: u64 = 100_000;

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// Returns a session with an identifier that resembles a random one.
fn some_session(number: u64, active_ms: u64) -> crate::StoredSession {
    session(
        &format!("{:022}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        active_ms,
    )
}

fn some_sessions(from: u64, most: u64, active_ms: u64) -> ActivityBatch {
    batch((from..from + most).map(|number| some_session(number % SESSIONS, active_ms + number)))
}

/// Returns sessions with scattered times of creation: the worst case, as most of them are alone on
/// their page.
fn scattered_sessions(from: u64, most: u64, active_ms: u64) -> ActivityBatch {
    batch(
        (from..from + most)
            .map(|number| some_session(number * 7_919 % SESSIONS, active_ms + number)),
    )
}

async fn fill(store: &SqliteStore) {
    let began = Instant::now();
    let changes = (1..=APPS)
        .map(|number| put(&format!("app-{number}"), number))
        .collect();
    store.commit_apps(first(APPS, changes)).await.unwrap();
    println!("{APPS} apps in one commit: {:.0} ms", ms(began));
    let began = Instant::now();
    let batches = SESSIONS / 2_000;
    for number in 0..batches {
        store
            .save_activity(&some_sessions(number * 2_000, 2_000, 0))
            .await
            .unwrap();
    }
    println!(
        "{SESSIONS} new sessions: {:.1} ms a batch of 2,000",
        ms(began) / batches as f64
    );
}

async fn commits(store: &SqliteStore, rounds: u64, base: u64) -> Vec<f64> {
    let mut times = Vec::new();
    for revision in base..base + rounds {
        let began = Instant::now();
        store
            .commit_apps(commit(
                revision,
                revision + 1,
                vec![put("one", revision + 1)],
            ))
            .await
            .unwrap();
        times.push(ms(began));
    }
    times.sort_by(f64::total_cmp);
    times
}

fn print(what: &str, times: &[f64]) {
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    println!(
        "{what}: p50 {:.2} ms, p99 {:.2} ms, most {:.2} ms",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn costs_of_the_store() {
    // The default folder may be in memory.
    let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let path = folder.path().join("store.db");
    let store = SqliteStore::open(&path).unwrap();
    fill(&store).await;

    let mut times = Vec::new();
    for number in 0..50 {
        let again = scattered_sessions(number * 2_000, 2_000, 1_000_000);
        let began = Instant::now();
        store.save_activity(&again).await.unwrap();
        times.push(ms(began));
    }
    times.sort_by(f64::total_cmp);
    print("2,000 sessions that are there", &times);
    print("a commit of one app", &commits(&store, 300, APPS).await);

    let store = Arc::new(store);
    let (writer, stop) = (
        Arc::clone(&store),
        Arc::new(std::sync::atomic::AtomicBool::new(false)),
    );
    let stopped = Arc::clone(&stop);
    let activity = tokio::spawn(async move {
        let mut number = 0;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            number += 2_000;
            writer
                .save_activity(&scattered_sessions(number, 2_000, 2_000_000))
                .await
                .unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    print(
        "a commit of one app beside activity",
        &commits(&store, 300, APPS + 300).await,
    );
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    activity.await.unwrap();
    let store = Arc::into_inner(store).unwrap();

    let cursor = store.load().await.unwrap().cursor;
    let began = Instant::now();
    for _ in 0..1_000 {
        assert_eq!(store.changes_since(&cursor).await.unwrap(), None);
    }
    println!("no changes: {:.1} µs a call", ms(began));
    let mut times = Vec::new();
    for _ in 0..100 {
        store.save_worker(worker("w")).await.unwrap();
        let began = Instant::now();
        assert_eq!(store.changes_since(&cursor).await.unwrap(), None);
        times.push(ms(began));
    }
    times.sort_by(f64::total_cmp);
    print("no changes after an own change", &times);
    let began = Instant::now();
    assert_eq!(store.trim_sessions(0, SESSIONS).await.unwrap(), 0);
    println!("trimming nothing: {:.1} ms", ms(began));
    drop(store);

    println!(
        "file: {:.1} MiB",
        path.metadata().unwrap().len() as f64 / f64::from(1 << 20)
    );
    let began = Instant::now();
    let store = SqliteStore::open(&path).unwrap();
    println!("opening: {:.0} ms", ms(began));
    let began = Instant::now();
    let state = store.load().await.unwrap();
    println!("loading: {:.0} ms", ms(began));
    assert_eq!(state.sessions.len() as u64, SESSIONS);
    let began = Instant::now();
    assert_eq!(
        store.trim_sessions(0, SESSIONS / 2).await.unwrap(),
        SESSIONS / 2
    );
    println!("trimming {} sessions: {:.0} ms", SESSIONS / 2, ms(began));
}

/// Fills a file of schema 1.
fn fill_schema_1(path: &Path) {
    let connection = Connection::open(path).unwrap();
    connection
        .pragma_update(None, "journal_mode", "WAL")
        .unwrap();
    connection.execute_batch(schema::MIGRATIONS[0]).unwrap();
    let rows = format!(
        "BEGIN;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {SESSIONS})
         INSERT INTO sessions SELECT i, printf('%022d', i * 2654435761 % 4294967296), 'the mac',
             'a', 'w1', 0, 'r1', 'r1', '2001:db8::1', 5, i, 1, 2, 3, 0, i / 2000, 7, 0 FROM n;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {APPS})
         INSERT INTO activity SELECT 'app-' || i, i, i, 0, i, 7, 0 FROM n;
         COMMIT;
         PRAGMA application_id = {}; PRAGMA user_version = 1;",
        schema::APPLICATION_ID
    );
    connection.execute_batch(&rows).unwrap();
}

#[tokio::test]
#[ignore = "a measurement"]
async fn costs_of_the_migration() {
    let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let path = folder.path().join("store.db");
    fill_schema_1(&path);
    let mut connection = Connection::open(&path).unwrap();
    let began = Instant::now();
    schema::migrate(&mut connection, schema::MIGRATIONS).unwrap();
    let took = began.elapsed();
    println!(
        "migration of {SESSIONS} sessions from schema 1: {:.0} ms",
        ms(began)
    );
    drop(connection);
    let began = Instant::now();
    let state = SqliteStore::open(&path).unwrap().load().await.unwrap();
    println!("opening and loading: {:.0} ms", ms(began));
    assert_eq!(state.sessions.len() as u64, SESSIONS);
    assert!(took < Duration::from_secs(2), "{took:?}");
}
