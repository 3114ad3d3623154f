//! A headless Chromium with a profile of its own, driven over WebDriver.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use app_proxy_tests::wait::within;
use fantoccini::actions::{InputSource, KeyAction, KeyActions};
use fantoccini::key::Key;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::Process;

/// The time limit of a page: a large application is slow on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// Chromium's switches: no window, no sandbox (tests may run as root), and nothing that it does by
/// itself.
const SWITCHES: [&str; 11] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--window-size=1280,900",
];

/// A browser with one open page. Ends with the value.
pub(crate) struct Browser {
    client: Client,
    // In the order in which they end: the browser, its driver, the files of its profile.
    _session: Session,
    _driver: Process,
    _profile: TempDir,
}

impl Browser {
    /// Starts the driver on a free port, and a browser by it.
    pub(crate) async fn start() -> Self {
        let profile = tempfile::Builder::new()
            .prefix("app-proxy-chromium-")
            .tempdir()
            .unwrap();
        let driver = Process::spawn(
            "chromedriver",
            Command::new("chromedriver")
                .arg("--port=0")
                .env("HOME", profile.path()),
        );
        let port: u16 = driver.said("the port it listens on", port_in).await;
        let connecting = connect(port, profile.path());
        let client = within("Chromium to start", connecting).await;
        let id = client.session_id().await.unwrap().unwrap();
        Self {
            client,
            _session: Session { port, id },
            _driver: driver,
            _profile: profile,
        }
    }

    /// Opens an address and waits until the page is loaded.
    pub(crate) async fn open(&self, url: &str) {
        let what = format!("{url} to load");
        self.in_time(&what, self.client.goto(url)).await.unwrap();
    }

    /// The path of the page that is open.
    pub(crate) async fn path(&self) -> String {
        let url = self.client.current_url().await.unwrap();
        url.path().to_owned()
    }

    /// Waits until the path of the page is `path`.
    pub(crate) async fn wait_for_path(&self, path: &str) {
        let what = format!("a page with the path {path}");
        self.until(&what, async || (self.path().await == path).then_some(()))
            .await;
    }

    /// Waits until something matches the selector.
    pub(crate) async fn wait_for(&self, css: &str) {
        self.wait_for_text(css, |_| true).await;
    }

    /// Waits until what matches the selector has a text that `wanted` accepts, and gives that text,
    /// without the space around it.
    pub(crate) async fn wait_for_text(&self, css: &str, wanted: impl Fn(&str) -> bool) -> String {
        let what = format!("{css} with the right text");
        self.until(&what, async || {
            let text = self.text(css).await?;
            wanted(&text).then_some(text)
        })
        .await
    }

    async fn text(&self, css: &str) -> Option<String> {
        let script = "return document.querySelector(arguments[0])?.textContent";
        let text = self.client.execute(script, vec![json!(css)]).await.ok()?;
        Some(text.as_str()?.trim().to_owned())
    }

    /// Clicks on the element that matches the selector, as soon as the page allows it.
    pub(crate) async fn click(&self, css: &str) {
        self.until(&format!("{css} to be clickable"), async || {
            let element = self.client.find(Locator::Css(css)).await.ok()?;
            element.click().await.ok()
        })
        .await;
    }

    /// Clicks on what matches the selector, waits until it has the focus, and types. Keys beyond
    /// the letters are WebDriver's; one in `held` stays down meanwhile.
    pub(crate) async fn type_into(&self, css: &str, held: Option<Key>, keys: &str) {
        self.click(css).await;
        let focused = format!("{css}:focus, {css} :focus");
        self.wait_for(&focused).await;
        let mut typing = KeyActions::new("keyboard".to_owned());
        if let Some(held) = held {
            typing = typing.then(KeyAction::Down { value: held.into() });
        }
        for value in keys.chars() {
            typing = typing.then(KeyAction::Down { value });
            typing = typing.then(KeyAction::Up { value });
        }
        self.client.perform_actions(typing).await.unwrap();
        self.client.release_actions().await.unwrap();
    }

    /// Replaces the value of an input.
    pub(crate) async fn fill(&self, css: &str, text: &str) {
        let element = self.client.find(Locator::Css(css)).await.unwrap();
        element.clear().await.unwrap();
        element.send_keys(text).await.unwrap();
    }

    /// The path of a cookie of the open page.
    pub(crate) async fn cookie_path(&self, name: &str) -> String {
        let cookie = self.client.get_named_cookie(name).await.unwrap();
        cookie.path().unwrap().to_owned()
    }

    /// Returns the requests of the page to other servers than its own.
    pub(crate) async fn strangers(&self) -> Vec<String> {
        let script = "return performance.getEntriesByType('resource').map(entry => entry.name)
            .filter(name => !name.startsWith(location.origin + '/') && !name.startsWith('data:'))";
        let names = self.client.execute(script, Vec::new()).await.unwrap();
        serde_json::from_value(names).unwrap()
    }

    /// Keeps a picture of the page as `<name>.png` in the folder that `APP_PROXY_SCREENSHOTS`
    /// names, if it does.
    pub(crate) async fn picture(&self, name: &str) {
        if let Some(folder) = std::env::var_os("APP_PROXY_SCREENSHOTS") {
            let png = self.client.screenshot().await.unwrap();
            std::fs::write(Path::new(&folder).join(format!("{name}.png")), png).unwrap();
        }
    }

    async fn in_time<T>(&self, what: &str, action: impl Future<Output = T>) -> T {
        match tokio::time::timeout(DEADLINE, action).await {
            Ok(output) => output,
            Err(_) => self.gave_up(what).await,
        }
    }

    async fn until<T>(&self, what: &str, condition: impl AsyncFn() -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            if let Some(found) = within(what, condition()).await {
                return found;
            }
            if begin.elapsed() > DEADLINE {
                self.gave_up(what).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn gave_up(&self, what: &str) -> ! {
        self.picture("gave-up").await;
        let url = self.client.current_url().await;
        let text = self.text("body").await;
        panic!("waited {DEADLINE:?} in vain for: {what}\nthe page is {url:?}:\n{text:?}");
    }
}

/// `ChromeDriver was started successfully on port 12345.`
fn port_in(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once("started successfully on port ")?;
    rest.trim_end_matches('.').parse().ok()
}

async fn connect(port: u16, profile: &Path) -> Client {
    let mut switches: Vec<String> = SWITCHES.iter().map(ToString::to_string).collect();
    switches.push(format!("--user-data-dir={}", profile.display()));
    let Value::Object(capabilities) = json!({"goog:chromeOptions": {"args": switches}}) else {
        unreachable!("an object was just written")
    };
    ClientBuilder::new(HttpConnector::new())
        .capabilities(capabilities)
        .connect(&format!("http://127.0.0.1:{port}"))
        .await
        .unwrap()
}

/// The session of the driver with its browser. Dropping the value ends the browser, which the
/// driver would otherwise leave running after a test that fails.
struct Session {
    port: u16,
    id: String,
}

impl Drop for Session {
    fn drop(&mut self) {
        let Self { port, id } = self;
        let request = format!(
            "DELETE /session/{id} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
        );
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", *port)) {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(15)));
            let _ = stream.write_all(request.as_bytes());
            // The answer arrives when the browser has ended.
            let _ = stream.read(&mut [0; 512]);
        }
    }
}
