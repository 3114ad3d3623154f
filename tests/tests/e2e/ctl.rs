//! `app-proxyctl` before real daemons: its changes take effect, and its exit codes tell programs
//! the result.

use std::process::{Output, Stdio};

use app_proxy_tests::binary;
use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::http1::Request;
use app_proxy_tests::wait::within;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::{session_id, start_default};

/// Runs it against a cluster, with `input` on its standard input.
async fn ctl(cluster: &Cluster, args: &[&str], input: &str) -> Output {
    let mut child = tokio::process::Command::new(binary::find("app-proxyctl"))
        .args(args)
        .env("APP_PROXY_ADDRESS", format!("http://{}", cluster.admin()))
        .env("APP_PROXY_TOKEN", cluster.admin_token())
        .current_dir(cluster.folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .await
        .unwrap();
    within(&format!("app-proxyctl {args:?}"), child.wait_with_output())
        .await
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs it, and expects that it works.
async fn done(cluster: &Cluster, args: &[&str]) -> String {
    let output = ctl(cluster, args, "").await;
    assert_eq!(
        output.status.code(),
        Some(0),
        "{args:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

async fn json_of(cluster: &Cluster, args: &[&str]) -> Value {
    let args = [args, &["-o", "json"]].concat();
    serde_json::from_str(&done(cluster, &args).await).unwrap()
}

#[tokio::test]
async fn apps_are_put_changed_and_deleted() {
    let (app, cluster) = start_default().await;
    let endpoint = app.addr().to_string();
    done(&cluster, &["apps", "set", "lab", "--endpoint", &endpoint]).await;
    assert_eq!(cluster.get("/apps/lab/echo").send().await.status, 200);
    let file =
        format!("name: lab\nupstream_path: keep\nendpoints: [{{address: \"{endpoint}\"}}]\n");
    let put = ctl(&cluster, &["apps", "put", "-"], &file).await;
    assert_eq!(put.status.code(), Some(0), "{}", text(&put.stderr));
    assert_eq!(
        json_of(&cluster, &["apps", "get", "lab"]).await["upstream_path"],
        "keep"
    );
    let names: Vec<_> = json_of(&cluster, &["apps", "list"])
        .await
        .as_array()
        .unwrap()
        .clone();
    assert!(
        names
            .iter()
            .any(|app| app["name"] == "lab" && app["source"] == "api"),
        "{names:?}"
    );
    // The output can be used as input.
    let shown = done(&cluster, &["apps", "get", "lab", "-o", "yaml"]).await;
    assert_eq!(
        ctl(&cluster, &["apps", "put", "-"], &shown)
            .await
            .status
            .code(),
        Some(0)
    );
    done(&cluster, &["apps", "delete", "lab"]).await;
    assert_eq!(cluster.get("/apps/lab/echo").send().await.status, 404);
}

#[tokio::test]
async fn rejections_of_the_api_are_printed_with_field_and_request_id() {
    let (_app, cluster) = start_default().await;
    let wrong = ctl(
        &cluster,
        &["apps", "put", "-"],
        "name: lab\nmatch: [{path: nowhere}]\n",
    )
    .await;
    assert_eq!(wrong.status.code(), Some(1));
    let said = text(&wrong.stderr);
    for part in ["match[0].path", "bad_request", "request ID"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let owned = ctl(&cluster, &["apps", "delete", "notes"], "").await;
    assert_eq!(owned.status.code(), Some(1));
    assert!(
        text(&owned.stderr).contains("app_owned_by_file"),
        "{}",
        text(&owned.stderr)
    );
}

#[tokio::test]
async fn the_trace_of_a_request_has_both_tiers() {
    let (_app, cluster) = start_default().await;
    assert_eq!(
        cluster
            .get("/apps/notes/echo")
            .id("the-story")
            .send()
            .await
            .status,
        200
    );
    cluster.coordinator_log().request("the-story").await;
    cluster.worker_log(0).request("the-story").await;
    let story = done(&cluster, &["request", "the-story"]).await;
    for part in ["coordinator", "worker", "w1", "200", "/apps/notes/echo"] {
        assert!(story.contains(part), "{part} is not in {story}");
    }
    assert_eq!(
        ctl(&cluster, &["request", "nobody-knows"], "")
            .await
            .status
            .code(),
        Some(1)
    );
}

#[tokio::test]
async fn a_drain_is_awaited_and_reports_closed_streams() {
    let (app, cluster) = start_default().await;
    let ws = cluster.websocket("/apps/notes/ws/echo", &[]).await;
    let drained = ctl(&cluster, &["drain", "w1", "--deadline", "1s", "--wait"], "").await;
    assert_eq!(
        drained.status.code(),
        Some(3),
        "{} {}",
        text(&drained.stdout),
        text(&drained.stderr)
    );
    drop(ws);
    assert_eq!(cluster.get("/apps/notes/echo").send().await.status, 503);
    done(&cluster, &["workers", "undrain", "w1"]).await;
    assert_eq!(cluster.get("/apps/notes/echo").send().await.status, 200);
    let drained = ctl(&cluster, &["drain", "w1", "--deadline", "1m", "--wait"], "").await;
    assert_eq!(
        drained.status.code(),
        Some(0),
        "{} {}",
        text(&drained.stdout),
        text(&drained.stderr)
    );
    drop(app);
}

#[tokio::test]
async fn sessions_are_found_and_deleted() {
    let (_app, cluster) = start_default().await;
    let cookie = cluster
        .get("/apps/notes/echo")
        .send()
        .await
        .session_cookie()
        .unwrap();
    let id = session_id(&cookie).to_owned();
    let listed = json_of(&cluster, &["sessions", "list", "--app", "notes"]).await;
    assert_eq!(listed[0]["id"], id.as_str(), "{listed}");
    done(&cluster, &["sessions", "delete", "--", &id]).await;
    assert_eq!(
        json_of(&cluster, &["sessions", "list", "--app", "notes"]).await,
        json!([])
    );
    assert_eq!(
        ctl(&cluster, &["sessions", "get", "--", &id], "")
            .await
            .status
            .code(),
        Some(1)
    );
}

#[tokio::test]
async fn the_configuration_test_accepts_valid_and_rejects_invalid_files() {
    let (_app, mut cluster) = start_default().await;
    let well = done(&cluster, &["check"]).await;
    assert!(!well.contains("FAIL"), "{well}");
    cluster.kill_worker(0);
    cluster.wait_health("w1", false).await;
    let ill = ctl(&cluster, &["check"], "").await;
    assert_eq!(ill.status.code(), Some(1));
    assert!(text(&ill.stdout).contains("FAIL"), "{}", text(&ill.stdout));
    let admin = cluster.admin();
    assert_eq!(
        Request::to(admin, "GET", "/healthz").send().await.status,
        200
    );
    cluster.kill_coordinator();
    assert_eq!(
        ctl(&cluster, &["apps", "list"], "").await.status.code(),
        Some(4)
    );
}
