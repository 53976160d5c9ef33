"""Tests the calls for a Citus cluster, on plain PostgreSQL: it takes the same messages, and propagates no setting.

tests/citus/ has the tests that need a cluster.
"""

from __future__ import annotations

import random
import re
import tempfile
import unicodedata
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.pq import Trace

import skilldb
from skilldb import queries
from skilldb.errors import (
    TABLES,
    AlreadyExistsError,
    ConnectionLostError,
    DatabaseUnavailableError,
    LockTimeoutError,
    NotFoundError,
    SkilldbError,
    StatementTimeoutError,
    UnsuitableSettingError,
    translate,
)
from skilldb.models import NewSkill
from skilldb.repositories import metrics, skills, tenants
from skilldb.session import set_local
from skilldb.statement import NOTHING, Statement
from tests.support.api import APIS, ask, new_skill, opened, pool_of
from tests.support.database import locked, refused, rows, until_rows
from tests.support.proxy import Fault, Proxy, through
from tests.support.server import Addresses, direct_only
from tests.support.waits import ended, started

CITUS = (
    "INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion) "
    "VALUES (1, 'citus', 10, 11, false, '13')"
)
USE = metrics.increment_skill_uses("s1")
USES = ask("SELECT total_uses FROM skills WHERE id = 's1'")
PID = ask("SELECT pg_backend_pid()")


@pytest.fixture
def addresses(addresses: Addresses) -> Addresses:
    """The addresses of a database that says of itself that it is on a cluster, with the skill s1 of acme."""
    with psycopg.connect(addresses.admin, autocommit=True) as admin:
        admin.execute(CITUS)
    with skilldb.connect(addresses.service) as database:
        acme = database.tenant("acme")
        acme.execute(tenants.create_tenant("Acme", "acme"))
        new_skill(acme, "s1")
    return addresses


def failing(sql: str) -> Statement[None]:
    return Statement(NOTHING, queries.parse(f"-- name: fail()\n{sql};", "test")["fail"]())


def sent(database: skilldb.Database, run: Callable[[], Any]) -> list[str]:
    """The SQL of the messages that the database's only connection sends, and its Syncs."""
    with tempfile.TemporaryFile() as file:
        with pool_of(database).connection() as conn:
            conn.pgconn.trace(file.fileno())
            conn.pgconn.set_trace_flags(Trace.SUPPRESS_TIMESTAMPS)
        run()
        with pool_of(database).connection() as conn:
            conn.pgconn.untrace()
        file.seek(0)
        traced = file.read().decode()
    found = []
    for message in re.split(r"^(?=[FB]\t)", traced, flags=re.MULTILINE):
        if parse := re.fullmatch(r'F\t\d+\tParse\t "" "(.*)" 0\n', message, flags=re.DOTALL):
            found.append(parse[1])
        elif re.match(r"F\t\d+\tSync", message):
            found.append("Sync")
    return found


# The messages

FIRST = [
    "SELECT pg_catalog.set_config('citus.propagate_set_commands', 'local', true), "
    "pg_catalog.set_config('client_min_messages', 'warning', true), "
    "pg_catalog.set_config('plan_cache_mode', 'auto', true)",
    "SET LOCAL standard_conforming_strings = on",
    "SET LOCAL DateStyle = ISO",
    "SET LOCAL array_nulls = on",
    "SET LOCAL row_security = on",
    'SET LOCAL search_path = pg_catalog, "public", pg_temp',
    "SET LOCAL statement_timeout = 30000",
    "SET LOCAL lock_timeout = 10000",
]
TENANT = ["SET LOCAL app.current_tenant_id = 'acme'", "SET LOCAL app.current_tenant_slug = ''"]
STEPS = ["SELECT /* test.ask */ 1", "SELECT /* test.ask */ 2"]
SLUG = ["SET LOCAL app.current_tenant_id = ''", "SET LOCAL app.current_tenant_slug = 'acme'"]


