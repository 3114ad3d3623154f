//! The steps of the measurement.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::followers::Followers;
use super::{Memory, Scale};
use crate::chain::{Visits, app_name};
use crate::client::{Connection, Expected, Failure, Request, Visitor};

/// Connections that apps are registered over, as a scheduler of many threads has them.
const CALLERS: usize = 32;
/// Apps that one caller registers first, one after the other.
const ONE_BY_ONE: usize = 200;
/// The number of times that each call is made.
const CALLS: usize = 20;
/// The time for which changes are made as fast as possible.
const STORM: Duration = Duration::from_secs(5);
/// The maximum time until the one live worker is found.
const FOUND: Duration = Duration::from_secs(30);
/// Sessions of an app.
const SESSIONS_EACH: usize = 10;

impl Scale {
    /// Registers the apps.
    pub(super) async fn apps(&mut self, before: Memory) -> Result<Memory> {
        let (apps, endpoint) = (self.args.apps, self.cluster.app.to_string());
        let mut api = self.cluster.api().await?;
        let mut times = Vec::new();
        let alone = ONE_BY_ONE.min(apps);
        for number in 0..alone {
            let begun = Instant::now();
            api.call("PUT", &path_of(number), &app(&endpoint, 1))
                .await?;
            times.push(begun.elapsed());
        }
        self.table
            .times("registering an app, one after the other", times);
        let begun = Instant::now();
        let numbers = (alone..apps).collect::<Vec<_>>();
        self.callers(
            numbers
                .into_iter()
                .map(move |number| (path_of(number), app(&endpoint, 1))),
        )
        .await?;
        let rate = (apps - alone) as f64 / begun.elapsed().as_secs_f64();
        self.table.add(
            &format!("registering apps, {CALLERS} callers"),
            format!("{rate:.0} a second"),
        );
        self.serves(apps.saturating_sub(1))
            .await
            .context("the app that was registered last is not served")?;
        let after = self.settled(&format!("{apps} apps")).await?;
        self.table.bytes_each(
            "coordinator's memory for each app",
            (before.coordinator, after.coordinator),
            apps,
        );
        self.table.bytes_each(
            "worker's memory for each app",
            (before.worker, after.worker),
            apps,
        );
        self.idle(&format!("idle, {apps} apps")).await?;
        Ok(after)
    }

