//! The request identifier: what is valid, and how one is established (phase `request_filter`).
//!
//! The rules are those of docs/reference/request-id.md; their numbers stand beside what keeps them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use uuid::Uuid;

use crate::config::RequestIdSection;

/// Longest valid identifier, in bytes (rule 1).
pub const MAX_BYTES: usize = 128;

/// A valid identifier. Cloning it copies no bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(HeaderValue);

/// An identifier in place, for records that are kept by the hundred thousand: nothing of it is
/// elsewhere in memory, where each look would be a miss of the cache and of the address
/// translation.
#[derive(Clone, Copy)]
pub struct KeptId {
    length: u8,
    bytes: [u8; MAX_BYTES],
}

impl KeptId {
    /// Keeps an identifier.
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

    /// The identifier.
    #[must_use]
    pub fn get(&self) -> RequestId {
        let text = self
            .bytes
            .get(..usize::from(self.length))
            .unwrap_or_default();
        // It was made of one.
        HeaderValue::from_bytes(text).map_or_else(|_| RequestId::unset(), RequestId)
    }
}

/// Why a value is no identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Several header lines, even equal ones.
    #[error("multiple")]
    Multiple,
    /// No byte.
    #[error("empty")]
    Empty,
    /// More than [`MAX_BYTES`].
    #[error("oversized")]
    Oversized,
    /// A byte that is not allowed, or a first one that is no letter or digit.
    #[error("malformed")]
    Malformed,
}

impl Invalid {
    /// Every reason, in the order of the metric's labels.
    pub const ALL: [Self; 4] = [
        Self::Multiple,
        Self::Empty,
        Self::Oversized,
        Self::Malformed,
    ];

    /// The label of `app_proxy_request_id_replaced_total` (rule 4).
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Multiple => "multiple",
            Self::Empty => "empty",
            Self::Oversized => "oversized",
            Self::Malformed => "malformed",
        }
    }
}

impl RequestId {
    /// A new identifier: a UUIDv7 in lower case with hyphens (rule 2).
    #[must_use]
    pub fn generate() -> Self {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let text = Uuid::now_v7().hyphenated().encode_lower(&mut text);
        // Hexadecimal digits and hyphens are always a valid header value.
        Self(HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("invalid")))
    }

    /// What stands where no identifier has been established yet; it is not a valid one.
    #[must_use]
    pub const fn unset() -> Self {
        Self(HeaderValue::from_static("-"))
    }

    /// Takes a header value as it is, if it is valid: nothing is trimmed, folded or decoded (rule
    /// 1).
    ///
    /// # Errors
    /// The reason why it is not valid.
    pub fn accept(value: &HeaderValue) -> Result<Self, Invalid> {
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

    /// A copy that does not keep alive the buffer of the request that brought it: for what outlives
    /// the request.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(HeaderValue::from_bytes(self.0.as_bytes()).unwrap_or_else(|_| self.0.clone()))
    }
}

impl FromStr for RequestId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let value = HeaderValue::from_str(text).map_err(|_| Invalid::Malformed)?;
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
/// The reason why they are no identifier.
pub fn check(bytes: &[u8]) -> Result<(), Invalid> {
    let first = *bytes.first().ok_or(Invalid::Empty)?;
    if bytes.len() > MAX_BYTES {
        return Err(Invalid::Oversized);
    }
    let allowed =
        |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'=' | b'+' | b'-');
    if first.is_ascii_alphanumeric() && bytes.iter().all(allowed) {
        Ok(())
    } else {
        Err(Invalid::Malformed)
    }
}

/// What a request brought as its identifier.
#[derive(Debug, PartialEq, Eq)]
pub enum InboundId {
    /// Neither the header nor an alias.
    Nothing,
    /// A valid identifier.
    Valid(RequestId),
    /// Something that is none, with the length of the value (of the first, when there are several).
    Invalid(Invalid, usize),
}

/// Which headers carry the identifier, and whose is believed.
#[derive(Clone, Debug)]
pub struct IdentityPolicy {
    header: HeaderName,
    spelled: Bytes,
    aliases: Box<[HeaderName]>,
    accept_from: Box<[IpNet]>,
    accepts_everybody: bool,
}

/// An identifier as it was established.
#[derive(Debug)]
pub struct Established {
    /// The request's identifier from here on.
    pub id: RequestId,
    /// A valid one that was refused because of where it came from (rule 3).
    pub refused: Option<RequestId>,
    /// An invalid one that was replaced, with its length (rule 4).
    pub replaced: Option<(Invalid, usize)>,
    /// Whether `id` was made here.
    pub generated: bool,
}

