"""Tries each way around the policies as the service; the outcome must be the one in the docs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

import skilldb
from skilldb import queries
from skilldb.admin import explain, migrate
from skilldb.models import NewSkill
from skilldb.repositories import skills, tenants, users
from skilldb.statement import VALUE, Statement
from tests.support import isolation
from tests.support.isolation import B
from tests.support.reliability import record
from tests.support.server import Addresses, Admin, created, direct_only
from tests.support.ways import PAGE, WAYS, Way, parts, section

pytestmark = direct_only
SECRET = "the secret of globex"
THEIRS = "globex-7"


@pytest.fixture(scope="module")
def owned(admin: Admin, template: Any) -> Iterator[Addresses]:
    """A database that belongs to the owner, as in production, with 50 skills of acme and 150 of globex."""
    dbname = f"{template.dbname}_owned"
    with created(admin.dsn("postgres"), dbname):
        addresses = admin.addresses(dbname)
        list(migrate.migrate(addresses.owner))
        with skilldb.connect(addresses.service) as db:
            for of, text, number in (("acme", "acme's own", 50), ("globex", SECRET, 150)):
                tenant = db.tenant(of)
                tenant.execute(tenants.create_tenant(of, of), users.create_user("ann@example.com", id="ann"))
                for n in range(number):
                    id = f"{of}-{n}"
                    new = NewSkill(id=id, slug=id, name=text, description=text, category=text)
                    tenant.execute(skills.create_skill(new))
        with psycopg.connect(addresses.admin, autocommit=True) as superuser:
            superuser.execute("SET session_replication_role = replica")
            for table in isolation.tables(superuser):
                if table.name not in ("tenants", "horizons", "users", "skills"):
                    values = isolation.row(table, tenant="globex", id=B, parent=B)
                    superuser.execute(isolation.insertion(table, values), values)
            superuser.execute("ANALYZE")
        yield addresses


def filled(text: str) -> bytes:
    return text.replace("{secret}", SECRET).replace("{theirs}", THEIRS).encode()


def attempt(way: Way, addresses: Addresses) -> tuple[str | None, str]:
    """The SQLSTATE of the refusal, or None, and the output as text."""
    output: list[Any] = []
    with (
        psycopg.connect(addresses.service, autocommit=True) as conn,
        psycopg.connect(addresses.service, autocommit=True) as other,
    ):
        conn.add_notice_handler(lambda notice: output.append(notice.message_primary))
        conn.add_notify_handler(lambda notify: output.append(notify.payload))
        for statements, on, tenant in (
            (way.before, conn, "globex"),
            (way.globex, other, "globex"),
            (way.tried, conn, "acme"),
        ):
            output.clear()
            on.execute("SELECT set_config('app.current_tenant_id', %s, false)", (tenant,))
            for statement in statements:
                try:
                    if " STDOUT" in statement or " STDIN" in statement:
                        with conn.cursor().copy(filled(statement)) as copy:
                            output += [bytes(row).decode() for row in copy]
                    else:
                        cursor = on.execute(filled(statement))
                        output += cursor.fetchall() if cursor.description else []
                except psycopg.Error as error:
                    if on is not conn or statement is not statements[-1]:
                        raise
                    return error.sqlstate, f"{error} {error.diag.message_detail} {output}"
    return None, str(output)


def wrong(way: Way, addresses: Addresses) -> str:
    """The difference between the actual and the expected outcome; empty if there is none."""
    state, output = attempt(way, addresses)
    hidden = SECRET, filled(way.hides).decode()
    shown = filled(way.shows).decode() in output if way.shows else not any(text in output for text in hidden)
    refused = state in way.states if way.states else state is None
    return "" if shown and refused else f"{way.name}: {state} {output}"


@pytest.mark.torture
def test_every_way_around_the_policies_has_the_documented_outcome(owned: Addresses) -> None:
    found = [difference for way in WAYS if (difference := wrong(way, owned))]
    assert found == []
    outcomes = [way.outcome.partition(" ")[0] for way in WAYS]
    record(
        "Every known way around PostgreSQL's policies is refused, harmless, or documented as remaining",
        tested="each way is tried as the service role with an organisation set; docs/tenancy.md lists them",
        ablation="row-level security is disabled; TEMPORARY is granted; CREATE and REFERENCES are granted; a sequence "
        "exists",
        figures={outcome: outcomes.count(outcome) for outcome in ("refused", "harmless", "remains")},
    )


@pytest.mark.parametrize(
    ("broken", "repaired", "noticed"),
    [
        (
            "ALTER TABLE skills DISABLE ROW LEVEL SECURITY",
            "ALTER TABLE skills ENABLE ROW LEVEL SECURITY",
            {"SET row_security = off", "COPY a table out", "pg_stats", "another search_path", "a DO block"},
        ),
        *(
            (
                f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
                f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
                {"all tables at once"},
            )
            for table in ("ratings", "usage_events", "tenants")
        ),
        (
            "CREATE SEQUENCE public.ids; SELECT nextval('public.ids'); GRANT SELECT ON public.ids TO skilldb_app",
            "DROP SEQUENCE public.ids",
            {"sequences"},
        ),
        (
            "ALTER TABLE users DISABLE ROW LEVEL SECURITY",
            "ALTER TABLE users ENABLE ROW LEVEL SECURITY",
            {"an error's DETAIL", "all tables at once"},
        ),
        (
            "GRANT TEMPORARY ON DATABASE {db} TO PUBLIC",
            "REVOKE TEMPORARY ON DATABASE {db} FROM PUBLIC",
            {"a temporary table kept across tenants", "a temporary view", "a cheap function that shows its argument"},
        ),
        (
            "GRANT CREATE ON SCHEMA public TO skilldb_app; GRANT REFERENCES ON skills TO skilldb_app",
            "REVOKE CREATE ON SCHEMA public FROM skilldb_app; REVOKE REFERENCES ON skills FROM skilldb_app",
            {"a view", "a function SECURITY DEFINER", "a table that refers to skills"},
        ),
    ],
)
def test_a_way_that_opens_is_noticed(owned: Addresses, broken: str, repaired: str, noticed: set[str]) -> None:
    with psycopg.connect(owned.admin, autocommit=True) as conn:
        conn.execute(broken.format(db=conn.info.dbname).encode())
        try:
            found = {way.name for way in WAYS if wrong(way, owned)}
        finally:
            conn.execute("DROP OWNED BY skilldb_service")
            conn.execute(repaired.format(db=conn.info.dbname).encode())
    assert noticed <= found


def test_the_docs_list_the_ways_as_they_were_tried() -> None:
    assert parts(PAGE.read_text(encoding="utf-8"))[1] == section(), "python -m tests.support.ways writes the section"


def test_no_query_uses_what_remains() -> None:
    remaining = r"\b(CURSOR|HOLD|TEMP|TEMPORARY|LISTEN|NOTIFY|PREPARE|pg_notify|pg_\w*advisory\w*|lo_\w+)\b"
    texts = {name: query.sql.decode() for name, query in queries.load_all().items() if not explain.is_owners(query)}
    assert [name for name, text in texts.items() if re.search(remaining, text, re.IGNORECASE)] == []


def test_no_value_is_in_the_text_of_a_query(owned: Addresses) -> None:
    """Other sessions of the login see the query's name and its placeholders in pg_stat_activity, prepared or not."""
    query = "SELECT query FROM pg_stat_activity WHERE application_name = 'watched'"
    parsed = queries.parse(f"-- name: watched()\n{query};", "test")
    with (
        skilldb.connect(owned.service, max_size=1, application_name="watched") as db,
        skilldb.connect(owned.service) as other,
    ):
        for _ in range(7):
            assert db.tenant("globex").execute(skills.get_skill(THEIRS)) is not None
            text = other.tenant("acme").execute(Statement(VALUE, parsed["watched"]()))
            assert "skills.get_skill" in text
            assert THEIRS not in text
            assert "globex" not in text
