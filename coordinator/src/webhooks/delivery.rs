//! The service that delivers webhooks: each has a task, which tries until it is delivered or given
//! up.

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

use super::Waiting;
use super::courier::{Courier, NotTaken};
use super::lanes::Lanes;
use super::schedule::{Schedule, time_left};
use crate::clock::now_ms;
use app_proxy_store::{Store, StoredWebhook};

/// Most events that wait. Beyond them the oldest gives way: it has been tried most often, and says
/// least about how things are now.
const MOST: usize = 10_000;

/// How often webhooks are looked for that a predecessor has left in the store.
const LOOK: Duration = Duration::from_secs(60);
/// How long one has waited that is taken up then: a predecessor that still drains tries by itself.
const OLD: Duration = Duration::from_secs(600);

/// Delivers what is left in an outbox.
pub(crate) struct Delivery {
    inbox: Mutex<Option<UnboundedReceiver<Waiting>>>,
    post: Arc<Post>,
}

/// What all deliveries share.
struct Post {
    store: Arc<dyn Store>,
    courier: Courier,
    lanes: Lanes,
}

/// What waits, oldest first.
#[derive(Default)]
struct Queue {
    ids: HashSet<String>,
    order: BTreeMap<u64, Entry>,
    next: u64,
}

struct Entry {
    id: String,
    stored: bool,
    task: AbortHandle,
}

impl Delivery {
    pub(super) fn new(
        inbox: UnboundedReceiver<Waiting>,
        store: Arc<dyn Store>,
        courier: Courier,
    ) -> Self {
        let post = Post {
            store,
            courier,
            lanes: Lanes::default(),
        };
        Self {
            inbox: Mutex::new(Some(inbox)),
            post: Arc::new(post),
        }
    }

    /// Delivers until every outbox is gone.
    pub(super) async fn run(&self) {
        let inbox = self
            .inbox
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut inbox) = inbox else { return };
        let mut queue = Queue::default();
        let mut tasks = JoinSet::new();
        let mut look = tokio::time::interval_at(Instant::now() + LOOK, LOOK);
        loop {
            tokio::select! {
                _ = look.tick() => self.take_up_old(&mut queue, &mut tasks).await,
                waiting = inbox.recv() => match waiting {
                    Some(waiting) => self.take_in(waiting, &mut queue, &mut tasks).await,
                    None => return,
                },
                Some(done) = tasks.join_next() => if let Ok(number) = done {
                    queue.remove(number);
                },
            }
        }
    }

    /// Takes up what has waited in the store for long: a predecessor has left it there that ended
    /// before it was delivered.
    async fn take_up_old(&self, queue: &mut Queue, tasks: &mut JoinSet<u64>) {
        let before_ms = now_ms().saturating_sub(u64::try_from(OLD.as_millis()).unwrap_or(u64::MAX));
        match self.post.store.webhooks().await {
            Ok(waiting) => {
                for webhook in waiting
                    .into_iter()
                    .filter(|webhook| webhook.created_ms < before_ms)
                {
                    self.take_in(
                        Waiting {
                            webhook,
                            stored: true,
                        },
                        queue,
                        tasks,
                    )
                    .await;
                }
            }
            Err(e) => warn!("webhooks that another process has left cannot be looked for: {e}"),
        }
    }

    async fn take_in(&self, waiting: Waiting, queue: &mut Queue, tasks: &mut JoinSet<u64>) {
        let id = waiting.webhook.event.id.clone();
        if !queue.ids.insert(id.clone()) {
            return;
        }
        let (post, stored, number) = (Arc::clone(&self.post), waiting.stored, queue.next);
        let task = tasks.spawn(async move {
            post.deliver(waiting).await;
            number
        });
        queue.next += 1;
        queue.order.insert(number, Entry { id, stored, task });
        if queue.order.len() > MOST
            && let Some(oldest) = queue.remove_oldest()
        {
            error!("webhook {} is given up: more than {MOST} wait", oldest.id);
            oldest.task.abort();
            self.post.forget(&oldest.id, oldest.stored).await;
        }
    }
}

/// Goes on until the process ends, also while that drains: its successor does not know of what is
/// new here.
#[async_trait]
impl BackgroundService for Delivery {
    async fn start(&self, _shutdown: ShutdownWatch) {
        self.run().await;
    }
}

