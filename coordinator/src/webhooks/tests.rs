//! Events from the outbox to schedulers that the tests play.

use std::collections::BTreeMap;
use std::sync::Mutex;

use app_proxy_api::webhooks::{WebhookEventData, WebhookEventKind};
use app_proxy_hop::identity::RequestId;
use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::state::members::tests::serving;
use app_proxy_store::{
    ActivityBatch, AppCommit, Cursor, Delta, Member, SessionActivity, State, StoreError,
    StoredWorker,
};

/// A store of webhooks and activity, which can be broken.
#[derive(Default)]
pub(crate) struct FakeStore {
    pub(crate) webhooks: Mutex<BTreeMap<String, StoredWebhook>>,
    pub(crate) activity: Mutex<Vec<app_proxy_store::AppActivity>>,
    pub(crate) broken: bool,
}

#[async_trait]
impl Store for FakeStore {
    async fn load(&self) -> Result<State, StoreError> {
        Ok(State {
            webhooks: self.pending(),
            ..State::default()
        })
    }

    async fn changes_since(&self, _seen: &Cursor) -> Result<Option<Delta>, StoreError> {
        Ok(None)
    }

    async fn commit_apps(&self, _commit: AppCommit) -> Result<Vec<Member>, StoreError> {
        Ok(Vec::new())
    }

    async fn save_worker(&self, _worker: StoredWorker) -> Result<(), StoreError> {
        Ok(())
    }

    async fn delete_worker(&self, _id: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn save_activity(&self, batch: &ActivityBatch) -> Result<(), StoreError> {
        assert_eq!(batch.sessions, Vec::<SessionActivity>::new());
        self.activity
            .lock()
            .unwrap()
            .extend(batch.apps.iter().cloned());
        Ok(())
    }

    async fn delete_sessions(&self, _ids: &[String], _at_ms: u64) -> Result<(), StoreError> {
        Ok(())
    }

    async fn trim_sessions(&self, _before_ms: u64, _most: u64) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn save_webhook(&self, webhook: StoredWebhook) -> Result<(), StoreError> {
        if self.broken {
            return Err(StoreError::Full("no room".to_owned()));
        }
        self.webhooks
            .lock()
            .unwrap()
            .insert(webhook.event.id.clone(), webhook);
        Ok(())
    }

    async fn webhooks(&self) -> Result<Vec<StoredWebhook>, StoreError> {
        Ok(self.pending())
    }

    async fn delete_webhook(&self, event_id: &str) -> Result<(), StoreError> {
        self.webhooks.lock().unwrap().remove(event_id);
        Ok(())
    }
}

impl FakeStore {
    pub(crate) fn pending(&self) -> Vec<StoredWebhook> {
        self.webhooks.lock().unwrap().values().cloned().collect()
    }
}

struct Setup {
    store: Arc<FakeStore>,
    outbox: Outbox,
    service: JoinHandle<()>,
}

impl Drop for Setup {
    fn drop(&mut self) {
        self.service.abort();
    }
}

async fn setup(store: FakeStore) -> Setup {
    let store = Arc::new(store);
    let shared: Arc<dyn Store> = store.clone();
    let members = serving(&shared).await;
    let key = SigningKey::new("secret").unwrap();
    let header = HeaderName::from_static("x-backend-request-id");
    let (outbox, delivery) = Outbox::new(store.clone(), key, header, &members);
    let service = tokio::spawn(async move { delivery.run().await });
    Setup {
        store,
        outbox,
        service,
    }
}

fn wake_event(request_id: Option<&str>) -> WebhookEvent {
    let request_id = request_id.map(str::to_owned);
    let data = WebhookEventData {
        app: "notes".to_owned(),
        revision: 7,
        last_active_at: None,
        request_id,
        session_count: 0,
        sessions: Vec::new(),
    };
    let id = RequestId::generate().as_str().to_owned();
    WebhookEvent {
        id,
        kind: WebhookEventKind::AppWake,
        timestamp: "2026-01-01T00:00:00.000Z".to_owned(),
        data,
    }
}

struct Scheduler {
    listener: TcpListener,
    url: WebhookUrl,
}

/// A request to be answered.
struct Call {
    head: String,
    body: String,
    connection: TcpStream,
}

impl Scheduler {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?x=1", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        Self { listener, url }
    }

    async fn call(&self) -> Call {
        let (mut connection, _) = self.listener.accept().await.unwrap();
        let mut text = String::new();
        loop {
            let mut piece = [0; 4096];
            let read = connection.read(&mut piece).await.unwrap();
            text.push_str(str::from_utf8(&piece[..read]).unwrap());
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let head = head.to_ascii_lowercase();
                let length: usize = Call::header_of(&head, "content-length").parse().unwrap();
                if body.len() == length {
                    return Call {
                        body: body.to_owned(),
                        head,
                        connection,
                    };
                }
            }
        }
    }

    /// Answers the next call.
    async fn answer(&self, status: &str) -> Call {
        let mut call = self.call().await;
        let answer = format!(
            "HTTP/1.1 {status}\r\nLocation: {}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            self.url
        );
        call.connection.write_all(answer.as_bytes()).await.unwrap();
        call
    }
}

impl Call {
    fn header_of<'t>(head: &'t str, name: &str) -> &'t str {
        head.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            .unwrap()
    }

    fn header(&self, name: &str) -> &str {
        Self::header_of(&self.head, name)
    }
}

