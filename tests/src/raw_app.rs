//! An application that records every byte that it receives, and sends exactly the bytes that the
//! test chose for the path.
//!
//! It reads requests strictly: bytes that are not a request of HTTP/1.1 are recorded as a fault.

mod request;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use crate::REQUEST_ID;
use crate::wait::eventually;
use crate::wire::Wire;

pub use request::RawRequest;
use request::{Body, Part, check_head};

/// One step of a reply.
#[derive(Clone, Debug)]
enum Step {
    ReadBody,
    Send(Vec<u8>),
    SendZeros(u64),
    Wait(String),
    Close,
    Reset,
    ResetIfReused,
}

/// The reply to a request, in steps. After the last one the connection is kept.
#[derive(Clone, Debug, Default)]
pub struct Reply(Vec<Step>);

impl Reply {
    /// Reads the request body, then sends `bytes`.
    #[must_use]
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        Self(vec![Step::ReadBody]).send(bytes)
    }

    /// Sends a complete 200 with this body.
    #[must_use]
    pub fn ok(body: &str) -> Self {
        let length = body.len();
        Self::new(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }

    /// Sends `bytes` before the request body is read.
    #[must_use]
    pub fn early(bytes: impl AsRef<[u8]>) -> Self {
        Self::default().send(bytes)
    }

    /// Reads the request body.
    #[must_use]
    pub fn read_body(mut self) -> Self {
        self.0.push(Step::ReadBody);
        self
    }

    /// Sends further bytes.
    #[must_use]
    pub fn send(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.push(Step::Send(bytes.as_ref().to_vec()));
        self
    }

    /// Sends `count` bytes, as fast as they are accepted.
    #[must_use]
    pub fn send_zeros(mut self, count: u64) -> Self {
        self.0.push(Step::SendZeros(count));
        self
    }

    /// Waits for [`RawApp::release`].
    #[must_use]
    pub fn wait(mut self, gate: &str) -> Self {
        self.0.push(Step::Wait(gate.to_owned()));
        self
    }

    /// Closes the connection (FIN).
    #[must_use]
    pub fn close(mut self) -> Self {
        self.0.push(Step::Close);
        self
    }

    /// Ends the connection with a RST.
    #[must_use]
    pub fn reset(mut self) -> Self {
        self.0.push(Step::Reset);
        self
    }

    /// Ends the connection with a RST if it has served a request before.
    #[must_use]
    pub fn reset_if_reused(mut self) -> Self {
        self.0.push(Step::ResetIfReused);
        self
    }
}

#[derive(Debug, Default)]
struct State {
    replies: Mutex<HashMap<String, Reply>>,
    gates: Mutex<HashMap<String, Arc<Semaphore>>>,
    requests: Mutex<Vec<RawRequest>>,
    /// Whether each connection has ended.
    ended: Mutex<Vec<bool>>,
    sent: AtomicU64,
    faults: Mutex<Vec<String>>,
}

impl State {
    fn gate(&self, name: &str) -> Arc<Semaphore> {
        let mut gates = self.gates.lock().expect("the gates");
        let gate = gates.entry(name.to_owned());
        Arc::clone(gate.or_insert_with(|| Arc::new(Semaphore::new(0))))
    }

    fn reply(&self, path: &str) -> Reply {
        let replies = self.replies.lock().expect("the replies");
        let reply = replies.get(path).or_else(|| replies.get("*"));
        reply.cloned().unwrap_or_else(|| Reply::ok("ok"))
    }

    fn change(&self, index: usize, change: impl FnOnce(&mut RawRequest)) {
        change(&mut self.requests.lock().expect("the record")[index]);
    }
}

/// The application. It ends when the value is dropped, and so do its connections.
#[derive(Debug)]
pub struct RawApp {
    addr: SocketAddr,
    state: Arc<State>,
    acceptor: JoinHandle<()>,
}

impl Drop for RawApp {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

impl RawApp {
    /// Starts one on a free port of 127.0.0.1. It answers everything with a 200.
    ///
    /// # Panics
    /// Without a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.expect("an address for the application");
        let addr = listener.local_addr().expect("its address");
        let state = Arc::<State>::default();
        let acceptor = tokio::spawn(accept_all(listener, Arc::clone(&state)));
        Self {
            addr,
            state,
            acceptor,
        }
    }

    /// The address of the application.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Sets the reply to requests for `path`; `*` is for all others.
    pub fn reply(&self, path: &str, reply: Reply) {
        let mut replies = self.state.replies.lock().expect("the replies");
        replies.insert(path.to_owned(), reply);
    }

    /// Opens the gate `name` for `times` waits, which may come before or after this call.
    pub fn release(&self, name: &str, times: usize) {
        self.state.gate(name).add_permits(times);
    }

    /// Every request so far.
    #[must_use]
    pub fn requests(&self) -> Vec<RawRequest> {
        self.state.requests.lock().expect("the record").clone()
    }

