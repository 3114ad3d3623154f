//! Errors of the admin API (RFC 9457).

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use app_proxy_hop::identity::RequestId;

/// An error of the admin API.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    field: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The body of an error of the admin API: `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// The kind of error: `urn:app-proxy:error:` and the code.
    #[schema(example = "urn:app-proxy:error:bad_request")]
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The meaning of the status.
    #[schema(example = "Bad Request")]
    pub(crate) title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599, example = 400)]
    pub(crate) status: u16,
    /// Explanation for people.
    #[schema(example = "address `x`: write host:port or unix:/path")]
    pub(crate) detail: String,
    /// Stable code for programs.
    #[schema(example = "bad_request")]
    pub(crate) code: String,
    /// The identifier of this request.
    #[schema(example = "01J9ZX3V5T8K2M4N6P8R0S2T4V")]
    pub(crate) request_id: String,
    /// The member of the body, parameter or header that is wrong: `endpoints[0].address`, `limit`,
    /// `If-Match`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "endpoints[0].address")]
    pub(crate) field: Option<String>,
}

impl Problem {
    /// Creates an error with its stable code and an explanation for people.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            field: None,
            headers: Vec::new(),
        }
    }

    /// Names the member of the request that is wrong (`endpoints[0].address`).
    #[must_use]
    pub fn with_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Adds a header to the response (`Retry-After`).
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Returns the response to the request `id`.
    pub(super) fn render(self, id: &RequestId) -> Response {
        let body = ProblemBody {
            kind: format!("urn:app-proxy:error:{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            code: self.code.to_owned(),
            request_id: id.as_str().to_owned(),
            field: self.field,
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        headers.extend(self.headers);
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // The middleware `identify` renders it with the request's identifier.
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_problem_has_its_field_and_headers() {
        let problem = Problem::new(StatusCode::BAD_REQUEST, "bad_request", "Wrong.")
            .with_field("endpoints[0].address")
            .with_header(header::RETRY_AFTER, HeaderValue::from_static("3"));
        let response = problem.render(&RequestId::generate());
        assert_eq!(response.headers()["retry-after"], "3");
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
        let body = axum::body::to_bytes(response.into_body(), 4096)
            .await
            .unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["field"], "endpoints[0].address");
        assert_eq!(body["type"], "urn:app-proxy:error:bad_request");
    }
}
