//! The response to the client: that of the application, made fit for the client's hop, or an answer
//! of the tier's own.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use log::debug;
use pingora_core::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session as HttpSession;

use crate::enter::ALLOWED_METHODS;
use crate::error::{ProxyError, Tier, raise, render};
use crate::exchange::Exchange;
use crate::header::{
    REFUSED, put_request_id, remove_not_for_client, remove_not_for_interim, remove_not_for_trailers,
};
use crate::observe::RequestKind;
use crate::streams::{Streams, notify_opened};
use crate::tier::{Context, TierPolicy};
use crate::websocket::is_websocket;

/// The smallest body that counts as an open stream while it is sent.
const LONG_DOWNLOAD_BYTES: u64 = 1024 * 1024;
/// The number of digits of that length.
const LONG_DOWNLOAD_DIGITS: usize = 7;

/// Makes a response header of the next hop fit for the client (phase `response_filter`), and
/// registers a response that is a stream or a long download.
///
/// Of an interim response only the headers pass that have a meaning there; it has no request ID
/// (docs/reference/request-id.md, rule 11).
///
/// # Errors
/// See [`finish_header`].
pub(crate) fn finish<T: TierPolicy>(
    tier: &T,
    session: &mut HttpSession,
    response: &mut ResponseHeader,
    ctx: &mut Context<T>,
) -> Result<()> {
    if is_interim(response.status) {
        remove_not_for_interim(response, &ctx.exchange.hop().identity);
        tier.finish_interim(response);
        set_own_version(session, response);
        return Ok(());
    }
    finish_header(session, &mut ctx.exchange, response)?;
    tier.finish(response, ctx);
    if let Some(streams) = T::streams(&ctx.state)
        && register_if_long(session, &mut ctx.exchange, response, streams)
    {
        tier.observe_stream(ctx);
    }
    Ok(())
}

/// Makes the changes to a response header that both tiers make, and records the response.
///
/// # Errors
/// When the application switches protocols without a request for a WebSocket, or a worker refuses
/// this coordinator.
pub(crate) fn finish_header(
    session: &mut HttpSession,
    exchange: &mut Exchange,
    response: &mut ResponseHeader,
) -> Result<()> {
    if response.status == StatusCode::SWITCHING_PROTOCOLS && !is_websocket(session.req_header()) {
        return Err(raise(
            ProxyError::BadUpstreamResponse,
            "a 101 to a request without a handshake",
        ));
    }
    let hop = Arc::clone(exchange.hop());
    if hop.tier == Tier::Coordinator && response.headers.contains_key(&REFUSED) {
        return Err(raise(
            ProxyError::Internal,
            "the worker rejects this coordinator's token",
        ));
    }
    remove_not_for_client(response, &hop.identity);
    put_request_id(response, &hop.identity, exchange.id());
    set_own_version(session, response);
    if session.req_header().version == Version::HTTP_10 {
        // An HTTP/1.0 client cannot read chunks: the body ends with the connection (RFC 9112,
        // section 6.1).
        response.remove_header(&header::TRANSFER_ENCODING);
    }
    if hop.drain.closes_connections() && response.status != StatusCode::SWITCHING_PROTOCOLS {
        close_connection(session, response)?;
    }
    exchange.answered(response.status.as_u16());
    if let Some(kind) = stream_kind(response)
        && session.req_header().method != Method::HEAD
    {
        exchange.open_stream(kind);
    }
    Ok(())
}

/// Has the client's connection closed after this response. The engine reads the header, Pingora's
/// loop the setting of the session.
fn close_connection(session: &mut HttpSession, response: &mut ResponseHeader) -> Result<()> {
    session.set_keepalive(None);
    response.insert_header(header::CONNECTION, HeaderValue::from_static("close"))
}

/// Makes the trailers of a response fit for the client (phase `response_trailer_filter`).
pub(crate) fn finish_trailers<T: TierPolicy>(trailers: &mut HeaderMap, ctx: &Context<T>) {
    remove_not_for_trailers(trailers, &ctx.exchange.hop().identity);
}

