//! One open stream: whose it is, and whether it is to be closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;

/// Why a stream is closed from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// Its session was deleted.
    SessionDeleted,
    /// Its app was deleted.
    AppDeleted,
    /// Its worker drains, and the time for that is over.
    WorkerDraining,
}

impl CloseReason {
    /// `error` of the access log.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::SessionDeleted => "session_deleted",
            Self::AppDeleted => "app_deleted",
            Self::WorkerDraining => "worker_draining",
        }
    }

    /// The code of a WebSocket's close frame (RFC 6455, section 7.4.1): a policy is violated, or
    /// the endpoint is going away.
    #[must_use]
    pub const fn close_code(self) -> u16 {
        match self {
            Self::SessionDeleted => 1008,
            Self::AppDeleted | Self::WorkerDraining => 1001,
        }
    }

    /// What the close frame says to people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::SessionDeleted => "the session was deleted",
            Self::AppDeleted => "the application was deleted",
            Self::WorkerDraining => "the worker is shutting down",
        }
    }
}

/// How far a stream has come: open, ended, or told to close for a reason.
const OPEN: u8 = 0;
const ENDED: u8 = 1;
const SESSION_DELETED: u8 = 2;
const APP_DELETED: u8 = 3;
const WORKER_DRAINING: u8 = 4;

const fn to_state(reason: CloseReason) -> u8 {
    match reason {
        CloseReason::SessionDeleted => SESSION_DELETED,
        CloseReason::AppDeleted => APP_DELETED,
        CloseReason::WorkerDraining => WORKER_DRAINING,
    }
}

const fn to_reason(state: u8) -> Option<CloseReason> {
    match state {
        SESSION_DELETED => Some(CloseReason::SessionDeleted),
        APP_DELETED => Some(CloseReason::AppDeleted),
        WORKER_DRAINING => Some(CloseReason::WorkerDraining),
        _ => None,
    }
}

/// An open stream.
#[derive(Debug)]
pub struct StreamHandle {
    session: Option<Box<str>>,
    worker: Option<Arc<str>>,
    /// Where it is in its registry; changed and read under the registry's lock.
    place: AtomicUsize,
    state: AtomicU8,
    waker: AtomicWaker,
}

impl StreamHandle {
    pub(super) fn new(session: Option<&str>, worker: Option<&Arc<str>>) -> Self {
        Self {
            session: session.map(Box::from),
            worker: worker.cloned(),
            place: AtomicUsize::new(0),
            state: AtomicU8::new(OPEN),
            waker: AtomicWaker::new(),
        }
    }

    /// The identifier of its session.
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// The name of its worker.
    #[must_use]
    pub fn worker(&self) -> Option<&str> {
        self.worker.as_deref()
    }

    /// Tells it to close. The first reason counts; says whether this was it.
    pub fn close(&self, reason: CloseReason) -> bool {
        let first = self
            .state
            .compare_exchange(OPEN, to_state(reason), Ordering::AcqRel, Ordering::Relaxed)
            .is_ok();
        if first {
            self.waker.wake();
        }
        first
    }

    /// Why it is to close, if it was told and has not ended.
    #[must_use]
    pub fn closed(&self) -> Option<CloseReason> {
        to_reason(self.state.load(Ordering::Acquire))
    }

    pub(super) fn end(&self) {
        self.state.store(ENDED, Ordering::Release);
    }

    pub(super) fn place(&self) -> usize {
        self.place.load(Ordering::Relaxed)
    }

    pub(super) fn put_at(&self, place: usize) {
        self.place.store(place, Ordering::Relaxed);
    }
}

/// How a stream's task sees that it is to close.
#[derive(Debug)]
pub struct Watch {
    opened: Arc<StreamHandle>,
    asked: bool,
}

impl Watch {
    /// Watches a stream; there is one watch for each.
    #[must_use]
    pub fn new(opened: &Arc<StreamHandle>) -> Self {
        Self {
            opened: Arc::clone(opened),
            asked: false,
        }
    }

    /// Ready with the reason when the stream is to close, or with none when it has ended.
    ///
    /// A task asks once to be woken, and has one waker for its life; afterwards this is the look at
    /// a number.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<CloseReason>> {
        if !std::mem::replace(&mut self.asked, true) {
            self.opened.waker.register(cx.waker());
        }
        match self.opened.state.load(Ordering::Acquire) {
            OPEN => Poll::Pending,
            state => Poll::Ready(to_reason(state)),
        }
    }
}
