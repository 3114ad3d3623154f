//! Use of apps, with moments that the tests choose.

use super::*;

/// `seconds` after `start`, on both clocks.
fn after(start: Moment, seconds: u64) -> Moment {
    Moment {
        ms: start.ms + seconds * 1000,
        at: start.at + Duration::from_secs(seconds),
    }
}

fn notify(usage: &Usage, now: Moment) {
    usage.mark_notified(usage.status(now));
}

fn idle_seconds(usage: &Usage, now: Moment) -> u64 {
    usage.status(now).idle_for.as_secs()
}

#[test]
fn an_app_is_idle_since_its_creation_or_its_last_use() {
    let start = Moment::now();
    let usage = Usage::new(start);
    let status = usage.status(after(start, 5));
    assert_eq!(
        (
            status.last_active_ms,
            status.idle_for.as_secs(),
            status.notified
        ),
        (None, 5, false)
    );
    usage.mark();
    assert_eq!(
        usage.status(after(start, 6)).last_active_ms,
        Some(start.ms + 6000)
    );
    assert_eq!(idle_seconds(&usage, after(start, 9)), 3);
    usage.restart_idle_period(after(start, 10));
    assert_eq!(idle_seconds(&usage, after(start, 12)), 2);
    assert_eq!(
        usage.status(after(start, 12)).last_active_ms,
        Some(start.ms + 6000),
        "new endpoints are not use"
    );
}

#[test]
fn a_request_in_flight_keeps_the_app_in_use() {
    let start = Moment::now();
    let usage = Usage::new(start);
    let computing = usage.begin();
    assert_eq!(idle_seconds(&usage, after(start, 2400)), 0);
    drop(computing);
    assert_eq!(idle_seconds(&usage, after(start, 2410)), 10);
}

#[test]
fn a_notification_holds_until_the_app_is_used_again() {
    let start = Moment::now();
    let usage = Usage::new(start);
    notify(&usage, start);
    assert!(usage.status(after(start, 1)).notified);
    usage.mark();
    assert!(!usage.status(after(start, 2)).notified);
    notify(&usage, after(start, 2));
    usage.restart_idle_period(after(start, 3));
    assert!(!usage.status(after(start, 3)).notified);
}

/// Regression: an app was used while its scheduler was being notified, and its next idle period
/// counted as notified.
#[test]
fn a_notification_counts_for_its_own_idle_period() {
    let start = Moment::now();
    let usage = Usage::new(start);
    let status = usage.status(start);
    usage.mark();
    usage.status(after(start, 1));
    usage.mark_notified(status);
    assert!(!usage.status(after(start, 2)).notified);
}

/// Regression: a change of endpoints was not stored, so that the app counted as notified, or as
/// idle for long, after a restart.
#[test]
fn a_new_idle_period_is_restored_after_a_restart() {
    let start = Moment::now();
    let usage = Usage::new(start);
    usage.mark();
    notify(&usage, start);
    let mut kept = usage.take_unsaved("a", start).unwrap();
    usage.restart_idle_period(after(start, 100));
    let later = usage.take_unsaved("a", after(start, 101)).unwrap();
    // As a store merges them.
    kept.idle_since_ms = kept.idle_since_ms.max(later.idle_since_ms);
    kept.idle_notified_ms = kept.idle_notified_ms.max(later.idle_notified_ms);
    let again = Usage::new(after(start, 110));
    again.merge(&kept, after(start, 110));
    let status = again.status(after(start, 110));
    assert_eq!(
        (
            status.last_active_ms,
            status.idle_for.as_secs(),
            status.notified
        ),
        (Some(start.ms), 10, false)
    );
}

