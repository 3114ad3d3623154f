//! A process of schema 1, as far as it uses the store: literal copies of its statements, with other
//! line breaks.
//!
//! During an upgrade the old process goes on using a file that the new one has migrated. When a
//! later schema is released, a module like this one is added for the schema before it.

use rusqlite::params;

use super::*;
use crate::conformance::samples::webhook;

/// A process of schema 1.
pub(super) struct OldProcess {
    connection: Connection,
    pub(super) writer: i64,
    /// The sequence up to which it has read changes.
    pub(super) seen: i64,
}

/// The changes that it reads.
#[derive(Debug, Default, PartialEq)]
pub(super) struct OldDelta {
    pub(super) workers: bool,
    /// Identifiers, requests and draining streams.
    pub(super) sessions: Vec<(String, i64, i64)>,
    pub(super) deleted: Vec<String>,
    pub(super) activity: Vec<String>,
}

impl OldProcess {
    /// Opens the file. Its statements are prepared at their first use, and cached from then on.
    pub(super) fn open(path: &Path, writer: i64) -> Self {
        let connection = Connection::open(path).unwrap();
        connection
            .busy_timeout(std::time::Duration::from_secs(2))
            .unwrap();
        connection.set_prepared_statement_cache_capacity(64);
        connection
            .pragma_update(None, "journal_mode", "WAL")
            .unwrap();
        Self {
            connection,
            writer,
            seen: 0,
        }
    }

    fn execute(&self, sql: &str, params: impl rusqlite::Params) -> usize {
        let mut statement = self.connection.prepare_cached(sql).unwrap();
        statement.execute(params).unwrap()
    }

    fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        self.connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        let result = work();
        self.connection.execute_batch("COMMIT").unwrap();
        result
    }

    fn next_change(&self) -> i64 {
        let mut statement = self
            .connection
            .prepare_cached(
                "UPDATE marks SET
             changed_by_another = iif(changed_by = ?1, changed_by_another, changed),
             changed = changed + 1, changed_by = ?1
         WHERE what = 'all' RETURNING changed",
            )
            .unwrap();
        statement
            .query_row((self.writer,), |row| row.get(0))
            .unwrap()
    }

    pub(super) fn record_serving(&self, revision: i64, is_alone: bool) {
        self.within(|| {
            if is_alone {
                let sql = "DELETE FROM serving;
                 UPDATE sessions SET draining_streams = 0 WHERE draining_streams <> 0";
                self.connection.execute_batch(sql).unwrap();
            }
            self.execute(
                "INSERT OR REPLACE INTO serving VALUES (?1, ?2, ?3)",
                (self.writer, "e", revision),
            );
        });
    }

    pub(super) fn record_shutdown(&self) {
        self.within(|| self.execute("DELETE FROM serving WHERE process = ?1", (self.writer,)));
    }

    pub(super) fn served_elsewhere(&self) -> Vec<(String, i64)> {
        let sql = "SELECT epoch, revision FROM serving WHERE process <> ?1";
        let mut statement = self.connection.prepare_cached(sql).unwrap();
        let rows = statement.query_map((self.writer,), |row| Ok((row.get(0)?, row.get(1)?)));
        rows.unwrap().map(Result::unwrap).collect()
    }

    /// Commits one app on top of the stored table.
    pub(super) fn commit(&self, name: &str, revision: u64) {
        self.within(|| {
            let sql = "SELECT 1 FROM app_table WHERE epoch = ?1 AND revision = ?2";
            let mut statement = self.connection.prepare_cached(sql).unwrap();
            let base = ("e", rows::to_sql(revision - 1));
            let current: i64 = statement.query_row(base, |row| row.get(0)).unwrap();
            assert_eq!(current, 1);
            self.execute("DELETE FROM deleted_apps WHERE name = ?1", (name,));
            let app = serde_json::to_string(&app(name, revision)).unwrap();
            self.execute(
                "INSERT OR REPLACE INTO apps (name, revision, value) VALUES (?1, ?2, ?3)",
                (name, rows::to_sql(revision), app),
            );
            self.execute(
                "UPDATE app_table SET epoch = ?1, revision = ?2, horizon = max(horizon, ?3)",
                ("e", rows::to_sql(revision), 0),
            );
            self.execute(
                "DELETE FROM deleted_apps WHERE revision <= (SELECT horizon FROM app_table)",
                (),
            );
        });
    }

    pub(super) fn delete_app(&self, name: &str, revision: i64) {
        self.within(|| {
            self.execute("DELETE FROM apps WHERE name = ?1", (name,));
            self.execute("DELETE FROM activity WHERE app = ?1", (name,));
            self.execute("DELETE FROM sessions WHERE app = ?1", (name,));
            let sql = "INSERT OR REPLACE INTO deleted_apps (name, revision) VALUES (?1, ?2)";
            self.execute(sql, (name, revision));
            self.execute(
                "UPDATE app_table SET epoch = ?1, revision = ?2, horizon = max(horizon, ?3)",
                ("e", revision, 0),
            );
        });
    }

    pub(super) fn save_worker(&self, id: &str) {
        self.within(|| {
            self.execute(
                "INSERT OR REPLACE INTO workers
                 (id, registration, drain_since_ms, drain_deadline_ms)
             VALUES (?1, ?2, ?3, ?4)",
                (id, None::<String>, Some(7), Some(9)),
            );
            let change = self.next_change();
            self.execute(
                "UPDATE marks SET
             changed_by_another = iif(changed_by = ?1, changed_by_another, changed),
             changed = ?2, changed_by = ?1
         WHERE what = 'workers'",
                (self.writer, change),
            );
        });
    }

    pub(super) fn save_session(&self, id: &str, active_ms: i64, draining_streams: u32) {
        self.within(|| {
            let change = self.next_change();
            self.execute(
                MERGE_SESSION,
                params![
                    id,
                    "mac",
                    "notes",
                    None::<String>,
                    0,
                    "r1",
                    "r1",
                    None::<String>,
                    5,
                    active_ms,
                    1,
                    2,
                    3,
                    draining_streams,
                    change,
                    self.writer,
                    1,
                    2,
                    3
                ],
            );
        });
    }

    pub(super) fn save_app_activity(&self, app: &str, active_ms: i64) {
        self.within(|| {
            let change = self.next_change();
            let values = (app, active_ms, active_ms, 0, change, self.writer);
            self.execute(MERGE_APP, values);
        });
    }

    pub(super) fn delete_session(&self, id: &str, at_ms: i64) {
        self.within(|| {
            let change = self.next_change();
            self.execute("DELETE FROM sessions WHERE id = ?1", (id,));
            self.execute(
                "INSERT INTO deleted_sessions (id, at_ms, changed, changed_by)
             VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (id) DO UPDATE SET at_ms = max(at_ms, excluded.at_ms)",
                (id, at_ms, change, self.writer),
            );
        });
    }

    pub(super) fn save_webhook(&self, id: &str) {
        let StoredWebhook { url, event, .. } = webhook(id, 1);
        let event = serde_json::to_string(&event).unwrap();
        self.execute(
            "INSERT INTO webhooks (id, url, event, created_ms) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (id) DO NOTHING",
            (id, url, event, 1),
        );
    }

    pub(super) fn trim(&self, before_ms: i64, max: i64) {
        self.within(|| {
            self.execute(
                "DELETE FROM deleted_sessions WHERE id IN
             (SELECT id FROM deleted_sessions WHERE at_ms < ?1 ORDER BY at_ms LIMIT ?2)",
                (before_ms, 2_000),
            );
            self.execute(
                "DELETE FROM sessions WHERE number IN
             (SELECT number FROM sessions WHERE active_ms < ?1 ORDER BY active_ms LIMIT ?2)",
                (before_ms, 2_000),
            );
            self.execute(
                "DELETE FROM sessions WHERE number IN
             (SELECT number FROM sessions ORDER BY active_ms DESC, number DESC LIMIT ?2 OFFSET ?1)",
                (max, 2_000),
            );
        });
    }

    /// Reads the changes of others since the last call.
    pub(super) fn changes(&mut self) -> OldDelta {
        let sql = "SELECT epoch, revision, changed FROM app_table, marks WHERE what = 'all'";
        let mut statement = self.connection.prepare_cached(sql).unwrap();
        let now: i64 = statement.query_row((), |row| row.get(2)).unwrap();
        if !self.has_changed("all") {
            return OldDelta::default();
        }
        let delta = OldDelta {
            workers: self.has_changed("workers"),
            sessions: self.changed("sessions", "id, requests, draining_streams", |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            }),
            deleted: {
                let sql = "SELECT id, at_ms FROM deleted_sessions
             WHERE changed > ?1 AND changed_by <> ?2";
                let mut statement = self.connection.prepare_cached(sql).unwrap();
                let rows = statement.query_map((self.seen, self.writer), |row| row.get(0));
                rows.unwrap().map(Result::unwrap).collect()
            },
            activity: self.changed("activity", "app, active_ms", |row| row.get(0)),
        };
        self.seen = now;
        delta
    }

    fn changed<T>(
        &self,
        what: &str,
        columns: &str,
        read: impl Fn(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Vec<T> {
        let sql = format!(
            "SELECT {columns} FROM {what}
             WHERE changed > ?1 AND (changed_by <> ?2 OR changed_by_another > ?1)"
        );
        let mut statement = self.connection.prepare_cached(&sql).unwrap();
        let rows = statement.query_map((self.seen, self.writer), |row| read(row));
        rows.unwrap().map(Result::unwrap).collect()
    }

    fn has_changed(&self, what: &str) -> bool {
        let sql = "SELECT iif(changed_by = ?2, changed_by_another, changed) > ?3
             FROM marks WHERE what = ?1";
        let mut statement = self.connection.prepare_cached(sql).unwrap();
        statement
            .query_row((what, self.writer, self.seen), |row| row.get(0))
            .unwrap()
    }
}

const MERGE_SESSION: &str = "
    INSERT INTO sessions (id, mac, app, worker, moves, origin_request_id, last_request_id, client,
        created_ms, active_ms, requests, bytes_in, bytes_out, draining_streams,
        changed, changed_by, changed_by_another)
    SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, 0
    WHERE NOT EXISTS (SELECT 1 FROM deleted_sessions WHERE id = ?1)
        AND NOT EXISTS (SELECT 1 FROM deleted_apps WHERE name = ?3)
    ON CONFLICT (id) DO UPDATE SET
        worker = iif(excluded.active_ms >= active_ms, excluded.worker, worker),
        moves = iif(excluded.active_ms >= active_ms, excluded.moves, moves),
        last_request_id =
            iif(excluded.active_ms >= active_ms, excluded.last_request_id, last_request_id),
        active_ms = max(active_ms, excluded.active_ms),
        requests = min(requests, 9223372036854775807 - ?17) + ?17,
        bytes_in = min(bytes_in, 9223372036854775807 - ?18) + ?18,
        bytes_out = min(bytes_out, 9223372036854775807 - ?19) + ?19,
        draining_streams = excluded.draining_streams,
        changed_by_another = iif(changed_by = excluded.changed_by, changed_by_another, changed),
        changed = excluded.changed,
        changed_by = excluded.changed_by";

const MERGE_APP: &str = "
    INSERT INTO activity (app, active_ms, quiet_since_ms, idle_told_ms,
        changed, changed_by, changed_by_another)
    SELECT ?1, ?2, ?3, ?4, ?5, ?6, 0
    WHERE NOT EXISTS (SELECT 1 FROM deleted_apps WHERE name = ?1)
    ON CONFLICT (app) DO UPDATE SET
        active_ms = max(active_ms, excluded.active_ms),
        quiet_since_ms = max(quiet_since_ms, excluded.quiet_since_ms),
        idle_told_ms = max(idle_told_ms, excluded.idle_told_ms),
        changed_by_another = iif(changed_by = excluded.changed_by, changed_by_another, changed),
        changed = excluded.changed,
        changed_by = excluded.changed_by";
