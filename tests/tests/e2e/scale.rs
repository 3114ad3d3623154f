//! Many apps and many workers: each worker ends up with exactly the coordinator's table, however it
//! got there.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::follower::Follower;
use app_proxy_tests::http1::Client;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::task::JoinSet;

const APPS: usize = 500;
const FOLLOWERS: usize = 40;
/// Changes after all apps are there.
const CHANGES: usize = 400;
/// Connections over which changes are made at once.
const CALLERS: usize = 8;
/// The number of tombstones that a coordinator keeps for its followers (`api/src/table.rs`).
const REMEMBERED: usize = 10_000;
/// The duration of a poll.
const WAIT: &str = "10s";
/// The last app: a follower that has it has all earlier ones.
const LAST: &str = "last";

/// A change: an app's name, and its weight unless it is deleted.
type Change = (String, Option<u64>);

/// Puts and deletions of apps, the same ones each time.
fn random_changes(seed: u64) -> Vec<Change> {
    let mut state = seed;
    let mut next = move |below: u64| {
        // Xorshift (Marsaglia, 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) % below
    };
    let change = |_| {
        (
            format!("app-{}", next(APPS as u64)),
            (next(2) == 0).then(|| 1 + next(1000)),
        )
    };
    (0..CHANGES).map(change).collect()
}

/// Makes changes over several connections at once, in no fixed order.
async fn make(cluster: &Cluster, changes: Vec<Change>) {
    let (changes, next) = (Arc::new(changes), Arc::new(AtomicUsize::new(0)));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (changes, next) = (Arc::clone(&changes), Arc::clone(&next));
        let (admin, token) = (cluster.admin(), format!("Bearer {}", cluster.admin_token()));
        callers.spawn(async move {
            let mut client = Client::connect(admin).await;
            while let Some((name, weight)) = changes.get(next.fetch_add(1, Ordering::Relaxed)) {
                let (method, body) = match weight {
                    Some(weight) => (
                        "PUT",
                        json!({"endpoints": [{"address": "127.0.0.1:9", "weight": weight}]}),
                    ),
                    None => ("DELETE", Value::Null),
                };
                let body = if weight.is_some() {
                    body.to_string()
                } else {
                    String::new()
                };
                let request = client.request(method, &format!("/api/v1/apps/{name}"));
                let answer = request
                    .header("Authorization", &token)
                    .body(body)
                    .send()
                    .await;
                assert!(
                    matches!(answer.status, 200 | 201 | 204),
                    "{method} {name}: {}",
                    answer.text()
                );
            }
        });
    }
    callers.join_all().await;
}

async fn follow_to_the_end(mut follower: Follower) -> Follower {
    while !follower.apps.contains_key(LAST) {
        follower.follow(WAIT).await;
    }
    follower
}

/// The coordinator's table: apps by name, and the revision.
async fn table(cluster: &Cluster) -> (BTreeMap<String, Value>, u64) {
    let list = cluster.admin_json("/api/v1/apps").await;
    let apps = list["items"].as_array().unwrap().iter();
    let apps = apps
        .map(|app| (app["name"].as_str().unwrap().to_owned(), app.clone()))
        .collect();
    (apps, list["revision"].as_u64().unwrap())
}

#[tokio::test]
async fn every_worker_ends_up_with_exactly_the_table() {
    let cluster = Cluster::builder()
        .app(json!({"name": "of-the-file"}))
        .start()
        .await;
    let mut following = JoinSet::new();
    for number in 0..FOLLOWERS {
        let mut follower = Follower::of(&cluster).await;
        let address =
            SocketAddr::from((Ipv4Addr::new(127, 201, 0, u8::try_from(number).unwrap()), 9));
        follower
            .register(&format!("follower-{number}"), address)
            .await;
        following.spawn(follow_to_the_end(follower));
    }
    make(
        &cluster,
        (0..APPS)
            .map(|number| (format!("app-{number}"), Some(1)))
            .collect(),
    )
    .await;
    // One follower reads the table in between, and returns with it at the end.
    let mut late = Follower::of(&cluster).await;
    late.follow(WAIT).await;
    assert_eq!(late.apps.len(), APPS + 1);
    make(&cluster, random_changes(0x9e37_79b9_7f4a_7c15)).await;
    make(&cluster, vec![(LAST.to_owned(), Some(1))]).await;
    late.reconnect().await;
    following.spawn(follow_to_the_end(late));
    following.spawn(follow_to_the_end(Follower::of(&cluster).await));

    let (apps, revision) = table(&cluster).await;
    let followers = following.join_all().await;
    assert_eq!(followers.len(), FOLLOWERS + 2);
    for follower in followers {
        assert_eq!(follower.revision(), revision);
        assert_eq!(follower.apps, apps);
        // The first change of the API ends the epoch of the file; from then on followers need the
        // changes only.
        assert!(
            follower.whole <= 2,
            "the whole table {} times",
            follower.whole
        );
    }
    let workers = cluster.admin_json("/api/v1/workers?limit=1000").await;
    assert_eq!(workers["items"].as_array().unwrap().len(), FOLLOWERS + 1);
}

#[tokio::test]
async fn a_follower_behind_the_tombstones_gets_the_complete_table() {
    let mut cluster = Cluster::builder()
        .app(json!({"name": "of-the-file"}))
        .start()
        .await;
    make(&cluster, vec![("own".to_owned(), Some(1))]).await;
    let many: Vec<Value> = (0..=REMEMBERED + 1)
        .map(|number| json!({"name": format!("app-{number}")}))
        .collect();
    reload(&mut cluster, &json!(many)).await;
    let mut follower = Follower::of(&cluster).await;
    follower.follow(WAIT).await;
    assert_eq!((follower.apps.len(), follower.whole), (REMEMBERED + 3, 1));

    // One change of the file deletes more of them than are remembered.
    reload(&mut cluster, &json!([])).await;
    follower.follow(WAIT).await;
    assert_eq!(
        (
            follower.apps.keys().map(String::as_str).collect::<Vec<_>>(),
            follower.whole
        ),
        (vec!["own"], 2)
    );
    make(
        &cluster,
        vec![("another".to_owned(), Some(1)), ("own".to_owned(), None)],
    )
    .await;
    while follower.revision() < table(&cluster).await.1 {
        follower.follow(WAIT).await;
    }
    assert_eq!(
        (&follower.apps, follower.whole),
        (&table(&cluster).await.0, 2)
    );
}

/// Replaces the apps of the coordinator's file, and waits until they are adopted.
async fn reload(cluster: &mut Cluster, apps: &Value) {
    cluster.patch_coordinator_config(&json!({"coordinator": {"apps": apps}}));
    let said = cluster.coordinator().stderr().len();
    cluster.coordinator().signal(Signal::SIGHUP);
    let coordinator = cluster.coordinator();
    app_proxy_tests::wait::eventually("the file to be reloaded", || {
        coordinator
            .stderr()
            .into_iter()
            .skip(said)
            .find(|line| line.contains("coordinator.yaml: reloaded"))
    })
    .await;
}
