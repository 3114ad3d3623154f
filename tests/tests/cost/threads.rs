//! The threads of a daemon, by name.

use std::collections::BTreeMap;

/// Threads that work by the clock, so that what they do for one request depends on the speed of the
/// machine: the writer of the access log, which gathers lines for some time, the thread that
/// advances Pingora's timers every 10 ms, and those of the control plane: the admin listener with
/// the renewals of workers, registrations, and the store, which writes in batches and blocks in
/// threads of its own.
const BY_THE_CLOCK: [&str; 5] = [
    "access-log",
    "Timer thread",
    "admin",
    "registration",
    "tokio-rt-worker",
];
/// The prefixes of the names of background threads, which serve no requests.
const BACKGROUND: &str = "BG ";

/// Returns whether the work of a thread is counted.
pub(crate) fn is_counted(name: &str) -> bool {
    !BY_THE_CLOCK.contains(&name) && !name.starts_with(BACKGROUND)
}

/// The names of the threads of a process, by the kernel's numbers.
pub(crate) fn names(pid: u32) -> BTreeMap<u32, String> {
    let entries =
        std::fs::read_dir(format!("/proc/{pid}/task")).expect("the threads of the daemon");
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let number = entry.file_name().to_string_lossy().parse().ok()?;
            let name = std::fs::read_to_string(entry.path().join("comm")).ok()?;
            Some((number, name.trim_end().to_owned()))
        })
        .collect()
}
