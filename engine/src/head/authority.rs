//! The authority of a request: that of the target against that of the `Host` header.

use bytes::Bytes;
use http::header::HeaderValue;

/// The authority of a target in absolute form, and the default port of its scheme.
#[derive(Debug)]
pub(super) struct Authority {
    bytes: Bytes,
    default_port: &'static [u8],
}

impl Authority {
    /// Returns the authority of `http://…` or `https://…`, and its end. User information is
    /// invalid (RFC 9110, section 4.2.4), and so is an empty host.
    pub(super) fn of_absolute_form(target: &Bytes) -> Option<(Self, usize)> {
        let (start, default_port) = if has_prefix(target, b"http://") {
            (7, &b"80"[..])
        } else if has_prefix(target, b"https://") {
            (8, &b"443"[..])
        } else {
            return None;
        };
        let rest = target.get(start..)?;
        let length = rest.iter().position(|byte| matches!(byte, b'/' | b'?'));
        let end = start + length.unwrap_or(rest.len());
        let bytes = target.slice(start..end);
        let (host, _) = split_port(&bytes);
        if host.is_empty() || bytes.contains(&b'@') {
            return None;
        }
        Some((
            Self {
                bytes,
                default_port,
            },
            end,
        ))
    }

    /// Returns the length in bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns whether a `Host` value names the same authority (RFC 9110, section 4.2.3): hosts
    /// have no case, and a port that is absent or empty is the default port.
    pub(super) fn matches(&self, host: &[u8]) -> bool {
        is_same_authority(host, &self.bytes, self.default_port)
    }

    /// Returns the `Host` value for the next hop.
    pub(super) fn into_host(self) -> Option<HeaderValue> {
        HeaderValue::from_maybe_shared(self.bytes).ok()
    }
}

/// Returns whether two authorities of a scheme with this default port are equal.
pub(crate) fn is_same_authority(one: &[u8], other: &[u8], default_port: &[u8]) -> bool {
    let (host, port) = split_port(one);
    let (other_host, other_port) = split_port(other);
    let or_default = |port| {
        if port == &b""[..] { default_port } else { port }
    };
    host.eq_ignore_ascii_case(other_host) && or_default(port) == or_default(other_port)
}

/// Returns whether `target` is `host:port`, the form of CONNECT (RFC 9112, section 3.2.3).
pub(super) fn is_host_and_port(target: &[u8]) -> bool {
    let (host, port) = split_port(target);
    !host.is_empty() && !port.is_empty() && !host.contains(&b'@')
}

/// Returns host and port of an authority; the port may be absent or empty. The colons of an IPv6
/// address are within brackets.
fn split_port(authority: &[u8]) -> (&[u8], &[u8]) {
    let digits = authority
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (rest, port) = authority.split_at(authority.len() - digits);
    rest.strip_suffix(b":")
        .map_or((authority, b""), |host| (host, port))
}

/// Returns whether `text` begins with `prefix`, compared without case.
fn has_prefix(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len())
        .is_some_and(|beginning| beginning.eq_ignore_ascii_case(prefix))
}
