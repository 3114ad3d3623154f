//! Request heads and response heads: start line and header lines (RFC 9112, sections 2 to 5).

mod lines;
mod request;
mod response;
mod spelling;
mod write;

pub(crate) use lines::{remove_hop_by_hop, write_interim, write_trailers};
pub(crate) use request::{RequestHead, parse_request, salvage_request};
pub(crate) use response::{BadResponse, ResponseHead, Spelling, parse_response};
pub(crate) use spelling::SpelledNames;
pub(crate) use write::{Persistence, write_request, write_response};
