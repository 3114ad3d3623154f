//! The application behind a proxy: it reads strictly and answers each request with a 200.

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

    /// Returns the arrivals, and closes the connections.
    pub(super) fn take(&self) -> Vec<Arrival> {
        let mut state = self.state.lock().unwrap();
        state.connections = JoinSet::new();
        std::mem::take(&mut state.arrivals)
    }

    fn record(&self, arrival: Arrival) {
        self.state.lock().unwrap().arrivals.push(arrival);
    }
}

async fn serve(recorder: Recorder, mut stream: DuplexStream) {
    let mut buffer = Vec::new();
    loop {
        match strict::request(&buffer, false) {
            Read::Whole(message, length) => {
                buffer.drain(..length);
                let is_head = message.word(0) == b"HEAD";
                recorder.record(Arrival::Request(*message));
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
