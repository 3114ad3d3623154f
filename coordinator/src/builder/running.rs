//! A coordinator that serves.

use app_proxy_api::address::Address;
use app_proxy_runtime::daemon;

/// The addresses at which a coordinator listens, with their actual ports.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Addresses {
    /// The public listeners, in the order of the configuration.
    pub public: Vec<Address>,
    /// The admin listener.
    pub admin: Address,
}

/// A coordinator that serves. Dropping it cuts off what is in flight and ends the coordinator.
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

    /// Closes the listeners, drains within the times of `drain` in the configuration, and ends the
    /// coordinator. Then its ports are free. Blocks: asynchronous code calls it by
    /// `spawn_blocking`.
    pub fn stop(self) {
        self.server.stop();
    }
}
