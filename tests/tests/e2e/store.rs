//! The store: acknowledged changes survive a killed coordinator, a full disk and a locked file; a
//! damaged file is not changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use app_proxy_tests::api::{Api, with_sessions};
use app_proxy_tests::app::RecordingApp;
use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::daemon::{Program, run_to_end};
use app_proxy_tests::wait::eventually;
use nix::sys::signal::Signal;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::daemon::assert_one_line;
use crate::{number, session_id};

/// Returns the path of the default store of a cluster.
fn store_of(cluster: &Cluster) -> PathBuf {
    cluster.folder().join("run/coordinator.db")
}

/// Returns the apps of a table by name, as the API returns them.
async fn apps(api: &Api) -> BTreeMap<String, Value> {
    let list = api.json("/api/v1/apps").await;
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|app| (app["name"].as_str().unwrap().to_owned(), app.clone()))
        .collect()
}

/// Ends the coordinator in order.
async fn stop(cluster: &mut Cluster) {
    cluster.coordinator().signal(Signal::SIGTERM);
    assert_eq!(cluster.coordinator().ended().await.code(), Some(0));
}

/// A pseudo-random sequence that is the same each time.
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// The knowledge of a scheduler about one app: its port, or none if there is no such app.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    acknowledged: Option<u64>,
    /// The last request, if it was not answered.
    asked: Option<Option<u64>>,
}

/// A scheduler that changes apps of its own and records the acknowledged changes.
struct Storm {
    api: Api,
    dice: Dice,
    apps: BTreeMap<String, Known>,
    /// The highest revision that was acknowledged.
    revision: u64,
}

impl Storm {
    fn new(api: Api, number: u64) -> Self {
        let apps = (0..6)
            .map(|app| (format!("storm-{number}-{app}"), Known::default()))
            .collect();
        Self {
            api,
            dice: Dice(0x9e37_79b9_7f4a_7c15 ^ (number + 1)),
            apps,
            revision: 0,
        }
    }

