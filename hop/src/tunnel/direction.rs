//! The directions of a tunnel.

/// The direction in which bytes travel. Exhaustive on purpose: there is no third one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    FromClient,
    /// From the server to the client.
    FromServer,
}
