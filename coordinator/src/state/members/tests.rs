//! Tests of the life of members, with paused time.

use app_proxy_store::{NewMember, Role, SqliteStore};

use super::*;

/// Joins the members of `store` alone or in a fleet, and serves an empty table.
pub(crate) async fn serving(store: &Arc<dyn Store>) -> Arc<Members> {
    let members = joined(store, &Drain::default()).await;
    members
        .begin_serving(&ServedTable::default())
        .await
        .unwrap();
    members
}

async fn joined(store: &Arc<dyn Store>, drain: &Drain) -> Arc<Members> {
    let member = NewMember {
        pid: std::process::id(),
        shared: true,
        ..NewMember::default()
    };
    let others = store.join(member, Role::Shared).await.unwrap();
    Arc::new(Members::new(store, others, drain))
}

/// Opens handles of so many processes on one new store.
pub(crate) fn stores<const N: usize>() -> [Arc<dyn Store>; N] {
    let first = SqliteStore::in_memory().unwrap();
    std::array::from_fn(|_| Arc::new(first.another().unwrap()) as Arc<dyn Store>)
}

fn table(revision: u64) -> ServedTable {
    ServedTable {
        epoch: "e".to_owned().into(),
        revision,
    }
}

/// Lets a member live for some seconds.
async fn live(members: &Members, served: &ServedTable, seconds: u64) {
    for _ in 0..seconds {
        tokio::time::advance(Duration::from_secs(1)).await;
        members.beat(served, false).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_is_dead_after_five_seconds_without_a_heartbeat() {
    let [ours, theirs] = stores();
    let (us, them) = (serving(&ours).await, serving(&theirs).await);
    let served = table(1);
    us.beat(&served, true).await.unwrap();
    assert!(!us.is_alone() && !them.is_alone());
    live(&us, &served, 4).await;
    assert!(!us.is_alone() && !us.all_serve(&[&served]));
    live(&us, &served, 2).await;
    assert!(us.is_alone() && us.all_serve(&[&served]));
    assert_eq!(ours.members().await.unwrap(), []);
    // It was only stopped.
    them.beat(&served, true).await.unwrap();
    live(&us, &served, 1).await;
    assert!(!us.is_alone() && us.all_serve(&[&served]));
}

#[tokio::test(start_paused = true)]
async fn a_member_that_was_stopped_itself_does_not_take_others_for_dead() {
    let [ours, theirs] = stores();
    let (us, _them) = (serving(&ours).await, serving(&theirs).await);
    live(&us, &table(1), 1).await;
    tokio::time::advance(Duration::from_secs(60)).await;
    us.refresh(&table(1)).await.unwrap();
    assert!(!us.is_alone());
    live(&us, &table(1), 6).await;
    assert!(us.is_alone());
}

#[tokio::test(start_paused = true)]
async fn a_member_counts_from_serving_until_it_has_left() {
    let [ours, theirs] = stores();
    let (us, drain) = (serving(&ours).await, Drain::default());
    let them = joined(&theirs, &drain).await;
    us.refresh(&table(1)).await.unwrap();
    assert!(us.all_serve(&[&table(1)]), "it joins");
    them.begin_serving(&table(0)).await.unwrap();
    us.refresh(&table(1)).await.unwrap();
    assert!(!us.all_serve(&[&table(1)]));
    drain.advance(DrainStage::Draining);
    them.beat(&table(1), false).await.unwrap();
    us.refresh(&table(2)).await.unwrap();
    assert!(us.all_serve(&[&table(1)]) && !us.all_serve(&[&table(2)]));
    them.leave().await.unwrap();
    them.beat(&table(1), true).await.unwrap();
    us.refresh(&table(2)).await.unwrap();
    assert!(us.is_alone() && us.all_serve(&[&table(2)]));
}

#[tokio::test(start_paused = true)]
async fn the_oldest_member_that_serves_leads() {
    let [first, second, third] = stores();
    let drain = Drain::default();
    let oldest = joined(&first, &drain).await;
    assert!(!oldest.leads(), "it does not serve");
    oldest.begin_serving(&table(1)).await.unwrap();
    let (middle, youngest) = (serving(&second).await, serving(&third).await);
    let leaders = async || {
        for member in [&oldest, &middle, &youngest] {
            member.beat(&table(1), true).await.unwrap();
            member.refresh(&table(1)).await.unwrap();
        }
        [&oldest, &middle, &youngest].map(|member| member.leads())
    };
    assert_eq!(leaders().await, [true, false, false]);
    drain.advance(DrainStage::Upgrading);
    assert_eq!(leaders().await, [false, true, false]);
    middle.leave().await.unwrap();
    youngest.refresh(&table(1)).await.unwrap();
    assert!(youngest.leads());
}
