//! What is known of the workers: by the file, by their own registration, by operators. The rules of
//! who may change what.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use app_proxy_api::apps::Labels;
use app_proxy_api::workers::{InstanceId, Load, WorkerRegistration};
use app_proxy_hop::config::TimeoutsSection;
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddr;
use tokio::time::Instant;

use super::PoolError;
use super::worker::{Description, PoolWorker, WorkerLoad, ring_address};
use crate::clock::now_ms;
use crate::config::WorkerSection;
use app_proxy_store::{StoredDrain, StoredWorker};

/// For how long it is remembered which process of a worker has left, at least: what that one said
/// before may come late.
const LEFT_REMEMBERED: Duration = Duration::from_secs(60);
/// For how long the drain of a worker is kept that is missed; at least until its deadline.
const MISSED_REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// All that is known. Changed by one task at a time, never read for a request.
pub(super) struct Registry {
    pub(super) members: BTreeMap<Arc<str>, Member>,
    pub(super) selectors: BTreeSet<Labels>,
    pub(super) timeouts: TimeoutsSection,
    /// Grows with each change that requests have to see.
    pub(super) edition: u64,
    /// Of workers that have left, which process that was, and until when this matters.
    left: HashMap<String, (InstanceId, Instant)>,
    /// How workers were drained whose registration has lapsed: a network that fails for a moment
    /// must not put one back into service.
    missed: BTreeMap<String, Missed>,
}

/// A drained worker that is missed.
struct Missed {
    drain: StoredDrain,
    /// Since when, in milliseconds since 1970; since the restart, of what a store has kept.
    since_ms: u64,
}

/// A worker and who knows it.
pub(super) struct Member {
    pub(super) worker: Arc<PoolWorker>,
    /// What the file says of it.
    pub(super) fixed: Option<Description>,
    /// What it says of itself.
    pub(super) lease: Option<Lease>,
    pub(super) drain: Option<StoredDrain>,
    /// Whether the store has it, as far as is known.
    pub(super) is_stored: bool,
}

/// A registration that holds for some time.
pub(super) struct Lease {
    pub(super) said: WorkerRegistration,
    pub(super) lasts: Duration,
    pub(super) until: Instant,
}

/// How a worker is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// The file names it.
    Fixed,
    /// It has registered.
    RegistrationReply,
    /// It is not there, and would be drained.
    Missed,
}

/// What a change has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Changed {
    /// The worker was not known before.
    pub(super) is_new: bool,
    /// Requests have to see it.
    pub(super) members: bool,
    /// A restart has to know it.
    pub(super) stored: bool,
}

impl Member {
    pub(super) fn is_registered_as(&self, instance: &InstanceId) -> bool {
        self.lease
            .as_ref()
            .is_some_and(|lease| lease.said.instance.as_ref() == Some(instance))
    }

    /// Tells requests whether it takes new sessions.
    fn show_draining(&self) {
        let reported = self.lease.as_ref().is_some_and(|lease| lease.said.draining);
        self.worker
            .load
            .draining
            .store(self.drain.is_some() || reported, Ordering::Relaxed);
    }

    pub(super) fn set_drain(&mut self, drain: Option<StoredDrain>) {
        self.drain = drain;
        self.show_draining();
    }

    fn stored(&self) -> Option<StoredWorker> {
        let registration = self.lease.as_ref().map(|lease| lasting(&lease.said));
        (registration.is_some() || self.drain.is_some()).then(|| StoredWorker {
            id: self.worker.id.as_ref().to_owned(),
            registration,
            drain: self.drain,
        })
    }
}

/// What of a registration is worth remembering: not what changes with each renewal.
pub(super) fn lasting(said: &WorkerRegistration) -> WorkerRegistration {
    WorkerRegistration {
        held: None,
        load: Load::default(),
        ..said.clone()
    }
}

impl Registry {
    pub(super) fn new(timeouts: &TimeoutsSection) -> Self {
        Self {
            members: BTreeMap::new(),
            selectors: BTreeSet::new(),
            timeouts: timeouts.clone(),
            edition: 0,
            left: HashMap::new(),
            missed: BTreeMap::new(),
        }
    }

