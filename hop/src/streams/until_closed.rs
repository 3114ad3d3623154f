//! Closes the streams that Pingora serves: Pingora's loop runs no filter while nothing flows, so
//! the future of the whole request is dropped.
//!
//! The filter that recognises a response as a stream runs deep within that future, with only
//! Pingora's types in between. So the filter leaves the stream in a cell of the thread, and
//! [`until_closed`], which polls the future, finds it there after the poll. An ordinary request
//! costs one look at the cell.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use super::handle::{CloseWatch, StreamHandle};

thread_local! {
    /// The stream that opened in the current poll.
    static OPENED: Cell<Option<Arc<StreamHandle>>> = const { Cell::new(None) };
}

/// Notifies the [`until_closed`] around this call of a stream that has opened.
pub(crate) fn notify_opened(stream: &Arc<StreamHandle>) {
    OPENED.set(Some(Arc::clone(stream)));
}

/// Runs `work`, which serves one request at a time, and drops it unfinished when a stream that
/// opened in it is closed.
pub(crate) async fn until_closed<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    let mut watch: Option<CloseWatch> = None;
    poll_fn(|cx| {
        let polled = work.as_mut().poll(cx);
        if let Some(stream) = OPENED.take() {
            watch = Some(CloseWatch::new(&stream));
        }
        if let Poll::Ready(done) = polled {
            return Poll::Ready(Some(done));
        }
        match watch.as_mut().map(|watch| watch.poll(cx)) {
            Some(Poll::Ready(Some(_))) => Poll::Ready(None),
            Some(Poll::Ready(None)) => {
                // The connection continues with other requests.
                watch = None;
                Poll::Pending
            }
            Some(Poll::Pending) | None => Poll::Pending,
        }
    })
    .await
}
