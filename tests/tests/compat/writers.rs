//! Schedulers that change apps without a pause, and remember what was acknowledged.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use app_proxy_tests::api::{Api, Caller, stateless};
use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::http1::Response;
use app_proxy_tests::wait::eventually;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::report::Tally;
use crate::traffic::Kept;

/// The acknowledged state of the apps: the endpoint of each, or that it was deleted.
pub(crate) type Acknowledged = BTreeMap<String, Option<SocketAddr>>;

/// Schedulers that run until they are stopped.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicUsize>,
    running: Vec<JoinHandle<Acknowledged>>,
}

impl Writers {
    /// Starts `count` schedulers that move their apps between two endpoints.
    pub(crate) fn start(
        cluster: &Cluster,
        count: usize,
        endpoints: [SocketAddr; 2],
        tally: &Arc<Tally>,
    ) -> Self {
        let (stop, rounds) = (Arc::default(), Arc::default());
        let running = (0..count).map(|number| {
            let writer = Writer {
                name: format!("writer-{number}"),
                caller: cluster.api().caller(),
                kept: Kept::new(cluster.public()),
                public: cluster.public(),
                endpoints,
                acknowledged: Acknowledged::new(),
                tally: Arc::clone(tally),
            };
            tokio::spawn(writer.run(Arc::clone(&stop), Arc::clone(&rounds)))
        });
        let running = running.collect();
        Self {
            stop,
            rounds,
            running,
        }
    }

    /// Waits until the schedulers have made `rounds` further rounds together.
    pub(crate) async fn go_on(&self, rounds: usize) {
        let target = self.rounds.load(Ordering::SeqCst) + rounds;
        eventually("the changes to go on", || {
            (self.rounds.load(Ordering::SeqCst) >= target).then_some(())
        })
        .await;
    }

    /// Stops the schedulers; returns everything that was acknowledged.
    pub(crate) async fn end(self) -> Acknowledged {
        self.stop.store(true, Ordering::SeqCst);
        let mut acknowledged = Acknowledged::new();
        for writer in self.running {
            acknowledged.extend(writer.await.expect("a scheduler"));
        }
        acknowledged
    }
}

/// Compares the apps of a coordinator with what was acknowledged.
pub(crate) async fn check(api: &Api, acknowledged: &Acknowledged, tally: &Tally) {
    for (app, endpoint) in acknowledged {
        let answer = api.get_app(app).await;
        let found = (answer.status == 200).then(|| endpoint_of(&answer.json()));
        let expected = endpoint.map(|endpoint| endpoint.to_string());
        if found != expected || !matches!(answer.status, 200 | 404) {
            let change = format!("{app} is {found:?} ({}), not {expected:?}", answer.status);
            tally.lose(&change);
        }
        tally.request();
    }
}

fn endpoint_of(app: &Value) -> String {
    let address = &app["endpoints"][0]["address"];
    address.as_str().unwrap_or_default().to_owned()
}

/// One scheduler: it moves one app, and creates and deletes others.
struct Writer {
    name: String,
    caller: Caller,
    kept: Kept,
    public: SocketAddr,
    endpoints: [SocketAddr; 2],
    acknowledged: Acknowledged,
    tally: Arc<Tally>,
}

impl Writer {
    async fn run(mut self, stop: Arc<AtomicBool>, rounds: Arc<AtomicUsize>) -> Acknowledged {
        for number in 0.. {
            if stop.load(Ordering::SeqCst) {
                break;
            }
            let endpoint = self.endpoints[number % 2];
            self.put(&self.name.clone(), endpoint).await;
            // Three apps are created, then the first of them is deleted.
            if number % 2 == 0 {
                self.put(&format!("{}-{number}", self.name), endpoint).await;
            }
            if number % 6 == 5 {
                self.delete(&format!("{}-{}", self.name, number - 5)).await;
            }
            rounds.fetch_add(1, Ordering::SeqCst);
        }
        self.acknowledged
    }

    /// Creates or moves an app, which the next requests must show. A call whose connection was
    /// closed is repeated, which changes nothing if it was carried out.
    async fn put(&mut self, app: &str, endpoint: SocketAddr) {
        let body = stateless(&[endpoint]);
        let answer = match self.caller.put_app(app, &body).await {
            Ok(answer) => Ok(answer),
            Err(_) => self.caller.put_app(app, &body).await,
        };
        if self.acknowledged("PUT", app, answer, &[200, 201]) {
            self.acknowledged.insert(app.to_owned(), Some(endpoint));
            self.see(app, 200, &endpoint.to_string()).await;
        }
    }

    async fn delete(&mut self, app: &str) {
        let (answer, good) = match self.caller.delete_app(app).await {
            Ok(answer) => (Ok(answer), &[204][..]),
            Err(_) => (self.caller.delete_app(app).await, &[204, 404][..]),
        };
        if self.acknowledged("DELETE", app, answer, good) {
            self.acknowledged.insert(app.to_owned(), None);
            self.see(app, 404, "").await;
        }
    }

    fn acknowledged(
        &self,
        method: &str,
        app: &str,
        answer: std::io::Result<Response>,
        good: &[u16],
    ) -> bool {
        let reason = match answer {
            Ok(answer) if good.contains(&answer.status) => {
                self.tally.request();
                self.tally.write();
                return true;
            }
            Ok(answer) => format!("{} {}", answer.status, answer.text()),
            Err(error) => error.to_string(),
        };
        self.tally.fail(&format!("{method} {app}: {reason}"));
        false
    }

    /// Sends a request on the kept connection and one on a new connection. Each must see the last
    /// change.
    async fn see(&mut self, app: &str, status: u16, text: &str) {
        let target = format!("/apps/{app}/whoami");
        for answer in [
            self.kept.get(&target, None).await,
            Kept::new(self.public).get(&target, None).await,
        ] {
            match answer {
                Ok(answer)
                    if answer.status == status && (status != 200 || answer.text() == text) =>
                {
                    self.tally.request();
                }
                Ok(answer) => self.tally.fail(&format!(
                    "{target}: {} {} instead of {status} {text}",
                    answer.status,
                    answer.text()
                )),
                Err(error) => self.tally.fail(&format!("{target}: {error}")),
            }
        }
    }
}
