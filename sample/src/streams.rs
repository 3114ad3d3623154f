//! Streams: the event stream and the WebSocket. Both begin with the request ID of the
//! request that opened them.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::Query;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::response::sse::{Event, Sse};
use futures::{Stream, stream};
use serde::Deserialize;
use serde_json::json;

use crate::arrival::Arrival;

/// The maximum length of a message of `/ws`.
const LARGEST_MESSAGE_BYTES: usize = 256 * 1024 * 1024;

/// The query of `/events`.
#[derive(Debug, Deserialize)]
pub struct Pace {
    /// Milliseconds from one event to the next.
    #[serde(default = "one_second")]
    ms: u64,
}

fn one_second() -> u64 {
    1000
}

/// Logs the end of a stream when dropped, whichever side closed the stream.
struct Closing {
    arrival: Arrival,
    what: &'static str,
    sent: u64,
}

impl Closing {
    fn of(what: &'static str, arrival: Arrival) -> Self {
        log::info!("[{arrival}] {what} opened");
        Self {
            arrival,
            what,
            sent: 0,
        }
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let Self {
            arrival,
            what,
            sent,
        } = self;
        log::info!("[{arrival}] {what} closed after {sent} messages");
    }
}

/// Sends an event each `ms` milliseconds, the first immediately, until the client disconnects.
pub async fn events(
    arrival: Arrival,
    Query(Pace { ms }): Query<Pace>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let closing = Closing::of("event stream", arrival);
    Sse::new(stream::unfold(closing, move |mut closing| async move {
        if closing.sent > 0 {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        closing.sent += 1;
        let data = json!({"n": closing.sent, "request_id": closing.arrival.request_id()});
        let event = Event::default()
            .id(closing.sent.to_string())
            .data(data.to_string());
        Some((Ok(event), closing))
    }))
}

/// Sends the request ID on a WebSocket, and then echoes each message.
pub async fn websocket(arrival: Arrival, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .max_message_size(LARGEST_MESSAGE_BYTES)
        .max_frame_size(LARGEST_MESSAGE_BYTES)
        .on_upgrade(|socket| echo(socket, arrival))
}

async fn echo(mut socket: WebSocket, arrival: Arrival) {
    let greeting = json!({"request_id": arrival.request_id()}).to_string();
    let mut closing = Closing::of("WebSocket", arrival);
    let mut answer = Message::text(greeting);
    loop {
        if let Err(error) = socket.send(answer).await {
            log::info!("[{}] WebSocket: {error}", closing.arrival);
            return;
        }
        closing.sent += 1;
        answer = match next_message(&mut socket).await {
            Some(Ok(message)) => message,
            Some(Err(error)) => {
                log::info!("[{}] WebSocket: {error}", closing.arrival);
                return;
            }
            None => return,
        };
    }
}

/// Returns the next text or binary message. The library answers pings and the closing handshake
/// meanwhile.
async fn next_message(socket: &mut WebSocket) -> Option<Result<Message, axum::Error>> {
    loop {
        match socket.recv().await? {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => return Some(Ok(message)),
            Ok(_) => {}
            Err(error) => return Some(Err(error)),
        }
    }
}
