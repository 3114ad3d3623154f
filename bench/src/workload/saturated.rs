//! GET over kept connections, as many as the chain can answer.

use async_trait::async_trait;

use super::{Pace, Workload, closed_loop};
use crate::chain::Target;
use crate::client::Request;
use crate::meter::Timing;
use crate::metric::{Metric, Sample};

/// Connections of the clients.
pub(super) const CONNECTIONS: usize = 64;

/// 64 connections in a closed loop.
#[derive(Debug)]
pub struct Saturated {
    name: &'static str,
    title: &'static str,
    path: &'static str,
    length: u64,
}

impl Saturated {
    /// Bodies of 1 KiB.
    #[must_use]
    pub fn keepalive() -> Self {
        Self {
            name: "keepalive",
            title: "keep-alive 1 KiB, saturated",
            path: "/1k",
            length: 1 << 10,
        }
    }

    /// Bodies of 64 KiB.
    #[must_use]
    pub fn body_64k() -> Self {
        Self {
            name: "body-64k",
            title: "64 KiB bodies, saturated",
            path: "/64k",
            length: 64 << 10,
        }
    }

    /// A slice of another length.
    pub async fn slice_of(&self, target: &Target, timing: Timing) -> Sample {
        let requests =
            (0..CONNECTIONS).map(|i| Request::get(target.visitor(i), self.path).into_bytes());
        closed_loop::slice(target, timing, self.length, requests).await
    }
}

#[async_trait(?Send)]
impl Workload for Saturated {
    fn name(&self) -> &'static str {
        self.name
    }

    fn title(&self) -> &'static str {
        self.title
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

    fn saturates(&self) -> bool {
        true
    }

    async fn slice(&self, target: &Target, pace: Pace) -> Sample {
        self.slice_of(target, pace.timing(400)).await
    }
}
