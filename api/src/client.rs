//! A client of a coordinator's admin API, for workers and `app-proxyctl`.

use std::time::Duration;

use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::table::{AppList, Epoch};
use crate::units::Period;
use crate::workers::{InstanceId, RegistrationReply, WorkerRegistration};

/// Maximum length of a response in bytes; 10,000 apps are about 5 MB.
const MAX_RESPONSE: usize = 256 << 20;
/// Timeout of a call, in addition to the time that the server is asked to wait.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A client of one coordinator.
///
/// ```no_run
/// use app_proxy_api::client::{Call, Client, ClientError};
/// use app_proxy_api::lists::Page;
/// use app_proxy_api::workers::WorkerView;
/// use http::Uri;
///
/// # async fn list_workers() -> Result<(), ClientError> {
/// let client = Client::new(Uri::from_static("http://127.0.0.1:8081"), "secret");
/// let workers: Page<WorkerView> = client.call(Call::get("/api/v1/workers")).await?.json()?;
/// for worker in workers.items {
///     println!("{} {}", worker.id, worker.address);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    base: Uri,
    token: String,
    http: HttpClient<HttpConnector, Full<Bytes>>,
}

/// A failed call.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The coordinator cannot be reached, or the connection broke.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// The coordinator rejected the token.
    #[error("rejects the token")]
    Unauthenticated,
    /// The coordinator responded with an error.
    #[error("answers {status}: {problem}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// The body.
        problem: Box<ClientProblem>,
    },
    /// The request or the response is not the expected JSON.
    #[error("sent an unreadable response: {0}")]
    Unreadable(String),
}

/// The members of a problem document (RFC 9457) that callers use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ClientProblem {
    /// The stable error code.
    pub code: String,
    /// The text for people; `/readyz` calls it `reason`.
    #[serde(alias = "reason")]
    pub detail: String,
    /// The invalid field of the request.
    pub field: Option<String>,
    /// The identifier of the call in the coordinator's log.
    pub request_id: Option<String>,
}

impl std::fmt::Display for ClientProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Most details begin with the field.
        if let Some(field) = self
            .field
            .as_ref()
            .filter(|field| !self.detail.starts_with(field.as_str()))
        {
            write!(f, "{field}: ")?;
        }
        write!(f, "{} ({})", self.detail, self.code)?;
        match &self.request_id {
            Some(id) => write!(f, ", request ID {id}"),
            None => Ok(()),
        }
    }
}

/// A successful response.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status, 2xx.
    pub status: StatusCode,
    /// The headers, such as `ETag`.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    /// Deserialises the body from JSON.
    ///
    /// # Errors
    /// [`ClientError::Unreadable`] if the body is not JSON of this type.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(|e| ClientError::Unreadable(e.to_string()))
    }
}

/// A request to the admin API.
#[derive(Clone, Debug)]
pub struct Call {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    timeout: Duration,
}

impl Call {
    /// Creates a call. `path` begins with `/` and may have a query; data in it must be
    /// percent-encoded.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            timeout: TIMEOUT,
        }
    }

    /// Creates a GET.
    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: header::HeaderName, value: http::HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sets a JSON body.
    ///
    /// # Errors
    /// If the value is not JSON, such as a map with keys other than strings.
    pub fn json(mut self, body: &impl serde::Serialize) -> Result<Self, ClientError> {
        self.body = serde_json::to_vec(body)
            .map_err(|e| ClientError::Unreadable(e.to_string()))?
            .into();
        self.headers.insert(
            header::CONTENT_TYPE,
            http::HeaderValue::from_static("application/json"),
        );
        Ok(self)
    }

    /// Extends the timeout by the time that the server is asked to wait.
    #[must_use]
    pub fn waiting(mut self, wait: Duration) -> Self {
        self.timeout = wait + TIMEOUT;
        self
    }
}

impl Client {
    /// Creates a client of the admin listener at `base` (`http://host:port`).
    #[must_use]
    pub fn new(base: Uri, token: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let http = HttpClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(connector);
        Self {
            base,
            token: token.to_owned(),
            http,
        }
    }

    /// Returns the address of the coordinator's admin listener.
    #[must_use]
    pub fn base(&self) -> &Uri {
        &self.base
    }

    /// Sends a call.
    ///
    /// # Errors
    /// If the coordinator cannot be reached, or its status is not 2xx.
    pub async fn call(&self, call: Call) -> Result<Reply, ClientError> {
        let timeout = call.timeout;
        match tokio::time::timeout(timeout, self.send(call)).await {
            Ok(answer) => answer,
            Err(_) => Err(ClientError::Unreachable(format!(
                "no answer within {timeout:?}"
            ))),
        }
    }

    async fn send(&self, call: Call) -> Result<Reply, ClientError> {
        let unreachable = |e: &dyn std::error::Error| ClientError::Unreachable(with_causes(e));
        let base = self.base.to_string();
        let mut request = Request::builder()
            .method(call.method)
            .uri(format!("{}{}", base.trim_end_matches('/'), call.path))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .body(Full::new(call.body))
            .map_err(|e| unreachable(&e))?;
        request.headers_mut().extend(call.headers);
        let response = self
            .http
            .request(request)
            .await
            .map_err(|e| unreachable(&e))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MAX_RESPONSE)
            .collect()
            .await
            .map_err(|e| unreachable(e.as_ref()))?
            .to_bytes();
        match parts.status {
            status if status.is_success() => Ok(Reply {
                status,
                headers: parts.headers,
                body,
            }),
            StatusCode::UNAUTHORIZED => Err(ClientError::Unauthenticated),
            status => {
                let problem = serde_json::from_slice(&body).unwrap_or_default();
                Err(ClientError::Refused {
                    status,
                    problem: Box::new(problem),
                })
            }
        }
    }

    /// Gets the changes of the app table after an epoch and a revision, and waits up to `wait` for
    /// a change. Without `since`, gets the whole table immediately.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn apps(
        &self,
        since: Option<(&Epoch, u64)>,
        wait: Duration,
    ) -> Result<AppList, ClientError> {
        let path = match since {
            Some((epoch, revision)) => {
                format!(
                    "/api/v1/apps?since={revision}&epoch={epoch}&wait={}",
                    String::from(Period(wait))
                )
            }
            None => "/api/v1/apps".to_owned(),
        };
        self.call(Call::get(path).waiting(wait)).await?.json()
    }

    /// Registers a worker, or renews its registration.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn register(
        &self,
        id: &str,
        registration: &WorkerRegistration,
    ) -> Result<RegistrationReply, ClientError> {
        self.call(Call::new(Method::PUT, format!("/api/v1/workers/{id}")).json(registration)?)
            .await?
            .json()
    }

    /// Removes a worker from the pool, unless another process of the worker has registered since.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn deregister(&self, id: &str, instance: &InstanceId) -> Result<(), ClientError> {
        self.call(Call::new(
            Method::DELETE,
            format!("/api/v1/workers/{id}?instance={instance}"),
        ))
        .await
        .map(drop)
    }
}

/// Returns an error with its causes. The text of hyper's error omits the error of the system.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        text = format!("{text}: {e}");
        cause = e.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_name_their_field_once() {
        let text = |detail: &str| {
            let field = Some("deadline".to_owned());
            ClientProblem {
                code: "bad_request".into(),
                detail: detail.into(),
                field,
                request_id: None,
            }
            .to_string()
        };
        assert_eq!(
            text("deadline: at most 30d"),
            "deadline: at most 30d (bad_request)"
        );
        assert_eq!(text("at most 30d"), "deadline: at most 30d (bad_request)");
    }
}
