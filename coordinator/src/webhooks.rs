//! Webhooks on their way to schedulers: an outbox that survives a restart, and the service that
//! delivers what is in it.
//!
//! An event is in the store before anything else is done with it, and leaves it when it is
//! delivered or given up. So each is delivered at least once; a repetition has the same identifier.

mod courier;
mod delivery;
mod lanes;
mod schedule;
mod sign;

use std::sync::Arc;

use app_proxy_api::webhooks::{WebhookEvent, WebhookUrl};
use http::HeaderName;
use log::warn;
use tokio::sync::mpsc;

use crate::clock::now_ms;
use app_proxy_store::{Store, StoredWebhook};

pub(crate) use delivery::Delivery;
pub(crate) use sign::SigningKey;

use courier::Courier;

/// Where events are left; clones share it.
#[derive(Clone)]
pub(crate) struct Outbox {
    store: Arc<dyn Store>,
    delivery: mpsc::UnboundedSender<Waiting>,
}

/// An event that waits for its delivery.
struct Waiting {
    webhook: StoredWebhook,
    /// Whether the store has it, and has to be told when it does not wait any more.
    stored: bool,
}

impl Outbox {
    /// An outbox, and the service that delivers what is left in it. `left` is what the store still
    /// has of an earlier process, `request_id` the header that carries the request's identifier.
    #[must_use]
    pub(crate) fn new(
        store: Arc<dyn Store>,
        key: SigningKey,
        request_id: HeaderName,
        left: Vec<StoredWebhook>,
    ) -> (Self, Delivery) {
        let (delivery, inbox) = mpsc::unbounded_channel();
        let outbox = Self {
            store: Arc::clone(&store),
            delivery,
        };
        outbox.take_up(left);
        let service = Delivery::new(inbox, store, Courier::new(key, request_id));
        (outbox, service)
    }

    /// Stores an event and lets it be delivered to `url`. Returns when it is stored; one that
    /// cannot be is kept in memory.
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
                    "webhook {id} {} of app {} is kept in memory alone: {e}",
                    kind.as_str(),
                    data.app
                );
                false
            }
        };
        self.leave(Waiting { webhook, stored });
    }

    /// Lets events be delivered that the store has already. Those that wait here anyway are left
    /// out.
    pub(crate) fn take_up(&self, webhooks: Vec<StoredWebhook>) {
        for webhook in webhooks {
            self.leave(Waiting {
                webhook,
                stored: true,
            });
        }
    }

    fn leave(&self, waiting: Waiting) {
        // The service takes events in until the process ends; what comes later is in the store.
        let _ = self.delivery.send(waiting);
    }
}

#[cfg(test)]
pub(crate) mod tests;