/// Sets the version of a response: that of this hop, not of the application's (RFC 9110, section
/// 2.5).
fn set_own_version(session: &HttpSession, response: &mut ResponseHeader) {
    if session.req_header().version != Version::HTTP_2 {
        response.set_version(Version::HTTP_11);
    }
}

/// Returns whether a response is informational and another one follows it.
pub(crate) fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

/// Registers a response that is a stream or a long download, so that it can be closed from
/// outside. Returns `true` if it is one, and was not registered before.
fn register_if_long(
    session: &HttpSession,
    exchange: &mut Exchange,
    response: &ResponseHeader,
    streams: &Streams,
) -> bool {
    let is_long =
        exchange.is_open_stream() || is_long_download(&session.req_header().method, response);
    if !is_long || exchange.stream().is_some() {
        return false;
    }
    notify_opened(exchange.register(streams));
    true
}

/// Returns whether a response has a body of unknown length, or a large one.
fn is_long_download(method: &Method, response: &ResponseHeader) -> bool {
    let bodiless = matches!(
        response.status,
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
    );
    if bodiless || response.status.is_informational() || *method == Method::HEAD {
        return false;
    }
    match response
        .headers
        .get(header::CONTENT_LENGTH)
        .map(|value| value.as_bytes())
    {
        None => true,
        // Nearly all lengths have too few digits, and are not parsed.
        Some(digits) if digits.len() < LONG_DOWNLOAD_DIGITS => false,
        Some(digits) => {
            str::from_utf8(digits)
                .ok()
                .and_then(|text| text.parse().ok())
                >= Some(LONG_DOWNLOAD_BYTES)
        }
    }
}

/// Returns the kind of stream that the media type of a response names; none if it is no stream
/// (docs/reference/request-id.md, rule 17).
fn stream_kind(response: &ResponseHeader) -> Option<RequestKind> {
    let media = response.headers.get(header::CONTENT_TYPE)?.as_bytes();
    let media = media
        .split(|b| *b == b';')
        .next()
        .unwrap_or(media)
        .trim_ascii();
    let is = |name: &str| media.eq_ignore_ascii_case(name.as_bytes());
    if is("text/event-stream") {
        return Some(RequestKind::Sse);
    }
    if media
        .get(..16)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"application/grpc"))
    {
        return Some(RequestKind::Grpc);
    }
    let streams = [
        "application/x-ndjson",
        "application/stream+json",
        "application/json-seq",
        "multipart/x-mixed-replace",
    ];
    streams
        .iter()
        .any(|name| is(name))
        .then_some(RequestKind::Http)
}

/// Answers with an error of this tier, under the request's identifier.
///
/// # Errors
/// When the client cannot be written to.
pub async fn write_error(
    session: &mut HttpSession,
    exchange: &mut Exchange,
    failure: ProxyError,
) -> Result<()> {
    write_error_with(session, exchange, failure, std::iter::empty()).await
}

/// Answers with an error of this tier and more headers.
///
/// # Errors
/// When the client cannot be written to.
pub async fn write_error_with<'h>(
    session: &mut HttpSession,
    exchange: &mut Exchange,
    failure: ProxyError,
    headers: impl Iterator<Item = (&'h HeaderName, &'h HeaderValue)> + Send,
) -> Result<()> {
    exchange.failed(failure);
    let is_answered = session
        .response_written()
        .is_some_and(|written| !is_interim(written.status));
    let Some(status) = failure.status().filter(|_| !is_answered) else {
        session.set_keepalive(None);
        return Ok(());
    };
    let hop = Arc::clone(exchange.hop());
    let page = render(
        failure,
        hop.tier,
        exchange.id(),
        &session.req_header().headers,
    );
    let mut response = ResponseHeader::build(status, Some(10))?;
    response.insert_header(header::CONTENT_TYPE, page.content_type)?;
    response.insert_header(header::CONTENT_LENGTH, page.body.len())?;
    response.insert_header(header::CACHE_CONTROL, "no-store")?;
    response.insert_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")?;
    match failure {
        ProxyError::BadHandshake(_) => {
            response.insert_header(header::SEC_WEBSOCKET_VERSION, "13")?;
        }
        ProxyError::MethodNotAllowed => {
            response.insert_header(header::ALLOW, ALLOWED_METHODS)?;
        }
        // The coordinator must not relay this as a response of the application.
        ProxyError::Forbidden(_) => response.insert_header(REFUSED, "token")?,
        _ => {}
    }
    if let Some(seconds) = failure.retry_after() {
        response.insert_header(header::RETRY_AFTER, seconds)?;
    }
    for (name, value) in headers {
        response.append_header(name, value)?;
    }
    write_response(
        session,
        exchange,
        response,
        page.body,
        failure.closes_connection(),
    )
    .await
}

