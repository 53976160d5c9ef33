"""Lists every way around the policies and its expected outcome; tests try each, docs/tenancy.md shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.support.server import CHECKOUT

PAGE = CHECKOUT / "docs" / "tenancy.md"
HEADING = "## Ways around the policies, and what becomes of each"


@dataclass(frozen=True, kw_only=True)
class Way:
    """An attempt of the service's login on a connection of its own, with the organisation acme set.

    First `before` is run on that connection, with globex set, then `globex` on another one of globex', and then
    `tried`, one statement after the other. The last is refused with one of `states`, where there are any. What they
    tell, notices, notifications and the error included, shows what it `shows` or, where that is nothing, neither
    {secret} nor what it `hides`.
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
        became = "remains" if self.shows else "refused" if self.states else "harmless"
        return f"{became} ({' or '.join(self.states)})" if self.states else became


def refused(name: str, *tried: str, states: tuple[str, ...] = ("42501",), **more: Any) -> Way:
    return Way(name=name, tried=tried, states=states, **more)


def harmless(name: str, *tried: str, **more: Any) -> Way:
    return Way(name=name, tried=tried, **more)


def remains(name: str, *tried: str, shows: str = "{secret}", **more: Any) -> Way:
    return Way(name=name, tried=tried, shows=shows, **more)


# {secret} stands for the name of a skill of globex, {theirs} for the id of a skill that only globex has.
SECRETS = "SELECT name FROM skills"
NOT_OWNER = "it owns nothing"
NO_CREATE = "it may create nothing in any schema"
NO_TEMP = "nothing temporary: migration 0001 revokes it from everybody"
NO_SUPER = "for superusers only"
UNDER = "the policies hold for whoever reads"