def test_a_call_sends_these_messages(addresses: Addresses) -> None:
    with skilldb.connect(addresses.service, max_size=1, prepare_threshold=None) as database:
        acme = database.tenant("acme")
        call = sent(database, lambda: acme.execute(ask("SELECT 1"), ask("SELECT 2")))
        assert call == ["BEGIN", *FIRST, *TENANT, *STEPS, "Sync", "COMMIT", "Sync"]
        found = sent(database, lambda: database.find_tenant("acme"))
        assert found[:-4] == ["BEGIN", *FIRST, *SLUG]
        assert found[-3:] == ["Sync", "COMMIT", "Sync"]

        def transact() -> None:
            with acme.transaction() as tx:
                tx.execute(ask("SELECT 1"))
                tx.execute(ask("SELECT 2"))

        # psycopg sends the COMMIT of a transaction as a simple query.
        assert sent(database, transact) == ["BEGIN", *FIRST, *TENANT, STEPS[0], "Sync", STEPS[1], "Sync"]


def test_a_plain_server_gets_one_step_before_the_statements_and_one_sync(addresses: Addresses) -> None:
    with psycopg.connect(addresses.admin, autocommit=True) as admin:
        admin.execute("DELETE FROM pg_extension WHERE extname = 'citus'")
    with skilldb.connect(addresses.service, max_size=1, prepare_threshold=None) as database:
        call = sent(database, lambda: database.tenant("acme").execute(ask("SELECT 1"), ask("SELECT 2")))
        assert call == [database._settings.begin.numbered.decode(), *STEPS, "Sync"]


@APIS
def test_a_call_sets_the_tenant_and_the_limits_for_itself_alone(api: str, addresses: Addresses) -> None:
    names = {
        "app.current_tenant_id": "acme",
        "app.current_tenant_slug": "",
        "search_path": "pg_catalog, public, pg_temp",
        "statement_timeout": "1500ms",
        "lock_timeout": "1200ms",
        "plan_cache_mode": "auto",
        "DateStyle": "ISO, MDY",
        "row_security": "on",
        "client_min_messages": "warning",
    }
    shown = ask("SELECT ARRAY[" + ", ".join(f"current_setting('{name}')" for name in names) + "]")
    with opened(api, addresses.service, max_size=1, statement_timeout=1.5, lock_timeout=1.2) as tenant:
        for _ in range(8):  # Prepared, too.
            assert tenant("acme").execute(shown) == list(names.values())
            assert tenant("globex").execute(shown)[0] == "globex"
    with psycopg.connect(addresses.service) as conn:
        assert conn.execute("SELECT current_setting('app.current_tenant_id', true)").fetchall() == [(None,)]


def test_what_differs_in_each_call_is_not_prepared(addresses: Addresses) -> None:
    with skilldb.connect(addresses.service, max_size=1) as database:
        for number in range(20):
            database.tenant(f"t{number}").execute(USES)
        with pool_of(database).connection() as conn:
            remembered = len(conn.session._runs)
            prepared = conn.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement ~ 't[0-9]'").fetchone()
        assert prepared == (0,)
        for number in range(20):
            database.tenant(f"t{number}").execute(USES)
        with pool_of(database).connection() as conn:
            assert len(conn.session._runs) == remembered


# Quoting

HOSTILE = [
    "'",
    "''",
    "\\",
    "\\'",
    "a'; DROP TABLE skills; --",
    "a\nb",
    "a;",
    ";",
    '"',
    "$$",
    "$1",
    "%s",
    "%(tenant_id)s",
    "%%",
    "/* a",
    "-- a",
    "E'a'",
    " acme ",
    "a\tb\r\n",
    "ä€😀",
    "\u2028",
    "x" * 5000,
    "'" * 255,
    "\\" * 255,
]


def random_texts(count: int) -> list[str]:
    chosen = random.Random(16)
    alphabet = "ab'\"\\;$%-/*\n\r\t\x01\x7f E0é😀\u202e"
    texts = ["".join(chosen.choices(alphabet, k=chosen.randint(1, 60))) for _ in range(count)]
    anything = ["".join(chr(chosen.choice([*range(1, 0xD800), *range(0xE000, 0x110000)])) for _ in range(40))]
    return [*texts, *anything * 3]


