//! Ends the streams that Pingora serves: its loop runs no filter while nothing flows, so the future
//! of the whole request is dropped.
//!
//! The filter that sees a response turn out to be a stream runs deep within that future, and only
//! Pingora's types lie between the two. So it hands the stream over through a place of the thread,
//! where the one who polls the future finds it when that poll returns. An ordinary request costs
//! the look at this place.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use super::opened::{StreamHandle, Watch};

thread_local! {
    /// A stream stays here only until the poll in which it has opened returns.
    static HANDED_OVER: Cell<Option<Arc<StreamHandle>>> = const { Cell::new(None) };
}

/// Leaves a stream that has opened to the [`until_closed`] that this is called within.
pub(crate) fn hand_over(opened: &Arc<StreamHandle>) {
    HANDED_OVER.set(Some(Arc::clone(opened)));
}

/// Runs `work`, which serves one request at a time, and drops it unfinished when a stream that
/// opens in it is told to close.
pub(crate) async fn until_closed<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    let mut watch: Option<Watch> = None;
    poll_fn(|cx| {
        let polled = work.as_mut().poll(cx);
        if let Some(opened) = HANDED_OVER.take() {
            watch = Some(Watch::new(&opened));
        }
        if let Poll::Ready(done) = polled {
            return Poll::Ready(Some(done));
        }
        match watch.as_mut().map(|watch| watch.poll(cx)) {
            Some(Poll::Ready(Some(_))) => Poll::Ready(None),
            Some(Poll::Ready(None)) => {
                // The connection goes on with other requests.
                watch = None;
                Poll::Pending
            }
            Some(Poll::Pending) | None => Poll::Pending,
        }
    })
    .await
}
