//! The question to the access policy about a request, and the answer to a client that may not enter
//! (phase `request_filter`).

use std::time::Duration;

use app_proxy_hop::error::ProxyError;
use app_proxy_hop::exchange::Exchange;
use app_proxy_hop::guard::guarded_async;
use app_proxy_hop::response::{write_error, write_error_with, write_response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use log::{error, warn};
use pingora_core::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session as HttpSession;
use tokio::time::{Instant, timeout};

use crate::access::{Access, AccessRequest, Decision, Identity, Reply};
use crate::request::context::RequestContext;
use crate::request::destination::Destination;
use crate::router::NormalisedPath;

/// The reason why a client may not enter, with the answer of the policy.
pub(super) enum Refusal {
    /// The policy has decided so; the error is the one of the log.
    Decided(ProxyError, Reply),
    /// The policy has not decided.
    Undecided,
}

/// Asks the policy about a request for `host` to `destination`.
///
/// # Errors
/// When the client may not enter.
pub(super) async fn ask(
    policy: &dyn Access,
    request: &RequestHeader,
    host: &str,
    destination: &Destination<'_>,
    ctx: &RequestContext,
) -> Result<Identity, Refusal> {
    let path = match destination {
        Destination::Waking { path, .. } => path,
        _ => request.uri.path(),
    };
    let normalised = NormalisedPath::parse(path);
    let origin = &ctx.state.origin;
    let view = AccessRequest {
        app: destination.app().map(|app| &app.stored.app),
        request_id: ctx.exchange.id().as_str(),
        host,
        // Of the paths that do not parse, only that of a question gets here; no app has it.
        matched_path: normalised
            .as_ref()
            .map_or(path.as_bytes(), NormalisedPath::as_bytes),
        client: origin.client,
        is_secure: origin.secure,
        ..AccessRequest::new(request)
    };
    decide(policy, &view).await
}

/// Lets the policy decide. It cannot let anybody in by a panic, nor hold the request for ever.
async fn decide(policy: &dyn Access, request: &AccessRequest<'_>) -> Result<Identity, Refusal> {
    let id = request.request_id();
    match guarded_async(decide_in_time(policy, request)).await {
        Ok(Ok(Decision::Allow(identity))) => Ok(identity),
        Ok(Ok(Decision::Challenge(reply))) => {
            Err(Refusal::Decided(ProxyError::Unauthenticated, reply))
        }
        Ok(Ok(Decision::Deny(reply))) => Err(Refusal::Decided(ProxyError::AccessDenied, reply)),
        Ok(Err(limit)) => {
            warn!(
                "request_id={id} access: the policy did not decide within {limit:?}; the client \
                 may not enter"
            );
            Err(Refusal::Undecided)
        }
        Err(panic) => {
            error!(
                "request_id={id} access: the policy panicked; the client may not enter: {panic}"
            );
            Err(Refusal::Undecided)
        }
    }
}

/// Returns the decision of the policy.
///
/// # Errors
/// The time that the policy has, if it took longer.
async fn decide_in_time(
    policy: &dyn Access,
    request: &AccessRequest<'_>,
) -> Result<Decision, Duration> {
    let limit = policy.timeout();
    let asked = Instant::now();
    let decision = timeout(limit, policy.check(request)).await;
    // A policy that blocks its thread decides at the first poll, however late that ends.
    decision
        .ok()
        .filter(|_| asked.elapsed() <= limit)
        .ok_or(limit)
}

/// Answers a client that may not enter.
///
/// # Errors
/// When the client cannot be written to.
pub(super) async fn answer(
    session: &mut HttpSession,
    exchange: &mut Exchange,
    refusal: Refusal,
) -> Result<()> {
    let (failure, reply) = match refusal {
        Refusal::Decided(failure, reply) if !reply.status().is_informational() => (failure, reply),
        Refusal::Decided(..) => {
            error!(
                "request_id={} access: the policy's reply has an informational status",
                exchange.id()
            );
            return write_error(session, exchange, ProxyError::AccessUnavailable).await;
        }
        Refusal::Undecided => {
            return write_error(session, exchange, ProxyError::AccessUnavailable).await;
        }
    };
    // The log has this code, whatever page the client gets.
    exchange.failed(failure);
    let headers = reply.headers().filter(|(name, _)| !is_of_proxy(name));
    match (page(reply.status()), reply.body()) {
        (Some(page), None) => {
            let headers = headers.filter(|(name, _)| !is_of_page(name));
            write_error_with(session, exchange, page, headers).await
        }
        (_, body) => {
            let body = body.filter(|_| has_content(reply.status()));
            let body = body.cloned().unwrap_or_default();
            let response = response(reply.status(), headers, body.len())?;
            write_response(session, exchange, response, body, false).await
        }
    }
}

/// Returns the proxy's own page of a status.
const fn page(status: StatusCode) -> Option<ProxyError> {
    match status {
        StatusCode::UNAUTHORIZED => Some(ProxyError::Unauthenticated),
        StatusCode::FORBIDDEN => Some(ProxyError::AccessDenied),
        StatusCode::NOT_FOUND => Some(ProxyError::AppNotFound),
        _ => None,
    }
}

fn response<'h>(
    status: StatusCode,
    headers: impl Iterator<Item = (&'h HeaderName, &'h HeaderValue)>,
    length: usize,
) -> Result<ResponseHeader> {
    let mut response = ResponseHeader::build(status, Some(8))?;
    for (name, value) in headers {
        response.append_header(name, value)?;
    }
    response.insert_header(header::CACHE_CONTROL, "no-store")?;
    if has_content(status) {
        response.insert_header(header::CONTENT_LENGTH, length)?;
    }
    Ok(response)
}

