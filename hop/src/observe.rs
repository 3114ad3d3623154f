//! The observation of requests: one source of events for the metrics, the observers of an embedder
//! and the access log. An observer sees, and changes nothing.

pub mod access_log;
pub mod metrics;

pub(crate) mod excerpt;

mod event;
mod facts;
mod observer;
mod observers;
mod stream_observers;

pub use event::{Event, EventKind};
pub use facts::{ClosedBy, RequestFacts, RequestKind, RequestOutcome};
pub use observer::{Observe, StreamObserver};
pub use observers::Observers;

pub(crate) use event::Record;
pub(crate) use stream_observers::StreamObservers;