    /// Changes apps until the coordinator is gone; counts acknowledged changes.
    async fn rage(mut self, acknowledged: Arc<AtomicUsize>) -> Self {
        let mut caller = self.api.caller();
        loop {
            let at = self.dice.below(self.apps.len() as u64) as usize;
            let wanted = (self.dice.below(3) > 0).then(|| 1 + self.dice.below(60_000));
            let (name, known) = self.apps.iter_mut().nth(at).unwrap();
            known.asked = Some(wanted);
            let answer = match wanted {
                Some(port) => {
                    let body = json!({"endpoints": [{"address": format!("127.0.0.1:{port}")}]});
                    caller.put_app(name, &body).await
                }
                None => caller.delete_app(name).await,
            };
            let Ok(answer) = answer else { return self };
            match answer.status {
                200 | 201 => self.revision = self.revision.max(number(&answer.json(), "revision")),
                204 => {}
                // The app never existed.
                404 if wanted.is_none() && known.acknowledged.is_none() => {}
                _ => panic!("{name}: {} {}", answer.status, answer.text()),
            }
            *known = Known {
                acknowledged: wanted,
                asked: None,
            };
            acknowledged.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Compares the recorded apps with those of the coordinator after a restart, and records these.
    fn check(&mut self, found: &BTreeMap<String, Value>, round: u64) {
        for (name, known) in &mut self.apps {
            let address = found
                .get(name)
                .map(|app| app["endpoints"][0]["address"].as_str().unwrap());
            let port = address.map(|address| address.rsplit(':').next().unwrap().parse().unwrap());
            let right = port == known.acknowledged || known.asked == Some(port);
            assert!(
                right,
                "round {round}: {name} is at {port:?}, and {known:?} in the book"
            );
            *known = Known {
                acknowledged: port,
                asked: None,
            };
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_is_killed_fifty_times_loses_nothing_that_it_acknowledged() {
    let mut cluster = Cluster::builder().workers(0).start_unready().await;
    let api = cluster.api();
    let mut storms: Vec<_> = (0..4)
        .map(|number| Storm::new(api.clone(), number))
        .collect();
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let (mut all, mut unanswered) = (0, 0);
    let mut epoch = None;
    for round in 0..50 {
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let mut raging = JoinSet::new();
        for storm in storms.drain(..) {
            raging.spawn(storm.rage(Arc::clone(&acknowledged)));
        }
        let enough = 1 + dice.below(40) as usize;
        let seen = || (acknowledged.load(Ordering::SeqCst) >= enough).then_some(());
        eventually("changes to be acknowledged", seen).await;
        for _ in 0..dice.below(200) {
            tokio::task::yield_now().await;
        }
        cluster.kill_coordinator();
        while let Some(storm) = raging.join_next().await {
            storms.push(storm.expect("a scheduler"));
        }
        cluster.restart_coordinator_unready().await;
        let list = api.json("/api/v1/apps").await;
        let found = apps(&api).await;
        for storm in &mut storms {
            unanswered += storm
                .apps
                .values()
                .filter(|known| known.asked.is_some())
                .count();
            storm.check(&found, round);
            assert!(
                number(&list, "revision") >= storm.revision,
                "round {round}: the revision went back: {list}"
            );
        }
        // One history, not a new one after each start.
        assert_eq!(
            epoch.get_or_insert_with(|| list["epoch"].clone()),
            &list["epoch"],
            "round {round}"
        );
        all += acknowledged.load(Ordering::SeqCst);
    }
    println!(
        "{all} acknowledged changes, {unanswered} that were not answered, 50 kills: nothing lost"
    );
}

/// Waits until the store has so many requests of a session.
async fn written(cluster: &Cluster, id: &str, requests: u64) {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let store = Connection::open_with_flags(store_of(cluster), flags).expect("the store");
    store.pragma_update(None, "query_only", true).unwrap();
    eventually(&format!("{requests} requests of {id} in the store"), || {
        let sql = "SELECT requests FROM sessions WHERE id = ?1";
        let found = store.query_row(sql, (id,), |row| row.get::<_, i64>(0));
        found
            .is_ok_and(|found| found == requests as i64)
            .then_some(())
    })
    .await;
}

/// The file's `filed` and the API's `notes`, at one application and behind two workers.
async fn notes() -> (RecordingApp, Cluster) {
    let app = RecordingApp::start().await;
    let cluster = Cluster::builder()
        .app_at("filed", app.addr())
        .workers(2)
        .start()
        .await;
    cluster
        .put_app("notes", &with_sessions(&[app.addr()]))
        .await;
    (app, cluster)
}

#[tokio::test]
async fn sessions_survive_a_kill_and_a_stop_unchanged() {
    let (_app, mut cluster) = notes().await;
    let mut sessions = Vec::new();
    for (number, app) in ["notes", "notes", "notes", "filed", "filed", "filed"]
        .into_iter()
        .enumerate()
    {
        let answer = cluster
            .get(&format!("/apps/{app}/echo"))
            .id(&format!("origin-{number}"))
            .send()
            .await;
        sessions.push((app, answer.session_cookie().expect("a session")));
    }
    let go_on = async |cluster: &Cluster, what: &str| {
        let mut records = Vec::new();
        for (number, (app, session)) in sessions.iter().enumerate() {
            let call = cluster
                .request("POST", &format!("/apps/{app}/echo"))
                .id(&format!("{what}-{number}"));
            let answer = call.session(session).body("12345").send().await;
            assert_eq!((answer.status, answer.session_cookie()), (200, None));
            records.push(cluster.session(session_id(session)).await);
        }
        records
    };
    let check = async |cluster: &Cluster, before: &[Value]| {
        for ((_, session), before) in sessions.iter().zip(before) {
            assert_eq!(&cluster.session(session_id(session)).await, before);
        }
    };
    let before = go_on(&cluster, "killed").await;
    assert_eq!(
        (
            number(&before[0], "requests"),
            number(&before[0], "bytes_in")
        ),
        (2, 5)
    );
    for (_, session) in &sessions {
        written(&cluster, session_id(session), 2).await;
    }
    cluster.kill_coordinator();
    cluster.restart_coordinator().await;
    check(&cluster, &before).await;
    assert_eq!(before[3]["origin_request_id"], "origin-3");

    // In order, the last of it is written too, without waiting for it.
    let before = go_on(&cluster, "stopped").await;
    stop(&mut cluster).await;
    cluster.restart_coordinator().await;
    check(&cluster, &before).await;
    let after = go_on(&cluster, "after").await;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(
            (&after["worker"], &after["moves"]),
            (&before["worker"], &before["moves"])
        );
        assert_eq!(
            (number(after, "requests"), number(after, "bytes_in")),
            (4, 15)
        );
    }
}

#[tokio::test]
async fn a_deleted_session_stays_deleted_after_a_kill() {
    let (_app, mut cluster) = notes().await;
    let session = cluster
        .get("/apps/notes/echo")
        .send()
        .await
        .session_cookie()
        .unwrap();
    let id = session_id(&session);
    written(&cluster, id, 1).await;
    let deleted = cluster
        .api()
        .call("DELETE", &format!("/api/v1/sessions/{id}"))
        .send()
        .await;
    assert_eq!(deleted.status, 204);
    cluster.kill_coordinator();
    cluster.restart_coordinator().await;
    assert_eq!(
        cluster
            .admin_get(&format!("/api/v1/sessions/{id}"))
            .await
            .status,
        404
    );
    let another = cluster
        .get("/apps/notes/echo")
        .session(&session)
        .send()
        .await
        .session_cookie();
    assert_ne!(session_id(&another.expect("another session")), id);
}

#[tokio::test]
async fn a_locked_store_rejects_changes_and_nothing_else() {
    let (app, cluster) = notes().await;
    let api = cluster.api();
    let session = cluster
        .get("/apps/notes/echo")
        .send()
        .await
        .session_cookie()
        .unwrap();
    let before = api.json("/api/v1/apps").await;
    let lock = Connection::open(store_of(&cluster)).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let fresh = with_sessions(&[app.addr()]);
    let put = api.put_app("fresh", &fresh);
    let traffic = async {
        for _ in 0..20 {
            let answer = cluster
                .get("/apps/notes/echo")
                .session(&session)
                .send()
                .await;
            assert_eq!((answer.status, answer.session_cookie()), (200, None));
            assert!(
                cluster
                    .get("/apps/filed/echo")
                    .send()
                    .await
                    .session_cookie()
                    .is_some()
            );
        }
    };
    let (put, ()) = tokio::join!(put, traffic);
    let delete = api
        .call(
            "DELETE",
            &format!("/api/v1/sessions/{}", session_id(&session)),
        )
        .send()
        .await;
    for answer in [put, api.delete_app("notes").await, delete] {
        assert_eq!(
            (answer.status, answer.problem_code().as_str()),
            (503, "store_locked"),
            "{}",
            answer.text()
        );
        assert!(answer.headers.has("Retry-After"));
        assert!(!answer.text().contains(".db"), "{}", answer.text());
    }
    assert_eq!(api.json("/api/v1/apps").await, before);
    assert_eq!(
        number(&cluster.session(session_id(&session)).await, "requests"),
        21
    );
    lock.execute_batch("COMMIT").unwrap();
    assert_eq!(api.put_app("fresh", &fresh).await.status, 201);
    assert_eq!(cluster.get("/apps/fresh/whoami").send().await.status, 200);
    written(&cluster, session_id(&session), 21).await;
}

/// Runs the coordinator of a cluster that has none now, with `-t` and without: both have to end
/// with one line that has all of `parts`.
fn does_not_start(cluster: &Cluster, parts: &[&str]) {
    for args in [
        &["-t", "-c", "coordinator.yaml"][..],
        &["-c", "coordinator.yaml"],
    ] {
        let end = run_to_end(Program::Coordinator, cluster.folder(), args);
        assert_one_line(&end, parts);
    }
}

/// Replaces a store file, and removes its -wal, -shm and -journal files.
fn replace(path: &Path, bytes: &[u8]) {
    for beside in ["-wal", "-shm", "-journal"] {
        let _ = std::fs::remove_file(format!("{}{beside}", path.display()));
    }
    std::fs::write(path, bytes).unwrap();
}

/// A store of some pages, as one file, of a coordinator that has ended.
async fn good_store(cluster: &mut Cluster) -> Vec<u8> {
    let mut caller = cluster.api().caller();
    for number in 0..100 {
        caller
            .put_app(&format!("app-{number}"), &json!({}))
            .await
            .unwrap();
    }
    stop(cluster).await;
    let copy = cluster.folder().join("copy.db");
    let store = Connection::open(store_of(cluster)).unwrap();
    store
        .execute("VACUUM INTO ?1", (copy.to_str().unwrap(),))
        .unwrap();
    // As a coordinator leaves it, which the copy is not.
    let set = Connection::open(&copy)
        .unwrap()
        .pragma_update(None, "journal_mode", "WAL");
    set.unwrap();
    std::fs::read(copy).unwrap()
}

#[tokio::test]
async fn startup_fails_on_a_damaged_store_and_leaves_it_unchanged() {
    let mut cluster = Cluster::builder().workers(0).start_unready().await;
    let path = store_of(&cluster);
    let good = good_store(&mut cluster).await;
    assert!(good.len() > 8 * 4096, "{} bytes", good.len());
    let mut torn = good.clone();
    torn[3 * 4096..5 * 4096].fill(0x5a);
    let cases = [
        ("garbage", app_proxy_tests::pattern(20_000)),
        ("text", b"this is no store\n".to_vec()),
        ("half of it", good[..good.len() / 2].to_vec()),
        ("a piece of a page", good[..good.len() - 100].to_vec()),
        ("its first bytes", good[..100].to_vec()),
        ("two pages gone", torn),
    ];
    for (what, bytes) in cases {
        println!("{what}");
        replace(&path, &bytes);
        does_not_start(&cluster, &["coordinator.yaml", "coordinator.db", "damaged"]);
        assert!(
            std::fs::read(&path).unwrap() == bytes,
            "{what}: the file was changed"
        );
    }
    replace(&path, &good);
    cluster.restart_coordinator_unready().await;
    assert_eq!(apps(&cluster.api()).await.len(), 100);
}

#[tokio::test]
async fn a_store_of_a_later_version_or_of_another_program_is_rejected() {
    let mut cluster = Cluster::builder().workers(0).start_unready().await;
    let path = store_of(&cluster);
    let good = good_store(&mut cluster).await;
    let changed = |sql: &str| {
        replace(&path, &good);
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        std::fs::read(&path).unwrap()
    };
    let later = changed("PRAGMA user_version = 99");
    does_not_start(
        &cluster,
        &["coordinator.yaml", "coordinator.db", "version 99"],
    );
    assert!(
        std::fs::read(&path).unwrap() == later,
        "the file was changed"
    );
    let foreign = changed("PRAGMA application_id = 1");
    does_not_start(
        &cluster,
        &["coordinator.yaml", "coordinator.db", "another program"],
    );
    assert!(
        std::fs::read(&path).unwrap() == foreign,
        "the file was changed"
    );
}

#[tokio::test]
async fn startup_fails_if_the_store_cannot_be_created() {
    let mut cluster = Cluster::builder().workers(0).start_unready().await;
    stop(&mut cluster).await;
    let folder = cluster.folder().join("folder.db");
    std::fs::create_dir(&folder).unwrap();
    cluster.patch_coordinator_config(&json!({"coordinator": {"store": {"path": "folder.db"}}}));
    does_not_start(&cluster, &["coordinator.yaml", "folder.db", "directory"]);
    cluster.patch_coordinator_config(
        &json!({"coordinator": {"store": {"path": "coordinator.yaml/x.db"}}}),
    );
    let end = run_to_end(
        Program::Coordinator,
        cluster.folder(),
        &["-c", "coordinator.yaml"],
    );
    assert_one_line(&end, &["coordinator.yaml/x.db"]);
}

#[tokio::test]
async fn a_store_in_memory_is_empty_after_a_restart_and_workers_sync_again() {
    let (one, other) = (RecordingApp::start().await, RecordingApp::start().await);
    let memory = json!({"store": {"kind": "memory"}});
    let mut cluster = Cluster::builder()
        .app_at("filed", one.addr())
        .workers(2)
        .coordinator(&memory)
        .start()
        .await;
    cluster
        .put_app("notes", &with_sessions(&[one.addr()]))
        .await;
    cluster.put_app("gone", &with_sessions(&[one.addr()])).await;
    for _ in 0..10 {
        assert_eq!(
            cluster.get("/apps/notes/whoami").send().await.text(),
            one.addr().to_string()
        );
    }
    let before = cluster.api().json("/api/v1/apps").await;
    cluster.kill_coordinator();
    cluster.restart_coordinator().await;
    assert!(!store_of(&cluster).exists());
    let after = cluster.api().json("/api/v1/apps").await;
    assert_ne!(after["epoch"], before["epoch"]);
    assert_eq!(
        apps(&cluster.api()).await.into_keys().collect::<Vec<_>>(),
        ["filed"]
    );
    assert_eq!(cluster.get("/apps/gone/whoami").send().await.status, 404);
    // At the revision that it had before the restart it is another app now.
    let again = cluster
        .put_app("notes", &with_sessions(&[other.addr()]))
        .await;
    assert_eq!(number(&again, "revision") + 1, number(&before, "revision"));
    for _ in 0..20 {
        assert_eq!(
            cluster.get("/apps/notes/whoami").send().await.text(),
            other.addr().to_string()
        );
        assert_eq!(
            cluster.get("/apps/filed/whoami").send().await.text(),
            one.addr().to_string()
        );
    }
}

#[tokio::test]
async fn a_restart_adopts_the_apps_of_the_file_and_keeps_those_of_the_api() {
    let (one, other) = (RecordingApp::start().await, RecordingApp::start().await);
    let builder = Cluster::builder()
        .app_at("leaves", one.addr())
        .app_at("moves", one.addr());
    let mut cluster = builder.app_at("stays", one.addr()).start().await;
    let mut held = with_sessions(&[one.addr()]);
    held["match"] = json!([{"path": "/held"}]);
    let holder = cluster.put_app("holder", &held).await;
    let mine = cluster.put_app("mine", &with_sessions(&[one.addr()])).await;
    let api = cluster.api();
    let before = apps(&api).await;
    let session = cluster
        .get("/apps/leaves/echo")
        .send()
        .await
        .session_cookie()
        .unwrap();
    stop(&mut cluster).await;

    let at = |name: &str, app: &RecordingApp| {
        let endpoints = json!([{"address": app.addr().to_string()}]);
        json!({"name": name, "endpoints": endpoints})
    };
    let file = json!([at("moves", &other), at("stays", &one), at("comes", &other)]);
    cluster.patch_coordinator_config(&json!({"coordinator": {"apps": file}}));
    cluster.restart_coordinator().await;
    let after = apps(&api).await;
    assert_eq!(
        after.keys().collect::<Vec<_>>(),
        ["comes", "holder", "mine", "moves", "stays"]
    );
    assert_eq!(
        (&after["holder"], &after["mine"], &after["stays"]),
        (&holder, &mine, &before["stays"])
    );
    for (name, app) in [
        ("comes", &other),
        ("moves", &other),
        ("stays", &one),
        ("mine", &one),
    ] {
        let answer = cluster.get(&format!("/apps/{name}/whoami")).send().await;
        assert_eq!(answer.text(), app.addr().to_string(), "{name}");
    }
    assert_eq!(
        cluster
            .get("/apps/leaves/echo")
            .session(&session)
            .send()
            .await
            .status,
        404
    );
    assert_eq!(
        cluster
            .admin_get(&format!("/api/v1/sessions/{}", session_id(&session)))
            .await
            .status,
        404
    );
    stop(&mut cluster).await;

    let mut thief = at("thief", &other);
    thief["match"] = json!([{"path": "/held"}]);
    let stolen = json!([at("stays", &one), thief]);
    cluster.patch_coordinator_config(&json!({"coordinator": {"apps": stolen}}));
    does_not_start(&cluster, &["coordinator.yaml", "`thief`", "`holder`"]);

    // The file has the last word on a name.
    let taken = json!([
        at("moves", &other),
        at("stays", &one),
        at("comes", &other),
        at("mine", &other)
    ]);
    cluster.patch_coordinator_config(&json!({"coordinator": {"apps": taken}}));
    cluster.restart_coordinator().await;
    let last = apps(&api).await;
    assert_eq!(
        last.keys().collect::<Vec<_>>(),
        ["comes", "holder", "mine", "moves", "stays"]
    );
    assert_eq!(
        (&last["mine"]["source"], &last["holder"]),
        (&"file".into(), &holder)
    );
    assert_eq!(
        cluster.get("/apps/mine/whoami").send().await.text(),
        other.addr().to_string()
    );
}
