//! Counters of processes and the machine, read from /proc.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

/// A process ID.
pub type Pid = u32;

/// The CPU time of every thread of some processes at one moment, in nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct CpuReading(HashMap<(Pid, u32), u64>);

impl CpuReading {
    /// Reads it. `/proc/PID/schedstat` would be the main thread's alone, so each thread is read by
    /// itself.
    #[must_use]
    pub fn take(pids: &[Pid]) -> Self {
        let threads = pids.iter().flat_map(|&pid| {
            children_of_folder(pid)
                .into_iter()
                .map(move |tid| (pid, tid))
        });
        Self(
            threads
                .filter_map(|(pid, tid)| {
                    let text =
                        fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat")).ok()?;
                    Some(((pid, tid), parse_schedstat(&text)?))
                })
                .collect(),
        )
    }

    /// The CPU time between an earlier reading and this one. A thread that began in between counts
    /// from zero.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Duration {
        let spent = |(thread, now): (&(Pid, u32), &u64)| {
            now.saturating_sub(*earlier.0.get(thread).unwrap_or(&0))
        };
        Duration::from_nanos(self.0.iter().map(spent).sum())
    }
}

/// The threads of a process.
fn children_of_folder(pid: Pid) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

/// The time on a CPU from a `schedstat` file: its first number, in nanoseconds.
fn parse_schedstat(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// The processes and all that they have started, directly or not.
#[must_use]
pub fn with_descendants(roots: &[Pid]) -> Vec<Pid> {
    let parents: Vec<(Pid, Pid)> = all_pids()
        .into_iter()
        .filter_map(|pid| Some((pid, parent_of(pid)?)))
        .collect();
    let mut family = roots.to_vec();
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(
            parents
                .iter()
                .filter(|(_, p)| *p == parent)
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    family
}

fn all_pids() -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

fn parent_of(pid: Pid) -> Option<Pid> {
    parse_status(
        &fs::read_to_string(format!("/proc/{pid}/status")).ok()?,
        "PPid",
    )?
    .try_into()
    .ok()
}

/// A number of a `status` file: its first one behind the name.
fn parse_status(text: &str, name: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The sum over the processes of a field of `status` that is in KiB (`VmHWM`, `RssAnon`).
#[must_use]
pub fn memory_kib(pids: &[Pid], field: &str) -> u64 {
    let of = |pid: &Pid| {
        parse_status(
            &fs::read_to_string(format!("/proc/{pid}/status")).ok()?,
            field,
        )
    };
    pids.iter().filter_map(of).sum()
}

/// Resets the processes' peak of memory (`VmHWM`) to the current value.
pub fn reset_peak_memory(pids: &[Pid]) {
    for pid in pids {
        // If the kernel refuses, the peak is that of the process's whole life, which favours
        // no chain.
        let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
    }
}

/// The time of all CPUs together since the machine started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MachineCpu {
    /// Work: processes, kernel, interrupts.
    pub busy: Duration,
    /// Time that the hypervisor gave to other machines.
    pub stolen: Duration,
    /// All time, idle time included.
    pub total: Duration,
}

impl MachineCpu {
    /// Reads it.
    #[must_use]
    pub fn take() -> Self {
        parse_stat(&fs::read_to_string("/proc/stat").unwrap_or_default()).unwrap_or_default()
    }
}

/// The first line of `/proc/stat`, whose unit is 1/100 s on every Linux that App-Proxy runs on.
fn parse_stat(text: &str) -> Option<MachineCpu> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line
        .split_ascii_whitespace()
        .map_while(|field| field.parse().ok())
        .collect();
    let &[user, nice, system, idle, iowait, irq, softirq, steal, ..] = ticks.as_slice() else {
        return None;
    };
    let busy = user + nice + system + irq + softirq;
    let time = |ticks: u64| Duration::from_millis(ticks * 10);
    Some(MachineCpu {
        busy: time(busy),
        stolen: time(steal),
        total: time(busy + idle + iowait + steal),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_thread_is_the_first_number() {
        assert_eq!(parse_schedstat("582016 54101 1\n"), Some(582_016));
        assert_eq!(parse_schedstat(""), None);
    }

    #[test]
    fn cpu_time_is_the_sum_over_threads_and_new_threads_count_from_zero() {
        let earlier = CpuReading([((1, 1), 100), ((1, 2), 50), ((2, 2), 7)].into());
        let later = CpuReading([((1, 1), 150), ((1, 3), 30), ((2, 2), 7)].into());
        assert_eq!(later.since(&earlier), Duration::from_nanos(80));
    }

    #[test]
    fn fields_of_status_are_found_by_their_whole_name() {
        let text = "Name:\tnginx\nPPid:\t17\nVmHWM:\t  10256 kB\nRssAnon:\t     812 kB\n";
        assert_eq!(parse_status(text, "VmHWM"), Some(10256));
        assert_eq!(parse_status(text, "RssAnon"), Some(812));
        assert_eq!(parse_status(text, "Rss"), None);
    }

    #[test]
    fn kinds_of_machine_time_are_distinguished() {
        let stat =
            parse_stat("cpu  345744 1 35663 270308 1627 2 1086 499 0 0\ncpu0 1 2 3\n").unwrap();
        assert_eq!(stat.busy, Duration::from_millis(3_824_960));
        assert_eq!(stat.stolen, Duration::from_millis(4_990));
        assert_eq!(
            stat.total,
            Duration::from_millis(3_824_960 + 4_990 + (270_308 + 1_627) * 10)
        );
    }

    #[test]
    fn this_process_has_used_cpu_and_memory_and_is_its_own_descendant() {
        let me = std::process::id();
        assert!(CpuReading::take(&[me]).since(&CpuReading::default()) > Duration::ZERO);
        assert!(memory_kib(&[me], "VmHWM") > 0);
        assert_eq!(with_descendants(&[me]).first(), Some(&me));
    }
}
