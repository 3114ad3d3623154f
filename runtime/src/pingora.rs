//! Pingora's server and its configuration: each place where a daemon differs from what Pingora does
//! by default, with the reason.
//!
//! | Pingora | here | reason |
//! |---|---|---|
//! | keys of its configuration may be misspelt | rejected | a misspelt key must not be ignored |
//! | three defaults that cost requests time | [`set_defaults`] | docs/explanation/performance.md |
//! | three keys that do nothing here | [`rejection`] | see there |
//! | pid file and upgrade socket in `/tmp` | in `run/`, mode 0700 | [`set_files`] |
//! | forks in [`Server::run`], after services exist | `-d` forks first | `daemon/background.rs` |
//! | writes the pid file at the fork | at readiness, until the end | `daemon/pid_file.rs` |
//! | sleeps through its grace period | ends when the drain is over | `daemon/shutdown.rs` |
//! | ends the process without inherited sockets | the start fails with a value | [`hand_over`] |
//! | owns the table of sockets, begins the shutdown | the daemon does | [`supplied`] |
//! | a thread may meet the runtime of an ended server | work stealing if embedded | [`embed`] |
//! | `ServerConf` is not `Clone` | the file is parsed once more | reloads compare with the first |
//! | a listener that cannot bind ends its own task | addresses are bound before | `listeners.rs` |
//! | an error in the log that is none | logged at `debug` | [`is_false_alarm`] |

pub(crate) mod hand_over;
pub(crate) mod supplied;

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use log::Record;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use serde_yaml::{Mapping, Value};

/// Log filter that keeps Pingora's own `info` lines out: each service that starts and ends.
pub(crate) const LOG_FILTER: &str = "pingora_core::services=warn,pingora_core::server=warn";

/// Time for the threads of a server inside another program to end, in seconds.
const END_TIMEOUT: u64 = 5;

/// Number of idle connections to next hops that each thread keeps.
const IDLE_CONNECTIONS: usize = 1024;

/// Returns all keys of a configuration with their values.
pub(crate) fn keys(conf: &ServerConf) -> Mapping {
    match serde_yaml::to_value(conf) {
        Ok(Value::Mapping(keys)) => keys,
        _ => Mapping::new(),
    }
}

/// Returns why a key of Pingora's is rejected, for the daemon whose section is `section`.
pub(crate) fn rejection(key: &str, section: &str) -> Option<String> {
    match key {
        // The drain ends with the last request; Pingora would sleep through these times.
        "grace_period_seconds" | "graceful_shutdown_timeout_seconds" => Some(format!(
            "`{key}` is not supported: set `drain` in `{section}`"
        )),
        "daemon_wait_for_ready" => Some(format!(
            "`{key}` is not supported: `-d` returns when the daemon serves"
        )),
        _ => None,
    }
}

/// Sets the keys that the file does not set and whose default here differs from Pingora's.
pub(crate) fn set_defaults(conf: &mut ServerConf, is_set: impl Fn(&str) -> bool) {
    if !is_set("work_stealing") {
        // A connection stays on its thread, so that no request moves between threads.
        conf.work_stealing = false;
    }
    if !is_set("fast_timeout_to_tokio_threshold_seconds") {
        // Tokio's timers for every timeout of a second or more: Pingora keeps its own until they
        // would have fired, also after they are cancelled.
        conf.fast_timeout_to_tokio_threshold_seconds = Some(0);
    }
    if !is_set("upstream_keepalive_pool_size") {
        // With more concurrent requests than idle connections, each request would connect anew.
        conf.upstream_keepalive_pool_size = IDLE_CONNECTIONS;
    }
}

/// A folder of the daemon's files cannot be created.
#[derive(Debug, thiserror::Error)]
#[error("{key}: cannot create folder {folder}: {cause}", folder = .folder.display())]
pub(crate) struct FolderError {
    /// The key that names a file in the folder.
    pub(crate) key: &'static str,
    folder: PathBuf,
    cause: std::io::Error,
}

