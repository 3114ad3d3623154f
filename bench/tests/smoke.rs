//! The benchmark itself, without any proxy: it starts the application, measures, and writes its
//! result.

use std::process::Command;

/// Workloads that count what they did in a time.
const TIMED: &[&str] = &[
    "keepalive",
    "rate-2500",
    "new-connection",
    "body-64k",
    "post-1k",
    "post-64k",
    "download",
    "upload",
    "websocket",
    "events",
];
/// Workloads that hold connections, and count memory.
const HELD: &[&str] = &["silent", "waiting", "stalled", "idle-websockets"];

#[test]
fn a_run_without_a_proxy_measures_and_writes_its_result() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_app-proxy-bench"))
        .args([
            "run",
            "--quick",
            "--rounds",
            "1",
            "--chains",
            "direct",
            "--foreign",
            "100",
            "--stolen",
            "100",
        ])
        .args(["--only", &[TIMED, HELD].concat().join(",")])
        // A machine of one core can do it too: there is no proxy.
        .args(["--client-core", "0", "--proxy-core", "1", "--out"])
        .arg(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("VOID"), "{said}");

    let result = std::fs::read_to_string(folder.path().join("result.json")).unwrap();
    let result: serde_json::Value = serde_json::from_str(&result).unwrap();
    let workloads = result["workloads"].as_array().unwrap();
    assert_eq!(workloads.len(), TIMED.len() + HELD.len());
    for workload in workloads {
        assert_eq!(workload["valid"], 1, "{workload}");
        let figures = &workload["rows"][0]["values"];
        if TIMED.contains(&workload["name"].as_str().unwrap()) {
            let rate = figures["per_second"]["median"].as_f64();
            assert!(rate.unwrap() > 0.0, "{workload}");
        } else {
            // No proxy, so no memory of one.
            assert_eq!(figures["open_kib"]["median"], 0.0, "{workload}");
        }
    }
    assert!(folder.path().join("chart.svg").exists());
    assert!(String::from_utf8_lossy(&output.stdout).contains("keep-alive 1 KiB, saturated"));
}

#[test]
fn a_previous_build_that_is_not_there_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_app-proxy-bench"))
        .args(["run", "--quick", "--chains", "direct", "--out"])
        .arg(folder.path())
        .arg("--previous")
        .arg(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("app-proxy-coordinator is not built"),
        "{said}"
    );
    assert!(!output.status.success());
}
