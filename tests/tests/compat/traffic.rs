//! Traffic that runs while versions change: requests on kept and on new connections, uploads, event
//! streams and WebSockets. Each client checks the bytes that it receives.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use app_proxy_tests::app::RecordingApp;
use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::http1::{Client, Request, Response};
use app_proxy_tests::wait::{eventually, within};
use app_proxy_tests::ws::{Frame, WebSocket, handshake};
use app_proxy_tests::{Checksum, pattern};
use tokio::task::JoinHandle;

use crate::report::Tally;

/// A pause between two requests of one client, so that the clients leave the daemons some of a
/// small machine.
const PAUSE: Duration = Duration::from_millis(10);

/// More events than any case reads.
const ENDLESS: usize = 1_000_000;

/// The app of the traffic, in the coordinator's file.
pub(crate) const STEADY: &str = "steady";

/// Clients that run until they are stopped.
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    progress: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// Starts clients of the app [`STEADY`], which `app` serves.
    pub(crate) fn start(cluster: &Cluster, app: &Arc<RecordingApp>, tally: &Arc<Tally>) -> Self {
        // Gates of the application have the names of their clients, also of earlier ones.
        static STARTS: AtomicUsize = AtomicUsize::new(0);
        let start = STARTS.fetch_add(1, Ordering::SeqCst);
        let (stop, progress) = (Arc::default(), Arc::default());
        let visitor = |name: String| Visitor {
            name: format!("{name}-{start}"),
            public: cluster.public(),
            app: Arc::clone(app),
            tally: Arc::clone(tally),
            stop: Arc::clone(&stop),
            progress: Arc::clone(&progress),
        };
        let mut clients = Vec::new();
        for number in 0..2 {
            clients.push(tokio::spawn(visitor(format!("kept-{number}")).keeps()));
            clients.push(tokio::spawn(visitor(format!("new-{number}")).reconnects()));
            clients.push(tokio::spawn(
                visitor(format!("events-{number}")).reads_events(),
            ));
            clients.push(tokio::spawn(visitor(format!("echoes-{number}")).echoes()));
        }
        clients.push(tokio::spawn(visitor("short".to_owned()).opens_and_closes()));
        Self {
            stop,
            progress,
            clients,
        }
    }

    /// Waits until each client has made `rounds` further rounds, on the average.
    pub(crate) async fn go_on(&self, rounds: usize) {
        let target = self.progress.load(Ordering::SeqCst) + rounds * self.clients.len();
        eventually("the traffic to go on", || {
            (self.progress.load(Ordering::SeqCst) >= target).then_some(())
        })
        .await;
    }

    /// Stops the clients and waits for them. Streams that are still open are ended by their client.
    pub(crate) async fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        for client in self.clients {
            within("a client to end", client).await.expect("a client");
        }
    }
}

/// One client.
struct Visitor {
    name: String,
    public: SocketAddr,
    app: Arc<RecordingApp>,
    tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
    progress: Arc<AtomicUsize>,
}

impl Visitor {
    /// Counts a round; returns false once the client is to stop.
    async fn next(&self) -> bool {
        self.progress.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(PAUSE).await;
        !self.stop.load(Ordering::SeqCst)
    }

    fn check(&self, what: &str, answer: std::io::Result<Response>, body: Checksum) {
        match answer {
            Ok(answer) if answer.status == 200 && answer.checksum() == body => {
                self.tally.request();
            }
            Ok(answer) => self.tally.fail(&format!(
                "{} {what}: {}, {} bytes, truncated: {}",
                self.name,
                answer.status,
                answer.body.len(),
                answer.truncated
            )),
            Err(error) => self.tally.fail(&format!("{} {what}: {error}", self.name)),
        }
    }

    /// Requests of one session on a connection that is kept while the coordinator keeps it.
    async fn keeps(self) {
        let target = format!("/apps/{STEADY}/bytes/5000");
        let body = Checksum::of(&pattern(5000));
        let mut connection = Kept::new(self.public);
        let mut session: Option<String> = None;
        loop {
            let answer = connection.get(&target, session.as_deref()).await;
            let issued = answer.as_ref().ok().and_then(Response::session_cookie);
            if session.is_some() && issued.is_some() {
                self.tally
                    .fail(&format!("{}: another session was issued", self.name));
            }
            session = session.or(issued);
            self.check("GET", answer, body);
            if !self.next().await {
                return;
            }
        }
    }

    /// Downloads and uploads, each on a connection of its own.
    async fn reconnects(self) {
        let (down, up) = (pattern(70_000), pattern(40_000));
        let (sum, sent) = (Checksum::of(&down), Checksum::of(&up).value());
        loop {
            let target = format!("/apps/{STEADY}/bytes/70000?chunked");
            let answer = Request::to(self.public, "GET", &target).try_send().await;
            self.check("GET", answer, sum);
            let target = format!("/apps/{STEADY}/echo");
            let request = Request::to(self.public, "POST", &target).body(&up);
            match request.try_send().await {
                Ok(answer) if answer.status == 200 && answer.json()["body_sum"] == sent => {
                    self.tally.request();
                }
                Ok(answer) => self.tally.fail(&format!("POST: {}", answer.text())),
                Err(error) => self.tally.fail(&format!("POST: {error}")),
            }
            if !self.next().await {
                return;
            }
        }
    }

