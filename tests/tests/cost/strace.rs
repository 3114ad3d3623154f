//! A daemon under strace: its system calls between two moments, by thread and by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use app_proxy_tests::daemon::Launch;

/// Calls with which a thread waits, or wakes a waiting thread: their number is a
/// matter of timing.
const WAITING: [&str; 2] = ["epoll_wait", "futex"];

/// Returns whether system calls of this name are counted.
pub(crate) fn is_counted(name: &str) -> bool {
    !WAITING.contains(&name)
}

/// The system calls of one daemon, once it has ended.
#[derive(Debug)]
pub(crate) struct Strace {
    output: PathBuf,
}

/// Seconds since 1970.
pub(crate) type Moment = f64;

/// Now, by the clock that strace uses too.
pub(crate) fn now() -> Moment {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time after 1970")
        .as_secs_f64()
}

impl Strace {
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            output: folder.join("strace.out"),
        }
    }

    /// Returns the command that starts the daemon. With `-D` the daemon is the started process, and
    /// strace its grandchild.
    pub(crate) fn launch(&self, binaries: &Path) -> Launch {
        let output = self.output.display().to_string();
        let under = ["strace", "-D", "-f", "-ttt", "-s", "0", "-o", &output].map(str::to_owned);
        Launch {
            folder: Some(binaries.to_owned()),
            under: under.to_vec(),
        }
    }

    /// Returns whether the trace is written up to the exit of the daemon.
    pub(crate) fn complete(&self, pid: u32) -> bool {
        let text = std::fs::read_to_string(&self.output).unwrap_or_default();
        let pid = pid.to_string();
        text.lines()
            .rev()
            .any(|line| line.starts_with(&pid) && line.contains("+++"))
    }

    /// The calls that began between two moments, by thread and name.
    pub(crate) fn calls(&self) -> Vec<Call> {
        let text = std::fs::read_to_string(&self.output).expect("the output of strace");
        text.lines().filter_map(Call::parse).collect()
    }
}

/// One system call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The kernel's number of the thread.
    pub(crate) thread: u32,
    /// The time at which the call began.
    pub(crate) at: Moment,
    /// Its name.
    pub(crate) name: String,
}

impl Call {
    /// `4711 1700000000.123456 epoll_wait(…`; a resumed call was counted at its begin.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let thread = words.next()?.parse().ok()?;
        let at = words.next()?.parse().ok()?;
        let name = words.next()?.split_once('(')?.0;
        Some(Self {
            thread,
            at,
            name: name.to_owned(),
        })
    }
}

/// The number of system calls within a window, by thread and by name.
pub(crate) fn count(
    calls: &[Call],
    (begin, end): (Moment, Moment),
    names: &BTreeMap<u32, String>,
) -> BTreeMap<String, BTreeMap<String, u64>> {
    let mut counts: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for call in calls
        .iter()
        .filter(|call| call.at >= begin && call.at < end)
    {
        let thread = names.get(&call.thread).map_or("ended", String::as_str);
        *counts
            .entry(thread.to_owned())
            .or_default()
            .entry(call.name.clone())
            .or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_counts_when_it_begins_and_within_its_window() {
        let lines = "\
7 100.000001 write(1, \"\"..., 5) = 5
8  100.500000 epoll_wait(3,  <unfinished ...>
7 100.600000 <... epoll_wait resumed>[], 1024, 0) = 0
7 100.700000 --- SIGTERM {si_signo=SIGTERM} ---
8 101.000000 write(1, \"\"..., 5) = 5
8 101.500000 +++ killed by SIGKILL +++";
        let calls: Vec<Call> = lines.lines().filter_map(Call::parse).collect();
        let names = BTreeMap::from([(8, "public".to_owned())]);
        let counts = count(&calls, (100.0, 101.0), &names);
        let once = |name: &str| BTreeMap::from([(name.to_owned(), 1)]);
        let expected = [("ended", "write"), ("public", "epoll_wait")];
        assert_eq!(
            counts,
            expected
                .map(|(thread, name)| (thread.to_owned(), once(name)))
                .into()
        );
    }
}
