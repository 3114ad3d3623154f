//! Connections to next hops that wait for another request.
//!
//! Each thread has a part of its own, so that its lock is never contended, and a connection is used
//! by the thread that reads it. A connection has no task while it waits: it is checked when it is
//! taken, and once a second.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::Upstream;

/// The number of parts; threads beyond it share.
const PARTS: usize = 64;
/// The interval of the check for connections that are closed, or waited for too long.
const SWEEP: Duration = Duration::from_secs(1);

/// A connection that waits, and the sweep that closes it.
struct Waiting {
    upstream: Box<Upstream>,
    until: u64,
}

#[derive(Default)]
struct Part {
    waiting: HashMap<u64, Vec<Waiting>, BuildHasherDefault<KeyIsHash>>,
    count: usize,
    is_swept: bool,
    /// The count of sweeps: a clock that costs a request nothing.
    sweeps: u64,
}

/// The connections to next hops that wait, by the key of their peer.
pub(crate) struct Pool {
    parts: Box<[Mutex<Part>]>,
    /// The number of connections that a thread keeps, at most.
    capacity: usize,
}

impl Pool {
    /// Creates a pool that keeps `capacity` connections for each thread.
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
            capacity,
        })
    }

    /// Takes a connection to the peer with this key, the one that was used last.
    pub(crate) fn take(&self, key: u64) -> Option<Box<Upstream>> {
        let mut part = self.part();
        let part = &mut *part;
        let waiting = part.waiting.get_mut(&key)?;
        while let Some(Waiting { mut upstream, .. }) = waiting.pop() {
            part.count -= 1;
            if !upstream.is_stale() {
                return Some(upstream);
            }
        }
        None
    }

    /// Keeps a connection for `idle`, up to one second longer; `None` is an hour.
    pub(crate) fn put(self: &Arc<Self>, key: u64, upstream: Box<Upstream>, idle: Option<Duration>) {
        let idle = idle.unwrap_or(Duration::from_secs(3600));
        let mut part = self.part();
        if idle.is_zero() || part.count >= self.capacity {
            return;
        }
        part.count += 1;
        let until = part.sweeps + sweeps_in(idle);
        let waiting = Waiting { upstream, until };
        part.waiting.entry(key).or_default().push(waiting);
        if !std::mem::replace(&mut part.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self), own_part()));
        }
    }

    fn part(&self) -> MutexGuard<'_, Part> {
        self.part_at(own_part())
    }

    #[allow(clippy::indexing_slicing)] // `own_part` is below the number of parts.
    fn part_at(&self, index: usize) -> MutexGuard<'_, Part> {
        self.parts[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the number of sweeps after which `idle` is over.
fn sweeps_in(idle: Duration) -> u64 {
    idle.as_secs() + u64::from(idle.subsec_nanos() > 0) + 1
}

/// Closes connections of a part once a second, until none is left.
async fn sweep(pool: Weak<Pool>, index: usize) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut part = pool.part_at(index);
        part.sweeps += 1;
        let sweeps = part.sweeps;
        part.waiting.retain(|_, waiting| {
            waiting.retain_mut(|one| one.until > sweeps && !one.upstream.is_stale());
            !waiting.is_empty()
        });
        part.count = part.waiting.values().map(Vec::len).sum();
        if part.count == 0 {
            part.is_swept = false;
            return;
        }
    }
}

/// The part of the current thread.
fn own_part() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % PARTS;
    }
    OWN.with(|own| *own)
}

/// A hasher for keys that are hashes already.
#[derive(Default)]
struct KeyIsHash(u64);

impl Hasher for KeyIsHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}
