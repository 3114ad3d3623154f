//! What any call may be refused with, for the description of the API.

use app_proxy_hop::admin::ProblemBody;
use utoipa::IntoResponses;

/// The call says something that is not valid.
#[derive(IntoResponses)]
#[response(
    status = 400,
    description = "`bad_request`; `field` names what is wrong",
    content_type = "application/problem+json"
)]
#[allow(dead_code)] // Only its description counts.
pub(super) struct BadRequest(#[to_schema] ProblemBody);

/// The call needs a token.
#[derive(IntoResponses)]
#[response(status = 401, description = "`unauthenticated`", content_type = "application/problem+json")]
#[allow(dead_code)] // Only its description counts.
pub(super) struct Authenticated(#[to_schema] ProblemBody);

/// The body is too large.
#[derive(IntoResponses)]
#[response(status = 413, description = "`body_too_large`: more than 1 MiB", content_type = "application/problem+json")]
#[allow(dead_code)] // Only its description counts.
pub(super) struct TooLarge(#[to_schema] ProblemBody);

/// The store cannot be written.
#[derive(IntoResponses)]
#[response(
    status = 503,
    description = "`store_full`, `store_locked`, `store_unavailable` or `draining`, with `Retry-After`; nothing has changed",
    content_type = "application/problem+json"
)]
#[allow(dead_code)] // Only its description counts.
pub(super) struct Full(#[to_schema] ProblemBody);
