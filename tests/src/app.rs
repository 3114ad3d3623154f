//! An application that records every request and behaves as the path specifies.
//!
//! | path | does |
//! |---|---|
//! | `/whoami` | 200 with the address of the application, as text |
//! | `/echo`, others | 200, JSON: `method`, `target`, `headers`, `body_bytes`, `body_sum` |
//! | `/status/N` | that status |
//! | `/respond?status=N&h=Name:Value&body=…` | that response; `h` repeats; see [`respond`] |
//! | `/raw?data=…&then=close` | those bytes, then `close` (default), `reset`, `keep`; see [`raw`] |
//! | `/chunked/N` | N chunks, each `chunk <n>\n` |
//! | `/bytes/N` | N bytes of [`crate::pattern`]; `?chunked` without `Content-Length` |
//! | `/early-hints` | 103, then as `/echo` |
//! | `/gate/NAME` | as `/echo`, but not before [`RecordingApp::release`] |
//! | `/sse/NAME/N` | N server-sent events, each not before the gate NAME is released once |
//! | `/ws/echo` | WebSocket that sends each data frame back, bit for bit |
//! | `/ws/gate/NAME` | the same, but the 101 waits for the gate |
//! | `/ws/early` | the same, with a message `early` in the segment of the 101 |
//! | `/ws/push/N` | the same, after N messages `push <n>` |
//! | `/ws/close/CODE` | WebSocket that closes with CODE at once |
//! | `/ws/refuse/N` | refuses the handshake with status N |
//! | `/manual/NAME` | hands the connection to the test that calls [`RecordingApp::accept`] |
//!
//! A path may have `/apps/<name>` in front (`upstream_path: keep`). `Expect: 100-continue` is
//! answered with a 100 (not under `/manual`). Every response that is not `/raw` has
//! `X-Seen-Request-ID`, so that a client can compare.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use tokio::task::{JoinHandle, JoinSet};

use crate::http1::{BodyReader, Framing, Head, Headers};
use crate::wait::{eventually, within};
use crate::wire::Wire;
use crate::ws::{CLOSE, Frame, PING, PONG, TEXT, WebSocket, accept_for};
use crate::{Checksum, REQUEST_ID, SESSION_ID, pattern};

/// The header with the request identifier that the application saw.
pub const SEEN_REQUEST_ID: &str = "X-Seen-Request-ID";

/// One request as the application saw it.
#[derive(Clone, Debug)]
pub struct SeenRequest {
    /// Its place among all requests of this application, from 0.
    pub index: usize,
    /// The number of the connection on which the request arrived.
    pub connection: usize,
    /// The method.
    pub method: String,
    /// Path and query, byte for byte.
    pub target: String,
    /// `HTTP/1.1`, as a rule.
    pub version: String,
    /// The header lines, in their order and spelling.
    pub headers: Headers,
    /// The length of the body, once it has been read to its end.
    pub body_bytes: Option<u64>,
    /// The time at which the head had been read.
    pub at: SystemTime,
}

impl SeenRequest {
    /// The first header line of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// The request ID.
    ///
    /// # Panics
    /// Unless there is exactly one.
    #[must_use]
    pub fn request_id(&self) -> &str {
        let ids = self.headers.all(REQUEST_ID);
        assert_eq!(
            ids.len(),
            1,
            "one {REQUEST_ID} at the application: {self:?}"
        );
        ids[0]
    }

    /// The session's ID, if there is one.
    #[must_use]
    pub fn session_id(&self) -> Option<&str> {
        self.header(SESSION_ID)
    }

    /// The target without its query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// A connection whose request the test answers by hand.
#[derive(Debug)]
pub struct Manual {
    /// The head of the request; its body, if any, is still on the wire.
    pub head: Head,
    /// The connection.
    pub wire: Wire,
}

impl Manual {
    /// The request ID of the request.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn request_id(&self) -> String {
        let id = self.head.headers.get(REQUEST_ID);
        id.expect("a request ID at the application").to_owned()
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.send(bytes).await;
    }

