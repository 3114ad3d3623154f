//! The oracle of docs/reference/request-id.md: a mixed load, joined over the records of clients,
//! both tiers and the application. Nothing may be missing, nothing twice, nothing under
//! another identifier.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use app_proxy_tests::app::{RecordingApp, SEEN_REQUEST_ID};
use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::http1::{Client, Headers, Request, Response, only_request_id};
use app_proxy_tests::http2::H2Client;
use app_proxy_tests::logs::AccessLog;
use app_proxy_tests::wait::eventually;
use app_proxy_tests::ws::{WebSocket, handshake};
use app_proxy_tests::{REQUEST_ID, is_generated_id};
use serde_json::Value;

use crate::{number, start};

/// The facts that a client knows about one of its requests.
#[derive(Clone, Debug)]
struct Outcome {
    id: String,
    /// `None` when no answer arrived, because an earlier request of the same pipeline ended the
    /// connection.
    status: Option<u16>,
    /// The application answered, not one of our tiers.
    by_application: bool,
    /// The request names an app that exists, so that a worker must have logged it.
    routed: bool,
    /// It is logged with an opening and a close.
    stream: bool,
    /// The answer or the WebSocket broke off.
    torn: bool,
    begin: Instant,
    end: Instant,
}

/// The state that all clients share.
struct Shared {
    public: SocketAddr,
    h2c: SocketAddr,
    total: usize,
    done: AtomicUsize,
    stop: AtomicBool,
    outcomes: Mutex<Vec<Outcome>>,
}

impl Shared {
    fn record(&self, outcome: Outcome) {
        self.outcomes.lock().unwrap().push(outcome);
        self.done.fetch_add(1, Ordering::SeqCst);
    }

    fn over(&self) -> bool {
        self.stop.load(Ordering::SeqCst) || self.done.load(Ordering::SeqCst) >= self.total
    }
}

/// One client: its connections, its session and the number of its requests.
struct Actor {
    shared: Arc<Shared>,
    name: usize,
    count: usize,
    kept: Option<Client>,
    h2: H2Client,
    session: Option<String>,
}

/// The identifier that a request brings along.
enum Brings {
    Nothing,
    Valid(String),
    Invalid,
}

impl Actor {
    async fn run(mut self) {
        while !self.shared.over() {
            self.count += 1;
            match self.count % 20 {
                0..=6 => self.plain("GET", "/apps/api/echo", None, true).await,
                7..=9 => {
                    self.plain("POST", "/apps/notes/echo", Some(b"a body".as_slice()), true)
                        .await;
                }
                10 => self.plain("GET", "/apps/api/status/500", None, true).await,
                11 => {
                    self.plain("GET", "/apps/notes/status/404", None, true)
                        .await;
                }
                12 => self.plain("GET", "/apps/unknown/x", None, false).await,
                13 => self.pipelined().await,
                14..=16 => self.http2().await,
                17 => self.websocket().await,
                18 => self.events().await,
                _ => {
                    self.session = None;
                    self.plain("GET", "/apps/notes/chunked/3", None, true).await;
                }
            }
        }
    }

    fn brings(&self) -> Brings {
        match self.count % 5 {
            0 => Brings::Invalid,
            1 | 2 => Brings::Nothing,
            _ => Brings::Valid(format!("oracle-{}-{}", self.name, self.count)),
        }
    }

    fn outcome(&self, id: String, status: u16, headers: &Headers, begin: Instant) -> Outcome {
        let seen = headers.get(SEEN_REQUEST_ID);
        if let Some(seen) = seen {
            assert_eq!(
                seen, id,
                "the application saw another identifier than the client"
            );
        }
        Outcome {
            id,
            status: Some(status),
            by_application: seen.is_some(),
            routed: true,
            stream: false,
            torn: false,
            begin,
            end: Instant::now(),
        }
    }

    async fn plain(&mut self, method: &str, target: &str, body: Option<&[u8]>, routed: bool) {
        let brings = self.brings();
        let begin = Instant::now();
        let mut client = match self.kept.take() {
            Some(client) => client,
            None => Client::connect(self.shared.public).await,
        };
        let mut request = client.request(method, target);
        if let Some(body) = body {
            request = request.body(body);
        }
        if let Some(session) = &self.session {
            request = request.session(session);
        }
        request = match &brings {
            Brings::Nothing => request,
            Brings::Valid(id) => request.id(id),
            Brings::Invalid => request.id("not valid"),
        };
        let answer = request.send().await;
        self.check(&brings, &answer);
        if let Some(session) = answer.session_cookie().filter(|_| target.contains("notes")) {
            self.session = Some(session);
        }
        let outcome = self.outcome(answer.request_id(), answer.status, &answer.headers, begin);
        self.shared.record(Outcome {
            routed,
            torn: answer.truncated,
            ..outcome
        });
        if !answer.truncated && !answer.headers.lists("Connection", "close") {
            self.kept = Some(client);
        }
    }

