//! Request identifiers: validation, generation, and the decision which one a request has (phase
//! `request_filter`).
//!
//! Rule numbers refer to docs/reference/request-id.md.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use uuid::Uuid;

use crate::config::RequestIdSection;

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
pub struct RequestId(HeaderValue);

/// An identifier stored in place, for tables with many thousands of records: reading it needs no
/// pointer, which would miss the cache and the TLB.
#[derive(Clone, Copy)]
pub struct InlineId {
    length: u8,
    bytes: [u8; MAX_BYTES],
}

impl InlineId {
    /// Copies an identifier.
    #[must_use]
    pub fn new(id: &RequestId) -> Self {
        let mut bytes = [0; MAX_BYTES];
        let text = id.0.as_bytes();
        bytes
            .iter_mut()
            .zip(text)
            .for_each(|(to, from)| *to = *from);
        Self {
            length: u8::try_from(text.len().min(MAX_BYTES)).unwrap_or(0),
            bytes,
        }
    }

    /// Returns the identifier.
    #[must_use]
    pub fn get(&self) -> RequestId {
        let text = self
            .bytes
            .get(..usize::from(self.length))
            .unwrap_or_default();
        // The bytes come from a header value.
        HeaderValue::from_bytes(text).map_or_else(|_| RequestId::unset(), RequestId)
    }
}

