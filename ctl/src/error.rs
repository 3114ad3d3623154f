//! Errors of commands, and their exit codes.

use std::io;

/// A failed command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CtlError {
    /// The coordinator rejected a call, or a file is invalid.
    #[error("{0}")]
    Failed(String),
    /// The command failed, and its errors are already printed.
    #[error("failed")]
    Reported,
    /// Invalid arguments or settings.
    #[error("{0}")]
    Usage(String),
    /// A drain ended with requests or streams left or cut off.
    #[error("{0}")]
    DrainIncomplete(String),
    /// The coordinator cannot be reached, or rejects the token.
    #[error("{0}")]
    Unavailable(String),
    /// The result cannot be written.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
}

impl CtlError {
    /// Returns the exit code, as listed by `--help`.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            // The reader closed the pipe, as `head` does.
            Self::Output(e) if e.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Failed(_) | Self::Reported | Self::Output(_) => 1,
            Self::Usage(_) => 2,
            Self::DrainIncomplete(_) => 3,
            Self::Unavailable(_) => 4,
        }
    }

    /// Adds the subject to the text of the error.
    pub(crate) fn about(self, subject: &str) -> Self {
        match self {
            Self::Failed(text) => Self::Failed(format!("{subject}: {text}")),
            other => other,
        }
    }

    /// Returns the text to print, or `None` if there is nothing left to print.
    pub(crate) fn text(&self) -> Option<String> {
        let silent = matches!(self, Self::Reported) || self.exit_code() == 0;
        (!silent).then(|| self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_not_a_failure() {
        let closed = CtlError::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((closed.exit_code(), closed.text()), (0, None));
        let full = CtlError::from(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.exit_code(), 1);
        assert!(full.text().is_some());
    }
}
