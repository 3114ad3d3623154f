//! Tests of session values and of the `Cookie` header.

use std::collections::HashSet;

use proptest::prelude::*;
use proptest::sample::Index;

use super::id::SessionIdError;
use super::*;

const NAME: &str = "app_proxy_session";

fn key() -> SessionKey {
    SessionKey::new(&[7; 32]).unwrap()
}

fn values<'h>(header: &'h str, name: &str) -> Vec<&'h str> {
    session_values(header.as_bytes(), name)
        .map(|value| str::from_utf8(value).unwrap())
        .collect()
}

fn rest(header: &str) -> Option<String> {
    match without_cookie(header.as_bytes(), NAME) {
        Removed::Unchanged => Some(header.to_owned()),
        Removed::Rest(rest) => Some(String::from_utf8(rest).unwrap()),
        Removed::Nothing => None,
    }
}

/// Issues a session of `app`; returns its identifier and value.
fn issued(key: &SessionKey, app: &str) -> (SessionId, String) {
    let (id, mac) = key.issue(app);
    (id, session_value(&id, &mac))
}

#[test]
fn an_issued_value_is_valid_for_its_app_only() {
    let (id, value) = issued(&key(), "jupyter");
    assert_eq!(value.len(), 45);
    assert_eq!(key().verify("jupyter", value.as_bytes()), Some(id));
    assert_eq!(key().verify("jupyte", value.as_bytes()), None);
    assert_eq!(key().verify("", value.as_bytes()), None);
}

#[test]
fn a_value_of_another_secret_is_rejected() {
    let (_, value) = issued(&key(), "jupyter");
    let other = SessionKey::new(&[8; 32]).unwrap();
    assert_eq!(other.verify("jupyter", value.as_bytes()), None);
}

#[test]
fn values_are_stable_across_coordinators_and_versions() {
    // Computed with Python's hmac. A change of the format ends all sessions of a fleet.
    let id: SessionId = "AAECAwQFBgcICQoLDA0ODw".parse().unwrap();
    let value = session_value(&id, &key().sign("jupyter", &id));
    assert_eq!(value, "AAECAwQFBgcICQoLDA0ODw.BNg3Y_jGH7G8MJLFL3ilIg");
    assert_eq!(key().verify("jupyter", value.as_bytes()), Some(id));
}

#[test]
fn a_client_cannot_choose_an_identifier() {
    let id = "AAAAAAAAAAAAAAAAAAAAAA";
    for value in [id.to_owned(), format!("{id}."), format!("{id}.{id}")] {
        assert_eq!(key().verify("jupyter", value.as_bytes()), None);
    }
}

#[test]
fn a_short_secret_is_rejected_and_secrets_are_not_printed() {
    let error = SessionKey::new(&[7; 31]).unwrap_err();
    assert_eq!(error, SecretTooShort { length: 31 });
    assert_eq!(
        error.to_string(),
        "the session secret has 31 bytes; at least 32 are needed"
    );
    assert_eq!(format!("{:?}", key()), "SessionKey(..)");
}

#[test]
fn identifiers_are_distinct_and_parse_as_printed() {
    let ids: HashSet<SessionId> = (0..1000).map(|_| SessionId::random()).collect();
    assert_eq!(ids.len(), 1000);
    for id in ids {
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.as_ref().len(), SessionId::LENGTH);
    }
}

#[test]
fn only_canonical_identifiers_are_accepted() {
    for text in [
        "",
        "AAAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAAAB",
        "AAAAAAAAAAAAAAAAAAAA==",
        "AAAAAAAAAAAAAAAAAAAA+/",
        "AAAAAAAAAAAAAAAAAAAAé",
    ] {
        assert_eq!(text.parse::<SessionId>(), Err(SessionIdError), "{text}");
    }
}

#[test]
fn the_values_of_a_cookie_are_found_in_order() {
    let header = "a=1; app_proxy_session=x ;app_proxy_session=\"y\";\tapp_proxy_session = z; b";
    assert_eq!(values(header, NAME), ["x", "y", "z"]);
    assert_eq!(values("app_proxy_session=", NAME), [""]);
    assert_eq!(values("app_proxy_session=\"", NAME), ["\""]);
    assert_eq!(values("app_proxy_session=a=b", NAME), ["a=b"]);
}

