//! The error of a change to the pool.

use std::io;
use std::sync::Arc;

use app_proxy_api::address::Address;
use app_proxy_store::StoreError;

/// The reasons to reject a change to the pool.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PoolError {
    /// No worker has the identifier.
    #[error("there is no worker of this identifier")]
    Unknown,
    /// The file defines the worker and its address.
    #[error(
        "the coordinator's configuration file defines this worker: it cannot be deleted, and has \
         the address of the file"
    )]
    OwnedByFile,
    /// Another worker has the address.
    #[error("worker `{0}` has this address")]
    AddressTaken(Arc<str>),
    /// A newer instance has registered under the identifier, or this instance has left.
    #[error("a newer instance of this worker has registered, or this instance has left")]
    Superseded,
    /// A host name does not resolve.
    #[error("cannot resolve {address}: {cause}")]
    Unresolved {
        /// The address.
        address: Address,
        /// The error of the resolver.
        cause: io::Error,
    },
    /// The store cannot be written.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// An internal error.
    #[error("the pool could not be changed: {0}")]
    Internal(String),
}