WAYS = (
    remains(
        "set the tenant setting",
        "SET app.current_tenant_id = 'globex'",
        SECRETS,
        why="The policies believe the setting, and the service sets it. They hold a query that forgets its tenant, not "
        "one that an attacker writes: parameters never become SQL, and no function takes a tenant or SQL.",
    ),
    refused("SET row_security = off", "SET row_security = off", SECRETS, why="an error, instead of all rows"),
    refused("SET ROLE to the owner", "SET ROLE skilldb_owner", why="not a member; connecting checks that"),
    refused("SET SESSION AUTHORIZATION", "SET SESSION AUTHORIZATION skilldb_owner", why=NO_SUPER),
    harmless("SET ROLE to the group", "SET ROLE skilldb_app", SECRETS, why="the group is subject to the policies too"),
    refused("switch triggers and keys off", "SET session_replication_role = replica", why=NO_SUPER),
    refused("disable row-level security", "ALTER TABLE skills DISABLE ROW LEVEL SECURITY", why=NOT_OWNER),
    refused("drop a policy", "DROP POLICY tenant_isolation ON skills", why=NOT_OWNER),
    refused("add a policy", "CREATE POLICY all_rows ON skills USING (true)", why=NOT_OWNER),
    refused("grant itself more", "ALTER ROLE skilldb_service BYPASSRLS", why="it lacks CREATEROLE"),
    refused("move a row to another tenant", "UPDATE skills SET tenant_id = 'globex'", why="no UPDATE on tenant_id"),
    refused(
        "insert a row for another tenant",
        "INSERT INTO users (tenant_id, email) VALUES ('globex', 'spy@example.com')",
        why="WITH CHECK",
    ),
    refused("TRUNCATE", "TRUNCATE skills CASCADE", why="never granted: no policy covers it"),
    refused("COPY from a file", "COPY users FROM '/etc/passwd'", why="no pg_read_server_files"),
    refused("COPY to a program", "COPY (SELECT name FROM skills) TO PROGRAM 'cat'", why="no pg_execute_server_program"),
    refused("COPY into a table", "COPY users FROM STDIN", why="not under row-level security", states=("0A000",)),
    harmless(
        "all tables at once",
        "DO $$ DECLARE t TEXT; r TEXT; BEGIN FOR t IN SELECT relname FROM pg_class WHERE relkind = 'r' "
        "AND relnamespace = 'public'::regnamespace AND has_any_column_privilege(oid, 'SELECT') LOOP "
        "FOR r IN EXECUTE format('SELECT row_to_json(t)::text FROM %I AS t', t) LOOP RAISE NOTICE '%', r; END LOOP; "
        "END LOOP; END $$",
        why=UNDER,
        hides="globex",
    ),
    harmless("COPY a table out", "COPY skills TO STDOUT", why="copies what can be seen"),
    refused(
        "a table that refers to skills",
        "CREATE TABLE public.probe (t TEXT, id TEXT, FOREIGN KEY (t, id) REFERENCES skills (tenant_id, id))",
        why=NO_CREATE,
    ),
    refused(
        "a function that fits better than PostgreSQL's own",
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
        "a cheap function that tells its argument",
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
        why="the policy comes before whatever is not leakproof",
    ),
    refused("a schema of its own", "CREATE SCHEMA mine", why=NO_CREATE),
    refused(
        "a table in the way, by search_path",
        "SET search_path = pg_temp, public",
        "CREATE TABLE pg_temp.skills ()",
        why=NO_TEMP,
    ),
    harmless(
        "another search_path",
        "SET search_path = information_schema, pg_catalog, public",
        SECRETS,
        why="a policy names its table, its function and its operator by oid",
    ),
    harmless(
        "a prepared statement kept across tenants",
        "EXECUTE kept",
        before=("PREPARE kept AS SELECT name FROM skills", *("EXECUTE kept",) * 7),
        why="the setting is read whenever it runs",
    ),
    remains(
        "a cursor WITH HOLD kept across tenants",
        "FETCH ALL FROM kept",
        before=("DECLARE kept CURSOR WITH HOLD FOR SELECT name FROM skills",),
        why="Its rows were read for the former tenant. No query of sql/ declares a cursor, which a test checks.",
    ),
    harmless(
        "sequences",
        "SELECT format('there is %s', sequencename) FROM pg_sequences",
        why="there is none: ids are random",
        hides="there is",
    ),
    refused(
        "a foreign key as a probe",
        "INSERT INTO ratings (tenant_id, user_id, skill_id, rating) VALUES ('acme', 'ann', '{theirs}', 5)",
        why="keys are composite: as for an id that nobody has",
        states=("23503",),
    ),
    harmless(
        "a unique key as a probe",
        "INSERT INTO skills (tenant_id, id, name, slug, description, category) "
        "VALUES ('acme', '{theirs}', '', '{theirs}', '', '')",
        "DELETE FROM skills WHERE tenant_id = 'acme' AND id = '{theirs}' RETURNING id, name",
        why="keys begin with the tenant: the id and the slug are free",
    ),
    remains(
        "tenants.slug as a probe",
        "SET app.current_tenant_id = 'new'",
        "INSERT INTO tenants (id, name, slug) VALUES ('new', '', 'globex')",
        why="The slug of an organisation is unique among all: a new one learns that a name is taken, though not whose. "
        "Let only those create organisations who may know.",
        shows="tenants_slug_key",
        states=("23505",),
    ),
    refused(
        "an error's DETAIL",
        "INSERT INTO users (tenant_id, id, email) VALUES ('acme', 'ann', 'ann@example.com')",
        why="under row-level security PostgreSQL leaves the values out",
        states=("23505",),
        hides="(acme, ann)",
    ),
    harmless(
        "pg_stats",
        "SELECT most_common_vals::text FROM pg_stats WHERE schemaname = 'public'",
        why="hides tables with row-level security",
    ),
    refused("pg_statistic", "SELECT stavalues1::text FROM pg_statistic", why=NO_SUPER),
    refused("pg_statistic_ext_data", "SELECT stxdmcv::text FROM pg_statistic_ext_data", why=NO_SUPER),
    remains(
        "row estimates of EXPLAIN",
        "EXPLAIN SELECT FROM skills WHERE category = '{secret}'",
        why="The planner's statistics are of all rows: for a value that globex has often it expects rows. Never show "
        "an organisation a plan.",
        shows="rows=38 ",
    ),
    remains(
        "EXPLAIN ANALYZE",
        "SET enable_indexscan = off",
        "SET enable_bitmapscan = off",
        "EXPLAIN (ANALYZE, TIMING off, SUMMARY off) SELECT FROM skills",
        why="It counts the rows that the policy hid. Never show an organisation a plan, nor how long a query took.",
        shows="Rows Removed by Filter: 150",
    ),
    remains(
        "sizes and counts of tables",
        "SELECT format('about %s rows', reltuples) FROM pg_class WHERE relname = 'skills'",
        why="They are of all organisations together; so are pg_stat_user_tables and the gaps in ctid and xmin.",
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
        why="A login sees the last query of its other sessions: the text, not the parameters. No text of skilldb holds "
        "a value, which a test checks; whatever else uses the login must keep to that.",
    ),
    refused(
        "pg_stat_statements, dblink",
        "CREATE EXTENSION dblink",
        why="it may create no extension. Where one is there: grant none of its functions and views to the service",
        states=("42501", "0A000", "58P01"),
    ),
    refused("files of the server", "SELECT pg_read_file('/etc/hostname')", why=NO_SUPER),
    refused("large objects from files", "SELECT lo_import('/etc/hostname')", why=NO_SUPER),
    remains(
        "large objects",
        "SELECT convert_from(lo_get(oid), 'UTF8') FROM pg_largeobject_metadata",
        globex=("SELECT lo_from_bytea(0, convert_to('{secret}', 'UTF8'))",),
        why="They belong to the login and have no tenant. skilldb uses none, which a test checks.",
    ),
    remains(
        "LISTEN and NOTIFY",
        "SELECT 'whatever is sent arrives with an answer'",
        before=("LISTEN news",),
        globex=("NOTIFY news, '{secret}'",),
        why="Channels are the database's. skilldb uses none, which a test checks.",
    ),
    remains(
        "advisory locks",
        "SELECT CASE WHEN NOT pg_try_advisory_lock(42) THEN 'taken' END",
        globex=("SELECT pg_advisory_lock(42)",),
        why="Their numbers are the database's: one bit. skilldb uses none, which a test checks.",
        shows="taken",
    ),
    harmless(
        "row locks as a probe",
        "SELECT name FROM skills WHERE id = '{theirs}' FOR UPDATE NOWAIT",
        globex=("BEGIN", "SELECT name FROM skills FOR UPDATE"),
        why="a row that is not seen is not waited for",
    ),
    remains(
        "LOCK TABLE",
        "BEGIN",
        "LOCK TABLE skills IN ACCESS EXCLUSIVE MODE",
        "SELECT 'locked'",
        why="Who may delete may lock, for all: a delay, of no more than the others' lock_timeout, and no row is shown.",
        shows="locked",
    ),
    remains(
        "end the work of others",
        "SELECT pg_cancel_backend(pid) FROM (SELECT pid FROM pg_stat_activity WHERE application_name = 'globex' "
        "OFFSET 0) AS s",
        globex=("SET application_name = 'globex'",),
        why="A login may cancel its own sessions: an error for them, and no row is shown.",
        shows="True",
    ),
    refused(
        "ALTER ROLE itself",
        "ALTER ROLE skilldb_service SET app.current_tenant_id = 'globex'",
        why="only a superuser sets what PostgreSQL does not know as a default",
    ),
    refused("two-phase commit", "BEGIN", "PREPARE TRANSACTION 'kept'", why="off by default", states=("55000",)),
    refused(
        "logical decoding", "SELECT pg_create_logical_replication_slot('spy', 'test_decoding')", why="no REPLICATION"
    ),
    harmless(
        "definitions",
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint",
        "SELECT pg_get_expr(polqual, polrelid) FROM pg_policy",
        why="the schema is no secret, and holds no row",
    ),
)


def section() -> str:
    """The Markdown of the section."""
    lines = [
        HEADING,
        "",
        "Each was tried by a test, as the service's login on a connection of its own, with an organisation set and",
        "another one's rows to find. `refused` names the SQLSTATE. What `remains` needs SQL of one's own, run as the",
        "service: no function of skilldb leads there, and giving the service no SQL but skilldb's closes it.",
        "",
        "What migration 0001 revokes is the database's own: only its owner can revoke it, and a copy made with",
        "CREATE DATABASE ... TEMPLATE, or from a dump without --create, needs it again:",
        "`REVOKE TEMPORARY ON DATABASE ... FROM PUBLIC`.",
        "",
        "| way | what becomes of it | because |",
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
