//! The client that reads the log lines of a request from a worker. It connects to the worker's
//! proxy listener, which a coordinator can always reach.

use std::time::Duration;

use app_proxy_api::requests::RequestEvents;
use app_proxy_hop::header::TOKEN;
use app_proxy_hop::identity::RequestId;
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddr;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::pool::PoolWorker;

/// The time limit of a query, including connecting.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The maximum size of a response, in bytes.
const MAX_RESPONSE: usize = 64 << 20;

/// The cause of a failed query.
#[derive(Debug, thiserror::Error)]
pub(super) enum QueryError {
    /// Connecting failed, or the connection broke.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// No response in time.
    #[error("has not responded within {TIMEOUT:?}")]
    Timeout,
    /// The worker rejected the token.
    #[error("rejects this coordinator's token")]
    Rejected,
    /// The worker responded with an error.
    #[error("responded with {0}")]
    Status(StatusCode),
    /// The response is not a list of events.
    #[error("sent a response that is not a list of events: {0}")]
    Unreadable(String),
}

/// Returns the lines of a request that a worker has.
pub(super) async fn events(
    worker: &PoolWorker,
    token: &HeaderValue,
    id: &RequestId,
) -> Result<Vec<Value>, QueryError> {
    timeout(TIMEOUT, connect_and_query(worker, token, id))
        .await
        .unwrap_or(Err(QueryError::Timeout))
}

async fn connect_and_query(
    worker: &PoolWorker,
    token: &HeaderValue,
    id: &RequestId,
) -> Result<Vec<Value>, QueryError> {
    match &worker.peer._address {
        PeerAddr::Inet(address) => {
            query(
                TcpStream::connect(address).await.map_err(unreachable)?,
                token,
                id,
            )
            .await
        }
        PeerAddr::Unix(address) => {
            let path = address
                .as_pathname()
                .ok_or_else(|| QueryError::Unreachable("the socket has no path".into()))?;
            query(
                UnixStream::connect(path).await.map_err(unreachable)?,
                token,
                id,
            )
            .await
        }
    }
}

async fn query<S>(stream: S, token: &HeaderValue, id: &RequestId) -> Result<Vec<Value>, QueryError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = Request::get(format!("/requests/{id}"))
        .header(header::HOST, "worker")
        .header(header::CONNECTION, "close")
        .header(&TOKEN, token)
        .body(Empty::<Bytes>::new())
        .map_err(unreachable)?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(unreachable)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::FORBIDDEN => return Err(QueryError::Rejected),
            status => return Err(QueryError::Status(status)),
        }
        let body = Limited::new(response.into_body(), MAX_RESPONSE)
            .collect()
            .await;
        let body = body
            .map_err(|e| QueryError::Unreachable(e.to_string()))?
            .to_bytes();
        let answer: RequestEvents =
            serde_json::from_slice(&body).map_err(|e| QueryError::Unreadable(e.to_string()))?;
        Ok(answer.events)
    };
    // The connection's future moves the bytes while the response is awaited. It ends with the
    // response, or with an error that the response's future returns too.
    let (answer, _) = tokio::join!(answer, connection);
    answer
}

fn unreachable(error: impl std::error::Error) -> QueryError {
    QueryError::Unreachable(error.to_string())
}
