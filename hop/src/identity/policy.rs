//! The built-in policy of identifiers: that of the configuration (rules 3 to 5).

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::config::RequestIdSection;
use crate::identity::id::{InvalidId, RequestId};
use crate::identity::identify::{EstablishedId, Identify};

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
/// use app_proxy_hop::identity::{Identify, IdentityPolicy};
/// use http::{HeaderMap, HeaderValue};
///
/// let policy = IdentityPolicy::new(&RequestIdSection::default());
/// let mut headers = HeaderMap::new();
/// headers.insert("x-backend-request-id", HeaderValue::from_static("build-42"));
/// assert_eq!(policy.identify(&headers, None).id.as_str(), "build-42");
///
/// headers.insert("x-backend-request-id", HeaderValue::from_static("not valid"));
/// let established = policy.identify(&headers, None);
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
}

impl Identify for IdentityPolicy {
    /// Establishes the identifier of a request from `peer` (rules 1 to 5).
    fn identify(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> EstablishedId {
        match self.read(headers) {
            InboundId::Absent => EstablishedId::generate(),
            InboundId::Invalid(reason, bytes) => EstablishedId::generate().replacing(reason, bytes),
            InboundId::Valid(id) if self.accepts(peer) => EstablishedId::new(id),
            InboundId::Valid(id) => EstablishedId::generate().refusing(id),
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
    use http::HeaderValue;
    use proptest::prelude::*;

    use crate::identity::id::check;

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
    fn rule_03_an_identifier_from_outside_accept_from_is_replaced_and_recorded() {
        let policy = policy(&["10.0.0.0/8"]);
        let headers = headers(&[("x-backend-request-id", "mine")]);
        let kept = policy.identify(&headers, Some("10.1.2.3".parse().unwrap()));
        assert_eq!((kept.id.as_str(), kept.generated), ("mine", false));
        let mapped = policy.identify(&headers, Some("::ffff:10.1.2.3".parse().unwrap()));
        assert_eq!(mapped.id.as_str(), "mine");
        let refused = policy.identify(&headers, Some("192.0.2.1".parse().unwrap()));
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
            let established = policy.identify(&headers(&lines), None);
            assert_eq!(established.replaced, Some((reason, bytes)));
            assert!(established.generated && established.refused.is_none());
        }
    }

    #[test]
    fn rule_05_an_alias_is_read_only_when_the_header_is_absent() {
        let policy = policy(&["0.0.0.0/0", "::/0"]);
        let alias = policy.identify(&headers(&[("x-request-id", "alias")]), None);
        assert_eq!(alias.id.as_str(), "alias");
        let both = policy.identify(
            &headers(&[("x-request-id", "alias"), ("x-backend-request-id", "main")]),
            None,
        );
        assert_eq!(both.id.as_str(), "main");
        let empty = policy.identify(
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
                let established = policy(&["0.0.0.0/0", "::/0"]).identify(&map, None);
                prop_assert_eq!(check(established.id.as_str().as_bytes()), Ok(()));
                prop_assert_eq!(established.replaced.is_some(), check(&bytes).is_err());
                if established.replaced.is_none() {
                    prop_assert_eq!(established.id.as_str().as_bytes(), &bytes[..]);
                }
            }
        }
    }
}
