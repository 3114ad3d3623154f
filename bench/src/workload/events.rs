//! Server-sent events: the delay of each event.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Pace, Workload};
use crate::chain::Target;
use crate::client::chunked::Chunked;
use crate::client::{Connection, Failure, Request};
use crate::meter::{Meter, Timing, measure};
use crate::metric::{Metric, Sample};
use crate::monotonic_ns;

/// Streams at once.
const STREAMS: usize = 200;

/// 200 streams with 10 events a second each. An event carries the time at which it was sent.
#[derive(Debug)]
pub(super) struct Events;

#[async_trait(?Send)]
impl Workload for Events {
    fn name(&self) -> &'static str {
        "events"
    }

    fn title(&self) -> &'static str {
        "server-sent events, 200 streams, 10/s each"
    }

    fn unit(&self) -> &'static str {
        "event"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[
            Metric::Cpu,
            Metric::P50,
            Metric::P99,
            Metric::Rate,
            Metric::Busy,
        ]
    }

    async fn slice(&self, target: &Target, pace: Pace) -> Sample {
        let meter = Rc::new(Meter::default());
        let mut clients = JoinSet::new();
        for i in 0..STREAMS {
            let (meter, entry, request_id) = (Rc::clone(&meter), target.entry, target.request_id);
            let request = Request::get(target.visitor(i), "/sse").into_bytes();
            clients.spawn_local(async move {
                meter.check(client(&meter, entry, &request, request_id).await);
            });
        }
        // Opening all streams takes some time.
        let timing = Timing {
            warmup: Duration::from_millis(400),
            ..pace.timing(1_000)
        };
        measure(&meter, target, timing, clients).await
    }
}

async fn client(
    meter: &Meter,
    entry: SocketAddr,
    request: &[u8],
    request_id: bool,
) -> Result<(), Failure> {
    let mut connection = Connection::open(entry).await?;
    connection.send(request).await?;
    let head = connection.head(|_, _| ()).await?;
    if head.status != 200 {
        return Err(Failure::Status(head.status));
    }
    if request_id && !head.request_id {
        return Err(Failure::NoRequestId);
    }
    if !head.chunked {
        return Err(Failure::Malformed("a stream that is not chunked"));
    }
    let (mut decoder, mut text) = (Chunked::default(), Vec::new());
    while meter.goes_on() {
        // An event is due every 100 ms.
        let bytes = timeout(Duration::from_secs(5), connection.next())
            .await
            .map_err(|_| Failure::Late)??;
        if !decoder.decode(bytes, &mut text)? {
            return Err(Failure::Closed);
        }
        let now = monotonic_ns();
        while let Some((length, sent)) = event(&text) {
            let sent = sent.ok_or(Failure::Malformed("not an event"))?;
            meter.done(Duration::from_nanos(now.saturating_sub(sent)));
            text.drain(..length);
        }
    }
    Ok(())
}

/// The length of the event at the beginning, if all of it is there, and when it was sent.
fn event(text: &[u8]) -> Option<(usize, Option<u64>)> {
    let end = text.windows(2).position(|two| two == b"\n\n")?;
    let sent = || {
        let digits = text
            .get(..end)?
            .strip_prefix(b"data: {\"sent\":")?
            .strip_suffix(b"}")?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    };
    Some((end + 2, sent()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_contains_its_send_time() {
        assert_eq!(event(b"data: {\"sent\":42}\n\ndata"), Some((19, Some(42))));
        assert_eq!(event(b"data: {\"sent\":42}\n"), None);
        assert_eq!(event(b"nonsense\n\n"), Some((10, None)));
    }
}
