//! The routes of the application.

use axum::Router;
use axum::http::StatusCode;
use axum::middleware;
use axum::routing::{any, get};

use crate::arrival::{self, Arrival};
use crate::{answers, pages, streams};

/// Returns the router of the application.
pub fn router() -> Router {
    Router::new()
        .route("/", get(pages::index))
        .route("/login", get(pages::login).post(pages::login))
        .route("/logout", get(pages::logout).post(pages::logout))
        .route("/hello", get(pages::hello))
        .route("/api/echo", any(answers::echo))
        .route("/slow", get(answers::slow))
        .route("/status/{code}", any(answers::status))
        .route("/big", get(answers::big))
        .route("/events", get(streams::events))
        .route("/ws", any(streams::websocket))
        .fallback(not_found)
        .layer(middleware::from_fn(arrival::log_request))
}

async fn not_found(arrival: Arrival) -> (StatusCode, String) {
    (
        StatusCode::NOT_FOUND,
        format!("404 no such page (request ID {arrival})\n"),
    )
}
