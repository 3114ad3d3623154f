//! The conformance suite: the behaviour that a coordinator expects of every [`Store`].
//!
//! The author of a store runs [`check`] in a test:
//!
//! ```
//! use app_proxy_store::{SqliteStore, conformance};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! conformance::check(|| {
//!     let store = SqliteStore::in_memory().expect("a new store");
//!     move || store.another().expect("another handle")
//! })
//! .await;
//! # }
//! ```
//!
//! The suite does not test what depends on the medium: durability, damaged files, a full disk.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::sync::Arc;

use crate::sqlite::SqliteStore;
use crate::store::Store;

mod activity;
mod apps;
mod changes;
mod members;
mod records;
pub(crate) mod samples;

/// Calls a macro with the names of all behaviours, each with the name of its module.
macro_rules! every_behaviour {
    ($macro:ident) => {
        $macro! {
            records::new_store_is_empty_and_has_no_changes,
            records::workers_are_saved_and_deleted,
            records::webhooks_are_stored_once_and_ordered_by_age,
            records::webhooks_of_members_that_are_gone_are_adopted_once,
            apps::committed_apps_survive_reopening,
            apps::stale_commits_are_rejected_and_change_nothing,
            apps::new_epoch_replaces_the_table,
            apps::app_tombstones_are_kept_back_to_the_horizon,
            apps::recreated_app_has_no_tombstone,
            apps::claims_of_a_file_are_replaced,
            apps::commits_on_stale_claims_are_rejected,
            activity::new_session_is_stored_unchanged,
            activity::later_activity_of_another_process_is_merged,
            activity::earlier_and_simultaneous_activity_is_merged,
            activity::deleted_session_stays_deleted,
            activity::old_sessions_and_tombstones_are_trimmed,
            activity::trimming_keeps_the_most_recently_active_sessions,
            activity::app_activity_is_merged_and_deleted_with_the_app,
            activity::sessions_are_deleted_with_their_app,
            activity::large_numbers_are_clamped,
            changes::app_changes_reach_another_process,
            changes::process_behind_the_horizon_gets_the_complete_table,
            changes::worker_changes_reach_another_process,
            changes::session_deletions_reach_another_process,
            changes::activity_reaches_another_process,
            changes::own_changes_are_not_returned,
            changes::session_changed_by_two_processes_reaches_both,
            members::members_see_each_other,
            members::commits_return_the_other_members,
            members::members_join_according_to_their_role,
            members::killed_members_are_deleted_by_the_next,
            members::removed_member_returns_with_its_next_beat,
            members::beats_are_no_changes,
            members::streams_of_members_add_up_for_others,
            members::changes_of_streams_reach_other_members,
            members::own_changes_are_not_returned_after_a_restart,
        }
    };
}

macro_rules! define_check {
    ($($module:ident :: $behaviour:ident),+ $(,)?) => {
        /// Tests every behaviour on a store of its own.
        ///
        /// `new_contents` creates an empty store and returns a function that opens handles on its
        /// contents, each like that of another process. The contents must live as long as that
        /// function.
        ///
        /// # Panics
        /// Panics at the first difference between the store and the expected behaviour.
        pub async fn check<S, F>(new_contents: impl Fn() -> F)
        where
            S: Store,
            F: Fn() -> S,
        {
            $($module::$behaviour(new_contents()).await;)+
        }
    };
}

every_behaviour!(define_check);

/// Returns a store of which every call fails with [`StoreError::Unusable`](crate::StoreError), for
/// tests of callers.
#[must_use]
pub fn broken_store() -> Arc<dyn Store> {
    Arc::new(SqliteStore::without_tables().unwrap())
}

#[cfg(test)]
mod tests {
    //! Each behaviour of the SQLite store as a test of its own.

    use super::SqliteStore;

    fn in_memory() -> impl Fn() -> SqliteStore {
        let store = SqliteStore::in_memory().unwrap();
        move || store.another().unwrap()
    }

    fn in_file() -> impl Fn() -> SqliteStore {
        let folder = tempfile::tempdir().unwrap();
        move || SqliteStore::open(&folder.path().join("store.db")).unwrap()
    }

    macro_rules! define_tests {
        ($($module:ident :: $behaviour:ident),+ $(,)?) => {
            mod memory {
                $(#[tokio::test]
                async fn $behaviour() {
                    crate::conformance::$module::$behaviour(super::in_memory()).await;
                })+
            }
            mod file {
                $(#[tokio::test]
                async fn $behaviour() {
                    crate::conformance::$module::$behaviour(super::in_file()).await;
                })+
            }
        };
    }

    every_behaviour!(define_tests);

    #[tokio::test]
    async fn every_call_of_a_broken_store_fails() {
        assert!(super::broken_store().load().await.is_err());
    }
}
