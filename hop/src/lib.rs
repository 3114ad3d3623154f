//! The work of one hop on a request, shared by the coordinator and the worker: mechanism without
//! policy.
//!
//! The modules are listed in the order in which a request meets them.

pub mod config;
pub mod drain;

pub mod downstream;

pub mod context;
mod gateway;
pub mod phases;
pub mod tier;

pub mod enter;
pub mod exchange;
pub mod identity;

mod attempt;
pub mod body;
pub mod forwarding;
pub mod header;
pub mod placement;

pub mod response;
pub mod streams;
pub mod tunnel;
pub mod websocket;

mod end;
pub mod error;

pub mod guard;
pub mod observe;
