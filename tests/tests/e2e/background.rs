//! Daemons in the background (`-d`): the exit status of the foreground process, the pid file, and
//! the upgrade by the recipe of docs/how-to/upgrade.md.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use app_proxy_tests::cluster::{free_address, own_address};
use app_proxy_tests::daemon::{Daemon, Detached, Program, run_to_end};
use app_proxy_tests::http1::Request;
use app_proxy_tests::wait::eventually;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::daemon::{assert_one_line, coordinator_yaml, folder, good, write};

const IN_BACKGROUND: [&str; 3] = ["-d", "-c", "config.yaml"];
const PID_FILE: &str = "run/coordinator.pid";

fn pid_in(folder: &Path) -> Option<u32> {
    let text = std::fs::read_to_string(folder.join(PID_FILE)).ok()?;
    text.trim().parse().ok()
}

/// The names of the files beside the pid file that a start may leave behind.
fn pid_files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder.join("run")).into_iter().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains("pid"))
        .collect();
    names.sort();
    names
}

/// Starts a coordinator in the background; it has to serve when the foreground process returns.
fn start(folder: &Path) -> Detached {
    let end = run_to_end(Program::Coordinator, folder, &IN_BACKGROUND);
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    Detached {
        pid: pid_in(folder).expect("the pid file of a daemon that serves"),
    }
}

async fn assert_serves(public: SocketAddr) {
    let answer = Request::to(public, "GET", "/.app-proxy/healthz");
    assert_eq!(answer.send().await.status, 200);
}

async fn ended(daemon: &Detached) {
    eventually("the daemon to end", || (!daemon.alive()).then_some(())).await;
}

#[tokio::test]
async fn the_foreground_process_returns_when_the_daemon_serves() {
    let folder = folder();
    let (public, admin) = (free_address(own_address()), free_address(own_address()));
    write(folder.path(), &coordinator_yaml(public, admin));
    let daemon = start(folder.path());
    assert_serves(public).await;
    assert_serves_admin(admin).await;
    daemon.signal(Signal::SIGTERM);
    ended(&daemon).await;
    assert_eq!(pid_files(folder.path()), [""; 0]);
}

async fn assert_serves_admin(admin: SocketAddr) {
    let answer = Request::to(admin, "GET", "/healthz").send().await;
    assert_eq!(answer.status, 200);
}

/// Asserts that a start fails with status 1 and one line that has `part`, the same line with `-d`.
fn assert_fails_alike(program: Program, prepare: impl Fn(&Path), text: &str, part: &str) {
    let folder = folder();
    write(folder.path(), text);
    prepare(folder.path());
    let foreground = run_to_end(program, folder.path(), &["-c", "config.yaml"]);
    assert_one_line(&foreground, &["config.yaml", part]);
    let background = run_to_end(program, folder.path(), &IN_BACKGROUND);
    assert_one_line(&background, &["config.yaml", part]);
    assert_eq!(background.stderr, foreground.stderr);
    assert_eq!(pid_files(folder.path()), [""; 0]);
}

#[test]
fn an_address_in_use_fails_a_start_in_the_background_as_in_the_foreground() {
    let taken = TcpListener::bind((own_address(), 0)).unwrap();
    let busy = taken.local_addr().unwrap();
    let text = coordinator_yaml(busy, free_address(own_address()));
    assert_fails_alike(Program::Coordinator, |_| {}, &text, &busy.to_string());
}

#[test]
fn an_unreadable_store_fails_a_start_in_the_background_as_in_the_foreground() {
    let no_store = |folder: &Path| {
        std::fs::create_dir(folder.join("run")).unwrap();
        std::fs::write(folder.join("run/coordinator.db"), "no store").unwrap();
    };
    let text = good(Program::Coordinator);
    assert_fails_alike(Program::Coordinator, no_store, &text, "store");
}

#[test]
fn an_unreadable_secret_fails_a_start_in_the_background_as_in_the_foreground() {
    let no_file = |folder: &Path| std::fs::create_dir_all(folder.join("run/worker.token")).unwrap();
    for program in [Program::Coordinator, Program::Worker] {
        assert_fails_alike(program, no_file, &good(program), "run/worker.token");
    }
}

