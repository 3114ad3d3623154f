//! The programs that measure.

use std::process::{Command, Stdio};

/// Checks that both tools are installed and have the permissions that they need.
pub(crate) fn check() {
    let works = |command: &mut Command| {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    };
    for tool in ["valgrind", "strace"] {
        assert!(
            works(Command::new(tool).arg("--version")),
            "{tool} is missing: run `make test-deps`"
        );
    }
    assert!(
        works(Command::new("strace").args(["-D", "-f", "-o", "/dev/null", "true"])),
        "strace cannot trace a process here (ptrace is forbidden): costs cannot be measured on \
         this machine"
    );
}

/// Describes the environment that the numbers depend on: the compiler, the C library, and AVX2
/// (valgrind presents all processors with AVX2 as the same one).
pub(crate) fn described() -> String {
    let first_line = |command: &mut Command| {
        let output = command
            .output()
            .ok()
            .filter(|output| output.status.success());
        let text = output
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .unwrap_or_default();
        text.lines().next().unwrap_or("?").to_owned()
    };
    let rustc = first_line(Command::new("rustc").arg("--version"));
    let rustc = rustc
        .split_whitespace()
        .take(2)
        .collect::<Vec<_>>()
        .join(" ");
    let libc = first_line(Command::new("getconf").arg("GNU_LIBC_VERSION"));
    let valgrind = first_line(Command::new("valgrind").arg("--version"));
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let avx2 = if cpu.split_whitespace().any(|flag| flag == "avx2") {
        "AVX2"
    } else {
        "no AVX2"
    };
    format!("{rustc}, {libc}, {valgrind}, {avx2}")
}
