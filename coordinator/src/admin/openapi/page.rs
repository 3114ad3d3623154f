//! `/openapi.json` and `/docs/`. Neither contains data of the deployment, so neither requires a
//! token.

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::map_response;
use axum::response::Response;
use utoipa_swagger_ui::{Config, SwaggerUi};

/// Headers that restrict the page to this listener. The page has inline styles, and images in its
/// style sheet.
const HEADERS: [(HeaderName, &str); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
         img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
];

/// Returns the router of the description and of the page that renders it. The validator is off,
/// because it would call another site.
pub(in crate::admin) fn pages(description: utoipa::openapi::OpenApi) -> Router {
    let config = Config::default()
        .persist_authorization(false)
        .validator_url("none");
    let pages: Router = SwaggerUi::new("/docs")
        .url("/openapi.json", description)
        .config(config)
        .into();
    pages.layer(map_response(with_headers))
}

async fn with_headers(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}
