//! The workloads of the clients: each is a file with one struct.

mod bulk;
mod closed_loop;
mod events;
mod fixed_rate;
mod footprint;
mod held;
mod idle_websockets;
mod new_connection;
mod population;
mod saturated;
mod websocket_echo;

use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;

use crate::chain::{Running, Site, Target};
use crate::meter::Timing;
use crate::metric::{Metric, Sample};

pub use saturated::Saturated;

/// The duration and the amount of work, in a full and in a quick run.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Less of everything: to see that it works.
    pub quick: bool,
    /// Rounds between two restarts.
    pub rounds: usize,
}

impl Pace {
    /// A warm-up of 0.1 s and a slice of so many ms, or of much less.
    #[must_use]
    pub fn timing(self, slice_ms: u64) -> Timing {
        let (warmup, slice) = if self.quick {
            (50, slice_ms / 4)
        } else {
            (100, slice_ms)
        };
        Timing {
            warmup: Duration::from_millis(warmup),
            slice: Duration::from_millis(slice),
        }
    }

    /// The first in a full run, the second in a quick one.
    #[must_use]
    pub fn pick<T>(self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// One thing that clients do.
#[async_trait(?Send)]
pub trait Workload {
    /// Its name on the command line and in the JSON.
    fn name(&self) -> &'static str;

    /// The description, for people.
    fn title(&self) -> &'static str;

    /// The counted unit.
    fn unit(&self) -> &'static str;

    /// The figures that its table shows.
    fn metrics(&self) -> &'static [Metric];

    /// Rounds between two restarts.
    fn rounds(&self, pace: Pace) -> usize {
        pace.rounds
    }

    /// True if its units can saturate the chain's core, so that it is reported if they do not.
    fn saturates(&self) -> bool {
        false
    }

    /// True if it runs on processes that have just started, which serve nothing else: memory that
    /// others have left would be room for it.
    fn needs_fresh_processes(&self) -> bool {
        false
    }

    /// Starts contestants of its own, the first of which the others are compared with; nothing
    /// where the contestants are the chains, which are compared with nginx.
    async fn variants(&self, _site: &mut Site, _pace: Pace) -> Result<Vec<Running>> {
        Ok(Vec::new())
    }

    /// True if it has contestants of its own.
    fn has_variants(&self) -> bool {
        false
    }

    /// Does it once to one contestant.
    async fn slice(&self, target: &Target, pace: Pace) -> Sample;
}

/// All of them, in the order of the report.
#[must_use]
pub fn all() -> Vec<Box<dyn Workload>> {
    vec![
        Box::new(Saturated::keepalive()),
        Box::new(fixed_rate::FixedRate::new(2_500)),
        Box::new(fixed_rate::FixedRate::new(8_000)),
        Box::new(new_connection::NewConnection),
        Box::new(Saturated::body_64k()),
        Box::new(Saturated::post_1k()),
        Box::new(Saturated::post_64k()),
        Box::new(bulk::Bulk::down()),
        Box::new(bulk::Bulk::up()),
        Box::new(websocket_echo::WebSocketEcho),
        Box::new(idle_websockets::IdleWebSockets::default()),
        Box::new(held::Held::silent()),
        Box::new(held::Held::waiting()),
        Box::new(held::Held::stalled()),
        Box::new(events::Events),
        Box::new(population::Population::apps()),
        Box::new(population::Population::sessions()),
    ]
}
