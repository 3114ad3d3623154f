//! A worker that serves.

use app_proxy_api::address::Address;
use app_proxy_runtime::daemon;

/// The addresses at which a worker listens, with their actual ports.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Addresses {
    /// The listener for coordinators.
    pub proxy: Address,
    /// The admin listener.
    pub admin: Address,
}

/// A worker that serves. Dropping it cuts off what is in flight and ends the worker.
#[non_exhaustive]
pub struct Running {
    /// The addresses at which it listens.
    pub addresses: Addresses,
    server: daemon::Running,
}

impl Running {
    pub(super) fn new(addresses: Addresses, server: daemon::Running) -> Self {
        Self { addresses, server }
    }

    /// Leaves the coordinators, closes the listeners, drains within the times of `drain` in the
    /// configuration, and ends the worker. Then its ports are free. Blocks: asynchronous code calls
    /// it by `spawn_blocking`.
    pub fn stop(self) {
        self.server.stop();
    }
}
