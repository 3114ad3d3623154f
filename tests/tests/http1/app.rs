//! The application of the corpus: it reads with [`strict`], records all that arrives, and answers
//! as the case says.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use app_proxy_tests::wire::Wire;
use app_proxy_tests::ws::accept_for;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use app_proxy_tests::corpus::Step;
use app_proxy_tests::strict::{self, Message, Read};

/// How long a pause is: the proxy reads what was sent before.
pub(crate) const PAUSE: Duration = Duration::from_millis(30);

/// An arrival at the application.
#[derive(Clone, Debug)]
pub(crate) enum Arrival {
    /// A whole request.
    Request(Message),
    /// Bytes that are not a request.
    Invalid(String),
    /// A request whose connection ended before it was whole.
    Partial,
}

/// An arrival and the number of its connection.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    /// The number of the connection.
    pub connection: usize,
    /// The arrival.
    pub arrival: Arrival,
}

/// The answer to a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    /// The steps; empty: a 200.
    pub steps: Vec<Step>,
    /// Answers before the body was read.
    pub early: bool,
}

#[derive(Debug, Default)]
struct State {
    script: Mutex<Script>,
    recorded: Mutex<Vec<Recorded>>,
    connections: AtomicUsize,
}

/// The application. It ends with the value.
#[derive(Debug)]
pub(crate) struct StrictApp {
    addr: SocketAddr,
    state: Arc<State>,
    acceptor: JoinHandle<()>,
}

impl Drop for StrictApp {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

impl StrictApp {
    /// Starts an application on a free port.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let acceptor = tokio::spawn(accept_all(listener, Arc::clone(&state)));
        Self {
            addr,
            state,
            acceptor,
        }
    }

    /// The address.
    #[must_use]
    pub(crate) const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Sets the answer to requests that are not probes.
    pub(crate) fn answer(&self, script: Script) {
        *self.state.script.lock().unwrap() = script;
    }

    /// All arrivals so far.
    #[must_use]
    pub(crate) fn recorded(&self) -> Vec<Recorded> {
        self.state.recorded.lock().unwrap().clone()
    }
}

/// The content of the 200: it names the request.
#[must_use]
pub(crate) fn content(request: &[u8]) -> Vec<u8> {
    [b"seen: ", request].concat()
}

async fn accept_all(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        while connections.try_join_next().is_some() {}
        let number = state.connections.fetch_add(1, Ordering::SeqCst);
        let connection = Connection {
            wire: Wire::new(stream),
            number,
            state: Arc::clone(&state),
        };
        connections.spawn(connection.serve());
    }
}

struct Connection {
    wire: Wire,
    number: usize,
    state: Arc<State>,
}

impl Connection {
    async fn serve(mut self) {
        while let Some(request) = self.next().await {
            let script = self.script(&request);
            self.record(Arrival::Request(request.clone()));
            if !self.play(&script.steps, &request).await {
                return;
            }
        }
    }

    fn record(&self, arrival: Arrival) {
        let recorded = Recorded {
            connection: self.number,
            arrival,
        };
        self.state.recorded.lock().unwrap().push(recorded);
    }

    /// The answer of the case, to each attempt of its request. Probes get a 200.
    fn script(&self, request: &Message) -> Script {
        if request.word(1).starts_with(b"/probe/") {
            return Script::default();
        }
        self.state.script.lock().unwrap().clone()
    }

    /// Reads the next request; `None` at the end of the connection.
    async fn next(&mut self) -> Option<Message> {
        let mut ended = false;
        let mut answered = false;
        loop {
            match strict::request(self.wire.buffered(), false) {
                Read::Whole(message, length) => {
                    let _ = self.wire.take(length).await;
                    return Some(*message);
                }
                Read::Invalid(fault) => {
                    self.record(Arrival::Invalid(fault));
                    return None;
                }
                Read::Partial if ended => {
                    if !self.wire.buffered().is_empty() {
                        self.record(Arrival::Partial);
                    }
                    return None;
                }
                Read::Partial => {}
            }
            if !answered && let Some(head) = strict::head(self.wire.buffered()) {
                answered = true;
                if self.state.script.lock().unwrap().early {
                    self.answer_early(&head).await;
                    return None;
                }
                let expect = head.all("expect").concat();
                if expect.eq_ignore_ascii_case(b"100-continue") {
                    let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
                    let _ = self.wire.try_send(interim).await;
                }
            }
            ended = !matches!(self.wire.fill().await, Ok(1..));
        }
    }

    /// Answers before the body, after which no other request may come.
    async fn answer_early(&mut self, head: &Message) {
        let script = self.script(head);
        self.record(Arrival::Partial);
        self.play(&script.steps, head).await;
        while let Ok(1..) = self.wire.fill().await {}
        if let Read::Whole(_, length) = strict::request(self.wire.buffered(), true)
            && self.wire.buffered().len() > length
        {
            self.record(Arrival::Invalid("bytes behind a request".to_owned()));
        }
    }

    /// Sends an answer. Returns false if the connection is to be closed.
    async fn play(&mut self, steps: &[Step], request: &Message) -> bool {
        if steps.is_empty() {
            return self.answer(request).await;
        }
        for step in steps {
            match step {
                Step::Send(bytes) => {
                    let _ = self.wire.try_send(bytes).await;
                }
                Step::Pause | Step::Wait => tokio::time::sleep(PAUSE).await,
                Step::Finish => {
                    self.wire.finish().await;
                    return false;
                }
                Step::Reset => {
                    self.wire.reset_on_drop();
                    return false;
                }
            }
        }
        true
    }

    async fn answer(&mut self, request: &Message) -> bool {
        if let [key] = request.all("sec-websocket-key")[..]
            && !request.all("upgrade").is_empty()
        {
            let accept = accept_for(&String::from_utf8_lossy(key));
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\
                 Upgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
            );
            let _ = self.wire.try_send(answer.as_bytes()).await;
            return false;
        }
        let content = content(&request.request());
        let length = content.len();
        let mut answer =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        if request.word(0) != b"HEAD" {
            answer.extend_from_slice(&content);
        }
        self.wire.try_send(&answer).await.is_ok()
    }
}
