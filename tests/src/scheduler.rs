//! A scheduler that receives webhooks: records each of them, and responds as the test requires.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::http1::{BodyReader, Framing, Head};
use crate::wait::eventually;
use crate::wire::Wire;

/// One received webhook.
#[derive(Clone, Debug)]
pub struct Hook {
    /// Its first line and its headers.
    pub head: Head,
    /// Its body, byte for byte.
    pub body: Vec<u8>,
    /// The status of the response.
    pub status: u16,
}

impl Hook {
    /// Its body as JSON.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn event(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a webhook is JSON")
    }

    /// A header.
    ///
    /// # Panics
    /// When it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.head
            .headers
            .get(name)
            .unwrap_or_else(|| panic!("a webhook has {name}: {:?}", self.head))
    }

    /// Returns whether the webhook is signed with `secret`.
    #[must_use]
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length");
        mac.update(
            format!(
                "{}.{}.",
                self.header("webhook-id"),
                self.header("webhook-timestamp")
            )
            .as_bytes(),
        );
        mac.update(&self.body);
        self.header("webhook-signature")
            == format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[derive(Debug, Default)]
struct State {
    hooks: Mutex<Vec<Hook>>,
    answers: Mutex<VecDeque<u16>>,
}

/// The scheduler. It ends when the value is dropped.
#[derive(Debug)]
pub struct Scheduler {
    addr: SocketAddr,
    state: Arc<State>,
    acceptor: JoinHandle<()>,
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

impl Scheduler {
    /// Starts one on a free port of 127.0.0.1; it answers 204.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("an address for the scheduler");
        let addr = listener.local_addr().expect("the address of the scheduler");
        let state = Arc::new(State::default());
        let acceptor = tokio::spawn(accept_all(listener, Arc::clone(&state)));
        Self {
            addr,
            state,
            acceptor,
        }
    }

    /// Returns the address of the scheduler.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address of one of its webhooks.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Responds to the next webhook without a prepared response with `status`.
    ///
    /// # Panics
    /// If a test has panicked.
    pub fn answer_next(&self, status: u16) {
        self.state
            .answers
            .lock()
            .expect("the answers")
            .push_back(status);
    }

    /// Returns the webhooks of an app so far, with those that were answered with an error.
    ///
    /// # Panics
    /// If a test has panicked.
    #[must_use]
    pub fn hooks_of(&self, app: &str) -> Vec<Hook> {
        let hooks = self.state.hooks.lock().expect("the webhooks");
        hooks
            .iter()
            .filter(|hook| hook.event()["data"]["app"] == app)
            .cloned()
            .collect()
    }

    /// Waits until there are `count` webhooks about an app; more come back as they are.
    pub async fn wait_for(&self, app: &str, count: usize) -> Vec<Hook> {
        eventually(&format!("{count} webhooks about {app}"), || {
            let hooks = self.hooks_of(app);
            (hooks.len() >= count).then_some(hooks)
        })
        .await
    }
}

async fn accept_all(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let _ = serve(Wire::new(stream), &state).await;
        });
    }
}

async fn serve(mut wire: Wire, state: &State) -> io::Result<()> {
    while let Some(head) = Head::read(&mut wire).await? {
        let mut reader = BodyReader::new(Framing::of_request(&head));
        let mut body = Vec::new();
        while let Some(piece) = reader.next(&mut wire).await? {
            body.extend_from_slice(&piece);
        }
        let status = state
            .answers
            .lock()
            .expect("the answers")
            .pop_front()
            .unwrap_or(204);
        state
            .hooks
            .lock()
            .expect("the webhooks")
            .push(Hook { head, body, status });
        let length = if status == 204 {
            ""
        } else {
            "Content-Length: 0\r\n"
        };
        wire.try_send(format!("HTTP/1.1 {status} Answer\r\n{length}\r\n").as_bytes())
            .await?;
    }
    Ok(())
}
