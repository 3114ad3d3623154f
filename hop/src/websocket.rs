//! WebSockets, from the handshake to the tunnel.
//!
//! The handshake takes the same steps as any request, but not in Pingora's proxy loop: in
//! `request_filter` the tier exchanges it with the next hop itself. After the 101 both connections
//! leave Pingora for a tunnel of our own, which observes, counts, limits idle time, sends close
//! frames when the daemon drains, and owns no buffer while idle.

pub mod observer;

mod frames;
mod handshake;
mod request;
mod serve;
mod upgrade;

pub use request::is_websocket;
pub(crate) use serve::serve;
