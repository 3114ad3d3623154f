//! Tests of eviction, deletion, expiry and paging.

use super::*;
use crate::sessions::cookie::SessionKey;
use app_proxy_hop::identity::RequestId;

fn record(key: &SessionKey) -> Arc<SessionRecord> {
    Arc::new(SessionRecord::new(
        key.issue("a"),
        &"a".into(),
        None,
        &RequestId::generate(),
    ))
}

#[test]
fn sessions_used_once_are_evicted_first() {
    let key = SessionKey::new(&[1; 32]).unwrap();
    let table = SessionTable::new(100, Duration::from_secs(60));
    let returning: Vec<_> = (0..50).map(|_| record(&key)).collect();
    for record in &returning {
        table.insert(record.id(), Arc::clone(record));
        table.find_or_insert(record.id(), || panic!("the session is in the table"));
    }
    for _ in 0..10_000 {
        let once = record(&key);
        table.insert(once.id(), once.clone());
    }
    assert!(table.live().count() <= 100, "{}", table.live().count());
    for record in &returning {
        assert!(
            table
                .get(record.id())
                .is_some_and(|found| Arc::ptr_eq(&found, record))
        );
    }
}

#[test]
fn a_missing_session_is_created_again_under_its_identifier() {
    let key = SessionKey::new(&[1; 32]).unwrap();
    let table = SessionTable::new(100, Duration::from_secs(60));
    let deleted = record(&key);
    let made = table
        .find_or_insert(deleted.id(), || Arc::clone(&deleted))
        .unwrap();
    assert!(Arc::ptr_eq(&made, &deleted));
    assert!(Arc::ptr_eq(
        &table.find_or_insert(deleted.id(), || record(&key)).unwrap(),
        &deleted
    ));
}

#[test]
fn a_deleted_session_is_not_created_again() {
    let key = SessionKey::new(&[1; 32]).unwrap();
    let table = SessionTable::new(100, Duration::from_secs(60));
    let (deleted, other) = (record(&key), record(&key));
    for session in [&deleted, &other] {
        table.insert(session.id(), Arc::clone(session));
    }
    assert!(Arc::ptr_eq(&table.delete(deleted.id()).unwrap(), &deleted));
    assert!(deleted.is_deleted() && table.delete(deleted.id()).is_none());
    assert!(
        table
            .find_or_insert(deleted.id(), || record(&key))
            .is_none()
    );
    table.keep_alive(&deleted);
    assert!(table.get(deleted.id()).is_none() && table.get(other.id()).is_some());
}

#[test]
fn sessions_of_a_deleted_app_are_deleted() {
    let key = SessionKey::new(&[1; 32]).unwrap();
    let table = SessionTable::new(100, Duration::from_secs(60));
    let deleted = record(&key);
    let other = Arc::new(SessionRecord::new(
        key.issue("b"),
        &"b".into(),
        None,
        &RequestId::generate(),
    ));
    for session in [&deleted, &other] {
        table.insert(session.id(), Arc::clone(session));
    }
    assert_eq!(table.delete_of_apps(&HashSet::from(["a"])), 1);
    table.keep_alive(&deleted);
    assert!(table.get(deleted.id()).is_none() && table.get(other.id()).is_some());
}

#[test]
fn pages_have_no_gap_and_no_overlap() {
    let key = SessionKey::new(&[1; 32]).unwrap();
    let table = SessionTable::new(100, Duration::from_secs(60));
    let mut expected = Vec::new();
    for number in 0..47 {
        let app = if number % 3 == 0 { "b" } else { "a" };
        let session = Arc::new(SessionRecord::new(
            key.issue(app),
            &app.into(),
            None,
            &RequestId::generate(),
        ));
        table.insert(session.id(), Arc::clone(&session));
        if app == "a" {
            expected.push(*session.id());
        }
    }
    expected.sort();
    for limit in [1, 10, 31, 100] {
        let (mut seen, mut cursor) = (Vec::new(), None::<SessionId>);
        loop {
            let cursor_text = cursor.as_ref().map(SessionId::as_str);
            let (page, more) = table.page(cursor_text, limit, |record| **record.app() == *"a");
            assert!(page.len() <= limit && (!more || page.len() == limit));
            seen.extend(page.iter().map(|record| *record.id()));
            cursor = page.last().map(|record| *record.id());
            if !more {
                break;
            }
        }
        assert_eq!(seen, expected, "{limit} on a page");
    }
}

#[test]
fn the_memory_of_expired_sessions_is_freed() {
    let key = SessionKey::new(&[1; 32]).unwrap();
    let table = SessionTable::new(100, Duration::ZERO);
    let deleted = record(&key);
    table.insert(deleted.id(), Arc::clone(&deleted));
    while !deleted.is_expired(Duration::ZERO) {
        std::thread::yield_now();
    }
    table.sweep();
    assert_eq!((Arc::strong_count(&deleted), table.sessions.len()), (1, 0));
}
