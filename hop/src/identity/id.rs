//! A valid identifier (rules 1 and 2).

use std::fmt;
use std::str::FromStr;

use http::HeaderValue;
use uuid::Uuid;

/// Length of the longest valid identifier, in bytes (rule 1).
pub(crate) const MAX_BYTES: usize = 128;

/// A valid identifier. A clone shares its bytes.
///
/// ```
/// use app_proxy_hop::identity::{InvalidId, RequestId};
///
/// let id: RequestId = "build-42.a".parse()?;
/// assert_eq!(id.as_str(), "build-42.a");
/// assert_eq!("not valid".parse::<RequestId>(), Err(InvalidId::Malformed));
/// // New identifiers are UUIDv7, and sort by time.
/// assert!(RequestId::generate().as_str() < RequestId::generate().as_str());
/// # Ok::<(), InvalidId>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(pub(super) HeaderValue);

/// The reason why a value is not a valid identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidId {
    /// Several header lines, even if they are equal.
    #[error("multiple")]
    Multiple,
    /// No bytes.
    #[error("empty")]
    Empty,
    /// More than `MAX_BYTES`.
    #[error("oversized")]
    Oversized,
    /// An invalid byte, or a first byte that is not a letter or digit.
    #[error("malformed")]
    Malformed,
}

impl InvalidId {
    /// Every reason, in the order of the metric's labels.
    pub(crate) const ALL: [Self; 4] = [
        Self::Multiple,
        Self::Empty,
        Self::Oversized,
        Self::Malformed,
    ];

    /// The label of `app_proxy_request_id_replaced_total` (rule 4).
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Multiple => "multiple",
            Self::Empty => "empty",
            Self::Oversized => "oversized",
            Self::Malformed => "malformed",
        }
    }
}

impl RequestId {
    /// Generates an identifier: a UUIDv7 in lower case with hyphens (rule 2).
    #[must_use]
    pub fn generate() -> Self {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let text = Uuid::now_v7().hyphenated().encode_lower(&mut text);
        // Hexadecimal digits and hyphens are always a valid header value.
        Self(HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("invalid")))
    }

    /// The placeholder before an identifier is established; not a valid identifier.
    #[must_use]
    pub(crate) const fn unset() -> Self {
        Self(HeaderValue::from_static("-"))
    }

    /// Accepts a valid header value unchanged: it is not trimmed, folded or decoded (rule 1). The
    /// bytes are shared.
    ///
    /// # Errors
    /// If the value is not a valid identifier.
    pub fn accept(value: &HeaderValue) -> Result<Self, InvalidId> {
        check(value.as_bytes()).map(|()| Self(value.clone()))
    }

    /// The identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The identifier as a header value; shares its bytes.
    #[must_use]
    pub fn header_value(&self) -> HeaderValue {
        self.0.clone()
    }

    /// Returns a copy with bytes of its own, for records that outlive the request: the original
    /// keeps the request's whole header buffer alive.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(HeaderValue::from_bytes(self.0.as_bytes()).unwrap_or_else(|_| self.0.clone()))
    }
}

impl FromStr for RequestId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let value = HeaderValue::from_str(text).map_err(|_| InvalidId::Malformed)?;
        check(value.as_bytes()).map(|()| Self(value))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for RequestId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Checks bytes against rule 1.
///
/// # Errors
/// If they are not a valid identifier.
pub fn check(bytes: &[u8]) -> Result<(), InvalidId> {
    let first = *bytes.first().ok_or(InvalidId::Empty)?;
    if bytes.len() > MAX_BYTES {
        return Err(InvalidId::Oversized);
    }
    let allowed =
        |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'=' | b'+' | b'-');
    if first.is_ascii_alphanumeric() && bytes.iter().all(allowed) {
        Ok(())
    } else {
        Err(InvalidId::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_01_an_identifier_has_1_to_128_of_the_allowed_bytes() {
        for good in ["a", "0", "A.b_c:d=e+f-g", &"x".repeat(128)] {
            assert_eq!(check(good.as_bytes()), Ok(()), "{good}");
        }
        assert_eq!(check(b""), Err(InvalidId::Empty));
        assert_eq!(check(&[b'x'; 129]), Err(InvalidId::Oversized));
        for bad in [
            "-a", ".a", "a b", "a,b", "a\u{e9}", " a", "a ", "a/b", "a#c1", "a\"", "a%41",
        ] {
            assert_eq!(check(bad.as_bytes()), Err(InvalidId::Malformed), "{bad}");
        }
    }

    #[test]
    fn rule_02_a_generated_identifier_is_a_lower_case_uuid_v7() {
        let id = RequestId::generate();
        let uuid = Uuid::parse_str(id.as_str()).unwrap();
        assert_eq!(uuid.get_version_num(), 7);
        assert_eq!(uuid.hyphenated().to_string(), id.as_str());
        assert_eq!(check(id.as_str().as_bytes()), Ok(()));
        assert!(
            RequestId::generate().as_str() > id.as_str(),
            "identifiers sort by time"
        );
    }
}
