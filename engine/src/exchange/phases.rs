//! The phases of a request, in Pingora's order.

use log::{error, warn};
use pingora_core::{Error, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::ProxyWarnLogContext;

use super::attempt::attempt;
use super::context::Exchange;
use super::{Handle, flush};
use crate::gateway::Gateway;

/// Serves a request from its first phase to `logging`.
pub(crate) async fn serve<G: Gateway>(mut exchange: Exchange<'_, G>) {
    let gateway = &exchange.engine.gateway;
    let mut ctx = gateway.new_ctx();
    let served = run(&mut exchange, &mut ctx).await;
    let failed = end(&mut exchange, &mut ctx, served).await;
    gateway
        .logging(exchange.session, failed.as_deref(), &mut ctx)
        .await;
}

/// Answers a request that was rejected before its first phase, and logs it.
pub(crate) async fn reject<G: Gateway>(mut exchange: Exchange<'_, G>, error: Box<Error>) {
    let gateway = &exchange.engine.gateway;
    let mut ctx = gateway.new_ctx();
    let failed = end(&mut exchange, &mut ctx, Err(error)).await;
    gateway
        .logging(exchange.session, failed.as_deref(), &mut ctx)
        .await;
}

/// Lets the phases answer a failure, and sends what is unsent. Returns the failure.
async fn end<G: Gateway>(
    exchange: &mut Exchange<'_, G>,
    ctx: &mut G::CTX,
    served: Result<()>,
) -> Option<Box<Error>> {
    let gateway = &exchange.engine.gateway;
    let session = &mut *exchange.session;
    let mut failed = served.err();
    if let Some(e) = &failed {
        let answer = gateway.fail_to_proxy(session, e, ctx).await;
        if !gateway.suppress_error_log(session, ctx, e) {
            let summary = gateway.request_summary(session, ctx);
            error!(
                "cannot proxy: {e}, status: {}, {summary}",
                answer.error_code
            );
        }
        let client = &mut exchange.handle.lock().client;
        if !client.is_finished() {
            client.abort();
        }
    }
    let limit = gateway.timeouts().write;
    if let Err(e) = flush(exchange.handle, exchange.timer, limit).await {
        failed.get_or_insert(e);
    }
    failed
}

/// Runs the phases until the response is complete.
async fn run<G: Gateway>(exchange: &mut Exchange<'_, G>, ctx: &mut G::CTX) -> Result<()> {
    let gateway = &exchange.engine.gateway;
    gateway.early_request_filter(exchange.session, ctx).await?;
    if gateway.request_filter(exchange.session, ctx).await? {
        return answered(exchange.handle);
    }
    if !gateway.proxy_upstream_filter(exchange.session, ctx).await? {
        if exchange.session.response_written().is_none() {
            let mut response = ResponseHeader::build(502, None)?;
            response.insert_header(http::header::CONTENT_LENGTH, 0)?;
            let session = &mut exchange.session.downstream_session;
            session.write_response_header(Box::new(response)).await?;
        }
        return answered(exchange.handle);
    }
    let mut attempts = 0;
    loop {
        attempts += 1;
        let Err(e) = attempt(exchange, ctx).await else {
            return Ok(());
        };
        let is_final = !e.retry()
            || attempts >= exchange.engine.max_attempts
            || exchange.session.response_written().is_some();
        if is_final {
            return Err(e);
        }
        let (session, context) = (&*exchange.session, ProxyWarnLogContext::UpstreamRetry);
        if !gateway.suppress_proxy_warn_log(session, ctx, &e, context) {
            let summary = gateway.request_summary(session, ctx);
            warn!("attempt {attempts} failed, another one follows: {e}, {summary}");
        }
    }
}

/// Ends a response that a phase has written.
fn answered(handle: &Handle) -> Result<()> {
    handle.lock().client.finish(None)
}
