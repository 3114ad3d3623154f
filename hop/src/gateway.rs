//! What the engine needs of a tier: the settings of its connections, and their supervision.

use std::future::Future;

use app_proxy_engine::{ClientTimeouts, Gateway, HeadLimits};

use crate::drain::InFlight;
use crate::phases::Phases;
use crate::streams::until_closed;
use crate::tier::TierPolicy;

impl<T: TierPolicy> Gateway for Phases<T> {
    type Arriving = InFlight;

    fn request_limits(&self) -> HeadLimits {
        self.tier().hop().limits.request_head
    }

    fn response_limits(&self) -> HeadLimits {
        self.tier().hop().limits.response_head
    }

    fn timeouts(&self) -> ClientTimeouts {
        let timeouts = self.tier().hop().timeouts();
        ClientTimeouts {
            read: timeouts.client_read.0,
            write: timeouts.client_write.0,
            keepalive: timeouts.keepalive.0,
            half_closed: timeouts.half_closed.0,
        }
    }

    fn closes_connections(&self) -> bool {
        self.tier().hop().drain.closes_connections()
    }

    /// In flight, so that a drain waits for a first request that is on its way.
    fn arriving(&self) -> InFlight {
        self.tier().hop().drain.enter()
    }

    fn spelled_names(&self) -> Vec<String> {
        self.tier().spelled_names()
    }

    async fn supervise<R: Send>(&self, exchange: impl Future<Output = R> + Send) -> Option<R> {
        until_closed(exchange).await
    }
}
