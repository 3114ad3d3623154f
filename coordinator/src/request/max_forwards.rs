//! `Max-Forwards`: how many more hops a request with OPTIONS or TRACE may make (RFC 9110, section
//! 7.6.2). Both tiers are one hop.

use http::{HeaderMap, HeaderValue, header};
use pingora_http::RequestHeader;

/// Returns whether a request may make no further hop.
pub(super) fn is_used_up(headers: &HeaderMap) -> bool {
    read(headers) == Some(0)
}

/// Counts the hop to the application. An invalid value stays.
pub(super) fn decrement(request: &mut RequestHeader) {
    if let Some(left) = read(&request.headers) {
        let left = HeaderValue::from(left.saturating_sub(1));
        let _ = request.insert_header(header::MAX_FORWARDS, left);
    }
}

/// Returns the number of hops. A number that is too large counts as the largest possible one.
fn read(headers: &HeaderMap) -> Option<u32> {
    let mut lines = headers.get_all(header::MAX_FORWARDS).iter();
    let text = lines.next().filter(|_| lines.next().is_none())?.as_bytes();
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let text = str::from_utf8(text).ok().filter(|_| is_number)?;
    Some(text.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decremented(lines: &[&'static str]) -> (bool, Vec<String>) {
        let mut request = RequestHeader::build("OPTIONS", b"/", None).unwrap();
        for line in lines {
            request.append_header("Max-Forwards", *line).unwrap();
        }
        let used_up = is_used_up(&request.headers);
        decrement(&mut request);
        let left = request.headers.get_all("max-forwards").iter();
        let left = left.map(|line| line.to_str().unwrap().to_owned());
        (used_up, left.collect())
    }

    #[test]
    fn a_hop_is_counted() {
        for (value, used_up, left) in [
            ("0", true, "0"),
            ("00", true, "0"),
            ("1", false, "0"),
            ("70", false, "69"),
            ("99999999999999999999", false, "4294967294"),
            ("-1", false, "-1"),
            ("1.5", false, "1.5"),
            ("", false, ""),
        ] {
            let found = decremented(&[value]);
            assert_eq!(found, (used_up, vec![left.to_owned()]), "{value}");
        }
        assert_eq!(decremented(&[]), (false, vec![]));
        assert_eq!(decremented(&["0", "0"]).1, ["0", "0"]);
    }
}
