//! The way of a request through the worker, one file for each group of Pingora's phases.

pub mod proxy;

pub mod context;

pub mod admission;
pub mod forward;
pub mod websocket;
