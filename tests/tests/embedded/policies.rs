//! Coordinators inside the process of a test, with policies of its own, before real workers.

mod access;
mod placement;

use app_proxy_coordinator::{Builder, Config, Coordinator, Running};
use app_proxy_tests::cluster::{Cluster, ClusterBuilder};
use tokio::task::spawn_blocking;

/// A cluster whose coordinator runs in the process of the test.
struct Embedded {
    cluster: Cluster,
    _coordinator: Running,
}

impl Embedded {
    /// Starts a cluster, and puts a coordinator with policies in the place of its own.
    async fn start(
        plan: ClusterBuilder,
        customise: impl FnOnce(Builder) -> Builder + Send + 'static,
    ) -> Self {
        let mut cluster = plan.start().await;
        cluster.take_coordinator().kill();
        let text = std::fs::read_to_string(cluster.coordinator_config()).unwrap();
        let config = Config::parse(&text, cluster.folder()).unwrap();
        let start = || customise(Coordinator::builder(config)).build()?.start();
        let coordinator = spawn_blocking(start).await.unwrap().unwrap();
        cluster.wait_ready().await;
        Self {
            cluster,
            _coordinator: coordinator,
        }
    }
}
