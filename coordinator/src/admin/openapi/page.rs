//! `/openapi.json` and `/docs/`. Neither says anything of this deployment, so that neither needs a
//! token.

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::map_response;
use axum::response::Response;
use utoipa_swagger_ui::{Config, SwaggerUi};

/// What a browser may do with the page: load what this listener serves, and call it. The page
/// styles itself and has pictures in its style sheet.
const HEADERS: [(HeaderName, &str); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
];

/// The description and the page that renders it. The validator, which would be asked elsewhere, is
/// off.
pub(in crate::admin) fn pages(description: utoipa::openapi::OpenApi) -> Router {
    let config = Config::default()
        .persist_authorization(false)
        .validator_url("none");
    let pages: Router = SwaggerUi::new("/docs")
        .url("/openapi.json", description)
        .config(config)
        .into();
    pages.layer(map_response(guarded))
}

async fn guarded(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}