impl Queue {
    fn remove(&mut self, number: u64) {
        if let Some(entry) = self.order.remove(&number) {
            self.ids.remove(&entry.id);
        }
    }

    fn remove_oldest(&mut self) -> Option<Entry> {
        let (_, entry) = self.order.pop_first()?;
        self.ids.remove(&entry.id);
        Some(entry)
    }
}

impl Post {
    /// Tries until the webhook is delivered or given up.
    async fn deliver(&self, waiting: Waiting) {
        let Waiting { webhook, stored } = waiting;
        match webhook.url.parse() {
            Ok(url) => self.try_until_the_end(&url, &webhook).await,
            Err(e) => error!("webhook {} is given up: {e}", described(&webhook)),
        }
        self.forget(&webhook.event.id, stored).await;
    }

    async fn try_until_the_end(&self, url: &WebhookUrl, webhook: &StoredWebhook) {
        // Of the address only this is logged: the rest may have a secret.
        let host = url
            .uri()
            .authority()
            .map_or("", |authority| authority.as_str());
        let what = format!("webhook {} to {host}", described(webhook));
        let age = Duration::from_millis(now_ms().saturating_sub(webhook.created_ms));
        let attempt = || async {
            let _place = self.lanes.enter(host).await;
            self.courier.deliver(url, &webhook.event).await
        };
        try_until_the_end(&what, age, attempt).await;
    }

    /// Lets the store forget a webhook that does not wait any more.
    async fn forget(&self, id: &str, stored: bool) {
        if !stored {
            return;
        }
        if let Err(e) = self.store.remove_webhook(id).await {
            warn!(
                "webhook {id} cannot be removed from the store, so that the next start delivers it again: {e}"
            );
        }
    }
}

/// Tries until the webhook is taken, will never be taken, or is a day old.
async fn try_until_the_end<F>(what: &str, age: Duration, mut attempt: impl FnMut() -> F)
where
    F: Future<Output = Result<StatusCode, NotTaken>>,
{
    let latest = Instant::now() + time_left(age);
    let mut schedule = Schedule::default();
    loop {
        let failure = match attempt().await {
            Ok(status) => return info!("{what} is delivered: status {}", status.as_u16()),
            Err(NotTaken::Never(why)) => return error!("{what} is given up: {why}"),
            Err(failure) => failure,
        };
        if Instant::now() >= latest {
            return error!("{what} is given up, it is a day old: {failure}");
        }
        let pause = schedule.pause();
        warn!(
            "{what} is tried again in {} ms: {failure}",
            pause.as_millis()
        );
        tokio::time::sleep_until(latest.min(Instant::now() + pause)).await;
    }
}

/// How log lines name a webhook.
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

    async fn tried(
        age: Duration,
        mut answer: impl FnMut(u32) -> Result<StatusCode, NotTaken>,
    ) -> (u32, Duration) {
        let begin = Instant::now();
        let mut tries = 0;
        try_until_the_end("a webhook", age, || {
            tries += 1;
            std::future::ready(answer(tries))
        })
        .await;
        (tries, begin.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_webhook_is_tried_again_until_it_is_taken() {
        let (tries, took) = tried(Duration::ZERO, |n| {
            if n < 4 {
                Err(NotTaken::Late)
            } else {
                Ok(StatusCode::OK)
            }
        })
        .await;
        assert_eq!(tries, 4);
        assert!(
            (3.5..=7.1).contains(&took.as_secs_f64()),
            "1 s, 2 s and 4 s, less up to half: {took:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_webhook_that_nobody_takes_is_given_up_after_a_day() {
        let day = Duration::from_secs(24 * 3600);
        let (tries, took) = tried(Duration::ZERO, |_| {
            Err(NotTaken::Status(StatusCode::BAD_GATEWAY))
        })
        .await;
        assert!(
            (288..=600).contains(&tries),
            "every 5 minutes at least: {tries}"
        );
        assert_eq!(took.as_secs(), day.as_secs());
        assert_eq!(
            tried(2 * day, |_| Err(NotTaken::Late)).await.0,
            1,
            "an old one has one more chance"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_webhook_that_will_never_be_taken_is_given_up_at_once() {
        assert_eq!(
            tried(Duration::ZERO, |_| Err(NotTaken::Never("410".to_owned())))
                .await
                .0,
            1
        );
    }
}
