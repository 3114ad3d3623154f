//! The threads of a daemon, by name.

use std::collections::BTreeMap;

/// The thread that writes the access log. It gathers lines by time, so that what it does for one request depends on the
/// speed of the machine: it is counted apart.
pub(crate) const ACCESS_LOG: &str = "access-log";

/// The names of the threads of a process, by the kernel's numbers.
pub(crate) fn names(pid: u32) -> BTreeMap<u32, String> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the threads of the daemon");
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let number = entry.file_name().to_string_lossy().parse().ok()?;
            let name = std::fs::read_to_string(entry.path().join("comm")).ok()?;
            Some((number, name.trim_end().to_owned()))
        })
        .collect()
}
