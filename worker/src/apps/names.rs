//! Host names of endpoints, looked up before the tables change: a resolver that is slow with one name holds up the changes of no other app.

use std::collections::{HashMap, HashSet};
use std::io;
use std::time::Duration;

use app_proxy_control::table::StoredApp;
use app_proxy_hop::address::Address;
use futures::stream::{self, StreamExt};
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddr;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout_at};

/// How long a change of the tables waits for names. What is not known by then is left out, and taken in when it is.
pub const PATIENCE: Duration = Duration::from_millis(500);
/// Names that are looked up at once.
const AT_ONCE: usize = 32;

/// What names stand for.
#[derive(Debug, Default)]
pub struct Names {
    known: HashMap<Address, Result<PeerAddr, String>>,
    late: Vec<(Address, JoinHandle<io::Result<PeerAddr>>)>,
}

impl Names {
    /// The names among the endpoints of apps.
    pub fn of<'a>(apps: impl Iterator<Item = &'a StoredApp>) -> HashSet<Address> {
        let addresses = apps.flat_map(|app| &app.app.endpoints).map(|endpoint| &endpoint.address);
        addresses.filter(|address| address.is_name()).cloned().collect()
    }

    /// Looks names up, for `patience` at most.
    pub async fn look_up(names: HashSet<Address>, patience: Duration) -> Self {
        let deadline = Instant::now() + patience;
        let each = stream::iter(names).map(|name| async move {
            let wanted = name.clone();
            let mut lookup = spawn_blocking(move || wanted.resolve());
            match timeout_at(deadline, &mut lookup).await {
                Ok(done) => (name, Ok(outcome(done))),
                Err(_) => (name, Err(lookup)),
            }
        });
        let mut names = Self::default();
        for (name, lookup) in each.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await {
            match lookup {
                Ok(done) => drop(names.known.insert(name, done)),
                Err(lookup) => names.late.push((name, lookup)),
            }
        }
        names
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

    /// Waits for the names that took longer than anybody wanted to wait; none when there are none.
    pub async fn late(&mut self) -> Option<Self> {
        let mut known = HashMap::new();
        for (name, lookup) in self.late.drain(..) {
            known.insert(name, outcome(lookup.await));
        }
        (!known.is_empty()).then(|| Self { known, late: Vec::new() })
    }
}

fn outcome(done: Result<io::Result<PeerAddr>, tokio::task::JoinError>) -> Result<PeerAddr, String> {
    match done {
        Ok(resolved) => resolved.map_err(|e| e.to_string()),
        Err(e) => Err(e.to_string()),
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
        let names = Names::look_up(names(&["localhost:1", "nobody.invalid:1"]), Duration::from_secs(20)).await;
        assert!(names.get(&"localhost:1".parse().unwrap()).unwrap().is_ok());
        assert!(names.get(&"nobody.invalid:1".parse().unwrap()).unwrap().is_err());
        assert!(names.get(&"other:1".parse().unwrap()).is_none());
    }

    #[tokio::test]
    async fn a_name_that_takes_long_comes_later() {
        let mut names = Names::look_up(names(&["localhost:1"]), Duration::ZERO).await;
        if names.is_empty() {
            names = names.late().await.unwrap();
        }
        assert!(names.get(&"localhost:1".parse().unwrap()).unwrap().is_ok());
        assert!(names.late().await.is_none());
    }
}
