//! The load client: HTTP/1.1 and WebSockets by hand, so that it costs little compared with what it
//! measures.

pub mod chunked;
pub mod connection;
pub mod failure;
pub mod request;
pub mod websocket;

pub use connection::{Connection, Expected};
pub use failure::Failure;
pub use request::{Request, Visitor};
pub use websocket::WebSocket;
