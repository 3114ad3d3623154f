//! The overlap of two processes on one store during an upgrade.

use app_proxy_store::ServedTable;

/// The overlap with another process on the same store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overlap {
    /// No other process serves.
    None,
    /// This is the old process of an upgrade: its successor serves or is about to.
    Predecessor,
    /// This is the new process of a recent upgrade: the old process may still serve.
    Successor,
    /// This process accepts no more connections; a successor may serve.
    Leaving,
}

/// The state of the coordination with other processes.
#[derive(Debug, Default)]
pub(super) struct ServingState {
    /// The table that this process is recorded to serve.
    pub(super) recorded: Option<ServedTable>,
    /// True once another process did not apply a change in time.
    pub(super) timed_out: bool,
}
