//! Message bodies: their framing (RFC 9112, section 6), and their pieces.

mod chunked;
mod decoder;
mod length;
mod trailers;

use bytes::Bytes;
use http::HeaderMap;

pub(crate) use decoder::Decoder;
pub(crate) use trailers::check_trailers;

/// The framing of a message body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// No body, and no header about one.
    None,
    /// A body of this many bytes.
    Length(u64),
    /// A chunked body.
    Chunked,
    /// A body that ends with the connection: of responses alone.
    UntilClose,
}

/// A piece of a body.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Bytes of the content.
    Data(Bytes),
    /// The end, with the trailers of a chunked body.
    End(Option<Box<HeaderMap>>),
}

/// A body whose framing is invalid, or that ends too early. The text is a sentence for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct FramingError(pub(crate) &'static str);
