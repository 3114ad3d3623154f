//! Sessions: the use of one app by one client, identified by a signed cookie or header and pinned
//! to a worker (phase `request_filter`).

pub(crate) mod cookie;
mod record;
mod stream;
mod table;

use std::net::IpAddr;
use std::sync::Arc;

use app_proxy_hop::identity::RequestId;
use app_proxy_hop::streams::{CloseReason, Streams};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use log::info;

pub(crate) use record::SessionRecord;
pub(crate) use stream::OpenStream;
pub(crate) use table::SessionTable;

use crate::apps::RoutedApp;
use cookie::{MacText, Owner, SessionId, SessionKey, session_value, session_values};

/// Issues and recognises sessions.
pub(crate) struct Sessions {
    key: SessionKey,
    cookie: String,
    header: HeaderName,
    table: SessionTable,
}

/// The session of a request.
pub(crate) struct SessionUse {
    /// The record.
    pub(crate) record: Arc<SessionRecord>,
    /// The value to send to the client, if the request had no valid one.
    pub(crate) issued: Option<IssuedSession>,
}

/// The value that identifies a session to a client.
pub(crate) struct IssuedSession {
    /// The `Set-Cookie` value.
    pub(crate) cookie: HeaderValue,
    /// The session value alone, for clients without cookies.
    pub(crate) value: HeaderValue,
}

/// The parts of a request that identify its session.
pub(crate) struct SessionRequest<'r> {
    /// The request's headers.
    pub(crate) headers: &'r HeaderMap,
    /// The address of the client.
    pub(crate) client: Option<IpAddr>,
    /// The request identifier.
    pub(crate) request_id: &'r RequestId,
    /// True if the client uses HTTPS, so that the cookie needs `Secure`.
    pub(crate) secure: bool,
    /// The user, if an access policy has established one.
    pub(crate) user: Option<&'r Arc<str>>,
}

impl SessionRequest<'_> {
    fn new_record(&self, session: (SessionId, MacText), app: &RoutedApp) -> Arc<SessionRecord> {
        let record = SessionRecord::new(session, &app.name, self.client, self.request_id);
        Arc::new(record.of_user(self.user.cloned()))
    }

    fn user(&self) -> Option<&str> {
        self.user.map(AsRef::as_ref)
    }

    fn owner<'o>(&'o self, app: &'o RoutedApp) -> Owner<'o> {
        Owner {
            app: &app.name,
            user: self.user(),
        }
    }
}

impl Sessions {
    /// Creates the service for sessions signed with `key`.
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

    /// The header for clients without cookies.
    #[must_use]
    pub(crate) fn header(&self) -> &HeaderName {
        &self.header
    }

    /// The table of all sessions.
    #[must_use]
    pub(crate) fn table(&self) -> &SessionTable {
        &self.table
    }

    /// Returns the session of a request to `app` that matched on `prefix`: the one in its cookie or
    /// header, or a new one.
    ///
    /// A value with a valid MAC but without a record (another coordinator issued it, or the session
    /// expired) gets a record under the same identifier. The value of a deleted session and that of
    /// another user are ignored.
    pub(crate) fn resolve(
        &self,
        app: &RoutedApp,
        prefix: &str,
        request: &SessionRequest<'_>,
    ) -> SessionUse {
        let used = match self.presented(app, request) {
            Some(record) => SessionUse {
                record,
                issued: None,
            },
            None => self.create(app, prefix, request),
        };
        used.record.begin_request(request.request_id);
        used
    }

    /// Returns the session in the request's cookie or header, if its MAC is valid. The first valid
    /// value wins: a client may also hold a cookie of an outer path.
    fn presented(
        &self,
        app: &RoutedApp,
        request: &SessionRequest<'_>,
    ) -> Option<Arc<SessionRecord>> {
        let cookies = request.headers.get_all(header::COOKIE).iter();
        let cookies = cookies.flat_map(|line| session_values(line.as_bytes(), &self.cookie));
        let lines = request
            .headers
            .get_all(&self.header)
            .iter()
            .map(HeaderValue::as_bytes);
        cookies
            .chain(lines)
            .find_map(|value| self.recognise(app, value, request))
    }

    fn recognise(
        &self,
        app: &RoutedApp,
        value: &[u8],
        request: &SessionRequest<'_>,
    ) -> Option<Arc<SessionRecord>> {
        let claim = SessionKey::claim(value)?;
        let known = self.table.find(&claim.0);
        let user = request.user();
        if let Some(record) = known.filter(|record| record.matches(&app.name, user, &claim.1)) {
            return Some(record);
        }
        let id = self.key.verify(request.owner(app), value)?;
        self.table
            .find_or_insert(&id, || request.new_record((id, claim.1), app))
    }

    /// Deletes a session and closes its open streams, found among the `streams_of` its app. A
    /// client that still sends its value gets a new session.
    pub(crate) fn delete(
        &self,
        id: &SessionId,
        streams_of: impl FnOnce(&str) -> Option<Streams>,
    ) -> Option<Arc<SessionRecord>> {
        let record = self.table.delete(id)?;
        close_streams(&record, streams_of);
        Some(record)
    }