    pub(super) fn workers(&self) -> Vec<Arc<PoolWorker>> {
        self.members
            .values()
            .map(|member| Arc::clone(&member.worker))
            .collect()
    }

    /// What a restart has to know of a worker; nothing of one that only the file knows, or nobody.
    pub(super) fn stored(&self, id: &str) -> Option<StoredWorker> {
        match self.members.get(id) {
            Some(member) => member.stored(),
            None => {
                let drain = self.missed.get(id)?.drain;
                Some(StoredWorker {
                    id: id.to_owned(),
                    registration: None,
                    drain: Some(drain),
                })
            }
        }
    }

    /// Takes in what a worker says of itself.
    pub(super) fn register(
        &mut self,
        id: &str,
        said: WorkerRegistration,
        resolved: PeerAddr,
        lasts: Duration,
    ) -> Result<Changed, PoolError> {
        self.check_instance(id, said.instance.as_ref())?;
        let is = Description::of(&said, resolved);
        let fixed = self
            .members
            .get(id)
            .and_then(|member| member.fixed.as_ref());
        if fixed.is_some_and(|fixed| ring_address(&fixed.resolved) != ring_address(&is.resolved)) {
            return Err(PoolError::OwnedByFile);
        }
        // Of a worker that the file names the file says the rest.
        let is_fixed = fixed.is_some();
        self.check_address(id, &is.resolved)?;
        let Changed {
            is_new, members, ..
        } = if is_fixed {
            Changed::default()
        } else {
            self.describe(id, is)
        };
        let Some(member) = self.members.get_mut(id) else {
            return Err(PoolError::Unknown);
        };
        let stored = member
            .lease
            .as_ref()
            .is_none_or(|before| lasting(&before.said) != lasting(&said));
        member.lease = Some(Lease {
            said,
            lasts,
            until: Instant::now() + lasts,
        });
        member.show_draining();
        self.left.remove(id);
        Ok(Changed {
            is_new,
            members,
            stored,
        })
    }

    /// Refuses a process that a later one has taken the place of. Processes are told apart by UUIDs
    /// that grow with time; other texts have no order, and the last one counts.
    fn check_instance(&self, id: &str, instance: Option<&InstanceId>) -> Result<(), PoolError> {
        let Some(said) = instance else {
            return Ok(());
        };
        let now = Instant::now();
        let left = self
            .left
            .get(id)
            .filter(|(_, until)| *until > now)
            .and_then(|(left, _)| said.compare_start(left));
        let lease = self
            .members
            .get(id)
            .and_then(|member| member.lease.as_ref());
        let registered = lease.and_then(|lease| said.compare_start(lease.said.instance.as_ref()?));
        let late = left.is_some_and(|order| order.is_le())
            || registered.is_some_and(|order| order.is_lt());
        if late {
            Err(PoolError::Superseded)
        } else {
            Ok(())
        }
    }

    fn check_address(&self, id: &str, resolved: &PeerAddr) -> Result<(), PoolError> {
        let address = ring_address(resolved);
        let has =
            |member: &&Member| member.worker.backend.addr == address && *member.worker.id != *id;
        match self.members.values().find(has) {
            Some(other) => Err(PoolError::AddressTaken(Arc::clone(&other.worker.id))),
            None => Ok(()),
        }
    }

