//! Idle WebSockets: the memory of each, and the memory that is released after its end.

use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::footprint::{Footprint, memory, sample};
use super::{Pace, Workload};
use crate::chain::Target;
use crate::client::{Failure, WebSocket};
use crate::metric::{Metric, Sample};

/// Handshakes at once.
const AT_ONCE: usize = 50;

/// 2,000 WebSockets, opened and closed, in four rounds.
#[derive(Debug, Default)]
pub(super) struct IdleWebSockets(Footprint);

/// Opens so many WebSockets.
pub(super) async fn open_many(target: &Target, count: usize) -> Result<Vec<WebSocket>, Failure> {
    let mut opened = Vec::with_capacity(count);
    let mut opening = JoinSet::new();
    for i in 0..count {
        if opening.len() == AT_ONCE
            && let Some(done) = opening.join_next().await
        {
            opened.push(done.map_err(std::io::Error::from)??);
        }
        let (entry, visitor, request_id) =
            (target.entry, target.visitor(i).clone(), target.request_id);
        opening.spawn_local(async move { WebSocket::open(entry, &visitor, request_id).await });
    }
    while let Some(done) = opening.join_next().await {
        opened.push(done.map_err(std::io::Error::from)??);
    }
    Ok(opened)
}

async fn close_all(sockets: Vec<WebSocket>) -> Result<(), Failure> {
    for socket in sockets {
        socket.close().await?;
    }
    Ok(())
}

#[async_trait(?Send)]
impl Workload for IdleWebSockets {
    fn name(&self) -> &'static str {
        "idle-websockets"
    }

    fn title(&self) -> &'static str {
        "2,000 idle WebSockets, memory of both hops for each"
    }

    fn unit(&self) -> &'static str {
        "WebSocket"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[Metric::Open, Metric::Left]
    }

    fn needs_fresh_processes(&self) -> bool {
        true
    }

    fn rounds(&self, pace: Pace) -> usize {
        pace.pick(4, 2)
    }

    async fn slice(&self, target: &Target, pace: Pace) -> Sample {
        let count = pace.pick(2_000, 200);
        let settle = Duration::from_millis(pace.pick(700, 200));
        let before = self.0.before(target);
        let sockets = match open_many(target, count).await {
            Ok(sockets) => sockets,
            Err(failure) => return Sample::failed(&failure),
        };
        sleep(settle).await;
        let open = memory(target);
        if let Err(failure) = close_all(sockets).await {
            return Sample::failed(&failure);
        }
        sleep(settle).await;
        sample(count, before, open, memory(target))
    }
}