    /// Applies the deletion of a session by another process, whether the session is known here or
    /// not.
    pub(crate) fn apply_deletion(
        &self,
        id: &SessionId,
        streams_of: impl FnOnce(&str) -> Option<Streams>,
    ) {
        if let Some(record) = self.table.apply_deletion(id) {
            close_streams(&record, streams_of);
        }
    }

    /// Creates a session.
    fn create(&self, app: &RoutedApp, prefix: &str, request: &SessionRequest<'_>) -> SessionUse {
        let (id, mac) = self.key.issue(request.owner(app));
        let record = self.table.insert(&id, request.new_record((id, mac), app));
        SessionUse {
            record,
            issued: self.issue(&session_value(&id, &mac), prefix, request.secure),
        }
    }

    /// Builds the response headers for a session value.
    fn issue(&self, value: &str, prefix: &str, secure: bool) -> Option<IssuedSession> {
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
        "session {id} of app {}: deleted; {closed} open streams closed",
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
        resolve_as(None, sessions, app, lines, id)
    }

    fn resolve_as(
        user: Option<&str>,
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
                user: user.map(Arc::from).as_ref(),
            },
        )
    }

    fn issued(used: &SessionUse) -> (String, String) {
        let issued = used.issued.as_ref().unwrap();
        (
            issued.cookie.to_str().unwrap().to_owned(),
            issued.value.to_str().unwrap().to_owned(),
        )
    }

    #[test]
    fn the_first_request_creates_a_session_and_later_ones_find_it() {
        let (sessions, app) = (sessions(), app("a"));
        let first = resolve(&sessions, &app, &[], "r1");
        let (cookie, value) = issued(&first);
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
            assert!(later.issued.is_none());
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
    fn invalid_values_and_values_of_other_apps_get_a_new_session() {
        let (sessions, a, b) = (sessions(), app("a"), app("b"));
        let (_, value) = issued(&resolve(&sessions, &a, &[], "r1"));
        let chosen = format!("{}x", value.get(..value.len() - 1).unwrap());
        for (app, value) in [
            (&a, chosen.as_str()),
            (&b, value.as_str()),
            (&a, "mine.mine"),
            (&a, ""),
        ] {
            assert!(
                resolve(&sessions, app, &[(sessions.header.clone(), value)], "r2")
                    .issued
                    .is_some(),
                "{value}"
            );
        }
    }

    #[test]
    fn a_session_belongs_to_its_user() {
        let (sessions, app) = (sessions(), app("a"));
        let users = [None, Some("anna"), Some("bob")];
        for owner in users {
            let first = resolve_as(owner, &sessions, &app, &[], "r1");
            let (_, value) = issued(&first);
            assert_eq!(first.record.view().user.as_deref(), owner);
            let lines = [(sessions.header.clone(), value.as_str())];
            for user in users {
                let later = resolve_as(user, &sessions, &app, &lines, "r2");
                assert_eq!(later.issued.is_none(), user == owner, "{owner:?} {user:?}");
                // Nor does another coordinator, which has no record, accept the value.
                let other = self::sessions();
                let there = resolve_as(user, &other, &app, &lines, "r3");
                assert_eq!(there.issued.is_none(), user == owner, "{owner:?} {user:?}");
                if user != owner {
                    assert_ne!(later.record.id(), first.record.id());
                    assert_ne!(there.record.id(), first.record.id());
                }
            }
        }
    }

    #[test]
    fn a_client_of_a_deleted_session_gets_a_new_one() {
        let (sessions, app) = (sessions(), app("a"));
        let first = resolve(&sessions, &app, &[], "r1");
        let (_, value) = issued(&first);
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
            (own.handle().closed(), other.handle().closed()),
            (Some(CloseReason::SessionDeleted), None)
        );
        let again = resolve(&sessions, &app, &[(sessions.header.clone(), &value)], "r2");
        assert!(again.issued.is_some() && *again.record.id() != id);
        assert!(
            sessions.delete(&id, |_| None).is_none(),
            "it is deleted already"
        );
    }

    #[test]
    fn a_stream_that_opens_after_its_session_was_deleted_is_closed_at_once() {
        let (sessions, app) = (sessions(), app("a"));
        let used = resolve(&sessions, &app, &[], "r1");
        let id = *used.record.id();
        sessions.delete(&id, |_| Some(app.streams.clone()));
        let late = app.streams.register(Some(id.as_str()), None);
        let stream = OpenStream::new(&used.record, sessions.table(), late.handle());
        assert_eq!(late.handle().closed(), Some(CloseReason::SessionDeleted));
        stream.count_bytes(1, 1);
        assert!(sessions.table().get(&id).is_none());
        assert_eq!(used.record.view().open_streams, 1);
        drop(stream);
        assert_eq!(used.record.view().open_streams, 0);
    }

    #[test]
    fn a_session_of_another_coordinator_is_recognised() {
        let (one, other, app) = (sessions(), sessions(), app("a"));
        let (_, value) = issued(&resolve(&one, &app, &[], "r1"));
        let used = resolve(&other, &app, &[(other.header.clone(), &value)], "r2");
        assert!(used.issued.is_none());
        assert_eq!(used.record.view().origin_request_id.as_str(), "r2");
    }
}
