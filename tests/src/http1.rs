//! A raw HTTP/1.1 client: it sends exactly the bytes that it is given and keeps every header line
//! that comes back.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use crate::wait::within;
use crate::wire::Wire;
use crate::{Checksum, REQUEST_ID, SESSION, SESSION_COOKIE};

/// Header lines in their order; names compare without case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// The value of the first line called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// The values of all lines called `name`.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.0
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// Returns whether there is a header `name`.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Returns whether one of the comma-separated elements of `name` is `token`, in any case.
    #[must_use]
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .iter()
            .flat_map(|value| value.split(','))
            .any(|element| element.trim().eq_ignore_ascii_case(token))
    }

    /// The names, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

/// The first line and the header lines of a request or a response.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// `GET /path HTTP/1.1` or `HTTP/1.1 200 OK`.
    pub line: String,
    /// The header lines.
    pub headers: Headers,
}

impl Head {
    /// Reads one head; `None` when the stream ends before it begins.
    pub async fn read(wire: &mut Wire) -> io::Result<Option<Self>> {
        let Some(bytes) = wire.take_through(b"\r\n\r\n").await? else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let headers = lines
            .map(|line| {
                let (name, value) = line.split_once(':').unwrap_or((line, ""));
                (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
            })
            .collect();
        Ok(Some(Self {
            line,
            headers: Headers(headers),
        }))
    }

    /// The n-th word of the first line, from 0.
    #[must_use]
    pub fn word(&self, n: usize) -> &str {
        self.line.splitn(3, ' ').nth(n).unwrap_or_default()
    }

    /// The status of a response's head.
    ///
    /// # Panics
    /// When the first line has none.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.word(1)
            .parse()
            .unwrap_or_else(|_| panic!("not a status line: {:?}", self.line))
    }
}

/// The framing of a message's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// The body ends with the connection.
    Close,
}

impl Framing {
    /// The framing of a response to `method`.
    #[must_use]
    pub fn of_response(method: &str, head: &Head) -> Self {
        let status = head.status();
        if method.eq_ignore_ascii_case("HEAD")
            || (100..200).contains(&status)
            || matches!(status, 204 | 304)
        {
            return Self::None;
        }
        match Self::of_request(head) {
            Self::None if !head.headers.has("Content-Length") => Self::Close,
            framing => framing,
        }
    }

    /// The framing of a request.
    #[must_use]
    pub fn of_request(head: &Head) -> Self {
        if head.headers.lists("Transfer-Encoding", "chunked") {
            return Self::Chunked;
        }
        match head
            .headers
            .get("Content-Length")
            .and_then(|value| value.parse().ok())
        {
            None | Some(0) => Self::None,
            Some(length) => Self::Length(length),
        }
    }
}

/// Reads a body piece by piece.
#[derive(Debug)]
pub struct BodyReader {
    framing: Framing,
    left: u64,
    done: bool,
    /// Trailer lines, once a chunked body has ended.
    pub trailers: Vec<String>,
}

impl BodyReader {
    /// A reader of a body with this framing.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        let left = match framing {
            Framing::Length(length) => length,
            _ => 0,
        };
        Self {
            framing,
            left,
            done: framing == Framing::None,
            trailers: Vec::new(),
        }
    }

    /// The next bytes; `None` at the end. A body that stops short is an `UnexpectedEof`.
    pub async fn next(&mut self, wire: &mut Wire) -> io::Result<Option<Vec<u8>>> {
        if self.done {
            return Ok(None);
        }
        if self.framing == Framing::Close {
            let piece = wire.take_some(usize::MAX).await?;
            self.done = piece.is_empty();
            return Ok((!self.done).then(|| piece.to_vec()));
        }
        if self.framing == Framing::Chunked && self.left == 0 {
            self.left = chunk_size(wire).await?;
            if self.left == 0 {
                self.done = true;
                self.read_trailers(wire).await?;
                return Ok(None);
            }
        }
        let limit = usize::try_from(self.left).unwrap_or(usize::MAX);
        let piece = wire.take_some(limit).await?;
        if piece.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= piece.len() as u64;
        if self.left == 0 {
            match self.framing {
                Framing::Chunked => {
                    wire.take(2).await?;
                }
                _ => self.done = true,
            }
        }
        Ok(Some(piece.to_vec()))
    }

    async fn read_trailers(&mut self, wire: &mut Wire) -> io::Result<()> {
        loop {
            let line = wire
                .take_through(b"\r\n")
                .await?
                .ok_or(io::ErrorKind::UnexpectedEof)?;
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if line.is_empty() {
                return Ok(());
            }
            self.trailers.push(line);
        }
    }
}

