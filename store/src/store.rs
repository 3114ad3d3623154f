//! The interface that every store implements.

use async_trait::async_trait;

use crate::activity::ActivityBatch;
use crate::commit::{AppCommit, FileClaims};
use crate::error::StoreError;
use crate::member::{Member, MemberId, MemberStage, NewMember, Role};
use crate::state::{Cursor, Delta, ServedTable, State, StoredWebhook, StoredWorker};

/// A store of the state that survives a restart.
///
/// Methods may be called from any task at any time; the store orders them. None of them is called
/// while a request waits.
///
/// A method that writes is atomic unless its documentation says otherwise, and completes even if
/// its future is dropped. A caller that keeps a copy in memory must therefore change the store and
/// the copy in a task of its own, which is not cancelled with the API call that caused it.
///
/// [`crate::conformance::check`] tests an implementation.
///
/// # Errors
/// Every method returns [`StoreError`] when the store cannot be read or written.
#[async_trait]
pub trait Store: Send + Sync {
    /// Reads the whole store at one moment. Lists are ordered by name or identifier, webhooks by
    /// age, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn load(&self) -> Result<State, StoreError>;

    /// Returns the changes that other processes made since `seen`, or `None`, at almost no cost,
    /// if there are none.
    ///
    /// `seen` is the cursor of the last [`State`] or [`Delta`], with the epoch and revision of the
    /// app table that the caller serves: the caller sets them to those of its own commits. A
    /// commit missing from `seen` is returned like one of another process, so that none is lost.
    /// Changes of this handle other than commits are not returned. A session changed by both this
    /// handle and another is returned with the changes merged. Trimmed sessions are not reported.
    ///
    /// The caller knows everything up to `seen`: the sequence of one call is never lower than that
    /// of an earlier call.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn changes_since(&self, seen: &Cursor) -> Result<Option<Delta>, StoreError>;

    /// Commits changes of the app table, all or none. The activity and the sessions of a deleted
    /// app are deleted with it. Returns the other members at that moment, which have to follow.
    ///
    /// # Errors
    /// [`StoreError::Behind`] if the stored table or the stored claims are not those that the
    /// commit is based on, or another [`StoreError`].
    async fn commit_apps(&self, commit: AppCommit) -> Result<Vec<Member>, StoreError>;

    /// Reads the apps that the files of members name.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn file_claims(&self) -> Result<FileClaims, StoreError> {
        Ok(FileClaims::default())
    }

    /// Makes this process a member, at [`MemberStage::Joining`], and returns the other members. A
    /// handle joins once, until it leaves.
    ///
    /// Members at [`MemberStage::Leaving`] prevent nobody from joining. If no other member is
    /// alive, members that were killed are deleted first. A process of an earlier version cannot be
    /// found alive: [`Role::Successor`] keeps it, other roles delete it.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if a member that is alive prevents it, or another [`StoreError`].
    async fn join(&self, _member: NewMember, _role: Role) -> Result<Vec<Member>, StoreError> {
        Ok(Vec::new())
    }

    /// Announces that this member is alive, its stage and the table that it serves, and returns
    /// the other members. A handle that is no member announces nothing; a member that another one
    /// removed by mistake is a member again, with its streams.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn beat(
        &self,
        _stage: MemberStage,
        _served: &ServedTable,
    ) -> Result<Vec<Member>, StoreError> {
        Ok(Vec::new())
    }

    /// Reads the other members, in the order in which they joined.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn members(&self) -> Result<Vec<Member>, StoreError> {
        Ok(Vec::new())
    }

    /// Ends the membership of this process, and deletes its streams.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn leave(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Removes another member that was found dead, and deletes its streams.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn remove_member(&self, _id: MemberId) -> Result<(), StoreError> {
        Ok(())
    }

    /// Saves the number of open streams that sessions have at this member; 0 deletes. Has no effect
    /// if the handle is no member. A session need not be stored yet. Other members read the sum as
    /// [`streams_elsewhere`](crate::StoredSession::streams_elsewhere).
    ///
    /// # Errors
    /// [`StoreError`]; nothing was written.
    async fn save_streams(&self, _changes: &[(String, u32)]) -> Result<(), StoreError> {
        Ok(())
    }

    /// Creates or replaces a worker.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn save_worker(&self, worker: StoredWorker) -> Result<(), StoreError>;

    /// Deletes a worker, if it exists.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn delete_worker(&self, id: &str) -> Result<(), StoreError>;

    /// Merges the activity of sessions and apps into the store. Sessions deleted by any process
    /// stay deleted, and so do the activity and the sessions of an app with a tombstone.
    ///
    /// In an existing session, counts grow by [`added`](crate::SessionActivity::added) and
    /// `active_ms` becomes the later of both. `worker`, `moves` and `last_request_id` become those
    /// of the later activity, or of this batch if both are equal. All other
    /// fields stay. Both times of an app become the later of both.
    ///
    /// # Errors
    /// [`StoreError`]; the batch was not written and may be written again.
    async fn save_activity(&self, batch: &ActivityBatch) -> Result<(), StoreError>;

    /// Deletes sessions and keeps a tombstone of each, so that no process recreates them.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn delete_sessions(&self, ids: &[String], at_ms: u64) -> Result<(), StoreError>;

    /// Deletes sessions idle since before `before_ms`, tombstones older than that, then the least
    /// recently active sessions beyond `max`. Returns the number of deleted sessions.
    ///
    /// Works in several transactions, so that other writers need not wait long.
    ///
    /// # Errors
    /// [`StoreError`]; a part may have been deleted.
    async fn trim_sessions(&self, before_ms: u64, max: u64) -> Result<u64, StoreError>;

    /// Creates a webhook of this member; has no effect if its event is stored already. A [`Delta`]
    /// has no webhooks: the member that created one delivers it, or the member that adopts it.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn save_webhook(&self, webhook: StoredWebhook) -> Result<(), StoreError>;

    /// Reads the webhooks that wait for delivery, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn webhooks(&self) -> Result<Vec<StoredWebhook>, StoreError>;

    /// Gives this member the webhooks of processes that are no members, and returns those, oldest
    /// first. Each is returned to one member.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn adopt_webhooks(&self) -> Result<Vec<StoredWebhook>, StoreError> {
        self.webhooks().await
    }

    /// Deletes a webhook, if it exists.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn delete_webhook(&self, event_id: &str) -> Result<(), StoreError>;
}
