//! The client of a coordinator's admin API, as workers use it.

use std::time::Duration;

use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::table::AppList;

/// Largest answer that is read: 10,000 apps take some 5 MB.
const LARGEST_ANSWER: usize = 256 << 20;
/// What a call may take beyond the time for which the server is asked to wait.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(3);

/// A coordinator that is called.
#[derive(Clone, Debug)]
pub struct Client {
    base: Uri,
    token: String,
    http: HttpClient<HttpConnector, Empty<Bytes>>,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The coordinator cannot be reached, or the connection broke.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// It does not take the token.
    #[error("refuses the token: is token_file the same as the coordinator's worker_token_file?")]
    Unauthenticated,
    /// It answered with an error.
    #[error("answers {0}")]
    Status(StatusCode),
    /// It answered something else than was asked for.
    #[error("answers what is no app list: {0}")]
    Unreadable(String),
}

impl Client {
    /// A client of the admin listener at `base` (`http://host:port`).
    #[must_use]
    pub fn new(base: Uri, token: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_nodelay(true);
        let http = HttpClient::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        Self { base, token: token.to_owned(), http }
    }

    /// Which coordinator this is.
    #[must_use]
    pub fn base(&self) -> &Uri {
        &self.base
    }

    /// What changed in the app table after revision `since` of `epoch`, waiting up to `wait` for a change; without an epoch the
    /// whole table, at once.
    ///
    /// # Errors
    /// When the coordinator cannot be reached or answers with an error.
    pub async fn apps(&self, since: Option<(&str, u64)>, wait: Duration) -> Result<AppList, ClientError> {
        let path = match since {
            Some((epoch, revision)) => {
                format!("/api/v1/apps?since={revision}&epoch={epoch}&wait={}ms", wait.as_millis())
            }
            None => "/api/v1/apps".to_owned(),
        };
        let limit = wait + PATIENCE;
        match tokio::time::timeout(limit, self.get(&path)).await {
            Ok(answer) => serde_json::from_slice(&answer?).map_err(|e| ClientError::Unreadable(e.to_string())),
            Err(_) => Err(ClientError::Unreachable(format!("no answer within {limit:?}"))),
        }
    }

    async fn get(&self, path: &str) -> Result<Bytes, ClientError> {
        let unreachable = |e: &dyn std::error::Error| ClientError::Unreachable(chain(e));
        let base = self.base.to_string();
        let request = Request::get(format!("{}{path}", base.trim_end_matches('/')))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .body(Empty::new())
            .map_err(|e| unreachable(&e))?;
        let response = self.http.request(request).await.map_err(|e| unreachable(&e))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => return Err(ClientError::Unauthenticated),
            status => return Err(ClientError::Status(status)),
        }
        let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
        Ok(body.map_err(|e| unreachable(e.as_ref()))?.to_bytes())
    }
}

/// An error with its causes: hyper's own text alone does not say what the system said.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        text = format!("{text}: {e}");
        cause = e.source();
    }
    text
}
