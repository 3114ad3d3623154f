//! The headers that the application gets (phase `upstream_request_filter`).

use app_proxy_hop::forwarding::rewrite;
use app_proxy_hop::header::{remove_internal, set};
use app_proxy_hop::identity::IdentityPolicy;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::RequestHeader;

use crate::request::context::RequestContext;

/// Makes a coordinator's request header the one for the application: what the tiers say to each
/// other goes, the identifier is set under all its names (docs/reference/request-id.md, rules 5 and
/// 8).
///
/// # Errors
/// When the request has no route, which the phases rule out.
pub fn request(
    request: &mut RequestHeader,
    ctx: &RequestContext,
    policy: &IdentityPolicy,
) -> Result<()> {
    let Some(route) = &ctx.route else {
        return Err(Error::explain(
            ErrorType::InternalError,
            "a request is forwarded without a route",
        ));
    };
    rewrite(request, &route.target, |headers| {
        remove_internal(headers);
        let id = ctx.exchange.id().header_value();
        for name in std::iter::once(policy.header()).chain(policy.aliases()) {
            set(headers, name, id.clone());
        }
    });
    Ok(())
}
