//! One try to deliver a webhook: the request, its signature, and what the answer means.

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

/// How long a scheduler has to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection is kept for the next webhook.
const KEEP: Duration = Duration::from_secs(20);

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

type Plain = Client<HttpConnector, Full<Bytes>>;
type Private = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Brings webhooks to schedulers.
pub(super) struct Courier {
    key: SigningKey,
    request_id: HeaderName,
    plain: OnceCell<Plain>,
    /// Made when it is needed first: a machine without root certificates can do without.
    private: OnceCell<Private>,
}

/// Why a webhook was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotTaken {
    /// It will never be: 410, or it cannot be sent at all.
    #[error("{0}")]
    Never(String),
    /// Another status than 2xx. Redirects are not followed: what is signed is for one address.
    #[error("status {}", .0.as_u16())]
    Status(StatusCode),
    /// No answer in time.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Late,
    /// No root certificates, so that nobody can be trusted.
    #[error("no root certificates: {0}")]
    Roots(io::Error),
    /// The connection failed.
    #[error("{0}")]
    Connection(String),
}

impl Courier {
    pub(super) fn new(key: SigningKey, request_id: HeaderName) -> Self {
        Self {
            key,
            request_id,
            plain: OnceCell::new(),
            private: OnceCell::new(),
        }
    }

    /// Tries once.
    pub(super) async fn deliver(
        &self,
        url: &WebhookUrl,
        event: &WebhookEvent,
    ) -> Result<StatusCode, NotTaken> {
        let request = self.request(url, event, now_ms() / 1000)?;
        match tokio::time::timeout(PATIENCE, self.send(request)).await {
            Err(_) => Err(NotTaken::Late),
            Ok(Ok(status)) if status.is_success() => Ok(status),
            Ok(Ok(StatusCode::GONE)) => Err(NotTaken::Never(
                "status 410: the scheduler wants no more of them".to_owned(),
            )),
            Ok(Ok(status)) => Err(NotTaken::Status(status)),
            Ok(Err(error)) => Err(error),
        }
    }

    fn request(
        &self,
        url: &WebhookUrl,
        event: &WebhookEvent,
        timestamp: u64,
    ) -> Result<Request<Full<Bytes>>, NotTaken> {
        let never = |e: &dyn std::fmt::Display| NotTaken::Never(format!("it cannot be sent: {e}"));
        let body = serde_json::to_vec(event).map_err(|e| never(&e))?;
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
            .map_err(|e| never(&e))
    }

    /// Sends a request, and does not read the body of the answer.
    async fn send(&self, request: Request<Full<Bytes>>) -> Result<StatusCode, NotTaken> {
        let answer = if request.uri().scheme_str() == Some("https") {
            self.private
                .get_or_try_init(private)
                .await
                .map_err(NotTaken::Roots)?
                .request(request)
                .await
        } else {
            self.plain.get_or_init(plain).await.request(request).await
        };
        answer
            .map(|answer| answer.status())
            .map_err(|e| NotTaken::Connection(with_causes(&e)))
    }
}

async fn plain() -> Plain {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(KEEP)
        .build_http()
}

/// Reads the machine's root certificates, which are many files.
async fn private() -> io::Result<Private> {
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
        .pool_idle_timeout(KEEP)
        .build(connector))
}

/// An error and what it comes from: the client's own text says no more than that there was one.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