    /// Answers the WebSocket handshake with a 101 and returns the application's end.
    pub async fn upgrade(mut self) -> WebSocket {
        let answer = switching_protocols(&self.head, &[]);
        self.wire.send(answer).await;
        WebSocket::server(self.wire, self.head)
    }

    /// Reads the body of the request.
    pub async fn read_body(&mut self) -> io::Result<Vec<u8>> {
        let mut reader = BodyReader::new(Framing::of_request(&self.head));
        let mut body = Vec::new();
        while let Some(piece) = reader.next(&mut self.wire).await? {
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }
}

#[derive(Debug)]
struct ManualQueue {
    sender: UnboundedSender<Manual>,
    receiver: Arc<AsyncMutex<UnboundedReceiver<Manual>>>,
}

impl Default for ManualQueue {
    fn default() -> Self {
        let (sender, receiver) = unbounded_channel();
        Self {
            sender,
            receiver: Arc::new(AsyncMutex::new(receiver)),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    address: String,
    seen: Mutex<Vec<SeenRequest>>,
    gates: Mutex<HashMap<String, Arc<Semaphore>>>,
    manual: Mutex<HashMap<String, ManualQueue>>,
    connections: AtomicUsize,
}

impl State {
    fn gate(&self, name: &str) -> Arc<Semaphore> {
        let mut gates = self.gates.lock().expect("the gates");
        let gate = gates
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(Semaphore::new(0)));
        Arc::clone(gate)
    }

    async fn pass(&self, name: &str) {
        if let Ok(permit) = self.gate(name).acquire().await {
            permit.forget();
        }
    }

    fn record(&self, connection: usize, head: &Head) -> usize {
        let mut seen = self.seen.lock().expect("the record");
        let index = seen.len();
        seen.push(SeenRequest {
            index,
            connection,
            method: head.word(0).to_owned(),
            target: head.word(1).to_owned(),
            version: head.word(2).to_owned(),
            headers: head.headers.clone(),
            body_bytes: None,
            at: SystemTime::now(),
        });
        index
    }
}

/// The application. It ends when the value is dropped, and so do its connections.
#[derive(Debug)]
pub struct RecordingApp {
    addr: SocketAddr,
    state: Arc<State>,
    acceptor: JoinHandle<()>,
}

impl Drop for RecordingApp {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

impl RecordingApp {
    /// Starts one on a free port of 127.0.0.1.
    pub async fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts one at `addr`.
    ///
    /// # Panics
    /// When the address is in use.
    pub async fn start_at(addr: SocketAddr) -> Self {
        let listener = TcpListener::bind(addr)
            .await
            .expect("an address for the application");
        let addr = listener
            .local_addr()
            .expect("the address of the application");
        let state = Arc::new(State {
            address: addr.to_string(),
            ..State::default()
        });
        let acceptor = tokio::spawn(accept_all(listener, Arc::clone(&state)));
        Self {
            addr,
            state,
            acceptor,
        }
    }

    /// Returns the address of the application.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Every request so far.
    #[must_use]
    pub fn requests(&self) -> Vec<SeenRequest> {
        self.state.seen.lock().expect("the record").clone()
    }

    /// Returns the number of requests so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.state.seen.lock().expect("the record").len()
    }

    /// Returns the number of accepted connections so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// The last request so far.
    ///
    /// # Panics
    /// When there was none.
    #[must_use]
    pub fn last(&self) -> SeenRequest {
        let seen = self.state.seen.lock().expect("the record");
        seen.last().cloned().expect("a request at the application")
    }

    /// The requests with this identifier.
    #[must_use]
    pub fn with_id(&self, id: &str) -> Vec<SeenRequest> {
        let seen = self.state.seen.lock().expect("the record");
        seen.iter()
            .filter(|seen| seen.header(REQUEST_ID) == Some(id))
            .cloned()
            .collect()
    }