    /// One event stream from the beginning to the end of the traffic.
    async fn reads_events(self) {
        let target = format!("/apps/{STEADY}/sse/{}/{ENDLESS}", self.name);
        let mut client = Request::to(self.public, "GET", &target)
            .id(&self.name)
            .start()
            .await;
        let head = client.read_head().await;
        if head.status() != 200 {
            return self.tally.fail(&format!("{}: {}", self.name, head.line));
        }
        self.tally.request();
        for number in 1.. {
            self.app.release(&self.name, 1);
            let expected = format!("id: {number}\ndata: event {number} of {}\n\n", self.name);
            let event = within("an event", client.wire.take_through(expected.as_bytes()));
            // The framing of chunks is around the event: a size line before, a line end behind.
            match event.await {
                Ok(Some(bytes)) if bytes.len() < expected.len() + 12 => self.tally.message(),
                other => {
                    return self.tally.fail(&format!(
                        "{}: event {number} broke off: {other:?}",
                        self.name
                    ));
                }
            }
            if !self.next().await {
                return;
            }
        }
    }

    /// One WebSocket from the beginning to the end of the traffic, which the client closes.
    async fn echoes(self) {
        let Some(mut socket) = self.open().await else {
            return;
        };
        for number in 0.. {
            if !self.echo(&mut socket, number).await {
                return;
            }
            if !self.next().await {
                break;
            }
        }
        self.close(socket).await;
    }

    /// WebSockets that are closed after some messages.
    async fn opens_and_closes(self) {
        loop {
            let Some(mut socket) = self.open().await else {
                return;
            };
            for number in 0..3 {
                if !self.echo(&mut socket, number).await {
                    return;
                }
            }
            self.close(socket).await;
            if !self.next().await {
                return;
            }
        }
    }

    async fn open(&self) -> Option<WebSocket> {
        let target = format!("/apps/{STEADY}/ws/echo");
        let client = handshake(self.public, &target, &[]).start().await;
        match WebSocket::finish_handshake(client).await {
            Ok(socket) => {
                self.tally.request();
                Some(socket)
            }
            Err(refusal) => {
                self.tally
                    .fail(&format!("{}: handshake: {}", self.name, refusal.text()));
                None
            }
        }
    }

    async fn echo(&self, socket: &mut WebSocket, number: usize) -> bool {
        let text = format!("message {number} of {}", self.name);
        let sent = socket.try_send(Frame::text(&text)).await;
        let answer = socket.next().await;
        let good = sent.is_ok() && answer.as_ref().is_some_and(|frame| frame.as_text() == text);
        if good {
            self.tally.message();
        } else {
            let what = format!("{}: message {number}: {answer:?}", self.name);
            self.tally.fail(&what);
        }
        good
    }

    async fn close(&self, mut socket: WebSocket) {
        let code = socket.close(1000).await;
        if code != Some(1000) {
            self.tally
                .fail(&format!("{}: closed with {code:?}", self.name));
        }
    }
}

/// GETs on a connection that is kept. A request without any answer, because the connection was
/// closed meanwhile, is sent again on a new one (RFC 9112, section 9.5).
pub(crate) struct Kept {
    addr: SocketAddr,
    client: Option<Client>,
}

impl Kept {
    pub(crate) fn new(addr: SocketAddr) -> Self {
        Self { addr, client: None }
    }

    pub(crate) async fn get(
        &mut self,
        target: &str,
        session: Option<&str>,
    ) -> std::io::Result<Response> {
        if let Some(client) = self.client.take() {
            match self.send(client, target, session).await {
                Err((_, false)) => {}
                Err((error, true)) => return Err(error),
                Ok(answer) => return Ok(answer),
            }
        }
        let client = Client::try_connect(self.addr).await?;
        let answer = self.send(client, target, session).await;
        answer.map_err(|(error, _)| error)
    }

    /// An error comes with whether a part of the answer had arrived.
    async fn send(
        &mut self,
        mut client: Client,
        target: &str,
        session: Option<&str>,
    ) -> Result<Response, (std::io::Error, bool)> {
        let request = client.get(target);
        let request = match session {
            Some(session) => request.session(session),
            None => request,
        };
        match request.try_send().await {
            Ok(answer) => {
                let closes = answer.truncated || answer.headers.lists("Connection", "close");
                self.client = (!closes).then_some(client);
                Ok(answer)
            }
            Err(error) => Err((error, !client.wire.buffered().is_empty())),
        }
    }
}