async fn chunk_size(wire: &mut Wire) -> io::Result<u64> {
    let line = wire
        .take_through(b"\r\n")
        .await?
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    let line = String::from_utf8_lossy(&line);
    let digits = line.trim().split(';').next().unwrap_or_default().trim();
    u64::from_str_radix(digits, 16).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// A complete response.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status of the final response.
    pub status: u16,
    /// `HTTP/1.1` or whatever the status line begins with.
    pub version: String,
    /// The final response's headers.
    pub headers: Headers,
    /// The body, without its framing.
    pub body: Vec<u8>,
    /// The interim responses (100, 103) that preceded the final response.
    pub interim: Vec<Head>,
    /// True if the body was truncated.
    pub truncated: bool,
}

impl Response {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{}: not JSON ({error}): {}", self.status, self.text()))
    }

    /// The checksum of the body.
    #[must_use]
    pub fn checksum(&self) -> Checksum {
        Checksum::of(&self.body)
    }

    /// The request ID of the response.
    ///
    /// # Panics
    /// Unless there is exactly one (rule 11); it is called for that alone, too.
    pub fn request_id(&self) -> String {
        only_request_id(self.status, &self.headers)
    }

    /// The session that this response hands out in its cookie: `<id>.<mac>`.
    #[must_use]
    pub fn session_cookie(&self) -> Option<String> {
        let prefix = format!("{SESSION_COOKIE}=");
        self.headers
            .all("Set-Cookie")
            .into_iter()
            .find_map(|cookie| cookie.strip_prefix(&prefix))
            .map(|rest| rest.split(';').next().unwrap_or_default().to_owned())
    }

    /// The whole `Set-Cookie` value of the session cookie.
    #[must_use]
    pub fn session_set_cookie(&self) -> Option<&str> {
        let prefix = format!("{SESSION_COOKIE}=");
        self.headers
            .all("Set-Cookie")
            .into_iter()
            .find(|cookie| cookie.starts_with(&prefix))
    }

    /// The session that this response hands out in its header: `<id>.<mac>`.
    #[must_use]
    pub fn session_header(&self) -> Option<&str> {
        self.headers.get(SESSION)
    }

    /// The `code` of a problem document.
    #[must_use]
    pub fn problem_code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// The one request ID among `headers`.
///
/// # Panics
/// When there are none or several.
pub fn only_request_id(status: u16, headers: &Headers) -> String {
    let ids = headers.all(REQUEST_ID);
    assert_eq!(
        ids.len(),
        1,
        "a {status} has one {REQUEST_ID}, not {ids:?}: {headers:?}"
    );
    ids[0].to_owned()
}

/// A client's connection.
#[derive(Debug)]
pub struct Client {
    /// Returns the connection, to send unusual bytes.
    pub wire: Wire,
    /// The value of `Host`.
    pub host: String,
}

impl Client {
    /// Connects to `addr`.
    ///
    /// # Panics
    /// When nothing listens there.
    pub async fn connect(addr: SocketAddr) -> Self {
        Self::try_connect(addr)
            .await
            .unwrap_or_else(|error| panic!("{addr} cannot be reached: {error}"))
    }

    /// Connects to `addr`.
    pub async fn try_connect(addr: SocketAddr) -> io::Result<Self> {
        let wire = within("a connection", Wire::connect(addr)).await?;
        Ok(Self {
            wire,
            host: addr.to_string(),
        })
    }

    /// Connects to `addr` from the loopback address `source`.
    ///
    /// # Panics
    /// When that fails.
    pub async fn connect_from(source: IpAddr, addr: SocketAddr) -> Self {
        let wire = within("a connection", Wire::connect_from(source, addr))
            .await
            .unwrap_or_else(|error| panic!("{addr} cannot be reached from {source}: {error}"));
        Self {
            wire,
            host: addr.to_string(),
        }
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.send(bytes).await;
    }