/// Names the files that the configuration does not name, after `tier`, and makes all paths
/// absolute: with `-d` the working directory changes before they are used.
pub(crate) fn set_files(tier: &str, conf: &mut ServerConf) {
    // Pingora's defaults are in /tmp, where any user could pose as the successor and receive the
    // listeners.
    let defaults = ServerConf::default();
    if conf.pid_file == defaults.pid_file {
        conf.pid_file = format!("run/{tier}.pid");
    }
    if conf.upgrade_sock == defaults.upgrade_sock {
        conf.upgrade_sock = format!("run/{tier}.upgrade.sock");
    }
    conf.pid_file = absolute(&conf.pid_file);
    conf.upgrade_sock = absolute(&conf.upgrade_sock);
}

/// Creates the folders of the pid file and of the upgrade socket.
///
/// # Errors
/// If one of them cannot be created.
pub(crate) fn create_folders(conf: &ServerConf) -> Result<(), FolderError> {
    create_private_folder("pid_file", Path::new(&conf.pid_file))?;
    create_private_folder("upgrade_sock", Path::new(&conf.upgrade_sock))
}

/// Adapts the configuration for a server inside another program, which may start several, one after
/// the other.
pub(crate) fn embed(conf: &mut ServerConf) {
    // Without work stealing, Pingora finds the runtime of a thread by an identifier of the thread
    // that is used again: a thread of a later server would spawn its connections in a runtime that
    // has ended.
    conf.work_stealing = true;
    // The drain is over. What tasks have opened is closed when the server has ended.
    conf.grace_period_seconds = Some(0);
    conf.graceful_shutdown_timeout_seconds = Some(END_TIMEOUT);
}

/// Creates the server, which neither forks nor waits at its end.
pub(crate) fn server(mut conf: ServerConf) -> Server {
    conf.daemon = false;
    Server::new_with_opt_and_conf(None, conf)
}

/// Returns `path` as seen from the current working directory.
fn absolute(path: &str) -> String {
    std::path::absolute(path).map_or_else(|_| path.to_owned(), |path| path.display().to_string())
}

/// Creates the folder of `file`, accessible to this user alone: the upgrade socket accepts every
/// process that can reach it.
fn create_private_folder(key: &'static str, file: &Path) -> Result<(), FolderError> {
    let Some(folder) = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    else {
        return Ok(());
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|cause| FolderError {
            key,
            folder: folder.to_owned(),
            cause,
        })
}

/// Returns whether a log record reports an error that is none: another thread may acquire an idle
/// connection while its thread drops it; Pingora logs that, and uses another connection. Some
/// requests in a hundred meet it where clients connect one after the other. Nor are those about the
/// transfer of sockets: [`hand_over`] reports its end in one line.
pub(crate) fn is_false_alarm(record: &Record<'_>) -> bool {
    match record.target() {
        "pingora_core::connectors" => {
            record.args().as_str() == Some("failed to acquire reusable stream")
        }
        target => target == "pingora_core::server::transfer_fd",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_file_win_over_the_defaults() {
        let mut conf = ServerConf::default();
        set_defaults(&mut conf, |_| false);
        assert_eq!(
            (conf.work_stealing, conf.upstream_keepalive_pool_size),
            (false, IDLE_CONNECTIONS)
        );
        let mut conf = ServerConf {
            upstream_keepalive_pool_size: 5,
            ..ServerConf::default()
        };
        set_defaults(&mut conf, |_| true);
        assert_eq!(
            (conf.work_stealing, conf.upstream_keepalive_pool_size),
            (true, 5)
        );
    }

    #[test]
    fn a_connection_acquired_twice_is_a_false_alarm() {
        let is = |target: &str, args| {
            is_false_alarm(&Record::builder().target(target).args(args).build())
        };
        assert!(is(
            "pingora_core::connectors",
            format_args!("failed to acquire reusable stream")
        ));
        assert!(is(
            "pingora_core::server::transfer_fd",
            format_args!("No incoming socket transfer, sleep 1s and try again")
        ));
        assert!(!is(
            "pingora_core::connectors",
            format_args!("failed to acquire")
        ));
        assert!(!is(
            "app_proxy_hop",
            format_args!("failed to acquire reusable stream")
        ));
    }
}