/// The reason why a value is not a valid identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
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
    pub const fn unset() -> Self {
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

/// The identifier in a request's headers.
#[derive(Debug, PartialEq, Eq)]
pub enum InboundId {
    /// Neither the header nor an alias is present.
    Absent,
    /// A valid identifier.
    Valid(RequestId),
    /// An invalid identifier, with the length of the value, or of the first one of several.
    Invalid(InvalidId, usize),
}

/// The headers with the identifier, and the peers whose identifiers are accepted.
///
/// ```
/// use app_proxy_hop::config::RequestIdSection;
/// use app_proxy_hop::identity::IdentityPolicy;
/// use http::{HeaderMap, HeaderValue};
///
/// let policy = IdentityPolicy::new(&RequestIdSection::default());
/// let mut headers = HeaderMap::new();
/// headers.insert("x-backend-request-id", HeaderValue::from_static("build-42"));
/// assert_eq!(policy.establish(&headers, None).id.as_str(), "build-42");
///
/// headers.insert("x-backend-request-id", HeaderValue::from_static("not valid"));
/// let established = policy.establish(&headers, None);
/// assert!(established.generated && established.replaced.is_some());
/// ```
#[derive(Clone, Debug)]
pub struct IdentityPolicy {
    header: HeaderName,
    spelled: Bytes,
    aliases: Box<[HeaderName]>,
    accept_from: Box<[IpNet]>,
    accepts_all: bool,
}

/// An established identifier.
#[derive(Debug)]
pub struct EstablishedId {
    /// The request's identifier from here on.
    pub id: RequestId,
    /// A valid identifier of a peer that is not accepted (rule 3).
    pub refused: Option<RequestId>,
    /// The reason why an invalid identifier was replaced, and its length (rule 4).
    pub replaced: Option<(InvalidId, usize)>,
    /// `id` was generated here.
    pub generated: bool,
}

impl IdentityPolicy {
    /// Creates the policy of a configuration.
    #[must_use]
    pub fn new(section: &RequestIdSection) -> Self {
        let all = |net: &IpNet| net.prefix_len() == 0;
        let v4 = section
            .accept_from
            .iter()
            .any(|net| all(net) && matches!(net, IpNet::V4(_)));
        let v6 = section
            .accept_from
            .iter()
            .any(|net| all(net) && matches!(net, IpNet::V6(_)));
        Self {
            header: section.header.clone(),
            spelled: spelling(&section.header).into(),
            aliases: section.aliases.clone().into(),
            accept_from: section.accept_from.clone().into(),
            accepts_all: v4 && v6,
        }
    }

    /// The header with the identifier.
    #[must_use]
    pub fn header(&self) -> &HeaderName {
        &self.header
    }

    /// The header's name as responses spell it.
    #[must_use]
    pub(crate) fn spelled(&self) -> Bytes {
        self.spelled.clone()
    }

    /// Further headers with the identifier, besides [`IdentityPolicy::header`] (rule 5).
    #[must_use]
    pub fn aliases(&self) -> &[HeaderName] {
        &self.aliases
    }

    /// Reads the identifier from the main header, or else from the first alias that is present
    /// (rules 4 and 5).
    #[must_use]
    pub fn read(&self, headers: &HeaderMap) -> InboundId {
        for name in std::iter::once(&self.header).chain(self.aliases.iter()) {
            let mut values = headers.get_all(name).iter();
            let Some(first) = values.next() else { continue };
            if values.next().is_some() {
                return InboundId::Invalid(InvalidId::Multiple, first.len());
            }
            return match RequestId::accept(first) {
                Ok(id) => InboundId::Valid(id),
                Err(reason) => InboundId::Invalid(reason, first.len()),
            };
        }
        InboundId::Absent
    }

    /// Returns whether identifiers of this peer are accepted (rule 3). A peer without an address is
    /// connected by a Unix socket, and counts as loopback.
    #[must_use]
    pub(crate) fn accepts(&self, peer: Option<IpAddr>) -> bool {
        if self.accepts_all {
            return true;
        }
        let peer = peer
            .unwrap_or(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST))
            .to_canonical();
        self.accept_from.iter().any(|net| net.contains(&peer))
    }

    /// Establishes the identifier of a request from `peer` (rules 1 to 5).
    #[must_use]
    pub fn establish(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> EstablishedId {
        let generated = |refused, replaced| EstablishedId {
            id: RequestId::generate(),
            refused,
            replaced,
            generated: true,
        };
        match self.read(headers) {
            InboundId::Absent => generated(None, None),
            InboundId::Invalid(reason, bytes) => generated(None, Some((reason, bytes))),
            InboundId::Valid(id) if self.accepts(peer) => EstablishedId {
                id,
                refused: None,
                replaced: None,
                generated: false,
            },
            InboundId::Valid(id) => generated(Some(id), None),
        }
    }
}

/// Returns a header's name with each word capitalized, and `ID` in upper case.
fn spelling(name: &HeaderName) -> String {
    let word = |word: &str| match word.split_at_checked(1) {
        _ if word == "id" => "ID".to_owned(),
        Some((first, rest)) => first.to_ascii_uppercase() + rest,
        None => String::new(),
    };
    name.as_str()
        .split('-')
        .map(word)
        .collect::<Vec<_>>()
        .join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_inline_identifier_is_unchanged() {
        for text in ["a".to_owned(), "x".repeat(MAX_BYTES)] {
            let id = RequestId::accept(&text.parse().unwrap()).unwrap();
            assert_eq!(InlineId::new(&id).get(), id);
        }
        assert_eq!(InlineId::new(&RequestId::unset()).get(), RequestId::unset());
    }

    #[test]
    fn responses_spell_the_header_as_usual() {
        for (name, shown) in [
            ("x-backend-request-id", "X-Backend-Request-ID"),
            ("x--a", "X--A"),
        ] {
            assert_eq!(spelling(&HeaderName::from_static(name)), shown);
        }
    }

    fn policy(accept_from: &[&str]) -> IdentityPolicy {
        IdentityPolicy::new(&RequestIdSection {
            accept_from: accept_from.iter().map(|net| net.parse().unwrap()).collect(),
            ..RequestIdSection::default()
        })
    }

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        map
    }

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

    #[test]
    fn rule_03_an_identifier_from_outside_accept_from_is_replaced_and_recorded() {
        let policy = policy(&["10.0.0.0/8"]);
        let headers = headers(&[("x-backend-request-id", "mine")]);
        let kept = policy.establish(&headers, Some("10.1.2.3".parse().unwrap()));
        assert_eq!((kept.id.as_str(), kept.generated), ("mine", false));
        let mapped = policy.establish(&headers, Some("::ffff:10.1.2.3".parse().unwrap()));
        assert_eq!(mapped.id.as_str(), "mine");
        let refused = policy.establish(&headers, Some("192.0.2.1".parse().unwrap()));
        assert!(refused.generated);
        assert_eq!(refused.refused.unwrap().as_str(), "mine");
    }

    #[test]
    fn rule_04_an_invalid_identifier_is_replaced_and_the_reason_recorded() {
        let policy = policy(&["0.0.0.0/0", "::/0"]);
        let long = "x".repeat(200);
        for (lines, reason, bytes) in [
            (
                vec![("x-backend-request-id", "a"), ("x-backend-request-id", "a")],
                InvalidId::Multiple,
                1,
            ),
            (vec![("x-backend-request-id", "")], InvalidId::Empty, 0),
            (
                vec![("x-backend-request-id", long.as_str())],
                InvalidId::Oversized,
                200,
            ),
            (
                vec![("x-backend-request-id", "a b")],
                InvalidId::Malformed,
                3,
            ),
            (vec![("x-request-id", "a b")], InvalidId::Malformed, 3),
        ] {
            let established = policy.establish(&headers(&lines), None);
            assert_eq!(established.replaced, Some((reason, bytes)));
            assert!(established.generated && established.refused.is_none());
        }
    }

    #[test]
    fn rule_05_an_alias_is_read_only_when_the_header_is_absent() {
        let policy = policy(&["0.0.0.0/0", "::/0"]);
        let alias = policy.establish(&headers(&[("x-request-id", "alias")]), None);
        assert_eq!(alias.id.as_str(), "alias");
        let both = policy.establish(
            &headers(&[("x-request-id", "alias"), ("x-backend-request-id", "main")]),
            None,
        );
        assert_eq!(both.id.as_str(), "main");
        let empty = policy.establish(
            &headers(&[("x-request-id", "alias"), ("x-backend-request-id", "")]),
            None,
        );
        assert!(
            empty.generated,
            "an empty header is present, so the alias is not read"
        );
    }

    proptest! {
        #[test]
        fn rule_01_any_bytes_are_either_kept_unchanged_or_replaced(
            bytes in proptest::collection::vec(any::<u8>(), 0..200)
        ) {
            let mut map = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                map.append("x-backend-request-id", value);
                let established = policy(&["0.0.0.0/0", "::/0"]).establish(&map, None);
                prop_assert_eq!(check(established.id.as_str().as_bytes()), Ok(()));
                prop_assert_eq!(established.replaced.is_some(), check(&bytes).is_err());
                if established.replaced.is_none() {
                    prop_assert_eq!(established.id.as_str().as_bytes(), &bytes[..]);
                }
            }
        }
    }
}
