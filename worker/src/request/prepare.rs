//! The request header for the application (phase `upstream_request_filter`).

use app_proxy_hop::forwarding::rewrite;
use app_proxy_hop::header::{remove_internal, set};
use app_proxy_hop::identity::IdentityPolicy;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::RequestHeader;

use crate::request::context::RequestContext;

/// Rewrites a coordinator's request header for the application: headers between the tiers are
/// removed, and the identifier is set under all its names (docs/reference/request-id.md, rules 5
/// and 8).
///
/// # Errors
/// When the request has no route, which `enter` rules out.
pub(super) fn prepare(
    identity: &IdentityPolicy,
    request: &mut RequestHeader,
    ctx: &RequestContext,
) -> Result<()> {
    let Some(route) = &ctx.state.route else {
        return Err(Error::explain(
            ErrorType::InternalError,
            "a request is forwarded without a route",
        ));
    };
    rewrite(request, &route.target, |headers| {
        remove_internal(headers);
        let id = ctx.exchange.id().header_value();
        for name in std::iter::once(identity.header()).chain(identity.aliases()) {
            set(headers, name, id.clone());
        }
    });
    Ok(())
}
