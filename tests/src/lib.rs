//! The harness of the end-to-end tests: it starts the real daemons in a folder of their own, plays
//! the applications behind them and the clients before them, and reads what the daemons
//! logged.
//!
//! ```no_run
//! # async fn example() {
//! use app_proxy_tests::{app::RecordingApp, cluster::Cluster};
//!
//! let app = RecordingApp::start().await;
//! let cluster = Cluster::builder().app_at("notes", app.addr()).start().await;
//! let answer = cluster.get("/apps/notes/echo").send().await;
//! assert_eq!(answer.status, 200);
//! # }
//! ```
//!
//! Nothing here waits for a length of time: [`wait::eventually`] waits for a condition,
//! [`app::RecordingApp::release`] lets an application continue, and every wait ends with a panic
//! that names what did not happen.

// A harness reports what went wrong by panicking, and indexes JSON that it has just read.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

pub mod api;
pub mod binary;
pub mod cluster;
pub mod daemon;

pub mod http1;
pub mod http2;
pub mod strict;
pub mod wire;
pub mod ws;

pub mod app;
pub mod follower;
pub mod raw_app;
pub mod scheduler;
pub mod tls;

pub mod corpus;
pub mod logs;
pub mod wait;

/// The header that carries the request ID, as the daemons write it by default.
pub const REQUEST_ID: &str = "X-Backend-Request-ID";

/// The header under which applications receive the session's ID.
pub const SESSION_ID: &str = "X-Backend-Session-ID";

/// The header in which a client without cookies returns its session.
pub const SESSION: &str = "X-Backend-Session";

/// The name of the session cookie.
pub const SESSION_COOKIE: &str = "app_proxy_session";

/// Returns whether `id` has the form that the daemons generate: a UUIDv7, lower case and
/// hyphenated (rule 2).
#[must_use]
pub fn is_generated_id(id: &str) -> bool {
    let bytes = id.as_bytes();
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            14 => *byte == b'7',
            19 => matches!(byte, b'8' | b'9' | b'a' | b'b'),
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(byte),
        })
}

/// A checksum of bytes that arrive in pieces (FNV-1a, 64 bits): enough to see a byte lost, changed
/// or moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum(u64);

impl Default for Checksum {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Checksum {
    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// The sum of `bytes` alone.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut sum = Self::default();
        sum.update(bytes);
        sum
    }

    /// The sum as a number.
    #[must_use]
    pub fn value(self) -> u64 {
        self.0
    }
}

/// `length` bytes that do not repeat in any short period, so that a shifted copy is noticed.
#[must_use]
pub fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
