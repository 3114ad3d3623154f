//! The traits of observers.

use crate::observe::event::Event;
use crate::tunnel::Direction;

/// Observes the requests of a tier.
///
/// The events of one request come in order: at most one [`EventKind::IdReplaced`] or
/// [`EventKind::Unparsable`], then one [`EventKind::Request`], or one [`EventKind::StreamOpen`],
/// the messages, and one [`EventKind::StreamClose`]. The access log has a line of each event of the
/// last four kinds, and of no other: also when the client goes away, a filter fails or the process
/// drains.
///
/// The methods are called where the request is served: they must not block. A panic is logged
/// under the identifier of the request, which goes on.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use app_proxy_hop::observe::{Event, EventKind, Observe};
///
/// /// Counts requests that failed.
/// #[derive(Default)]
/// struct Failures(AtomicU64);
///
/// impl Observe for Failures {
///     fn event(&self, event: &Event<'_>) {
///         let ended = matches!(event.kind(), EventKind::Request | EventKind::StreamClose);
///         if ended && event.error().is_some() {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
/// ```
///
/// [`EventKind::IdReplaced`]: crate::observe::EventKind::IdReplaced
/// [`EventKind::Unparsable`]: crate::observe::EventKind::Unparsable
/// [`EventKind::Request`]: crate::observe::EventKind::Request
/// [`EventKind::StreamOpen`]: crate::observe::EventKind::StreamOpen
/// [`EventKind::StreamClose`]: crate::observe::EventKind::StreamClose
pub trait Observe: Send + Sync + 'static {
    /// Observes an event.
    fn event(&self, event: &Event<'_>);

    /// Returns an observer for the bytes of one stream, if they are of interest. Called right after
    /// its `stream_open`, for WebSockets and for responses that stream (server-sent events, gRPC,
    /// `application/x-ndjson` and the like), not for long downloads.
    fn stream(&self, opened: &Event<'_>) -> Option<Box<dyn StreamObserver>> {
        let _ = opened;
        None
    }
}

/// Observes the bytes of one stream as they pass: those of a body, without the framing of HTTP, or
/// those of a WebSocket after its handshake, with the headers of its frames.
///
/// The pieces of a direction come in order, and have any length: a line, a message or a character
/// may be divided. The observer cannot change them. Bytes of the request's body that were sent
/// before the response began are not seen. After a panic the observer is dropped, which is logged
/// under the identifier of the request; the stream goes on.
///
/// ```
/// use app_proxy_hop::observe::{Event, StreamObserver};
/// use app_proxy_hop::tunnel::Direction;
///
/// /// Counts the events of `text/event-stream`: each ends with an empty line.
/// #[derive(Default)]
/// struct Events {
///     count: u64,
///     last: u8,
/// }
///
/// impl StreamObserver for Events {
///     fn data(&mut self, from: Direction, bytes: &[u8]) {
///         if from == Direction::FromServer {
///             for &byte in bytes {
///                 self.count += u64::from(byte == b'\n' && self.last == b'\n');
///                 self.last = byte;
///             }
///         }
///     }
///
///     fn end(&mut self, closed: &Event<'_>) {
///         println!("{}: {} events", closed.request_id(), self.count);
///     }
/// }
///
/// let mut events = Events::default();
/// events.data(Direction::FromServer, b"data: 1\n");
/// events.data(Direction::FromServer, b"\ndata: 2\n\nda");
/// assert_eq!(events.count, 2);
/// ```
pub trait StreamObserver: Send + Sync + 'static {
    /// Observes a piece of the stream.
    fn data(&mut self, from: Direction, bytes: &[u8]);

    /// Observes the end of the stream, right before [`Observe::event`] gets its `stream_close`. No
    /// call follows.
    fn end(&mut self, closed: &Event<'_>) {
        let _ = closed;
    }
}
