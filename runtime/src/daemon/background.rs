//! The background (`-d`): the process forks before anything is opened. The foreground process waits
//! until the daemon serves or has failed, and its exit status says which.

use std::fs::{File, OpenOptions};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use daemonix::{Daemonize, Outcome, Stdio};
use nix::fcntl::OFlag;
use pingora_core::server::configuration::ServerConf;

use crate::config::{ConfigError, ConfigFile};
use crate::daemon::account::Account;
use crate::daemon::check::check_log;
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

/// Checks that a daemon could enter the background, without creating any file (`-t`).
///
/// # Errors
/// If the user, the group, the working directory or the log of errors cannot be used.
pub(super) fn check(file: &ConfigFile, conf: &ServerConf) -> Result<(), ConfigError> {
    Account::find(file, conf)?;
    check_folder(file, conf)?;
    match &conf.error_log {
        Some(log) => check_log(file, "error_log", Path::new(log), &error_log_options()),
        None => Ok(()),
    }
}

/// Returns the error of a working directory that cannot be entered.
pub(super) fn folder_fault(file: &ConfigFile, folder: &Path, cause: &io::Error) -> ConfigError {
    let problem = format!("{}: {cause}", folder.display());
    file.fault_of("working_directory", "working_directory", problem)
}

fn check_folder(file: &ConfigFile, conf: &ServerConf) -> Result<(), ConfigError> {
    let Some(folder) = &conf.working_directory else {
        return Ok(());
    };
    let usable = match folder.metadata() {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(io::ErrorKind::NotADirectory.into()),
        Err(e) => Err(e),
    };
    usable.map_err(|e| folder_fault(file, folder, &e))
}

/// Forks. No thread may exist, and nothing may be open that the daemon must not share. The working
/// directory stays until the daemon has opened its files. Standard output becomes `/dev/null`
/// unless the daemon writes there: a shell that reads it would wait for the daemon's end.
///
/// # Errors
/// If the process cannot fork, or something that the configuration names cannot be used.
pub(super) fn fork(
    file: &ConfigFile,
    conf: &ServerConf,
    writes_output: bool,
) -> Result<Side, Cause> {
    check_folder(file, conf)?;
    let account = Account::find(file, conf)?;
    let log = error_log(file, conf)?;
    let folder = std::env::current_dir().map_err(|e| Cause::Background(e.to_string()))?;
    let daemonize = daemonize(account, log, writes_output, &folder);
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

/// Opens the log of errors, if there is one.
fn error_log(file: &ConfigFile, conf: &ServerConf) -> Result<Option<File>, ConfigError> {
    let Some(path) = &conf.error_log else {
        return Ok(None);
    };
    let log = error_log_options().create(true).open(path);
    let log = log.map_err(|e| file.fault_of("error_log", "error_log", format!("{path}: {e}")))?;
    Ok(Some(log))
}

/// Pingora's way: a named pipe without a reader neither blocks nor fails.
fn error_log_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.append(true).read(true);
    options.custom_flags(OFlag::O_NONBLOCK.bits());
    options
}

/// Returns what Pingora would do, but for the pid file, the working directory, the group of a user,
/// and standard output.
fn daemonize(
    account: Account,
    log: Option<File>,
    writes_output: bool,
    folder: &Path,
) -> Daemonize<()> {
    let daemonize = Daemonize::new().umask(UMASK).working_directory(folder);
    let daemonize = match log {
        Some(log) => daemonize.stderr(log),
        None if writes_output => daemonize.stdout(Stdio::keep()).stderr(Stdio::keep()),
        None => daemonize.stderr(Stdio::keep()),
    };
    let daemonize = match account.uid() {
        Some(user) => daemonize.user(user.as_raw()),
        None => daemonize,
    };
    let daemonize = match account.gid() {
        Some(group) => daemonize.group(group.as_raw()),
        None => daemonize,
    };
    daemonize.privileged_action(move || account.set_groups())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_background_needs_is_checked_and_named_with_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let log = missing.join("error.log").display().to_string();
        let text = format!("version: 1\nworking_directory: missing\nerror_log: {log}\n");
        let file = ConfigFile::from_text("c.yaml", &text);
        let mut conf = ServerConf {
            working_directory: Some(missing),
            ..ServerConf::default()
        };
        let error = check(&file, &conf).unwrap_err().to_string();
        assert!(
            error.starts_with("c.yaml:2: working_directory: "),
            "{error}"
        );
        conf.working_directory = Some(folder.path().to_owned());
        conf.error_log = Some(log);
        for error in [check(&file, &conf).err(), error_log(&file, &conf).err()] {
            let error = error.unwrap().to_string();
            assert!(error.starts_with("c.yaml:3: error_log: "), "{error}");
        }
        conf.error_log = Some(folder.path().join("error.log").display().to_string());
        check(&file, &conf).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