async fn emptied(store: &FakeStore) {
    while !store.pending().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_event_is_delivered_signed_and_deleted() {
    let (setup, scheduler) = (setup(FakeStore::default()).await, Scheduler::start().await);
    let event = wake_event(Some("r-1"));
    setup.outbox.send(&scheduler.url, event.clone()).await;
    let call = scheduler.answer("204 No Content").await;
    assert!(
        call.head.starts_with("post /hook?x=1 http/1.1\r\n"),
        "{}",
        call.head
    );
    assert_eq!(
        serde_json::from_str::<WebhookEvent>(&call.body).unwrap(),
        event
    );
    assert_eq!(
        (
            call.header("webhook-id"),
            call.header("x-backend-request-id")
        ),
        (event.id.as_str(), "r-1")
    );
    assert_eq!(call.header("content-type"), "application/json");
    assert!(
        call.header("user-agent")
            .starts_with("app-proxy-coordinator/")
    );
    let timestamp: u64 = call.header("webhook-timestamp").parse().unwrap();
    let signature =
        SigningKey::new("secret")
            .unwrap()
            .sign(&event.id, timestamp, call.body.as_bytes());
    assert_eq!(
        call.header("webhook-signature"),
        signature.to_ascii_lowercase()
    );
    emptied(&setup.store).await;
}

#[tokio::test]
async fn a_failed_event_stays_and_is_repeated_with_its_identifier() {
    let (setup, scheduler) = (setup(FakeStore::default()).await, Scheduler::start().await);
    let event = wake_event(None);
    setup.outbox.send(&scheduler.url, event.clone()).await;
    for status in ["500 Oops", "302 Found"] {
        let call = scheduler.answer(status).await;
        assert_eq!(
            (
                call.header("webhook-id"),
                call.header("x-backend-request-id")
            ),
            (&*event.id, &*event.id)
        );
        assert_eq!(setup.store.pending().len(), 1, "{status}");
    }
    assert_eq!(
        scheduler.answer("200 OK").await.header("webhook-id"),
        event.id
    );
    emptied(&setup.store).await;
}

#[tokio::test]
async fn status_410_gives_an_event_up() {
    let (setup, scheduler) = (setup(FakeStore::default()).await, Scheduler::start().await);
    setup.outbox.send(&scheduler.url, wake_event(None)).await;
    scheduler.answer("410 Gone").await;
    emptied(&setup.store).await;
}

#[tokio::test]
async fn a_stored_event_of_a_member_that_is_gone_is_delivered_once() {
    let scheduler = Scheduler::start().await;
    let stored = StoredWebhook {
        url: scheduler.url.to_string(),
        event: wake_event(None),
        created_ms: now_ms(),
    };
    let store = FakeStore::default();
    store
        .webhooks
        .lock()
        .unwrap()
        .insert(stored.event.id.clone(), stored.clone());
    let setup = setup(store).await;
    assert_eq!(
        scheduler.answer("200 OK").await.header("webhook-id"),
        stored.event.id
    );
    emptied(&setup.store).await;
    let last = wake_event(None);
    setup.outbox.send(&scheduler.url, last.clone()).await;
    assert_eq!(
        scheduler.answer("200 OK").await.header("webhook-id"),
        last.id
    );
}

#[tokio::test]
async fn an_event_that_cannot_be_stored_is_delivered() {
    let (setup, scheduler) = (
        setup(FakeStore {
            broken: true,
            ..FakeStore::default()
        })
        .await,
        Scheduler::start().await,
    );
    setup.outbox.send(&scheduler.url, wake_event(None)).await;
    scheduler.answer("200 OK").await;
}

#[tokio::test]
async fn a_silent_scheduler_delays_no_other() {
    let (setup, silent, other) = (
        setup(FakeStore::default()).await,
        Scheduler::start().await,
        Scheduler::start().await,
    );
    for _ in 0..40 {
        setup.outbox.send(&silent.url, wake_event(None)).await;
    }
    setup.outbox.send(&other.url, wake_event(None)).await;
    other.answer("200 OK").await;
    assert_eq!(
        setup
            .store
            .pending()
            .iter()
            .filter(|stored| stored.url == silent.url.to_string())
            .count(),
        40
    );
}

#[tokio::test]
async fn the_oldest_event_is_given_up_beyond_the_limit() {
    let (setup, silent) = (setup(FakeStore::default()).await, Scheduler::start().await);
    let first = wake_event(None);
    setup.outbox.send(&silent.url, first.clone()).await;
    for _ in 0..10_000 {
        setup.outbox.send(&silent.url, wake_event(None)).await;
    }
    while setup.store.webhooks.lock().unwrap().contains_key(&first.id) {
        tokio::task::yield_now().await;
    }
    assert_eq!(setup.store.pending().len(), 10_000);
}

#[tokio::test]
async fn an_https_url_is_called_with_tls() {
    let (setup, scheduler) = (setup(FakeStore::default()).await, Scheduler::start().await);
    let url = format!("https://{}/", scheduler.listener.local_addr().unwrap())
        .parse()
        .unwrap();
    setup.outbox.send(&url, wake_event(None)).await;
    let (mut connection, _) = scheduler.listener.accept().await.unwrap();
    let mut hello = [0; 3];
    connection.read_exact(&mut hello).await.unwrap();
    assert_eq!(hello[..2], [22, 3], "a TLS handshake record");
}
