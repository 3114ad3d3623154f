//! The admin API matches its description: Schemathesis generates valid and invalid calls from it,
//! and checks each response.
//!
//! Needs what `make test-deps` installs: Schemathesis in `target/schemathesis`.

// A test reports what went wrong by panicking.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use app_proxy_tests::app::RecordingApp;
use app_proxy_tests::cluster::Cluster;

/// The seed of generated calls, always the same.
const SEED: &str = "1";

/// The folder with the configuration, the hooks and the requirements.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schemathesis");

/// The program in the virtual environment that scripts/venv.sh creates, next to the folder of this
/// test's profile.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test
        .ancestors()
        .nth(3)
        .unwrap()
        .join("schemathesis/bin/schemathesis");
    assert!(
        program.is_file(),
        "{} is missing: run `make test-deps`",
        program.display()
    );
    program
}

/// Schemathesis, with its files in `folder`, on a machine without a proxy.
fn command(cluster: &Cluster, folder: &Path) -> Command {
    let mut command = Command::new(program());
    command
        .args([
            "--config-file",
            &format!("{FOLDER}/schemathesis.toml"),
            "run",
            "--seed",
            SEED,
        ])
        .arg(format!("http://{}/openapi.json", cluster.admin()))
        .current_dir(folder)
        .env("HOME", folder)
        .env("HYPOTHESIS_STORAGE_DIRECTORY", folder.join("hypothesis"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("APP_PROXY_TOKEN", cluster.admin_token())
        .env("APP_PROXY_HOOKS", format!("{FOLDER}/hooks.py"))
        .stdin(Stdio::null());
    for name in [
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "CI",
    ] {
        command.env_remove(name);
    }
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_to_generated_calls_match_the_description() {
    let app = RecordingApp::start().await;
    let mut cluster = Cluster::builder().app_at("kept", app.addr()).start().await;
    let folder = tempfile::Builder::new()
        .prefix("app-proxy-schemathesis-")
        .tempdir()
        .unwrap();

    let mut command = command(&cluster, folder.path());
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success(),
        "Schemathesis has found something, or does not work ({}):\n{said}",
        output.status
    );

    // The coordinator has come through it, and serves on.
    assert_eq!(cluster.coordinator().try_status(), None);
    let lines = cluster.coordinator().stderr();
    let complaints: Vec<_> = lines
        .iter()
        .filter(|line| line.contains(" ERROR ") || line.contains("panicked"))
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    assert_eq!(
        cluster
            .admin_call("POST", "/api/v1/workers/w1/undrain", "")
            .await
            .status,
        200
    );
    cluster.wait_ready().await;
    assert_eq!(cluster.get("/apps/kept/echo").send().await.status, 200);
}
