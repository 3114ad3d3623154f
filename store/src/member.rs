//! Members: the processes that share a store.

use std::fmt;

use crate::state::ServedTable;

/// The identifier of a member, unique within its store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberId(i64);

impl MemberId {
    /// The identifier that a store keeps as `number`.
    #[must_use]
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// Returns the number that a store keeps.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A process that shares a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// The identifier.
    pub id: MemberId,
    /// The instance identifier of the process; empty for a process of an earlier version, which
    /// announces nothing but the table that it serves.
    pub instance: String,
    /// The process identifier; 0 for a process of an earlier version.
    pub pid: u32,
    /// The address of the admin API.
    pub address: Option<String>,
    /// The key of its file of apps; see [`FileClaim`](crate::FileClaim).
    pub file: Option<String>,
    /// True if other members may join that are not its successor.
    pub shared: bool,
    /// The stage of its life.
    pub stage: MemberStage,
    /// The table that it serves requests from.
    pub served: ServedTable,
    /// A number that grows with each [`Store::beat`](crate::Store::beat) of the member, and with
    /// each write of a process of an earlier version.
    pub beat: u64,
}

impl Member {
    /// Returns whether the member is a process of an earlier version. Such a process is silent
    /// while nothing changes, so a `beat` that does not grow proves nothing about it.
    #[must_use]
    pub fn is_legacy(&self) -> bool {
        self.pid == 0
    }
}

/// The part of a [`Member`] that a process announces when it joins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewMember {
    /// The instance identifier of the process.
    pub instance: String,
    /// The process identifier.
    pub pid: u32,
    /// The address of the admin API.
    pub address: Option<String>,
    /// The key of its file of apps; see [`FileClaim`](crate::FileClaim).
    pub file: Option<String>,
    /// True if other members may join that are not its successor.
    pub shared: bool,
    /// The table that it serves requests from.
    pub served: ServedTable,
}

/// The stage of a member's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemberStage {
    /// It does not serve requests yet.
    #[default]
    Joining,
    /// It serves requests.
    Serving,
    /// It accepts no more connections; the last requests and streams end.
    Leaving,
}

/// The way in which a process joins a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The only member. Rejected while another member is alive.
    Alone,
    /// The successor of a member, in an upgrade. Joins always.
    Successor,
    /// One of a fleet. Rejected while a member is alive that is not shared.
    Shared,
}
