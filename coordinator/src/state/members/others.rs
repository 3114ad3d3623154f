//! The other members, as this process has observed them.

use std::time::Duration;

use app_proxy_store::{Member, MemberId, MemberStage, ServedTable};
use log::info;
use tokio::time::Instant;

use super::{BEAT, DEAD_AFTER};

/// The other members.
pub(super) struct Others {
    seen: Vec<Seen>,
    /// The members that joined before this process.
    older: Vec<MemberId>,
    /// The time of the last observation.
    at: Instant,
    /// The number of members that have left or died.
    gone: u64,
}

/// A member with its last sign of life.
struct Seen {
    member: Member,
    /// The time at which its heartbeat changed last.
    since: Instant,
    /// True once it was returned as dead.
    is_reported: bool,
}

impl Others {
    /// Creates the members that a process finds when it joins.
    pub(super) fn older(found: Vec<Member>, now: Instant) -> Self {
        let mut others = Self {
            seen: Vec::new(),
            older: found.iter().map(|member| member.id).collect(),
            at: now,
            gone: 0,
        };
        others.observe(found, &ServedTable::default(), now);
        others
    }

    /// Replaces the members by those that the store has now. Returns whether one has joined, left
    /// or changed its stage.
    pub(super) fn observe(
        &mut self,
        found: Vec<Member>,
        table: &ServedTable,
        now: Instant,
    ) -> bool {
        // A process that was stopped itself has not observed the others meanwhile.
        let missed = now
            .saturating_duration_since(self.at)
            .saturating_sub(2 * BEAT);
        self.at = now;
        let mut before = std::mem::take(&mut self.seen);
        let mut changed = false;
        for member in found {
            let known = before.iter().position(|seen| seen.member.id == member.id);
            let known = known.map(|at| before.swap_remove(at));
            if known.is_none() {
                info!("member of process {}: shares the store", member.pid);
            }
            changed |= known
                .as_ref()
                .is_none_or(|known| known.member.stage != member.stage);
            self.seen
                .push(Seen::next(known, member, table, now, missed));
        }
        for left in before.iter().filter(|seen| !seen.is_reported) {
            info!("member of process {}: has left the store", left.member.pid);
            self.gone += 1;
        }
        changed || !before.is_empty()
    }

    /// Iterates over the members that are alive.
    pub(super) fn live(&self, now: Instant) -> impl Iterator<Item = &Member> {
        self.seen
            .iter()
            .filter(move |seen| !seen.is_dead(now))
            .map(|seen| &seen.member)
    }

    /// Returns whether a live member that joined before this process serves. A process of an
    /// earlier version has no stage, and is about to end when there is a successor.
    pub(super) fn has_older(&self, now: Instant) -> bool {
        let mut live = self.live(now).filter(|member| !member.is_legacy());
        live.any(|member| member.stage == MemberStage::Serving && self.older.contains(&member.id))
    }

    /// Returns the members that have died since the last call.
    pub(super) fn take_dead(&mut self, now: Instant) -> Vec<Member> {
        let mut dead = Vec::new();
        for seen in self.seen.iter_mut().filter(|seen| seen.is_dead(now)) {
            if !std::mem::replace(&mut seen.is_reported, true) {
                dead.push(seen.member.clone());
            }
        }
        self.gone += dead.len() as u64;
        dead
    }

    /// Returns the number of members that have left or died.
    pub(super) fn gone(&self) -> u64 {
        self.gone
    }
}

impl Seen {
    fn next(
        known: Option<Self>,
        member: Member,
        table: &ServedTable,
        now: Instant,
        missed: Duration,
    ) -> Self {
        // A process of an earlier version has no heartbeat: it must follow changes only.
        let is_silent_by_nature = member.is_legacy() && member.served == *table;
        let known = known.filter(|known| known.member.beat == member.beat && !is_silent_by_nature);
        let (since, is_reported) = known.map_or((now, false), |known| {
            ((known.since + missed).min(now), known.is_reported)
        });
        Self {
            member,
            since,
            is_reported,
        }
    }

    fn is_dead(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= DEAD_AFTER
    }
}
