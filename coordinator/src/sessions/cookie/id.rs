//! The identifier of a session.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Random bytes in an identifier.
const RANDOM_BYTES: usize = 16;

/// The text is not a session identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a session identifier is 22 characters of base64url")]
pub(crate) struct SessionIdError;

/// The opaque identifier of a session: 128 random bits, as 22 characters of base64url (RFC 4648
/// section 5) without padding.
///
/// It is not secret: a client also needs the MAC of [`super::SessionKey`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionId {
    /// Stored as text, because logs, headers and tables use the text.
    text: [u8; Self::LENGTH],
}

impl SessionId {
    /// Length of an identifier in characters.
    pub(crate) const LENGTH: usize = 22;

    /// Creates an identifier from a cryptographically secure random generator.
    pub(super) fn random() -> Self {
        let mut text = [0; Self::LENGTH];
        let bits: [u8; RANDOM_BYTES] = rand::random();
        let written = URL_SAFE_NO_PAD.encode_slice(bits, &mut text);
        debug_assert_eq!(written, Ok(Self::LENGTH));
        Self { text }
    }

    /// Parses an identifier.
    ///
    /// # Errors
    /// [`SessionIdError`] if `text` is not the canonical form of an identifier.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, SessionIdError> {
        let text = <[u8; Self::LENGTH]>::try_from(text).map_err(|_| SessionIdError)?;
        // Decoding also rejects a last character with non-zero trailing bits.
        let mut bits = [0; RANDOM_BYTES];
        match URL_SAFE_NO_PAD.decode_slice_unchecked(text, &mut bits) {
            Ok(RANDOM_BYTES) => Ok(Self { text }),
            _ => Err(SessionIdError),
        }
    }

    /// Wraps an identifier from a client without validation, for lookups only.
    pub(super) fn claimed(text: [u8; Self::LENGTH]) -> Self {
        Self { text }
    }

    /// The identifier as text.
    pub(crate) fn as_str(&self) -> &str {
        // Base64url is ASCII, so this never fails.
        str::from_utf8(&self.text).unwrap_or_default()
    }
}

impl AsRef<str> for SessionId {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl FromStr for SessionId {
    type Err = SessionIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text.as_bytes())
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}
