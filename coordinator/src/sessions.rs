//! Sessions: one client's use of one app, remembered by a signed cookie or header, pinned to a
//! worker (phase `request_filter`).

pub(crate) mod cookie;
mod record;
mod table;

use std::net::IpAddr;
use std::sync::Arc;

use app_proxy_hop::identity::RequestId;
use app_proxy_hop::streams::{CloseReason, Streams};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use log::info;

pub(crate) use record::{OpenStream, SessionRecord};
pub(crate) use table::SessionTable;

use crate::apps::RoutedApp;
use cookie::{MacText, SessionId, SessionKey, session_value, session_values};

/// How sessions are handed out and recognised.
pub(crate) struct Sessions {
    key: SessionKey,
    cookie: String,
    header: HeaderName,
    table: SessionTable,
}

/// A request's session.
pub(crate) struct SessionUse {
    /// Its record.
    pub(crate) record: Arc<SessionRecord>,
    /// What the client is handed, when it has no valid value yet.
    pub(crate) handout: Option<IssuedSession>,
}

/// What a client is handed to be recognised by.
pub(crate) struct IssuedSession {
    /// The whole `Set-Cookie`.
    pub(crate) cookie: HeaderValue,
    /// The same value for clients without cookies.
    pub(crate) value: HeaderValue,
}

/// Who asks.
pub(crate) struct SessionRequest<'r> {
    /// The request's headers.
    pub(crate) headers: &'r HeaderMap,
    /// Where it comes from.
    pub(crate) client: Option<IpAddr>,
    /// Its identifier.
    pub(crate) request_id: &'r RequestId,
    /// Whether the client's connection is private, so that the cookie has to be.
    pub(crate) secure: bool,
}

impl SessionRequest<'_> {
    fn record(&self, session: (SessionId, MacText), app: &RoutedApp) -> Arc<SessionRecord> {
        Arc::new(SessionRecord::new(
            session,
            &app.name,
            self.client,
            self.request_id,
        ))
    }
}

impl Sessions {
    /// Sessions signed with `key`.
    #[must_use]
    pub(crate) fn new(
        key: SessionKey,
        cookie: &str,
        header: HeaderName,
        table: SessionTable,
    ) -> Self {
        Self {
            key,
            cookie: cookie.to_owned(),
            header,
            table,
        }
    }

    /// The cookie's name.
    #[must_use]
    pub(crate) fn cookie_name(&self) -> &str {
        &self.cookie
    }

    /// The header that takes the cookie's place.
    #[must_use]
    pub(crate) fn header(&self) -> &HeaderName {
        &self.header
    }

    /// All sessions.
    #[must_use]
    pub(crate) fn table(&self) -> &SessionTable {
        &self.table
    }

    /// The session of a request to `app` that matched on `prefix`: the one that it shows, or a new
    /// one.
    ///
    /// A value with a valid MAC whose record is not here (another coordinator made it, or it has
    /// expired) gets a record under the same identifier; that of a session that was deleted here
    /// does not count.
    pub(crate) fn resolve(
        &self,
        app: &RoutedApp,
        prefix: &str,
        visitor: &SessionRequest<'_>,
    ) -> SessionUse {
        let used = match self.shown(app, visitor) {
            Some(record) => SessionUse {
                record,
                handout: None,
            },
            None => self.begin(app, prefix, visitor),
        };
        used.record.begin_request(visitor.request_id);
        used
    }

    /// The session that a request shows by cookie or header, if its MAC is right. Of several values
    /// the first right one counts: a client may hold one of an outer path beside ours.
    fn shown(&self, app: &RoutedApp, visitor: &SessionRequest<'_>) -> Option<Arc<SessionRecord>> {
        let cookies = visitor.headers.get_all(header::COOKIE).iter();
        let cookies = cookies.flat_map(|line| session_values(line.as_bytes(), &self.cookie));
        let lines = visitor
            .headers
            .get_all(&self.header)
            .iter()
            .map(HeaderValue::as_bytes);
        cookies
            .chain(lines)
            .find_map(|value| self.record_of(app, value, visitor))
    }

