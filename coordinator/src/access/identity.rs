//! The identity of a client, as an access policy has established it.

use std::sync::Arc;

/// The length of a user name in bytes, at most.
const MAX_BYTES: usize = 255;

/// The identity of a client that may enter.
///
/// The user name is in the access log and in the session's record, and the session belongs to the
/// user: a request of another one gets a session of its own.
///
/// ```
/// use app_proxy_coordinator::Identity;
///
/// let anna = Identity::user("anna@example.com")?;
/// assert_eq!(anna.name(), Some("anna@example.com"));
/// assert_eq!(Identity::anonymous().name(), None);
/// assert!(Identity::user("two\nlines").is_err());
/// # Ok::<(), app_proxy_coordinator::IdentityError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    user: Option<Arc<str>>,
}

/// A text cannot be a user name.
///
/// ```
/// use app_proxy_coordinator::{Identity, IdentityError};
///
/// assert_eq!(Identity::user(""), Err(IdentityError::Length { bytes: 0 }));
/// assert_eq!(Identity::user("Zoë"), Err(IdentityError::Character('ë')));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The text is empty or too long.
    #[error("a user name has 1 to {MAX_BYTES} bytes, and this one has {bytes}")]
    Length {
        /// The length of the text in bytes.
        bytes: usize,
    },
    /// A character that is not printable ASCII, or a space at an end: the name could not be sent in
    /// a header.
    #[error("a user name cannot have the character {0:?} there")]
    Character(char),
}

impl Identity {
    /// The identity of a client that may enter without a name.
    #[must_use]
    pub const fn anonymous() -> Self {
        Self { user: None }
    }

    /// The identity of a user.
    ///
    /// # Errors
    /// [`IdentityError`] if the name is empty, longer than 255 bytes, or not printable ASCII.
    pub fn user(name: &str) -> Result<Self, IdentityError> {
        let bytes = name.len();
        if !(1..=MAX_BYTES).contains(&bytes) {
            return Err(IdentityError::Length { bytes });
        }
        let is_valid = |c: char| matches!(c, ' '..='~');
        let ends = [name.chars().next(), name.chars().next_back()];
        let fault = name
            .chars()
            .find(|c| !is_valid(*c))
            .or_else(|| ends.contains(&Some(' ')).then_some(' '));
        match fault {
            Some(c) => Err(IdentityError::Character(c)),
            None => Ok(Self {
                user: Some(name.into()),
            }),
        }
    }

    /// The name of the user, if there is one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The name of the user, shared with log lines and sessions.
    pub(crate) fn into_name(self) -> Option<Arc<str>> {
        self.user
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_cannot_be_in_a_log_line_or_a_header_is_rejected() {
        for name in [
            "a",
            "anna@example.com",
            "CN=Anna B,O=\"X\"",
            &"a".repeat(255),
        ] {
            assert_eq!(Identity::user(name).unwrap().name(), Some(name));
        }
        for (name, character) in [
            ("a\nb", '\n'),
            ("a\0", '\0'),
            ("a\u{7f}", '\u{7f}'),
            ("ö", 'ö'),
            (" a", ' '),
            ("a ", ' '),
        ] {
            assert_eq!(
                Identity::user(name),
                Err(IdentityError::Character(character)),
                "{name:?}"
            );
        }
        for bytes in [0, 256] {
            assert_eq!(
                Identity::user(&"a".repeat(bytes)),
                Err(IdentityError::Length { bytes })
            );
        }
    }
}
