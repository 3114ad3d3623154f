//! Request heads and response heads: start line and header lines (RFC 9112, sections 2 to 5).

mod authority;
pub(crate) mod fault;
pub(crate) mod fields;
mod framing;
mod lines;
mod names;
mod request;
mod request_line;
mod response;
mod salvage;
mod scan;
mod spelling;
mod status_line;
mod target;
mod write;

pub(crate) use authority::is_same_authority;
pub(crate) use fault::BadResponse;
pub(crate) use framing::parse_length;
pub(crate) use lines::{remove_hop_by_hop, write_interim, write_trailers};
pub(crate) use request::{RequestHead, parse_request};
pub(crate) use response::{ResponseHead, parse_response};
pub(crate) use salvage::salvage_request;
pub(crate) use spelling::{SpelledNames, Spelling};
pub(crate) use write::{Persistence, write_request, write_response};