@pytest.mark.parametrize("strings", ["on", "off"])
def test_any_text_is_set_as_it_is_given(strings: str, addresses: Addresses) -> None:
    with psycopg.connect(addresses.service, autocommit=True) as conn, conn.transaction():
        conn.execute(f"SET LOCAL standard_conforming_strings = {strings}".encode())
        conn.execute("SET LOCAL escape_string_warning = off")
        for text in [*HOSTILE, *random_texts(2000)]:
            step = set_local(conn.pgconn, "app.current_tenant_id", text)
            conn.pgconn.exec_params(step.query.numbered, [])  # One message holds one statement.
            assert conn.execute("SELECT current_setting('app.current_tenant_id')").fetchone() == (text,)
        assert conn.execute("SELECT count(*) FROM pg_class WHERE relname = 'skills'").fetchone() == (1,)


@APIS
def test_organisations_of_any_name_work(api: str, addresses: Addresses) -> None:
    allowed = [
        text
        for text in map(str.strip, [*HOSTILE, *random_texts(20)])
        if text not in ("", "acme") and len(text.encode()) <= 255 and unicodedata.is_normalized("NFC", text)
    ]
    names = list(dict.fromkeys(allowed))
    assert len(names) > 20
    with opened(api, addresses.service) as tenant:
        for number, name in enumerate(names):
            tenant(name).execute(tenants.create_tenant(f"Name {number}", f"slug-{number}"))
            new_skill(tenant(name), "s1", name=f"of {number}")
        for number, name in enumerate(names):
            assert tenant(name).execute(skills.get_skill("s1")).name == f"of {number}"
            assert tenant(name).execute(tenants.get_tenant()).id == name


# Outcomes


@APIS
def test_an_error_undoes_the_call_and_costs_no_connection(api: str, addresses: Addresses) -> None:
    with opened(api, addresses.service, max_size=1) as tenant:
        execute = tenant("acme").execute
        pid = execute(PID)
        for _ in range(8):
            with refused(addresses, NotFoundError, "skill 'none' does not exist", cause=psycopg.Error):
                execute(USE, metrics.increment_skill_uses("none"), USE)
            with refused(addresses, AlreadyExistsError, "slug 's1' is already taken", cause=psycopg.Error):
                execute(USE, skills.create_skill(NewSkill(id="s2", name="S", slug="s1", description="", category="c")))
        assert execute(PID, USES) == (pid, 0)


@APIS
def test_a_call_is_one_round_trip_also_if_it_fails(api: str, addresses: Addresses, wire: Proxy) -> None:
    wire.pause = 0.1
    with opened(api, through(wire, addresses.service), max_size=1) as tenant:
        execute = tenant("acme").execute
        execute(USE)
        before = wire.round_trips
        execute(USE, USES)
        with pytest.raises(NotFoundError):
            execute(USE, metrics.increment_skill_uses("none"))
        long = "x" * 3_000_000
        execute(skills.update_skill("s1", {"description": long}), skills.get_skill("s1"))
        assert wire.round_trips == before + 3


@APIS
@direct_only
@pytest.mark.parametrize(
    ("fault", "outcome", "uses"),
    [
        (Fault("answer", 0, "cut"), "unknown", 1),
        (Fault("answer", 0.9, "stall"), "unknown", 1),
        (Fault("request", 0.5, "cut"), "unknown", 0),
    ],
)
def test_a_lost_connection_leaves_the_outcome_open(
    api: str, fault: Fault, outcome: str, uses: int, addresses: Addresses, wire: Proxy
) -> None:
    wire.pause = 0.1
    dsn = through(wire, addresses.service)
    with opened(api, dsn, max_size=1, timeout=0.3, statement_timeout=0.3) as tenant:
        execute = tenant("acme").execute
        execute(PID)
        wire.faults = [fault]
        with pytest.raises(ConnectionLostError) as raised:
            execute(USE)
        assert raised.value.outcome == outcome
        until_rows(addresses.admin, "SELECT total_uses FROM skills", [(uses,)])
        assert execute(USE) == uses + 1


