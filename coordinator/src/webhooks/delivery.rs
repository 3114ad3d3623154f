//! The service that delivers webhooks. Each webhook has a task, which makes attempts until the
//! webhook is delivered or given up.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use app_proxy_api::webhooks::WebhookUrl;
use async_trait::async_trait;
use http::StatusCode;
use log::{error, info, warn};
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::backoff::{Backoff, time_left};
use super::client::{AttemptError, WebhookClient};
use super::limits::DeliveryLimits;
use crate::clock::now_ms;
use crate::state::members::Members;
use app_proxy_store::{MemberStage, Store, StoredWebhook};

/// The maximum number of pending webhooks. Beyond it the oldest is given up: it had the most
/// attempts, and is the most out of date.
const MAX_PENDING: usize = 10_000;

/// The pause between two reads of the store for webhooks of members that are gone.
const ADOPT_INTERVAL: Duration = Duration::from_secs(60);

/// A webhook that is not delivered yet.
pub(super) struct PendingWebhook {
    pub(super) webhook: StoredWebhook,
    /// True if the webhook is in the store, and must be deleted there when it is done.
    pub(super) stored: bool,
}

/// Delivers the webhooks of an outbox.
pub(crate) struct DeliveryService {
    inbox: Mutex<Option<UnboundedReceiver<PendingWebhook>>>,
    delivery: Arc<Delivery>,
    members: Arc<Members>,
}

/// The parts that all delivery tasks share.
struct Delivery {
    store: Arc<dyn Store>,
    client: WebhookClient,
    limits: DeliveryLimits,
}

/// The running tasks, oldest first.
#[derive(Default)]
struct Tasks {
    set: JoinSet<u64>,
    ids: HashSet<String>,
    order: BTreeMap<u64, Task>,
    next: u64,
}

struct Task {
    event_id: String,
    stored: bool,
    handle: AbortHandle,
}

impl DeliveryService {
    pub(super) fn new(
        inbox: UnboundedReceiver<PendingWebhook>,
        store: Arc<dyn Store>,
        client: WebhookClient,
        members: &Arc<Members>,
    ) -> Self {
        let delivery = Delivery {
            store,
            client,
            limits: DeliveryLimits::default(),
        };
        Self {
            inbox: Mutex::new(Some(inbox)),
            delivery: Arc::new(delivery),
            members: Arc::clone(members),
        }
    }

    /// Delivers until every outbox is dropped.
    pub(super) async fn run(&self) {
        let inbox = self
            .inbox
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut inbox) = inbox else { return };
        let mut tasks = Tasks::default();
        let mut adopt = tokio::time::interval(ADOPT_INTERVAL);
        let mut gone = self.members.watch();
        loop {
            tokio::select! {
                _ = adopt.tick() => self.adopt(&mut tasks).await,
                Ok(()) = gone.changed() => self.adopt(&mut tasks).await,
                pending = inbox.recv() => match pending {
                    Some(pending) => self.spawn(pending, &mut tasks).await,
                    None => return,
                },
                Some(done) = tasks.set.join_next() => if let Ok(number) = done {
                    tasks.remove(number);
                },
            }
        }
    }

    /// Adopts the webhooks of members that are gone, unless this member leaves too.
    async fn adopt(&self, tasks: &mut Tasks) {
        if self.members.stage() == MemberStage::Leaving {
            return;
        }
        let adopted = match self.delivery.store.adopt_webhooks().await {
            Ok(adopted) => adopted,
            Err(e) => {
                return warn!("cannot adopt the webhooks of members that are gone: {e}");
            }
        };
        for webhook in adopted {
            let stored = true;
            self.spawn(PendingWebhook { webhook, stored }, tasks).await;
        }
    }

    /// Starts the task of a webhook, unless it has one.
    async fn spawn(&self, pending: PendingWebhook, tasks: &mut Tasks) {
        let event_id = pending.webhook.event.id.clone();
        if !tasks.ids.insert(event_id.clone()) {
            return;
        }
        let (delivery, stored, number) = (Arc::clone(&self.delivery), pending.stored, tasks.next);
        let handle = tasks.set.spawn(async move {
            delivery.deliver(pending).await;
            number
        });
        tasks.next += 1;
        let task = Task {
            event_id,
            stored,
            handle,
        };
        tasks.order.insert(number, task);
        if tasks.order.len() > MAX_PENDING
            && let Some(oldest) = tasks.remove_oldest()
        {
            error!(
                "webhook {}: given up; more than {MAX_PENDING} are pending",
                oldest.event_id
            );
            oldest.handle.abort();
            self.delivery.delete(&oldest.event_id, oldest.stored).await;
        }
    }
}

/// Runs until the process ends, also while it drains: a successor does not know the events that
/// arise here meanwhile.
#[async_trait]
impl BackgroundService for DeliveryService {
    async fn start(&self, _shutdown: ShutdownWatch) {
        self.run().await;
    }
}

