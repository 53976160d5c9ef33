"""Lists every way around the policies and its expected outcome; tests try each, docs/tenancy.md shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.support.server import CHECKOUT

PAGE = CHECKOUT / "docs" / "tenancy.md"
HEADING = "## Ways around the policies, and their outcomes"


@dataclass(frozen=True, kw_only=True)
class Way:
    """An attempt of the service role on its own connection, with the organisation acme set.

    `before` runs first, on the same connection with globex set. `globex` runs next, on a second connection with globex
    set. `tried` runs last, with acme set. If there are `states`, its last statement fails with one of these SQLSTATEs.
    The output of `tried` includes notices, notifications and the error. It contains `shows`. If `shows` is empty, it
    contains neither {secret} nor `hides`.
    """

    name: str
    tried: tuple[str, ...]
    why: str
    states: tuple[str, ...] = ()
    shows: str = ""
    hides: str = "{secret}"
    before: tuple[str, ...] = ()
    globex: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        kind = "remains" if self.shows else "refused" if self.states else "harmless"
        return f"{kind} ({' or '.join(self.states)})" if self.states else kind


def refused(name: str, *tried: str, states: tuple[str, ...] = ("42501",), **more: Any) -> Way:
    return Way(name=name, tried=tried, states=states, **more)


def harmless(name: str, *tried: str, **more: Any) -> Way:
    return Way(name=name, tried=tried, **more)


def remains(name: str, *tried: str, shows: str = "{secret}", **more: Any) -> Way:
    return Way(name=name, tried=tried, shows=shows, **more)


# {secret} is the name of a skill of globex; {theirs} is the id of a skill that only globex has.
SECRETS = "SELECT name FROM skills"
NOT_OWNER = "the service role owns nothing"
NO_CREATE = "the service role has CREATE on no schema"
NO_TEMP = "migration 0001 revokes TEMPORARY from PUBLIC"
NO_SUPER = "only superusers may do this"
UNDER = "the policies apply to every read of the role"

WAYS = (
    remains(
        "set the tenant setting",
        "SET app.current_tenant_id = 'globex'",
        SECRETS,
        why="The policies compare with this setting, and the service sets it. They stop a query that forgets its "
        "tenant. They do not stop SQL that an attacker writes. Attackers cannot write SQL through skilldb: values are "
        "sent as parameters, and no function takes a tenant or SQL.",
    ),
    remains(
        "set the slug setting",
        "SET app.current_tenant_slug = 'globex'",
        "SELECT id FROM tenants WHERE id <> 'acme'",
        shows="globex",
        why="Two policies of tenants for SELECT show the row whose slug is named, for Database.find_tenant(). They "
        "show no row of another table. Every other call sets the slug to nothing.",
    ),
    harmless(
        "set the slug setting, and read other tables",
        "SET app.current_tenant_slug = 'globex'",
        SECRETS,
        why="only the policies of tenants compare the slug",
    ),
    refused(
        "SET row_security = off",
        "SET row_security = off",
        SECRETS,
        why="PostgreSQL raises an error instead of returning all rows",
    ),
    refused(
        "SET ROLE to the owner",
        "SET ROLE skilldb_owner",
        why="the service role is not a member; skilldb checks that when it connects",
    ),
    refused("SET SESSION AUTHORIZATION", "SET SESSION AUTHORIZATION skilldb_owner", why=NO_SUPER),
    harmless("SET ROLE to the group", "SET ROLE skilldb_app", SECRETS, why="the group is subject to the policies too"),
    refused("switch triggers and keys off", "SET session_replication_role = replica", why=NO_SUPER),
    refused("disable row-level security", "ALTER TABLE skills DISABLE ROW LEVEL SECURITY", why=NOT_OWNER),
    refused("drop a policy", "DROP POLICY tenant_isolation ON skills", why=NOT_OWNER),
    refused("add a policy", "CREATE POLICY all_rows ON skills USING (true)", why=NOT_OWNER),
    refused("grant itself more", "ALTER ROLE skilldb_service BYPASSRLS", why="the service role lacks CREATEROLE"),
    refused(
        "move a row to another tenant",
        "UPDATE skills SET tenant_id = 'globex'",
        why="UPDATE on tenant_id is not granted",
    ),
    refused(
        "insert a row for another tenant",
        "INSERT INTO users (tenant_id, email) VALUES ('globex', 'spy@example.com')",
        why="the policy's WITH CHECK compares the new row's tenant",
    ),
    refused("TRUNCATE", "TRUNCATE skills CASCADE", why="TRUNCATE is not granted, because no policy applies to it"),
    refused("COPY from a file", "COPY users FROM '/etc/passwd'", why="the service role is not in pg_read_server_files"),
    refused(
        "COPY to a program",
        "COPY (SELECT name FROM skills) TO PROGRAM 'cat'",
        why="the service role is not in pg_execute_server_program",
    ),
    refused(
        "COPY into a table",
        "COPY users FROM STDIN",
        why="PostgreSQL does not support COPY FROM under row-level security",
        states=("0A000",),
    ),
    harmless(
        "all tables at once",
        "DO $$ DECLARE t TEXT; r TEXT; BEGIN FOR t IN SELECT relname FROM pg_class WHERE relkind = 'r' "
        "AND relnamespace = 'public'::regnamespace AND has_any_column_privilege(oid, 'SELECT') LOOP "
        "FOR r IN EXECUTE format('SELECT row_to_json(t)::text FROM %I AS t', t) LOOP RAISE NOTICE '%', r; END LOOP; "
        "END LOOP; END $$",
        why=UNDER,
        hides="globex",
    ),
    harmless("COPY a table out", "COPY skills TO STDOUT", why="COPY writes only visible rows"),
    refused(
        "a table that refers to skills",
        "CREATE TABLE public.probe (t TEXT, id TEXT, FOREIGN KEY (t, id) REFERENCES skills (tenant_id, id))",
        why=NO_CREATE,
    ),
    refused(
        "a function that matches better than PostgreSQL's own",
        "CREATE FUNCTION public.cardinality(text[]) RETURNS integer LANGUAGE sql AS 'SELECT 0'",
        why=NO_CREATE,
    ),
    refused("a view", "CREATE VIEW public.peek AS SELECT name FROM skills", why=NO_CREATE),
    refused("a materialised view", "CREATE MATERIALIZED VIEW public.kept AS SELECT name FROM skills", why=NO_CREATE),
    refused("a temporary view", "CREATE TEMPORARY VIEW peek AS SELECT name FROM skills", why=NO_TEMP),
    refused(
        "a temporary view, security_invoker",
        "CREATE TEMPORARY VIEW peek WITH (security_invoker) AS SELECT name FROM skills",
        why=NO_TEMP,
    ),
    refused(
        "a temporary table kept across tenants", "CREATE TEMPORARY TABLE kept AS SELECT name FROM skills", why=NO_TEMP
    ),
    refused(
        "a function SECURITY DEFINER",
        "CREATE FUNCTION public.peek() RETURNS SETOF TEXT SECURITY DEFINER LANGUAGE sql AS 'SELECT name FROM skills'",
        why=NO_CREATE,
    ),
    refused(
        "a cheap function that shows its argument",
        "CREATE FUNCTION pg_temp.tell(t TEXT) RETURNS BOOLEAN COST 0.00001 LANGUAGE plpgsql AS "
        "'BEGIN RAISE NOTICE ''%'', t; RETURN true; END'",
        why=NO_TEMP,
    ),
    harmless(
        "a DO block",
        "DO $$ DECLARE n TEXT; BEGIN FOR n IN SELECT name FROM skills LOOP RAISE NOTICE '%', n; END LOOP; END $$",
        why=UNDER,
    ),
    harmless(
        "a condition that fails on the value",
        "SELECT name FROM skills WHERE id = '{theirs}' AND name::integer = 1",
        why="PostgreSQL applies the policy before a condition that is not leakproof",
    ),
    refused("a schema of its own", "CREATE SCHEMA mine", why=NO_CREATE),
    refused(
        "a table that shadows another, by search_path",
        "SET search_path = pg_temp, public",
        "CREATE TABLE pg_temp.skills ()",
        why=NO_TEMP,
    ),
    harmless(
        "another search_path",
        "SET search_path = information_schema, pg_catalog, public",
        SECRETS,
        why="a policy stores its table, function and operator by oid",
    ),
    harmless(
        "a prepared statement kept across tenants",
        "EXECUTE kept",
        before=("PREPARE kept AS SELECT name FROM skills", *("EXECUTE kept",) * 7),
        why="the statement reads the setting each time it runs",
    ),
    remains(
        "a cursor WITH HOLD kept across tenants",
        "FETCH ALL FROM kept",
        before=("DECLARE kept CURSOR WITH HOLD FOR SELECT name FROM skills",),
        why="Its rows were read for the previous tenant. No query of sql/ declares a cursor; a test checks that.",
    ),
    harmless(
        "sequences",
        "SELECT format('there is %s', sequencename) FROM pg_sequences",
        why="there are none: ids are random",
        hides="there is",
    ),
    refused(
        "a foreign key as a probe",
        "INSERT INTO ratings (tenant_id, user_id, skill_id, rating) VALUES ('acme', 'ann', '{theirs}', 5)",
        why="keys include the tenant: the error is the same as for an unused id",
        states=("23503",),
    ),
    harmless(
        "a unique key as a probe",
        "INSERT INTO skills (tenant_id, id, name, slug, description, category) "
        "VALUES ('acme', '{theirs}', '', '{theirs}', '', '')",
        "DELETE FROM skills WHERE tenant_id = 'acme' AND id = '{theirs}' RETURNING id, name",
        why="keys begin with the tenant: the id and the slug are unused in this organisation",
    ),
    remains(
        "tenants.slug as a probe",
        "SET app.current_tenant_id = 'new'",
        "INSERT INTO tenants (id, name, slug) VALUES ('new', '', 'globex')",
        why="The slug of an organisation is unique among all organisations. Creating one shows that a slug is taken, "
        "but "
        "not by which organisation. Let only trusted users create organisations.",
        shows="tenants_slug_key",
        states=("23505",),
    ),
    refused(
        "an error's DETAIL",
        "INSERT INTO users (tenant_id, id, email) VALUES ('acme', 'ann', 'ann@example.com')",
        why="under row-level security PostgreSQL omits the values",
        states=("23505",),
        hides="(acme, ann)",
    ),
    harmless(
        "pg_stats",
        "SELECT most_common_vals::text FROM pg_stats WHERE schemaname = 'public'",
        why="the view hides tables with row-level security",
    ),
    refused("pg_statistic", "SELECT stavalues1::text FROM pg_statistic", why=NO_SUPER),
    refused("pg_statistic_ext_data", "SELECT stxdmcv::text FROM pg_statistic_ext_data", why=NO_SUPER),
    remains(
        "row estimates of EXPLAIN",
        "EXPLAIN SELECT FROM skills WHERE category = '{secret}'",
        why="The planner's statistics cover all rows. Its estimate shows whether a value is frequent in another "
        "organisation. Never show a plan to an organisation.",
        shows="rows=38 ",
    ),
    remains(
        "EXPLAIN ANALYZE",
        "SET enable_indexscan = off",
        "SET enable_bitmapscan = off",
        "EXPLAIN (ANALYZE, TIMING off, SUMMARY off) SELECT FROM skills",
        why="It counts the rows that the policy hid. Never show a plan, or the duration of a query, to an "
        "organisation.",
        shows="Rows Removed by Filter: 150",
    ),
    remains(
        "sizes and counts of tables",
        "SELECT format('about %s rows', reltuples) FROM pg_class WHERE relname = 'skills'",
        why="They cover all organisations together. So do pg_stat_user_tables and the gaps in ctid and xmin.",
        shows="about 200 rows",
    ),
    harmless(
        "rows of others by ctid",
        "SELECT name FROM skills WHERE ctid = ANY(ARRAY(SELECT format('(%s,%s)', page, line)::tid "
        "FROM generate_series(0, 9) AS page, generate_series(1, 99) AS line))",
        why=UNDER,
    ),
    remains(
        "pg_stat_activity",
        "SELECT query FROM pg_stat_activity",
        globex=('SELECT 1 AS "{secret}"',),
        why="A login sees the last query of its other sessions: the text, not the parameters. skilldb's queries "
        "contain no values; a test checks that. Other programs with this login must not put values into queries.",
    ),
    refused(
        "pg_stat_statements, dblink",
        "CREATE EXTENSION dblink",
        why="the service role cannot create an extension. If one is installed, grant none of its functions or views "
        "to the "
        "service role",
        states=("42501", "0A000", "58P01"),
    ),
    refused("files of the server", "SELECT pg_read_file('/etc/hostname')", why=NO_SUPER),
    refused("large objects from files", "SELECT lo_import('/etc/hostname')", why=NO_SUPER),
    remains(
        "large objects",
        "SELECT convert_from(lo_get(oid), 'UTF8') FROM pg_largeobject_metadata",
        globex=("SELECT lo_from_bytea(0, convert_to('{secret}', 'UTF8'))",),
        why="They belong to the login and have no tenant. skilldb uses none; a test checks that.",
    ),
    remains(
        "LISTEN and NOTIFY",
        "SELECT 'notifications arrive with an answer'",
        before=("LISTEN changes",),
        globex=("NOTIFY changes, '{secret}'",),
        why="A channel belongs to the database, not to a tenant. skilldb uses none; a test checks that.",
    ),
    remains(
        "advisory locks",
        "SELECT CASE WHEN NOT pg_try_advisory_lock(42) THEN 'taken' END",
        globex=("SELECT pg_advisory_lock(42)",),
        why="Their numbers belong to the database, so a session sees whether a lock is taken. skilldb uses none; a "
        "test checks that.",
        shows="taken",
    ),
    harmless(
        "row locks as a probe",
        "SELECT name FROM skills WHERE id = '{theirs}' FOR UPDATE NOWAIT",
        globex=("BEGIN", "SELECT name FROM skills FOR UPDATE"),
        why="a query does not wait for the lock of a row that it cannot see",
    ),
    remains(
        "LOCK TABLE",
        "BEGIN",
        "LOCK TABLE skills IN ACCESS EXCLUSIVE MODE",
        "SELECT 'locked'",
        why="DELETE includes LOCK TABLE. Other calls wait at most their lock_timeout, and no row becomes visible.",
        shows="locked",
    ),
    remains(
        "end the work of others",
        "SELECT pg_cancel_backend(pid) FROM (SELECT pid FROM pg_stat_activity WHERE application_name = 'globex' "
        "OFFSET 0) AS s",
        globex=("SET application_name = 'globex'",),
        why="A login may cancel queries of its own sessions. They get an error, and no row becomes visible.",
        shows="True",
    ),
    refused(
        "ALTER ROLE itself",
        "ALTER ROLE skilldb_service SET app.current_tenant_id = 'globex'",
        why="only a superuser may store a setting that PostgreSQL does not know",
    ),
    refused(
        "two-phase commit",
        "BEGIN",
        "PREPARE TRANSACTION 'kept'",
        why="off by default: max_prepared_transactions is 0",
        states=("55000",),
    ),
    refused(
        "logical decoding",
        "SELECT pg_create_logical_replication_slot('spy', 'test_decoding')",
        why="the service role lacks REPLICATION",
    ),
    harmless(
        "definitions",
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint",
        "SELECT pg_get_expr(polqual, polrelid) FROM pg_policy",
        why="definitions are not secret and contain no rows",
    ),
)


def section() -> str:
    """The Markdown of the section."""
    lines = [
        HEADING,
        "",
        "A test tries each way as the service role, with one organisation set and rows of another one in the tables.",
        "`refused` names the SQLSTATE. A way that `remains` needs custom SQL that runs as the service role. No",
        "function of skilldb runs such SQL. The way is closed if the service role runs only skilldb's SQL.",
        "",
        "Migration 0001 revokes TEMPORARY on the database. Only the database's owner or a superuser can do that. A",
        "copy made with CREATE DATABASE ... TEMPLATE, or from a dump without --create, needs it again:",
        "`REVOKE TEMPORARY ON DATABASE ... FROM PUBLIC`.",
        "",
        "| way | outcome | reason |",
        "|---|---|---|",
        *(f"| {way.name} | {way.outcome} | {way.why[:1].upper()}{way.why[1:].rstrip('.')}. |" for way in WAYS),
        "",
    ]
    return "\n".join(lines)


def parts(page: str) -> tuple[str, str, str]:
    """The text before the section, the section, and the text after it."""
    before, found, rest = page.partition(HEADING)
    if not found:
        return page, "", ""
    own, following, after = rest.partition("\n## ")
    return before, found + own.rstrip("\n") + "\n", f"## {after}" if following else ""


def main() -> None:
    """Write the section into the page: replace the old one, or append it."""
    before, _, after = parts(PAGE.read_text(encoding="utf-8") if PAGE.exists() else "")
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(before + section() + ("\n" + after if after else ""), encoding="utf-8")


if __name__ == "__main__":
    main()
