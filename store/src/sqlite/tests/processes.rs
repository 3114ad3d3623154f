//! Several processes with one file, and killed processes. Each process is this test program, run
//! with one test.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::*;

/// The environment variable with the path of the store.
const STORE: &str = "APP_PROXY_TEST_STORE";

/// Returns the command that runs one ignored test of this program.
pub(super) fn program(test: &str) -> Vec<String> {
    let program = std::env::current_exe().unwrap().display().to_string();
    let test = format!(
        "{}::{test}",
        module_path!()
            .split_once("::")
            .unwrap()
            .1
            .trim_end_matches("::processes")
    );
    [&*program, "--exact", &*test, "--ignored", "--nocapture"]
        .map(str::to_owned)
        .to_vec()
}

pub(super) fn start(program: &[String], path: &Path) -> Child {
    let mut command = Command::new(&program[0]);
    command
        .args(&program[1..])
        .env(STORE, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    command.spawn().unwrap()
}

/// Returns the path of the store; `None` if no test started this process.
pub(super) fn given() -> Option<PathBuf> {
    std::env::var_os(STORE).map(PathBuf::from)
}

/// Commits changes on top of those of other processes, and prints each acknowledged revision.
async fn commit_many(path: &Path, most: u64) {
    let store = SqliteStore::open(path).unwrap();
    let mut done = 0;
    while done < most {
        let table = store.load().await.unwrap().apps;
        let next = table.revision + 1;
        let name = format!("a{}", next % 50);
        let base = (table.epoch, table.revision);
        let change = AppCommit {
            base,
            ..commit(0, next, vec![put(&name, next)])
        };
        match store.commit_apps(change).await {
            Ok(_) => {
                done += 1;
                println!("committed {next}");
            }
            Err(StoreError::Behind | StoreError::Locked(_)) => (),
            Err(error) => panic!("{error}"),
        }
        let sessions = (0..20).map(|number| session(&format!("{number:022}"), next));
        if let Err(error) = store.save_activity(&batch(sessions)).await {
            assert!(matches!(error, StoreError::Locked(_)), "{error}");
        }
    }
}

#[tokio::test]
#[ignore = "run by other tests in a process"]
async fn commits_without_end() {
    if let Some(path) = given() {
        commit_many(&path, u64::MAX).await;
    }
}

#[tokio::test]
#[ignore = "run by other tests in a process"]
async fn commits_ten_times() {
    if let Some(path) = given() {
        commit_many(&path, 10).await;
    }
}

/// Returns the revisions that a process printed.
fn printed(child: &mut Child) -> impl Iterator<Item = u64> + use<> {
    let lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    // The test harness may print something before it.
    lines.filter_map(|line| line.split_once("committed ")?.1.parse().ok())
}

#[tokio::test]
async fn acknowledged_commits_survive_a_kill() {
    let (_folder, path) = place();
    let mut total = 0;
    for round in 0..6 {
        let mut child = start(&program("processes::commits_without_end"), &path);
        let mut printed = printed(&mut child);
        let mut last = printed.by_ref().nth(7 + round * 5).unwrap();
        child.kill().unwrap();
        last = printed.last().unwrap_or(last);
        child.wait().unwrap();
        assert!(
            beside(&path, "-wal").exists(),
            "the process closed its store before it was killed"
        );
        let apps = SqliteStore::open(&path).unwrap().load().await.unwrap().apps;
        // The last revision may have been committed and not printed.
        assert!(
            (last..=last + 1).contains(&apps.revision),
            "printed {last}, stored {}",
            apps.revision
        );
        assert!(apps.apps.iter().any(|app| app.revision == apps.revision));
        assert!(apps.revision > total);
        total = apps.revision;
    }
}

#[tokio::test]
async fn a_kill_during_creation_leaves_a_file_that_opens() {
    for round in 0..8 {
        let (_folder, path) = place();
        let mut child = start(&program("processes::commits_without_end"), &path);
        // Killed later each round: once there is a file, once it has a first page, and so on.
        let steps = [None, Some(0), Some(1), Some(4096)];
        if let Some(length) = steps[round % steps.len()] {
            while path
                .metadata()
                .map_or(true, |metadata| metadata.len() < length)
            {
                assert!(child.try_wait().unwrap().is_none());
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let store = SqliteStore::open(&path).unwrap();
        store.save_worker(worker("w")).await.unwrap();
    }
}

#[tokio::test]
async fn processes_that_create_and_use_a_file_at_once_lose_nothing() {
    let (_folder, path) = place();
    let mut children: Vec<_> = (0..4)
        .map(|_| start(&program("processes::commits_ten_times"), &path))
        .collect();
    let mut revisions = Vec::new();
    for child in &mut children {
        revisions.extend(printed(child));
        assert!(child.wait().unwrap().success());
    }
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=40).collect::<Vec<_>>());
    let state = SqliteStore::open(&path).unwrap().load().await.unwrap();
    assert_eq!(
        (
            state.apps.revision,
            state.sessions.len(),
            state.apps.apps.len()
        ),
        (40, 20, 40)
    );
}

/// Returns a rollback journal that restores a file of one page (SQLite file format, section "The
/// Rollback Journal").
fn journal_of(page: &[u8]) -> Vec<u8> {
    let mut journal = vec![0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    // Records, nonce, initial size of the file in pages, sector size, page size.
    for number in [1_u32, 0, 1, 512, 4096] {
        journal.extend(number.to_be_bytes());
    }
    journal.resize(512, 0);
    journal.extend(1_u32.to_be_bytes());
    journal.extend(page);
    let sum: u32 = (1..=20)
        .map(|step| u32::from(page[4096 - 200 * step]))
        .sum();
    journal.extend(sum.to_be_bytes());
    journal
}

#[tokio::test]
async fn interrupted_creation_is_rolled_back() {
    let (_folder, path) = place();
    Connection::open(&path)
        .unwrap()
        .execute_batch("PRAGMA user_version = 9; PRAGMA user_version = 0;")
        .unwrap();
    let page = fs::read(&path).unwrap();
    assert_eq!(page.len(), 4096);
    fs::write(beside(&path, "-journal"), journal_of(&page)).unwrap();
    let half_created = [&page[..60], &9_u32.to_be_bytes(), &page[64..]].concat();
    fs::write(&path, half_created).unwrap();
    let store = SqliteStore::open(&path).unwrap();
    store.save_worker(worker("w")).await.unwrap();
}
