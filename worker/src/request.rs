//! The way of a request through the worker, one file for each decision, in the order of Pingora's
//! phases. [`proxy`] is the table of contents.

pub(crate) mod proxy;

pub(crate) mod context;
pub(crate) mod services;

mod enter;

mod admission;

mod place;

mod prepare;

mod observe;
