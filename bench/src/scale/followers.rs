//! Simulated workers: each registers, renews its registration and follows the app table
//! by long poll. Nothing listens at their addresses, so that no session is placed on them.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::api::Api;
use crate::client::Failure;

/// The maximum time that a poll waits for a change.
const WAIT: &str = "30s";
/// The validity of a registration, and the interval of its renewals.
const LEASE: Duration = Duration::from_secs(30);
const RENEW: Duration = Duration::from_secs(10);
/// The maximum time of each step.
const PATIENCE: Duration = Duration::from_secs(60);

/// Followers at work, until this is dropped.
pub(super) struct Followers {
    progress: Rc<Progress>,
    _tasks: JoinSet<()>,
}

/// The state that the followers hold.
struct Progress {
    /// The revision of each follower, and since when.
    held: RefCell<Vec<(u64, Instant)>>,
    fault: RefCell<Option<Failure>>,
    changed: Notify,
}

/// The followers, and the time from the common start until each of them had the whole table.
pub(super) struct Begun {
    pub(super) followers: Followers,
    pub(super) registrations: Duration,
    pub(super) syncs: Vec<Duration>,
    /// The size of an answer with the whole table.
    pub(super) table_bytes: u64,
}

impl Followers {
    /// Registers `count` workers, all at once, and lets them read the table, all at once; they
    /// follow it afterwards.
    pub(super) async fn begin(admin: SocketAddr, token: &str, count: usize) -> Result<Begun> {
        let mut clients = Vec::new();
        for _ in 0..count {
            clients.push(Api::open(admin, token).await?);
        }
        let now = Instant::now();
        let registered = all(clients
            .into_iter()
            .enumerate()
            .map(|(number, mut api)| async move {
                register(&mut api, number).await?;
                Ok(api)
            }));
        let clients = registered.await.context("workers cannot register")?;
        let registrations = now.elapsed();

        let now = Instant::now();
        let synced = all(clients.into_iter().map(|mut api| async move {
            let answer = api.call("GET", "/api/v1/apps", "").await?;
            Ok((now.elapsed(), answer.length, answer.state()?, api))
        }));
        let synced = synced.await.context("cannot read the table")?;

        let held = synced
            .iter()
            .map(|(_, _, (revision, _), _)| (*revision, Instant::now()))
            .collect();
        let progress = Rc::new(Progress {
            held: RefCell::new(held),
            fault: RefCell::default(),
            changed: Notify::new(),
        });
        let syncs = synced.iter().map(|(took, ..)| *took).collect();
        let table_bytes = synced.first().map_or(0, |(_, length, ..)| *length);
        let mut tasks = JoinSet::new();
        for (number, (_, _, state, api)) in synced.into_iter().enumerate() {
            let progress = Rc::clone(&progress);
            tasks.spawn_local(
                async move { progress.note(follow(api, number, state, &progress).await) },
            );
        }
        let (renewing, mut api) = (Rc::clone(&progress), Api::open(admin, token).await?);
        tasks.spawn_local(async move { renewing.note(renew(&mut api, count).await) });
        Ok(Begun {
            followers: Self {
                progress,
                _tasks: tasks,
            },
            registrations,
            syncs,
            table_bytes,
        })
    }

    /// Returns the time at which each follower had a revision, once all have it.
    pub(super) async fn at(&self, revision: u64) -> Result<Vec<Instant>> {
        let all_there = async {
            loop {
                let changed = self.progress.changed.notified();
                if let Some(fault) = self.progress.fault.borrow_mut().take() {
                    return Err(fault);
                }
                if let Some(times) = self.progress.at(revision) {
                    return Ok(times);
                }
                changed.await;
            }
        };
        let times = timeout(PATIENCE, all_there)
            .await
            .context("not all workers have applied the change")?;
        times.context("a worker no longer follows")
    }
}

impl Progress {
    fn at(&self, revision: u64) -> Option<Vec<Instant>> {
        let held = self.held.borrow();
        held.iter()
            .all(|(has, _)| *has >= revision)
            .then(|| held.iter().map(|(_, since)| *since).collect())
    }

    fn note(&self, ended: Result<(), Failure>) {
        *self.fault.borrow_mut() = ended.err();
        self.changed.notify_waiters();
    }
}

/// Runs an action for all items concurrently, and returns the results in order.
async fn all<T: 'static, F: Future<Output = Result<T, Failure>> + 'static>(
    each: impl Iterator<Item = F>,
) -> Result<Vec<T>> {
    let mut tasks = JoinSet::new();
    for (number, work) in each.enumerate() {
        tasks.spawn_local(async move { (number, work.await) });
    }
    let mut done = timeout(PATIENCE, tasks.join_all()).await?;
    done.sort_by_key(|(number, _)| *number);
    done.into_iter()
        .map(|(_, outcome)| outcome.map_err(Into::into))
        .collect()
}

/// Registers a worker at an address of its own, or renews that.
async fn register(api: &mut Api, number: usize) -> Result<(), Failure> {
    let [.., high, low] = (number + 1).to_be_bytes();
    let address = SocketAddr::from((Ipv4Addr::new(127, 200, high, low), 9));
    let body = format!(
        r#"{{"address": "{address}", "lease": "{}s"}}"#,
        LEASE.as_secs()
    );
    api.call("PUT", &format!("/api/v1/workers/played-{number}"), &body)
        .await
        .map(drop)
}

/// Renews the registrations of all, one after the other.
async fn renew(api: &mut Api, count: usize) -> Result<(), Failure> {
    let pause = RENEW / u32::try_from(count.max(1)).unwrap_or(u32::MAX);
    for number in (0..count).cycle() {
        sleep(pause).await;
        register(api, number).await?;
    }
    Ok(())
}

async fn follow(
    mut api: Api,
    number: usize,
    state: (u64, String),
    progress: &Progress,
) -> Result<(), Failure> {
    let (mut revision, mut epoch) = state;
    loop {
        let path = format!("/api/v1/apps?since={revision}&epoch={epoch}&wait={WAIT}");
        let answer = api.call("GET", &path, "").await?;
        let now = Instant::now();
        (revision, epoch) = answer.state()?;
        if let Some(held) = progress.held.borrow_mut().get_mut(number) {
            *held = (revision, now);
        }
        progress.changed.notify_waiters();
    }
}
