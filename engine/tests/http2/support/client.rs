//! A client of HTTP/2 with prior knowledge.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response, StatusCode};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::within;

/// A connection of a client.
pub(crate) struct H2 {
    pub(crate) sender: SendRequest<Bytes>,
    /// Completes with the end of the connection.
    pub(crate) driver: JoinHandle<Result<(), h2::Error>>,
    pub(crate) authority: String,
}

/// A whole response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl H2 {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self::with(addr, &Builder::new()).await
    }

    /// Connects with these settings.
    pub(crate) async fn with(addr: SocketAddr, builder: &Builder) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let handshake = builder.handshake(stream);
        let (sender, connection) = within("a handshake", handshake).await.unwrap();
        Self {
            sender,
            driver: tokio::spawn(connection),
            authority: addr.to_string(),
        }
    }

    /// Returns a request for `path`.
    pub(crate) fn request(&self, method: &str, path: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.authority))
    }

    /// Sends a request head. `end`: no body follows.
    pub(crate) async fn send(
        &self,
        request: http::request::Builder,
        end: bool,
    ) -> (ResponseFuture, SendStream<Bytes>) {
        let mut sender = within("a free stream", self.sender.clone().ready())
            .await
            .unwrap();
        sender.send_request(request.body(()).unwrap(), end).unwrap()
    }
}

/// Reads a whole response.
pub(crate) async fn read(response: ResponseFuture) -> Result<Answer, h2::Error> {
    let response = within("a response head", response).await?;
    let (head, mut body) = response.into_parts();
    let bytes = within("a response body", read_body(&mut body)).await?;
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body: bytes,
        trailers: within("trailers", body.trailers()).await?,
    })
}

pub(crate) async fn read_body(body: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        let _ = body.flow_control().release_capacity(piece.len());
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// Returns the reason of a stream that was reset.
pub(crate) fn reason<T: std::fmt::Debug>(result: Result<T, h2::Error>) -> Reason {
    result.unwrap_err().reason().unwrap()
}

/// Sends `bytes` as fast as the windows allow. Fails when the stream is reset.
pub(crate) async fn upload(
    stream: &mut SendStream<Bytes>,
    mut bytes: Bytes,
) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let capacity = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let capacity = match capacity {
            Some(capacity) => capacity?,
            None => return Err(Reason::NO_ERROR.into()),
        };
        stream.send_data(bytes.split_to(capacity.min(bytes.len())), false)?;
    }
    Ok(())
}

/// The head of a response, while its body is still to be read.
pub(crate) async fn head(response: ResponseFuture) -> Response<RecvStream> {
    within("a response head", response).await.unwrap()
}