impl Tasks {
    fn remove(&mut self, number: u64) {
        if let Some(task) = self.order.remove(&number) {
            self.ids.remove(&task.event_id);
        }
    }

    fn remove_oldest(&mut self) -> Option<Task> {
        let (_, task) = self.order.pop_first()?;
        self.ids.remove(&task.event_id);
        Some(task)
    }
}

impl Delivery {
    /// Makes attempts until the webhook is delivered or given up, then deletes it from the store.
    async fn deliver(&self, pending: PendingWebhook) {
        let PendingWebhook { webhook, stored } = pending;
        match webhook.url.parse() {
            Ok(url) => self.attempt_until_done(&url, &webhook).await,
            Err(e) => error!("webhook {}: given up: {e}", described(&webhook)),
        }
        self.delete(&webhook.event.id, stored).await;
    }

    async fn attempt_until_done(&self, url: &WebhookUrl, webhook: &StoredWebhook) {
        // The rest of the URL may contain a secret, and is not logged.
        let host = url
            .uri()
            .authority()
            .map_or("", |authority| authority.as_str());
        let subject = format!("webhook {} to {host}", described(webhook));
        let age = Duration::from_millis(now_ms().saturating_sub(webhook.created_ms));
        let attempt = || async {
            let _permit = self.limits.acquire(host).await;
            self.client.attempt(url, &webhook.event).await
        };
        attempt_until_done(&subject, age, attempt).await;
    }

    /// Deletes a webhook that is done from the store.
    async fn delete(&self, event_id: &str, stored: bool) {
        if !stored {
            return;
        }
        if let Err(e) = self.store.delete_webhook(event_id).await {
            warn!("webhook {event_id}: not deleted from the store, a restart repeats it: {e}");
        }
    }
}

/// Makes attempts until one succeeds, one fails permanently, or the webhook is a day old.
async fn attempt_until_done<F>(subject: &str, age: Duration, mut attempt: impl FnMut() -> F)
where
    F: Future<Output = Result<StatusCode, AttemptError>>,
{
    let latest = Instant::now() + time_left(age);
    let mut backoff = Backoff::default();
    loop {
        let failure = match attempt().await {
            Ok(status) => return info!("{subject}: delivered, status {}", status.as_u16()),
            Err(AttemptError::Permanent(why)) => return error!("{subject}: given up: {why}"),
            Err(failure) => failure,
        };
        if Instant::now() >= latest {
            return error!("{subject}: given up after a day: {failure}");
        }
        let pause = backoff.next_pause();
        let pause_ms = pause.as_millis();
        warn!("{subject}: attempt failed, the next follows in {pause_ms} ms: {failure}");
        tokio::time::sleep_until(latest.min(Instant::now() + pause)).await;
    }
}

/// Formats a webhook for log lines.
fn described(webhook: &StoredWebhook) -> String {
    let event = &webhook.event;
    let mut text = format!(
        "{} {} of app {}",
        event.id,
        event.kind.as_str(),
        event.data.app
    );
    if let Some(id) = &event.data.request_id {
        text.push_str(&format!(" request_id={id}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run_attempts(
        age: Duration,
        mut answer: impl FnMut(u32) -> Result<StatusCode, AttemptError>,
    ) -> (u32, Duration) {
        let begin = Instant::now();
        let mut attempts = 0;
        attempt_until_done("a webhook", age, || {
            attempts += 1;
            std::future::ready(answer(attempts))
        })
        .await;
        (attempts, begin.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_webhook_is_retried_until_it_is_delivered() {
        let (attempts, took) = run_attempts(Duration::ZERO, |n| {
            if n < 4 {
                Err(AttemptError::Timeout)
            } else {
                Ok(StatusCode::OK)
            }
        })
        .await;
        assert_eq!(attempts, 4);
        assert!(
            (3.5..=7.1).contains(&took.as_secs_f64()),
            "1 s, 2 s and 4 s, less up to half: {took:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_webhook_that_always_fails_is_given_up_after_a_day() {
        let day = Duration::from_secs(24 * 3600);
        let (attempts, took) = run_attempts(Duration::ZERO, |_| {
            Err(AttemptError::Status(StatusCode::BAD_GATEWAY))
        })
        .await;
        assert!(
            (288..=600).contains(&attempts),
            "every 5 minutes at least: {attempts}"
        );
        assert_eq!(took.as_secs(), day.as_secs());
        assert_eq!(
            run_attempts(2 * day, |_| Err(AttemptError::Timeout))
                .await
                .0,
            1,
            "an old one gets one attempt"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_permanent_failure_gives_the_webhook_up_at_once() {
        assert_eq!(
            run_attempts(Duration::ZERO, |_| Err(AttemptError::Permanent(
                "410".to_owned()
            )))
            .await
            .0,
            1
        );
    }
}
