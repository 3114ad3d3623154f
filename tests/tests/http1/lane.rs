//! A coordinator and a worker before the strict application, and a client for each case.

use std::io;
use std::time::Duration;

use app_proxy_tests::REQUEST_ID;
use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::wire::Wire;
use serde_json::json;
use tokio::time::timeout;

use crate::app::{self, Arrival, Recorded, Script, StrictApp};
use crate::compare;
use app_proxy_tests::corpus::{Case, Step, show};
use app_proxy_tests::strict::{self, Message, Read};

/// How long the proxy may take for its next answer, or to close a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// A coordinator, a worker and the application behind them.
pub(crate) struct Lane {
    cluster: Cluster,
    app: StrictApp,
    probes: usize,
    /// Connections that must not be used again, with the place of their case and the number of
    /// arrivals when it was over.
    unused: Vec<(usize, String, usize)>,
}

/// A client of a case.
struct Client {
    wire: Wire,
    answers: Vec<Message>,
}

impl Lane {
    /// Starts the daemons and the application, which gets the requests for all hosts and paths.
    pub(crate) async fn start() -> Self {
        let app = StrictApp::start().await;
        let all = json!({
            "match": [{"path": "/"}],
            "upstream_path": "keep",
            "affinity": "none",
        });
        let cluster = Cluster::builder()
            .threads(1)
            .app_with("corpus", app.addr(), &all)
            .coordinator(&json!({"timeouts": {"client_read": "1s"}}))
            .start()
            .await;
        Self {
            cluster,
            app,
            probes: 0,
            unused: Vec::new(),
        }
    }

    /// Runs a case, and returns its faults.
    pub(crate) async fn run(&mut self, case: &Case) -> Vec<String> {
        let before = self.app.recorded().len();
        self.app.answer(Script {
            steps: case.app.clone(),
            early: case.early,
        });
        let mut faults = Vec::new();
        let mut client = Client::connect(&self.cluster).await;
        if let Err(fault) = client.converse(case).await {
            faults.push(fault);
        }
        if let Err(fault) = self.check_connection(case, &mut client, before).await {
            faults.push(fault);
        }
        // The rest of the answer belongs to this case alone.
        self.app.answer(Script::default());
        let recorded = self.app.recorded().split_off(before);
        let (_, arrivals) = split_probes(recorded);
        if case.app.is_empty() || !case.requests.is_empty() {
            faults.extend(compare::requests(&case.requests, &arrivals));
        }
        faults.extend(check_answers(case, &client.answers));
        drop(client);
        if !case.app.is_empty() {
            faults.extend(self.check_next().await);
        }
        if case.reused == Some(false) {
            self.note_unused(case, &arrivals);
        }
        faults
    }

    /// Checks that the client's connection was kept or closed.
    async fn check_connection(
        &mut self,
        case: &Case,
        client: &mut Client,
        before: usize,
    ) -> Result<(), String> {
        match case.kept {
            None => Ok(()),
            Some(false) => client.read_end().await,
            Some(true) => {
                let target = self.next_probe();
                let probe = format!("GET {target} HTTP/1.1\r\nHost: h.example\r\n\r\n");
                let _ = client.wire.try_send(probe.as_bytes()).await;
                let answer = client.read("the probe", b"GET").await?;
                is_answer(&target, &answer)?;
                let recorded = self.app.recorded().split_off(before);
                let (probes, _) = split_probes(recorded);
                match probes.len() {
                    1 => Ok(()),
                    count => Err(format!("{count} probes at the application")),
                }
            }
        }
    }

    /// Checks that the next requests get their own answers, whatever the last application said.
    async fn check_next(&mut self) -> Vec<String> {
        let mut faults = Vec::new();
        for _ in 0..2 {
            let target = self.next_probe();
            let mut client = Client::connect(&self.cluster).await;
            let probe = format!("GET {target} HTTP/1.1\r\nHost: h.example\r\n\r\n");
            let _ = client.wire.try_send(probe.as_bytes()).await;
            let answer = client.read("the next request", b"GET").await;
            if let Err(fault) = answer.and_then(|answer| is_answer(&target, &answer)) {
                faults.push(format!("another client: {fault}"));
            }
        }
        faults
    }

    fn next_probe(&mut self) -> String {
        self.probes += 1;
        format!("/probe/{}", self.probes)
    }

    fn note_unused(&mut self, case: &Case, arrivals: &[Recorded]) {
        let seen = self.app.recorded().len();
        if let Some(last) = arrivals.last() {
            self.unused
                .push((last.connection, case.place.clone(), seen));
        }
    }

