//! One large body, down or up.

use std::time::Instant;

use async_trait::async_trait;

use super::{Pace, Workload};
use crate::chain::Target;
use crate::client::{Connection, Expected, Failure, Request};
use crate::metric::{Metric, Sample};
use crate::procfs::{CpuReading, memory_kib, reset_peak_memory};

/// The client's buffer.
const BLOCK: usize = 256 << 10;

/// 1 GiB over one connection.
#[derive(Debug)]
pub(super) struct Bulk {
    up: bool,
}

impl Bulk {
    pub(super) fn down() -> Self {
        Self { up: false }
    }

    pub(super) fn up() -> Self {
        Self { up: true }
    }

    async fn transfer(&self, target: &Target, length: u64) -> Result<(), Failure> {
        let mut connection = Connection::open_with(target.entry, BLOCK).await?;
        let visitor = target.visitor(0);
        if !self.up {
            let request = Request::get(visitor, &format!("/bytes/{length}")).into_bytes();
            return connection
                .exchange(
                    &request,
                    Expected {
                        length,
                        request_id: target.request_id,
                    },
                )
                .await;
        }
        let request =
            Request::new("POST", visitor, "/upload").header("Content-Length", &length.to_string());
        connection.send(&request.into_bytes()).await?;
        let block = vec![b'x'; BLOCK];
        let mut left = length;
        while left > 0 {
            let here = usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK);
            connection
                .send(block.get(..here).unwrap_or_default())
                .await?;
            left -= here as u64;
        }
        // The application answers how much it got, in 20 digits.
        let head = connection.head(|_, _| ()).await?;
        if head.status != 200 {
            return Err(Failure::Status(head.status));
        }
        let taken = connection.at_least(20).await?;
        let found = std::str::from_utf8(taken)
            .ok()
            .and_then(|digits| digits.parse().ok());
        let found = found.ok_or(Failure::Malformed("no length"))?;
        if found == length {
            Ok(())
        } else {
            Err(Failure::Length {
                expected: length,
                found,
            })
        }
    }
}

#[async_trait(?Send)]
impl Workload for Bulk {
    fn name(&self) -> &'static str {
        if self.up { "upload" } else { "download" }
    }

    fn title(&self) -> &'static str {
        if self.up { "1 GiB up" } else { "1 GiB down" }
    }

    fn unit(&self) -> &'static str {
        "GiB"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[Metric::CpuGib, Metric::Rate, Metric::Peak, Metric::Busy]
    }

    fn rounds(&self, _pace: Pace) -> usize {
        2
    }

    #[allow(clippy::cast_precision_loss)]
    async fn slice(&self, target: &Target, pace: Pace) -> Sample {
        let length: u64 = pace.pick(1 << 30, 64 << 20);
        reset_peak_memory(&target.pids);
        let (begun, cpu) = (Instant::now(), CpuReading::take(&target.pids));
        if let Err(failure) = self.transfer(target, length).await {
            return Sample::failed(&failure);
        }
        let cpu = CpuReading::take(&target.pids).since(&cpu).as_secs_f64();
        let wall = begun.elapsed().as_secs_f64();
        let gib = length as f64 / f64::from(1 << 30);
        let values = [
            (Metric::CpuGib, cpu / gib),
            (Metric::Rate, gib / wall),
            (
                Metric::Peak,
                memory_kib(&target.pids, "VmHWM") as f64 / 1024.0,
            ),
            (Metric::Busy, 100.0 * cpu / wall),
        ];
        Sample {
            count: 1,
            values: values.into(),
            ..Sample::default()
        }
    }
}
