//! Resolution of the addresses of workers.

use app_proxy_api::address::Address;
use app_proxy_hop::forwarding;
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddr;
use tokio::task::spawn_blocking;

use super::error::PoolError;
use crate::config::WorkerSection;

/// The workers of the file with their resolved addresses.
pub(crate) struct ResolvedWorkers(pub(super) Vec<(WorkerSection, PeerAddr)>);

impl ResolvedWorkers {
    /// Resolves the addresses of workers.
    ///
    /// # Errors
    /// [`PoolError::Unresolved`] and [`PoolError::Internal`].
    pub(crate) async fn resolve(fixed: &[WorkerSection]) -> Result<Self, PoolError> {
        let mut resolved = Vec::with_capacity(fixed.len());
        for worker in fixed {
            resolved.push((worker.clone(), resolve(&worker.address).await?));
        }
        Ok(Self(resolved))
    }
}

/// Resolves an address to a socket address. Host names are resolved on a blocking thread.
pub(super) async fn resolve(address: &Address) -> Result<PeerAddr, PoolError> {
    let unresolved = |cause| PoolError::Unresolved {
        address: address.clone(),
        cause,
    };
    if !address.is_name() {
        return forwarding::resolve(address).map_err(unresolved);
    }
    let name = address.clone();
    match spawn_blocking(move || forwarding::resolve(&name)).await {
        Ok(resolved) => resolved.map_err(unresolved),
        Err(e) => Err(PoolError::Internal(e.to_string())),
    }
}
