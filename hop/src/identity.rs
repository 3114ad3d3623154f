//! Request identifiers: validation, generation, and the decision which one a request has (phase
//! `request_filter`).
//!
//! Rule numbers refer to docs/reference/request-id.md.

mod id;
mod identify;
mod inline;
mod policy;

pub use http::HeaderMap;

pub use id::{InvalidId, RequestId, check};
pub use identify::{EstablishedId, Identify};
pub use inline::InlineId;
pub use policy::{IdentityPolicy, InboundId};
