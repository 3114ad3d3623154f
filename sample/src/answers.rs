//! Responses without a page: the request as it arrived, a chosen status, a delay, a long body.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use crate::arrival::Arrival;

/// The maximum size of a chunk.
const CHUNK_BYTES: usize = 64 * 1024;

/// The response of `/api/echo`.
#[derive(Debug, Serialize)]
pub struct Echo {
    request_id: Option<String>,
    method: String,
    path: String,
    query: Option<String>,
    /// Every header, with all its values in the order of their arrival.
    headers: BTreeMap<String, Vec<String>>,
    body_bytes: u64,
}

/// Returns the request as it arrived.
pub async fn echo(arrival: Arrival, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Some(body_bytes) = count(body).await else {
        return (StatusCode::BAD_REQUEST, "400 the body is incomplete\n").into_response();
    };
    Json(Echo {
        request_id: arrival.request_id().map(str::to_owned),
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().map(str::to_owned),
        headers: values_by_name(&parts.headers),
        body_bytes,
    })
    .into_response()
}

/// Counts the bytes of a body, or returns `None` if the body is incomplete.
async fn count(body: Body) -> Option<u64> {
    let mut chunks = body.into_data_stream();
    let mut bytes = 0;
    while let Some(chunk) = chunks.next().await {
        bytes += chunk.ok()?.len() as u64;
    }
    Some(bytes)
}

fn values_by_name(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        by_name.entry(name.to_string()).or_default().push(value);
    }
    by_name
}

/// The query of `/slow`.
#[derive(Debug, Deserialize)]
pub struct Slow {
    #[serde(default = "one_second")]
    ms: u64,
}

fn one_second() -> u64 {
    1000
}

/// Responds after `ms` milliseconds.
pub async fn slow(arrival: Arrival, Query(Slow { ms }): Query<Slow>) -> String {
    tokio::time::sleep(Duration::from_millis(ms)).await;
    format!("after {ms} ms (request ID {arrival})\n")
}

/// Responds with the status in the path, which must be a final status.
pub async fn status(arrival: Arrival, Path(code): Path<u16>) -> (StatusCode, String) {
    match StatusCode::from_u16(code) {
        Ok(status) if (200..600).contains(&code) => {
            (status, format!("{status} (request ID {arrival})\n"))
        }
        _ => (
            StatusCode::BAD_REQUEST,
            format!("400 the status must be 200 to 599 (request ID {arrival})\n"),
        ),
    }
}

/// The query of `/big`.
#[derive(Debug, Deserialize)]
pub struct Big {
    #[serde(default = "one_mebibyte")]
    bytes: u64,
}

fn one_mebibyte() -> u64 {
    1024 * 1024
}

/// Streams `bytes` bytes in constant memory.
pub async fn big(Query(Big { bytes }): Query<Big>) -> Response {
    let chunk = Bytes::from_static(&[b'.'; CHUNK_BYTES]);
    let chunks = stream::unfold(bytes, move |left| {
        let next = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        let piece = chunk.slice(..next);
        async move { (next > 0).then_some((Ok::<_, Infallible>(piece), left - next as u64)) }
    });
    (
        [
            (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
            (header::CONTENT_LENGTH, bytes.to_string()),
        ],
        Body::from_stream(chunks),
    )
        .into_response()
}
