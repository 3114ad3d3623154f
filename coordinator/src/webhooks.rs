//! Webhooks to schedulers: an outbox that survives a restart, and the service that delivers what is
//! in it.
//!
//! An event is stored before its first delivery is attempted, and deleted when it is delivered or
//! given up. So each event is delivered at least once; repetitions have the same identifier. The
//! member that created an event delivers it; when that member is gone, another one adopts it.

mod backoff;
mod client;
mod delivery;
mod limits;
mod sign;

use std::sync::Arc;

use app_proxy_api::webhooks::{WebhookEvent, WebhookUrl};
use http::HeaderName;
use log::warn;
use tokio::sync::mpsc;

use crate::clock::now_ms;
use crate::state::members::Members;
use app_proxy_store::{Store, StoredWebhook};

pub(crate) use delivery::DeliveryService;
pub(crate) use sign::SigningKey;

use client::WebhookClient;
use delivery::PendingWebhook;

/// Accepts events for delivery; clones share it.
#[derive(Clone)]
pub(crate) struct Outbox {
    store: Arc<dyn Store>,
    pending: mpsc::UnboundedSender<PendingWebhook>,
}

impl Outbox {
    /// Creates an outbox and the service that delivers its events, and those that other `members`
    /// left in the store; `request_id` is the header for the identifier of the request that caused
    /// an event.
    #[must_use]
    pub(crate) fn new(
        store: Arc<dyn Store>,
        key: SigningKey,
        request_id: HeaderName,
        members: &Arc<Members>,
    ) -> (Self, DeliveryService) {
        let (pending, inbox) = mpsc::unbounded_channel();
        let outbox = Self {
            store: Arc::clone(&store),
            pending,
        };
        let client = WebhookClient::new(key, request_id);
        (outbox, DeliveryService::new(inbox, store, client, members))
    }

    /// Stores an event and enqueues it for delivery to `url`. Returns when the event is stored; an
    /// event that cannot be stored is kept in memory.
    pub(crate) async fn send(&self, url: &WebhookUrl, event: WebhookEvent) {
        let webhook = StoredWebhook {
            url: url.to_string(),
            event,
            created_ms: now_ms(),
        };
        let stored = match self.store.save_webhook(webhook.clone()).await {
            Ok(()) => true,
            Err(e) => {
                let WebhookEvent { id, kind, data, .. } = &webhook.event;
                warn!(
                    "webhook {id} {} of app {}: not stored, kept in memory only: {e}",
                    kind.as_str(),
                    data.app
                );
                false
            }
        };
        self.enqueue(PendingWebhook { webhook, stored });
    }

    fn enqueue(&self, pending: PendingWebhook) {
        // The service receives until the process ends; a webhook that comes later is in the store.
        let _ = self.pending.send(pending);
    }
}

#[cfg(test)]
pub(crate) mod tests;
