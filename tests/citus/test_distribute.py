"""Tests `skilldb distribute` on a cluster: rows are kept, it can be run again, and every node gets the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

import skilldb
from skilldb import cli, queries
from skilldb.admin import distribute, isolation, migrate
from skilldb.admin.distribute import DistributionError
from skilldb.dev.seed import seed
from skilldb.repositories import skills, tenants
from tests.support import cluster as clusters
from tests.support.api import ask
from tests.support.cluster import Cluster
from tests.support.server import RUN, Addresses

TABLES = (
    "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace "
    "AND relname !~ 'yoyo' ORDER BY relname"
)


@contextmanager
def migrated(cluster: Cluster, what: str, **more: Any) -> Iterator[Addresses]:
    """A migrated database on the cluster that is not distributed."""
    with clusters.database(cluster, f"skilldb_citus_{what}_{RUN}", **more) as dbname:
        found = cluster.addresses(dbname)
        list(migrate.migrate(found.owner))
        yield found


def contents(dsn: str) -> dict[str, list[tuple[Any, ...]]]:
    """All rows, by table, and the foreign keys."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        names = [name for (name,) in conn.execute(TABLES.encode())]
        found: dict[str, list[tuple[Any, ...]]] = {
            name: sorted(conn.execute(f"SELECT to_jsonb(t)::text FROM {name} AS t".encode())) for name in names
        }
        found["keys"] = conn.execute(
            "SELECT conrelid::regclass::text, conname::text, pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE contype = 'f' AND connamespace = 'public'::regnamespace ORDER BY 1, 2"
        ).fetchall()
    return found


