//! The way of a request through the coordinator, one file for each decision, in the order of
//! Pingora's phases. [`proxy`] is the table of contents.
//!
//! A WebSocket leaves Pingora's loop after `enter`; `hop::websocket` then calls `place`, `prepare`,
//! `finish` and `observe` itself.

pub(crate) mod proxy;

pub(crate) mod context;
pub(crate) mod services;
pub(crate) mod via;

mod enter;

mod access;
mod admission;
mod authority;
mod destination;
mod max_forwards;
mod origin;

mod place;

mod prepare;

mod finish;

mod observe;
