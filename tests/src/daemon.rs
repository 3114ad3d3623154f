//! The daemons as processes: started, listened to, signalled and ended, each by its process id.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::binary;
use crate::wait::{DEADLINE, eventually};

/// One of the two programs under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `app-proxy-coordinator`.
    Coordinator,
    /// `app-proxy-worker`.
    Worker,
}

impl Program {
    /// The name of the binary.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Coordinator => "app-proxy-coordinator",
            Self::Worker => "app-proxy-worker",
        }
    }

    /// Returns the path of the binary, as [`binary::find`] does.
    #[must_use]
    pub fn path(self) -> PathBuf {
        binary::find(self.name())
    }
}

/// A way to start the programs other than directly.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    /// The absolute path of the folder of the binaries, in place of [`Program::path`]'s.
    pub folder: Option<PathBuf>,
    /// A program that starts the binary as the same process (valgrind, `strace -D`), with its
    /// arguments.
    pub under: Vec<String>,
}

/// The output and exit status of a daemon that exited by itself.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs a program that is expected to end by itself (`-t`, a bad configuration).
///
/// # Panics
/// When it has not ended after [`DEADLINE`]; it is killed then.
#[must_use]
pub fn run_to_end(program: Program, folder: &Path, args: &[&str]) -> Ended {
    launch_to_end(program, folder, args, &Launch::default())
}

/// Runs a program by `launch` that is expected to end by itself.
///
/// # Panics
/// When it has not ended after [`DEADLINE`]; it is killed then.
#[must_use]
pub fn launch_to_end(program: Program, folder: &Path, args: &[&str], launch: &Launch) -> Ended {
    let mut child = command(program, folder, args, launch)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the daemon starts");
    let stdout = Drain::of(child.stdout.take().expect("standard output"));
    let stderr = Drain::of(child.stderr.take().expect("standard error"));
    let status = end_of(&mut child).unwrap_or_else(|| {
        let _ = child.kill();
        let _ = child.wait();
        panic!("{} {args:?} has not ended by itself", program.name())
    });
    Ended {
        code: status.code(),
        stdout: stdout.text(),
        stderr: stderr.text(),
    }
}

