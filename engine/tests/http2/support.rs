//! What the tests share.

pub(crate) mod client;
pub(crate) mod frames;
pub(crate) mod gateway;
pub(crate) mod server;
pub(crate) mod upstream;

use std::future::Future;
use std::time::Duration;

pub(crate) use client::H2;
pub(crate) use frames::RawH2;
pub(crate) use gateway::TestGateway;
pub(crate) use server::Server;
pub(crate) use upstream::{Hop, Upstream};

/// The time in which every condition of a test is met.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for `work`, and panics with the name of what is missing.
pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_| panic!("{what}: not in time"))
}

/// Waits until `condition` is true.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    within(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}