def placed(dsn: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as conn:
        return conn.execute(
            "SELECT logicalrelid::text, partmethod::text, colocationid FROM pg_dist_partition ORDER BY 1"
        ).fetchall()


def grants(cluster: Cluster, dsn: str, node: int) -> dict[str, str]:
    """Who may do what with the tables, columns and functions, and with the database, on a node."""
    dbname = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    rows = cluster.run(
        node,
        str(dbname),
        "SELECT 'function ' || oid::regprocedure, proacl::text FROM pg_proc "
        "WHERE pronamespace = 'public'::regnamespace "
        "UNION ALL SELECT 'table ' || relname, relacl::text FROM pg_class WHERE relkind = 'r' "
        "AND relnamespace = 'public'::regnamespace AND relname !~ 'yoyo|_[0-9]{6,}$' "
        "UNION ALL SELECT 'column ' || c.relname || '.' || a.attname, a.attacl::text FROM pg_attribute AS a "
        "INNER JOIN pg_class AS c ON c.oid = a.attrelid WHERE c.relkind = 'r' AND a.attnum > 0 "
        "AND c.relnamespace = 'public'::regnamespace AND c.relname !~ 'yoyo|_[0-9]{6,}$' "
        "UNION ALL SELECT 'database', array_remove(datacl, NULL)::text FROM pg_database "
        "WHERE datname = current_database()",
    )
    return dict(rows)


def check_service(addresses: Addresses, names: tuple[str, ...] = ("acme", "globex")) -> None:
    """The service reads each organisation's own rows, and writes."""
    with skilldb.connect(addresses.service, max_size=1) as database:
        for name in names:
            tenant = database.tenant(name)
            own = ask("SELECT count(*) FILTER (WHERE tenant_id <> %(tenant_id)s) FROM skills")
            assert tenant.execute(ask("SELECT count(*) FROM skills WHERE tenant_id = %(tenant_id)s")) > 0
            assert tenant.execute(own) == 0
            assert tenant.execute(skills.list_skills()).items != []


@pytest.fixture(scope="module")
def seeded(cluster: Cluster) -> Iterator[Addresses]:
    """A distributed database with the example data, which was there before."""
    with migrated(cluster, "seeded") as found:
        with skilldb.connect(found.service) as database:
            list(seed(database))
        before = contents(found.admin)
        planned = distribute.plan(found.owner, shards=4)
        assert contents(found.admin) == before
        assert placed(found.admin) == []
        assert distribute.distribute(found.owner, shards=4) == planned
        assert contents(found.admin) == before
        yield found


def test_every_table_is_distributed_and_rows_and_keys_are_kept(seeded: Addresses) -> None:
    found = placed(seeded.admin)
    with psycopg.connect(seeded.admin, autocommit=True) as conn:
        names = [name for (name,) in conn.execute(TABLES.encode())]
        # The rows of before are not on the coordinator's disk any more.
        sizes = conn.execute(
            "SELECT sum(pg_relation_size(c.oid)) FROM pg_class AS c "
            "INNER JOIN pg_dist_partition AS p ON p.logicalrelid = c.oid"
        ).fetchall()
    assert [name for name, _, _ in found] == names
    assert [name for name, method, _ in found if method == "n"] == ["tenants"]
    assert len({colocation for name, _, colocation in found if name != "tenants"}) == 1
    assert sizes == [(0,)]
    check_service(seeded)


def test_it_can_be_run_again(seeded: Addresses, cluster: Cluster) -> None:
    before = contents(seeded.admin), placed(seeded.admin), [grants(cluster, seeded.admin, node) for node in range(3)]
    again = distribute.distribute(seeded.owner)
    assert [each for each in again if not each.startswith(("SET LOCAL", "REVOKE", "GRANT"))] == []
    after = contents(seeded.admin), placed(seeded.admin), [grants(cluster, seeded.admin, node) for node in range(3)]
    assert after == before
    with skilldb.connect(seeded.service) as database:  # Services may go on.
        database.tenant("acme").execute(tenants.get_tenant())
        distribute.distribute(seeded.owner)


def test_every_node_has_the_same_grants(seeded: Addresses, cluster: Cluster) -> None:
    here, *others = [grants(cluster, seeded.admin, node) for node in range(3)]
    assert "skilldb_app=a" in here["column skills.total_uses"]
    assert others == [here, here]
    with psycopg.connect(seeded.service, autocommit=True) as conn:
        assert isolation.privileges(conn) == []


def test_a_new_table_is_distributed_with_the_others(cluster: Cluster) -> None:
    with migrated(cluster, "table") as found:
        distribute.distribute(found.owner, shards=2)
        with psycopg.connect(found.owner, autocommit=True) as conn:
            conn.execute("CREATE TABLE notes (tenant_id text, id text, PRIMARY KEY (tenant_id, id))")
            conn.execute("INSERT INTO notes VALUES ('acme', 'n1')")
        again = distribute.distribute(found.owner)
        assert [each for each in again if "notes" in each] == [
            "SELECT create_distributed_table('notes', 'tenant_id', colocate_with => 'benchmark_results')",
            "SELECT truncate_local_data_after_distributing_table('notes')",
        ]
        tables = {name: colocation for name, method, colocation in placed(found.admin) if method == "h"}
        assert tables["notes"] == tables["skills"]
        assert contents(found.admin)["notes"] == [('{"id": "n1", "tenant_id": "acme"}',)]


def test_a_database_that_got_citus_after_its_migrations_and_rows(cluster: Cluster) -> None:
    dbname = f"skilldb_citus_late_{RUN}"
    with clusters.database(cluster, dbname, workers=0):
        found = cluster.addresses(dbname)
        cluster.run(0, dbname, "DROP EXTENSION citus CASCADE")
        list(migrate.migrate(found.owner))
        with skilldb.connect(found.service) as database:
            list(seed(database))
        before = contents(found.admin)
        with pytest.raises(DistributionError, match="not on a Citus cluster"):
            distribute.distribute(found.owner)
        clusters.install(cluster, dbname)
        with pytest.raises(DistributionError, match=r"no worker.*citus_add_node"):
            distribute.distribute(found.owner)
        for number in (0, 1):
            clusters.add_worker(cluster, dbname, number)
        distribute.distribute(found.owner, shards=2)
        assert contents(found.admin) == before
        functions = {name: acl for name, acl in grants(cluster, found.admin, 0).items() if name.startswith("function")}
        assert len(functions) > 10
        for node in (1, 2):
            there = grants(cluster, found.admin, node)
            assert {name: there.get(name) for name in functions} == functions
        check_service(found)


def test_a_node_that_is_added_later_gets_the_same_and_takes_shards(cluster: Cluster) -> None:
    with migrated(cluster, "node", workers=1) as found:
        dbname = str(psycopg.conninfo.conninfo_to_dict(found.admin)["dbname"])
        with skilldb.connect(found.service) as database:
            list(seed(database))
        distribute.distribute(found.owner, shards=2)
        before = contents(found.admin)
        cluster.run(2, dbname, f"GRANT TEMPORARY ON DATABASE {dbname} TO PUBLIC")
        clusters.add_worker(cluster, dbname, 1)
        distribute.distribute(found.owner)
        assert grants(cluster, found.admin, 2) == grants(cluster, found.admin, 0)
        (old_host, old_port), (host, port) = cluster.workers[:2]
        moves = (
            f"SELECT citus_move_shard_placement(get_shard_id_for_distribution_column('skills', '{name}'), "
            f"'{old_host}', {old_port}, '{host}', {port}, 'block_writes')"
            for name in ("acme",)
        )
        cluster.run(0, dbname, "SELECT replicate_reference_tables('block_writes')", *moves)
        assert contents(found.admin) == before
        check_service(found)


# Refusals


def test_connected_services_are_named_before_the_first_time(cluster: Cluster) -> None:
    with migrated(cluster, "busy") as found:
        with skilldb.connect(found.service, max_size=1) as database:
            database.tenant("acme").execute(tenants.get_tenant())
            with pytest.raises(DistributionError, match=r"services are connected \(1 of skilldb_service\)"):
                distribute.distribute(found.owner)
            assert distribute.plan(found.owner) != []
        assert placed(found.admin) == []


def test_a_node_without_a_role_is_named_with_the_statements(cluster: Cluster) -> None:
    role = f"skilldb_extra_{RUN}"
    with migrated(cluster, "role") as found:
        try:
            for node in (0, 1):
                cluster.run(
                    node,
                    "postgres",
                    f"CREATE ROLE {role} LOGIN" if node == 0 else "SELECT 1",
                    f"GRANT skilldb_app TO {role}" if node == 0 else f"CREATE ROLE {role} NOLOGIN",
                )
            with pytest.raises(DistributionError, match="nodes lack roles") as raised:
                distribute.plan(found.owner)
            text = str(raised.value)
            one, two = (f"{host}:{port}: " for host, port in cluster.workers[:2])
            assert f"{one}ALTER ROLE {role} LOGIN NOBYPASSRLS; GRANT skilldb_app TO {role}" in text.replace('"', "")
            assert f"{two}CREATE ROLE {role} LOGIN NOBYPASSRLS; GRANT skilldb_app TO {role}" in text.replace('"', "")
            for node in (1, 2):
                statements = text.replace('"', "").split((one, two)[node - 1])[1].split(". Then")[0].split("; ")
                cluster.run(node, "postgres", *statements)
            assert distribute.plan(found.owner) != []
        finally:
            for node in range(3):
                cluster.run(node, "postgres", f"DROP ROLE IF EXISTS {role}")


def test_an_owner_without_bypassrls_is_refused(cluster: Cluster) -> None:
    role = f"skilldb_subject_{RUN}"
    with clusters.database(cluster, f"skilldb_citus_subject_{RUN}") as dbname:
        for node in range(3):
            cluster.run(node, "postgres", f"CREATE ROLE {role} LOGIN", f"ALTER DATABASE {dbname} OWNER TO {role}")
        try:
            dsn = cluster.dsn(0, dbname, role)
            list(migrate.migrate(dsn))
            with pytest.raises(DistributionError, match=f"role {role} has no BYPASSRLS"):
                distribute.distribute(dsn)
        finally:
            for node in range(3):
                cluster.run(node, "postgres", f"ALTER DATABASE {dbname} OWNER TO skilldb_owner")
                cluster.run(node, dbname, "SET citus.enable_ddl_propagation = off", f"DROP OWNED BY {role} CASCADE")
                cluster.run(node, "postgres", f"DROP ROLE {role}")


def test_pending_migrations_come_first(cluster: Cluster) -> None:
    with (
        clusters.database(cluster, f"skilldb_citus_pending_{RUN}") as dbname,
        pytest.raises(DistributionError, match=r"migrations are pending, 0001_.* skilldb migrate"),
    ):
        distribute.plan(cluster.addresses(dbname).owner)


def test_the_command_prints_the_plan_or_runs_it(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    with migrated(cluster, "command") as found:
        monkeypatch.setenv("SKILLDB_OWNER_DSN", found.owner)
        monkeypatch.setenv("SKILLDB_DSN", found.service)
        dry = CliRunner().invoke(cli.app, ["distribute", "--dry-run", "--shards", "2"])
        assert dry.exit_code == 0
        assert "SELECT create_reference_table('tenants');\n" in dry.output
        assert placed(found.admin) == []
        done = CliRunner().invoke(cli.app, ["distribute", "--shards", "2"])
        assert (done.exit_code, done.output.startswith(f"Distributed {len(placed(found.admin))} tables")) == (0, True)
        again = CliRunner().invoke(cli.app, ["distribute"])
        assert again.output.startswith("Distributed 0 tables")


def test_the_printed_plan_is_valid_sql(cluster: Cluster) -> None:
    with migrated(cluster, "printed") as found:
        with psycopg.connect(found.owner) as conn:
            for statement in distribute.plan(found.owner, shards=2):
                conn.execute(statement.encode())
        assert [name for name, method, _ in placed(found.admin) if method == "n"] == ["tenants"]


def test_the_queries_have_examples_that_run(seeded: Addresses) -> None:
    """Elsewhere tests/repositories/test_queries.py prepares every query. These need the extension."""
    with psycopg.connect(seeded.owner, autocommit=True) as conn:
        found = queries.load("admin/distribute")
        for name in ("list_nodes", "list_placed_tables", "list_undistributed_functions"):
            assert conn.execute(found[name].sql).description is not None
        answers = conn.execute(found["ask_nodes"].sql, {"command": "SELECT to_jsonb(1)"}).fetchall()
        assert [(success, json.loads(result)) for success, result, _ in answers] == [(True, 1)] * len(answers)
