//! The OpenAPI description at `/openapi.json`, generated from handlers and types, and a page that
//! renders it at `/docs/`.

mod complete;
mod page;
mod probes;

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

/// The parts of the description that no handler has.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "App-Proxy coordinator",
        description = "The admin API of a coordinator: apps, workers, sessions and requests.\n\n\
            Bodies are JSON, whatever `Content-Type` is, and at most 1 MiB. Unknown fields and \
            parameters are rejected. Errors are `application/problem+json` (RFC 9457): `code` is \
            the error for programs, `field` names the invalid field. Each response, errors \
            included, has the identifier of the call in `X-Backend-Request-ID`, as the log \
            does.\n\n\
            Lists are paginated: a page has at most `limit` items; `next_cursor` begins the next \
            page, and is null on the last page.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/", description = "The admin listener that serves this description")),
    tags(
        (name = "apps", description = "Apps and their endpoints"),
        (name = "workers", description = "The pool of workers"),
        (name = "sessions", description = "Sessions of clients with apps"),
        (name = "requests", description = "Traces of requests through both tiers"),
        (name = "probes", description = "Health, readiness and metrics, without a token"),
    ),
    paths(probes::alive, probes::ready, probes::metrics),
    components(schemas(ProblemBody, AppName, WorkerId, Period, WebhookEvent)),
    security(("token" = [])),
    modifiers(&BearerToken),
)]
struct Frame;

/// Adds the bearer token (RFC 6750) to the description.
struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let token = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "The token in `admin.token_file`. The calls that workers make accept the token in \
                 `worker_token_file` too.",
            ));
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(token.build()));
    }
}

/// Returns the router of `calls`, and their description.
pub(super) fn described(
    calls: OpenApiRouter<AdminState>,
) -> (Router<AdminState>, utoipa::openapi::OpenApi) {
    let (router, mut description) = OpenApiRouter::with_openapi(Frame::openapi())
        .merge(calls)
        .split_for_parts();
    complete::complete(&mut description);
    (router, description)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{calls, calls_of_workers};

    /// The file is a contract; `UPDATE_GOLDEN=1 cargo test -p app-proxy-coordinator openapi`
    /// updates it.
    #[test]
    fn the_description_is_the_golden_file() {
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
