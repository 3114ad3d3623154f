//! What calls may be refused with, for the description of the API: one type for each status of each
//! kind of thing.

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
    /// The call says something that is not valid.
    BadRequest = "400", "Something in the call is not valid (`bad_request`); `field` says what: a parameter, or a member of the body.";
    /// As [`BadRequest`], and the address that a worker says is looked up.
    BadRegistration = "400", "Something in the call is not valid (`bad_request`), or the address is a name that has none (`address_unresolved`); `field` says what.";
    /// The call needs a token.
    Unauthenticated = "401", "The token is missing or wrong (`unauthenticated`).";
    /// No such app.
    AppNotFound = "404", "There is no app of this name (`app_not_found`).";
    /// No such worker.
    WorkerNotFound = "404", "There is no worker of this identifier (`worker_not_found`).";
    /// No such session.
    SessionNotFound = "404", "There is no session of this identifier (`session_not_found`).";
    /// No such request.
    RequestNotFound = "404", "No tier knows a request of this identifier, or not any more (`request_not_found`).";
    /// The app cannot be put.
    AppConflict = "409", "The configuration file has the app (`app_owned_by_file`), or another app answers where it would (`match_taken`).";
    /// The app cannot be removed.
    AppOwnedByFile = "409", "The configuration file has the app (`app_owned_by_file`).";
    /// The worker cannot register.
    WorkerConflict = "409", "The configuration file has another address for the worker (`worker_owned_by_file`), another worker has the address (`address_taken`), or a later process of the worker has registered (`superseded`).";
    /// The worker cannot be taken out.
    WorkerOwnedByFile = "409", "The configuration file has the worker (`worker_owned_by_file`).";
    /// The app is not as the caller thinks.
    PreconditionFailed = "412", "The app is not what `If-Match` or `If-None-Match` asks for (`precondition_failed`).";
    /// The body is too large.
    TooLarge = "413", "The body is larger than 1 MiB (`body_too_large`).";
    /// A fault of our own.
    Internal = "500", "A fault of the coordinator (`internal`).";
    /// The store cannot be written.
    StoreUnavailable = "503", "The store does not take it and nothing has changed (`store_full`, `store_locked`, `store_unavailable`), or the coordinator ends (`draining`).";
}

fn problem(description: &str) -> Response {
    let schema = Ref::from_schema_name(ProblemBody::name());
    let content = ContentBuilder::new().schema(Some(schema)).build();
    ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", content)
        .build()
}