    /// Makes PUTs over some connections at once.
    async fn callers(&self, puts: impl Iterator<Item = (String, String)> + 'static) -> Result<()> {
        let puts = Rc::new(std::cell::RefCell::new(puts));
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let (puts, mut api) = (Rc::clone(&puts), self.cluster.api().await?);
            callers.spawn_local(async move {
                loop {
                    let next = puts.borrow_mut().next();
                    let Some((path, body)) = next else {
                        return Ok::<_, Failure>(());
                    };
                    api.call("PUT", &path, &body).await?;
                }
            });
        }
        for outcome in callers.join_all().await {
            outcome?;
        }
        Ok(())
    }

    /// Sends one request to an app, through both tiers.
    async fn serves(&self, number: usize) -> Result<()> {
        let visitor = Visitor {
            base: format!("/apps/{}", app_name(number)),
            cookie: String::new(),
        };
        let mut connection = Connection::open(self.cluster.entry).await?;
        let expected = Expected {
            length: 1 << 10,
            request_id: true,
        };
        Ok(connection
            .exchange(&Request::get(&visitor, "/1k").into_bytes(), expected)
            .await?)
    }

    /// Makes the sessions, each with two requests.
    pub(super) async fn sessions(&mut self, before: Memory) -> Result<()> {
        let apps = (self.args.sessions / SESSIONS_EACH)
            .min(self.args.apps)
            .max(1);
        let visits = Visits {
            apps,
            each: self.args.sessions / apps,
        };
        let begun = Instant::now();
        let sessions = self.cluster.visit(visits).await?.len();
        self.table.add(
            "making the sessions",
            format!("{:.1} s", begun.elapsed().as_secs_f64()),
        );
        let when = format!("{} apps and {sessions} sessions", self.args.apps);
        let after = self.settled(&when).await?;
        self.table.bytes_each(
            "coordinator's memory for each session",
            (before.coordinator, after.coordinator),
            sessions,
        );
        self.table.bytes_each(
            "worker's memory for each session",
            (before.worker, after.worker),
            sessions,
        );
        self.table.bytes("store", self.cluster.store_bytes());
        self.idle(&format!("idle, {when}")).await
    }

    /// Registers the workers, and waits until they have read the table.
    pub(super) async fn workers(&mut self) -> Result<Followers> {
        let mut api = self.cluster.api().await?;
        let mut times = Vec::new();
        for _ in 0..CALLS {
            let begun = Instant::now();
            api.call("GET", "/api/v1/apps", "").await?;
            times.push(begun.elapsed());
        }
        self.table
            .times("first sync of one worker: the table over the wire", times);
        let workers = self.args.workers;
        let cpu = self.cpu();
        let begun = Followers::begin(self.cluster.admin, &self.cluster.token()?, workers).await?;
        let spent = self.cpu().since(&cpu);
        self.table.times(
            &format!("{workers} workers register at once, until the last has"),
            vec![begun.registrations],
        );
        self.table.times(
            &format!("first sync of {workers} workers at once"),
            begun.syncs,
        );
        self.table
            .bytes("the whole table as one answer", begun.table_bytes);
        self.table.times("coordinator's CPU for both", vec![spent]);
        self.idle(&format!("idle, with {workers} workers too"))
            .await?;
        Ok(begun.followers)
    }

    /// Makes changes in sequence, each when all workers have applied the previous one.
    pub(super) async fn changes(&mut self, followers: &Followers) -> Result<()> {
        let endpoint = self.cluster.app.to_string();
        let mut api = self.cluster.api().await?;
        let (mut acknowledged, mut each, mut all) = (Vec::new(), Vec::new(), Vec::new());
        let cpu = self.cpu();
        for number in 0..self.args.changes {
            let begun = Instant::now();
            // A stride that meets all apps, not neighbours.
            let app_number = number * 7919 % self.args.apps;
            let weight = 2 + number / self.args.apps % 2;
            let answer = api
                .call("PUT", &path_of(app_number), &app(&endpoint, weight))
                .await?;
            let ack = Instant::now();
            acknowledged.push(ack - begun);
            let there = followers.at(answer.revision()?).await?;
            let after: Vec<Duration> = there
                .iter()
                .map(|at| at.saturating_duration_since(ack))
                .collect();
            all.push(after.iter().max().copied().unwrap_or_default());
            each.extend(after);
        }
        let spent = self.cpu().since(&cpu) / u32::try_from(self.args.changes.max(1))?;
        let workers = self.args.workers;
        self.table.times(
            &format!("a change, until it is acknowledged, {workers} workers"),
            acknowledged,
        );
        self.table.times("from there until one worker has it", each);
        self.table.times(
            &format!("from there until all {workers} workers have it"),
            all,
        );
        self.table
            .times("coordinator's CPU for a change", vec![spent]);
        Ok(())
    }

    /// Makes changes as fast as they can be.
    pub(super) async fn storm(&mut self, followers: &Followers) -> Result<()> {
        let (apps, endpoint) = (self.args.apps, self.cluster.app.to_string());
        let made = Rc::new(Cell::new(0_usize));
        let (count, until, begun) = (Rc::clone(&made), Instant::now() + STORM, Instant::now());
        let puts = (0_usize..).map_while(move |number| {
            count.set(number);
            (Instant::now() < until).then(|| {
                (
                    path_of(number % apps),
                    app(&endpoint, 4 + number / apps % 2),
                )
            })
        });
        self.callers(puts).await?;
        let rate = made.get() as f64 / begun.elapsed().as_secs_f64();
        let end = Instant::now();
        let mut api = self.cluster.api().await?;
        let last = api
            .call("PUT", &path_of(0), &app(&self.cluster.app.to_string(), 6))
            .await?
            .revision()?;
        let there = followers.at(last).await?;
        let lag = there
            .iter()
            .map(|at| at.saturating_duration_since(end))
            .max()
            .unwrap_or_default();
        let workers = self.args.workers;
        self.table.add(
            &format!("changes as fast as can be, {CALLERS} callers, {workers} workers"),
            format!("{rate:.0} a second"),
        );
        self.table
            .times("from the end of that until all workers have all", vec![lag]);
        Ok(())
    }

    /// Calls with all of it in memory.
    pub(super) async fn calls(&mut self) -> Result<()> {
        let mut api = self.cluster.api().await?;
        let ids = sessions(&api.call("GET", "/api/v1/sessions?limit=100", "").await?.end)?;
        ensure!(ids.len() >= CALLS, "there are not enough sessions");
        for path in [
            "/api/v1/sessions?limit=100",
            "/api/v1/sessions?limit=100&app=bench",
            "/api/v1/workers?limit=1000",
            "/api/v1/workers/w1",
            "/api/v1/apps?limit=100",
            "/api/v1/apps/bench",
        ] {
            let mut times = Vec::new();
            for _ in 0..CALLS {
                let begun = Instant::now();
                api.call("GET", path, "").await?;
                times.push(begun.elapsed());
            }
            self.table.times(&format!("GET {path}"), times);
        }
        let mut times = Vec::new();
        for id in ids.iter().take(CALLS) {
            let begun = Instant::now();
            api.call("DELETE", &format!("/api/v1/sessions/{id}"), "")
                .await?;
            times.push(begun.elapsed());
        }
        self.table.times("deleting a session", times);
        let mut times = Vec::new();
        for number in (1..self.args.apps).rev().take(CALLS) {
            let begun = Instant::now();
            api.call("DELETE", &path_of(number), "").await?;
            times.push(begun.elapsed());
        }
        self.table.times("deleting an app with its sessions", times);
        Ok(())
    }

    /// Starts the worker anew: it has its table when it is ready.
    pub(super) async fn first_sync_of_a_worker(&mut self) -> Result<()> {
        let took = self.cluster.restart_worker().await?;
        self.table.times(
            "a worker's start, until it has taken the table over",
            vec![took],
        );
        Ok(())
    }

    /// Starts the coordinator anew, with all of it in its store.
    pub(super) async fn restart(&mut self) -> Result<()> {
        let (alive, ready) = self.cluster.restart_coordinator().await?;
        self.table
            .times("a coordinator's start, until it answers", vec![alive]);
        self.table
            .times("a coordinator's start, until it is ready", vec![ready]);
        // The workers that are only played are taken for alive until they are checked, and most
        // attempts meet one of them.
        let begun = Instant::now();
        while let Err(e) = self.serves(0).await {
            ensure!(
                begun.elapsed() < FOUND,
                e.context("an app is not served after a restart")
            );
            sleep(Duration::from_millis(20)).await;
        }
        self.table.times(
            "from there until it has found the one worker that lives among 201",
            vec![begun.elapsed()],
        );
        self.settled("after a restart").await?;
        Ok(())
    }
}

fn path_of(number: usize) -> String {
    format!("/api/v1/apps/{}", app_name(number))
}

fn app(endpoint: &str, weight: usize) -> String {
    format!(r#"{{"endpoints": [{{"address": "{endpoint}", "weight": {weight}}}]}}"#)
}

/// The identifiers of a page of sessions.
fn sessions(page: &[u8]) -> Result<Vec<String>> {
    let page: serde_json::Value = serde_json::from_slice(page)?;
    let items = page
        .get("items")
        .and_then(serde_json::Value::as_array)
        .context("a page without items")?;
    Ok(items
        .iter()
        .filter_map(|item| Some(item.get("id")?.as_str()?.to_owned()))
        .collect())
}