    fn record_of(
        &self,
        app: &RoutedApp,
        value: &[u8],
        visitor: &SessionRequest<'_>,
    ) -> Option<Arc<SessionRecord>> {
        let claim = SessionKey::claim(value)?;
        let here = self.table.returned(&claim.0);
        if let Some(record) = here.filter(|record| record.is_shown_by(&app.name, &claim.1)) {
            return Some(record);
        }
        let id = self.key.verify(&app.name, value)?;
        self.table
            .recall(&id, || visitor.record((id, claim.1), app))
    }

    /// Deletes a session and closes its open streams, which are among the `streams_of` its app. Who
    /// still shows it gets another one.
    pub(crate) fn delete(
        &self,
        id: &SessionId,
        streams_of: impl FnOnce(&str) -> Option<Streams>,
    ) -> Option<Arc<SessionRecord>> {
        let record = self.table.remove(id)?;
        close_streams(&record, streams_of);
        Some(record)
    }

    /// As [`Sessions::delete`], of a session that another process has deleted, whether it is here
    /// or not.
    pub(crate) fn note_deleted(
        &self,
        id: &SessionId,
        streams_of: impl FnOnce(&str) -> Option<Streams>,
    ) {
        if let Some(record) = self.table.note_deleted(id) {
            close_streams(&record, streams_of);
        }
    }

    /// A new session, and what its client is handed.
    fn begin(&self, app: &RoutedApp, prefix: &str, visitor: &SessionRequest<'_>) -> SessionUse {
        let (id, mac) = self.key.issue(&app.name);
        let record = self.table.admit(&id, visitor.record((id, mac), app));
        SessionUse {
            record,
            handout: self.handout(&session_value(&id, &mac), prefix, visitor.secure),
        }
    }

    fn handout(&self, value: &str, prefix: &str, secure: bool) -> Option<IssuedSession> {
        let path = if prefix.is_empty() { "/" } else { prefix };
        let secure = if secure { "; Secure" } else { "" };
        let cookie = format!(
            "{}={value}; Path={path}; HttpOnly; SameSite=Lax{secure}",
            self.cookie
        );
        Some(IssuedSession {
            cookie: HeaderValue::try_from(cookie).ok()?,
            value: HeaderValue::from_str(value).ok()?,
        })
    }
}

