//! The page that shows the description of the admin API works under its content security policy
//! and sends no requests to other servers.

use app_proxy_tests::cluster::Cluster;

use crate::browser::Browser;

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_the_api_lists_its_calls_and_makes_them_with_the_token() {
    let cluster = Cluster::builder().start().await;
    let browser = Browser::start().await;

    browser
        .open(&format!("http://{}/docs/", cluster.admin()))
        .await;
    for call in [
        "list_apps",
        "put_app",
        "get_worker",
        "drain_worker",
        "delete_session",
        "get_request",
        "get_metrics",
    ] {
        browser.wait_for(&format!("[id$='-{call}']")).await;
    }

    browser.click(".auth-wrapper .authorize").await;
    browser.wait_for(".auth-container input").await;
    browser
        .fill(".auth-container input", &cluster.admin_token())
        .await;
    browser.click(".auth-btn-wrapper .authorize").await;
    browser.click(".auth-btn-wrapper .btn-done").await;
    browser
        .click("[id$='-list_workers'] .opblock-summary-control")
        .await;
    browser.click("[id$='-list_workers'] .try-out__btn").await;
    browser.click("[id$='-list_workers'] .execute").await;
    browser
        .wait_for_text(
            "[id$='-list_workers'] .live-responses-table tbody .response-col_status",
            |text| text.starts_with("200"),
        )
        .await;
    browser.picture("docs").await;

    assert_eq!(
        browser.strangers().await,
        Vec::<String>::new(),
        "the page has asked elsewhere"
    );
}
