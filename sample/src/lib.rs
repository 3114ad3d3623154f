//! A small application to try App-Proxy with.
//!
//! It is what a proxied application usually is: it listens on one address, knows nothing of a
//! prefix in front of its paths, redirects to absolute paths, sets a cookie for `/`, and has a
//! WebSocket and an event stream. What it has more than most: it shows the request ID with which
//! each request arrived, in its pages, its messages and its log. It works without the proxy too;
//! its requests then have no ID.
//!
//! The modules, in the order in which a request meets them:

pub mod arrival;
pub mod routes;

pub mod answers;
pub mod pages;
pub mod streams;
