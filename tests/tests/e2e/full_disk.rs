//! A disk without room: changes are refused with a clear code, requests go on, and when there is
//! room again so do changes.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use app_proxy_tests::api::{Api, with_sessions};
use app_proxy_tests::app::RecordingApp;
use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::daemon::{Launch, Program};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{number, session_id};

/// A small filesystem in a namespace of its own; unmounted when dropped.
struct SmallDisk {
    keeper: Child,
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts one; none when this user may not.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let script = r#"mount -t tmpfs -o size=4m none "$0" && echo mounted && exec cat"#;
        let mut keeper = Command::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c", script])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut line = String::new();
        let mut said = BufReader::new(keeper.stdout.take().unwrap());
        let _ = said.read_line(&mut line);
        let disk = Self { keeper, folder };
        (line == "mounted\n").then_some(disk)
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("coordinator.db")
    }

    /// Starts a program where the filesystem is, in the folder that it was to start in.
    fn launch(&self) -> Launch {
        let enter = format!(
            "nsenter --target {} --user --preserve-credentials --mount",
            self.keeper.id()
        );
        let script = format!(r#"exec {enter} sh -c 'cd "$0" && exec "$@"' "$PWD" "$@""#);
        Launch {
            under: ["sh", "-c", &script, "sh"].map(str::to_owned).into(),
            ..Launch::default()
        }
    }

    /// The path of a file of the file system, as seen from this namespace.
    fn seen_from_here(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.keeper.id()));
        root.join(self.folder.path().strip_prefix("/").unwrap())
            .join(name)
    }

    /// Fills the file system to its last byte.
    fn fill(&self) {
        let mut ballast = std::fs::File::create(self.seen_from_here("ballast")).unwrap();
        for size in [4096, 1] {
            while ballast.write_all(&vec![1; size]).is_ok() {}
        }
    }

    fn make_room(&self) {
        std::fs::remove_file(self.seen_from_here("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// A cluster whose store is at `store`, with an app of the file and one of the API.
async fn cluster_on(app: &RecordingApp, store: &Path, launch: Launch) -> Cluster {
    let store = json!({"store": {"path": store}});
    let builder = Cluster::builder()
        .app_at("filed", app.addr())
        .coordinator(&store);
    let cluster = builder.launch(Program::Coordinator, launch).start().await;
    cluster
        .put_app("notes", &with_sessions(&[app.addr()]))
        .await;
    cluster
}

/// Returns an app of some size.
fn bulky(endpoint: SocketAddr) -> Value {
    let mut app = with_sessions(&[endpoint]);
    app["endpoints"][0]["weight"] = json!(1000);
    let more = (1..400).map(|port| json!({"address": format!("127.0.0.2:{port}")}));
    app["endpoints"].as_array_mut().unwrap().extend(more);
    app
}

/// Creates apps until the disk is full; returns the acknowledged ones, and the rejected one.
async fn put_until_full(api: &Api, app: &Value) -> (Vec<String>, String) {
    let mut acknowledged = Vec::new();
    for number in 0..10_000 {
        let name = format!("bulky-{number}");
        let answer = api.put_app(&name, app).await;
        if answer.status != 201 {
            assert_eq!(
                (answer.status, answer.problem_code().as_str()),
                (503, "store_full"),
                "{}",
                answer.text()
            );
            assert!(answer.headers.has("Retry-After"));
            assert!(!answer.text().contains(".db"), "{}", answer.text());
            return (acknowledged, name);
        }
        acknowledged.push(name);
    }
    panic!("it never is full");
}

async fn apps(api: &Api) -> BTreeMap<String, Value> {
    let list = api.json("/api/v1/apps").await;
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|app| (app["name"].as_str().unwrap().to_owned(), app.clone()))
        .collect()
}

/// Asserts the behaviour while the disk is full and after there is space again; returns the table,
/// and a session with its requests.
async fn meets_a_full_disk(
    app: &RecordingApp,
    cluster: &Cluster,
    make_room: impl FnOnce(),
) -> (BTreeMap<String, Value>, String, u64) {
    let api = cluster.api();
    let session = cluster
        .get("/apps/notes/echo")
        .send()
        .await
        .session_cookie()
        .unwrap();
    let mut socket = cluster.websocket("/apps/notes/ws/echo", &[]).await;
    let body = bulky(app.addr());
    let (acknowledged, refused) = put_until_full(&api, &body).await;
    let full = apps(&api).await;
    assert_eq!(full.len(), 2 + acknowledged.len());
    assert_eq!(api.get_app(&refused).await.status, 404);
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
        assert_eq!(
            api.put_app(&refused, &body).await.problem_code(),
            "store_full"
        );
    }
    // What changes nothing needs no room.
    assert_eq!(
        api.put_app("notes", &with_sessions(&[app.addr()]))
            .await
            .status,
        200
    );
    socket.send_text("still there").await;
    assert_eq!(socket.frame().await.as_text(), "still there");
    assert_eq!(apps(&api).await, full);

    make_room();
    let answer = api.put_app(&refused, &body).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let answer = cluster.get(&format!("/apps/{refused}/")).send().await;
    assert!(answer.session_cookie().is_some(), "{}", answer.text());
    assert_eq!(socket.close(1000).await, Some(1000));
    let record = cluster.session(session_id(&session)).await;
    (apps(&api).await, session, number(&record, "requests"))
}

#[tokio::test]
async fn a_full_filesystem_rejects_changes_and_nothing_else() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: this user may not mount a filesystem; a file size limit replaces it");
        return;
    };
    let app = RecordingApp::start().await;
    let mut cluster = cluster_on(&app, &disk.store(), disk.launch()).await;
    assert!(
        !disk.store().exists(),
        "the store is on the small filesystem"
    );
    assert!(disk.seen_from_here("coordinator.db").exists());
    disk.fill();
    let (table, ..) = meets_a_full_disk(&app, &cluster, || disk.make_room()).await;
    cluster.kill_coordinator();
    cluster.restart_coordinator().await;
    assert_eq!(apps(&cluster.api()).await, table);
}

#[tokio::test]
async fn a_file_size_limit_does_not_stop_a_coordinator() {
    let app = RecordingApp::start().await;
    let folder = tempfile::tempdir().unwrap();
    let under = ["prlimit", "--fsize=1048576:unlimited"]
        .map(str::to_owned)
        .into();
    let launch = Launch {
        under,
        ..Launch::default()
    };
    let mut cluster = cluster_on(&app, &folder.path().join("coordinator.db"), launch).await;
    let pid = cluster.coordinator().pid().to_string();
    let lift = || {
        let done = Command::new("prlimit")
            .args(["--pid", &pid, "--fsize=unlimited"])
            .status()
            .unwrap();
        assert!(done.success());
    };
    let (table, session, requests) = meets_a_full_disk(&app, &cluster, lift).await;
    cluster.coordinator().signal(Signal::SIGTERM);
    assert_eq!(cluster.coordinator().ended().await.code(), Some(0));
    cluster.launch(Program::Coordinator, Launch::default());
    cluster.restart_coordinator().await;
    assert_eq!(apps(&cluster.api()).await, table);
    assert_eq!(
        number(&cluster.session(session_id(&session)).await, "requests"),
        requests
    );
}