    /// The number of requests so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.state.requests.lock().expect("the record").len()
    }

    /// The number of connections so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state.ended.lock().expect("the record").len()
    }

    /// The requests with this ID.
    #[must_use]
    pub fn with_id(&self, id: &str) -> Vec<RawRequest> {
        let mut requests = self.requests();
        requests.retain(|request| request.value(REQUEST_ID).as_deref() == Some(id));
        requests
    }

    /// The only request with this ID.
    ///
    /// # Panics
    /// If there is none, or several.
    pub fn only(&self, id: &str) -> RawRequest {
        let mut requests = self.with_id(id);
        assert_eq!(requests.len(), 1, "requests {id}: {requests:?}");
        requests.remove(0)
    }

    /// Waits for a request with this ID.
    pub async fn wait_for(&self, id: &str) -> RawRequest {
        let what = format!("request {id} at the application");
        eventually(&what, || self.with_id(id).into_iter().next()).await
    }

    /// Waits until the peer has closed the connection with this number.
    pub async fn wait_closed(&self, connection: usize) {
        let what = format!("connection {connection} of the application to be closed");
        eventually(&what, || {
            let ended = self.state.ended.lock().expect("the record");
            ended[connection].then_some(())
        })
        .await;
    }

    /// The bytes that [`Reply::send_zeros`] has sent so far, on all connections.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::Relaxed)
    }

    /// Asserts that everything that arrived was HTTP/1.1.
    ///
    /// # Panics
    /// If it was not.
    pub fn assert_strict(&self) {
        let faults = self.state.faults.lock().expect("the faults").clone();
        assert!(faults.is_empty(), "the application received: {faults:?}");
    }
}

async fn accept_all(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        let number = {
            let mut ended = state.ended.lock().expect("the record");
            ended.push(false);
            ended.len() - 1
        };
        let state = Arc::clone(&state);
        connections.spawn(async move {
            if let Err(error) = serve(Wire::new(stream), number, &state).await
                && error.kind() == io::ErrorKind::InvalidData
            {
                let mut faults = state.faults.lock().expect("the faults");
                faults.push(error.to_string());
            }
            state.ended.lock().expect("the record")[number] = true;
        });
    }
}

async fn serve(mut wire: Wire, connection: usize, state: &State) -> io::Result<()> {
    for served in 0.. {
        let Some(head) = wire.take_through(b"\r\n\r\n").await? else {
            break;
        };
        let request = RawRequest {
            connection,
            head: head.to_vec(),
            ..RawRequest::default()
        };
        check_head(&request)?;
        let reply = state.reply(&request.path());
        let index = {
            let mut requests = state.requests.lock().expect("the record");
            requests.push(request.clone());
            requests.len() - 1
        };
        let mut body = Body::of(&request)?;
        for step in reply.0 {
            match step {
                Step::ReadBody => read_body(&mut body, &mut wire, state, index).await?,
                Step::Send(bytes) => wire.try_send(&bytes).await?,
                Step::SendZeros(count) => send_zeros(&mut wire, count, &state.sent).await?,
                Step::Wait(gate) => wait(&mut wire, &state.gate(&gate), body.done).await?,
                Step::Close => {
                    wire.finish().await;
                    while wire.fill().await? > 0 {
                        wire.discard_buffered();
                    }
                    return Ok(());
                }
                Step::ResetIfReused if served == 0 => {}
                Step::Reset | Step::ResetIfReused => {
                    wire.reset();
                    return Ok(());
                }
            }
        }
        read_body(&mut body, &mut wire, state, index).await?;
    }
    Ok(())
}

async fn read_body(
    body: &mut Body,
    wire: &mut Wire,
    state: &State,
    index: usize,
) -> io::Result<()> {
    while !body.done {
        let part = body.next(wire).await?;
        state.change(index, |request| match part {
            Part::Data(data) => request.body.extend_from_slice(&data),
            Part::Trailer(line) => request.trailers.push(line),
            Part::End => request.whole = true,
        });
    }
    Ok(())
}

/// Waits for a gate, or for the end of a connection from which the whole request was read.
async fn wait(wire: &mut Wire, gate: &Semaphore, watches: bool) -> io::Result<()> {
    tokio::select! {
        permit = gate.acquire() => {
            if let Ok(permit) = permit {
                permit.forget();
            }
            Ok(())
        }
        () = ended(wire), if watches => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Waits for the end of the connection; what arrives until then stays unread.
async fn ended(wire: &mut Wire) {
    while let Ok(1..) = wire.fill().await {}
}

async fn send_zeros(wire: &mut Wire, count: u64, sent: &AtomicU64) -> io::Result<()> {
    let zeros = [0; 4096];
    let mut left = count;
    while left > 0 {
        let length = usize::try_from(left).map_or(zeros.len(), |left| left.min(zeros.len()));
        wire.try_send(&zeros[..length]).await?;
        sent.fetch_add(length as u64, Ordering::Relaxed);
        left -= length as u64;
    }
    Ok(())
}
