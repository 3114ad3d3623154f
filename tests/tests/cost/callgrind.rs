//! A daemon under valgrind's callgrind: its instructions between two moments, by thread.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use app_proxy_tests::daemon::Launch;

use crate::profile::Profile;
use crate::threads;

/// glibc copies 4 KiB and more with one `rep movsb`, of which valgrind counts each byte as an
/// instruction. Without it, large copies count as what they cost elsewhere: one instruction for
/// some 32 bytes.
const GLIBC_TUNABLES: &str = "glibc.cpu.hwcaps=-ERMS";

/// One daemon's callgrind, which writes into a folder.
#[derive(Debug)]
pub(crate) struct Callgrind {
    folder: PathBuf,
}

impl Callgrind {
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// Returns the command that starts the daemon.
    pub(crate) fn launch(&self, binaries: &Path) -> Launch {
        let under = vec![
            "env".to_owned(),
            format!("GLIBC_TUNABLES={GLIBC_TUNABLES}"),
            "valgrind".to_owned(),
            "--tool=callgrind".to_owned(),
            "--separate-threads=yes".to_owned(),
            format!(
                "--callgrind-out-file={}",
                self.folder.join("callgrind.out").display()
            ),
            format!("--log-file={}", self.folder.join("valgrind.log").display()),
            format!("--vgdb-prefix={}", self.folder.join("vgdb").display()),
        ];
        Launch {
            folder: Some(binaries.to_owned()),
            under,
        }
    }

    /// Sets all counters to zero.
    pub(crate) fn zero(&self, pid: u32) {
        self.monitor(pid, &["zero"]);
    }

    /// Returns the counts since [`Callgrind::zero`], by the name of the thread.
    pub(crate) fn dump(&self, pid: u32, name: &str) -> BTreeMap<String, Profile> {
        let before = self.dumps();
        self.monitor(pid, &["dump", name]);
        let threads = self.threads(pid);
        let mut profiles: BTreeMap<String, Profile> = BTreeMap::new();
        for path in self.dumps() {
            if before.contains(&path) {
                continue;
            }
            let number = path
                .to_string_lossy()
                .rsplit('-')
                .next()
                .and_then(|number| number.parse::<u32>().ok());
            let thread = number.and_then(|number| threads.get(&number)).cloned();
            let text = std::fs::read_to_string(&path).expect("a dump of callgrind");
            profiles
                .entry(thread.unwrap_or_else(|| "ended".to_owned()))
                .or_default()
                .add(&text);
        }
        assert!(
            !profiles.is_empty(),
            "callgrind has written nothing into {}",
            self.folder.display()
        );
        profiles
    }

    /// The dumps of single threads, `callgrind.out.3-02`.
    fn dumps(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.folder).expect("the folder of the dumps");
        let mut dumps: Vec<PathBuf> = entries
            .map(|entry| entry.expect("an entry of the folder").path())
            .filter(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.starts_with("callgrind.out.") && name.contains('-')
            })
            .collect();
        dumps.sort();
        dumps
    }

    /// The names of the threads by valgrind's numbers.
    fn threads(&self, pid: u32) -> BTreeMap<u32, String> {
        let names = threads::names(pid);
        let text = self.monitor(pid, &["v.info", "scheduler"]);
        // Thread 2: status = VgTs_WaitSys syscall 232 (lwpid 4711)
        let thread = |line: &str| {
            let number = line
                .strip_prefix("Thread ")?
                .split([':', ' '])
                .next()?
                .parse()
                .ok()?;
            let lwp = line
                .split("(lwpid ")
                .nth(1)?
                .split(')')
                .next()?
                .parse()
                .ok()?;
            Some((number, names.get(&lwp)?.clone()))
        };
        let threads: BTreeMap<u32, String> = text.lines().filter_map(thread).collect();
        assert!(!threads.is_empty(), "valgrind names no threads:\n{text}");
        threads
    }

    fn monitor(&self, pid: u32, command: &[&str]) -> String {
        let output = Command::new("vgdb")
            .arg(format!(
                "--vgdb-prefix={}",
                self.folder.join("vgdb").display()
            ))
            .arg(format!("--pid={pid}"))
            .args(command)
            .output()
            .expect("vgdb, which is a part of valgrind");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success(),
            "valgrind does not answer to {command:?}; where ptrace is forbidden, costs cannot be \
             measured\n{said}{complaint}"
        );
        // Some versions answer on standard error.
        said + &complaint
    }
}