/// The process with `text` in its command line that `foreground` has not started itself: the
/// daemon, and not the process between the two.
fn daemon_with(text: &str, foreground: u32) -> Option<u32> {
    let foreground = foreground.to_string();
    processes().find(|pid| {
        let read = |name| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let stat = String::from_utf8_lossy(&read("stat")).into_owned();
        let parent = stat.rsplit(')').next().unwrap_or_default();
        let parent = parent.split_whitespace().nth(1);
        let line = String::from_utf8_lossy(&read("cmdline")).into_owned();
        line.contains(text) && pid.to_string() != foreground && parent != Some(&foreground)
    })
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

#[tokio::test]
async fn a_daemon_that_dies_before_it_serves_fails_the_foreground_process() {
    let folder = folder();
    write(folder.path(), &good(Program::Coordinator));
    // The start waits for a writer of this secret.
    std::fs::create_dir(folder.path().join("run")).unwrap();
    mkfifo(&folder.path().join("run/session.key"), Mode::S_IRWXU).unwrap();
    let config = folder.path().join("config.yaml");
    let config = config.to_str().unwrap();
    let args = ["-d", "-c", config];
    let mut foreground = Daemon::spawn("starts", Program::Coordinator, folder.path(), &args);
    let pid = eventually("the daemon", || daemon_with(config, foreground.pid())).await;
    assert!(foreground.try_status().is_none(), "it did not wait");
    Detached { pid }.signal(Signal::SIGKILL);
    assert_eq!(foreground.ended().await.code(), Some(1));
    foreground
        .wait_for_stderr("the end of the daemon", |line| {
            line == "app-proxy-coordinator: the daemon ended before it served"
        })
        .await;
    assert_eq!(foreground.stderr().len(), 1);
    assert_eq!(pid_files(folder.path()), [""; 0]);
}

#[tokio::test]
async fn a_failed_start_leaves_the_pid_file_of_the_running_daemon() {
    let folder = folder();
    let (public, admin) = (free_address(own_address()), free_address(own_address()));
    write(folder.path(), &coordinator_yaml(public, admin));
    let daemon = start(folder.path());
    let end = run_to_end(Program::Coordinator, folder.path(), &IN_BACKGROUND);
    assert_one_line(&end, &[&daemon.pid.to_string()]);
    assert_eq!(pid_in(folder.path()), Some(daemon.pid));
    // A successor that gets no sockets: the running daemon is not signalled.
    let args = ["-d", "-u", "-c", "config.yaml"];
    let end = run_to_end(Program::Coordinator, folder.path(), &args);
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    // One successor waits at a time.
    let second = run_to_end(Program::Coordinator, folder.path(), &args);
    assert_one_line(
        &second,
        &["config.yaml", "upgrade_sock: another new process"],
    );
    let text = folder.path().to_str().unwrap();
    eventually("the successor to give up", || {
        other_in(text, daemon.pid).is_none().then_some(())
    })
    .await;
    assert_eq!(pid_in(folder.path()), Some(daemon.pid));
    assert_eq!(pid_files(folder.path()), ["coordinator.pid"]);
    assert_serves(public).await;
}

/// The process other than `known` that has opened the access log in `folder`.
fn other_in(folder: &str, known: u32) -> Option<u32> {
    processes().filter(|pid| *pid != known).find(|pid| {
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter();
        open.flatten().flatten().any(|file| {
            let target = std::fs::read_link(file.path()).unwrap_or_default();
            target.starts_with(folder)
        })
    })
}

#[tokio::test]
async fn the_recipe_upgrades_a_daemon_in_the_background() {
    let folder = folder();
    let (public, admin) = (free_address(own_address()), free_address(own_address()));
    write(folder.path(), &coordinator_yaml(public, admin));
    let old = start(folder.path());
    // app-proxy-coordinator -d -u … && kill -QUIT "$(cat run/coordinator.pid)"
    let args = ["-d", "-u", "-c", "config.yaml"];
    let end = run_to_end(Program::Coordinator, folder.path(), &args);
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    assert_eq!(pid_in(folder.path()), Some(old.pid));
    old.signal(Signal::SIGQUIT);
    let new = eventually("the pid file of the successor", || {
        pid_in(folder.path()).filter(|pid| *pid != old.pid)
    })
    .await;
    let new = Detached { pid: new };
    assert_serves(public).await;
    ended(&old).await;
    assert_eq!(pid_in(folder.path()), Some(new.pid));
    assert_eq!(pid_files(folder.path()), ["coordinator.pid"]);
    assert_serves(public).await;
    new.signal(Signal::SIGTERM);
    ended(&new).await;
    assert_eq!(pid_files(folder.path()), [""; 0]);
}
