//! Read your writes: an acknowledged change applies to the next request, through any worker, under
//! any load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use app_proxy_tests::api::{Caller, stateless};
use app_proxy_tests::app::RecordingApp;
use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::http1::Client;
use serde_json::Value;
use tokio::task::{JoinHandle, JoinSet};

/// The number of requests answered by another endpoint than that of the last change, and by none.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wrong {
    stale: usize,
    failed: usize,
}

impl std::ops::AddAssign for Wrong {
    fn add_assign(&mut self, other: Self) {
        self.stale += other.stale;
        self.failed += other.failed;
    }
}

/// A scheduler that moves one app to and fro, and checks after each change which endpoint responds.
struct Mover {
    app: String,
    caller: Caller,
    clients: Vec<Client>,
    places: [(SocketAddr, Value); 2],
}

impl Mover {
    async fn new(cluster: &Cluster, app: &str, endpoints: [SocketAddr; 2], clients: usize) -> Self {
        let mut connected = Vec::new();
        for _ in 0..clients {
            connected.push(cluster.client().await);
        }
        let places = endpoints.map(|endpoint| (endpoint, stateless(&[endpoint])));
        Self {
            app: app.to_owned(),
            caller: cluster.api().caller(),
            clients: connected,
            places,
        }
    }

    async fn run(mut self, changes: usize) -> Wrong {
        let target = format!("/apps/{}/whoami", self.app);
        let mut wrong = Wrong::default();
        for number in 0..changes {
            let (endpoint, body) = &self.places[number % 2];
            let put = self
                .caller
                .put_app(&self.app, body)
                .await
                .expect("the API answers");
            assert!(
                matches!(put.status, 200 | 201),
                "{}: {}",
                put.status,
                put.text()
            );
            for client in &mut self.clients {
                let answer = client.get(&target).send().await;
                if answer.status != 200 {
                    println!("{target}: {} {}", answer.status, answer.text());
                    wrong.failed += 1;
                } else if answer.text() != endpoint.to_string() {
                    wrong.stale += 1;
                }
            }
        }
        wrong
    }
}

/// Requests to other apps, without a pause.
struct Background {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

impl Background {
    async fn on(cluster: &Cluster, targets: &[&'static str]) -> Self {
        let (stop, served) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let mut tasks = Vec::new();
        for target in targets.iter().copied() {
            let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
            let mut client = cluster.client().await;
            tasks.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.get(target).send().await;
                    assert_eq!(answer.status, 200, "{target}: {}", answer.text());
                    served.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        Self {
            stop,
            served,
            tasks,
        }
    }

    async fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("no request of the background failed");
        }
        self.served.load(Ordering::Relaxed)
    }
}

/// `movers` schedulers make `changes` changes each, each of an app of its own, with `clients`
/// requests behind each change.
async fn move_apps(movers: usize, changes: usize, clients: usize) {
    let (one, other) = (RecordingApp::start().await, RecordingApp::start().await);
    let cluster = Cluster::builder()
        .app_at("steady", one.addr())
        .workers(2)
        .start()
        .await;
    cluster.put_app("still", &stateless(&[other.addr()])).await;
    let background = Background::on(&cluster, &["/apps/steady/whoami", "/apps/still/whoami"]).await;
    let begin = Instant::now();
    let mut running = JoinSet::new();
    for number in 0..movers {
        let app = format!("moving-{number}");
        let mover = Mover::new(&cluster, &app, [one.addr(), other.addr()], clients).await;
        running.spawn(mover.run(changes));
    }
    let mut wrong = Wrong::default();
    while let Some(one) = running.join_next().await {
        wrong += one.expect("a scheduler");
    }
    let seconds = begin.elapsed().as_secs_f64();
    let all = movers * changes;
    let load = background.end().await;
    println!(
        "{all} changes in {seconds:.1} s, {:.0} a second, beside {load} other requests",
        all as f64 / seconds
    );
    assert_eq!(wrong, Wrong::default(), "of {} requests", all * clients);
    for worker in 0..2 {
        let lines = cluster.worker_log(worker).line_count();
        assert!(
            lines > all / 10,
            "worker {worker} served {lines} requests only"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_changes_are_each_seen_by_the_next_request() {
    move_apps(8, 1250, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_seen_by_the_next_request_through_any_worker() {
    move_apps(1, 300, 4).await;
}