    /// Begins a request on this connection.
    pub fn request<'a>(&'a mut self, method: &str, target: &str) -> Request<'a> {
        let host = self.host.clone();
        Request::new(Some(self), None, host, method, target)
    }

    /// Begins a GET on this connection.
    pub fn get<'a>(&'a mut self, target: &str) -> Request<'a> {
        self.request("GET", target)
    }

    /// Reads the head of the next response, an interim one included.
    ///
    /// # Panics
    /// When the connection ends first.
    pub async fn read_head(&mut self) -> Head {
        within("a response head", Head::read(&mut self.wire))
            .await
            .expect("a response head")
            .expect("a response before the end of the connection")
    }

    /// Reads the response to a request with this `method`.
    ///
    /// # Panics
    /// When the connection ends before the headers do.
    pub async fn read_response(&mut self, method: &str) -> Response {
        self.try_read_response(method)
            .await
            .unwrap_or_else(|error| panic!("no response: {error}"))
    }

    /// Reads the response to a request with this `method`; fails when the connection ends before
    /// the headers do.
    pub async fn try_read_response(&mut self, method: &str) -> io::Result<Response> {
        within("a response", self.response(method)).await
    }

    async fn response(&mut self, method: &str) -> io::Result<Response> {
        let mut interim = Vec::new();
        let head = loop {
            let head = Head::read(&mut self.wire)
                .await?
                .ok_or(io::ErrorKind::UnexpectedEof)?;
            if !(100..200).contains(&head.status()) || head.status() == 101 {
                break head;
            }
            interim.push(head);
        };
        let mut reader = BodyReader::new(Framing::of_response(method, &head));
        let mut body = Vec::new();
        let mut truncated = false;
        loop {
            match reader.next(&mut self.wire).await {
                Ok(Some(piece)) => body.extend_from_slice(&piece),
                Ok(None) => break,
                Err(_) => {
                    truncated = true;
                    break;
                }
            }
        }
        Ok(Response {
            status: head.status(),
            version: head.word(0).to_owned(),
            headers: head.headers,
            body,
            interim,
            truncated,
        })
    }

    /// Waits until the peer closes; returns the number of bytes received before.
    pub async fn closed(&mut self) -> usize {
        self.wire.closed().await
    }
}

/// A request under construction. Adds no headers but `Host` (unless [`Request::without_host`]) and
/// the length of a body.
#[derive(Debug)]
#[must_use = "a request goes out with send()"]
pub struct Request<'a> {
    client: Option<&'a mut Client>,
    addr: Option<SocketAddr>,
    source: Option<IpAddr>,
    host: Option<String>,
    method: String,
    target: String,
    version: &'static str,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl<'a> Request<'a> {
    fn new(
        client: Option<&'a mut Client>,
        addr: Option<SocketAddr>,
        host: String,
        method: &str,
        target: &str,
    ) -> Self {
        Self {
            client,
            addr,
            source: None,
            host: Some(host),
            method: method.to_owned(),
            target: target.to_owned(),
            version: "HTTP/1.1",
            headers: Vec::new(),
            body: None,
        }
    }

    /// A request on a connection of its own.
    pub fn to(addr: SocketAddr, method: &str, target: &str) -> Request<'static> {
        Request::new(None, Some(addr), addr.to_string(), method, target)
    }

    /// Adds a header line.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds the request ID header.
    pub fn id(self, id: &str) -> Self {
        self.header(REQUEST_ID, id)
    }

    /// Adds a cookie that continues the session `value` (`<id>.<mac>`).
    pub fn session(self, value: &str) -> Self {
        self.header("Cookie", &format!("{SESSION_COOKIE}={value}"))
    }

    /// Sends another `Host`.
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    /// Sends no `Host`.
    pub fn without_host(mut self) -> Self {
        self.host = None;
        self
    }

    /// Speaks HTTP/1.0.
    pub fn http10(mut self) -> Self {
        self.version = "HTTP/1.0";
        self
    }

    /// Connects from another loopback address (only for a request on a connection of its own).
    pub fn from_address(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// Adds a body and its `Content-Length`.
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Some(body.as_ref().to_vec());
        self
    }

    /// The bytes that would be sent.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{} {} {}\r\n", self.method, self.target, self.version);
        if let Some(host) = &self.host {
            let _ = write!(text, "Host: {host}\r\n");
        }
        for (name, value) in &self.headers {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        if let Some(body) = &self.body {
            let _ = write!(text, "Content-Length: {}\r\n", body.len());
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }

    /// Sends the request and reads the response.
    ///
    /// # Panics
    /// If no response arrives.
    pub async fn send(self) -> Response {
        let what = format!("{} {}", self.method, self.target);
        self.try_send()
            .await
            .unwrap_or_else(|error| panic!("{what}: no response: {error}"))
    }

    /// Sends the request and reads the response; fails when the connection does.
    pub async fn try_send(mut self) -> io::Result<Response> {
        let bytes = self.bytes();
        let method = self.method.clone();
        if let Some(client) = self.client.take() {
            client.wire.try_send(&bytes).await?;
            return client.try_read_response(&method).await;
        }
        let mut client = self.open().await?;
        client.wire.try_send(&bytes).await?;
        client.try_read_response(&method).await
    }

    /// Sends the request and returns the connection with the response unread.
    ///
    /// # Panics
    /// If the connection fails, or the request was begun on a connection that is borrowed.
    pub async fn start(self) -> Client {
        let bytes = self.bytes();
        let mut client = self.open().await.expect("a connection");
        client.wire.send(&bytes).await;
        client
    }

    async fn open(&self) -> io::Result<Client> {
        let addr = self.addr.expect("a request with an address of its own");
        match self.source {
            Some(source) => Ok(Client::connect_from(source, addr).await),
            None => Client::try_connect(addr).await,
        }
    }
}