    fn check(&self, brings: &Brings, answer: &Response) {
        let id = answer.request_id();
        match brings {
            Brings::Valid(own) => assert_eq!(&id, own, "the client's identifier was replaced"),
            _ => assert!(is_generated_id(&id), "{id}"),
        }
    }

    async fn pipelined(&mut self) {
        let begin = Instant::now();
        let mut client = Client::connect(self.shared.public).await;
        let ids: Vec<_> = (0..3)
            .map(|n| format!("oracle-{}-{}-pipe-{n}", self.name, self.count))
            .collect();
        let mut bytes = Vec::new();
        for id in &ids {
            let request = Request::to(self.shared.public, "GET", "/apps/api/echo").id(id);
            bytes.extend_from_slice(&request.bytes());
        }
        client.send(bytes).await;
        let mut broken = false;
        for id in ids {
            if broken {
                let unanswered = self.outcome(id, 0, &Headers::default(), begin);
                self.shared.record(Outcome {
                    status: None,
                    ..unanswered
                });
                continue;
            }
            let answer = client.read_response("GET").await;
            assert_eq!(answer.request_id(), id);
            let outcome = self.outcome(id, answer.status, &answer.headers, begin);
            self.shared.record(Outcome {
                torn: answer.truncated,
                ..outcome
            });
            broken = answer.truncated || answer.headers.lists("Connection", "close");
        }
    }

    async fn http2(&mut self) {
        let brings = self.brings();
        let begin = Instant::now();
        let id = match &brings {
            Brings::Valid(id) => Some(id.as_str()),
            Brings::Invalid => Some("not valid"),
            Brings::Nothing => None,
        };
        let headers: Vec<_> = id.map(|id| (REQUEST_ID, id)).into_iter().collect();
        let answer = self.h2.get("/apps/api/echo?over=h2", &headers).await;
        self.check(&brings, &answer);
        let outcome = self.outcome(answer.request_id(), answer.status, &answer.headers, begin);
        self.shared.record(Outcome {
            torn: answer.truncated,
            ..outcome
        });
    }

    async fn websocket(&mut self) {
        let begin = Instant::now();
        let own = format!("oracle-{}-{}-ws", self.name, self.count);
        let headers: &[(&str, &str)] = if self.count % 40 < 20 {
            &[(REQUEST_ID, &own)]
        } else {
            &[]
        };
        let attempt = handshake(self.shared.public, "/apps/notes/ws/echo", headers)
            .start()
            .await;
        let mut socket = match WebSocket::finish_handshake(attempt).await {
            Ok(socket) => socket,
            Err(refusal) => {
                let id = refusal.request_id();
                let outcome = self.outcome(id, refusal.status, &refusal.headers, begin);
                self.shared.record(outcome);
                return;
            }
        };
        let id = only_request_id(101, &socket.head.headers);
        assert!(headers.is_empty() || id == own);
        let mut torn = false;
        for n in 0..3 {
            let text = format!("message {n} of {id}");
            torn = torn
                || socket
                    .try_send(app_proxy_tests::ws::Frame::text(&text))
                    .await
                    .is_err();
            if torn {
                break;
            }
            match socket.next().await {
                Some(frame) if frame.close_code().is_none() => assert_eq!(frame.as_text(), text),
                _ => torn = true,
            }
        }
        if !torn {
            let close = app_proxy_tests::ws::Frame::close(1000, "");
            torn = socket.try_send(close).await.is_err();
            let mut answered = None;
            while let Some(frame) = socket.next().await {
                answered = answered.or(frame.close_code());
            }
            torn = torn || answered != Some(1000);
        }
        let outcome = self.outcome(id, 101, &socket.head.headers, begin);
        self.shared.record(Outcome {
            stream: true,
            torn,
            ..outcome
        });
    }

