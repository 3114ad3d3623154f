//! The client of a coordinator's admin API, as workers and `app-proxyctl` use it.

use std::time::Duration;

use crate::units::Period;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::table::{AppList, Epoch};
use crate::workers::{InstanceId, RegistrationReply, WorkerRegistration};

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
    http: HttpClient<HttpConnector, Full<Bytes>>,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The coordinator cannot be reached, or the connection broke.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// It does not take the token.
    #[error("refuses the token")]
    Unauthenticated,
    /// It answered with an error.
    #[error("answers {status}: {problem}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// What it says.
        problem: Box<ClientProblem>,
    },
    /// It answered something else than was asked for.
    #[error("answers what cannot be read: {0}")]
    Unreadable(String),
}

/// A problem document (RFC 9457), as far as a caller needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ClientProblem {
    /// The stable code.
    pub code: String,
    /// What a person reads; `/readyz` calls it `reason`.
    #[serde(alias = "reason")]
    pub detail: String,
    /// Which field of the request it is about.
    pub field: Option<String>,
    /// The identifier under which the coordinator's log has more.
    pub request_id: Option<String>,
}

impl std::fmt::Display for ClientProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Most problems name their field themselves.
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

/// An answer as it came.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status, 2xx.
    pub status: StatusCode,
    /// Its headers: `ETag`, the request ID.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// The body, read as JSON.
    ///
    /// # Errors
    /// [`ClientError::Unreadable`].
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(|e| ClientError::Unreadable(e.to_string()))
    }
}

/// A call that is to be made.
#[derive(Clone, Debug)]
pub struct Call {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    patience: Duration,
}

impl Call {
    /// A call of `path`, which begins with `/` and may have a query; parts of it that are data have
    /// to be escaped.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            patience: PATIENCE,
        }
    }

    /// A GET.
    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: header::HeaderName, value: http::HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// With a body of JSON.
    ///
    /// # Errors
    /// When the value is no JSON, as maps with other keys than texts.
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

    /// Where the server is asked to wait for so long.
    #[must_use]
    pub fn waiting(mut self, wait: Duration) -> Self {
        self.patience = wait + PATIENCE;
        self
    }
}

impl Client {
    /// A client of the admin listener at `base` (`http://host:port`).
    #[must_use]
    pub fn new(base: Uri, token: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
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

    /// Which coordinator this is.
    #[must_use]
    pub fn base(&self) -> &Uri {
        &self.base
    }

    /// Makes a call.
    ///
    /// # Errors
    /// When the coordinator cannot be reached, or answers with anything but 2xx.
    pub async fn call(&self, call: Call) -> Result<Answer, ClientError> {
        let patience = call.patience;
        match tokio::time::timeout(patience, self.send(call)).await {
            Ok(answer) => answer,
            Err(_) => Err(ClientError::Unreachable(format!(
                "no answer within {patience:?}"
            ))),
        }
    }

    async fn send(&self, call: Call) -> Result<Answer, ClientError> {
        let unreachable = |e: &dyn std::error::Error| ClientError::Unreachable(chain(e));
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
        let body = Limited::new(body, LARGEST_ANSWER)
            .collect()
            .await
            .map_err(|e| unreachable(e.as_ref()))?
            .to_bytes();
        match parts.status {
            status if status.is_success() => Ok(Answer {
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

    /// What changed in the app table after revision `since` of `epoch`, waiting up to `wait` for a
    /// change; without an epoch the whole table, at once.
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

    /// Takes a worker out of the pool, unless another process has registered under its identifier
    /// since.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn leave(&self, id: &str, instance: &InstanceId) -> Result<(), ClientError> {
        self.call(Call::new(
            Method::DELETE,
            format!("/api/v1/workers/{id}?instance={instance}"),
        ))
        .await
        .map(drop)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_its_field_once() {
        let said = |detail: &str| {
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
            said("deadline: at most 30d"),
            "deadline: at most 30d (bad_request)"
        );
        assert_eq!(said("at most 30d"), "deadline: at most 30d (bad_request)");
    }
}
