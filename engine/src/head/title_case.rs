//! Header names in title case, the usual spelling of HTTP/1.1.

/// Names whose usual spelling is not title case.
const IRREGULAR: [(&str, &str); 12] = [
    ("alt-svc", "Alt-Svc"),
    ("dnt", "DNT"),
    ("etag", "ETag"),
    ("nel", "NEL"),
    ("sec-websocket-accept", "Sec-WebSocket-Accept"),
    ("sec-websocket-extensions", "Sec-WebSocket-Extensions"),
    ("sec-websocket-protocol", "Sec-WebSocket-Protocol"),
    ("sec-websocket-version", "Sec-WebSocket-Version"),
    ("te", "TE"),
    ("www-authenticate", "WWW-Authenticate"),
    ("x-dns-prefetch-control", "X-DNS-Prefetch-Control"),
    ("x-xss-protection", "X-XSS-Protection"),
];

/// Appends a name that is in lower case: the first letter of each part becomes a capital.
pub(super) fn write_title_case(out: &mut Vec<u8>, name: &str) {
    if let Some((_, usual)) = IRREGULAR.iter().find(|(irregular, _)| *irregular == name) {
        out.extend_from_slice(usual.as_bytes());
        return;
    }
    let mut begins = true;
    out.extend(name.bytes().map(|byte| {
        let shown = if begins {
            byte.to_ascii_uppercase()
        } else {
            byte
        };
        begins = byte == b'-';
        shown
    }));
}
