"""Writes the two files of a new migration, with the parts that every migration and every table must have."""

from __future__ import annotations

import re
from pathlib import Path

from skilldb import queries
from skilldb.admin import migrate
from skilldb.errors import AlreadyExistsError, InvalidValueError, SkilldbError

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_LONGEST = 53  # PostgreSQL cuts a constraint's name after 63 bytes. The longest suffix here is `_tenant_fk`.

_UP = """\
-- What this is for.
-- If it reads or changes rows, or adds a foreign key: CONTRIBUTING.md, "Change rows in a migration", has the pattern.
-- Locks: which, on which tables, and for how long.
SET LOCAL lock_timeout = '5s';
"""

_DOWN = """\
-- Locks: which, on which tables.
SET LOCAL lock_timeout = '5s';
"""

_TABLE_UP = """\
-- What the table is for.
-- Locks: SHARE ROW EXCLUSIVE on tenants for the foreign key; the table is new.
SET LOCAL lock_timeout = '5s';

CREATE TABLE IF NOT EXISTS the_table (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL DEFAULT gen_random_uuid()::TEXT,
    -- Its own columns. References are composite, since foreign keys are checked without the policies:
    -- CONSTRAINT the_table_skill_fk FOREIGN KEY (tenant_id, skill_id) REFERENCES skills (tenant_id, id)
    created_at TIMESTAMPTZ (3) NOT NULL DEFAULT date_trunc('milliseconds', now()),
    CONSTRAINT the_table_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT the_table_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants (id)
);

COMMENT ON TABLE the_table IS 'What one row is.';

ALTER TABLE the_table ENABLE ROW LEVEL SECURITY;
ALTER TABLE the_table FORCE ROW LEVEL SECURITY;

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'the_table' AND policyname = 'tenant_isolation'
    ) THEN
        CREATE POLICY tenant_isolation ON the_table AS RESTRICTIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;

    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'the_table' AND policyname = 'tenant_access'
    ) THEN
        CREATE POLICY tenant_access ON the_table AS PERMISSIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;
END
$$;

-- UPDATE is granted on the columns that are changed: never on tenant_id, id or created_at.
GRANT SELECT, INSERT, DELETE ON the_table TO skilldb_app;
"""

_TABLE_DOWN = """\
-- Locks: ACCESS EXCLUSIVE on the_table.
SET LOCAL lock_timeout = '5s';

-- squawk-ignore ban-drop-table -- the migration created it
DROP TABLE IF EXISTS the_table;
"""


def new_migration(name: str, table: str | None = None) -> list[Path]:
    """Write migrations/NNNN_<name>.sql and its rollback, and return their paths.

    `table`: the table that the migration creates, isolated like the others. Default: that of a name like
    `create_<table>`, else none.

    InvalidValueError: not a name. AlreadyExistsError: a migration has this name or creates this table. MigrationError:
    the existing migrations are not in order. SkilldbError: there is no checkout, or it cannot be written to.
    """
    folder = queries.folder("migrations")
    if folder.parent == Path(queries.__file__).parent:
        raise SkilldbError("skilldb is installed without its checkout: new migrations are written in a clone of it")
    table = table or (name.removeprefix("create_") if name.startswith("create_") else None)
    for word, example in ((name, "add_x_to_skills"), (table, "skill_tags")):
        if word is not None and not (_NAME.fullmatch(word) and len(word) <= _LONGEST):
            raise InvalidValueError(
                f"{word!r} is not a name: at most {_LONGEST} letters, lower-case words joined by underscores, "
                f"such as {example}; a migration's number is added"
            )
    there = migrate.read()
    for id in there:
        if id.partition("_")[2] == name:
            raise AlreadyExistsError(f"there is a migration of that name: {id}")
        text = (folder / f"{id}.sql").read_text(encoding="utf-8")
        if table and re.search(rf"^CREATE TABLE (IF NOT EXISTS )?{table}\b", text, flags=re.MULTILINE):
            raise AlreadyExistsError(f"{id} creates {table}: a migration that changes it needs no --table")
    up, down = (_TABLE_UP, _TABLE_DOWN) if table else (_UP, _DOWN)
    id = f"{len(there) + 1:04}_{name}"
    files = {folder / f"{id}.sql": up, folder / f"{id}.rollback.sql": down}
    for path in files:
        if path.exists():
            raise AlreadyExistsError(f"the file {path} exists already: move it away")
    try:
        for path, text in files.items():
            path.write_text(text.replace("the_table", table or ""), encoding="utf-8", newline="\n")
    except OSError as error:
        for path in files:
            path.unlink(missing_ok=True)
        raise SkilldbError(f"the migration cannot be written: {error}") from error
    return list(files)
