//! HTTP/1.1 by theme: the bytes that applications and clients get, and the lines of the access
//! logs.

mod support;

mod authentication;
mod connections;
mod forwarded;
mod framing;
mod hosts;
mod http2;
mod interim;
mod limits;
mod loops;
mod memory;
mod requests;
mod response_heads;
mod responses;
mod retries;
mod rewriting;
mod timeouts;
mod upgrades;
