//! A small application to try App-Proxy with.
//!
//! Like most proxied applications, it listens on one address, does not know the prefix of its
//! paths, redirects to absolute paths, sets a cookie for `/`, and has a WebSocket and an event
//! stream. In addition, it shows the request ID of each request in its pages, its messages and its
//! log. It also works without the proxy; its requests then have no ID.
//!
//! The modules, in the order in which a request meets them:

pub mod arrival;
pub mod routes;

pub mod answers;
pub mod pages;
pub mod streams;
