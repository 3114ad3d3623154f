//! Members: joining, announcing that one is alive, and leaving.

use std::collections::HashMap;

use rusqlite::{Connection, Row, Transaction, params};

use crate::member::{Member, MemberId, MemberStage, NewMember, Role};
use crate::sqlite::fault::Fault;
use crate::sqlite::presence::{Presence, PresenceLock};
use crate::sqlite::rows::{from_sql, list, small_number, to_sql};
use crate::sqlite::streams;
use crate::sqlite::transaction::{Writer, write};
use crate::state::ServedTable;

/// The membership of this process.
#[derive(Debug)]
pub(super) struct Membership {
    member: NewMember,
    /// The open streams of sessions, in case that another member removes this one by mistake.
    streams: HashMap<String, u32>,
    /// Held for as long as the process is a member.
    _presence: Presence,
}

impl Membership {
    /// Records streams that were saved.
    pub(super) fn record_streams(&mut self, changes: Vec<(String, u32)>) {
        for (session, open) in changes {
            if open == 0 {
                self.streams.remove(&session);
            } else {
                self.streams.insert(session, open);
            }
        }
    }
}

/// Makes the process that writes as `id` a member, and returns the others.
pub(super) fn join(
    connection: &mut Connection,
    lock: PresenceLock,
    (id, member, role): (i64, NewMember, Role),
) -> Result<(Membership, Vec<Member>), Fault> {
    write(connection, |transaction| {
        if lock.is_held()? {
            admit(&others(transaction, id)?, role)?;
        } else {
            delete_dead(transaction, role)?;
        }
        // The process may have been killed between here and the commit: the lock is released then,
        // and the row is not there.
        let presence = lock.hold()?;
        let others = others(transaction, id)?;
        put(transaction, id, &member, MemberStage::Joining)?;
        let membership = Membership {
            member,
            streams: HashMap::new(),
            _presence: presence,
        };
        Ok((membership, others))
    })
}

/// Rejects a process that may not join beside `members`, of which at least one is alive. Those that
/// leave serve nothing new, and prevent nobody.
fn admit(members: &[Member], role: Role) -> Result<(), Fault> {
    let prevents = |member: &&Member| match role {
        _ if member.stage == MemberStage::Leaving => false,
        Role::Alone => true,
        Role::Successor => false,
        Role::Shared => !member.shared,
    };
    let rejected_by = members
        .iter()
        .filter(prevents)
        .min_by_key(|member| member.is_legacy());
    match rejected_by {
        Some(member) => Err(Fault::InUse {
            pid: member.pid,
            address: member.address.clone(),
        }),
        // A process has the lock and no row: another one removed it by mistake.
        None if role == Role::Alone && members.is_empty() => Err(Fault::InUse {
            pid: 0,
            address: None,
        }),
        None => Ok(()),
    }
}

/// Deletes the members that were killed, as no member is alive. A process of schema 1 has no lock:
/// one that a successor replaces is alive, and in other cases its addresses are in use.
fn delete_dead(transaction: &Transaction<'_>, role: Role) -> Result<(), Fault> {
    let keep_legacy = role == Role::Successor;
    transaction.execute(
        "DELETE FROM members WHERE pid <> 0 OR NOT ?1",
        (keep_legacy,),
    )?;
    transaction
        .execute_batch("DELETE FROM streams WHERE member NOT IN (SELECT id FROM members)")?;
    Ok(())
}

/// Creates or updates the row of a member. Returns whether it was created.
fn put(
    transaction: &Transaction<'_>,
    id: i64,
    member: &NewMember,
    stage: MemberStage,
) -> Result<bool, Fault> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO members
             (id, instance, pid, address, file, shared, stage, epoch, revision, beat)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0)
         ON CONFLICT (id) DO UPDATE SET stage = excluded.stage, epoch = excluded.epoch,
             revision = excluded.revision, beat = beat + 1
         RETURNING beat = 0",
    )?;
    let params = params![
        id,
        member.instance,
        member.pid,
        member.address,
        member.file,
        member.shared,
        stage_number(stage),
        member.served.epoch.as_str(),
        to_sql(member.served.revision),
    ];
    Ok(statement.query_row(params, |row| row.get(0))?)
}

/// Announces that the process that writes is alive, and returns the other members.
pub(super) fn beat(
    connection: &mut Connection,
    membership: Option<&mut Membership>,
    (writer, stage, served): (Writer, MemberStage, ServedTable),
) -> Result<Vec<Member>, Fault> {
    let Some(membership) = membership else {
        return others(&connection.transaction()?, writer.id);
    };
    membership.member.served = served;
    write(connection, |transaction| {
        if put(transaction, writer.id, &membership.member, stage)? {
            // Another member removed this one by mistake.
            let streams = membership.streams.iter().map(|(id, open)| (id, *open));
            streams::put(transaction, streams, writer)?;
        }
        others(transaction, writer.id)
    })
}

/// Deletes the process that writes as `id`, and releases its lock before another process can join.
pub(super) fn leave(
    connection: &mut Connection,
    membership: &mut Option<Membership>,
    id: i64,
) -> Result<(), Fault> {
    write(connection, |transaction| {
        delete(transaction, id)?;
        *membership = None;
        Ok(())
    })
}

/// Deletes another member.
pub(super) fn remove(connection: &mut Connection, id: MemberId) -> Result<(), Fault> {
    write(connection, |transaction| delete(transaction, id.get()))
}

fn delete(transaction: &Transaction<'_>, id: i64) -> Result<(), Fault> {
    transaction
        .prepare_cached("DELETE FROM members WHERE id = ?1")?
        .execute((id,))?;
    transaction
        .prepare_cached("DELETE FROM streams WHERE member = ?1")?
        .execute((id,))?;
    Ok(())
}

/// Reads the members other than the process that writes as `id`.
pub(super) fn others(transaction: &Transaction<'_>, id: i64) -> Result<Vec<Member>, Fault> {
    let sql = "SELECT id, instance, pid, address, file, shared, stage, epoch, revision, beat
         FROM members WHERE id <> ?1 ORDER BY number";
    list(transaction, sql, (id,), member)
}

fn member(row: &Row<'_>) -> Result<Member, Fault> {
    Ok(Member {
        id: MemberId::new(row.get(0)?),
        instance: row.get(1)?,
        pid: small_number(row, 2)?,
        address: row.get(3)?,
        file: row.get(4)?,
        shared: row.get(5)?,
        stage: stage(row.get(6)?),
        served: ServedTable {
            epoch: row.get::<_, String>(7)?.into(),
            revision: from_sql(row.get(8)?),
        },
        beat: from_sql(row.get(9)?),
    })
}

const fn stage_number(stage: MemberStage) -> i64 {
    match stage {
        MemberStage::Joining => 0,
        MemberStage::Serving => 1,
        MemberStage::Leaving => 2,
    }
}

const fn stage(number: i64) -> MemberStage {
    match number {
        0 => MemberStage::Joining,
        2 => MemberStage::Leaving,
        _ => MemberStage::Serving,
    }
}
