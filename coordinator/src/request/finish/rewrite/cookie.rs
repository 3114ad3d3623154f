//! The cookies that an application sets (RFC 6265, section 5.2).

use std::borrow::Cow;

use http::{HeaderValue, header};
use pingora_http::ResponseHeader;

use super::has_prefix;

/// The prefix of names whose cookies must have `Path=/`. Browsers ignore its case (RFC 6265bis,
/// section 4.1.3.2).
const HOST_PREFIX: &[u8] = b"__Host-";

/// Rewrites the `Path` of each `Set-Cookie`. A cookie without one stays: its path is that of the
/// request as the client knows it, which has the prefix.
pub(in crate::request::finish) fn cookie_paths(response: &mut ResponseHeader, prefix: &str) {
    each_cookie(response, |cookie| {
        Some(with_prefix(cookie, prefix.as_bytes()))
    });
}

/// Removes the session's cookie from the `Set-Cookie` headers: an application must not set it.
pub(in crate::request::finish) fn remove_cookie(response: &mut ResponseHeader, name: &str) {
    each_cookie(response, |cookie| {
        (!sets(cookie, name.as_bytes())).then_some(Cow::Borrowed(cookie))
    });
}

/// Returns a cookie whose `Path` has the prefix. The first pair is the cookie itself, whatever its
/// name; the attributes come after it.
fn with_prefix<'c>(cookie: &'c [u8], prefix: &[u8]) -> Cow<'c, [u8]> {
    let mut parts = cookie.split(|byte| *byte == b';');
    let pair = parts.next().unwrap_or_default();
    let is_of_host = pair
        .trim_ascii_start()
        .get(..HOST_PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(HOST_PREFIX));
    let is_changed = |part: &[u8]| {
        path_attribute(part).is_some_and(|path| path.starts_with(b"/") && !has_prefix(path, prefix))
    };
    if is_of_host || !parts.clone().any(is_changed) {
        return Cow::Borrowed(cookie);
    }
    let mut changed = Vec::with_capacity(cookie.len() + prefix.len() + 1);
    changed.extend_from_slice(pair);
    for part in parts {
        changed.push(b';');
        match path_attribute(part).filter(|_| is_changed(part)) {
            Some(path) => [b" Path=", prefix, path]
                .iter()
                .for_each(|text| changed.extend_from_slice(text)),
            None => changed.extend_from_slice(part),
        }
    }
    Cow::Owned(changed)
}

/// Returns the value of a `Path` attribute.
fn path_attribute(part: &[u8]) -> Option<&[u8]> {
    let (name, value) = split_pair(part)?;
    name.eq_ignore_ascii_case(b"path").then_some(value)
}

/// Returns whether a browser would send this cookie as `name=`: also one without a name whose value
/// looks like it, because browsers send the value of such a cookie alone (RFC 6265bis, section
/// 5.8.3).
fn sets(cookie: &[u8], name: &[u8]) -> bool {
    let pair = cookie.split(|byte| *byte == b';').next();
    let Some((found, value)) = pair.and_then(split_pair) else {
        return false;
    };
    found == name || (found.is_empty() && split_pair(value).is_some_and(|(inner, _)| inner == name))
}

/// Splits a pair at its first `=`, without the white space around both parts.
fn split_pair(pair: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    let (name, value) = pair.split_at_checked(equals)?;
    Some((name.trim_ascii(), value.get(1..)?.trim_ascii()))
}

