//! The observers of an embedder.

use std::sync::Arc;

use log::error;

use crate::guard::guarded;
use crate::observe::event::Event;
use crate::observe::observer::Observe;
use crate::observe::stream_observers::StreamObservers;

/// The observers of an embedder, in the order of their calls; none by default.
#[derive(Clone, Default)]
pub struct Observers(Vec<Arc<dyn Observe>>);

impl Observers {
    /// Adds an observer.
    pub fn add(&mut self, observer: impl Observe) {
        self.0.push(Arc::new(observer));
    }

    /// Reports an event.
    #[inline]
    pub(crate) fn event(&self, event: &Event<'_>) {
        if !self.0.is_empty() {
            self.call_each(event);
        }
    }

    /// Returns the observers of a stream that has opened.
    pub(crate) fn stream(&self, opened: &Event<'_>) -> StreamObservers {
        let mut streams = StreamObservers::default();
        for observer in &self.0 {
            match guarded(|| observer.stream(opened)) {
                Ok(Some(stream)) => streams.add(stream),
                Ok(None) => {}
                Err(panic) => log_panic(opened, &panic),
            }
        }
        streams
    }

    /// Apart from the check: a request without observers pays for a branch, and for nothing else.
    #[cold]
    #[inline(never)]
    fn call_each(&self, event: &Event<'_>) {
        for observer in &self.0 {
            if let Err(panic) = guarded(|| observer.event(event)) {
                log_panic(event, &panic);
            }
        }
    }
}

fn log_panic(event: &Event<'_>, panic: &str) {
    let (id, kind) = (event.request_id(), event.kind().as_str());
    error!("request_id={id} an observer panicked at {kind}: {panic}");
}
