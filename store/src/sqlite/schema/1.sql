-- The app table, and what else survives a restart. Times are milliseconds since 1970.
--
-- Where another process has to hear of a change, a row says its last change (`changed`, counted by `marks`), who made it
-- (`changed_by`), and the last one that somebody else made before (`changed_by_another`, 0 when there is none): for who made the last
-- change that is the last change by others, and for everybody else `changed` is.

CREATE TABLE app_table (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    epoch TEXT NOT NULL,
    revision INTEGER NOT NULL,
    horizon INTEGER NOT NULL
) STRICT;
INSERT INTO app_table VALUES (1, '', 0, 0);

-- From which state of the app table each process serves requests, for those that wait until all of them have followed a change.
CREATE TABLE serving (
    process INTEGER PRIMARY KEY,
    epoch TEXT NOT NULL,
    revision INTEGER NOT NULL
) STRICT;

-- `value` is the whole app as JSON, its name and revision included.
CREATE TABLE apps (
    name TEXT NOT NULL PRIMARY KEY,
    revision INTEGER NOT NULL,
    value TEXT NOT NULL
) STRICT;
CREATE INDEX apps_by_revision ON apps (revision);

CREATE TABLE deleted_apps (
    name TEXT NOT NULL PRIMARY KEY,
    revision INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX deleted_apps_by_revision ON deleted_apps (revision);

-- `all` counts every change of workers, sessions, deletions of sessions and activity of apps.
CREATE TABLE marks (
    what TEXT NOT NULL PRIMARY KEY,
    changed INTEGER NOT NULL,
    changed_by INTEGER NOT NULL,
    changed_by_another INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO marks VALUES ('all', 0, 0, 0), ('workers', 0, 0, 0);

-- `registration` is JSON.
CREATE TABLE workers (
    id TEXT NOT NULL PRIMARY KEY,
    registration TEXT,
    drain_since_ms INTEGER,
    drain_deadline_ms INTEGER
) STRICT, WITHOUT ROWID;

-- In the order in which they began: those that are active together lie together, and their pages are written together.
CREATE TABLE sessions (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    mac TEXT NOT NULL,
    app TEXT NOT NULL,
    worker TEXT,
    moves INTEGER NOT NULL,
    origin_request_id TEXT NOT NULL,
    last_request_id TEXT NOT NULL,
    client TEXT,
    created_ms INTEGER NOT NULL,
    active_ms INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    bytes_in INTEGER NOT NULL,
    bytes_out INTEGER NOT NULL,
    draining_streams INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    changed_by INTEGER NOT NULL,
    changed_by_another INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_by_app ON sessions (app);
CREATE INDEX sessions_by_activity ON sessions (active_ms);
CREATE INDEX sessions_by_change ON sessions (changed);

CREATE TABLE deleted_sessions (
    id TEXT NOT NULL PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    changed_by INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX deleted_sessions_by_time ON deleted_sessions (at_ms);
CREATE INDEX deleted_sessions_by_change ON deleted_sessions (changed);

CREATE TABLE activity (
    app TEXT NOT NULL PRIMARY KEY,
    active_ms INTEGER NOT NULL,
    quiet_since_ms INTEGER NOT NULL,
    idle_told_ms INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    changed_by INTEGER NOT NULL,
    changed_by_another INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX activity_by_change ON activity (changed);

-- `event` is JSON.
CREATE TABLE webhooks (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    url TEXT NOT NULL,
    event TEXT NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT;
