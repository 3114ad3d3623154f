//! Host names of endpoints, resolved before the tables change: a slow lookup of one name does not
//! delay changes of other apps.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use app_proxy_api::address::Address;
use app_proxy_api::table::StoredApp;
use app_proxy_hop::forwarding::resolve;
use futures::future::{BoxFuture, Shared};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, Stream, StreamExt};
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddr;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Instant, timeout_at};

/// The time that a change of the tables waits for lookups. Endpoints with slower names are
/// added once those are resolved.
pub(crate) const LOOKUP_PATIENCE: Duration = Duration::from_millis(500);
/// The maximum number of concurrent lookups. Each blocks a thread of the pool that changes of the
/// tables use as well.
const MAX_CONCURRENT: usize = 64;

/// The maximum number of late names in one change of the tables.
const MAX_BATCH: usize = 1024;

/// The address of a name, or the cause of a failed lookup.
type Answer = Result<PeerAddr, String>;
/// A running lookup, which completes even if no task awaits it.
type PendingLookup = Shared<BoxFuture<'static, Answer>>;

/// The results of lookups.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    known: HashMap<Address, Answer>,
    late: Vec<(Address, PendingLookup)>,
}

/// Resolves host names, with a limit on concurrent lookups and one lookup per name. Clones share
/// the limit and the lookups.
#[derive(Clone, Default)]
pub(crate) struct Resolver(Arc<Running>);

struct Running {
    slots: Semaphore,
    lookups: Mutex<HashMap<Address, PendingLookup>>,
}

impl Default for Running {
    fn default() -> Self {
        Self {
            slots: Semaphore::new(MAX_CONCURRENT),
            lookups: Mutex::default(),
        }
    }
}

impl Resolver {
    /// Resolves names, and waits for at most `patience`; slower lookups continue.
    pub(crate) async fn resolve(&self, names: HashSet<Address>, patience: Duration) -> Resolved {
        let deadline = Instant::now() + patience;
        let begun: Vec<_> = names
            .into_iter()
            .map(|name| (self.begin(&name), name))
            .collect();
        let mut resolved = Resolved::default();
        for (lookup, name) in begun {
            match timeout_at(deadline, lookup.clone()).await {
                Ok(answer) => drop(resolved.known.insert(name, answer)),
                Err(_) => resolved.late.push((name, lookup)),
            }
        }
        resolved
    }

    /// Returns the running lookup of a name, or starts one.
    fn begin(&self, name: &Address) -> PendingLookup {
        let mut lookups = self.0.lookups();
        if let Some(running) = lookups.get(name) {
            return running.clone();
        }
        let (running, wanted) = (Arc::clone(&self.0), name.clone());
        let lookup = tokio::spawn(async move {
            // The semaphore is never closed.
            let slot = running.slots.acquire().await;
            let asked = wanted.clone();
            let found = spawn_blocking(move || resolve(&asked).map_err(|e| e.to_string())).await;
            drop(slot);
            running.lookups().remove(&wanted);
            flat(found)
        });
        let lookup = lookup.map(flat).boxed().shared();
        lookups.insert(name.clone(), lookup.clone());
        lookup
    }
}

impl Running {
    fn lookups(&self) -> MutexGuard<'_, HashMap<Address, PendingLookup>> {
        self.lookups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn flat(joined: Result<Answer, JoinError>) -> Answer {
    joined.unwrap_or_else(|e| Err(e.to_string()))
}

/// Returns the host names among the endpoints of apps.
pub(crate) fn names_of<'a>(apps: impl Iterator<Item = &'a StoredApp>) -> HashSet<Address> {
    let addresses = apps
        .flat_map(|app| &app.app.endpoints)
        .map(|endpoint| &endpoint.address);
    addresses
        .filter(|address| address.is_name())
        .cloned()
        .collect()
}

impl Resolved {
    /// Returns the result of a lookup that has finished.
    #[must_use]
    pub(crate) fn get(&self, name: &Address) -> Option<&Result<PeerAddr, String>> {
        self.known.get(name)
    }

    /// Returns whether no lookup has finished.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Returns the results of the slower lookups as they finish.
    pub(crate) fn late(self) -> impl Stream<Item = Self> {
        let each = self
            .late
            .into_iter()
            .map(|(name, lookup)| lookup.map(|answer| (name, answer)));
        let batches = each
            .collect::<FuturesUnordered<_>>()
            .ready_chunks(MAX_BATCH);
        batches.map(|answers| Self {
            known: answers.into_iter().collect(),
            late: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: &[&str]) -> HashSet<Address> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn names_resolve_to_an_address_or_an_error() {
        let names = Resolver::default()
            .resolve(
                names(&["localhost:1", "nobody.invalid:1"]),
                Duration::from_secs(20),
            )
            .await;
        assert!(names.get(&"localhost:1".parse().unwrap()).unwrap().is_ok());
        assert!(
            names
                .get(&"nobody.invalid:1".parse().unwrap())
                .unwrap()
                .is_err()
        );
        assert!(names.get(&"other:1".parse().unwrap()).is_none());
    }

    #[tokio::test]
    async fn slow_lookups_are_returned_later() {
        let mut names = Resolver::default()
            .resolve(names(&["localhost:1"]), Duration::ZERO)
            .await;
        if names.is_empty() {
            let mut late = Box::pin(names.late());
            names = late.next().await.unwrap();
            assert!(late.next().await.is_none());
        }
        assert!(names.get(&"localhost:1".parse().unwrap()).unwrap().is_ok());
        assert!(Box::pin(names.late()).next().await.is_none());
    }

    /// Regression: each refresh started a lookup of every name, even while the last was running.
    #[tokio::test]
    async fn a_running_lookup_is_not_started_again() {
        let (lookups, wanted) = (Resolver::default(), names(&["localhost:1", "localhost:2"]));
        let all = lookups
            .0
            .slots
            .acquire_many(u32::try_from(MAX_CONCURRENT).unwrap())
            .await
            .unwrap();
        let first = lookups.resolve(wanted.clone(), Duration::ZERO).await;
        let second = lookups.resolve(wanted.clone(), Duration::ZERO).await;
        assert!(first.is_empty() && second.is_empty());
        assert_eq!(lookups.0.lookups().len(), 2);
        drop(all);
        for names in [first, second] {
            let found: Vec<_> = names.late().map(|names| names.known).collect().await;
            let found: HashMap<_, _> = found.into_iter().flatten().collect();
            assert!(wanted.iter().all(|name| found.get(name).unwrap().is_ok()));
        }
        assert!(lookups.0.lookups().is_empty());
    }
}
