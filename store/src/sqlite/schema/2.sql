-- Members in place of `serving`, streams for each member, claims of files on apps, users of sessions.
--
-- During an upgrade a process of schema 1 goes on using the file after this migration. Everything marked "schema 1" is there for
-- such a process alone, and schema 3 drops it: the new program names none of it. A writer of schema 1 is the member whose id it
-- writes to `changed_by`.
--
-- `changed_by` is the writer of the last change of a row if that writer knows everything in the row, and 0 otherwise: if it wrote
-- over a change of another writer that it had not read. So the changes that a writer has to read are those of
-- `changed > … AND changed_by <> …`, its own among them where the row has become the sum of several.

CREATE TABLE members (
    number INTEGER PRIMARY KEY,
    id INTEGER NOT NULL UNIQUE,
    instance TEXT NOT NULL,
    pid INTEGER NOT NULL,
    address TEXT,
    file TEXT,
    shared INTEGER NOT NULL,
    stage INTEGER NOT NULL,
    epoch TEXT NOT NULL,
    revision INTEGER NOT NULL,
    beat INTEGER NOT NULL
) STRICT;

-- The open streams of sessions at members. A session need not be stored yet.
CREATE TABLE streams (
    session TEXT NOT NULL,
    member INTEGER NOT NULL,
    open INTEGER NOT NULL,
    PRIMARY KEY (session, member)
) STRICT, WITHOUT ROWID;
CREATE INDEX streams_by_member ON streams (member);

-- The apps that the files of members name; `files` in `marks` counts the changes.
CREATE TABLE app_files (
    file TEXT NOT NULL,
    app TEXT NOT NULL,
    PRIMARY KEY (file, app)
) STRICT, WITHOUT ROWID;

-- Columns of schema 1 get a default. SQLite's page about ALTER TABLE describes this way to change one, which needs no copy of the
-- rows (section "Making Other Kinds Of Table Schema Changes"): a process of schema 1 waits at most 2 s for the migration.
ALTER TABLE sessions ADD COLUMN user TEXT;
PRAGMA writable_schema = ON;
UPDATE sqlite_schema
    SET sql = replace(sql, 'changed_by_another INTEGER NOT NULL', 'changed_by_another INTEGER NOT NULL DEFAULT 0 /* schema 1 */')
    WHERE type = 'table' AND name IN ('marks', 'sessions', 'activity');
UPDATE sqlite_schema
    SET sql = replace(sql, 'draining_streams INTEGER NOT NULL', 'draining_streams INTEGER NOT NULL DEFAULT 0 /* schema 1 */')
    WHERE type = 'table' AND name = 'sessions';
PRAGMA writable_schema = RESET;
INSERT INTO marks (what, changed, changed_by) VALUES ('files', 0, 0);

-- The streams of a member go with it, and the sessions that had them change for everybody.
CREATE TRIGGER members_streams AFTER DELETE ON members
WHEN EXISTS (SELECT 1 FROM streams WHERE member = OLD.id)
BEGIN
    UPDATE marks SET changed = changed + 1, changed_by = 0 WHERE what = 'all';
    UPDATE sessions SET changed = (SELECT changed FROM marks WHERE what = 'all'), changed_by = 0
        WHERE id IN (SELECT session FROM streams WHERE member = OLD.id);
    DELETE FROM streams WHERE member = OLD.id;
END;

-- The member that delivers a webhook; 0 for those of schema 1, which another member adopts when no process of schema 1 is alive.
ALTER TABLE webhooks ADD COLUMN member INTEGER NOT NULL DEFAULT 0;

-- A process of schema 1 has no pid and no instance, and counts as serving (stage 1).
INSERT INTO members (id, instance, pid, shared, stage, epoch, revision, beat)
    SELECT process, '', 0, 0, 1, epoch, revision, 0 FROM serving;
INSERT INTO streams SELECT id, changed_by, draining_streams FROM sessions
    WHERE draining_streams > 0 AND changed_by IN (SELECT id FROM members);

-- Schema 1 from here on.
DROP TABLE serving;
CREATE VIEW serving AS SELECT id AS process, epoch, revision FROM members;

-- Without a conflict: `INSERT OR REPLACE` would apply to the statements of a trigger too.
CREATE TRIGGER serving_insert INSTEAD OF INSERT ON serving BEGIN
    UPDATE members SET epoch = NEW.epoch, revision = NEW.revision, beat = beat + 1 WHERE id = NEW.process;
    INSERT INTO members (id, instance, pid, shared, stage, epoch, revision, beat)
        SELECT NEW.process, '', 0, 0, 1, NEW.epoch, NEW.revision, 0
        WHERE NOT EXISTS (SELECT 1 FROM members WHERE id = NEW.process);
END;

CREATE TRIGGER serving_delete INSTEAD OF DELETE ON serving BEGIN
    DELETE FROM members WHERE id = OLD.process;
END;

-- Only a process of schema 1 writes this column, once in each of its transactions.
CREATE TRIGGER marks_beat AFTER UPDATE OF changed_by_another ON marks WHEN NEW.what = 'all' BEGIN
    UPDATE members SET beat = beat + 1 WHERE id = NEW.changed_by;
END;

-- The member may have been removed while it had nothing to write.
CREATE TRIGGER sessions_streams AFTER UPDATE OF draining_streams ON sessions
WHEN NEW.draining_streams <> 0 OR OLD.draining_streams <> 0
BEGIN
    DELETE FROM streams WHERE session = NEW.id AND member = NEW.changed_by;
    INSERT INTO streams SELECT NEW.id, NEW.changed_by, NEW.draining_streams WHERE NEW.draining_streams > 0;
    INSERT INTO members (id, instance, pid, shared, stage, epoch, revision, beat)
        SELECT NEW.changed_by, '', 0, 0, 1, epoch, revision, 0 FROM app_table
        WHERE NEW.draining_streams > 0 AND NOT EXISTS (SELECT 1 FROM members WHERE id = NEW.changed_by);
END;

CREATE TRIGGER sessions_new_streams AFTER INSERT ON sessions WHEN NEW.draining_streams <> 0 BEGIN
    DELETE FROM streams WHERE session = NEW.id AND member = NEW.changed_by;
    INSERT INTO streams SELECT NEW.id, NEW.changed_by, NEW.draining_streams;
END;
