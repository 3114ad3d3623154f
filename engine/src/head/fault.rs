//! The faults of heads.

use crate::rejection::Rejection;

/// A response head that is invalid or exceeds a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadResponse(pub(crate) &'static str);

/// A fault of header lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineFault {
    /// A line that ends with LF alone.
    BareLf,
    /// A line that begins with a blank: an obsolete line folding, or a blank before the name.
    Folded,
    /// No colon.
    NoColon,
    /// No name before the colon.
    NoName,
    /// A blank between name and colon.
    BlankBeforeColon,
    /// A byte in the name that is none of a token.
    Name,
    /// A CR that no LF follows.
    BareCr,
    /// A NUL or another control character.
    Control,
    /// A name of more than 64 KiB.
    NameTooLong,
    /// More lines than the limit.
    TooMany,
}

impl LineFault {
    /// Returns the fault as a sentence, for the client.
    pub(crate) const fn sentence(self) -> &'static str {
        match self {
            Self::BareLf => "A line ends with LF alone.",
            Self::Folded => "A header line begins with a blank.",
            Self::NoColon => "A header line has no colon.",
            Self::NoName => "A header line has no name.",
            Self::BlankBeforeColon => "A header name has a blank before its colon.",
            Self::Name => "A header name has an invalid byte.",
            Self::BareCr => "A header line has a CR without LF.",
            Self::Control => "A header line has a control character.",
            Self::NameTooLong => "A header name is too long.",
            Self::TooMany => "The request has too many header lines.",
        }
    }

    /// Returns the fault as a cause, for the log.
    pub(crate) const fn cause(self) -> &'static str {
        match self {
            Self::BareLf => "a line ends with LF alone",
            Self::Folded => "a header line begins with a blank",
            Self::NoColon => "a header line has no colon",
            Self::NoName => "a header line has no name",
            Self::BlankBeforeColon => "a header name has a blank before its colon",
            Self::Name => "a header name has an invalid byte",
            Self::BareCr => "a header line has a CR without LF",
            Self::Control => "a header line has a control character",
            Self::NameTooLong => "a header name is too long",
            Self::TooMany => "the response has too many header lines",
        }
    }
}

impl From<LineFault> for Rejection {
    fn from(fault: LineFault) -> Self {
        match fault {
            LineFault::NameTooLong | LineFault::TooMany => Self::HeadersTooLarge(fault.sentence()),
            _ => Self::BadRequest(fault.sentence()),
        }
    }
}

impl From<LineFault> for BadResponse {
    fn from(fault: LineFault) -> Self {
        Self(fault.cause())
    }
}