    /// Makes a worker what it is said to be. One that already is stays the same, so that what is
    /// pinned to it stays pinned.
    fn describe(&mut self, id: &str, is: Description) -> Changed {
        let Some(member) = self.members.get_mut(id) else {
            let worker =
                PoolWorker::new(&id.into(), is, &self.timeouts, Arc::<WorkerLoad>::default());
            let worker = Arc::new(worker);
            let drain = self.missed.remove(id).map(|missed| missed.drain);
            let member = Member {
                worker: Arc::clone(&worker),
                fixed: None,
                lease: None,
                drain,
                is_stored: drain.is_some(),
            };
            member.show_draining();
            self.members.insert(Arc::clone(&worker.id), member);
            self.edition += 1;
            return Changed {
                is_new: true,
                members: true,
                stored: true,
            };
        };
        if member.worker.description() == is {
            return Changed::default();
        }
        let (id, load) = (
            Arc::clone(&member.worker.id),
            Arc::clone(&member.worker.load),
        );
        let moved = member.worker.backend.addr != ring_address(&is.resolved);
        let worker = PoolWorker::new(&id, is, &self.timeouts, load);
        if !moved {
            worker.checked.store(
                member.worker.checked.load(Ordering::Relaxed),
                Ordering::Relaxed,
            );
        }
        member.worker = Arc::new(worker);
        self.edition += 1;
        Changed {
            members: true,
            ..Changed::default()
        }
    }

    /// Says for which selectors there are rings; whether these are others than before.
    pub(super) fn set_selectors(&mut self, selectors: BTreeSet<Labels>) -> bool {
        let differ = self.selectors != selectors;
        self.edition += u64::from(differ);
        self.selectors = selectors;
        differ
    }

    /// Makes all workers anew with other timeouts.
    pub(super) fn set_timeouts(&mut self, timeouts: &TimeoutsSection) {
        self.timeouts = timeouts.clone();
        self.edition += 1;
        for member in self.members.values_mut() {
            let before = &member.worker;
            let worker = PoolWorker::new(
                &before.id,
                before.description(),
                timeouts,
                Arc::clone(&before.load),
            );
            worker
                .checked
                .store(before.checked.load(Ordering::Relaxed), Ordering::Relaxed);
            member.worker = Arc::new(worker);
        }
    }

    /// Takes a worker's registration out; all of the worker, unless the file has it. What the
    /// process that has `left` said before, and comes later, does not count. Says whether requests
    /// have to see it.
    pub(super) fn unregister(&mut self, id: &str, left: Option<&InstanceId>) -> bool {
        let Some(member) = self.members.get_mut(id) else {
            return false;
        };
        let lasts = member
            .lease
            .take()
            .map_or(Duration::ZERO, |lease| lease.lasts);
        member.show_draining();
        let gone = member.fixed.is_none();
        if gone {
            self.members.remove(id);
            self.edition += 1;
        }
        let now = Instant::now();
        self.left.retain(|_, (_, until)| *until > now);
        if let Some(instance) = left {
            self.left.insert(
                id.to_owned(),
                (instance.clone(), now + lasts.max(LEFT_REMEMBERED)),
            );
        }
        gone
    }

    /// Takes out a worker whose registration has lapsed. Its drain holds when it comes back.
    pub(super) fn miss(&mut self, id: &str) {
        let drain = self.members.get(id).and_then(|member| member.drain);
        if self.unregister(id, None) {
            self.set_drain(id, drain);
        }
    }

    /// Says how a worker is drained, be it there or missed.
    pub(super) fn set_drain(&mut self, id: &str, drain: Option<StoredDrain>) {
        match (self.members.get_mut(id), drain) {
            (Some(member), drain) => member.set_drain(drain),
            (None, Some(drain)) => {
                let since_ms = self
                    .missed
                    .get(id)
                    .map_or_else(now_ms, |missed| missed.since_ms);
                self.missed
                    .insert(id.to_owned(), Missed { drain, since_ms });
            }
            (None, None) => drop(self.missed.remove(id)),
        }
    }

    /// How a worker is known, if it is.
    pub(super) fn knows(&self, id: &str) -> Option<Known> {
        match self.members.get(id) {
            Some(member) if member.fixed.is_some() => Some(Known::Fixed),
            Some(_) => Some(Known::RegistrationReply),
            None => self.missed.contains_key(id).then_some(Known::Missed),
        }
    }

    /// Ends the drains of workers that are missed and do not come back; says of which.
    pub(super) fn give_up_overdue(&mut self, now_ms: u64) -> Vec<String> {
        let kept = u64::try_from(MISSED_REMEMBERED.as_millis()).unwrap_or(u64::MAX);
        let is_overdue = |missed: &Missed| {
            missed
                .since_ms
                .saturating_add(kept)
                .max(missed.drain.deadline_ms)
                < now_ms
        };
        let overdue = self.missed.extract_if(.., |_, missed| is_overdue(missed));
        overdue.map(|(id, _)| id).collect()
    }

