//! A full disk: writes are atomic, and succeed again once there is space.

use std::io::Write;
use std::process::{Command, Stdio};

use super::*;
use crate::sqlite::tests::processes::{given, program, start};

fn is_full<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(error @ StoreError::Full(_)) if error.code() == "store_full")
}

fn many_sessions() -> ActivityBatch {
    batch((0..2_000).map(|number| session(&format!("{number:022}"), number)))
}

async fn limit(store: &SqliteStore, pages: i64) {
    let writers = store.writers.lock().await;
    for connection in [&writers.durable, &writers.behind] {
        let set = connection
            .pragma_update_and_check(None, "max_page_count", pages, |row| row.get::<_, i64>(0));
        assert!(set.unwrap() >= pages);
    }
}

#[tokio::test]
async fn writes_to_a_full_store_are_atomic() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).unwrap();
    store
        .commit_apps(first(1, vec![put("a", 1)]))
        .await
        .unwrap();
    let before = store.load().await.unwrap();
    limit(&store, 40).await;
    let apps = || {
        commit(
            1,
            2_000,
            (2..=2_000)
                .map(|number| put(&format!("b{number}"), number))
                .collect(),
        )
    };
    for _ in 0..2 {
        assert!(is_full(&store.commit_apps(apps()).await));
        assert!(is_full(&store.save_activity(&many_sessions()).await));
        assert_eq!(store.load().await.unwrap(), before);
    }
    store.save_worker(worker("small enough")).await.unwrap();
    limit(&store, 1_000_000).await;
    store.commit_apps(apps()).await.unwrap();
    store.save_activity(&many_sessions()).await.unwrap();
    drop(store);
    let state = SqliteStore::open(&path).unwrap().load().await.unwrap();
    assert_eq!(
        (
            state.apps.apps.len(),
            state.sessions.len(),
            state.workers.len()
        ),
        (2_000, 2_000, 1)
    );
}

/// Fills the filesystem to its last byte.
fn fill(path: &Path) {
    let mut ballast = fs::File::create(path).unwrap();
    for size in [4096, 1] {
        while ballast.write_all(&vec![1; size]).is_ok() {}
    }
}

/// Commits until a commit fails; returns the last revision.
async fn commit_until_full(store: &SqliteStore, mut revision: u64) -> u64 {
    for _ in 0..10_000 {
        let answer = store
            .commit_apps(commit(revision, revision + 1, vec![put("a", revision + 1)]))
            .await;
        if answer.is_err() {
            assert!(is_full(&answer), "{answer:?}");
            return revision;
        }
        revision += 1;
    }
    panic!("the store is never full");
}

#[tokio::test]
#[ignore = "run by another test in a process with a filesystem of 2 MiB"]
async fn meets_a_full_filesystem() {
    let Some(path) = given() else { return };
    let ballast = path.with_file_name("ballast");
    let store = SqliteStore::open(&path).unwrap();
    store
        .commit_apps(first(1, vec![put("a", 1)]))
        .await
        .unwrap();
    fill(&ballast);
    let revision = commit_until_full(&store, 1).await;
    for _ in 0..3 {
        assert!(is_full(&store.save_activity(&many_sessions()).await));
        let answer = store
            .commit_apps(commit(revision, revision + 1, vec![put("a", revision + 1)]))
            .await;
        assert!(is_full(&answer), "{answer:?}");
    }
    let state = store.load().await.unwrap();
    assert_eq!((state.apps.revision, state.sessions.len()), (revision, 0));
    assert_eq!(store.changes_since(&state.cursor).await.unwrap(), None);
    fs::remove_file(&ballast).unwrap();
    store
        .commit_apps(commit(revision, revision + 1, vec![put("b", revision + 1)]))
        .await
        .unwrap();
    store.save_worker(worker("w")).await.unwrap();
    drop(store);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(self::revision(&store).await, revision + 1);
    // Opening on a full filesystem.
    drop(store);
    fill(&ballast);
    let error = SqliteStore::open(&path).err();
    assert!(
        error
            .as_ref()
            .is_none_or(|error| matches!(error, StoreError::Full(_))),
        "{error:?}"
    );
    println!("opening on a full filesystem: {error:?}");
}

#[tokio::test]
#[ignore = "run by another test in a process with a file size limit"]
async fn meets_a_file_size_limit() {
    let Some(path) = given() else { return };
    let store = SqliteStore::open(&path).unwrap();
    store
        .commit_apps(first(1, vec![put("a", 1)]))
        .await
        .unwrap();
    let answer = store.save_activity(&many_sessions()).await;
    assert!(is_full(&answer), "{answer:?}");
    assert_eq!(revision(&store).await, 1);
    store
        .commit_apps(commit(1, 2, vec![put("a", 2)]))
        .await
        .unwrap();
}

/// Runs a test in a process that a shell script prepares. The script ends with `exec "$@"`.
fn runs(prefix: &[&str], script: &str, test: &str, path: &Path) {
    let folder = path.parent().unwrap().display().to_string();
    let mut command: Vec<String> = prefix.iter().map(|word| (*word).to_owned()).collect();
    command.extend(["sh", "-c", script, &folder].map(str::to_owned));
    command.extend(program(test));
    let child = start(&command, path);
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "{stdout}"
    );
}

const OWN_MOUNTS: [&str; 3] = ["unshare", "--map-root-user", "--mount"];
const MOUNT: &str = r#"mount -t tmpfs -o size=2m none "$0""#;

#[test]
fn writes_on_a_full_filesystem_are_atomic_and_recover() {
    let (folder, path) = place();
    let mut try_it = Command::new(OWN_MOUNTS[0]);
    try_it
        .args(&OWN_MOUNTS[1..])
        .args(["sh", "-c", MOUNT])
        .arg(folder.path())
        .stdin(Stdio::null());
    if !try_it.output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: this user may not mount a filesystem of its own");
        return;
    }
    runs(
        &OWN_MOUNTS,
        &format!(r#"{MOUNT} && exec "$@""#),
        "full::meets_a_full_filesystem",
        &path,
    );
}

#[test]
fn a_file_size_limit_is_reported_as_a_full_store() {
    let (_folder, path) = place();
    // The limit is 256 or 512 KiB, according to the shell.
    let script = r#"trap "" XFSZ; ulimit -f 512 && exec "$@""#;
    runs(&[], script, "full::meets_a_file_size_limit", &path);
}
