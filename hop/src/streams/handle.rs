//! One open stream: its session and worker, and the request to close it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;

use crate::error::ErrorCode;

/// The reason for which a stream is closed from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// Its session was deleted.
    SessionDeleted,
    /// Its app was deleted.
    AppDeleted,
    /// The drain of its worker has reached its time limit.
    WorkerDraining,
}

impl CloseReason {
    /// Returns `error` of the access log.
    #[must_use]
    pub(crate) const fn code(self) -> ErrorCode {
        match self {
            Self::SessionDeleted => ErrorCode::SessionDeleted,
            Self::AppDeleted => ErrorCode::AppDeleted,
            Self::WorkerDraining => ErrorCode::WorkerDraining,
        }
    }
}

// The state of a stream: open, ended, or closed for a reason.
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
    /// The index in the registry; changed and read under the registry's lock.
    index: AtomicUsize,
    state: AtomicU8,
    waker: AtomicWaker,
}

impl StreamHandle {
    pub(super) fn new(session: Option<&str>, worker: Option<&Arc<str>>) -> Self {
        Self {
            session: session.map(Box::from),
            worker: worker.cloned(),
            index: AtomicUsize::new(0),
            state: AtomicU8::new(OPEN),
            waker: AtomicWaker::new(),
        }
    }

    /// The identifier of its session.
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// The identifier of its worker.
    #[must_use]
    pub fn worker(&self) -> Option<&str> {
        self.worker.as_deref()
    }

    /// Closes the stream. Returns `true` for the first reason, which is the one that counts.
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

    /// Returns the reason for which the stream was closed; none if it is open or has ended.
    #[must_use]
    pub fn closed(&self) -> Option<CloseReason> {
        to_reason(self.state.load(Ordering::Acquire))
    }

    pub(super) fn end(&self) {
        self.state.store(ENDED, Ordering::Release);
    }

    pub(super) fn index(&self) -> usize {
        self.index.load(Ordering::Relaxed)
    }

    pub(super) fn set_index(&self, index: usize) {
        self.index.store(index, Ordering::Relaxed);
    }
}

/// Notifies the task of a stream that it was closed.
#[derive(Debug)]
pub(crate) struct CloseWatch {
    stream: Arc<StreamHandle>,
    registered: bool,
}

impl CloseWatch {
    /// Watches a stream. A stream has room for one watch.
    pub(crate) fn new(stream: &Arc<StreamHandle>) -> Self {
        Self {
            stream: Arc::clone(stream),
            registered: false,
        }
    }

    /// Returns ready with the reason once the stream is closed, or with none once it has ended.
    ///
    /// The first call registers the waker of the task, which a task keeps for life; later calls
    /// only load a number.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<CloseReason>> {
        if !std::mem::replace(&mut self.registered, true) {
            self.stream.waker.register(cx.waker());
        }
        match self.stream.state.load(Ordering::Acquire) {
            OPEN => Poll::Pending,
            state => Poll::Ready(to_reason(state)),
        }
    }
}