    /// Keeps the drains of missed workers that `named` has, and no others.
    pub(super) fn keep_missed(&mut self, named: &BTreeSet<String>) {
        self.missed.retain(|id, _| named.contains(id));
    }

    /// Takes in those workers of the file that nobody knows; says which these are.
    pub(super) fn add_fixed(&mut self, fixed: &[(WorkerSection, PeerAddr)]) -> Vec<String> {
        let mut added = Vec::new();
        for (worker, resolved) in fixed {
            let id = worker.id.as_str();
            if !self.members.contains_key(id) && self.check_address(id, resolved).is_ok() {
                self.fix(worker, resolved);
                added.push(id.to_owned());
            }
        }
        added
    }

    /// Takes workers out again that [`Registry::add_fixed`] has taken in, unless they have registered
    /// since.
    pub(super) fn drop_fixed(&mut self, added: &[String]) {
        for id in added {
            if let Some(member) = self.members.get_mut(id.as_str()) {
                member.fixed = None;
                if member.lease.is_none() {
                    self.members.remove(id.as_str());
                }
                self.edition += 1;
            }
        }
    }

    fn fix(&mut self, worker: &WorkerSection, resolved: &PeerAddr) {
        let is = Description {
            address: worker.address.clone(),
            resolved: resolved.clone(),
            weight: worker.weight,
            labels: worker.labels.clone(),
        };
        self.describe(&worker.id, is.clone());
        if let Some(member) = self.members.get_mut(worker.id.as_str()) {
            member.fixed = Some(is);
        }
    }

    /// Makes these the workers of the file. A worker that registered at an address of one of them
    /// goes. Says who is gone.
    pub(super) fn set_fixed(&mut self, fixed: &[(WorkerSection, PeerAddr)]) -> Vec<String> {
        let addresses: HashMap<_, _> = fixed
            .iter()
            .map(|(w, address)| (ring_address(address), w.id.as_str()))
            .collect();
        self.edition += 1;
        let goes = |id: &Arc<str>, member: &mut Member| {
            let named = fixed.iter().any(|(worker, _)| worker.id == **id);
            let owner = addresses.get(&member.worker.backend.addr);
            !named && (member.lease.is_none() || owner.is_some())
        };
        let gone = self
            .members
            .extract_if(.., goes)
            .map(|(id, _)| id.as_ref().to_owned())
            .collect();
        self.release(&fixed.iter().map(|(worker, _)| worker.id.as_str()).collect());
        for (worker, resolved) in fixed {
            self.fix(worker, resolved);
        }
        gone
    }

    /// Workers that the file does not name any more are what they say themselves.
    fn release(&mut self, named: &BTreeSet<&str>) {
        let mut released = Vec::new();
        for (id, member) in &mut self.members {
            if member.fixed.take().is_some()
                && !named.contains(&**id)
                && let Some(lease) = &member.lease
            {
                let resolved = member.worker.peer._address.clone();
                released.push((Arc::clone(id), Description::of(&lease.said, resolved)));
            }
        }
        for (id, is) in released {
            self.describe(&id, is);
        }
    }

    /// Workers whose registration has not been renewed in time.
    pub(super) fn lapsed(&self, now: Instant) -> Vec<Arc<str>> {
        let lapsed = |member: &&Member| {
            member
                .lease
                .as_ref()
                .is_some_and(|lease| lease.until <= now)
        };
        self.members
            .values()
            .filter(lapsed)
            .map(|member| Arc::clone(&member.worker.id))
            .collect()
    }

    /// When the next registration lapses.
    pub(super) fn next_lapse(&self) -> Option<Instant> {
        self.members
            .values()
            .filter_map(|member| member.lease.as_ref())
            .map(|lease| lease.until)
            .min()
    }
}
