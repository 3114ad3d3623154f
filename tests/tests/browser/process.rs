//! Programs around the cluster (the driver of the browser, the applications): started, listened to,
//! ended by process id.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use app_proxy_tests::wait::eventually;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The time limit of an exit after SIGTERM.
const TO_END: Duration = Duration::from_secs(15);

/// A running program. Ends with the value.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts a program and reads its output.
    pub(crate) fn spawn(name: &'static str, command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start ({command:?}): {error}"));
        let lines = Arc::default();
        read_lines(child.stdout.take().unwrap(), &lines);
        read_lines(child.stderr.take().unwrap(), &lines);
        Self { name, child, lines }
    }

    /// Returns the lines of standard output and standard error so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Waits for a line of output for which `read` returns a value.
    pub(crate) async fn said<T>(&self, what: &str, read: impl Fn(&str) -> Option<T>) -> T {
        let what = format!("{}: {what}", self.name);
        eventually(&what, || self.lines().iter().find_map(|line| read(line))).await
    }

    /// Sends SIGTERM, and kills the process if it does not end.
    pub(crate) fn end(&mut self) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap());
        if self.child.try_wait().unwrap().is_none() {
            // The process may have exited since. It is not reaped yet, so its id is not reused.
            let _ = kill(pid, Signal::SIGTERM);
        }
        let begin = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            if begin.elapsed() > TO_END {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            eprintln!("---- {} said:\n{}", self.name, self.lines().join("\n"));
        }
    }
}

fn read_lines(stream: impl Read + Send + 'static, lines: &Arc<Mutex<Vec<String>>>) {
    let lines = Arc::clone(lines);
    std::thread::spawn(move || {
        let said = BufReader::new(stream).split(b'\n').map_while(Result::ok);
        for line in said {
            let line = String::from_utf8_lossy(&line).into_owned();
            lines.lock().unwrap().push(line);
        }
    });
}
