//! A request as the application sees it.

use crate::REQUEST_ID;

/// The parts of a request that the application needs.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Request {
    /// The path, without `/apps/NAME`.
    pub(super) path: String,
    /// The length of the body.
    pub(super) length: u64,
    /// True if the body is chunked, of unknown length.
    pub(super) chunked: bool,
    /// True if the connection closes after the response.
    pub(super) close: bool,
    /// The request ID.
    pub(super) id: Option<String>,
    /// The key of a WebSocket handshake.
    pub(super) key: Option<String>,
}

/// The request at the beginning of the bytes with the length of its head, if all of it is there.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(usize, Request)>, httparse::Error> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = parsed.parse(bytes)? else {
        return Ok(None);
    };
    let mut request = Request {
        path: own_path(parsed.path.unwrap_or("/")).to_owned(),
        ..Request::default()
    };
    for header in parsed.headers.iter() {
        let value = || std::str::from_utf8(header.value).unwrap_or_default();
        // Most headers differ in length.
        match header.name.len() {
            10 if header.name.eq_ignore_ascii_case("connection") => {
                request.close = header.value.eq_ignore_ascii_case(b"close");
            }
            14 if header.name.eq_ignore_ascii_case("content-length") => {
                request.length = value().parse().unwrap_or(0);
            }
            17 if header.name.eq_ignore_ascii_case("transfer-encoding") => request.chunked = true,
            17 if header.name.eq_ignore_ascii_case("sec-websocket-key") => {
                request.key = Some(value().to_owned());
            }
            20 if header.name.eq_ignore_ascii_case(REQUEST_ID) => {
                request.id = Some(value().to_owned());
            }
            _ => {}
        }
    }
    Ok(Some((length, request)))
}

/// The path without `/apps/NAME`.
fn own_path(path: &str) -> &str {
    let Some(rest) = path.strip_prefix("/apps/") else {
        return path;
    };
    rest.find('/')
        .and_then(|slash| rest.get(slash..))
        .unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_left_out() {
        assert_eq!(own_path("/apps/bench/1k"), "/1k");
        assert_eq!(own_path("/1k"), "/1k");
        assert_eq!(own_path("/apps/bench"), "/");
    }

    #[test]
    fn requests_are_parsed() {
        let bytes = b"POST /apps/a/upload HTTP/1.1\r\nhost: x\r\nContent-Length: 12\r\n\
            Connection: Close\r\n\
            x-backend-request-id: i\r\n\r\nbody";
        let (length, request) = parse(bytes).unwrap().unwrap();
        assert_eq!(&bytes[length..], b"body");
        let expected = Request {
            path: "/upload".to_owned(),
            length: 12,
            close: true,
            id: Some("i".to_owned()),
            ..Request::default()
        };
        assert_eq!(request, expected);
        assert_eq!(parse(b"GET / HTTP/1.1\r\n").unwrap(), None);
    }
}
