//! The bounds of a request head or a response head.

/// The bounds of a head. One that exceeds them is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes from the start line to the empty line, both included.
    pub bytes: usize,
    /// Header lines.
    pub lines: usize,
    /// Bytes of a request target.
    pub target: usize,
}

/// The longest method, in bytes.
pub(crate) const MAX_METHOD_BYTES: usize = 32;
/// The longest host with its port, in bytes.
pub(crate) const MAX_HOST_BYTES: usize = 300;
