//! Members, and the streams that they have.

use crate::conformance::samples::{
    activity, app_batch, batch, commit, cursor, first, member, put, served, session,
};
use crate::error::StoreError;
use crate::member::{Member, MemberStage, NewMember, Role};
use crate::state::ServedTable;
use crate::store::Store;

/// Returns the member that `member(pid)` becomes.
fn joined(members: &[Member], pid: u32) -> Member {
    let found = members.iter().find(|member| member.pid == pid);
    found.unwrap().clone()
}

fn pids(members: &[Member]) -> Vec<u32> {
    members.iter().map(|member| member.pid).collect()
}

pub(super) async fn members_see_each_other<S: Store>(open: impl Fn() -> S) {
    let [one, two] = [open(), open()];
    assert_eq!(one.join(member(1), Role::Alone).await.unwrap(), []);
    assert_eq!(one.members().await.unwrap(), []);
    let others = two.join(member(2), Role::Successor).await.unwrap();
    let NewMember {
        instance,
        pid,
        address,
        file,
        shared,
        served: table,
    } = member(1);
    let first = Member {
        id: others[0].id,
        instance,
        pid,
        address,
        file,
        shared,
        stage: MemberStage::Joining,
        served: table,
        beat: others[0].beat,
    };
    assert_eq!(others, std::slice::from_ref(&first));
    let second = joined(&one.members().await.unwrap(), 2);
    assert_ne!(first.id, second.id);
    let others = one.beat(MemberStage::Serving, &served(7)).await.unwrap();
    assert_eq!(others, std::slice::from_ref(&second));
    let serving = joined(&two.members().await.unwrap(), 1);
    assert!(serving.beat > first.beat);
    let expected = Member {
        stage: MemberStage::Serving,
        served: served(7),
        beat: serving.beat,
        ..first
    };
    assert_eq!(serving, expected);
    one.leave().await.unwrap();
    assert_eq!(two.members().await.unwrap(), []);
    // A process that has left announces nothing.
    let others = one.beat(MemberStage::Serving, &served(8)).await.unwrap();
    assert_eq!(others, [second]);
    assert_eq!(two.members().await.unwrap(), []);
}

pub(super) async fn commits_return_the_other_members<S: Store>(open: impl Fn() -> S) {
    let [one, two] = [open(), open()];
    one.join(member(1), Role::Alone).await.unwrap();
    let others = one.commit_apps(first(1, vec![put("a", 1)])).await.unwrap();
    assert_eq!(others, []);
    two.join(member(2), Role::Successor).await.unwrap();
    let others = one.commit_apps(commit(1, 2, vec![put("a", 2)])).await;
    assert_eq!(pids(&others.unwrap()), [2]);
    let others = two.commit_apps(commit(2, 3, vec![put("a", 3)])).await;
    assert_eq!(pids(&others.unwrap()), [1]);
}

pub(super) async fn members_join_according_to_their_role<S: Store>(open: impl Fn() -> S) {
    let [first, second, third] = [(), (), ()].map(|()| open());
    let shared = |pid| NewMember {
        shared: true,
        ..member(pid)
    };
    let rejected_by = |answer: Result<_, StoreError>| match answer {
        Err(StoreError::InUse { pid, address }) => (pid, address),
        answer => panic!("{answer:?}"),
    };
    first.join(member(1), Role::Alone).await.unwrap();
    for role in [Role::Alone, Role::Shared] {
        let answer = second.join(shared(2), role).await;
        assert_eq!(rejected_by(answer), (1, member(1).address), "{role:?}");
        assert_eq!(first.members().await.unwrap(), []);
    }
    second.join(shared(2), Role::Successor).await.unwrap();
    // The first member is rejected for, although the second one is shared.
    let answer = third.join(shared(3), Role::Shared).await;
    assert_eq!(rejected_by(answer).0, 1);
    first.leave().await.unwrap();
    assert_eq!(
        rejected_by(third.join(member(3), Role::Alone).await),
        (2, member(2).address)
    );
    assert_eq!(
        pids(&third.join(shared(3), Role::Shared).await.unwrap()),
        [2]
    );
    third.leave().await.unwrap();
    second.leave().await.unwrap();
    assert_eq!(third.join(member(4), Role::Alone).await.unwrap(), []);
}

pub(super) async fn killed_members_are_deleted_by_the_next<S: Store>(open: impl Fn() -> S) {
    let killed = open();
    killed.join(member(1), Role::Alone).await.unwrap();
    killed
        .save_activity(&batch([session("s", 10)]))
        .await
        .unwrap();
    killed.save_streams(&[("s".to_owned(), 3)]).await.unwrap();
    drop(killed);
    let store = open();
    let streams = async |store: &S| store.load().await.unwrap().sessions[0].streams_elsewhere;
    assert_eq!(streams(&store).await, 3);
    assert_eq!(store.join(member(2), Role::Alone).await.unwrap(), []);
    assert_eq!(streams(&store).await, 0);
    assert_eq!(store.members().await.unwrap(), []);
}

