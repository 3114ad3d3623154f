//! One attempt to deliver a webhook: the request, its signature, and the meaning of the response.

use std::io;
use std::time::Duration;

use app_proxy_api::webhooks::{WebhookEvent, WebhookUrl};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::OnceCell;

use super::sign::SigningKey;
use crate::clock::now_ms;

/// The time limit of an attempt, including connecting.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The time that an idle connection is kept for the next webhook.
const KEEPALIVE: Duration = Duration::from_secs(20);

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

type HttpClient = Client<HttpConnector, Full<Bytes>>;
type HttpsClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Sends webhooks to schedulers.
pub(super) struct WebhookClient {
    key: SigningKey,
    request_id: HeaderName,
    http: OnceCell<HttpClient>,
    /// Created for the first `https` URL, so that a machine without root certificates can send to
    /// `http` URLs.
    https: OnceCell<HttpsClient>,
}

/// The cause of a failed attempt.
#[derive(Debug, thiserror::Error)]
pub(super) enum AttemptError {
    /// Another attempt is pointless: status 410, or the request cannot be built.
    #[error("{0}")]
    Permanent(String),
    /// A status that is not 2xx. Redirects are not followed: the signature is for one receiver.
    #[error("status {}", .0.as_u16())]
    Status(StatusCode),
    /// No response in time.
    #[error("no response within {} s", TIMEOUT.as_secs())]
    Timeout,
    /// The machine has no root certificates, so that no receiver can be authenticated.
    #[error("no root certificates: {0}")]
    NoRootCertificates(io::Error),
    /// The connection failed.
    #[error("{0}")]
    Connection(String),
}

impl WebhookClient {
    pub(super) fn new(key: SigningKey, request_id: HeaderName) -> Self {
        Self {
            key,
            request_id,
            http: OnceCell::new(),
            https: OnceCell::new(),
        }
    }

    /// Sends the event once. Returns the status of the response if it is 2xx.
    pub(super) async fn attempt(
        &self,
        url: &WebhookUrl,
        event: &WebhookEvent,
    ) -> Result<StatusCode, AttemptError> {
        let request = self.request(url, event, now_ms() / 1000)?;
        match tokio::time::timeout(TIMEOUT, self.send(request)).await {
            Err(_) => Err(AttemptError::Timeout),
            Ok(Ok(status)) if status.is_success() => Ok(status),
            Ok(Ok(StatusCode::GONE)) => Err(AttemptError::Permanent(
                "status 410: the scheduler wants no more events".to_owned(),
            )),
            Ok(Ok(status)) => Err(AttemptError::Status(status)),
            Ok(Err(error)) => Err(error),
        }
    }

    fn request(
        &self,
        url: &WebhookUrl,
        event: &WebhookEvent,
        timestamp: u64,
    ) -> Result<Request<Full<Bytes>>, AttemptError> {
        let permanent = |e: &dyn std::fmt::Display| {
            AttemptError::Permanent(format!("cannot build the request: {e}"))
        };
        let body = serde_json::to_vec(event).map_err(|e| permanent(&e))?;
        let signature = self.key.sign(&event.id, timestamp, &body);
        let request_id = event.data.request_id.as_deref().unwrap_or(&event.id);
        Request::post(url.uri())
            .header(header::CONTENT_TYPE, "application/json")
            .header(
                header::USER_AGENT,
                concat!("app-proxy-coordinator/", env!("CARGO_PKG_VERSION")),
            )
            .header(WEBHOOK_ID, &event.id)
            .header(WEBHOOK_TIMESTAMP, HeaderValue::from(timestamp))
            .header(WEBHOOK_SIGNATURE, signature)
            .header(&self.request_id, request_id)
            .body(Full::from(body))
            .map_err(|e| permanent(&e))
    }

    /// Sends a request; the body of the response is not read.
    async fn send(&self, request: Request<Full<Bytes>>) -> Result<StatusCode, AttemptError> {
        let response = if request.uri().scheme_str() == Some("https") {
            self.https
                .get_or_try_init(https_client)
                .await
                .map_err(AttemptError::NoRootCertificates)?
                .request(request)
                .await
        } else {
            self.http
                .get_or_init(http_client)
                .await
                .request(request)
                .await
        };
        response
            .map(|response| response.status())
            .map_err(|e| AttemptError::Connection(with_causes(&e)))
    }
}

async fn http_client() -> HttpClient {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(KEEPALIVE)
        .build_http()
}

/// Reads the machine's root certificates on a blocking thread: they are many files.
async fn https_client() -> io::Result<HttpsClient> {
    let connector = tokio::task::spawn_blocking(|| {
        let connector = HttpsConnectorBuilder::new()
            .with_native_roots()?
            .https_only()
            .enable_http1()
            .build();
        io::Result::Ok(connector)
    });
    let connector = connector.await.map_err(io::Error::other)??;
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(KEEPALIVE)
        .build(connector))
}

/// Formats an error with its causes: the text of the client's error alone names no cause.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
