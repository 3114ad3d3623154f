//! App-Proxy alone: many apps against few, many sessions against few.

use std::rc::Rc;

use anyhow::Result;
use async_trait::async_trait;

use super::saturated::CONNECTIONS;
use super::{Pace, Workload, closed_loop};
use crate::chain::{AppProxy, Chain, Running, Site, Target, Visits};
use crate::client::Request;
use crate::metric::{Metric, Sample};

/// Two App-Proxies that differ in one number. Requests are drawn over all that there is.
#[derive(Debug)]
pub(super) struct Population {
    apps: bool,
}

impl Population {
    /// 10 against 10,000 apps, with 10,000 sessions over either.
    pub(super) fn apps() -> Self {
        Self { apps: true }
    }

    /// 10 against 100,000 sessions of one app.
    pub(super) fn sessions() -> Self {
        Self { apps: false }
    }

    /// The two, as the number of apps and of sessions of each of them.
    fn sizes(&self, pace: Pace) -> [Visits; 2] {
        let visits = |apps, each| Visits { apps, each };
        if self.apps {
            let many = pace.pick(10_000, 500);
            [visits(10, many / 10), visits(many, 1)]
        } else {
            [visits(1, 10), visits(1, pace.pick(100_000, 2_000))]
        }
    }
}

#[async_trait(?Send)]
impl Workload for Population {
    fn name(&self) -> &'static str {
        if self.apps {
            "many-apps"
        } else {
            "many-sessions"
        }
    }

    fn title(&self) -> &'static str {
        if self.apps {
            "App-Proxy with 10 and with 10,000 apps, keep-alive 1 KiB, saturated"
        } else {
            "App-Proxy with 10 and with 100,000 sessions, keep-alive 1 KiB, saturated"
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

    fn has_variants(&self) -> bool {
        true
    }

    fn saturates(&self) -> bool {
        true
    }

    async fn variants(&self, site: &mut Site, pace: Pace) -> Result<Vec<Running>> {
        let mut running = Vec::new();
        for visits in self.sizes(pace) {
            let count = if self.apps { visits.apps } else { visits.each };
            let label = format!("{count} {}", if self.apps { "apps" } else { "sessions" });
            let chain = AppProxy::with_apps(visits.apps);
            let started = chain.start(site, &format!("app-proxy-{}", label.replace(' ', "-")))?;
            running.push(Running::ready(started, &chain, &label, visits).await?);
        }
        Ok(running)
    }

    async fn slice(&self, target: &Target, pace: Pace) -> Sample {
        let all: Rc<[Vec<u8>]> = target
            .visitors
            .iter()
            .map(|v| Request::get(v, "/1k").into_bytes())
            .collect();
        let connections = (1..=CONNECTIONS as u64).map(|seed| Drawn::new(Rc::clone(&all), seed));
        closed_loop::slice(target, pace.timing(400), 1 << 10, connections).await
    }
}

/// Requests drawn at random, the same ones in each slice.
struct Drawn {
    all: Rc<[Vec<u8>]>,
    state: u64,
}

impl Drawn {
    fn new(all: Rc<[Vec<u8>]>, seed: u64) -> Self {
        Self {
            all,
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        }
    }
}

impl closed_loop::Requests for Drawn {
    fn next(&mut self) -> &[u8] {
        // Xorshift (Marsaglia, 2003): no more is needed to spread requests.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let count = self.all.len() as u64;
        let index = usize::try_from((self.state >> 11) % count.max(1)).unwrap_or(0);
        self.all.get(index).map_or(&[], Vec::as_slice)
    }
}