pub(super) async fn removed_member_returns_with_its_next_beat<S: Store>(open: impl Fn() -> S) {
    let [one, two] = [open(), open()];
    one.join(member(1), Role::Alone).await.unwrap();
    let others = two.join(member(2), Role::Successor).await.unwrap();
    let streams = [
        ("s".to_owned(), 2),
        ("t".to_owned(), 1),
        ("t".to_owned(), 0),
    ];
    one.save_streams(&streams).await.unwrap();
    one.save_activity(&batch([session("s", 10), session("t", 10)]))
        .await
        .unwrap();
    two.remove_member(others[0].id).await.unwrap();
    assert_eq!(two.members().await.unwrap(), []);
    let seen = cursor(&two).await;
    let streams = async || {
        let sessions = two.load().await.unwrap().sessions;
        [sessions[0].streams_elsewhere, sessions[1].streams_elsewhere]
    };
    assert_eq!(streams().await, [0, 0]);
    one.beat(MemberStage::Serving, &served(3)).await.unwrap();
    assert_eq!(streams().await, [2, 0]);
    let delta = two.changes_since(&seen).await.unwrap().unwrap();
    assert_eq!(delta.sessions[0].streams_elsewhere, 2);
    let again = joined(&two.members().await.unwrap(), 1);
    // Later beats change nothing.
    one.beat(MemberStage::Serving, &served(3)).await.unwrap();
    assert_eq!(two.changes_since(&delta.cursor).await.unwrap(), None);
    assert_eq!((again.id, again.served), (others[0].id, served(3)));
    assert_eq!(
        (again.address, again.file),
        (member(1).address, member(1).file)
    );
}

pub(super) async fn streams_of_members_add_up_for_others<S: Store>(open: impl Fn() -> S) {
    let [one, two, three] = [(), (), ()].map(|()| open());
    for (number, store) in [&one, &two, &three].into_iter().enumerate() {
        let pid = u32::try_from(number).unwrap() + 1;
        store.join(member(pid), Role::Successor).await.unwrap();
    }
    // The streams may be saved before their session.
    one.save_streams(&[("s".to_owned(), 1), ("t".to_owned(), 5)])
        .await
        .unwrap();
    one.save_activity(&batch([session("s", 10), session("t", 10)]))
        .await
        .unwrap();
    two.save_streams(&[("s".to_owned(), 2)]).await.unwrap();
    let streams = async |store: &S| {
        let sessions = store.load().await.unwrap().sessions;
        [sessions[0].streams_elsewhere, sessions[1].streams_elsewhere]
    };
    assert_eq!(streams(&one).await, [2, 0]);
    assert_eq!(streams(&two).await, [1, 5]);
    assert_eq!(streams(&three).await, [3, 5]);
    // Activity does not change them.
    three
        .save_activity(&batch([session("s", 20)]))
        .await
        .unwrap();
    one.save_streams(&[("s".to_owned(), 4), ("t".to_owned(), 0)])
        .await
        .unwrap();
    assert_eq!(streams(&three).await, [6, 0]);
    one.leave().await.unwrap();
    assert_eq!(streams(&three).await, [2, 0]);
}

pub(super) async fn changes_of_streams_reach_other_members<S: Store>(open: impl Fn() -> S) {
    let [one, two] = [open(), open()];
    one.join(member(1), Role::Alone).await.unwrap();
    let others = two.join(member(2), Role::Successor).await.unwrap();
    one.save_activity(&batch([session("s", 10), session("t", 10)]))
        .await
        .unwrap();
    let mut seen = cursor(&two).await;
    let mut streams = async || {
        let delta = two.changes_since(&seen).await.unwrap().unwrap();
        seen = delta.cursor;
        assert_eq!(two.changes_since(&seen).await.unwrap(), None);
        let sessions = delta.sessions.into_iter();
        sessions
            .map(|session| (session.id, session.streams_elsewhere))
            .collect::<Vec<_>>()
    };
    for open in [2, 1, 0, 3] {
        one.save_streams(&[("s".to_owned(), open)]).await.unwrap();
        assert_eq!(streams().await, [("s".to_owned(), open)]);
    }
    // The member that removes another one reads that its streams are gone.
    two.remove_member(others[0].id).await.unwrap();
    assert_eq!(streams().await, [("s".to_owned(), 0)]);
}

pub(super) async fn own_changes_are_not_returned_after_a_restart<S: Store>(open: impl Fn() -> S) {
    let save = async |store: &S, at| {
        store
            .save_activity(&batch([session("s", at)]))
            .await
            .unwrap();
        let app = app_batch(activity("a", at, at, 0));
        store.save_activity(&app).await.unwrap();
    };
    let before = open();
    save(&before, 10).await;
    drop(before);
    let store = open();
    let seen = cursor(&store).await;
    assert_eq!(store.changes_since(&seen).await.unwrap(), None);
    save(&store, 20).await;
    assert_eq!(store.changes_since(&seen).await.unwrap(), None);
}

pub(super) async fn beats_are_no_changes<S: Store>(open: impl Fn() -> S) {
    let [one, two] = [open(), open()];
    one.join(member(1), Role::Alone).await.unwrap();
    two.join(member(2), Role::Successor).await.unwrap();
    let seen = cursor(&two).await;
    one.beat(MemberStage::Serving, &ServedTable::default())
        .await
        .unwrap();
    one.leave().await.unwrap();
    assert_eq!(two.changes_since(&seen).await.unwrap(), None);
}
