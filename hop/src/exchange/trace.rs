//! The trace of a request (docs/reference/request-id.md, rule 21).

use http::{HeaderMap, HeaderValue};

use crate::header::TRACEPARENT;

/// Returns the trace-id of the request's one valid `traceparent`.
pub(super) fn of(headers: &HeaderMap) -> Option<[u8; 32]> {
    let mut traces = headers.get_all(&TRACEPARENT).iter();
    traces
        .next()
        .filter(|_| traces.next().is_none())
        .and_then(trace_id)
}

/// Returns the trace-id of a valid `traceparent` (W3C Trace Context, section 3.2).
fn trace_id(value: &HeaderValue) -> Option<[u8; 32]> {
    let bytes = value.as_bytes();
    let lower_hex = |part: &[u8]| part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let [version @ .., b'-'] = bytes.get(..3)? else {
        return None;
    };
    let id: [u8; 32] = bytes.get(3..35)?.try_into().ok()?;
    let span = bytes.get(36..52)?;
    let flags = bytes.get(53..55)?;
    let dashes = bytes.get(35) == Some(&b'-') && bytes.get(52) == Some(&b'-');
    let ends = bytes.len() == 55 || (version != b"00" && bytes.get(55) == Some(&b'-'));
    let nonzero = id != [b'0'; 32] && span != [b'0'; 16];
    let valid = dashes
        && ends
        && nonzero
        && version != b"ff"
        && [version, &id, span, flags].into_iter().all(lower_hex);
    valid.then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_21_only_a_valid_traceparent_gives_a_trace_id() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let id = trace_id(&HeaderValue::from_static(good)).unwrap();
        assert_eq!(&id, b"4bf92f3577b34da6a3ce929d0e0e4736");
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
        ] {
            assert_eq!(
                trace_id(&HeaderValue::from_str(bad).unwrap()),
                None,
                "{bad}"
            );
        }
    }
}