    async fn events(&mut self) {
        let begin = Instant::now();
        let mut client = Client::connect(self.shared.public).await;
        let answer = client.get("/apps/notes/sse/oracle/2").send().await;
        let id = answer.request_id();
        let outcome = self.outcome(id.clone(), answer.status, &answer.headers, begin);
        let stream = outcome.by_application;
        if stream && !answer.truncated {
            assert!(
                answer.text().contains(&format!("event 2 of {id}")),
                "{}",
                answer.text()
            );
        }
        self.shared.record(Outcome {
            stream,
            torn: answer.truncated,
            ..outcome
        });
    }
}

/// Lines of an access log by identifier.
fn by_id(lines: Vec<Value>) -> HashMap<String, Vec<Value>> {
    let mut map: HashMap<String, Vec<Value>> = HashMap::new();
    for line in lines {
        let id = line["request_id"]
            .as_str()
            .expect("an identifier")
            .to_owned();
        map.entry(id).or_default().push(line);
    }
    map
}

fn events(lines: &[Value]) -> Vec<&str> {
    lines
        .iter()
        .map(|line| line["event"].as_str().unwrap_or_default())
        .collect()
}

/// The times at which the first worker was killed.
struct Kills(Vec<Instant>);

impl Kills {
    /// Returns whether a request may have failed because its worker was killed: it was in flight,
    /// or began before the coordinator could detect that its connections to the worker were dead.
    fn excuse(&self, outcome: &Outcome) -> bool {
        self.0
            .iter()
            .any(|kill| outcome.begin <= *kill + Duration::from_secs(1) && outcome.end >= *kill)
    }