    /// Reports connections that were used again in spite of their case.
    pub(crate) fn unused_connections(&self) -> Vec<String> {
        let recorded = self.app.recorded();
        let again = |(connection, place, seen): &(usize, String, usize)| {
            let later = recorded.get(*seen..).unwrap_or_default();
            let is_used = later.iter().any(|later| later.connection == *connection);
            is_used.then(|| format!("{place}: the application's connection was used again\n"))
        };
        self.unused.iter().filter_map(again).collect()
    }
}

/// Separates the probes of the lane from other arrivals.
fn split_probes(recorded: Vec<Recorded>) -> (Vec<Recorded>, Vec<Recorded>) {
    recorded.into_iter().partition(|recorded| {
        matches!(&recorded.arrival, Arrival::Request(message)
            if message.word(1).starts_with(b"/probe/"))
    })
}

fn is_answer(target: &str, answer: &Message) -> Result<(), String> {
    let content = app::content(format!("GET {target}").as_bytes());
    if answer.word(1) == b"200" && answer.body == content {
        return Ok(());
    }
    Err(format!(
        "the probe {target} is answered {} with {}",
        show(&answer.line),
        show(&answer.body)
    ))
}

/// Compares the answers, and checks the form of the proxy's own.
fn check_answers(case: &Case, answers: &[Message]) -> Vec<String> {
    let mut faults = Vec::new();
    for (expected, answer) in case.responses.iter().zip(answers) {
        faults.extend(compare::response(expected, answer));
        let is_own = answer.status() >= 400 && (case.app.is_empty() || expected.body.is_none());
        let id = REQUEST_ID.to_ascii_lowercase();
        if is_own && answer.all("content-type") != [b"application/problem+json"] {
            faults.push(format!("no problem document: {}", show(&answer.line)));
        }
        if answer.status() >= 200 && answer.all(&id).len() != 1 {
            faults.push(format!("no request ID: {}", show(&answer.line)));
        }
    }
    faults
}

impl Client {
    async fn connect(cluster: &Cluster) -> Self {
        Self {
            wire: Wire::connect(cluster.public()).await.expect("a connection"),
            answers: Vec::new(),
        }
    }

    /// Plays the client's steps and reads the expected number of answers.
    async fn converse(&mut self, case: &Case) -> Result<(), String> {
        for step in &case.client {
            match step {
                // The proxy may have answered and closed before it has read all.
                Step::Send(bytes) => {
                    let _ = timeout(PATIENCE, self.wire.try_send(bytes)).await;
                }
                Step::Pause => tokio::time::sleep(app::PAUSE).await,
                Step::Wait => self.read_answer(case).await?,
                Step::Finish => self.wire.finish().await,
                Step::Reset => {
                    self.wire.reset_on_drop();
                }
            }
        }
        while self.answers.len() < case.responses.len() {
            self.read_answer(case).await?;
        }
        Ok(())
    }

    async fn read_answer(&mut self, case: &Case) -> Result<(), String> {
        let is_final = |answer: &&Message| answer.status() >= 200;
        let index = self.answers.iter().filter(is_final).count();
        let method = method_of(case, index);
        let what = format!("answer {}", self.answers.len() + 1);
        let answer = self.read(&what, &method).await?;
        self.answers.push(answer);
        Ok(())
    }

    /// Reads a response to a request with this method.
    async fn read(&mut self, what: &str, method: &[u8]) -> Result<Message, String> {
        let mut ended = false;
        loop {
            match strict::response(self.wire.buffered(), method, ended) {
                Read::Whole(message, length) => {
                    let _ = self.wire.take(length).await;
                    return Ok(*message);
                }
                Read::Invalid(fault) => return Err(format!("{what}: {fault}")),
                Read::Partial if ended => return Err(format!("{what}: the connection ended")),
                Read::Partial => {}
            }
            ended = match timeout(PATIENCE, self.wire.fill()).await {
                Ok(read) => is_end(&read),
                Err(_) => {
                    let so_far = show(self.wire.buffered());
                    return Err(format!("{what} does not come; so far: {so_far}"));
                }
            };
        }
    }

    /// Reads up to the end of the connection, before which no byte is due.
    async fn read_end(&mut self) -> Result<(), String> {
        while self.wire.buffered().is_empty() {
            match timeout(PATIENCE, self.wire.fill()).await {
                Ok(read) if is_end(&read) => return Ok(()),
                Ok(_) => {}
                Err(_) => return Err("the connection is not closed".to_owned()),
            }
        }
        Err(format!(
            "behind the answers: {}",
            show(self.wire.buffered())
        ))
    }
}

fn is_end(read: &io::Result<usize>) -> bool {
    !matches!(read, Ok(1..))
}

/// The method of the request that the final response `index` belongs to.
fn method_of(case: &Case, index: usize) -> Vec<u8> {
    let line = match case.requests.get(index) {
        Some(request) => request.line.clone(),
        None => case.client_bytes(),
    };
    let method = line.split(|byte| *byte == b' ').next();
    method.unwrap_or_default().to_vec()
}
