//! The protocol of a connection without TLS: HTTP/2 begins with its preface (RFC 9113, section
//! 3.4).

use std::future::poll_fn;
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::arrival::{Arrived, LATE_REQUEST};
use crate::exchange::Timer;
use crate::gateway::Gateway;
use crate::wire::{READ_BYTES, Wire};

/// The first bytes of a connection of HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1. This is also the protocol of a client that sends nothing in time.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Reads a connection until its bytes are the preface, or cannot become it; `None` if the
/// connection ends.
pub(super) async fn detect<G: Gateway>(
    gateway: &G,
    mut arrived: Arrived<G>,
) -> Option<(Protocol, Arrived<G>)> {
    let mut wire = Wire::new(arrived.stream, arrived.input);
    let mut timer = Timer::default();
    let mut due = arrived.opened + gateway.timeouts().read;
    let mut closing = false;
    let protocol = poll_fn(|cx| {
        if let Poll::Ready(protocol) = poll_preface(&mut wire, cx) {
            return Poll::Ready(protocol);
        }
        if !closing && gateway.closes_connections() {
            closing = true;
            due = due.min(Instant::now() + LATE_REQUEST);
        }
        timer.set(Some(due));
        let expired = timer.poll_due(cx);
        expired.map(|()| Some(Protocol::Http1).filter(|_| !closing))
    })
    .await?;
    (arrived.stream, arrived.input) = wire.into_parts();
    Some((protocol, arrived))
}

/// Reads until the bytes are the preface, or cannot become it; `None` at the end of the connection.
fn poll_preface(wire: &mut Wire, cx: &mut Context<'_>) -> Poll<Option<Protocol>> {
    loop {
        if wire.input.starts_with(PREFACE) {
            return Poll::Ready(Some(Protocol::Http2));
        }
        if !PREFACE.starts_with(&wire.input) {
            return Poll::Ready(Some(Protocol::Http1));
        }
        match wire.poll_fill(cx, READ_BYTES) {
            Poll::Ready(Ok(0)) if wire.input.is_empty() => return Poll::Ready(None),
            Poll::Ready(Ok(0)) => return Poll::Ready(Some(Protocol::Http1)),
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(_)) => return Poll::Ready(None),
            Poll::Pending => return Poll::Pending,
        }
    }
}
