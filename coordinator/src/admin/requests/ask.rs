//! Asks a worker, at its proxy listener: the one that a coordinator can always reach.

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

/// How long a worker has for its answer, connecting included.
const LIMIT: Duration = Duration::from_secs(2);
/// Largest answer that is read.
const LARGEST_ANSWER: usize = 64 << 20;

/// Why a worker's answer is missing.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// It cannot be connected, or the connection broke.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// It took too long.
    #[error("has not answered within {LIMIT:?}")]
    Late,
    /// It does not take the token.
    #[error("refuses this coordinator's token")]
    Refused,
    /// It answered with an error.
    #[error("answers {0}")]
    Status(StatusCode),
    /// It answered something else than was asked for.
    #[error("answers what is no list of events: {0}")]
    Unreadable(String),
}

/// The lines of a request that a worker has.
pub(super) async fn events(
    worker: &PoolWorker,
    token: &HeaderValue,
    id: &RequestId,
) -> Result<Vec<Value>, AskError> {
    timeout(LIMIT, connect_and_ask(worker, token, id))
        .await
        .unwrap_or(Err(AskError::Late))
}

async fn connect_and_ask(
    worker: &PoolWorker,
    token: &HeaderValue,
    id: &RequestId,
) -> Result<Vec<Value>, AskError> {
    match &worker.peer._address {
        PeerAddr::Inet(address) => {
            ask(
                TcpStream::connect(address).await.map_err(unreachable)?,
                token,
                id,
            )
            .await
        }
        PeerAddr::Unix(address) => {
            let path = address
                .as_pathname()
                .ok_or_else(|| AskError::Unreachable("an address without a name".into()))?;
            ask(
                UnixStream::connect(path).await.map_err(unreachable)?,
                token,
                id,
            )
            .await
        }
    }
}

async fn ask<S>(stream: S, token: &HeaderValue, id: &RequestId) -> Result<Vec<Value>, AskError>
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
            StatusCode::FORBIDDEN => return Err(AskError::Refused),
            status => return Err(AskError::Status(status)),
        }
        let body = Limited::new(response.into_body(), LARGEST_ANSWER)
            .collect()
            .await;
        let body = body
            .map_err(|e| AskError::Unreachable(e.to_string()))?
            .to_bytes();
        let answer: RequestEvents =
            serde_json::from_slice(&body).map_err(|e| AskError::Unreadable(e.to_string()))?;
        Ok(answer.events)
    };
    // The connection moves the bytes while the answer is waited for; it ends with the answer, or by
    // a fault that the answer names.
    let (answer, _) = tokio::join!(answer, connection);
    answer
}

fn unreachable(error: impl std::error::Error) -> AskError {
    AskError::Unreachable(error.to_string())
}
