//! Idle WebSockets: the memory of each, and the memory that is released after its end.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Pace, Workload};
use crate::chain::Target;
use crate::client::{Failure, WebSocket};
use crate::metric::{Metric, Sample};
use crate::procfs::memory_kib;

/// Handshakes at once.
const AT_ONCE: usize = 50;

/// 2,000 WebSockets, opened and closed, in four rounds.
#[derive(Debug, Default)]
pub(super) struct IdleWebSockets {
    /// The memory of each contestant before its first round, in KiB, by process.
    before: RefCell<HashMap<Vec<u32>, f64>>,
}

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

/// Anonymous memory in KiB: what the processes have allocated. Their programs' pages, which are
/// files, are not in it.
#[allow(clippy::cast_precision_loss)]
fn memory(target: &Target) -> f64 {
    memory_kib(&target.pids, "RssAnon") as f64
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

    fn comes_first(&self) -> bool {
        true
    }

    fn rounds(&self, pace: Pace) -> usize {
        pace.pick(4, 2)
    }

    #[allow(clippy::cast_precision_loss)]
    async fn slice(&self, target: &Target, pace: Pace) -> Sample {
        let count = pace.pick(2_000, 200);
        let settle = Duration::from_millis(pace.pick(700, 200));
        let before = *self
            .before
            .borrow_mut()
            .entry(target.pids.clone())
            .or_insert_with(|| memory(target));
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
        let for_each = |memory: f64| (memory - before) / count as f64;
        let values = [
            (Metric::Open, for_each(open)),
            (Metric::Left, for_each(memory(target))),
        ];
        Sample {
            count: count as u64,
            values: values.into(),
            ..Sample::default()
        }
    }
}