/// Answers with a response of this tier, under the request's identifier.
///
/// # Errors
/// When the client cannot be written to.
pub async fn write_response(
    session: &mut HttpSession,
    exchange: &mut Exchange,
    mut response: ResponseHeader,
    body: Bytes,
    close: bool,
) -> Result<()> {
    let hop = Arc::clone(exchange.hop());
    put_request_id(&mut response, &hop.identity, exchange.id());
    if close || hop.drain.closes_connections() {
        close_connection(session, &mut response)?;
    }
    exchange.answered(response.status.as_u16());
    if !close {
        discard_small_body(session).await;
    }
    let bodiless = body.is_empty() || session.req_header().method == Method::HEAD;
    debug!(
        "request_id={} gets an answer of this tier, status {}",
        exchange.id(),
        response.status
    );
    session
        .write_response_header(Box::new(response), bodiless)
        .await?;
    if bodiless {
        session.write_response_body(None, true).await
    } else {
        session.write_response_body(Some(body), true).await
    }
}

/// Reads and drops the rest of a small request body, so that the connection can be reused: Pingora
/// closes it if the response is written before the end of the body.
async fn discard_small_body(session: &mut HttpSession) {
    const SMALL: u64 = 64 * 1024;
    let request = session.req_header();
    let length = request
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > 0 && length <= SMALL)
        && !request.headers.contains_key(header::EXPECT)
    {
        // If the body does not arrive, the connection is closed after the answer.
        let _ = session.downstream_session.drain_request_body().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(content_type: &str) -> ResponseHeader {
        let mut response = ResponseHeader::build(200, None).unwrap();
        response
            .insert_header("Content-Type", content_type)
            .unwrap();
        response
    }

    #[test]
    fn a_long_download_is_recognised_by_its_header() {
        let of = |status: u16, length: Option<&str>| {
            let mut response = ResponseHeader::build(status, None).unwrap();
            if let Some(length) = length {
                response.insert_header("Content-Length", length).unwrap();
            }
            response
        };
        for (response, long) in [
            (of(200, None), true),
            (of(200, Some("1048576")), true),
            (of(206, Some("99999999999")), true),
            (of(200, Some("1048575")), false),
            (of(200, Some("0")), false),
            (of(204, None), false),
            (of(304, None), false),
            (of(103, None), false),
        ] {
            assert_eq!(
                is_long_download(&Method::GET, &response),
                long,
                "{response:?}"
            );
            assert!(!is_long_download(&Method::HEAD, &response));
        }
    }

    #[test]
    fn streams_are_recognised_by_their_media_type() {
        assert_eq!(
            stream_kind(&typed("text/event-stream; charset=utf-8")),
            Some(RequestKind::Sse)
        );
        assert_eq!(
            stream_kind(&typed("Application/gRPC+proto")),
            Some(RequestKind::Grpc)
        );
        assert_eq!(
            stream_kind(&typed("application/x-ndjson")),
            Some(RequestKind::Http)
        );
        assert_eq!(stream_kind(&typed("text/html")), None);
        assert_eq!(
            stream_kind(&ResponseHeader::build(200, None).unwrap()),
            None
        );
    }
}
