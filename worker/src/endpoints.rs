//! Selection of an endpoint for a request (phase `upstream_peer`): by session, or by load.

use std::hash::Hasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pingora_core::prelude::HttpPeer;
use rand::RngExt;
use siphasher::sip::SipHasher13;

/// A network address on which an app listens.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// The address as written in the app table.
    pub(crate) address: Arc<str>,
    /// The share of requests and sessions, relative to other endpoints.
    pub(crate) weight: u16,
    /// The peer to connect to; created once and cloned for each request.
    pub(crate) peer: HttpPeer,
    /// The number of requests and tunnels; kept across changes of the table.
    load: Arc<AtomicUsize>,
}

/// An endpoint that counts a request; dropping the guard ends the request.
#[derive(Debug)]
pub(crate) struct LoadGuard(Arc<Endpoint>);

impl LoadGuard {
    /// Returns the endpoint.
    #[must_use]
    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for LoadGuard {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Endpoint {
    /// Creates an endpoint that counts its load in `load`.
    #[must_use]
    pub(crate) fn new(address: &str, weight: u16, peer: HttpPeer, load: Arc<AtomicUsize>) -> Self {
        Self {
            address: address.into(),
            weight,
            peer,
            load,
        }
    }

    /// Returns the counter of the load.
    #[must_use]
    pub(crate) fn load(&self) -> &Arc<AtomicUsize> {
        &self.load
    }

    /// Counts a request until the guard is dropped.
    #[must_use]
    pub(crate) fn enter(self: &Arc<Self>) -> LoadGuard {
        self.load.fetch_add(1, Ordering::Relaxed);
        LoadGuard(Arc::clone(self))
    }

    /// Returns whether this endpoint has less load for its weight than another.
    fn is_less_loaded_than(&self, other: &Self) -> bool {
        let load = |endpoint: &Self| endpoint.load.load(Ordering::Relaxed) as u64 + 1;
        load(self) * u64::from(other.weight) < load(other) * u64::from(self.weight)
    }
}

/// Selects the endpoint of a request: the same one for each request of a session, otherwise the
/// less loaded of two random ones. Skips `failed` endpoints.
#[must_use]
pub(crate) fn select(
    endpoints: &[Arc<Endpoint>],
    session: Option<&[u8]>,
    failed: &[Arc<Endpoint>],
) -> Option<Arc<Endpoint>> {
    let usable = || {
        endpoints
            .iter()
            .filter(|endpoint| !failed.iter().any(|f| f.address == endpoint.address))
    };
    match session {
        Some(session) => {
            let session = SessionHash::new(session);
            usable()
                .max_by(|a, b| score(&session, a).total_cmp(&score(&session, b)))
                .cloned()
        }
        None => less_loaded_of_two(usable),
    }
}

/// Returns the score of an endpoint for a session (weighted rendezvous hashing: the endpoint with
/// the highest score gets the session). A change of endpoints moves as few sessions as possible,
/// and all workers select the same endpoint.
fn score(session: &SessionHash, endpoint: &Endpoint) -> f64 {
    // The upper 53 bits give a number between 0 and 1, both excluded: 0 has no logarithm.
    #[allow(clippy::cast_precision_loss)]
    let unit = ((session.with(&endpoint.address) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    f64::from(endpoint.weight) / -unit.ln()
}

/// Endpoint hash v1: SipHash-1-3 with a key of zeros over the length of the session's identifier (8
/// bytes, little-endian), the identifier, the address, and the byte 0xff.
///
/// Another hash moves sessions at the upgrade, and workers of two versions disagree.
struct SessionHash(SipHasher13);

impl SessionHash {
    /// Hashes a session's identifier.
    fn new(session: &[u8]) -> Self {
        let mut hasher = SipHasher13::new();
        hasher.write(&(session.len() as u64).to_le_bytes());
        hasher.write(session);
        Self(hasher)
    }

    /// Returns the hash of the session with an endpoint's address.
    fn with(&self, address: &str) -> u64 {
        let mut hasher = self.0;
        hasher.write(address.as_bytes());
        hasher.write(&[0xff]);
        hasher.finish()
    }
}

fn less_loaded_of_two<'e, I: Iterator<Item = &'e Arc<Endpoint>>>(
    usable: impl Fn() -> I,
) -> Option<Arc<Endpoint>> {
    let count = usable().count();
    if count <= 1 {
        return usable().next().cloned();
    }
    let mut rng = rand::rng();
    let first = rng.random_range(0..count);
    // A random distance from the first, so that the second is another endpoint.
    let second = (first + rng.random_range(1..count)) % count;
    let (a, b) = (usable().nth(first)?, usable().nth(second)?);
    Some(Arc::clone(if b.is_less_loaded_than(a) { b } else { a }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use app_proxy_hop::config::TimeoutsSection;
    use app_proxy_hop::forwarding::{PeerTimeouts, peer, resolve};

    fn endpoints(weights: &[u16]) -> Vec<Arc<Endpoint>> {
        let timeouts = PeerTimeouts::new(&TimeoutsSection::default(), None, None);
        let make = |(i, weight): (usize, &u16)| {
            let address = format!("127.0.0.1:{}", 1000 + i);
            let resolved = resolve(&address.parse().unwrap()).unwrap();
            Arc::new(Endpoint::new(
                &address,
                *weight,
                peer(&resolved, timeouts),
                Arc::default(),
            ))
        };
        weights.iter().enumerate().map(make).collect()
    }

    #[test]
    fn a_session_always_gets_the_same_endpoint() {
        let all = endpoints(&[1, 1, 1]);
        for session in 0..100_u32 {
            let key = session.to_be_bytes();
            let first = select(&all, Some(&key), &[]).unwrap();
            assert_eq!(
                select(&all, Some(&key), &[]).unwrap().address,
                first.address
            );
        }
    }

    #[test]
    fn endpoint_hash_v1_never_changes() {
        for (session, address, hash) in [
            ("", "", 0x8316_b05a_82fd_61e3),
            (
                "AAAAAAAAAAAAAAAAAAAAAA",
                "127.0.0.1:8888",
                0x9bb8_7e22_b5c3_859e,
            ),
            (
                "AAAAAAAAAAAAAAAAAAAAAA",
                "[::1]:8888",
                0xccd9_181c_6a75_9f32,
            ),
            (
                "Zm9vYmFyYmF6cXV4MTIzNA",
                "unix:/run/app.sock",
                0x0a53_285e_fc34_6642,
            ),
            (
                "0123456789abcdefghijkl",
                "notebook.example:80",
                0x935d_d2e4_b13b_237a,
            ),
        ] {
            let is = SessionHash::new(session.as_bytes()).with(address);
            assert_eq!(is, hash, "{session} {address}: {is:#x}");
        }
    }

    #[test]
    fn the_endpoints_of_sessions_are_the_same_in_every_version() {
        let all = endpoints(&[1, 2, 1, 3]);
        let chosen: String = (0..40_u32)
            .map(|key| select(&all, Some(key.to_string().as_bytes()), &[]).unwrap())
            .map(|endpoint| endpoint.address.chars().last().unwrap())
            .collect();
        assert_eq!(chosen, "3333330333033113101001121133133023110302");
    }

    #[test]
    fn only_the_sessions_of_a_lost_endpoint_move() {
        let (all, fewer) = (endpoints(&[1, 1, 1]), endpoints(&[1, 1]));
        for session in 0..300_u32 {
            let key = session.to_be_bytes();
            let before = select(&all, Some(&key), &[]).unwrap();
            let after = select(&fewer, Some(&key), &[]).unwrap();
            assert!(before.address == after.address || before.address.ends_with(":1002"));
        }
    }

    #[test]
    fn weight_is_the_share_of_sessions() {
        let all = endpoints(&[1, 3]);
        let share = (0..2000_u32)
            .filter(|key| {
                &*select(&all, Some(&key.to_be_bytes()), &[]).unwrap().address == "127.0.0.1:1001"
            })
            .count();
        assert!((1400..1600).contains(&share), "{share} of 2000");
    }

    #[test]
    fn without_a_session_the_less_loaded_endpoint_is_selected() {
        let all = endpoints(&[1, 1]);
        let busy: Vec<_> = (0..5).map(|_| all[0].enter()).collect();
        for _ in 0..20 {
            assert_eq!(select(&all, None, &[]).unwrap().address, all[1].address);
        }
        drop(busy);
        let one_each = [select(&all, None, &[]), select(&all, None, &[])];
        assert!(one_each.iter().all(Option::is_some));
    }

    #[test]
    fn failed_endpoints_are_skipped() {
        let all = endpoints(&[1, 1]);
        for session in [Some(&b"s"[..]), None] {
            assert_eq!(
                select(&all, session, &all[..1]).unwrap().address,
                all[1].address
            );
            assert!(select(&all, session, &all).is_none());
        }
    }
}
