//! The admin listener: probes, and the recorded events of a request.

use std::sync::Arc;

use app_proxy_api::requests::RequestEvents;
use app_proxy_hop::exchange::HopServices;
use app_proxy_hop::identity::RequestId;
use app_proxy_runtime::admin::{Name, Problem, identified, probes, request_id_of, require_token};
use axum::extract::State;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use axum::{Json, Router};

use crate::request::services::Services;

/// Returns the router of the admin listener. Its token is that between the tiers.
pub(crate) fn router(services: &Arc<Services>) -> Router {
    let apps = Arc::clone(&services.apps);
    let ready = Arc::new(move || {
        if apps.load().is_loaded() {
            Ok(())
        } else {
            Err("no app table".to_owned())
        }
    });
    let guarded = Router::new()
        .route("/api/v1/requests/{request_id}", get(request))
        .with_state(Arc::clone(&services.hop))
        .route_layer(from_fn_with_state(
            Arc::from([services.token.clone()]),
            require_token,
        ));
    identified(guarded.merge(probes(&services.hop, ready)), &services.hop)
}

async fn request(
    State(hop): State<Arc<HopServices>>,
    Name(id): Name,
) -> Result<Json<RequestEvents>, Problem> {
    let id = request_id_of(&id)?;
    Ok(Json(events(&hop, id).await))
}

/// Returns the recorded events of a request.
pub(crate) async fn events(hop: &HopServices, id: RequestId) -> RequestEvents {
    RequestEvents {
        request_id: id.to_string(),
        events: hop.log.find(id).await,
    }
}