#[test]
fn cookies_with_similar_names_are_ignored() {
    let header =
        "App_Proxy_Session=a; app_proxy_session2=b; xapp_proxy_session=c; app_proxy_session";
    assert_eq!(values(header, NAME), [""; 0]);
    assert_eq!(without_cookie(header.as_bytes(), NAME), Removed::Unchanged);
}

#[test]
fn the_session_cookie_is_removed_and_other_cookies_are_kept() {
    for (header, expected) in [
        ("app_proxy_session=x", None),
        (" app_proxy_session=x; ", None),
        ("app_proxy_session=x;app_proxy_session=y", None),
        ("app_proxy_session=x; a=1", Some("a=1")),
        ("a=1; app_proxy_session=x", Some("a=1")),
        ("a=1; app_proxy_session=x; b=\"2\"", Some("a=1; b=\"2\"")),
        ("a=1;app_proxy_session=x;b=2; ", Some("a=1;b=2; ")),
        ("a=1", Some("a=1")),
        ("", Some("")),
    ] {
        assert_eq!(rest(header).as_deref(), expected, "{header}");
    }
}

/// A cookie pair, well-formed or not.
fn pair() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z_]{0,4}=[ -:<-~]{0,8}",
        "[ -:<-~]{0,8}",
        "[ \t]{0,2}app_proxy_session[ \t]{0,2}=[ -:<-~]{0,8}",
    ]
}

/// The pairs of a header other than the session cookie and blanks, trimmed.
fn others(header: &str) -> Vec<String> {
    header
        .split(';')
        .map(|pair| pair.trim_matches([' ', '\t']))
        .filter(|pair| !pair.is_empty())
        .filter(|pair| {
            let name = pair.split_once('=').map(|(name, _)| name.trim_end());
            name != Some(NAME)
        })
        .map(str::to_owned)
        .collect()
}

proptest! {
    #[test]
    fn issued_values_verify(
        secret in prop::collection::vec(any::<u8>(), 32..100),
        app in "\\PC{0,20}",
    ) {
        let key = SessionKey::new(&secret).unwrap();
        let (id, value) = issued(&key, &app);
        prop_assert_eq!(key.verify(app.as_str(), value.as_bytes()), Some(id));
        prop_assert_eq!(session_value(&id, &key.sign(app.as_str(), &id)), value);
    }

    #[test]
    fn a_value_with_one_changed_byte_is_rejected(place in any::<Index>(), byte in any::<u8>()) {
        let (_, value) = issued(&key(), "jupyter");
        let mut value = value.into_bytes();
        let place = place.index(value.len());
        prop_assume!(value[place] != byte);
        value[place] = byte;
        prop_assert_eq!(key().verify("jupyter", &value), None);
    }

    #[test]
    fn a_value_of_another_app_is_rejected(one in "[a-z]{1,5}", other in "[a-z]{1,5}") {
        prop_assume!(one != other);
        let (_, value) = issued(&key(), &one);
        prop_assert_eq!(key().verify(other.as_str(), value.as_bytes()), None);
    }

    #[test]
    fn arbitrary_bytes_are_rejected(value in prop::collection::vec(any::<u8>(), 0..100)) {
        prop_assert_eq!(key().verify("jupyter", &value), None);
    }

    #[test]
    fn arbitrary_header_bytes_are_parsed(
        header in prop::collection::vec(any::<u8>(), 0..100),
        name in "\\PC{0,4}",
    ) {
        let count = session_values(&header, &name).count();
        let unchanged = without_cookie(&header, &name) == Removed::Unchanged;
        prop_assert_eq!(unchanged, count == 0);
    }

    #[test]
    fn other_cookies_are_kept_byte_for_byte(pairs in prop::collection::vec(pair(), 0..6)) {
        let header = pairs.join("; ");
        let kept = rest(&header).unwrap_or_default();
        prop_assert_eq!(others(&kept), others(&header));
        prop_assert_eq!(values(&kept, NAME), [""; 0]);
        if others(&header).len() < header.split(';').filter(|p| !p.trim().is_empty()).count() {
            prop_assert!(!kept.starts_with([' ', '\t']));
        }
    }
}
