//! The description of the API at `/openapi.json`, made from its handlers and types, and a page that renders it at `/docs/`.

use app_proxy_control::webhook::Event;
use axum::Router;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::{AdminState, calls, calls_of_workers};

/// What is not said by a handler.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "App-Proxy coordinator",
        description = "Applications, workers and sessions of an App-Proxy coordinator, on its admin listener.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "apps", description = "What clients reach"),
        (name = "workers", description = "The pool"),
        (name = "sessions", description = "One client's use of one app"),
        (name = "requests", description = "What both tiers know of one request"),
    ),
    components(schemas(Event)),
    security(("token" = [])),
    modifiers(&BearerToken),
)]
struct Frame;

/// Every call takes a bearer token (RFC 6750).
struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

/// The router of described calls, and their description.
pub(super) fn described(calls: OpenApiRouter<AdminState>) -> (Router<AdminState>, utoipa::openapi::OpenApi) {
    OpenApiRouter::with_openapi(Frame::openapi()).merge(calls).split_for_parts()
}

/// The description of the API.
#[must_use]
pub fn description() -> utoipa::openapi::OpenApi {
    described(calls_of_workers().merge(calls())).1
}

/// `/openapi.json` and `/docs/`. Neither says anything of this deployment, so that neither needs a token.
pub(super) fn pages(description: utoipa::openapi::OpenApi) -> Router {
    let config = Config::default().persist_authorization(false).validator_url("none");
    SwaggerUi::new("/docs").url("/openapi.json", description).config(config).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file is a contract: `UPDATE_GOLDEN=1 cargo test -p app-proxy-coordinator openapi` writes it anew.
    #[test]
    fn the_description_is_the_golden_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
        let now = description().to_pretty_json().unwrap() + "\n";
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
