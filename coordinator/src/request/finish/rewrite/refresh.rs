//! The URL in a `Refresh` header, found as browsers do (HTML, "shared declarative refresh steps").

/// Splits a value into the part before the URL, the URL, and the part after it; none if it has no
/// URL, or no time before it.
pub(super) fn split(value: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let rest = value.trim_ascii_start();
    let after_time = skip(rest, |byte| byte.is_ascii_digit() || byte == b'.');
    if after_time.len() == rest.len() {
        return None;
    }
    let rest = after_time.trim_ascii_start();
    let has_separator = matches!(rest.first(), Some(b';' | b','));
    if !has_separator && rest.len() == after_time.len() {
        return None;
    }
    let rest = if has_separator { rest.get(1..)? } else { rest };
    let url = without_name(rest.trim_ascii_start());
    let (url, length) = match url.first() {
        Some(quote @ (b'"' | b'\'')) => {
            let inner = url.get(1..)?;
            let end = inner.iter().position(|byte| byte == quote);
            (inner, end.unwrap_or(inner.len()))
        }
        _ => (url, url.len()),
    };
    let before = value.get(..value.len() - url.len())?;
    let (url, after) = url.split_at_checked(length)?;
    (!url.is_empty()).then_some((before, url, after))
}

/// Returns the rest of a text after `url=`, or the text if it does not begin with that.
fn without_name(text: &[u8]) -> &[u8] {
    let after_name = super::strip_ignoring_case(text, b"url").map(<[u8]>::trim_ascii_start);
    match after_name {
        Some([b'=', rest @ ..]) => rest.trim_ascii_start(),
        _ => text,
    }
}

/// Returns the text after its leading bytes for which `is_skipped`.
fn skip(text: &[u8], is_skipped: impl Fn(u8) -> bool) -> &[u8] {
    let end = text.iter().position(|byte| !is_skipped(*byte));
    text.get(end.unwrap_or(text.len())..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(value: &str) -> Option<&str> {
        let (before, url, after) = split(value.as_bytes())?;
        assert_eq!([before, url, after].concat(), value.as_bytes());
        Some(std::str::from_utf8(url).unwrap())
    }

    #[test]
    fn the_url_is_what_a_browser_would_load() {
        for (value, expected) in [
            ("0; url=/next", Some("/next")),
            ("5;URL=/next?a=b;c", Some("/next?a=b;c")),
            ("0.5, Url = '/next' later", Some("/next")),
            ("1 ; url=\"/next", Some("/next")),
            ("3 /next", Some("/next")),
            ("0;/next", Some("/next")),
            ("0;urls", Some("urls")),
            ("5", None),
            ("5;", None),
            ("5; url=", None),
            ("5; url=''", None),
            ("url=/next", None),
            ("", None),
        ] {
            assert_eq!(url(value), expected, "{value}");
        }
    }
}