fn close_streams(record: &SessionRecord, streams_of: impl FnOnce(&str) -> Option<Streams>) {
    let id = record.id();
    let closed = streams_of(record.app()).map_or(0, |streams| {
        streams.close_where(CloseReason::SessionDeleted, |stream| {
            stream.session() == Some(id.as_str())
        })
    });
    info!(
        "session {id} of app {} is deleted, {closed} open streams with it",
        record.app()
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apps::Apps;
    use std::time::Duration;

    fn sessions() -> Sessions {
        let key = SessionKey::new(&[7; 32]).unwrap();
        let table = SessionTable::new(100, Duration::from_secs(60));
        Sessions::new(
            key,
            "app_proxy_session",
            HeaderName::from_static("x-backend-session"),
            table,
        )
    }

    fn app(name: &str) -> Arc<RoutedApp> {
        let apps = serde_json::from_value(serde_json::json!([{ "name": name }])).unwrap();
        let apps = Apps::from_file(apps, None).unwrap();
        let path = format!("/apps/{name}/");
        let snapshot = apps.load();
        match snapshot.router.lookup("h", &path) {
            crate::router::Lookup::Found(found) => Arc::clone(found.value),
            other => panic!("{other:?}"),
        }
    }

    fn resolve(
        sessions: &Sessions,
        app: &RoutedApp,
        lines: &[(HeaderName, &str)],
        id: &str,
    ) -> SessionUse {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, value.parse().unwrap());
        }
        let request_id = RequestId::accept(&id.parse().unwrap()).unwrap();
        sessions.resolve(
            app,
            "/apps/a",
            &SessionRequest {
                headers: &headers,
                client: None,
                request_id: &request_id,
                secure: false,
            },
        )
    }

    fn handed(used: &SessionUse) -> (String, String) {
        let handout = used.handout.as_ref().unwrap();
        (
            handout.cookie.to_str().unwrap().to_owned(),
            handout.value.to_str().unwrap().to_owned(),
        )
    }

    #[test]
    fn the_first_request_creates_a_session_and_later_ones_find_it() {
        let (sessions, app) = (sessions(), app("a"));
        let first = resolve(&sessions, &app, &[], "r1");
        let (cookie, value) = handed(&first);
        assert_eq!(
            cookie,
            format!("app_proxy_session={value}; Path=/apps/a; HttpOnly; SameSite=Lax")
        );
        let by_cookie = resolve(
            &sessions,
            &app,
            &[(header::COOKIE, &format!("x=1; app_proxy_session={value}"))],
            "r2",
        );
        let by_header = resolve(&sessions, &app, &[(sessions.header.clone(), &value)], "r3");
        for later in [by_cookie, by_header] {
            assert!(later.handout.is_none());
            assert!(Arc::ptr_eq(&later.record, &first.record));
        }
        let view = first.record.view();
        assert_eq!(
            (
                view.origin_request_id.as_str(),
                view.last_request_id.as_str(),
                view.requests
            ),
            ("r1", "r3", 3)
        );
    }

    #[test]
    fn nobody_chooses_a_session_and_none_works_for_another_app() {
        let (sessions, a, b) = (sessions(), app("a"), app("b"));
        let (_, value) = handed(&resolve(&sessions, &a, &[], "r1"));
        let chosen = format!("{}x", value.get(..value.len() - 1).unwrap());
        for (app, value) in [
            (&a, chosen.as_str()),
            (&b, value.as_str()),
            (&a, "mine.mine"),
            (&a, ""),
        ] {
            assert!(
                resolve(&sessions, app, &[(sessions.header.clone(), value)], "r2")
                    .handout
                    .is_some(),
                "{value}"
            );
        }
    }

    #[test]
    fn a_client_that_shows_a_deleted_session_gets_another() {
        let (sessions, app) = (sessions(), app("a"));
        let first = resolve(&sessions, &app, &[], "r1");
        let (_, value) = handed(&first);
        let id = *first.record.id();
        let (own, other) = (
            app.streams.register(Some(id.as_str()), None),
            app.streams.register(Some("other"), None),
        );
        assert!(
            sessions
                .delete(&id, |name| (name == "a").then(|| app.streams.clone()))
                .is_some()
        );
        assert_eq!(
            (own.opened().closed(), other.opened().closed()),
            (Some(CloseReason::SessionDeleted), None)
        );
        let again = resolve(&sessions, &app, &[(sessions.header.clone(), &value)], "r2");
        assert!(again.handout.is_some() && *again.record.id() != id);
        assert!(
            sessions.delete(&id, |_| None).is_none(),
            "it is gone already"
        );
    }

    #[test]
    fn a_stream_that_opens_after_its_session_was_deleted_is_closed_at_once() {
        let (sessions, app) = (sessions(), app("a"));
        let used = resolve(&sessions, &app, &[], "r1");
        let id = *used.record.id();
        sessions.delete(&id, |_| Some(app.streams.clone()));
        let late = app.streams.register(Some(id.as_str()), None);
        let stream = OpenStream::new(&used.record, sessions.table(), late.opened());
        assert_eq!(late.opened().closed(), Some(CloseReason::SessionDeleted));
        stream.data(1, 1);
        assert!(sessions.table().get(&id).is_none());
        assert_eq!(used.record.view().open_streams, 1);
        drop(stream);
        assert_eq!(used.record.view().open_streams, 0);
    }

    #[test]
    fn a_session_of_another_coordinator_is_recognised() {
        let (one, other, app) = (sessions(), sessions(), app("a"));
        let (_, value) = handed(&resolve(&one, &app, &[], "r1"));
        let used = resolve(&other, &app, &[(other.header.clone(), &value)], "r2");
        assert!(used.handout.is_none());
        assert_eq!(used.record.view().origin_request_id.as_str(), "r2");
    }
}
