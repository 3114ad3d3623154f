//! One exchange: a request of a client, its phases, and the next hop that answers it.

mod attempt;
mod authentication;
mod context;
mod phases;
mod pump;
mod replay;
mod session;
mod timer;

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use pingora_core::{ErrorType, Result};
use tokio::time::Instant;

pub(crate) use context::{Exchange, Private, Traits};
pub(crate) use phases::{reject, serve};
pub(crate) use replay::Replay;
pub(crate) use session::EngineSession;
pub(crate) use timer::Timer;

use crate::client::Client;
use crate::error::downstream;
use crate::head::Spelling;

/// The state of an exchange that the engine and the session of the phases share. Only one task uses
/// it, so its lock is never contended.
pub(crate) struct Shared {
    /// The client's side.
    pub(crate) client: Client,
    /// The part of the request body that another attempt can send again.
    pub(crate) replay: Replay,
    /// The spelling of the response head that is written next.
    pub(crate) spelling: Option<Spelling>,
}

/// A handle of the state of an exchange; clones share it.
#[derive(Clone)]
pub(crate) struct Handle(Arc<Mutex<Shared>>);

impl Handle {
    /// Creates the state of the exchanges of one client.
    pub(crate) fn new(client: Client) -> Self {
        Self(Arc::new(Mutex::new(Shared {
            client,
            replay: Replay::default(),
            spelling: None,
        })))
    }

    /// Locks the state, for less than one poll.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends everything that was written for the client. `limit` is the longest time in which it
/// accepts no byte.
pub(crate) async fn flush(handle: &Handle, timer: &mut Timer, limit: Duration) -> Result<()> {
    let mut armed: Option<(Instant, u64)> = None;
    poll_fn(|cx| {
        let client = &mut handle.lock().client;
        if let Poll::Ready(flushed) = client.poll_flush(cx) {
            return Poll::Ready(flushed);
        }
        loop {
            let progress = client.progress();
            let since = match armed {
                Some((since, before)) if before == progress => since,
                _ => Instant::now(),
            };
            armed = Some((since, progress));
            timer.set(Some(since + limit));
            if timer.poll_due(cx).is_pending() {
                return Poll::Pending;
            }
            if since + limit <= Instant::now() && client.progress() == progress {
                return Poll::Ready(Err(downstream(
                    ErrorType::WriteTimedout,
                    "the client accepts no bytes of the response",
                )));
            }
        }
    })
    .await
}
