use proptest::prelude::*;

use super::*;

/// Parses a target in origin form into a request.
fn request(target: &[u8]) -> RequestHeader {
    let target = Target::parse(&Method::GET, Bytes::copy_from_slice(target)).unwrap();
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.uri = target.uri;
    if let Some(raw) = target.raw {
        parts.extensions.insert(raw);
    }
    RequestHeader::from(parts)
}

/// Replaces the beginning `from` of the path by `to`, as phases do.
fn replace(request: &mut RequestHeader, from: &str, to: &str) {
    let uri = request.uri.path_and_query().unwrap().as_str().to_owned();
    let rest = uri.strip_prefix(from).unwrap();
    request.set_uri(format!("{to}{rest}").parse().unwrap());
}

#[test]
fn targets_that_a_uri_holds_have_no_copy() {
    for target in ["/", "/a?b=c", "/?q={1}", "/\"|\\^{}", "/caf\u{e9}"] {
        let request = request(target.as_bytes());
        assert!(request.extensions.is_empty(), "{target}");
        assert_eq!(request.uri.to_string(), target);
        assert_eq!(wire_target(&request), target.as_bytes());
    }
}

#[test]
fn other_bytes_are_encoded_for_the_phases_and_forwarded_as_they_came() {
    for (target, uri) in [
        (&b"/q?query=up>0"[..], "/q?query=up%3E0"),
        (b"/q?f={\"a\":1}", "/q?f={%22a%22:1}"),
        (b"/a`b?`", "/a%60b?`"),
        (b"/<a>/\"?\"", "/%3Ca%3E/\"?%22"),
        (b"/caf\xe9", "/caf%E9"),
        (b"/\xff?\xc3\xa9", "/%FF?%C3%A9"),
        (b"/\xc3\xa9<", "/\u{e9}%3C"),
    ] {
        let request = request(target);
        assert_eq!(request.uri.to_string().as_bytes(), uri.as_bytes());
        assert_eq!(wire_target(&request), target);
    }
}

#[test]
fn a_rewritten_path_keeps_the_bytes_behind_the_prefix() {
    let mut stripped = request(b"/apps/raw/a<b?c>\xff");
    replace(&mut stripped, "/apps/raw", "");
    assert_eq!(wire_target(&stripped), &b"/a<b?c>\xff"[..]);
    let mut put = request(b"/a<b");
    replace(&mut put, "", "/base");
    assert_eq!(wire_target(&put), &b"/base/a<b"[..]);
    // The common suffix of the texts begins within `%3C`.
    let mut within = request(b"/</a>");
    replace(&mut within, "/%3C", "/3C");
    assert_eq!(wire_target(&within), &b"/3C/a>"[..]);
    let mut other = request(b"/a<b");
    other.set_uri("/z".parse().unwrap());
    assert_eq!(wire_target(&other), &b"/z"[..]);
    other.set_uri("*".parse().unwrap());
    assert_eq!(wire_target(&other), &b"*"[..]);
}

#[test]
fn the_target_of_connect_is_its_authority() {
    let target = Target::parse(&Method::CONNECT, Bytes::from_static(b"a.example:443")).unwrap();
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.uri = target.uri;
    assert_eq!(
        wire_target(&RequestHeader::from(parts)),
        &b"a.example:443"[..]
    );
}

#[test]
fn a_target_that_is_too_long_when_encoded_is_rejected() {
    let target = [b"/".as_slice(), &[b'<'; 30_000]].concat();
    let rejection = Target::parse(&Method::GET, target.into()).unwrap_err();
    assert_eq!(rejection, Rejection::TargetTooLong);
}

/// The bytes that a target may have; those that `Uri` rejects are frequent.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => prop::sample::select(b"<>`\"%3C?&=/".to_vec()),
        3 => (0x21..=0x7e_u8).prop_filter("a fragment", |byte| *byte != b'#'),
        1 => 0x80..=0xff_u8,
        1 => Just(b'a'),
    ];
    prop::collection::vec(byte, 0..24)
}

fn segment() -> impl Strategy<Value = String> {
    "/[a-z0-9.~-]{1,6}"
}

proptest! {
    #[test]
    fn an_unchanged_target_is_forwarded_byte_for_byte(rest in text()) {
        let target = [b"/", &*rest].concat();
        let request = request(&target);
        prop_assert_eq!(wire_target(&request), target);
    }

    #[test]
    fn behind_a_replaced_prefix_the_bytes_are_the_clients(
        from in prop::collection::vec(segment(), 0..3),
        to in prop::collection::vec(segment(), 0..3),
        rest in text(),
    ) {
        let (from, to) = (from.concat(), to.concat());
        let target = [from.as_bytes(), b"/", &rest].concat();
        let mut request = request(&target);
        replace(&mut request, &from, &to);
        prop_assert_eq!(wire_target(&request), [to.as_bytes(), b"/", &rest].concat());
    }

    #[test]
    fn the_uri_holds_any_target(rest in text()) {
        let target = [b"/", &*rest].concat();
        let uri = request(&target).uri.to_string();
        let decoded = |text: &[u8]| percent_decode(text);
        prop_assert_eq!(decoded(uri.as_bytes()), decoded(&target));
    }
}

/// Decodes `%XX`.
fn percent_decode(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let byte = match rest {
            [b'%', digits @ ..] => digits
                .get(..2)
                .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
                .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()),
            _ => None,
        };
        decoded.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &rest[3..] } else { tail };
    }
    decoded
}
