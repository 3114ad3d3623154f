//! GET over kept connections at a fixed rate, independent of the answers: an open loop.

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::saturated::CONNECTIONS;
use super::{Pace, Workload};
use crate::chain::Target;
use crate::client::{Connection, Expected, Failure, Request};
use crate::meter::{Meter, measure};
use crate::metric::{Metric, Sample};
use crate::monotonic_ns;

/// So many requests a second over 64 connections. A request that is due while all of them are busy
/// waits for one, and that time counts: the latency is from the moment when it was due.
#[derive(Debug)]
pub(super) struct FixedRate {
    per_second: u64,
}

impl FixedRate {
    pub(super) fn new(per_second: u64) -> Self {
        Self { per_second }
    }
}

#[async_trait(?Send)]
impl Workload for FixedRate {
    fn name(&self) -> &'static str {
        if self.per_second == 2_500 {
            "rate-2500"
        } else {
            "rate-8000"
        }
    }

    fn title(&self) -> &'static str {
        if self.per_second == 2_500 {
            "keep-alive 1 KiB, 2,500/s"
        } else {
            "keep-alive 1 KiB, 8,000/s"
        }
    }

    fn unit(&self) -> &'static str {
        "request"
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
        let due = Rc::new(Due::new(Duration::from_nanos(
            1_000_000_000 / self.per_second,
        )));
        let mut clients = JoinSet::new();
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            match Connection::open(target.entry).await {
                Ok(connection) => connections.push(connection),
                Err(failure) => return Sample::failed(&failure),
            }
        }
        for (i, connection) in connections.into_iter().enumerate() {
            let (meter, due) = (Rc::clone(&meter), Rc::clone(&due));
            let request = Request::get(target.visitor(i), "/1k").into_bytes();
            let expected = Expected {
                length: 1 << 10,
                request_id: target.request_id,
            };
            clients.spawn_local(async move {
                meter.check(client(&meter, &due, connection, &request, expected).await);
            });
        }
        let clock = tokio::task::spawn_local({
            let (meter, due) = (Rc::clone(&meter), Rc::clone(&due));
            async move {
                let outcome = due.release(&meter).await;
                meter.check(outcome);
                // Wakes the clients that wait for a request.
                due.ready.close();
            }
        });
        let sample = measure(&meter, target, pace.timing(700), clients).await;
        clock.abort();
        sample
    }
}

async fn client(
    meter: &Meter,
    due: &Due,
    mut connection: Connection,
    request: &[u8],
    expected: Expected,
) -> Result<(), Failure> {
    while let Some(since) = due.next().await {
        connection.exchange(request, expected).await?;
        meter.done(Duration::from_nanos(monotonic_ns().saturating_sub(since)));
    }
    Ok(())
}

/// The times at which requests are due.
struct Due {
    start: u64,
    every: Duration,
    ready: Semaphore,
    taken: Cell<u64>,
}

impl Due {
    fn new(every: Duration) -> Self {
        Self {
            start: monotonic_ns() + 20_000_000,
            every,
            ready: Semaphore::new(0),
            taken: Cell::new(0),
        }
    }

    /// Waits for the next request, and returns when it was due.
    async fn next(&self) -> Option<u64> {
        self.ready.acquire().await.ok()?.forget();
        let index = self.taken.get();
        self.taken.set(index + 1);
        Some(self.start + index * u64::try_from(self.every.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Releases each request when it is due, by the kernel's timer: the runtime's steps are 1 ms.
    async fn release(&self, meter: &Meter) -> Result<(), Failure> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)
            .map_err(std::io::Error::from)?;
        let start = TimeSpec::from_duration(Duration::from_nanos(self.start));
        let expiration = Expiration::IntervalDelayed(start, TimeSpec::from_duration(self.every));
        timer
            .set(expiration, TimerSetTimeFlags::TFD_TIMER_ABSTIME)
            .map_err(std::io::Error::from)?;
        // Deprecated for types whose descriptor is not their own; this one's is. What replaces it
        // is `unsafe`.
        #[allow(deprecated)]
        let timer = AsyncFd::new(OwnedFd::from(timer))?;
        while meter.goes_on() {
            let mut ready = timer.readable().await?;
            let mut count = [0; 8];
            match nix::unistd::read(timer.get_ref(), &mut count) {
                Ok(_) => self
                    .ready
                    .add_permits(usize::try_from(u64::from_ne_bytes(count)).unwrap_or(0)),
                Err(nix::errno::Errno::EAGAIN) => ready.clear_ready(),
                Err(errno) => return Err(std::io::Error::from(errno).into()),
            }
        }
        Ok(())
    }
}
