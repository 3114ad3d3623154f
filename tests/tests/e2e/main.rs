//! End-to-end tests: the real daemons, on ports that the kernel chose, between clients and
//! applications that record every byte. The tests cover the contract:
//! docs/reference/request-id.md, the access log, the admin API, the life of a daemon.

// Tests report failures by panicking.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod request_id;

mod errors;
mod forwarding;
mod full_disk;
mod idle;
mod pool;
mod routing;
mod sessions;
mod workers;

mod closing;
mod streaming;
mod websocket;

mod http1;

mod access_log;
mod admin;
mod apps;
mod background;
mod ctl;
mod daemon;
mod examples;
mod hardening;
mod members;
mod oracle;
mod read_your_writes;
mod reload;
mod requests;
mod scale;
mod service_manager;
mod store;
mod upgrade;

use app_proxy_tests::app::RecordingApp;
use app_proxy_tests::cluster::{Cluster, ClusterBuilder};
use serde_json::{Value, json};

/// A cluster before one application with three names: `notes` (paths stripped,
/// sessions), `kept` (paths kept, sessions) and `api` (paths stripped, no sessions).
async fn start(
    configure: impl FnOnce(ClusterBuilder) -> ClusterBuilder,
) -> (RecordingApp, Cluster) {
    let app = RecordingApp::start().await;
    let builder = Cluster::builder()
        .app_at("notes", app.addr())
        .app_with("kept", app.addr(), &json!({"upstream_path": "keep"}))
        .app_with("api", app.addr(), &json!({"affinity": "none"}));
    let cluster = configure(builder).start().await;
    (app, cluster)
}

/// As [`start`], with everything at its default.
async fn start_default() -> (RecordingApp, Cluster) {
    start(|builder| builder).await
}

/// The id of a session: its value without the MAC.
fn session_id(value: &str) -> &str {
    value.split('.').next().unwrap_or_default()
}

/// A number of a log line or a record.
fn number(line: &Value, field: &str) -> u64 {
    let value = &line[field];
    let whole = value
        .as_u64()
        .or_else(|| value.as_f64().map(|value| value as u64));
    whole.unwrap_or_else(|| panic!("`{field}` is not a number: {line}"))
}
