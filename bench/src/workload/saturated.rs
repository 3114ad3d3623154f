//! Requests over kept connections, as many as the chain can answer.

use async_trait::async_trait;

use super::{Pace, Workload, closed_loop};
use crate::chain::Target;
use crate::client::{Request, Visitor};
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
    /// The length of the request's body; a GET without one.
    sent: Option<usize>,
    /// The length of the response's body.
    length: u64,
}

/// The answer of the application to a body: its length in 20 digits.
const RECEIPT: u64 = 20;

impl Saturated {
    /// Bodies of 1 KiB.
    #[must_use]
    pub fn keepalive() -> Self {
        Self {
            name: "keepalive",
            title: "keep-alive 1 KiB, saturated",
            path: "/1k",
            sent: None,
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
            sent: None,
            length: 64 << 10,
        }
    }

    /// POST of 1 KiB.
    pub(super) fn post_1k() -> Self {
        Self {
            name: "post-1k",
            title: "POST of 1 KiB, saturated",
            path: "/upload",
            sent: Some(1 << 10),
            length: RECEIPT,
        }
    }

    /// POST of 64 KiB.
    pub(super) fn post_64k() -> Self {
        Self {
            name: "post-64k",
            title: "POST of 64 KiB, saturated",
            path: "/upload",
            sent: Some(64 << 10),
            length: RECEIPT,
        }
    }

    fn request(&self, visitor: &Visitor) -> Vec<u8> {
        match self.sent {
            None => Request::get(visitor, self.path).into_bytes(),
            Some(length) => Request::new("POST", visitor, self.path).with_body(&vec![b'x'; length]),
        }
    }

    /// A slice of another length.
    pub async fn slice_of(&self, target: &Target, timing: Timing) -> Sample {
        let requests = (0..CONNECTIONS).map(|i| self.request(target.visitor(i)));
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