@APIS
def test_an_ended_session_was_not_applied(api: str, addresses: Addresses) -> None:
    with opened(api, addresses.service, max_size=1) as tenant:
        execute = tenant("acme").execute
        with pytest.raises(DatabaseUnavailableError) as raised:
            execute(USE, ask("SELECT pg_terminate_backend(pg_backend_pid())"))
        assert raised.value.outcome == "not applied"
        assert execute(USE) == 1


@APIS
def test_the_error_for_a_node_that_is_away_was_not_applied(api: str, addresses: Addresses) -> None:
    away = failing("DO $$ BEGIN RAISE 'connection to the remote node w:9701 failed' USING ERRCODE = '08006'; END $$")
    with opened(api, addresses.service, max_size=1) as tenant:
        execute = tenant("acme").execute
        pid = execute(PID)
        with pytest.raises(ConnectionLostError, match="remote node") as raised:
            execute(USE, away)
        assert (raised.value.outcome, raised.value.retryable) == ("not applied", True)
        assert execute(PID, USES) == (pid, 0)


@APIS
def test_the_limits_end_a_call(api: str, addresses: Addresses) -> None:
    with opened(api, addresses.service, max_size=1, statement_timeout=0.3, lock_timeout=0.1) as tenant:
        execute = tenant("acme").execute
        pid = execute(PID)
        with refused(addresses, StatementTimeoutError, "statement timeout", cause=psycopg.Error):
            execute(USE, ask("SELECT pg_sleep(5)"))
        with locked(addresses), pytest.raises(LockTimeoutError) as raised:
            execute(USE)
        assert raised.value.outcome == "not applied"
        assert execute(PID, USE) == (pid, 1)


def test_an_interrupted_call_ends_on_the_server(addresses: Addresses) -> None:
    busy = "SELECT count(*) FROM pg_stat_activity WHERE query ~ 'pg_sleep.60' AND pid <> pg_backend_pid()"

    def cancel() -> None:
        until_rows(addresses.admin, busy, [(1,)])
        rows(addresses.admin, f"SELECT pg_cancel_backend(pid) {busy.removeprefix('SELECT count(*)')}")

    with skilldb.connect(addresses.service, max_size=1) as database:
        cancelling = started(cancel)
        with pytest.raises(StatementTimeoutError) as raised:
            database.tenant("acme").execute(USE, ask("SELECT pg_sleep(60)"))
        ended(cancelling)
        assert raised.value.outcome == "not applied"
        assert database.tenant("acme").execute(USES) == 0


def at_commit(addresses: Addresses, action: str) -> None:
    """Let the commit of a transaction that updates a skill do this."""
    with psycopg.connect(addresses.owner, autocommit=True) as owner:
        owner.execute(
            f"CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {action}; RETURN NULL; END $$; "
            "CREATE CONSTRAINT TRIGGER at_commit AFTER UPDATE ON skills DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION at_commit()".encode()
        )


WARN = "RAISE WARNING 'failed to commit transaction on 10.0.0.1:5432'"
REFUSE = "RAISE 'could not commit transaction for shard 102045 on at least one active node' USING ERRCODE = 'XX000'"


