//! JupyterLab with `upstream_path: keep`: a cell is typed and run in the browser, over the kernel's
//! WebSocket.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use app_proxy_tests::cluster::{Cluster, free_address, own_address};
use app_proxy_tests::http1::Request;
use app_proxy_tests::logs::AccessLog;
use app_proxy_tests::wait::{eventually, eventually_async};
use fantoccini::key::Key;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::browser::Browser;
use crate::follow;
use crate::process::Process;

/// A Jupyter server below `/apps/jupyter/` with one notebook, `x.ipynb`.
struct Jupyter {
    address: SocketAddr,
    requests: PathBuf,
    _process: Process,
    _folder: TempDir,
}

impl Jupyter {
    async fn start() -> Self {
        let python = environment().join("bin/python");
        assert!(
            python.is_file(),
            "{} is missing: run `make test-deps`",
            python.display()
        );
        let folder = tempfile::Builder::new()
            .prefix("app-proxy-jupyter-")
            .tempdir()
            .unwrap();
        let requests = folder.path().join("requests.log");
        let address = free_address(own_address());
        let process = Process::spawn(
            "jupyter lab",
            &mut command(&python, folder.path(), &requests, address),
        );
        eventually_async("JupyterLab to answer", || async move {
            let answer = Request::to(address, "GET", "/apps/jupyter/api")
                .try_send()
                .await;
            (answer.ok()?.status == 200).then_some(())
        })
        .await;
        Self {
            address,
            requests,
            _process: process,
            _folder: folder,
        }
    }

    /// The requests that arrived with exactly one request ID, and that ID.
    fn requests(&self) -> Vec<(String, Value)> {
        AccessLog::at(&self.requests)
            .lines()
            .into_iter()
            .filter_map(|line| match line["request_ids"].as_array()?.as_slice() {
                [id] => Some((id.as_str()?.to_owned(), line)),
                _ => None,
            })
            .collect()
    }
}

/// The virtual environment that scripts/venv.sh creates, next to the folder of this test's profile.
fn environment() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(3).unwrap().join("jupyter")
}

fn command(python: &Path, folder: &Path, requests: &Path, address: SocketAddr) -> Command {
    let config = folder.join("config");
    let notebooks = folder.join("notebooks");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::create_dir_all(&notebooks).unwrap();
    std::fs::write(
        config.join("jupyter_server_config.py"),
        include_str!("jupyter_server_config.py"),
    )
    .unwrap();
    std::fs::write(notebooks.join("x.ipynb"), empty_notebook().to_string()).unwrap();

    let mut command = Command::new(python);
    command
        .args(["-m", "jupyterlab", "--no-browser", "--allow-root"])
        .arg(format!("--ServerApp.ip={}", address.ip()))
        .arg(format!("--ServerApp.port={}", address.port()))
        .args(["--ServerApp.port_retries=0"])
        .args(["--ServerApp.base_url=/apps/jupyter/"])
        .args(["--IdentityProvider.token=", "--ServerApp.password="])
        .arg(format!("--ServerApp.root_dir={}", notebooks.display()))
        .current_dir(folder)
        .env("APP_PROXY_TEST_REQUESTS", requests)
        .env("HOME", folder)
        .env("IPYTHONDIR", folder.join("ipython"))
        .env("JUPYTER_CONFIG_DIR", &config)
        .env("JUPYTER_DATA_DIR", folder.join("data"))
        .env("JUPYTER_RUNTIME_DIR", folder.join("runtime"))
        .env("JUPYTERLAB_SETTINGS_DIR", folder.join("settings"))
        .env("JUPYTERLAB_WORKSPACES_DIR", folder.join("workspaces"));
    command
}

fn empty_notebook() -> Value {
    json!({
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        },
        "cells": [{
            "id": "first", "cell_type": "code", "source": "", "metadata": {}, "outputs": [],
            "execution_count": null,
        }],
    })
}

/// Types a line into the first cell of the notebook, runs it, and returns its output.
async fn run_in_first_cell(browser: &Browser, code: &str) -> String {
    // The notebook's own sign of an idle kernel is there before there is a kernel, and a cell that
    // is run then stays without an answer (seen without the proxy, too).
    const STATUS: &str = "#jp-main-statusbar";
    const CELL: &str = ".jp-NotebookPanel .jp-CodeCell .cm-content";
    browser
        .wait_for_text(STATUS, |text| text.contains("(ipykernel) | Idle"))
        .await;
    browser.type_into(CELL, None, code).await;
    browser.wait_for_text(CELL, |text| text == code).await;
    let enter = char::from(Key::Enter).to_string();
    browser.type_into(CELL, Some(Key::Shift), &enter).await;
    browser
        .wait_for_text(".jp-OutputArea-output pre", |text| !text.is_empty())
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn jupyterlab_runs_a_cell_through_both_tiers_under_one_request_id_each() {
    let jupyter = Jupyter::start().await;
    let cluster = Cluster::builder()
        .app_with(
            "jupyter",
            jupyter.address,
            &json!({"upstream_path": "keep"}),
        )
        .workers(2)
        .start()
        .await;
    let browser = Browser::start().await;

    browser
        .open(&cluster.url("/apps/jupyter/lab/tree/x.ipynb"))
        .await;
    assert_eq!(run_in_first_cell(&browser, "print(6*7)").await, "42");
    browser.picture("jupyterlab").await;
    // With the page closed nothing new comes, and every stream ends.
    drop(browser);

    let kernels = cluster.coordinator_log().select(|line| {
        line["event"] == "stream_open"
            && line["path"]
                .as_str()
                .is_some_and(|path| path.ends_with("/channels"))
    });
    assert!(!kernels.is_empty(), "the kernel has a WebSocket");
    for opened in &kernels {
        let id = opened["request_id"].as_str().unwrap();
        assert_eq!(opened["kind"], "websocket", "{opened}");
        follow::stream_at_both_tiers(&cluster, id).await;
        eventually(&format!("{id} at the kernel's WebSocket"), || {
            jupyter.requests().into_iter().find(|(seen, line)| {
                seen == id && line["path"] == opened["path"] && line["status"] == 101
            })
        })
        .await;
    }
    assert!(
        follow::count_data_both_ways(&cluster, &kernels).await,
        "the kernel's WebSocket carried messages both ways"
    );

    follow::all_requests_at_every_place(&cluster, "jupyter", || {
        jupyter.requests().into_iter().map(|(id, _)| id).collect()
    })
    .await;
}
