//! Sample values that the behaviours share.

use std::sync::Arc;

use app_proxy_api::table::{AppSource, Epoch, StoredApp, TableState};
use app_proxy_api::webhooks::{WebhookEvent, WebhookEventData, WebhookEventKind};
use serde_json::json;

use crate::activity::{ActivityBatch, AppActivity, Counts, SessionActivity};
use crate::commit::{AppChange, AppCommit};
use crate::member::NewMember;
use crate::session::StoredSession;
use crate::state::{Cursor, ServedTable, StoredWebhook, StoredWorker};
use crate::store::Store;

/// Returns an app with an endpoint whose port depends on the revision.
pub(crate) fn app(name: &str, revision: u64) -> StoredApp {
    let port = 1 + revision % 60_000;
    let app = json!({
        "name": name,
        "endpoints": [{"address": format!("127.0.0.1:{port}")}],
        "pool": {"zone": "a"},
    });
    let app = serde_json::from_value(app).unwrap();
    StoredApp {
        app,
        revision,
        source: AppSource::Api,
        updated_at: Some("2024-05-01T00:00:00.000Z".to_owned()),
    }
}

pub(crate) fn put(name: &str, revision: u64) -> AppChange {
    AppChange::Put(Arc::new(app(name, revision)))
}

pub(crate) fn delete(name: &str, revision: u64) -> AppChange {
    AppChange::Delete {
        name: name.to_owned(),
        revision,
    }
}

/// Returns a commit in the epoch `e`.
pub(crate) fn commit(base: u64, revision: u64, changes: Vec<AppChange>) -> AppCommit {
    AppCommit {
        base: ("e".into(), base),
        epoch: "e".into(),
        revision,
        changes,
        ..AppCommit::default()
    }
}

/// Returns the first commit of the epoch `e`.
pub(crate) fn first(revision: u64, changes: Vec<AppChange>) -> AppCommit {
    AppCommit {
        base: (Epoch::default(), 0),
        ..commit(0, revision, changes)
    }
}

pub(crate) fn worker(id: &str) -> StoredWorker {
    let registration =
        json!({"address": "127.0.0.1:7080", "weight": 3, "labels": {"zone": "a"}, "instance": "i"});
    StoredWorker {
        id: id.to_owned(),
        registration: Some(serde_json::from_value(registration).unwrap()),
        drain: None,
    }
}

pub(crate) fn session(id: &str, active_ms: u64) -> StoredSession {
    StoredSession {
        id: id.to_owned(),
        mac: format!("mac of {id}"),
        app: "notes".to_owned(),
        worker: Some("w1".to_owned()),
        moves: 0,
        origin_request_id: "r1".to_owned(),
        last_request_id: "r1".to_owned(),
        client: Some("2001:db8::1".parse().unwrap()),
        created_ms: 5,
        active_ms,
        requests: 1,
        bytes_in: 2,
        bytes_out: 3,
        streams_elsewhere: 0,
        user: None,
    }
}

pub(crate) fn served(revision: u64) -> ServedTable {
    ServedTable {
        epoch: "e".into(),
        revision,
    }
}

pub(crate) fn member(pid: u32) -> NewMember {
    NewMember {
        instance: format!("instance {pid}"),
        pid,
        address: Some(format!("127.0.0.1:{pid}")),
        file: Some(format!("host:/{pid}.yaml")),
        shared: false,
        served: served(1),
    }
}

pub(crate) fn counts(requests: u64, bytes_in: u64, bytes_out: u64) -> Counts {
    Counts {
        requests,
        bytes_in,
        bytes_out,
    }
}

/// Returns a batch in which all counts of the sessions are new.
pub(crate) fn batch(sessions: impl IntoIterator<Item = StoredSession>) -> ActivityBatch {
    let activity = |session: StoredSession| {
        let added = counts(session.requests, session.bytes_in, session.bytes_out);
        SessionActivity { session, added }
    };
    ActivityBatch {
        sessions: sessions.into_iter().map(activity).collect(),
        apps: Vec::new(),
    }
}

pub(crate) fn activity(
    app: &str,
    active_ms: u64,
    idle_since_ms: u64,
    idle_notified_ms: u64,
) -> AppActivity {
    AppActivity {
        app: app.to_owned(),
        active_ms,
        idle_since_ms,
        idle_notified_ms,
    }
}

pub(crate) fn app_batch(app: AppActivity) -> ActivityBatch {
    ActivityBatch {
        sessions: Vec::new(),
        apps: vec![app],
    }
}

pub(crate) fn webhook(id: &str, created_ms: u64) -> StoredWebhook {
    let data = WebhookEventData {
        app: "notes".to_owned(),
        revision: 1,
        last_active_at: None,
        request_id: Some("r1".to_owned()),
        session_count: 0,
        sessions: Vec::new(),
    };
    let timestamp = "2024-05-01T00:00:00.000Z".to_owned();
    let event = WebhookEvent {
        id: id.to_owned(),
        kind: WebhookEventKind::AppWake,
        timestamp,
        data,
    };
    StoredWebhook {
        url: "http://127.0.0.1:9/hook".to_owned(),
        event,
        created_ms,
    }
}

pub(crate) fn names(apps: &TableState) -> Vec<(&str, u64)> {
    apps.apps
        .iter()
        .map(|app| (app.app.name.as_str(), app.revision))
        .collect()
}

pub(crate) fn ids(sessions: &[StoredSession]) -> Vec<&str> {
    sessions.iter().map(|session| session.id.as_str()).collect()
}

pub(crate) async fn cursor(store: &dyn Store) -> Cursor {
    store.load().await.unwrap().cursor
}