    /// Returns whether the worker's line may have been lost with the process: lines are written off
    /// the request path, and SIGKILL leaves no time for the last ones.
    fn may_have_lost_the_line(&self, outcome: &Outcome) -> bool {
        self.0.iter().any(|kill| {
            outcome.begin <= *kill + Duration::from_secs(1)
                && outcome.end + Duration::from_secs(2) >= *kill
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oracle_a_mixed_load_over_dying_workers_is_accounted_for_completely() {
    const TOTAL: usize = 20_000;
    const KILLS: usize = 4;
    let (app, mut cluster) = start(|builder| builder.workers(2).h2c()).await;
    app.release("oracle", TOTAL);
    let shared = Arc::new(Shared {
        public: cluster.public(),
        h2c: cluster.h2c(),
        total: TOTAL,
        done: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        outcomes: Mutex::new(Vec::new()),
    });
    let mut actors = Vec::new();
    for name in 0..16 {
        let actor = Actor {
            shared: Arc::clone(&shared),
            name,
            // Each begins elsewhere in the mixture.
            count: name * 7,
            kept: None,
            h2: H2Client::connect(shared.h2c).await,
            session: None,
        };
        actors.push(tokio::spawn(actor.run()));
    }
    let mut kills = Kills(Vec::new());
    for n in 1..=KILLS {
        progress(&shared, &actors, n * TOTAL / (KILLS + 1)).await;
        kills.0.push(Instant::now());
        cluster.kill_worker(0);
        let now = shared.done.load(Ordering::SeqCst);
        progress(&shared, &actors, (now + 600).min(TOTAL)).await;
        cluster.restart_worker(0).await;
        cluster.wait_health("w1", true).await;
    }
    progress(&shared, &actors, TOTAL).await;
    shared.stop.store(true, Ordering::SeqCst);
    for actor in actors {
        actor.await.expect("a client that found nothing wrong");
    }
    let outcomes = shared.outcomes.lock().unwrap().clone();
    join(&outcomes, &kills, &app, &cluster).await;
}

/// Waits until `target` requests are done.
async fn progress(shared: &Shared, actors: &[tokio::task::JoinHandle<()>], target: usize) {
    let (mut last, mut since) = (0, Instant::now());
    while shared.done.load(Ordering::SeqCst) < target {
        if let Some(n) = actors.iter().position(tokio::task::JoinHandle::is_finished) {
            assert!(shared.over(), "client {n} has found something wrong");
        }
        let done = shared.done.load(Ordering::SeqCst);
        if done > last {
            (last, since) = (done, Instant::now());
        }
        assert!(
            since.elapsed() < app_proxy_tests::wait::DEADLINE,
            "stuck at {done} requests"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn join(outcomes: &[Outcome], kills: &Kills, app: &RecordingApp, cluster: &Cluster) {
    assert!(outcomes.len() >= 20_000);
    let known: HashSet<&str> = outcomes.iter().map(|outcome| outcome.id.as_str()).collect();
    assert_eq!(
        known.len(),
        outcomes.len(),
        "an identifier was given to two requests"
    );
    check_failures(outcomes, kills);
    check_coordinator(outcomes, &known, &cluster.coordinator_log(), kills).await;
    check_application(outcomes, &known, app, cluster);
    check_workers(outcomes, &known, cluster, kills).await;
}

/// Nothing but the death of a worker makes a request fail.
fn check_failures(outcomes: &[Outcome], kills: &Kills) {
    let mut failed = 0;
    for outcome in outcomes {
        let by_us = outcome.routed && !outcome.by_application;
        if by_us || outcome.torn {
            failed += 1;
            assert!(
                kills.excuse(outcome),
                "failed without a reason: {outcome:?}"
            );
            assert!(
                outcome.torn || matches!(outcome.status, None | Some(502)),
                "failed in another way: {outcome:?}"
            );
        }
    }
    println!(
        "{failed} of {} requests failed with their worker",
        outcomes.len()
    );
    assert!(failed * 20 < outcomes.len(), "{failed} requests failed");
}

async fn check_coordinator(
    outcomes: &[Outcome],
    known: &HashSet<&str>,
    log: &AccessLog,
    kills: &Kills,
) {
    let lines = eventually("all lines of the coordinator", || {
        let lines = by_id(log.lines());
        let complete = |outcome: &Outcome| {
            let count = lines.get(&outcome.id).map_or(0, Vec::len);
            outcome.status.is_none() || count > usize::from(outcome.stream)
        };
        outcomes.iter().all(complete).then_some(lines)
    })
    .await;
    for id in lines.keys() {
        assert!(
            known.contains(id.as_str()),
            "the coordinator knows {id}, no client does"
        );
    }
    let mut workers = HashSet::new();
    for outcome in outcomes {
        let own = lines.get(&outcome.id).map_or(&[][..], Vec::as_slice);
        if outcome.status.is_none() {
            assert!(own.len() <= 1, "{outcome:?}: {own:?}");
            continue;
        }
        let expected: &[&str] = if outcome.stream {
            &["stream_open", "stream_close"]
        } else {
            &["request"]
        };
        assert_eq!(events(own), expected, "{outcome:?}: {own:?}");
        assert_eq!(
            own[0]["status"].as_u64(),
            outcome.status.map(u64::from),
            "{outcome:?}: {own:?}"
        );
        if outcome.routed {
            let worker = own[own.len() - 1]["worker"].as_str().unwrap_or_default();
            workers.insert(worker.to_owned());
            let failed = outcome.torn || !outcome.by_application;
            // It is always the first worker that is killed.
            assert!(
                !failed || worker == "w1" || kills.excuse(outcome),
                "{outcome:?}: {own:?}"
            );
        }
    }
    assert!(
        workers.contains("w1") && workers.contains("w2"),
        "{workers:?}"
    );
}

fn check_application(
    outcomes: &[Outcome],
    known: &HashSet<&str>,
    app: &RecordingApp,
    cluster: &Cluster,
) {
    let coordinator = by_id(cluster.coordinator_log().lines());
    // A worker that dies with an idempotent request may have passed it on before the coordinator
    // tries the other one (RFC 9110, section 9.2.2): the application then sees the identifier once
    // an attempt, and the log has the number of attempts.
    let attempts = |outcome: &Outcome| {
        let lines = coordinator.get(&outcome.id);
        lines
            .and_then(|lines| lines.last())
            .and_then(|line| line["attempts"].as_u64())
            .unwrap_or(1) as usize
    };
    let mut seen: HashMap<String, usize> = HashMap::new();
    for request in app.requests() {
        let id = request.request_id().to_owned();
        assert!(
            known.contains(id.as_str()),
            "the application knows {id}, no client does"
        );
        *seen.entry(id).or_default() += 1;
    }
    for outcome in outcomes {
        let times = seen.get(&outcome.id).copied().unwrap_or_default();
        if outcome.by_application {
            assert!(
                (1..=attempts(outcome)).contains(&times),
                "{times} times: {outcome:?}"
            );
        } else {
            assert!(
                times <= usize::from(outcome.routed) * attempts(outcome),
                "{times} times: {outcome:?}"
            );
        }
    }
}

async fn check_workers(
    outcomes: &[Outcome],
    known: &HashSet<&str>,
    cluster: &Cluster,
    kills: &Kills,
) {
    let coordinator = by_id(cluster.coordinator_log().lines());
    let of = |outcome: &Outcome| {
        let lines = &coordinator[&outcome.id];
        lines[lines.len() - 1]["worker"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let served: Vec<_> = outcomes
        .iter()
        .filter(|outcome| outcome.by_application && outcome.status.is_some())
        .map(|outcome| (outcome, of(outcome)))
        .collect();
    let complete = |lines: &HashMap<String, Vec<Value>>, outcome: &Outcome| {
        lines.get(&outcome.id).map_or(0, Vec::len) == 1 + usize::from(outcome.stream)
    };
    let logs = eventually("all lines of the workers", || {
        let logs = HashMap::from([
            ("w1".to_owned(), by_id(cluster.worker_log(0).lines())),
            ("w2".to_owned(), by_id(cluster.worker_log(1).lines())),
        ]);
        let excused = |outcome: &Outcome, worker: &str| {
            worker == "w1" && kills.may_have_lost_the_line(outcome)
        };
        let all = served
            .iter()
            .all(|(outcome, worker)| complete(&logs[worker], outcome) || excused(outcome, worker));
        all.then_some(logs)
    })
    .await;
    let mut lost = 0;
    for (outcome, worker) in &served {
        let other = if worker == "w1" { "w2" } else { "w1" };
        let own = logs[worker].get(&outcome.id).map_or(&[][..], Vec::as_slice);
        let expected: &[&str] = if outcome.stream {
            &["stream_open", "stream_close"]
        } else {
            &["request"]
        };
        let all = events(own);
        assert!(
            expected.starts_with(&all),
            "{outcome:?} at {worker}: {own:?}"
        );
        lost += usize::from(all.len() < expected.len());
        for line in own {
            assert_eq!(
                line["status"].as_u64(),
                outcome.status.map(u64::from),
                "{outcome:?}"
            );
        }
        let elsewhere = logs[other].get(&outcome.id).map_or(&[][..], Vec::as_slice);
        assert!(
            elsewhere.is_empty(),
            "{outcome:?} was served at {worker}, but {elsewhere:?}"
        );
        if all.len() == 2 && outcome.status == Some(101) && !outcome.torn {
            let there = &coordinator[&outcome.id][1];
            for field in ["messages_in", "messages_out"] {
                assert_eq!(number(&own[1], field), 3, "{}", own[1]);
                assert_eq!(number(there, field), 3, "{there}");
            }
        }
    }
    for id in logs.values().flat_map(HashMap::keys) {
        assert!(
            known.contains(id.as_str()),
            "a worker knows {id}, no client does"
        );
    }
    println!(
        "{lost} of {} lines were lost with a killed worker",
        served.len()
    );
    assert!(lost * 20 < served.len(), "{lost} lines were lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_handshakes_and_none_is_torn() {
    const TOTAL: usize = 10_000;
    let (app, cluster) = start(|builder| builder.workers(2)).await;
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for _ in 0..50 {
        let (next, public) = (Arc::clone(&next), cluster.public());
        tasks.push(tokio::spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::SeqCst);
                if n >= TOTAL {
                    break;
                }
                let id = format!("handshake-{n}");
                let mut socket =
                    WebSocket::connect(public, "/apps/api/ws/echo", &[(REQUEST_ID, &id)]).await;
                assert_eq!(only_request_id(101, &socket.head.headers), id);
                socket.send_text(&id).await;
                assert_eq!(socket.frame().await.as_text(), id, "torn");
                assert_eq!(socket.close(1000).await, Some(1000), "{id} was torn");
            }
        }));
    }
    for task in tasks {
        task.await.expect("no handshake was torn");
    }
    assert_eq!(app.count(), TOTAL);
    let coordinator = cluster.coordinator_log();
    eventually("all lines of the coordinator", || {
        (coordinator.line_count() >= 2 * TOTAL).then_some(())
    })
    .await;
    let workers = [cluster.worker_log(0), cluster.worker_log(1)];
    eventually("all lines of the workers", || {
        let count: usize = workers.iter().map(AccessLog::line_count).sum();
        (count >= 2 * TOTAL).then_some(())
    })
    .await;
    let mut at_workers = workers[0].lines();
    at_workers.extend(workers[1].lines());
    for lines in [by_id(coordinator.lines()), by_id(at_workers)] {
        assert_eq!(lines.len(), TOTAL);
        for (id, own) in &lines {
            assert_eq!(events(own), ["stream_open", "stream_close"], "{id}");
            assert_eq!(own[1]["close_code"], 1000, "{}", own[1]);
            assert_eq!(number(&own[1], "messages_in"), 1);
            assert_eq!(number(&own[1], "messages_out"), 1);
        }
    }
}