fn end_of(child: &mut Child) -> Option<ExitStatus> {
    let begin = Instant::now();
    while begin.elapsed() < DEADLINE {
        if let Some(status) = child.try_wait().expect("the state of the daemon") {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

/// Reads a stream to its end, in the background.
struct Drain {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: std::thread::JoinHandle<()>,
}

impl Drain {
    fn of(mut stream: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&bytes);
        let reader = std::thread::spawn(move || {
            let mut block = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut block) {
                sink.lock()
                    .expect("the bytes")
                    .extend_from_slice(&block[..length]);
            }
        });
        Self { bytes, reader }
    }

    /// Returns the text read so far. Does not wait for the end of the stream, because a process
    /// that detached itself may keep the stream open.
    fn text(&self) -> String {
        let begin = Instant::now();
        while !self.reader.is_finished() && begin.elapsed() < Duration::from_secs(1) {
            std::thread::sleep(Duration::from_millis(5));
        }
        String::from_utf8_lossy(&self.bytes.lock().expect("the bytes")).into_owned()
    }
}

fn command(program: Program, folder: &Path, args: &[&str], launch: &Launch) -> Command {
    let path = launch
        .folder
        .as_ref()
        .map_or_else(|| program.path(), |folder| folder.join(program.name()));
    let mut command = match launch.under.split_first() {
        None => Command::new(path),
        Some((tool, arguments)) => {
            let mut command = Command::new(tool);
            command.args(arguments).arg(path);
            command
        }
    };
    command
        .args(args)
        .current_dir(folder)
        .env("RUST_LOG", "info")
        .env("RUST_BACKTRACE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

/// A running daemon. Ends with the value (SIGKILL), when it has not ended before.
#[derive(Debug)]
pub struct Daemon {
    /// The name in messages: `coordinator`, `w1`.
    pub name: String,
    child: Child,
    status: Option<ExitStatus>,
    stderr: Arc<Mutex<Vec<String>>>,
}

impl Daemon {
    /// Starts `program` in `folder` and reads its standard error from then on.
    ///
    /// # Panics
    /// When it cannot be started at all.
    #[must_use]
    pub fn spawn(name: &str, program: Program, folder: &Path, args: &[&str]) -> Self {
        Self::launch(name, program, folder, args, &Launch::default())
    }

    /// Starts `program` by `launch`.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn launch(
        name: &str,
        program: Program,
        folder: &Path,
        args: &[&str],
        launch: &Launch,
    ) -> Self {
        let mut command = command(program, folder, args, launch);
        let child = command.stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| {
            panic!("{:?} cannot be started: {error}", command.get_program())
        });
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().expect("standard error"));
        let sink = Arc::clone(&stderr);
        std::thread::spawn(move || {
            for line in lines.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                sink.lock().expect("the lines").push(line);
            }
        });
        Self {
            name: name.to_owned(),
            child,
            status: None,
            stderr,
        }
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the text written to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> Vec<String> {
        self.stderr.lock().expect("the lines").clone()
    }

    /// Returns the address of the listener with the name `listener` (`public`, `public h2c`,
    /// `admin`, `proxy`).
    ///
    /// # Panics
    /// If the daemon exits or does not log the address.
    pub async fn listener(&mut self, listener: &str) -> String {
        let what = format!("{}: a line `listening on … ({listener})`", self.name);
        eventually(&what, || {
            let found = self
                .stderr()
                .iter()
                .find_map(|line| address_in(line, listener));
            if found.is_none() && self.try_status().is_some() {
                panic!(
                    "{} has ended ({:?}):\n{}",
                    self.name,
                    self.status,
                    self.stderr().join("\n")
                );
            }
            found
        })
        .await
    }

    /// Waits for a line of standard error.
    pub async fn wait_for_stderr(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let what = format!("{}: {what} on standard error", self.name);
        eventually(&what, || {
            self.stderr().into_iter().find(|line| wanted(line))
        })
        .await
    }

    /// Sends a signal, if the process is still there.
    pub fn signal(&mut self, signal: Signal) {
        if self.try_status().is_none() {
            signal_process(self.pid(), signal);
        }
    }

    /// Ends it with SIGKILL, and waits for that.
    pub fn kill(&mut self) {
        if self.try_status().is_none() {
            let _ = self.child.kill();
            self.status = self.child.wait().ok();
        }
    }

    /// Returns the exit status, if the daemon has exited.
    pub fn try_status(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("the state of the daemon");
        }
        self.status
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        let what = format!("{} to end", self.name);
        eventually(&what, || self.try_status()).await
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!(
                "---- {} ({:?}) said:\n{}",
                self.name,
                self.status,
                self.stderr().join("\n")
            );
        }
    }
}

fn address_in(line: &str, listener: &str) -> Option<String> {
    let rest = line.split("listening on ").nth(1)?;
    let (address, name) = rest.split_once(' ')?;
    (name.trim() == format!("({listener})")).then(|| address.to_owned())
}

/// A daemon that detached itself (`-d`), known by its process id only. Ends with the value
/// (SIGKILL).
#[derive(Debug)]
pub struct Detached {
    /// The process id.
    pub pid: u32,
}

impl Detached {
    /// Sends a signal, if the process is still there.
    pub fn signal(&self, signal: Signal) {
        signal_process(self.pid, signal);
    }

    /// Returns whether the process is running. A zombie is not.
    #[must_use]
    pub fn alive(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid));
        stat.is_ok_and(|stat| {
            let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
            !state.starts_with(['Z', 'X'])
        })
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        if self.alive() {
            signal_process(self.pid, Signal::SIGKILL);
        }
    }
}

fn signal_process(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a process id"));
    match kill(pid, signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => panic!("{signal} to {pid}: {error}"),
    }
}
