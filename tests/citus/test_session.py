"""Tests what a service gets from a cluster: answers, errors, limits, outcomes, and its own organisation alone."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Iterator

import psycopg
import pytest

import skilldb
from skilldb.errors import (
    AlreadyExistsError,
    ConnectionLostError,
    DatabaseUnavailableError,
    InvalidValueError,
    LockTimeoutError,
    NotFoundError,
    PermissionDeniedError,
    StatementTimeoutError,
)
from skilldb.repositories import metrics, skills, tenants, users
from skilldb.settings import SET_TENANT
from tests.support.api import APIS, Api, ask, created_once, new_user, opened, pool_of
from tests.support.cluster import Cluster
from tests.support.database import until
from tests.support.server import Addresses
from tests.support.waits import ended, started

USE = metrics.increment_skill_uses("s1")
SLOW = ask("SELECT pg_sleep(20)::text FROM users WHERE tenant_id = %(tenant_id)s")
USES = ask("SELECT total_uses FROM skills WHERE tenant_id = %(tenant_id)s AND id = 's1'")
PID = ask("SELECT pg_backend_pid()")


@pytest.fixture(params=["blocking", "async"])
def api(request: pytest.FixtureRequest, addresses: Addresses) -> Iterator[Callable[[str], Api]]:
    with opened(request.param, addresses.service, max_size=1) as tenant:
        yield created_once(tenant)


@pytest.fixture
def acme(api: Callable[[str], Api]) -> Api:
    """An organisation with the user ann and the skill s1."""
    tenant = api("acme")
    new_user(tenant, "ann")
    add_skill(tenant, "s1")
    return tenant


def shard(cluster: Cluster, dbname: str, table: str, tenant_id: str) -> tuple[int, str]:
    """The node that holds a tenant's rows of the table, and the table's name there."""
    number = f"get_shard_id_for_distribution_column('{table}', '{tenant_id}')"
    ((port, number),) = cluster.run(0, dbname, f"SELECT nodeport, shardid FROM citus_shards WHERE shardid = {number}")
    node = 1 + [port_of for _, port_of in cluster.workers].index(port)
    return node, f"{table}_{number}"


def add_skill(tenant: Api, id: str, name: str = "Skill", slug: str | None = None) -> None:
    """A skill, by one plain INSERT: these tests are about calls, not about the queries of the repositories."""
    tenant.execute(
        ask(
            "INSERT INTO skills (tenant_id, id, name, slug, description, category) "
            "VALUES (%(tenant_id)s, %(id)s, %(name)s, %(slug)s, 'd', 'c') RETURNING id",
            id=id,
            name=name,
            slug=slug or id,
        ),
    )


# Answers


def test_organisations_read_what_they_wrote(api: Callable[[str], Api], acme: Api) -> None:
    globex = api("globex")
    for _ in range(8):  # Prepared, too.
        assert acme.execute(skills.get_skill("s1")).name == "Skill"
        assert globex.execute(skills.get_skill("s1")) is None
        assert [each.id for each in acme.execute(skills.list_skills()).items] == ["s1"]
        assert acme.execute(users.get_user("ann")).id == "ann"
        assert acme.execute(tenants.get_tenant()).id == "acme"
    assert [acme.execute(USE) for _ in range(8)] == [*range(1, 9)]
    assert acme.execute(USES, USE, USES) == (8, 9, 9)


def test_without_the_extension_known_nothing_is_found(acme: Api, addresses: Addresses) -> None:
    """What a service would get that sends its calls as to plain PostgreSQL."""
    with psycopg.connect(addresses.service) as conn:
        conn.execute("SELECT set_config('citus.propagate_set_commands', 'local', true)")
        conn.execute(SET_TENANT, {"tenant_id": "acme"})
        assert conn.execute("SELECT id FROM skills WHERE tenant_id = 'acme'").fetchall() == []


def test_a_call_of_many_steps_and_much_text_is_answered(acme: Api) -> None:
    long = "x" * 2_000_000
    change = ask("UPDATE skills SET description = %(text)s WHERE tenant_id = %(tenant_id)s RETURNING id", text=long)
    assert acme.execute(change, skills.get_skill("s1"))[1].description == long
    assert acme.execute(*[USE] * 200) == tuple(range(1, 201))


def test_a_transaction_commits_or_rolls_back(acme: Api, addresses: Addresses) -> None:
    with skilldb.connect(addresses.service, max_size=1) as database:
        tenant = database.tenant("acme")
        for number in range(8):
            with tenant.transaction() as tx:
                assert tx.execute(USE) == number + 1
                assert tx.execute(USES) == number + 1
            with pytest.raises(ZeroDivisionError), tenant.transaction() as tx:  # noqa: PT012
                tx.execute(USE)
                raise ZeroDivisionError
            with pytest.raises(NotFoundError), tenant.transaction() as tx:  # noqa: PT012
                tx.execute(USE)
                tx.execute(metrics.increment_skill_uses("none"))
        assert tenant.execute(USES) == 8


def test_organisations_are_found_by_their_slugs(addresses: Addresses) -> None:
    with skilldb.connect(addresses.service, max_size=1) as database:
        for number, slug in enumerate(slugs := ["acme", "a'b", "c\\d", "%s", "e; f", "g\nh"]):
            database.tenant(f"t{number}").execute(tenants.create_tenant("Name", slug))
        for _ in range(8):
            for number, slug in enumerate(slugs):
                found = database.find_tenant(slug)
                assert found is not None
                assert found.id == f"t{number}"
            assert database.find_tenant("' OR true --") is None


# Tenant ids


@APIS
def test_organisations_of_any_name_are_kept_apart(api: str, addresses: Addresses) -> None:
    chosen = random.Random(16)
    alphabet = "ab'\"\\;$%-/*\n\r\tE0é😀\u202e"
    names = ["'", "\\", "\\'", "a'; DROP TABLE skills; --", "a\nb", ";", "$$", "%s", "-- a", "'" * 255, "\\" * 255]
    names += ["x'; SET LOCAL app.current_tenant_id = 'acme", "x' ; COMMIT; --"]
    names += [text for _ in range(40) if (text := "".join(chosen.choices(alphabet, k=chosen.randint(1, 40))).strip())]
    names = [name for name in dict.fromkeys(names) if unicodedata.is_normalized("NFC", name)]
    with opened(api, addresses.service) as tenant:
        for number, name in enumerate(names):
            tenant(name).execute(tenants.create_tenant(f"Name {number}", f"slug-{number}"))
            add_skill(tenant(name), "s1", name=f"of {number}")
        for number, name in enumerate(names):
            assert tenant(name).execute(skills.get_skill("s1")).name == f"of {number}"
            assert tenant(name).execute(ask("SELECT count(*) FROM skills WHERE tenant_id = %(tenant_id)s")) == 1
            assert tenant(name).execute(tenants.get_tenant()).id == name


# Names and limits on the workers


def test_the_workers_have_the_settings_of_the_call(
    acme: Api, addresses: Addresses, cluster: Cluster, distributed: str
) -> None:
    expected = {
        "search_path": "pg_catalog, public, pg_temp",
        "DateStyle": "ISO, MDY",
        "array_nulls": "on",
        "row_security": "on",
        "standard_conforming_strings": "on",
        "statement_timeout": "5s",
        "lock_timeout": "4s",
        "app.current_tenant_id": "acme",
        "app.current_tenant_slug": "",
    }
    others = {
        "search_path": "evil",
        "DateStyle": "'German, DMY'",
        "array_nulls": "off",
        "row_security": "off",
        "standard_conforming_strings": "off",
        "statement_timeout": "'77s'",
        "lock_timeout": "'66s'",
        "app.current_tenant_slug": "globex",
    }
    listed = ", ".join(f"current_setting('{name}')" for name in expected)
    shown = ask(f"SELECT ARRAY[{listed}, inet_server_port()::text] FROM users WHERE tenant_id = %(tenant_id)s")
    role = f"ALTER ROLE skilldb_service IN DATABASE {distributed}"
    node, _ = shard(cluster, distributed, "users", "acme")
    for number in (1, 2):
        cluster.run(number, distributed, *(f"{role} SET {name} = {value}" for name, value in others.items()))
    try:
        with skilldb.connect(addresses.service, statement_timeout=5, lock_timeout=4) as database:
            for _ in range(8):
                *found, port = database.tenant("acme").execute(shown)
                # A relative path: the order of the days is kept from the worker's own setting.
                found[1] = found[1].replace("DMY", "MDY")
                assert found == list(expected.values())
                assert int(port) == cluster.workers[node - 1][1]
    finally:
        for number in (1, 2):
            cluster.run(number, distributed, f"{role} RESET ALL")


@APIS
def test_the_limits_end_a_call_and_nothing_is_written(api: str, addresses: Addresses) -> None:
    with opened(api, addresses.service, max_size=1, statement_timeout=1, lock_timeout=0.3) as tenant:
        tenant("acme").execute(tenants.create_tenant("Acme", "acme"))
        new_user(tenant("acme"), "ann")
        add_skill(tenant("acme"), "s1")
        execute = tenant("acme").execute
        pid = execute(PID)
        with pytest.raises(StatementTimeoutError) as ended_by:
            execute(USE, SLOW)
        assert ended_by.value.outcome == "not applied"
        with skilldb.connect(addresses.service) as other, other.tenant("acme").transaction() as tx:
            tx.execute(USE)
            with pytest.raises(LockTimeoutError) as raised:
                execute(USE)
            assert raised.value.outcome == "not applied"
        assert execute(PID, USES) == (pid, 1)


# Errors


def test_errors_are_those_of_one_server(api: Callable[[str], Api], acme: Api) -> None:
    with pytest.raises(NotFoundError, match=r"^skill 'none' does not exist$"):
        acme.execute(USE, metrics.increment_skill_uses("none"))
    with pytest.raises(AlreadyExistsError, match=r"^slug 's1' is already taken$"):
        add_skill(acme, "s2", slug="s1")
    with pytest.raises(AlreadyExistsError, match=r"^id 's1' is already taken$"):
        add_skill(acme, "s1", slug="s2")
    with pytest.raises(AlreadyExistsError, match=r"^email 'ann@example.com' is already taken$"):
        acme.execute(USE, users.create_user("ann@example.com"))
    with pytest.raises(AlreadyExistsError, match=r"^tenant_id 'acme' is already taken$"):
        acme.execute(tenants.create_tenant("Other", "other"))
    with pytest.raises(AlreadyExistsError, match=r"^slug 'acme' is already taken$"):
        api("third").execute(tenants.update_tenant({"slug": "acme"}))
    author = ask("UPDATE skills SET author_id = %(author_id)s WHERE tenant_id = %(tenant_id)s", author_id="nobody")
    with pytest.raises(NotFoundError, match=r"^user 'nobody' does not exist$"):
        acme.execute(USE, author)
    status = ask("UPDATE skills SET status = %(status)s WHERE tenant_id = %(tenant_id)s", status="gone")
    with pytest.raises(
        InvalidValueError, match=r"^status 'gone' is not allowed \(constraint status_check of domain skills_status\)$"
    ):
        acme.execute(USE, status)
    name = ask("UPDATE skills SET name = %(name)s WHERE tenant_id = %(tenant_id)s", name=None)
    with pytest.raises(InvalidValueError, match=r"^name must not be None$"):
        acme.execute(USE, name)
    with pytest.raises(PermissionDeniedError, match=r"^permission denied for table skills$"):
        acme.execute(USE, ask("UPDATE skills SET created_at = NULL WHERE tenant_id = %(tenant_id)s"))
    assert acme.execute(USES) == 0


@pytest.mark.parametrize("node", [0, 1, 2])
def test_no_foreign_row_is_seen_or_written_through_any_node(
    node: int, api: Callable[[str], Api], acme: Api, cluster: Cluster, distributed: str
) -> None:
    globex = api("globex")
    new_user(globex, "bob")
    add_skill(globex, "s9")
    with skilldb.connect(cluster.addresses(distributed, node).service, max_size=1) as database:
        there = database.tenant("acme")
        assert there.execute(USES) == 0
        assert there.execute(ask("SELECT count(*) FROM skills")) == 1
        assert there.execute(ask("SELECT count(*) FROM skills WHERE tenant_id = 'globex'")) == 0
        assert there.execute(ask("DELETE FROM skills WHERE tenant_id = 'globex' RETURNING id")) is None
        with pytest.raises(PermissionDeniedError, match="row-level security"):
            there.execute(ask("INSERT INTO users (tenant_id, id, email) VALUES ('globex', 'x', 'x') RETURNING id"))
    with psycopg.connect(cluster.addresses(distributed, node).service) as conn:
        assert conn.execute("SELECT count(*) FROM skills").fetchall() == [(0,)]
    assert globex.execute(skills.get_skill("s9")).id == "s9"


# Outcomes


def test_a_worker_that_ends_a_step_leaves_nothing_written(
    acme: Api, addresses: Addresses, cluster: Cluster, distributed: str
) -> None:
    node, _ = shard(cluster, distributed, "skills", "acme")
    busy = "FROM pg_stat_activity WHERE usename = 'skilldb_service' AND datname = current_database()"

    def end() -> None:
        until(lambda: cluster.run(node, distributed, f"SELECT count(*) {busy} AND query ~ 'pg_sleep'") != [(0,)])
        cluster.run(node, distributed, f"SELECT pg_terminate_backend(pid, 10000) {busy}")

    ending = started(end)
    with pytest.raises(DatabaseUnavailableError) as raised:
        acme.execute(USE, SLOW)
    ended(ending)
    assert raised.value.outcome == "not applied"
    assert acme.execute(USES) == 0
    assert acme.execute(USE) == 1


@pytest.fixture
def failing_commit(cluster: Cluster, distributed: str) -> Iterator[Callable[[], None]]:
    """A function that lets a worker end its session when it commits a change of a skill of acme."""
    node, table = shard(cluster, distributed, "skills", "acme")
    manual = "SET citus.enable_manual_changes_to_shards = on; SET citus.enable_ddl_propagation = off; "

    def install() -> None:
        cluster.run(
            node,
            distributed,
            f"{manual} CREATE FUNCTION end_session() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(5); RETURN NULL; END $$; "
            "ALTER FUNCTION end_session() SECURITY DEFINER; "
            f"CREATE CONSTRAINT TRIGGER end_session AFTER UPDATE ON {table} DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION end_session()",
        )

    yield install
    cluster.run(node, distributed, f"{manual} DROP FUNCTION IF EXISTS end_session() CASCADE")


def test_a_commit_that_a_worker_does_not_confirm_leaves_the_outcome_open(
    acme: Api, failing_commit: Callable[[], None], addresses: Addresses
) -> None:
    failing_commit()
    with pytest.raises(ConnectionLostError, match="did not confirm the commit") as raised:
        acme.execute(USE)
    assert raised.value.outcome == "unknown"
    assert acme.execute(USES) == 0
    with skilldb.connect(addresses.service, max_size=1) as database:
        tenant = database.tenant("acme")
        with pytest.raises(ConnectionLostError, match="did not confirm") as raised:  # noqa: SIM117
            with tenant.transaction() as tx:
                tx.execute(USE)
        assert raised.value.outcome == "unknown"
        with tenant.transaction() as tx:
            assert tx.execute(USES) == 0
        with pool_of(database).connection() as conn:
            assert conn.session.is_cluster


def test_a_lost_connection_to_the_coordinator_leaves_the_outcome_open(
    acme: Api, addresses: Addresses, cluster: Cluster, distributed: str
) -> None:
    busy = "FROM pg_stat_activity WHERE usename = 'skilldb_service' AND query ~ 'pg_sleep' AND pid <> pg_backend_pid()"

    def end() -> None:
        until(lambda: cluster.run(0, distributed, f"SELECT count(*) {busy}") != [(0,)])
        cluster.run(0, distributed, f"SELECT pg_terminate_backend(pid, 10000) {busy}")

    ending = started(end)
    with pytest.raises(DatabaseUnavailableError) as raised:
        acme.execute(USE, SLOW)
    ended(ending)
    assert raised.value.outcome == "not applied"
    assert acme.execute(USES) == 0
