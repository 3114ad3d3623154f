//! The problems that calls may return, for the description of the API: one type for each status of
//! each kind of resource.

use std::collections::BTreeMap;

use app_proxy_runtime::admin::ProblemBody;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{IntoResponses, ToSchema};

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident = $status:literal, $description:literal;)*) => {$(
        $(#[$doc])*
        pub(super) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                BTreeMap::from([($status.to_owned(), RefOr::T(problem($description)))])
            }
        }
    )*};
}

problems! {
    /// The call is invalid.
    BadRequest = "400", "The call is invalid (`bad_request`); `field` names the parameter, or the \
        member of the body.";
    /// As [`BadRequest`]; the worker's address is resolved too.
    BadRegistration = "400", "The call is invalid (`bad_request`), or the address cannot be \
        resolved (`address_unresolved`); `field` names the member.";
    /// The call requires a token.
    Unauthenticated = "401", "The token is missing or wrong (`unauthenticated`).";
    /// The app does not exist.
    AppNotFound = "404", "There is no app with this name (`app_not_found`).";
    /// The worker does not exist.
    WorkerNotFound = "404", "There is no worker with this identifier (`worker_not_found`).";
    /// The session does not exist.
    SessionNotFound = "404", "There is no session with this identifier (`session_not_found`).";
    /// No log has the request.
    RequestNotFound = "404", "No tier has log lines of this request (`request_not_found`).";
    /// The app conflicts with the file or another app.
    AppConflict = "409", "The configuration file defines the app (`app_owned_by_file`), or another \
        app has one of its rules (`match_taken`).";
    /// The file defines the app.
    AppOwnedByFile = "409", "The configuration file defines the app (`app_owned_by_file`).";
    /// The worker conflicts with the file or another worker.
    WorkerConflict = "409", "The configuration file defines another address for the worker \
        (`worker_owned_by_file`), another worker has the address (`address_taken`), or a later \
        process of the worker has registered (`superseded`).";
    /// The file defines the worker.
    WorkerOwnedByFile = "409", "The configuration file defines the worker \
        (`worker_owned_by_file`).";
    /// The precondition does not hold.
    PreconditionFailed = "412", "The app does not meet `If-Match` or `If-None-Match` \
        (`precondition_failed`).";
    /// The body is too large.
    TooLarge = "413", "The body is larger than 1 MiB (`body_too_large`).";
    /// The coordinator has a defect.
    Internal = "500", "An internal error (`internal`).";
    /// The store cannot be written, or the coordinator drains.
    StoreUnavailable = "503", "The store cannot be written and nothing has changed (`store_full`, \
        `store_locked`, `store_unavailable`), or the coordinator drains (`draining`).";
}

fn problem(description: &str) -> Response {
    let schema = Ref::from_schema_name(ProblemBody::name());
    let content = ContentBuilder::new().schema(Some(schema)).build();
    ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", content)
        .build()
}
