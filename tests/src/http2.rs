//! An HTTP/2 client over cleartext TCP with prior knowledge (h2c).

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Method, Request, Version};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::http1::{Headers, Response};
use crate::wait::within;

/// A connection that carries many requests at a time.
#[derive(Debug)]
pub struct H2Client {
    sender: SendRequest<Bytes>,
    authority: String,
    driver: JoinHandle<()>,
}

impl Drop for H2Client {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl H2Client {
    /// Connects to `addr`.
    ///
    /// # Panics
    /// When nothing there speaks HTTP/2.
    pub async fn connect(addr: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(addr))
            .await
            .unwrap_or_else(|error| panic!("{addr} cannot be reached: {error}"));
        let _ = stream.set_nodelay(true);
        let (sender, connection) = within("an HTTP/2 handshake", h2::client::handshake(stream))
            .await
            .unwrap_or_else(|error| panic!("{addr} does not speak HTTP/2: {error}"));
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        Self {
            sender,
            authority: addr.to_string(),
            driver,
        }
    }

    /// Sends a request without waiting for its response.
    ///
    /// # Panics
    /// When the connection is gone.
    pub async fn start(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Option<Bytes>,
    ) -> ResponseFuture {
        let mut sender = within("a free stream", self.sender.clone().ready())
            .await
            .expect("the connection accepts requests");
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).expect("a method"))
            .version(Version::HTTP_2)
            .uri(format!("http://{}{target}", self.authority));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        let (response, mut stream) = sender
            .send_request(request, body.is_none())
            .expect("the request is sent");
        if let Some(body) = body {
            stream.send_data(body, true).expect("the body is sent");
        }
        response
    }

    /// Sends a request and reads the whole response.
    ///
    /// # Panics
    /// If no response arrives.
    pub async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Option<Bytes>,
    ) -> Response {
        self.try_send(method, target, headers, body)
            .await
            .unwrap_or_else(|error| panic!("{method} {target}: no response over HTTP/2: {error}"))
    }

    /// Sends a request and reads the whole response; fails when the stream does.
    pub async fn try_send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Option<Bytes>,
    ) -> Result<Response, h2::Error> {
        let response = self.start(method, target, headers, body).await;
        within("a response over HTTP/2", read(response)).await
    }

    /// Sends a GET and reads the whole response.
    pub async fn get(&self, target: &str, headers: &[(&str, &str)]) -> Response {
        self.send("GET", target, headers, None).await
    }
}

/// Reads the whole response of the future `response`.
pub async fn read(response: ResponseFuture) -> Result<Response, h2::Error> {
    let (parts, mut stream) = response.await?.into_parts();
    let mut body = Vec::new();
    let mut truncated = false;
    while let Some(piece) = stream.data().await {
        match piece {
            Ok(piece) => {
                let _ = stream.flow_control().release_capacity(piece.len());
                body.extend_from_slice(&piece);
            }
            Err(_) => {
                truncated = true;
                break;
            }
        }
    }
    Ok(Response {
        status: parts.status.as_u16(),
        version: "HTTP/2".to_owned(),
        headers: headers(&parts.headers),
        body,
        interim: Vec::new(),
        truncated,
    })
}

fn headers(map: &HeaderMap) -> Headers {
    Headers(
        map.iter()
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.as_str().to_owned(), value)
            })
            .collect(),
    )
}
