//! The description of the API at `/openapi.json`, made from its handlers and types, and a page that
//! renders it at `/docs/`.

mod page;
mod probes;
mod whole;

use app_proxy_api::apps::AppName;
use app_proxy_api::units::Period;
use app_proxy_api::webhooks::WebhookEvent;
use app_proxy_api::workers::WorkerId;
use app_proxy_runtime::admin::ProblemBody;
use axum::Router;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;

use super::AdminState;

pub(super) use page::pages;

/// What is not said by a handler.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "App-Proxy coordinator",
        description = "Apps, workers and sessions of an App-Proxy coordinator, on its admin listener.\n\n\
            Bodies are JSON, read as such whatever `Content-Type` says, and 1 MiB at most. What is misspelt is refused and not ignored, in a body and in a query. \
            Errors are `application/problem+json` (RFC 9457): `code` says for programs what is wrong, and `field` where. Each answer, an error too, has the identifier of \
            the call in `X-Backend-Request-ID`, and the log has it too.\n\n\
            Lists come in pages of `limit` items; `next_cursor` is where the next one begins, and null on the last one.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/", description = "The admin listener that serves this description")),
    tags(
        (name = "apps", description = "What clients reach"),
        (name = "workers", description = "The pool"),
        (name = "sessions", description = "One client's use of one app"),
        (name = "requests", description = "What both tiers know of one request"),
        (name = "probes", description = "How the coordinator is; without a token"),
    ),
    paths(probes::alive, probes::ready, probes::metrics),
    components(schemas(ProblemBody, AppName, WorkerId, Period, WebhookEvent)),
    security(("token" = [])),
    modifiers(&BearerToken),
)]
struct Frame;

/// Calls take a bearer token (RFC 6750).
struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let token = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("What the file of the key `admin.token_file` holds. What workers call takes the token of `worker_token_file` too."));
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(token.build()));
    }
}

/// The router of described calls, and their description.
pub(super) fn described(
    calls: OpenApiRouter<AdminState>,
) -> (Router<AdminState>, utoipa::openapi::OpenApi) {
    let (router, mut description) = OpenApiRouter::with_openapi(Frame::openapi())
        .merge(calls)
        .split_for_parts();
    whole::complete(&mut description);
    (router, description)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{calls, calls_of_workers};

    /// The file is a contract: `UPDATE_GOLDEN=1 cargo test -p app-proxy-coordinator openapi` writes
    /// it anew.
    #[test]
    fn the_description_is_the_golden_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
        let description = described(calls_of_workers().merge(calls())).1;
        let now = description.to_pretty_json().unwrap() + "\n";
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, &now).unwrap();
        }
        let golden = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            golden == now,
            "docs/openapi.json differs: UPDATE_GOLDEN=1 cargo test -p app-proxy-coordinator openapi"
        );
    }
}
