//! The processes that the benchmark starts: each on one core, each ended by its process ID.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The maximum time until a process ends; then it is killed.
const PATIENCE: Duration = Duration::from_secs(3);

/// A process that runs until it is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    said: PathBuf,
}

/// The command of a process.
#[derive(Debug)]
pub struct Program<'a> {
    /// The name in messages; output is written to `NAME.out` and `NAME.err`.
    pub name: &'a str,
    /// The folder that it runs in.
    pub folder: &'a Path,
    /// The core that it, and all that it starts, stays on.
    pub core: usize,
    /// The file.
    pub file: &'a Path,
    /// Its arguments.
    pub args: Vec<OsString>,
}

impl Program<'_> {
    /// Starts it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(self) -> Result<Process> {
        let append = |suffix: &str| {
            let path = self.folder.join(format!("{}.{suffix}", self.name));
            File::options()
                .create(true)
                .append(true)
                .open(&path)
                .with_context(|| path.display().to_string())
        };
        let said = self.folder.join(format!("{}.err", self.name));
        // Ended with the benchmark, however that ends.
        let child = Command::new("setpriv")
            .args([
                "--pdeathsig",
                "TERM",
                "taskset",
                "-c",
                &self.core.to_string(),
            ])
            .arg(self.file)
            .args(self.args)
            .current_dir(self.folder)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(append("out")?)
            .stderr(append("err")?)
            .spawn()
            .with_context(|| format!("cannot start {}", self.name))?;
        Ok(Process {
            name: self.name.to_owned(),
            child,
            said,
        })
    }
}

impl Process {
    /// Its process ID.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its standard output.
    #[must_use]
    pub fn output(&self) -> PathBuf {
        self.said.with_extension("out")
    }

    /// Returns the name and the end of the output.
    #[must_use]
    pub fn last_words(&self) -> String {
        let said = fs::read_to_string(&self.said).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        let tail = lines
            .get(lines.len().saturating_sub(15)..)
            .unwrap_or_default()
            .join("\n    ");
        let said = self.said.display();
        if tail.is_empty() {
            format!("{said} is empty")
        } else {
            format!("the end of {said}:\n    {tail}")
        }
    }

    /// Fails when it has ended.
    ///
    /// # Errors
    /// The process, its exit status, and the end of its output.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!(
                "{} has ended by itself ({status}); {}",
                self.name,
                self.last_words()
            );
        }
        Ok(())
    }

    /// Sends SIGTERM, and does not wait for the end.
    pub fn ask_to_end(&mut self) {
        if let (Ok(None), Ok(pid)) = (self.child.try_wait(), i32::try_from(self.pid())) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.ask_to_end();
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Keeps this process on a core.
///
/// # Errors
/// There is no such core.
pub fn stay_on(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("cannot run on core {core}"))
}

/// Raises the limit of open files to its maximum, for this process and its children.
///
/// # Errors
/// It is too low for the WebSockets.
pub fn raise_file_limit() -> Result<()> {
    /// A chain's hop has two sockets for each of 2,000 WebSockets, and nginx wants room for its
    /// 16,384 connections.
    const NEEDED: u64 = 17_000;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = hard.clamp(NEEDED, 1 << 20);
    let limit = if setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted.max(hard)).is_ok() {
        wanted
    } else {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_or(soft, |()| hard)
    };
    if limit < NEEDED {
        bail!("the limit of open files is {limit}, and {NEEDED} are needed: ulimit -n {NEEDED}");
    }
    Ok(())
}
