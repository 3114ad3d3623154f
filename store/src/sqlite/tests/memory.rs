//! The store in memory.

use super::*;

#[tokio::test]
async fn contents_are_lost_with_the_last_handle() {
    let database = Database::new_in_memory();
    let open = || SqliteStore::open_with(database.clone(), schema::MIGRATIONS).unwrap();
    let store = open();
    store.save_worker(worker("w")).await.unwrap();
    let another = store.another().unwrap();
    drop(store);
    assert_eq!(another.load().await.unwrap().workers, [worker("w")]);
    drop(another);
    assert_eq!(open().load().await.unwrap(), State::default());
}

#[tokio::test]
async fn two_new_stores_share_nothing() {
    let one = SqliteStore::in_memory().unwrap();
    let other = SqliteStore::in_memory().unwrap();
    one.save_worker(worker("w")).await.unwrap();
    assert_eq!(other.load().await.unwrap(), State::default());
}

/// The process that runs this test must have no other store open, so it is a process of its own.
#[tokio::test]
#[ignore = "run by another test in a process"]
async fn fills_a_store_in_memory() {
    let Some(_) = processes::given() else { return };
    let files = || fs::read_dir("/proc/self/fd").unwrap().count();
    let store = SqliteStore::in_memory().unwrap();
    let before = files();
    for round in 0..5 {
        let sessions = (0..10_000).map(|number| session(&format!("{number:022}"), number + round));
        store.save_activity(&batch(sessions)).await.unwrap();
        store.trim_sessions(0, 9_000).await.unwrap();
        assert_eq!(files(), before, "a file was opened");
    }
    assert_eq!(store.load().await.unwrap().sessions.len(), 9_000);
}

#[test]
fn no_file_is_opened() {
    let (folder, path) = place();
    let program = processes::program("memory::fills_a_store_in_memory");
    let output = processes::start(&program, &path)
        .wait_with_output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "{stdout}"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
