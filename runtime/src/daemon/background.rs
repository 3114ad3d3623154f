//! The background (`-d`): the process forks before anything is opened. The foreground process waits
//! until the daemon serves or has failed, and its exit status says which.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use daemonix::{Daemonize, Outcome, Stdio};
use log::warn;
use nix::fcntl::OFlag;
use nix::unistd::{User, initgroups};
use pingora_core::server::configuration::ServerConf;

use crate::daemon::error::Cause;

/// The report of a daemon that serves; anything else is the text of an error.
const READY: &[u8] = b"ready";
/// The mode bits that files of a daemon do not get, as Pingora has it.
const UMASK: u32 = 0o007;

/// The two processes after the fork.
pub(super) enum Side {
    /// The process that the user started.
    Foreground(Foreground),
    /// The daemon, and whether it could enter the background.
    Daemon(Report, Result<(), Cause>),
}

/// The end of the pipe at which the foreground process waits.
pub(super) struct Foreground(PipeReader);

/// The end of the pipe by which a daemon reports; without a pipe in the foreground.
#[derive(Default)]
pub(super) struct Report(Option<PipeWriter>);

impl Foreground {
    /// Waits for the report of the daemon.
    ///
    /// # Errors
    /// The error of the daemon, or that it has died.
    pub(super) fn wait(mut self) -> Result<(), Cause> {
        let mut report = Vec::new();
        match self.0.read_to_end(&mut report) {
            Ok(0) => Err(Cause::Died),
            Ok(_) if report == READY => Ok(()),
            Ok(_) => Err(Cause::InBackground(
                String::from_utf8_lossy(&report).into_owned(),
            )),
            Err(e) => Err(Cause::Background(e.to_string())),
        }
    }
}

impl Report {
    /// Reports that the daemon serves. The foreground process may be gone.
    pub(super) fn ready(&mut self) {
        self.send(READY);
    }

    /// Reports an error. Returns whether the foreground process prints it.
    pub(super) fn failed(&mut self, error: &str) -> bool {
        self.send(error.as_bytes())
    }

    fn send(&mut self, report: &[u8]) -> bool {
        let pipe = self.0.take();
        pipe.is_some_and(|mut pipe| pipe.write_all(report).is_ok())
    }
}

/// Forks. No thread may exist, and nothing may be open that the daemon must not share. The working
/// directory stays until the daemon has opened its files.
///
/// # Errors
/// If the process cannot fork, or the log of errors cannot be opened.
pub(super) fn fork(conf: &ServerConf) -> Result<Side, Cause> {
    let folder = std::env::current_dir().map_err(|e| Cause::Background(e.to_string()))?;
    let daemonize = daemonize(conf, &folder)?;
    let (reader, writer) = std::io::pipe().map_err(|e| Cause::Background(e.to_string()))?;
    match daemonize.execute() {
        Outcome::Parent(Ok(_)) => {
            drop(writer);
            Ok(Side::Foreground(Foreground(reader)))
        }
        Outcome::Parent(Err(e)) => Err(Cause::Background(e.to_string())),
        Outcome::Child(entered) => {
            drop(reader);
            let entered = entered.map_err(|e| Cause::Background(e.to_string()));
            Ok(Side::Daemon(Report(Some(writer)), entered.map(drop)))
        }
    }
}

/// Returns what Pingora would do, but for the pid file and the working directory.
fn daemonize(conf: &ServerConf, folder: &Path) -> Result<Daemonize<()>, Cause> {
    let daemonize = Daemonize::new().umask(UMASK).working_directory(folder);
    let daemonize = match &conf.error_log {
        Some(path) => {
            // Pingora's way: a named pipe without a reader neither blocks nor fails.
            let log = OpenOptions::new()
                .append(true)
                .create(true)
                .read(true)
                .custom_flags(OFlag::O_NONBLOCK.bits())
                .open(path);
            daemonize.stderr(log.map_err(|e| Cause::Background(format!("error_log: {path}: {e}")))?)
        }
        None => daemonize.stdout(Stdio::keep()).stderr(Stdio::keep()),
    };
    let user = conf.user.clone();
    let daemonize = daemonize.privileged_action(move || user.as_deref().map_or((), set_groups));
    let daemonize = match &conf.user {
        Some(user) => daemonize.user(user.as_str()),
        None => daemonize,
    };
    Ok(match &conf.group {
        Some(group) => daemonize.group(group.as_str()),
        None => daemonize,
    })
}

/// Gives the process the supplementary groups of a user, if it may do so: a process that is not
/// root keeps its own. An unknown user is rejected afterwards.
fn set_groups(name: &str) {
    let user = User::from_name(name).ok().flatten();
    let name = CString::new(name).ok();
    if let (Some(user), Some(name)) = (user, name)
        && let Err(e) = initgroups(&name, user.gid)
    {
        warn!("cannot set the groups of user {}: {e}", user.name);
    }
}
