//! Fixed workers: those that the configuration file defines.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use pingora_core::protocols::l4::socket::SocketAddr as PeerAddr;

use super::Registry;
use super::entry::RegistryEntry;
use crate::config::WorkerSection;
use crate::pool::worker::WorkerSpec;

impl Registry {
    /// Adds the workers of the file that are unknown. Returns their identifiers.
    pub(in crate::pool) fn add_fixed(
        &mut self,
        fixed: &[(WorkerSection, PeerAddr)],
    ) -> Vec<String> {
        let mut added = Vec::new();
        for (worker, resolved) in fixed {
            let id = worker.id.as_str();
            if !self.entries.contains_key(id) && self.check_address(id, resolved).is_ok() {
                self.fix(worker, resolved);
                added.push(id.to_owned());
            }
        }
        added
    }

    /// Reverts [`Registry::add_fixed`], except for workers that have registered meanwhile.
    pub(in crate::pool) fn remove_fixed(&mut self, added: &[String]) {
        for id in added {
            if let Some(entry) = self.entries.get_mut(id.as_str()) {
                entry.fixed = None;
                if entry.lease.is_none() {
                    self.entries.remove(id.as_str());
                }
                self.generation += 1;
            }
        }
    }

    /// Replaces the workers of the file. Removes registered workers that are not in the file but
    /// have the address of a worker in it. Returns the removed workers.
    pub(in crate::pool) fn set_fixed(
        &mut self,
        fixed: &[(WorkerSection, PeerAddr)],
    ) -> Vec<String> {
        let addresses: HashMap<_, _> = fixed
            .iter()
            .map(|(w, address)| (address, w.id.as_str()))
            .collect();
        self.generation += 1;
        let is_removed = |id: &Arc<str>, entry: &mut RegistryEntry| {
            let in_file = fixed.iter().any(|(worker, _)| worker.id == **id);
            let owner = addresses.get(entry.worker.resolved());
            !in_file && (entry.lease.is_none() || owner.is_some())
        };
        let removed = self
            .entries
            .extract_if(.., is_removed)
            .map(|(id, _)| id.as_ref().to_owned())
            .collect();
        self.release(&fixed.iter().map(|(worker, _)| worker.id.as_str()).collect());
        for (worker, resolved) in fixed {
            self.fix(worker, resolved);
        }
        removed
    }

    fn fix(&mut self, worker: &WorkerSection, resolved: &PeerAddr) {
        let spec = WorkerSpec {
            address: worker.address.clone(),
            resolved: resolved.clone(),
            weight: worker.weight,
            labels: worker.labels.clone(),
        };
        self.apply_spec(&worker.id, spec.clone());
        if let Some(entry) = self.entries.get_mut(worker.id.as_str()) {
            entry.fixed = Some(spec);
        }
    }

    /// Applies the registrations of workers that are no longer in the file.
    fn release(&mut self, in_file: &BTreeSet<&str>) {
        let mut released = Vec::new();
        for (id, entry) in &mut self.entries {
            if entry.fixed.take().is_some()
                && !in_file.contains(&**id)
                && let Some(lease) = &entry.lease
            {
                let resolved = entry.worker.resolved().clone();
                released.push((
                    Arc::clone(id),
                    WorkerSpec::new(&lease.registration, resolved),
                ));
            }
        }
        for (id, spec) in released {
            self.apply_spec(&id, spec);
        }
    }
}