/// Returns whether a final response of this status has content, and its length (RFC 9110, sections
/// 6.4.1 and 8.6).
fn has_content(status: StatusCode) -> bool {
    !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Returns whether the proxy alone sets a header of a reply.
fn is_of_proxy(name: &HeaderName) -> bool {
    const OF_PROXY: [HeaderName; 7] = [
        header::CACHE_CONTROL,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    OF_PROXY.contains(name) || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// Returns whether the proxy's own page sets a header of a reply.
fn is_of_page(name: &HeaderName) -> bool {
    [header::CONTENT_TYPE, header::X_CONTENT_TYPE_OPTIONS].contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use std::time::Duration;

    /// Panics, hangs or decides, as the path says.
    struct Scripted;

    struct PanicsInDrop;

    impl Drop for PanicsInDrop {
        fn drop(&mut self) {
            panic!("a fault of the policy in its drop");
        }
    }

    /// Panics when asked for its time.
    struct Timeless;

    #[async_trait]
    impl Access for Timeless {
        async fn check(&self, _: &AccessRequest<'_>) -> Decision {
            Decision::Allow(Identity::anonymous())
        }

        fn timeout(&self) -> Duration {
            panic!("a fault of the policy")
        }
    }

    #[async_trait]
    impl Access for Scripted {
        async fn check(&self, request: &AccessRequest<'_>) -> Decision {
            match request.path() {
                "/panic" => panic!("a fault of the policy"),
                "/hang" => std::future::pending().await,
                "/hang-and-panic" => {
                    let _panics = PanicsInDrop;
                    std::future::pending().await
                }
                "/challenge" => Decision::Challenge(Reply::new(StatusCode::UNAUTHORIZED)),
                "/deny" => Decision::deny(),
                name => Identity::user(&name[1..]).map_or(Decision::deny(), Decision::Allow),
            }
        }

        fn timeout(&self) -> Duration {
            Duration::from_secs(3)
        }
    }

    async fn decided(path: &str) -> Result<Option<String>, Option<&'static str>> {
        let request = RequestHeader::build("GET", path.as_bytes(), None).unwrap();
        match decide(&Scripted, &AccessRequest::new(&request)).await {
            Ok(identity) => Ok(identity.name().map(str::to_owned)),
            Err(Refusal::Decided(failure, _)) => Err(Some(failure.code().as_str())),
            Err(Refusal::Undecided) => Err(None),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_decision_to_allow_lets_a_client_in() {
        assert_eq!(decided("/anna").await, Ok(Some("anna".to_owned())));
        assert_eq!(decided("/challenge").await, Err(Some("unauthenticated")));
        assert_eq!(decided("/deny").await, Err(Some("forbidden")));
        assert_eq!(decided("/panic").await, Err(None));
        let asked = tokio::time::Instant::now();
        assert_eq!(decided("/hang").await, Err(None));
        assert_eq!(asked.elapsed().as_secs(), 3);
        assert_eq!(decided("/hang-and-panic").await, Err(None));
        let request = RequestHeader::build("GET", b"/", None).unwrap();
        let decision = decide(&Timeless, &AccessRequest::new(&request)).await;
        assert!(matches!(decision, Err(Refusal::Undecided)));
    }

    /// Regression: a policy that blocked its thread let clients in after its time.
    #[tokio::test]
    async fn a_decision_that_comes_too_late_lets_nobody_in() {
        struct Blocks;
        #[async_trait]
        impl Access for Blocks {
            async fn check(&self, _: &AccessRequest<'_>) -> Decision {
                std::thread::sleep(Duration::from_millis(20));
                Decision::Allow(Identity::anonymous())
            }

            fn timeout(&self) -> Duration {
                Duration::from_millis(10)
            }
        }
        let request = RequestHeader::build("GET", b"/", None).unwrap();
        let decision = decide(&Blocks, &AccessRequest::new(&request)).await;
        assert!(matches!(decision, Err(Refusal::Undecided)));
    }
}
