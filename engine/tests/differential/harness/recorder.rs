//! The application behind a proxy: it reads strictly and answers each request.

use std::sync::{Arc, Mutex};

use app_proxy_tests::strict::{self, Message, Read};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinSet;

/// An arrival at the application.
#[derive(Clone, Debug)]
pub(super) enum Arrival {
    /// A whole request.
    Request(Message),
    /// Bytes that a strict application refuses, and the fault.
    Invalid(String),
}

#[derive(Debug, Default)]
struct State {
    arrivals: Vec<Arrival>,
    connections: JoinSet<()>,
    /// The answer to each request, behind which the connection is closed; `None`: a 200.
    answer: Option<Vec<u8>>,
}

/// The arrivals at an application.
#[derive(Clone, Debug, Default)]
pub(super) struct Recorder {
    state: Arc<Mutex<State>>,
}

impl Recorder {
    /// Serves a connection.
    pub(super) fn serve(&self, stream: DuplexStream) {
        let connection = serve(self.clone(), stream);
        self.state.lock().unwrap().connections.spawn(connection);
    }

    /// Sets the bytes with which each request is answered.
    pub(super) fn answer(&self, answer: &[u8]) {
        self.state.lock().unwrap().answer = Some(answer.to_vec());
    }

    /// Returns the arrivals, and closes the connections.
    pub(super) fn take(&self) -> Vec<Arrival> {
        let mut state = self.state.lock().unwrap();
        state.connections = JoinSet::new();
        state.answer = None;
        std::mem::take(&mut state.arrivals)
    }

    /// Records an arrival, and returns the answer to it.
    fn record(&self, arrival: Arrival) -> Option<Vec<u8>> {
        let mut state = self.state.lock().unwrap();
        state.arrivals.push(arrival);
        state.answer.clone()
    }
}

async fn serve(recorder: Recorder, mut stream: DuplexStream) {
    let mut buffer = Vec::new();
    loop {
        match strict::request(&buffer, false) {
            Read::Whole(message, length) => {
                buffer.drain(..length);
                let is_head = message.word(0) == b"HEAD";
                if let Some(answer) = recorder.record(Arrival::Request(*message)) {
                    let _ = stream.write_all(&answer).await;
                    return;
                }
                let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                let length = answer.len() - if is_head { 2 } else { 0 };
                let answer = &answer.as_bytes()[..length];
                if stream.write_all(answer).await.is_err() {
                    return;
                }
                continue;
            }
            Read::Invalid(fault) => {
                recorder.record(Arrival::Invalid(fault));
                return;
            }
            Read::Partial => {}
        }
        if !matches!(stream.read_buf(&mut buffer).await, Ok(1..)) {
            return;
        }
    }
}
