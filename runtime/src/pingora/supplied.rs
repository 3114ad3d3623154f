//! Services with the sockets and the shutdown of the daemon, in place of those that Pingora would
//! give them: the daemon decides when listeners close, and receives sockets before Pingora runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_core::server::{Fds, ListenFds, RuntimeOpts, ShutdownWatch};
use pingora_core::services::{ServiceReadyNotifier, ServiceWithDependents};

/// The listening sockets by address, the shutdown, and the number of services that have started.
#[derive(Clone)]
pub(crate) struct Supplies {
    pub(crate) sockets: ListenFds,
    pub(crate) shutdown: ShutdownWatch,
    started: Arc<AtomicUsize>,
}

impl Supplies {
    /// Creates supplies without sockets.
    pub(crate) fn new(shutdown: ShutdownWatch) -> Self {
        Self {
            sockets: Arc::new(Mutex::new(Fds::new())),
            shutdown,
            started: Arc::default(),
        }
    }

    /// The number of services that have started, each after those that it depends on.
    pub(crate) fn started(&self) -> usize {
        self.started.load(Ordering::Acquire)
    }
}

/// A service with its supplies.
pub(crate) struct Supplied<S> {
    pub(crate) service: S,
    pub(crate) supplies: Supplies,
}

#[async_trait]
impl<S: ServiceWithDependents> ServiceWithDependents for Supplied<S> {
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        _shutdown: ShutdownWatch,
        listeners_per_fd: usize,
        ready: ServiceReadyNotifier,
    ) {
        let Supplies {
            sockets,
            shutdown,
            started,
        } = self.supplies.clone();
        started.fetch_add(1, Ordering::Release);
        self.service
            .start_service(Some(sockets), shutdown, listeners_per_fd, ready)
            .await;
    }

    fn name(&self) -> &str {
        self.service.name()
    }

    fn threads(&self) -> Option<usize> {
        self.service.threads()
    }

    fn runtime_opts_override(&self, global: &RuntimeOpts) -> Option<RuntimeOpts> {
        self.service.runtime_opts_override(global)
    }

    fn on_startup_delay(&self, time_waited: Duration) {
        self.service.on_startup_delay(time_waited);
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        self.service.listen_addresses()
    }
}
