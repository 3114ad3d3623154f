//! What a service manager is told (systemd's `Type=notify`), over a socket of the test's own.

use std::os::unix::net::UnixDatagram;
use std::path::Path;

use app_proxy_tests::daemon::{Daemon, Detached, Launch, Program};
use app_proxy_tests::wait::eventually;
use nix::sys::signal::Signal;

use crate::daemon::{folder, good, write};

/// The socket of a service manager.
struct Manager {
    socket: UnixDatagram,
    launch: Launch,
}

impl Manager {
    fn new(folder: &Path) -> Self {
        let path = folder.join("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let under = [
            "env".to_owned(),
            format!("NOTIFY_SOCKET={}", path.display()),
        ];
        let launch = Launch {
            under: under.to_vec(),
            ..Launch::default()
        };
        Self { socket, launch }
    }

    /// The next message, line by line.
    async fn message(&self) -> Vec<String> {
        eventually("a message to the service manager", || {
            let mut message = [0; 1024];
            let length = self.socket.recv(&mut message).ok()?;
            let text = String::from_utf8_lossy(&message[..length]).into_owned();
            Some(text.lines().map(str::to_owned).collect())
        })
        .await
    }
}

async fn assert_reload_and_stop(manager: &Manager, signal: impl Fn(Signal)) {
    signal(Signal::SIGHUP);
    let reloading = manager.message().await;
    assert_eq!(reloading.len(), 2, "{reloading:?}");
    assert_eq!(reloading[0], "RELOADING=1");
    let begin = reloading[1].strip_prefix("MONOTONIC_USEC=").unwrap();
    assert!(begin.parse::<u64>().is_ok_and(|begin| begin > 0));
    assert_eq!(manager.message().await, ["READY=1"]);
    signal(Signal::SIGTERM);
    assert_eq!(manager.message().await, ["STOPPING=1"]);
}

#[tokio::test]
async fn readiness_reloads_and_the_end_are_reported_from_the_foreground() {
    for program in [Program::Coordinator, Program::Worker] {
        let folder = folder();
        write(folder.path(), &good(program));
        let manager = Manager::new(folder.path());
        let args = ["-c", "config.yaml"];
        let mut daemon = Daemon::launch("notifies", program, folder.path(), &args, &manager.launch);
        let main = format!("MAINPID={}", daemon.pid());
        assert_eq!(manager.message().await, [main.as_str(), "READY=1"]);
        let detached = Detached { pid: daemon.pid() };
        assert_reload_and_stop(&manager, |signal| detached.signal(signal)).await;
        assert_eq!(daemon.ended().await.code(), Some(0));
    }
}

#[tokio::test]
async fn a_daemon_in_the_background_is_the_main_process() {
    let folder = folder();
    write(folder.path(), &good(Program::Worker));
    let manager = Manager::new(folder.path());
    let args = ["-d", "-c", "config.yaml"];
    let program = Program::Worker;
    let mut foreground = Daemon::launch("starts", program, folder.path(), &args, &manager.launch);
    assert_eq!(foreground.ended().await.code(), Some(0));
    let pid = std::fs::read_to_string(folder.path().join("run/worker.pid")).unwrap();
    let pid: u32 = pid.trim().parse().unwrap();
    let daemon = Detached { pid };
    assert_eq!(
        manager.message().await,
        [format!("MAINPID={pid}").as_str(), "READY=1"]
    );
    assert_reload_and_stop(&manager, |signal| daemon.signal(signal)).await;
    eventually("the daemon to end", || (!daemon.alive()).then_some(())).await;
}
