//! The lock that members of a file hold.

use std::io::{BufRead, BufReader};
use std::sync::Barrier;

use super::processes::{given, program, start};
use super::*;
use crate::conformance::samples::member;
use crate::member::Role;

fn lock(path: &Path) -> PathBuf {
    beside(path, ".lock")
}

async fn join(store: &SqliteStore, pid: u32) -> Result<Vec<Member>, StoreError> {
    store.join(member(pid), Role::Alone).await
}

#[tokio::test]
async fn lock_file_is_private_and_made_by_the_first_join() {
    let (folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    assert!(!lock(&path).exists());
    join(&store, 1).await.unwrap();
    assert_eq!(mode(&lock(&path)), 0o600);
    // A link to the store leads to the same lock.
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let other = SqliteStore::open(&link).unwrap();
    let answer = join(&other, 2).await;
    assert!(
        matches!(answer, Err(StoreError::InUse { pid: 1, .. })),
        "{answer:?}"
    );
    assert!(!lock(&link).exists());
}

#[tokio::test]
async fn rejection_names_the_process_in_one_line() {
    let (_folder, path) = place();
    let [one, other] = [(), ()].map(|()| SqliteStore::open(&path).unwrap());
    join(&one, 41).await.unwrap();
    let error = join(&other, 2).await.unwrap_err();
    let expected = "the store is in use by process 41 (admin API at 127.0.0.1:41)";
    assert_eq!(error.to_string(), expected);
    // A member that another one removed by mistake has the lock and no row.
    let id = other.members().await.unwrap()[0].id;
    other.remove_member(id).await.unwrap();
    let error = join(&other, 2).await.unwrap_err();
    assert_eq!(error.to_string(), "the store is in use by another process");
}

#[tokio::test]
async fn unusable_lock_file_is_an_error_that_names_it() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    fs::create_dir(lock(&path)).unwrap();
    let error = join(&store, 1).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, StoreError::Unusable(_)), "{error:?}");
    assert!(
        text.contains("cannot open") && text.contains("store.db.lock"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1);
    fs::remove_dir(lock(&path)).unwrap();
    join(&store, 1).await.unwrap();
}

#[tokio::test]
async fn read_only_folder_is_an_error_that_names_the_lock_file() {
    let (folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(folder.path().join("x"), "").is_ok() {
        eprintln!("skipped: this user may write to every folder");
        return;
    }
    let error = join(&store, 1).await.unwrap_err();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    assert!(error.to_string().contains("store.db.lock"), "{error}");
    join(&store, 1).await.unwrap();
}

#[tokio::test]
async fn failed_join_releases_the_lock() {
    let (_folder, path) = place();
    let [one, other] = [(), ()].map(|()| SqliteStore::open(&path).unwrap());
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "CREATE TRIGGER full BEFORE INSERT ON members BEGIN SELECT raise(ABORT, 'x'); END",
        )
        .unwrap();
    join(&one, 1).await.unwrap_err();
    connection.execute_batch("DROP TRIGGER full").unwrap();
    join(&other, 2).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_several_that_start_at_once_joins() {
    for _ in 0..10 {
        let (_folder, path) = place();
        drop(SqliteStore::open(&path).unwrap());
        let barrier = Arc::new(Barrier::new(4));
        let threads = (1..=4).map(|pid| {
            let (path, barrier) = (path.clone(), Arc::clone(&barrier));
            std::thread::spawn(move || {
                let mut runtime = tokio::runtime::Builder::new_current_thread();
                let runtime = runtime.build().unwrap();
                let store = SqliteStore::open(&path).unwrap();
                barrier.wait();
                let answer = runtime.block_on(join(&store, pid));
                // The lock is held until all have tried.
                barrier.wait();
                answer
            })
        });
        let threads: Vec<_> = threads.collect();
        let answers = threads.into_iter().map(|thread| thread.join().unwrap());
        let answers: Vec<_> = answers.collect();
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
        for error in answers.iter().filter_map(|answer| answer.as_ref().err()) {
            assert!(matches!(error, StoreError::InUse { .. }), "{error:?}");
        }
    }
}

#[tokio::test]
#[ignore = "run by other tests in a process"]
async fn joins_and_leaves_without_end() {
    let Some(path) = given() else { return };
    loop {
        let store = SqliteStore::open(&path).unwrap();
        let pid = std::process::id();
        store.join(member(pid), Role::Successor).await.unwrap();
        println!("joined");
        store.save_streams(&[("s".to_owned(), 1)]).await.unwrap();
        store
            .beat(MemberStage::Serving, &ServedTable::default())
            .await
            .unwrap();
        store.leave().await.unwrap();
    }
}

/// The process is killed at a moment that differs with each round: while it joins, while it is a
/// member, or while it leaves.
#[tokio::test]
async fn a_process_killed_at_any_point_does_not_prevent_the_next() {
    let (_folder, path) = place();
    for round in 0..12 {
        let mut child = start(&program("presence::joins_and_leaves_without_end"), &path);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for _ in 0..=round {
            lines
                .by_ref()
                .find(|line| line.as_ref().unwrap().ends_with("joined"));
        }
        for _ in 0..round * 40_000 {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let store = SqliteStore::open(&path).unwrap();
        assert_eq!(join(&store, 1).await.unwrap(), [], "round {round}");
        let streams: i64 = Connection::open(&path)
            .unwrap()
            .query_row("SELECT count(*) FROM streams", (), |row| row.get(0))
            .unwrap();
        assert_eq!(streams, 0);
        store.leave().await.unwrap();
    }
}

#[tokio::test]
async fn a_live_process_prevents_a_lone_start_and_not_a_successor() {
    let (_folder, path) = place();
    let mut child = start(&program("presence::stays"), &path);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.find(|line| line.as_ref().unwrap().ends_with("joined"));
    let store = SqliteStore::open(&path).unwrap();
    let answer = join(&store, 1).await;
    assert!(
        matches!(answer, Err(StoreError::InUse { pid, .. }) if pid == child.id()),
        "{answer:?}"
    );
    let others = store.join(member(1), Role::Successor).await.unwrap();
    assert_eq!(others[0].pid, child.id());
    store.leave().await.unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(join(&store, 1).await.unwrap(), []);
}

#[tokio::test]
#[ignore = "run by another test in a process"]
async fn stays() {
    let Some(path) = given() else { return };
    let store = SqliteStore::open(&path).unwrap();
    join(&store, std::process::id()).await.unwrap();
    println!("joined");
    std::future::pending::<()>().await;
}
