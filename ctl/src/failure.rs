//! What can go wrong, and the exit code that stands for it.

use std::io;

/// A command that has not done what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum CtlError {
    /// It was refused, or failed.
    #[error("{0}")]
    Failed(String),
    /// It failed in part, and what failed has been said already.
    #[error("failed")]
    Told,
    /// Its arguments or settings make no sense.
    #[error("{0}")]
    Usage(String),
    /// A drain has left something, or cut it off.
    #[error("{0}")]
    Left(String),
    /// The coordinator cannot be reached, or does not take the token.
    #[error("{0}")]
    Unavailable(String),
    /// What was found cannot be written.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
}

impl CtlError {
    /// The exit code, as `--help` lists them.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            // Whoever reads has seen enough, as `head` does.
            Self::Output(e) if e.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Failed(_) | Self::Told | Self::Output(_) => 1,
            Self::Usage(_) => 2,
            Self::Left(_) => 3,
            Self::Unavailable(_) => 4,
        }
    }

    /// The same failure, which says what it is about.
    #[must_use]
    pub fn about(self, what: &str) -> Self {
        match self {
            Self::Failed(text) => Self::Failed(format!("{what}: {text}")),
            other => other,
        }
    }

    /// What is still to be said about it.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let said = matches!(self, Self::Told) || self.exit_code() == 0;
        (!said).then(|| self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_goes_away_is_no_failure() {
        let gone = CtlError::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((gone.exit_code(), gone.text()), (0, None));
        let full = CtlError::from(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.exit_code(), 1);
        assert!(full.text().is_some());
    }
}
