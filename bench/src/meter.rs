//! Counts the work of the clients of one slice, and stops them at its end.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::chain::Target;
use crate::client::Failure;
use crate::metric::{Metric, Sample};
use crate::procfs::CpuReading;
use crate::stats::percentile;

/// The maximum time in which clients finish their current unit.
const PATIENCE: Duration = Duration::from_secs(10);

/// The duration of a slice.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Before it counts.
    pub warmup: Duration,
    /// While it counts.
    pub slice: Duration,
}

/// The state that the clients of a slice share.
#[derive(Debug, Default)]
pub struct Meter {
    counting: Cell<bool>,
    stopped: Cell<bool>,
    latencies: RefCell<Vec<u64>>,
    failed: Cell<u64>,
    failure: RefCell<Option<String>>,
}

impl Meter {
    /// True while the clients continue.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        !self.stopped.get()
    }

    /// A unit is done.
    pub fn done(&self, latency: Duration) {
        if self.counting.get() {
            self.latencies
                .borrow_mut()
                .push(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
        }
    }

    /// A unit has failed, counted or not.
    pub fn failed(&self, why: &dyn Display) {
        self.failed.set(self.failed.get() + 1);
        self.failure
            .borrow_mut()
            .get_or_insert_with(|| why.to_string());
    }

    /// Counts a failure, if it is one.
    pub fn check(&self, outcome: Result<(), Failure>) {
        if let Err(failure) = outcome {
            self.failed(&failure);
        }
    }
}

/// Runs the clients for the time of a slice, and returns a sample of their work and of the
/// chain's processes.
pub async fn measure(
    meter: &Rc<Meter>,
    target: &Target,
    timing: Timing,
    mut clients: JoinSet<()>,
) -> Sample {
    sleep(timing.warmup).await;
    meter.counting.set(true);
    let (begun, cpu) = (Instant::now(), CpuReading::take(&target.pids));
    sleep(timing.slice).await;
    let cpu = CpuReading::take(&target.pids).since(&cpu);
    let wall = begun.elapsed();
    meter.counting.set(false);
    meter.stopped.set(true);
    if timeout(PATIENCE, async {
        while clients.join_next().await.is_some() {}
    })
    .await
    .is_err()
    {
        meter.failed(&Failure::Late);
    }
    let mut latencies = meter.latencies.take();
    latencies.sort_unstable();
    sample(&latencies, meter, cpu, wall)
}

#[allow(clippy::cast_precision_loss)]
fn sample(latencies: &[u64], meter: &Meter, cpu: Duration, wall: Duration) -> Sample {
    let mut sample = Sample {
        count: latencies.len() as u64,
        failed: meter.failed.get(),
        failure: meter.failure.take(),
        ..Sample::default()
    };
    if latencies.is_empty() {
        return Sample {
            failed: sample.failed.max(1),
            failure: sample.failure.or(Some("nothing was done".into())),
            ..sample
        };
    }
    let count = latencies.len() as f64;
    let ms = |percent| percentile(latencies, percent).map_or(0.0, |ns| ns as f64 / 1e6);
    sample.values.extend([
        (Metric::Cpu, cpu.as_secs_f64() * 1e6 / count),
        (Metric::P50, ms(50.0)),
        (Metric::P99, ms(99.0)),
        (Metric::Rate, count / wall.as_secs_f64()),
        (Metric::Busy, 100.0 * cpu.as_secs_f64() / wall.as_secs_f64()),
    ]);
    sample
}