@APIS
@pytest.mark.parametrize(("action", "uses"), [(WARN, 1), (f"{WARN}; {REFUSE}", 0)])
def test_a_commit_that_a_worker_did_not_confirm_leaves_the_outcome_open(
    api: str, action: str, uses: int, addresses: Addresses
) -> None:
    at_commit(addresses, action)
    with psycopg.connect(addresses.admin, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {admin.info.dbname} SET client_min_messages = 'error'".encode())
    with opened(api, addresses.service, max_size=1) as tenant:
        execute = tenant("acme").execute
        pid = execute(PID)
        with pytest.raises(ConnectionLostError, match="did not confirm") as raised:
            execute(USE)
        assert raised.value.outcome == "unknown"
        assert execute(PID, USES) == (pid, uses)


@pytest.mark.parametrize(("action", "uses"), [(WARN, 1), (f"{WARN}; {REFUSE}", 0)])
def test_a_transaction_that_a_worker_did_not_confirm_leaves_the_outcome_open(
    action: str, uses: int, addresses: Addresses
) -> None:
    at_commit(addresses, action)
    with skilldb.connect(addresses.service, max_size=1) as database:
        with pytest.raises(ConnectionLostError, match="did not confirm") as raised:  # noqa: SIM117
            with database.tenant("acme").transaction() as tx:
                tx.execute(USE)
        assert raised.value.outcome == "unknown"
        with database.tenant("acme").transaction() as tx:
            assert tx.execute(USES) == uses


@APIS
@pytest.mark.parametrize(("code", "outcome"), [("57014", "unknown"), ("57P01", "unknown"), ("08006", "unknown")])
def test_a_commit_that_is_refused_may_have_been_applied(
    api: str, code: str, outcome: str, addresses: Addresses
) -> None:
    at_commit(addresses, f"RAISE 'on purpose' USING ERRCODE = '{code}'")
    with opened(api, addresses.service, max_size=1) as tenant:
        with pytest.raises(DatabaseUnavailableError, match="on purpose") as raised:
            tenant("acme").execute(USE)
        assert raised.value.outcome == outcome
        assert tenant("acme").execute(USES) == 0


def test_a_transaction_commits_or_rolls_back(addresses: Addresses) -> None:
    with skilldb.connect(addresses.service, max_size=1) as database:
        acme = database.tenant("acme")
        for number in range(8):
            with acme.transaction() as tx:
                assert tx.execute(USE) == number + 1
                assert tx.execute(USES) == number + 1
            with pytest.raises(ZeroDivisionError), acme.transaction() as tx:  # noqa: PT012
                tx.execute(USE)
                raise ZeroDivisionError
            with pytest.raises(NotFoundError), acme.transaction() as tx:  # noqa: PT012
                tx.execute(USE)
                tx.execute(metrics.increment_skill_uses("none"))
        assert acme.execute(USES) == 8


def test_organisations_are_found_by_their_slugs(addresses: Addresses) -> None:
    with skilldb.connect(addresses.service, max_size=1) as database:
        for number, slug in enumerate(slugs := ["a'b", "c\\d", "%s", "e; f", "g\nh"]):
            database.tenant(f"t{number}").execute(tenants.create_tenant("Name", slug))
        for _ in range(8):
            for number, slug in enumerate(slugs):
                found = database.find_tenant(slug)
                assert found is not None
                assert found.id == f"t{number}"
            assert database.find_tenant("' OR true --") is None


def test_a_database_that_was_hardened_before_citus_came_is_refused(addresses: Addresses) -> None:
    with psycopg.connect(addresses.admin, autocommit=True) as admin:
        harden = queries.load("admin/harden")
        for step in (
            "create_setter_role",
            "create_setter_schema",
            "create_setter",
            "grant_setter_schema",
            "revoke_set_config",
        ):
            admin.execute(harden[step].sql)
    with (
        pytest.raises(UnsuitableSettingError, match="GRANT EXECUTE ON FUNCTION"),
        skilldb.connect(addresses.service) as database,
    ):
        database.tenant("acme").execute(USES)


# Errors


def constraints(addresses: Addresses) -> list[tuple[str, str, str]]:
    return rows(
        addresses.admin,
        "SELECT c.conname, c.contype::text, coalesce(r.relname, t.typname) FROM pg_constraint AS c "
        "LEFT JOIN pg_class AS r ON r.oid = c.conrelid LEFT JOIN pg_type AS t ON t.oid = c.contypid "
        "WHERE c.connamespace = 'public'::regnamespace AND c.contype IN ('c', 'f', 'p', 'u') "
        "AND coalesce(r.relname, '') !~ 'yoyo'",
    )


def raised(conn: psycopg.Connection[Any], code: str, message: str, **fields: str) -> psycopg.Error:
    """The error that PostgreSQL raises with this message and these fields."""
    using = "".join(f", {field} = '{value}'" for field, value in fields.items())
    with pytest.raises(psycopg.Error) as caught:
        conn.execute(f"DO $$ BEGIN RAISE '%', '{message}' USING ERRCODE = '{code}'{using}; END $$".encode())
    return caught.value


def test_every_constraint_has_the_same_error_without_the_fields(addresses: Addresses) -> None:
    params = {"slug": "a", "skill_id": "s", "email": "e", "rating": 9}
    kinds = {
        "c": ("23514", 'new row for relation "{table}{shard}" violates check constraint "{name}{shard}"'),
        "f": ("23503", 'insert or update on table "{table}{shard}" violates foreign key constraint "{name}{shard}"'),
        "p": ("23505", 'duplicate key value violates unique constraint "{name}{shard}"'),
        "u": ("23505", 'duplicate key value violates unique constraint "{name}{shard}"'),
    }
    found = constraints(addresses)
    assert len(found) > 100
    with psycopg.connect(addresses.admin, autocommit=True) as conn:
        for name, kind, table in found:
            code, message = kinds[kind]
            fields = {"table": table, "constraint": name}
            if table.startswith("skills_"):
                message, fields = (
                    'value for domain {table} violates check constraint "{name}"',
                    {"datatype": table, "constraint": name},
                )
            plain = raised(conn, code, message.format(table=table, name=name, shard=""), **fields)
            expected = translate(plain, params)
            for shard in ("_102029", "_1020291", ""):
                bare = raised(conn, code, message.format(table=table, name=name, shard=shard))
                there = translate(bare, params)
                assert (type(there), str(there)) == (type(expected), str(expected))


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        (
            "23503",
            'update or delete on table "users_102010" violates foreign key constraint '
            '"skills_author_fk_102030" on table "skills_102030"',
            "user_id='u' is still referenced by skills (constraint skills_author_fk)",
        ),
        (
            "23502",
            'null value in column "name" of relation "skills_102010" violates not-null constraint',
            "name must not be None",
        ),
        ("42501", "permission denied for table skills_102081", "permission denied for table skills"),
        (
            "42501",
            'new row violates row-level security policy for table "skill_versions_102081"',
            'new row violates row-level security policy for table "skill_versions"',
        ),
        (
            "54000",
            'index row size 2712 exceeds btree version 4 maximum 2704 for index "skills_slug_key_102081"',
            "index row size 2712 exceeds btree version 4 maximum 2704 for index \"skills_slug_key\" (user_id='u')",
        ),
        # The caller's own words stay.
        ("P0002", "skill 'skills_123456' does not exist", "skill 'skills_123456' does not exist"),
    ],
)
def test_a_message_names_no_shard(code: str, message: str, expected: str, addresses: Addresses) -> None:
    with psycopg.connect(addresses.admin, autocommit=True) as conn:
        error = translate(raised(conn, code, message.replace("'", "''")), {"user_id": "u"})
    assert isinstance(error, SkilldbError)
    assert str(error) == expected


def test_the_tables_are_known_by_name(addresses: Addresses) -> None:
    present = {
        name
        for (name,) in rows(
            addresses.admin,
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace "
            "AND relname !~ 'yoyo'",
        )
    }
    assert present <= set(TABLES)
    assert [(a, b) for a in TABLES for b in TABLES if b.startswith(f"{a}_")] == []


def test_no_name_is_cut_on_a_shard(addresses: Addresses) -> None:
    """A longer name would get a hash in its middle, because PostgreSQL's names have 63 bytes at most."""
    assert [name for name, _, _ in constraints(addresses) if len(name) > 63 - len("_102008000")] == []