    /// Waits for a request that `wanted` accepts.
    pub async fn wait_for(&self, what: &str, wanted: impl Fn(&SeenRequest) -> bool) -> SeenRequest {
        let what = format!("{what} at the application");
        eventually(&what, || {
            let seen = self.state.seen.lock().expect("the record");
            seen.iter().find(|seen| wanted(seen)).cloned()
        })
        .await
    }

    /// Waits until a request with this identifier has reached the application.
    pub async fn wait_for_id(&self, id: &str) -> SeenRequest {
        self.wait_for(&format!("request {id}"), |seen| {
            seen.header(REQUEST_ID) == Some(id)
        })
        .await
    }

    /// Opens the gate `name` for `times` requests, which may come before or after this call.
    pub fn release(&self, name: &str, times: usize) {
        self.state.gate(name).add_permits(times);
    }

    /// Waits for the next connection at `/manual/<name>`.
    pub async fn accept(&self, name: &str) -> Manual {
        let receiver = {
            let mut queues = self.state.manual.lock().expect("the manual queues");
            Arc::clone(&queues.entry(name.to_owned()).or_default().receiver)
        };
        let mut receiver = receiver.lock().await;
        let what = format!("a connection at /manual/{name}");
        within(&what, receiver.recv())
            .await
            .expect("the queue stays open")
    }
}

async fn accept_all(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        let number = state.connections.fetch_add(1, Ordering::SeqCst);
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let _ = serve(Wire::new(stream), number, &state).await;
        });
    }
}

async fn serve(mut wire: Wire, connection: usize, state: &State) -> io::Result<()> {
    while let Some(head) = Head::read(&mut wire).await? {
        let index = state.record(connection, &head);
        let call = Call::new(head, state, index);
        match call.answer(wire).await? {
            Some(kept) => wire = kept,
            None => break,
        }
    }
    Ok(())
}

/// The path at which the application sends this response (`/respond`).
#[must_use]
pub fn respond(status: u16, headers: &[(&str, &str)], body: &str) -> String {
    let mut path = format!("/respond?status={status}");
    for (name, value) in headers {
        let _ = write!(path, "&h={}:{}", escape(name), escape(value));
    }
    let _ = write!(path, "&body={}", escape(body));
    path
}

/// The path that makes the application send `data` and then `close`, `reset` or `keep` (`/raw`).
#[must_use]
pub fn raw(data: &str, then: &str) -> String {
    format!("/raw?data={}&then={then}", escape(data))
}

/// Percent-encodes all of `text` that is not unreserved (RFC 3986, section 2.3).
#[must_use]
pub fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
        escaped
    })
}

fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn switching_protocols(head: &Head, more: &[(&str, &str)]) -> String {
    let key = head
        .headers
        .get("Sec-WebSocket-Key")
        .unwrap_or_default()
        .to_owned();
    let mut text = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n",
        accept_for(&key)
    );
    if let Some(offered) = head.headers.get("Sec-WebSocket-Protocol") {
        let chosen = offered.split(',').next().unwrap_or_default().trim();
        let _ = write!(text, "Sec-WebSocket-Protocol: {chosen}\r\n");
    }
    if let Some(id) = head.headers.get(REQUEST_ID) {
        let _ = write!(text, "{SEEN_REQUEST_ID}: {id}\r\n");
    }
    for (name, value) in more {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    text.push_str("\r\n");
    text
}

/// A request and the state that its response needs.
struct Call<'a> {
    head: Head,
    state: &'a State,
    index: usize,
    segments: Vec<String>,
    query: Vec<(String, String)>,
    body: (u64, Checksum),
}

impl<'a> Call<'a> {
    fn new(head: Head, state: &'a State, index: usize) -> Self {
        let target = head.word(1).to_owned();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let mut segments: Vec<String> = path.split('/').skip(1).map(str::to_owned).collect();
        if segments.first().is_some_and(|first| first == "apps") && segments.len() > 2 {
            segments.drain(..2);
        }
        let query = query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self {
            head,
            state,
            index,
            segments,
            query,
            body: (0, Checksum::default()),
        }
    }

    fn segment(&self, at: usize) -> &str {
        self.segments.get(at).map_or("", String::as_str)
    }