#[test]
fn stored_activity_is_restored_after_a_restart() {
    let start = Moment::now();
    let usage = Usage::new(start);
    usage.mark();
    notify(&usage, after(start, 1));
    let kept = usage.activity("a", after(start, 5));
    let active_ms = start.ms + 1000;
    assert_eq!(
        (kept.active_ms, kept.idle_since_ms, kept.idle_notified_ms),
        (active_ms, active_ms, active_ms)
    );
    let again = Usage::new(after(start, 60));
    again.merge(&kept, after(start, 60));
    let status = again.status(after(start, 61));
    assert_eq!(
        (
            status.last_active_ms,
            status.idle_for.as_secs(),
            status.notified
        ),
        (Some(active_ms), 60, true)
    );
    let older = AppActivity {
        active_ms: 1,
        idle_since_ms: 1,
        idle_notified_ms: 0,
        ..kept
    };
    again.merge(&older, after(start, 62));
    assert_eq!(
        again.status(after(start, 62)),
        UsageStatus {
            idle_for: Duration::from_secs(61),
            ..status
        }
    );
}

/// Regression: activity of this process counted as saved when another process had stored later
/// activity.
#[test]
fn own_activity_is_saved_after_a_merge_of_later_activity() {
    let start = Moment::now();
    let usage = Usage::new(start);
    usage.mark();
    usage.status(after(start, 1));
    let theirs = AppActivity {
        app: "a".to_owned(),
        active_ms: start.ms,
        idle_since_ms: start.ms + 2000,
        idle_notified_ms: 0,
    };
    usage.merge(&theirs, after(start, 3));
    let saved = usage.take_unsaved("a", after(start, 3)).unwrap();
    assert_eq!(
        (saved.active_ms, saved.idle_since_ms),
        (start.ms + 1000, start.ms + 2000)
    );
}

#[test]
fn the_notification_of_a_never_used_app_is_saved() {
    let start = Moment::now();
    let usage = Usage::new(start);
    assert_eq!(usage.take_unsaved("a", start), None);
    notify(&usage, start);
    let kept = usage.take_unsaved("a", start).unwrap();
    assert_eq!(kept.active_ms, 0);
    assert_eq!(usage.take_unsaved("a", start), None);
    let again = Usage::new(start);
    again.merge(&kept, start);
    assert!(again.status(start).notified);
}

#[test]
fn unchanged_activity_is_not_saved_again() {
    let start = Moment::now();
    let usage = Usage::new(start);
    usage.mark();
    assert!(usage.take_unsaved("a", start).is_some());
    assert_eq!(usage.take_unsaved("a", after(start, 1)), None);
    usage.mark();
    assert!(usage.take_unsaved("a", after(start, 2)).is_some());
}

#[test]
fn setting_the_clock_changes_no_idle_period() {
    let start = Moment::now();
    let usage = Usage::new(start);
    usage.mark();
    usage.status(start);
    for ms in [0, start.ms + 86_400_000, u64::MAX] {
        let set = Moment {
            ms,
            at: start.at + Duration::from_secs(7),
        };
        assert_eq!(idle_seconds(&usage, set), 7);
    }
    let future_ms = start.ms + 86_400_000;
    let future = AppActivity {
        app: "a".to_owned(),
        active_ms: future_ms,
        idle_since_ms: future_ms,
        idle_notified_ms: 0,
    };
    usage.merge(&future, after(start, 8));
    assert_eq!(
        idle_seconds(&usage, after(start, 9)),
        1,
        "a future time counts as now"
    );
    let earlier = Moment {
        ms: start.ms,
        at: start.at.checked_sub(Duration::from_secs(1)).unwrap(),
    };
    assert_eq!(idle_seconds(&usage, earlier), 0);
}

#[test]
fn one_of_many_concurrent_callers_claims_an_activation() {
    let usage = Usage::new(Moment::now());
    let firsts = |revision| {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| usage.claim_activation(revision)))
                .collect();
            threads
                .into_iter()
                .filter_map(|thread| thread.join().ok())
                .filter(|first| *first)
                .count()
        })
    };
    assert_eq!((firsts(3), firsts(3), firsts(4)), (1, 0, 1));
}
