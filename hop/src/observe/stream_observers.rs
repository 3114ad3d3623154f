//! The observers of one stream.

use log::error;

use crate::guard::guarded;
use crate::identity::RequestId;
use crate::observe::event::Event;
use crate::observe::observer::StreamObserver;
use crate::tunnel::Direction;

/// The observers of one stream; none while the request is no stream, or nobody observes it. One
/// that panicked leaves its place empty.
#[derive(Default)]
pub(crate) struct StreamObservers(Vec<Option<Box<dyn StreamObserver>>>);

impl StreamObservers {
    /// Adds an observer.
    pub(super) fn add(&mut self, observer: Box<dyn StreamObserver>) {
        self.0.push(Some(observer));
    }

    /// Returns whether the stream has no observer.
    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reports a piece of the stream.
    #[inline]
    pub(crate) fn data(&mut self, id: &RequestId, from: Direction, bytes: &[u8]) {
        if !self.0.is_empty() {
            self.data_to_each(id, from, bytes);
        }
    }

    /// Apart from the check: a stream without observers pays for a branch, and for nothing else.
    #[cold]
    #[inline(never)]
    fn data_to_each(&mut self, id: &RequestId, from: Direction, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.call_each(id, |observer| observer.data(from, bytes));
        }
    }

    /// Reports the end of the stream, and drops the observers.
    pub(crate) fn end(mut self, closed: &Event<'_>) {
        self.call_each(closed.request_id(), |observer| observer.end(closed));
        for slot in &mut self.0 {
            discard(closed.request_id(), slot);
        }
    }

    fn call_each(&mut self, id: &RequestId, mut call: impl FnMut(&mut dyn StreamObserver)) {
        for slot in &mut self.0 {
            let Some(observer) = slot.as_deref_mut() else {
                continue;
            };
            if let Err(panic) = guarded(|| call(observer)) {
                error!(
                    "request_id={id} an observer of the stream panicked, and is dropped: {panic}"
                );
                discard(id, slot);
            }
        }
    }
}

fn discard(id: &RequestId, slot: &mut Option<Box<dyn StreamObserver>>) {
    let observer = slot.take();
    if let Err(panic) = guarded(|| drop(observer)) {
        error!("request_id={id} an observer of the stream panicked in its drop: {panic}");
    }
}