    fn number(&self, at: usize) -> usize {
        self.segment(at).parse().unwrap_or_default()
    }

    fn param(&self, name: &str) -> Option<String> {
        let found = self.query.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| unescape(value))
    }

    /// Answers; gives the connection back when it can carry another request.
    async fn answer(mut self, mut wire: Wire) -> io::Result<Option<Wire>> {
        match self.segment(0) {
            "manual" => {
                let name = self.segment(1).to_owned();
                let mut queues = self.state.manual.lock().expect("the manual queues");
                let queue = queues.entry(name).or_default();
                let _ = queue.sender.send(Manual {
                    head: self.head,
                    wire,
                });
                return Ok(None);
            }
            "ws" => return self.websocket(wire).await,
            "raw" => return self.raw(wire).await,
            _ => {}
        }
        self.read_body(&mut wire).await?;
        match self.segment(0) {
            "status" => {
                let status = u16::try_from(self.number(1)).unwrap_or(500);
                self.respond(&mut wire, status, &[], b"").await?;
            }
            "whoami" => {
                self.respond(&mut wire, 200, &[], self.state.address.as_bytes())
                    .await?;
            }
            "respond" => self.respond_as_requested(&mut wire).await?,
            "chunked" => self.chunked(&mut wire).await?,
            "bytes" => self.bytes(&mut wire).await?,
            "sse" => self.events(&mut wire).await?,
            "early-hints" => {
                wire.try_send(
                    b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n",
                )
                .await?;
                self.echo(&mut wire).await?;
            }
            "gate" => {
                self.state.pass(self.segment(1)).await;
                self.echo(&mut wire).await?;
            }
            _ => self.echo(&mut wire).await?,
        }
        let ends = self.head.headers.lists("Connection", "close");
        Ok((!ends).then_some(wire))
    }

    async fn read_body(&mut self, wire: &mut Wire) -> io::Result<()> {
        if self.head.headers.lists("Expect", "100-continue") {
            wire.try_send(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let mut reader = BodyReader::new(Framing::of_request(&self.head));
        while let Some(piece) = reader.next(wire).await? {
            self.body.0 += piece.len() as u64;
            self.body.1.update(&piece);
        }
        let mut seen = self.state.seen.lock().expect("the record");
        seen[self.index].body_bytes = Some(self.body.0);
        Ok(())
    }

    fn response_head(&self, status: u16, headers: &[(&str, &str)]) -> String {
        let mut text = format!("HTTP/1.1 {status} Status\r\n");
        if let Some(id) = self.head.headers.get(REQUEST_ID) {
            let _ = write!(text, "{SEEN_REQUEST_ID}: {id}\r\n");
        }
        for (name, value) in headers {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        text
    }

    async fn respond(
        &self,
        wire: &mut Wire,
        status: u16,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<()> {
        let mut text = self.response_head(status, headers);
        if !matches!(status, 204 | 304) {
            let _ = write!(text, "Content-Length: {}\r\n", body.len());
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        if self.head.word(0) != "HEAD" && !matches!(status, 204 | 304) {
            bytes.extend_from_slice(body);
        }
        wire.try_send(&bytes).await
    }

    async fn respond_as_requested(&self, wire: &mut Wire) -> io::Result<()> {
        let status = self
            .param("status")
            .and_then(|status| status.parse().ok())
            .unwrap_or(200);
        let headers: Vec<(String, String)> = self
            .query
            .iter()
            .filter(|(name, _)| name == "h")
            .filter_map(|(_, line)| line.split_once(':'))
            .map(|(name, value)| (unescape(name), unescape(value)))
            .collect();
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let body = self.param("body").unwrap_or_default();
        self.respond(wire, status, &headers, body.as_bytes()).await
    }

    async fn echo(&self, wire: &mut Wire) -> io::Result<()> {
        let body = json!({
            "method": self.head.word(0),
            "target": self.head.word(1),
            "headers": self.head.headers.0,
            "body_bytes": self.body.0,
            "body_sum": self.body.1.value(),
        });
        let body = body.to_string();
        let headers = [("Content-Type", "application/json")];
        self.respond(wire, 200, &headers, body.as_bytes()).await
    }

    async fn chunked(&self, wire: &mut Wire) -> io::Result<()> {
        self.begin_chunks(wire, "text/plain").await?;
        for n in 1..=self.number(1) {
            write_chunk(wire, format!("chunk {n}\n").as_bytes()).await?;
        }
        wire.try_send(b"0\r\n\r\n").await
    }

    async fn begin_chunks(&self, wire: &mut Wire, kind: &str) -> io::Result<()> {
        let headers = [("Content-Type", kind), ("Transfer-Encoding", "chunked")];
        let text = format!("{}\r\n", self.response_head(200, &headers));
        wire.try_send(text.as_bytes()).await
    }

    async fn bytes(&self, wire: &mut Wire) -> io::Result<()> {
        let body = pattern(self.number(1));
        if self.param("chunked").is_none() {
            return self.respond(wire, 200, &[], &body).await;
        }
        self.begin_chunks(wire, "application/octet-stream").await?;
        for piece in body.chunks(64 * 1024) {
            write_chunk(wire, piece).await?;
        }
        wire.try_send(b"0\r\n\r\n").await
    }

    async fn events(&self, wire: &mut Wire) -> io::Result<()> {
        let kind = "text/event-stream";
        self.begin_chunks(wire, kind).await?;
        let id = self.head.headers.get(REQUEST_ID).unwrap_or_default();
        for n in 1..=self.number(2) {
            self.state.pass(self.segment(1)).await;
            let event = format!("id: {n}\ndata: event {n} of {id}\n\n");
            write_chunk(wire, event.as_bytes()).await?;
        }
        wire.try_send(b"0\r\n\r\n").await
    }

    async fn raw(&self, mut wire: Wire) -> io::Result<Option<Wire>> {
        let data = self.param("data").unwrap_or_default();
        wire.try_send(data.as_bytes()).await?;
        match self.param("then").as_deref() {
            Some("keep") => return Ok(Some(wire)),
            Some("reset") => wire.reset(),
            _ => wire.finish().await,
        }
        Ok(None)
    }

    async fn websocket(&self, mut wire: Wire) -> io::Result<Option<Wire>> {
        if self.segment(1) == "refuse" {
            let status = u16::try_from(self.number(2)).unwrap_or(403);
            let headers = [("X-Refused-By", "application")];
            self.respond(&mut wire, status, &headers, b"the application says no")
                .await?;
            return Ok(Some(wire));
        }
        if self.segment(1) == "gate" {
            self.state.pass(self.segment(2)).await;
        }
        let mut answer = switching_protocols(&self.head, &[]).into_bytes();
        if self.segment(1) == "early" {
            answer.extend_from_slice(&Frame::text("early").encode());
        }
        wire.try_send(&answer).await?;
        let mut socket = WebSocket::server(wire, self.head.clone());
        match self.segment(1) {
            "push" => {
                for n in 1..=self.number(2) {
                    let frame = Frame::new(TEXT, format!("push {n}"));
                    socket.try_send(frame).await?;
                }
            }
            "close" => {
                let code = u16::try_from(self.number(2)).unwrap_or(1000);
                socket.try_send(Frame::close(code, "by request")).await?;
            }
            _ => {}
        }
        echo_frames(socket).await?;
        Ok(None)
    }
}

async fn write_chunk(wire: &mut Wire, data: &[u8]) -> io::Result<()> {
    let mut bytes = format!("{:x}\r\n", data.len()).into_bytes();
    bytes.extend_from_slice(data);
    bytes.extend_from_slice(b"\r\n");
    wire.try_send(&bytes).await
}

/// Sends each data frame back unchanged (but unmasked), answers pings, and closes when the client
/// does.
async fn echo_frames(mut socket: WebSocket) -> io::Result<()> {
    while let Some(frame) = Frame::read(&mut socket.wire).await? {
        let opcode = match frame.opcode {
            PONG => continue,
            PING => PONG,
            other => other,
        };
        let answer = Frame {
            opcode,
            mask: None,
            ..frame
        };
        socket.try_send(answer).await?;
        if opcode == CLOSE {
            socket.wire.finish().await;
            // The client's FIN is awaited, so that no unread byte turns the close into a reset.
            while socket.wire.fill().await? > 0 {
                socket.wire.discard_buffered();
            }
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{Client, Request};
    use crate::ws::{BINARY, CONTINUATION};

    #[tokio::test]
    async fn responses_are_as_the_path_asks() {
        let app = RecordingApp::start().await;
        let mut client = Client::connect(app.addr()).await;
        let echo = client
            .request("POST", "/apps/a/echo?x=1")
            .id("abc")
            .body("hello")
            .send()
            .await;
        assert_eq!(echo.json()["body_bytes"], 5);
        assert_eq!(echo.json()["target"], "/apps/a/echo?x=1");
        assert_eq!(echo.headers.get(SEEN_REQUEST_ID), Some("abc"));
        assert_eq!(app.with_id("abc").len(), 1);
        let target = respond(302, &[("Location", "/a?b=c&d"), ("X-A", "1")], "x y");
        let asked = client.get(&target).send().await;
        assert_eq!(asked.status, 302);
        assert_eq!(asked.headers.get("location"), Some("/a?b=c&d"));
        assert_eq!(asked.text(), "x y");
        assert_eq!(client.request("HEAD", "/echo").send().await.text(), "");
        assert_eq!(client.get("/status/304").send().await.status, 304);
        assert_eq!(
            client.get("/chunked/2").send().await.text(),
            "chunk 1\nchunk 2\n"
        );
        for target in ["/bytes/100000", "/bytes/100000?chunked"] {
            let bytes = client.get(target).send().await;
            assert_eq!(bytes.checksum(), Checksum::of(&pattern(100_000)));
        }
        assert_eq!(
            client.get("/early-hints").send().await.interim[0].status(),
            103
        );
        assert_eq!(app.connections(), 1);
        let short = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfour";
        let short = client.get(&raw(short, "close")).send().await;
        assert!(short.truncated);
    }

    #[tokio::test]
    async fn gates_hold_responses_back_until_released() {
        let app = RecordingApp::start().await;
        let mut client = Request::to(app.addr(), "GET", "/sse/events/2")
            .start()
            .await;
        client.read_head().await;
        app.release("events", 1);
        let first = client.wire.take_through(b"\n\n").await;
        assert!(String::from_utf8_lossy(&first.unwrap().unwrap()).contains("event 1"));
        assert!(!String::from_utf8_lossy(client.wire.buffered()).contains("event 2"));
        app.release("events", 1);
        client.wire.take_through(b"event 2").await.unwrap();
    }

    #[tokio::test]
    async fn websocket_frames_come_back_bit_for_bit() {
        let app = RecordingApp::start().await;
        let mut socket = WebSocket::connect(app.addr(), "/ws/early", &[]).await;
        assert_eq!(socket.frame().await, Frame::text("early"));
        let frames = [
            Frame::new(TEXT, "a").with_rsv(4).unfinished(),
            Frame::new(CONTINUATION, pattern(300)),
            Frame::new(BINARY, pattern(70_000)),
        ];
        for frame in frames {
            socket.send(frame.clone()).await;
            assert_eq!(socket.frame().await, frame);
        }
        assert_eq!(socket.close(4001).await, Some(4001));
    }

    #[tokio::test]
    async fn manual_connections_are_handed_over() {
        let app = RecordingApp::start().await;
        let mut client = Request::to(app.addr(), "PUT", "/manual/x")
            .id("m1")
            .body("body")
            .start()
            .await;
        let mut manual = app.accept("x").await;
        assert_eq!(manual.request_id(), "m1");
        assert_eq!(manual.read_body().await.unwrap(), b"body");
        manual
            .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await;
        assert_eq!(client.read_response("PUT").await.text(), "ok");
    }
}
