//! WebSockets, from the handshake to the tunnel.
//!
//! The handshake goes through the same steps as any request, but not through Pingora's proxy loop:
//! `request_filter` speaks it with the next hop itself, and after the 101 both byte streams leave
//! Pingora for a tunnel of our own, which observes, counts, times out, drains with a close frame
//! and owns no buffer while idle.

pub mod handshake;
pub mod observer;

mod serve;

pub use crate::tunnel::{TunnelObserver, Unobserved};
pub use handshake::is_websocket;
pub use serve::{NextHop, serve};
