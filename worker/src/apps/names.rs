//! Host names of endpoints, looked up before the tables change: a resolver that is slow with one
//! name holds up the changes of no other app.

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

/// How long a change of the tables waits for names. What is not known by then is left out, and
/// taken in when it is.
pub const PATIENCE: Duration = Duration::from_millis(500);
/// Names that are looked up at once. Each takes a thread for as long as the resolver takes, of
/// those that the tables need for their changes too.
const AT_ONCE: usize = 64;

/// Names that come together and are taken in together, at most.
const TOGETHER: usize = 1024;

/// What a name stands for, or why it stands for nothing.
type Found = Result<PeerAddr, String>;
/// A lookup that goes on, whether anybody waits for it or not.
type Lookup = Shared<BoxFuture<'static, Found>>;

/// What names stand for.
#[derive(Debug, Default)]
pub struct Names {
    known: HashMap<Address, Found>,
    late: Vec<(Address, Lookup)>,
}

/// Looks names up: a few at once, and none that is being looked up already. Clones share that.
#[derive(Clone, Default)]
pub struct Lookups(Arc<Running>);

struct Running {
    slots: Semaphore,
    lookups: Mutex<HashMap<Address, Lookup>>,
}

impl Default for Running {
    fn default() -> Self {
        Self {
            slots: Semaphore::new(AT_ONCE),
            lookups: Mutex::default(),
        }
    }
}

impl Lookups {
    /// Looks names up, for `patience` at most; those that take longer go on.
    pub async fn of(&self, names: HashSet<Address>, patience: Duration) -> Names {
        let deadline = Instant::now() + patience;
        let begun: Vec<_> = names
            .into_iter()
            .map(|name| (self.begin(&name), name))
            .collect();
        let mut names = Names::default();
        for (lookup, name) in begun {
            match timeout_at(deadline, lookup.clone()).await {
                Ok(found) => drop(names.known.insert(name, found)),
                Err(_) => names.late.push((name, lookup)),
            }
        }
        names
    }

    fn begin(&self, name: &Address) -> Lookup {
        let mut lookups = self.0.lookups();
        if let Some(running) = lookups.get(name) {
            return running.clone();
        }
        let (running, wanted) = (Arc::clone(&self.0), name.clone());
        let lookup = tokio::spawn(async move {
            // It is never closed.
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
    fn lookups(&self) -> MutexGuard<'_, HashMap<Address, Lookup>> {
        self.lookups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn flat(done: Result<Found, JoinError>) -> Found {
    done.unwrap_or_else(|e| Err(e.to_string()))
}

impl Names {
    /// The names among the endpoints of apps.
    pub fn of<'a>(apps: impl Iterator<Item = &'a StoredApp>) -> HashSet<Address> {
        let addresses = apps
            .flat_map(|app| &app.app.endpoints)
            .map(|endpoint| &endpoint.address);
        addresses
            .filter(|address| address.is_name())
            .cloned()
            .collect()
    }

    /// What a name stands for, as far as it was looked up.
    #[must_use]
    pub fn get(&self, name: &Address) -> Option<&Result<PeerAddr, String>> {
        self.known.get(name)
    }

    /// Whether nothing was looked up to its end.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The names that took longer than anybody wanted to wait, as they come.
    pub fn late(self) -> impl Stream<Item = Self> {
        let each = self
            .late
            .into_iter()
            .map(|(name, lookup)| lookup.map(|found| (name, found)));
        let together = each.collect::<FuturesUnordered<_>>().ready_chunks(TOGETHER);
        together.map(|found| Self {
            known: found.into_iter().collect(),
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
    async fn a_name_is_known_or_known_to_have_no_address() {
        let names = Lookups::default()
            .of(
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
    async fn a_name_that_takes_long_comes_later() {
        let mut names = Lookups::default()
            .of(names(&["localhost:1"]), Duration::ZERO)
            .await;
        if names.is_empty() {
            let mut late = Box::pin(names.late());
            names = late.next().await.unwrap();
            assert!(late.next().await.is_none());
        }
        assert!(names.get(&"localhost:1".parse().unwrap()).unwrap().is_ok());
        assert!(Box::pin(names.late()).next().await.is_none());
    }

    /// Keeps out: each look began as many lookups as there were names, whether those of the last
    /// look had ended or not.
    #[tokio::test]
    async fn a_name_that_is_being_looked_up_is_not_looked_up_again() {
        let (lookups, wanted) = (Lookups::default(), names(&["localhost:1", "localhost:2"]));
        let all = lookups
            .0
            .slots
            .acquire_many(u32::try_from(AT_ONCE).unwrap())
            .await
            .unwrap();
        let first = lookups.of(wanted.clone(), Duration::ZERO).await;
        let second = lookups.of(wanted.clone(), Duration::ZERO).await;
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
