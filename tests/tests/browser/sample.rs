//! The sample application, which knows nothing of the proxy, with `upstream_path: strip`.

use std::net::SocketAddr;
use std::process::Command;

use app_proxy_tests::binary;
use app_proxy_tests::cluster::{Cluster, own_address};
use app_proxy_tests::is_generated_id;
use app_proxy_tests::wait::eventually;

use crate::browser::Browser;
use crate::follow;
use crate::process::Process;

struct Sample {
    address: SocketAddr,
    process: Process,
}

impl Sample {
    async fn start() -> Self {
        let process = Process::spawn(
            "sample",
            Command::new(binary::find("app-proxy-sample"))
                .args(["--listen", &format!("{}:0", own_address())])
                .env("RUST_LOG", "info"),
        );
        let address = process
            .said("the address it listens on", |line| {
                line.strip_prefix("listening on ")?.parse().ok()
            })
            .await;
        Self { address, process }
    }

    /// Waits until the application has logged something (`GET /hello`) under this request ID.
    async fn logged(&self, id: &str, what: &str) {
        let wanted = format!("[{id}] {what}");
        eventually(&format!("{wanted:?} in the sample's log"), || {
            self.process
                .lines()
                .into_iter()
                .find(|line| line.contains(&wanted))
        })
        .await;
    }
}

/// The request ID that the page shows in this place, once it does.
async fn shown_id(browser: &Browser, css: &str) -> String {
    browser.wait_for_text(css, is_generated_id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn sample_application_under_strip_is_followed_through_redirect_and_cookie() {
    let sample = Sample::start().await;
    let cluster = Cluster::builder()
        .app_at("sample", sample.address)
        .workers(2)
        .start()
        .await;
    let browser = Browser::start().await;

    browser.open(&cluster.url("/apps/sample/")).await;
    let page = shown_id(&browser, "#request-id").await;
    let line = follow::request_at_both_tiers(&cluster, &page).await;
    assert_eq!(line["path"], "/apps/sample/");
    assert_eq!(line["status"], 200);
    sample.logged(&page, "GET /").await;

    // Its event stream and its WebSocket work in the page, each under an ID of its own.
    let many = |count: &str| count.parse().is_ok_and(|count: u32| count >= 2);
    browser.wait_for_text("#sse-count", many).await;
    let events = shown_id(&browser, "#sse-request-id").await;
    let socket = shown_id(&browser, "#ws-request-id").await;
    assert_ne!(page, events);
    assert_ne!(page, socket);
    assert_ne!(events, socket);
    browser.fill("#ws-text", "there and back").await;
    browser.click("#ws-send").await;
    browser
        .wait_for_text("#ws-log", |log| log.contains("← there and back"))
        .await;
    browser.picture("sample").await;

    // The login redirects to `/hello` and sets a cookie for `/`: both arrive below the prefix.
    browser.fill("#user", "Grace Hopper").await;
    browser.click("#login").await;
    browser.wait_for_path("/apps/sample/hello").await;
    browser
        .wait_for_text("#greeting", |text| text == "Hello, Grace Hopper")
        .await;
    assert_eq!(browser.cookie_path("sample_user").await, "/apps/sample/");
    browser.picture("sample-hello").await;
    let hello = shown_id(&browser, "#request-id").await;
    let line = follow::request_at_both_tiers(&cluster, &hello).await;
    assert_eq!(line["path"], "/apps/sample/hello");
    sample.logged(&hello, "GET /hello").await;

    let login = cluster
        .coordinator_log()
        .wait_for_line("the login", |line| line["path"] == "/apps/sample/login")
        .await;
    assert_eq!(login["status"], 303);
    let login = login["request_id"].as_str().unwrap();
    follow::request_at_both_tiers(&cluster, login).await;
    sample.logged(login, "POST /login").await;

    // The page with the streams is gone, so they have ended everywhere.
    for (id, what) in [(&events, "event stream"), (&socket, "WebSocket")] {
        follow::stream_at_both_tiers(&cluster, id).await;
        sample.logged(id, &format!("{what} opened")).await;
        sample.logged(id, &format!("{what} closed")).await;
    }
}