impl IdentityPolicy {
    /// The policy that a configuration asks for.
    #[must_use]
    pub fn new(section: &RequestIdSection) -> Self {
        let everybody = |net: &IpNet| net.prefix_len() == 0;
        let v4 = section
            .accept_from
            .iter()
            .any(|net| everybody(net) && matches!(net, IpNet::V4(_)));
        let v6 = section
            .accept_from
            .iter()
            .any(|net| everybody(net) && matches!(net, IpNet::V6(_)));
        Self {
            header: section.header.clone(),
            spelled: spelling(&section.header).into(),
            aliases: section.aliases.clone().into(),
            accept_from: section.accept_from.clone().into(),
            accepts_everybody: v4 && v6,
        }
    }

    /// The header that carries the identifier.
    #[must_use]
    pub fn header(&self) -> &HeaderName {
        &self.header
    }

    /// The header's name as clients are shown it.
    #[must_use]
    pub fn spelled(&self) -> Bytes {
        self.spelled.clone()
    }

    /// The names under which the application gets it, beside [`IdentityPolicy::header`] (rule 5).
    #[must_use]
    pub fn aliases(&self) -> &[HeaderName] {
        &self.aliases
    }

    /// What the headers bring: the main header, or else the first alias that is there (rules 4 and
    /// 5).
    #[must_use]
    pub fn read(&self, headers: &HeaderMap) -> InboundId {
        for name in std::iter::once(&self.header).chain(self.aliases.iter()) {
            let mut values = headers.get_all(name).iter();
            let Some(first) = values.next() else { continue };
            if values.next().is_some() {
                return InboundId::Invalid(Invalid::Multiple, first.len());
            }
            return match RequestId::accept(first) {
                Ok(id) => InboundId::Valid(id),
                Err(reason) => InboundId::Invalid(reason, first.len()),
            };
        }
        InboundId::Nothing
    }

    /// Whether an identifier from this peer is kept (rule 3). A peer without an address is on this
    /// host's own Unix socket: as loopback.
    #[must_use]
    pub fn accepts(&self, peer: Option<IpAddr>) -> bool {
        if self.accepts_everybody {
            return true;
        }
        let peer = peer
            .unwrap_or(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST))
            .to_canonical();
        self.accept_from.iter().any(|net| net.contains(&peer))
    }

    /// Establishes the identifier of a request from `peer` (rules 1 to 5).
    #[must_use]
    pub fn establish(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> Established {
        let made = |refused, replaced| Established {
            id: RequestId::generate(),
            refused,
            replaced,
            generated: true,
        };
        match self.read(headers) {
            InboundId::Nothing => made(None, None),
            InboundId::Invalid(reason, bytes) => made(None, Some((reason, bytes))),
            InboundId::Valid(id) if self.accepts(peer) => Established {
                id,
                refused: None,
                replaced: None,
                generated: false,
            },
            InboundId::Valid(id) => made(Some(id), None),
        }
    }
}

/// A header's name with each word beginning in upper case, and `ID` in it throughout.
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
    fn an_identifier_is_kept_as_it_is() {
        for text in ["a".to_owned(), "x".repeat(MAX_BYTES)] {
            let id = RequestId::accept(&text.parse().unwrap()).unwrap();
            assert_eq!(KeptId::new(&id).get(), id);
        }
        assert_eq!(KeptId::new(&RequestId::unset()).get(), RequestId::unset());
    }

    #[test]
    fn clients_are_shown_the_name_as_it_is_written_everywhere() {
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
        assert_eq!(check(b""), Err(Invalid::Empty));
        assert_eq!(check(&[b'x'; 129]), Err(Invalid::Oversized));
        for bad in [
            "-a", ".a", "a b", "a,b", "a\u{e9}", " a", "a ", "a/b", "a#c1", "a\"", "a%41",
        ] {
            assert_eq!(check(bad.as_bytes()), Err(Invalid::Malformed), "{bad}");
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
    fn rule_03_a_peer_outside_accept_from_gets_a_new_one_and_its_own_is_remembered() {
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
    fn rule_04_what_is_invalid_is_replaced_and_its_reason_kept() {
        let policy = policy(&["0.0.0.0/0", "::/0"]);
        let long = "x".repeat(200);
        for (lines, reason, bytes) in [
            (
                vec![("x-backend-request-id", "a"), ("x-backend-request-id", "a")],
                Invalid::Multiple,
                1,
            ),
            (vec![("x-backend-request-id", "")], Invalid::Empty, 0),
            (
                vec![("x-backend-request-id", long.as_str())],
                Invalid::Oversized,
                200,
            ),
            (vec![("x-backend-request-id", "a b")], Invalid::Malformed, 3),
            (vec![("x-request-id", "a b")], Invalid::Malformed, 3),
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
            "an empty header is there, so the alias is not read"
        );
    }

    proptest! {
        #[test]
        fn rule_01_any_bytes_are_either_kept_unchanged_or_replaced(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
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
