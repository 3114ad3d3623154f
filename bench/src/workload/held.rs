//! Connections that are held: the memory of each, and the memory that is released after its end.

use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::footprint::{Footprint, memory, sample};
use super::{Pace, Workload};
use crate::chain::Target;
use crate::client::{Connection, Failure, Request, Visitor};
use crate::metric::{Metric, Sample};

/// Connections that are opened at once.
const AT_ONCE: usize = 50;

/// The length of a body that no chain has room for, in bytes.
const ENDLESS: u64 = 1 << 40;

/// The state in which a connection is held.
#[derive(Clone, Copy, Debug)]
enum State {
    /// The client has sent nothing.
    Silent,
    /// The application has not answered.
    Waiting,
    /// The client has read the head of a large response, and no more.
    Stalled,
}

/// Connections in one state.
#[derive(Debug)]
pub(super) struct Held {
    state: State,
    footprint: Footprint,
}

impl Held {
    fn new(state: State) -> Self {
        Self {
            state,
            footprint: Footprint::default(),
        }
    }

    /// Connections without a request.
    pub(super) fn silent() -> Self {
        Self::new(State::Silent)
    }

    /// Requests that wait for the application.
    pub(super) fn waiting() -> Self {
        Self::new(State::Waiting)
    }

    /// Downloads that the client does not read.
    pub(super) fn stalled() -> Self {
        Self::new(State::Stalled)
    }

    fn count(&self, pace: Pace) -> usize {
        match self.state {
            State::Silent => pace.pick(2_000, 200),
            State::Waiting => pace.pick(1_000, 100),
            State::Stalled => pace.pick(100, 10),
        }
    }

    /// The time until nothing changes any more. A stalled download first fills the buffers of the
    /// kernel, some MiB at each hop.
    fn settle(&self, pace: Pace) -> Duration {
        Duration::from_millis(match self.state {
            State::Silent | State::Waiting => pace.pick(600, 200),
            State::Stalled => pace.pick(1_500, 500),
        })
    }

    async fn open(&self, target: &Target, count: usize) -> Result<Vec<Connection>, Failure> {
        let mut opened = Vec::with_capacity(count);
        let mut opening = JoinSet::new();
        for i in 0..count {
            if opening.len() == AT_ONCE
                && let Some(done) = opening.join_next().await
            {
                opened.push(done.map_err(std::io::Error::from)??);
            }
            let (state, entry, visitor) = (self.state, target.entry, target.visitor(i).clone());
            opening.spawn_local(async move { connect(state, entry, &visitor).await });
        }
        while let Some(done) = opening.join_next().await {
            opened.push(done.map_err(std::io::Error::from)??);
        }
        Ok(opened)
    }
}

async fn connect(
    state: State,
    entry: std::net::SocketAddr,
    visitor: &Visitor,
) -> Result<Connection, Failure> {
    let mut connection = Connection::open(entry).await?;
    match state {
        State::Silent => {}
        State::Waiting => {
            let request = Request::get(visitor, "/wait").into_bytes();
            connection.send(&request).await?;
        }
        State::Stalled => {
            let request = Request::get(visitor, &format!("/bytes/{ENDLESS}")).into_bytes();
            connection.send(&request).await?;
            let head = connection.head(|_, _| ()).await?;
            if head.status != 200 {
                return Err(Failure::Status(head.status));
            }
        }
    }
    Ok(connection)
}

#[async_trait(?Send)]
impl Workload for Held {
    fn name(&self) -> &'static str {
        match self.state {
            State::Silent => "silent",
            State::Waiting => "waiting",
            State::Stalled => "stalled",
        }
    }

    fn title(&self) -> &'static str {
        match self.state {
            State::Silent => "2,000 silent connections, memory of the first hop for each",
            State::Waiting => "1,000 requests that wait for the application, memory of both hops",
            State::Stalled => "100 downloads that the client does not read, memory of both hops",
        }
    }

    fn unit(&self) -> &'static str {
        "connection"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[Metric::Open, Metric::Left]
    }

    fn needs_fresh_processes(&self) -> bool {
        true
    }

    fn rounds(&self, _pace: Pace) -> usize {
        2
    }

    async fn slice(&self, target: &Target, pace: Pace) -> Sample {
        let (count, settle) = (self.count(pace), self.settle(pace));
        let before = self.footprint.before(target);
        let connections = match self.open(target, count).await {
            Ok(connections) => connections,
            Err(failure) => return Sample::failed(&failure),
        };
        sleep(settle).await;
        let open = memory(target);
        drop(connections);
        sleep(settle).await;
        sample(count, before, open, memory(target))
    }
}
