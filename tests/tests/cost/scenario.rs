//! The measured scenarios: one client and one request at a time, so that counts are reproducible.

use app_proxy_tests::app::RecordingApp;
use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::http1::Client;
use app_proxy_tests::wait::eventually;
use app_proxy_tests::ws::{BINARY, Frame, WebSocket};

/// One kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scenario {
    /// GET of 1 KiB with a session's cookie, on one connection. "Instructions a request and hop"
    /// are of this one.
    KeepAlive,
    /// The same without a cookie, so that each request begins a session.
    NewSession,
    /// The same as the first, each on a connection of its own.
    NewConnection,
    /// GET of 64 KiB.
    Body64K,
    /// POST of 1 KiB, answered with nothing.
    Post,
    /// A WebSocket message of 125 bytes to the application and back.
    WebSocket,
    /// A server-sent event.
    Event,
}

impl Scenario {
    pub(crate) const ALL: [Self; 7] = [
        Self::KeepAlive,
        Self::NewSession,
        Self::NewConnection,
        Self::Body64K,
        Self::Post,
        Self::WebSocket,
        Self::Event,
    ];

    /// Returns the name in the file of numbers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::KeepAlive => "keep-alive",
            Self::NewSession => "new-session",
            Self::NewConnection => "new-connection",
            Self::Body64K => "body-64k",
            Self::Post => "post",
            Self::WebSocket => "websocket",
            Self::Event => "event",
        }
    }

    /// The scenario of this name.
    pub(crate) fn called(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|scenario| scenario.name() == name)
    }
}

/// The name of the gate that releases events.
const GATE: &str = "cost";

/// A client in the middle of a scenario.
pub(crate) struct Driver<'a> {
    scenario: Scenario,
    app: &'a RecordingApp,
    cluster: &'a Cluster,
    cookie: String,
    link: Link,
}

enum Link {
    Requests(Client),
    Events(Client),
    WebSocket(WebSocket),
}

impl<'a> Driver<'a> {
    /// Gets a session, and opens the streams that stay open.
    pub(crate) async fn open(
        scenario: Scenario,
        app: &'a RecordingApp,
        cluster: &'a Cluster,
    ) -> Self {
        let mut client = cluster.client().await;
        let first = client.get("/apps/cost/bytes/1024").send().await;
        assert_eq!(first.status, 200, "{}", first.text());
        let cookie = first.session_cookie().expect("a session's cookie");
        let link = match scenario {
            Scenario::WebSocket => {
                let cookie = format!("{}={cookie}", app_proxy_tests::SESSION_COOKIE);
                Link::WebSocket(
                    cluster
                        .websocket("/apps/cost/ws/echo", &[("Cookie", &cookie)])
                        .await,
                )
            }
            Scenario::Event => {
                let request = client
                    .get(&format!("/apps/cost/sse/{GATE}/1000000"))
                    .session(&cookie);
                let bytes = request.bytes();
                client.send(bytes).await;
                assert_eq!(client.read_head().await.status(), 200);
                Link::Events(client)
            }
            _ => Link::Requests(client),
        };
        Self {
            scenario,
            app,
            cluster,
            cookie,
            link,
        }
    }

    /// Runs the scenario `times` times, and waits for the lines in the access logs.
    pub(crate) async fn run(&mut self, times: usize) {
        let before = self.logged();
        for _ in 0..times {
            self.once().await;
        }
        if matches!(self.link, Link::Requests(_)) {
            eventually("a line of each request in both access logs", || {
                let (coordinator, worker) = self.logged();
                (coordinator >= before.0 + times && worker >= before.1 + times).then_some(())
            })
            .await;
        }
    }

    fn logged(&self) -> (usize, usize) {
        (
            self.cluster.coordinator_log().line_count(),
            self.cluster.worker_log(0).line_count(),
        )
    }

    async fn once(&mut self) {
        let cookie = self.cookie.as_str();
        let client = match &mut self.link {
            Link::Requests(client) => client,
            Link::WebSocket(socket) => {
                let frame = Frame::new(BINARY, [b'm'; 125]);
                socket.send(frame.clone()).await;
                assert_eq!(socket.frame().await, frame);
                return;
            }
            Link::Events(client) => {
                self.app.release(GATE, 1);
                let event = client.wire.take_through(b"\n\n\r\n").await;
                event
                    .expect("an event")
                    .expect("an event before the end of the stream");
                return;
            }
        };
        let (status, length) = match self.scenario {
            Scenario::NewSession => length_of(client.get("/apps/cost/bytes/1024").send().await),
            Scenario::NewConnection => length_of(
                self.cluster
                    .get("/apps/cost/bytes/1024")
                    .session(cookie)
                    .send()
                    .await,
            ),
            Scenario::Body64K => length_of(
                client
                    .get("/apps/cost/bytes/65536")
                    .session(cookie)
                    .send()
                    .await,
            ),
            Scenario::Post => {
                let request = client
                    .request("POST", "/apps/cost/status/204")
                    .session(cookie);
                length_of(request.body([b'p'; 1024]).send().await)
            }
            _ => length_of(
                client
                    .get("/apps/cost/bytes/1024")
                    .session(cookie)
                    .send()
                    .await,
            ),
        };
        let expected = match self.scenario {
            Scenario::Post => (204, 0),
            Scenario::Body64K => (200, 65536),
            _ => (200, 1024),
        };
        assert_eq!((status, length), expected);
    }
}

fn length_of(response: app_proxy_tests::http1::Response) -> (u16, usize) {
    (response.status, response.body.len())
}
