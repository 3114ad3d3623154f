//! An empty store, workers and webhooks.

use crate::activity::ActivityBatch;
use crate::conformance::samples::{cursor, webhook, worker};
use crate::member::{NewMember, Role};
use crate::state::{Cursor, State, StoredDrain, StoredWebhook, StoredWorker};
use crate::store::Store;

pub(super) async fn new_store_is_empty_and_has_no_changes<S: Store>(open: impl Fn() -> S) {
    let store = open();
    assert_eq!(store.load().await.unwrap(), State::default());
    assert_eq!(store.changes_since(&Cursor::default()).await.unwrap(), None);
    store.delete_worker("nobody").await.unwrap();
    store.delete_webhook("none").await.unwrap();
    store
        .save_activity(&ActivityBatch::default())
        .await
        .unwrap();
    store.delete_sessions(&[], 1).await.unwrap();
    assert_eq!(store.trim_sessions(u64::MAX, 0).await.unwrap(), 0);
    assert_eq!(open().load().await.unwrap(), State::default());
}

pub(super) async fn workers_are_saved_and_deleted<S: Store>(open: impl Fn() -> S) {
    let store = open();
    store.save_worker(worker("w2")).await.unwrap();
    store
        .save_worker(StoredWorker {
            registration: None,
            ..worker("w1")
        })
        .await
        .unwrap();
    store.save_worker(worker("w3")).await.unwrap();
    let drained = StoredWorker {
        drain: Some(StoredDrain {
            since_ms: 7,
            deadline_ms: 9,
        }),
        ..worker("w2")
    };
    store.save_worker(drained.clone()).await.unwrap();
    store.delete_worker("w3").await.unwrap();
    drop(store);
    let workers = open().load().await.unwrap().workers;
    assert_eq!(
        workers,
        [
            StoredWorker {
                registration: None,
                ..worker("w1")
            },
            drained
        ]
    );
}

pub(super) async fn webhooks_are_stored_once_and_ordered_by_age<S: Store>(open: impl Fn() -> S) {
    let store = open();
    for (id, created_ms) in [
        ("late", 30),
        ("b", 10),
        ("a", 10),
        ("early", 5),
        ("gone", 7),
    ] {
        store.save_webhook(webhook(id, created_ms)).await.unwrap();
    }
    store
        .save_webhook(StoredWebhook {
            url: "http://elsewhere".to_owned(),
            ..webhook("b", 1)
        })
        .await
        .unwrap();
    store.delete_webhook("gone").await.unwrap();
    assert_eq!(
        open().changes_since(&cursor(&store).await).await.unwrap(),
        None
    );
    drop(store);
    let kept = [
        webhook("early", 5),
        webhook("b", 10),
        webhook("a", 10),
        webhook("late", 30),
    ];
    assert_eq!(open().load().await.unwrap().webhooks, kept);
    assert_eq!(open().webhooks().await.unwrap(), kept);
}

pub(super) async fn webhooks_of_members_that_are_gone_are_adopted_once<S: Store>(
    open: impl Fn() -> S,
) {
    let [creator, one, other] = [(), (), ()].map(|()| open());
    for store in [&creator, &one, &other] {
        let member = NewMember {
            shared: true,
            ..NewMember::default()
        };
        store.join(member, Role::Shared).await.unwrap();
    }
    for (store, id, created_ms) in [(&creator, "b", 2), (&creator, "a", 3), (&one, "c", 1)] {
        store.save_webhook(webhook(id, created_ms)).await.unwrap();
    }
    assert_eq!(other.adopt_webhooks().await.unwrap(), []);
    creator.leave().await.unwrap();
    let left = vec![webhook("b", 2), webhook("a", 3)];
    assert_eq!(other.adopt_webhooks().await.unwrap(), left);
    assert_eq!(one.adopt_webhooks().await.unwrap(), []);
    other.leave().await.unwrap();
    assert_eq!(one.adopt_webhooks().await.unwrap(), left);
    assert_eq!(one.webhooks().await.unwrap().len(), 3);
}
