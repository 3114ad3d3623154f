//! Errors of Pingora's type, with the side that caused them.

use pingora_core::{Error, ErrorType, ImmutStr};

use crate::rejection::Rejection;

/// Returns an error that the client caused.
pub(crate) fn downstream(kind: ErrorType, cause: impl Into<ImmutStr>) -> Box<Error> {
    Error::explain(kind, cause).into_down()
}

/// Returns an error that the next hop caused.
pub(crate) fn upstream(kind: ErrorType, cause: impl Into<ImmutStr>) -> Box<Error> {
    Error::explain(kind, cause).into_up()
}

/// Returns the error of a request that the engine rejects; `rejection` is its root cause.
pub(crate) fn rejected(rejection: Rejection) -> Box<Error> {
    let status = ErrorType::HTTPStatus(rejection.status().as_u16());
    Error::because(status, "the request is rejected", rejection).into_down()
}