/// Replaces each `Set-Cookie` by the result of `change`.
fn each_cookie(
    response: &mut ResponseHeader,
    change: impl for<'c> Fn(&'c [u8]) -> Option<Cow<'c, [u8]>>,
) {
    let lines = response.headers.get_all(header::SET_COOKIE);
    let stays = |line: &HeaderValue| matches!(change(line.as_bytes()), Some(Cow::Borrowed(_)));
    if lines.iter().all(stays) {
        return;
    }
    let cookies: Vec<HeaderValue> = lines
        .iter()
        .filter_map(|line| match change(line.as_bytes())? {
            Cow::Borrowed(_) => Some(line.clone()),
            Cow::Owned(changed) => HeaderValue::from_bytes(&changed).ok(),
        })
        .collect();
    response.remove_header(&header::SET_COOKIE);
    for cookie in cookies {
        let _ = response.append_header(header::SET_COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PREFIX: &str = "/apps/a";

    fn cookies(values: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut response = ResponseHeader::build(200, None).unwrap();
        for value in values {
            let value = HeaderValue::from_bytes(value).unwrap();
            response.append_header("Set-Cookie", value).unwrap();
        }
        remove_cookie(&mut response, "app_proxy_session");
        cookie_paths(&mut response, PREFIX);
        let lines = response.headers.get_all("set-cookie");
        lines.iter().map(|line| line.as_bytes().to_vec()).collect()
    }

    fn rewritten(cookie: &[u8]) -> Vec<u8> {
        cookies(&[cookie]).pop().unwrap_or_default()
    }

    #[test]
    fn paths_get_the_prefix() {
        for (cookie, expected) in [
            (
                &b"a=1; Path=/; HttpOnly"[..],
                &b"a=1; Path=/apps/a/; HttpOnly"[..],
            ),
            (b"b=2;path=/x", b"b=2; Path=/apps/a/x"),
            (b"c=3; PATH = /x ;Secure", b"c=3; Path=/apps/a/x;Secure"),
            // Of two, browsers use the last.
            (
                b"d=4; Path=/x; Path=/y",
                b"d=4; Path=/apps/a/x; Path=/apps/a/y",
            ),
            (b"no-value; Path=/", b"no-value; Path=/apps/a/"),
            // Regression: Latin-1 hid a cookie from the rewriting, so that every app got it.
            (b"e=caf\xe9; Path=/", b"e=caf\xe9; Path=/apps/a/"),
            (b"f=1; Path=/caf\xe9", b"f=1; Path=/apps/a/caf\xe9"),
            // Regression: a cookie whose name is that of an attribute was changed.
            (b"path=/home/user; HttpOnly", b"path=/home/user; HttpOnly"),
            (b"path=/home; Path=/x", b"path=/home; Path=/apps/a/x"),
            (b"Path=/; Path=/", b"Path=/; Path=/apps/a/"),
            (
                b"__Secure-g=1; Path=/; Secure",
                b"__Secure-g=1; Path=/apps/a/; Secure",
            ),
        ] {
            let found = rewritten(cookie);
            assert_eq!(found, expected, "{}", String::from_utf8_lossy(&found));
        }
    }

    #[test]
    fn other_cookies_stay() {
        for cookie in [
            &b"a=1"[..],
            b"b=1; Path=/apps/a/x",
            b"c=1; Path=/apps/a",
            b"d=1; Path=x",
            b"e=1; Path=",
            b"f=Path=/; Secure",
            b"g=\"Path=/x\"; SameSite=Lax",
            // Regression: browsers match the prefix without case, and reject another path.
            b"__Host-h=1; Path=/; Secure",
            b"__host-i=1; Path=/; Secure",
            b" __HOST-j=1; Path=/; Secure",
        ] {
            assert_eq!(rewritten(cookie), cookie);
        }
    }

    #[test]
    fn an_application_cannot_set_the_sessions_cookie() {
        for cookie in [
            &b"app_proxy_session=forged; Path=/"[..],
            b"app_proxy_session =forged",
            b"app_proxy_session=caf\xe9",
            // Browsers send a cookie without a name as its value.
            b"=app_proxy_session=forged",
            b" = app_proxy_session =forged; Path=/",
        ] {
            assert!(cookies(&[cookie]).is_empty());
        }
        for cookie in [
            &b"other=app_proxy_session=1"[..],
            b"app_proxy_session2=1",
            b"x; app_proxy_session=1",
            b"App_Proxy_Session=1",
        ] {
            assert_eq!(rewritten(cookie), cookie);
        }
        let kept = cookies(&[b"a=1", b"app_proxy_session=forged", b"b=2; Path=/"]);
        assert_eq!(kept, [&b"a=1"[..], b"b=2; Path=/apps/a/"]);
    }

    proptest! {
        #[test]
        fn the_first_pair_never_changes_and_no_rewriting_repeats(
            pair in "[ -~\\xe9]{0,20}",
            attributes in "(; ?(path|Path|PATH|Secure) ?=? ?/?[a-z\\xe9/]{0,9}){0,4}",
        ) {
            let cookie = pair + &attributes;
            let cookie = cookie.as_bytes();
            let once = with_prefix(cookie, PREFIX.as_bytes()).into_owned();
            let pair = |text: &[u8]| text.split(|b| *b == b';').next().map(<[u8]>::to_vec);
            prop_assert_eq!(pair(&once), pair(cookie));
            prop_assert_eq!(&*with_prefix(&once, PREFIX.as_bytes()), &once[..]);
        }
    }
}
