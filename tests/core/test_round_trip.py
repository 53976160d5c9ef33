"""Tests that `execute` is one round trip, counted by a proxy that delays every answer until the client waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

import skilldb
from skilldb.errors import AlreadyExistsError, InvalidValueError, NotFoundError
from skilldb.models import NewSkillVersion, NewUsageEvent
from skilldb.repositories import metrics, ratings, skills, tenants, usage, users, views
from skilldb.statement import Statement
from tests.support.api import Api, ask, new_skill, new_user
from tests.support.proxy import Proxy, proxy, through
from tests.support.server import Addresses, Admin, direct_only


@pytest.fixture
def addresses(addresses: Addresses, wire: Proxy) -> Addresses:
    """The test's database. The service's connections go through the proxy."""
    return Addresses(admin=addresses.admin, owner=addresses.owner, service=through(wire, addresses.service))


@pytest.fixture
def acme(api: Callable[[str], Api]) -> Api:
    tenant = api("acme")
    new_user(tenant, "u1")
    for skill in ("s1", "s2"):
        new_skill(tenant, skill)
    return tenant


def trips(wire: Proxy, run: Callable[[], Any]) -> int:
    """How many round trips it takes."""
    before = wire.round_trips
    run()
    return wire.round_trips - before


def test_one_statement_is_one_round_trip(acme: Api, wire: Proxy) -> None:
    assert trips(wire, lambda: acme.execute(skills.get_skill("s1"))) == 1


def test_a_statement_of_several_steps_is_one_round_trip(acme: Api, wire: Proxy) -> None:
    assert len(users.delete_user("u9").steps) > 5
    assert trips(wire, lambda: acme.execute(users.delete_user("u9"))) == 1


def test_six_statements_of_several_steps_are_one_round_trip_together(acme: Api, wire: Proxy) -> None:
    six = (
        ratings.rate_skill("u1", "s1", 4),
        skills.publish_skill_version("s1", NewSkillVersion(content_url="u", content_hash="a" * 64)),
        views.open_skill("u1", "s1"),
        usage.record_usage_events([NewUsageEvent(tool_name="t", skill_id="s1"), NewUsageEvent(tool_name="t")]),
        metrics.repair_metrics("s1"),
        users.delete_user("u1"),
    )
    assert trips(wire, lambda: acme.execute(*six)) == 1


def test_much_text_in_both_directions_is_one_round_trip(acme: Api, wire: Proxy) -> None:
    long = "x" * 5_000_000
    statements = [skills.update_skill(skill, {"description": long}) for skill in ("s1", "s2")]
    assert trips(wire, lambda: acme.execute(*statements)) == 1


@pytest.mark.parametrize(
    ("statements", "error"),
    [
        ([metrics.increment_skill_uses("none")], NotFoundError),
        ([ratings.rate_skill("u1", "s1", 6)], InvalidValueError),
        ([skills.get_skill("s1"), ratings.rate_skill("none", "s1", 5), skills.get_skill("s2")], NotFoundError),
        ([users.create_user("new@example.com"), users.create_user("u1@example.com")], AlreadyExistsError),
    ],
)
def test_a_failure_is_one_round_trip(
    statements: list[Statement[Any]], error: type[Exception], acme: Api, wire: Proxy
) -> None:
    def fail() -> None:
        with pytest.raises(error):
            acme.execute(*statements)

    assert trips(wire, fail) == 1
    assert trips(wire, lambda: acme.execute(skills.get_skill("s1"))) == 1


@direct_only
def test_preparing_the_queries_costs_no_round_trip(acme: Api, wire: Proxy, addresses: Addresses) -> None:
    prepared = ask("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%%/* ratings.rate_skill */%%'")
    counts = [trips(wire, lambda: acme.execute(ratings.rate_skill("u1", "s1", 4))) for _ in range(8)]
    assert counts == [1] * 8
    assert acme.execute(prepared) == 1


def test_nothing_is_sent_for_no_ids(acme: Api, wire: Proxy) -> None:
    nothing = views.get_user_views_for_skills("u1", [])
    assert trips(wire, lambda: acme.execute(nothing)) == 0
    assert trips(wire, lambda: acme.execute(nothing, usage.record_usage_events([]))) == 0
    assert trips(wire, lambda: acme.execute()) == 0
    assert trips(wire, lambda: acme.execute(nothing, skills.get_skill("s1"))) == 1


@pytest.mark.parametrize("count", [0, 1, 4])
def test_a_transaction_is_a_round_trip_for_each_execute_and_one_to_commit(
    count: int, wire: Proxy, addresses: Addresses
) -> None:
    statement = metrics.increment_skill_uses("s1")

    def blocking() -> None:
        with tenant.transaction() as tx:
            for _ in range(count):
                tx.execute(statement, statement)

    with skilldb.connect(addresses.service) as database:
        tenant = database.tenant("acme")
        tenant.execute(tenants.create_tenant("Acme", "acme"))
        new_skill(tenant, "s1")
        assert trips(wire, blocking) == (count + 1 if count else 0)

    async def nonblocking() -> int:
        async with skilldb.connect_async(addresses.service) as database:
            tenant = database.tenant("acme")
            before = wire.round_trips
            async with tenant.transaction() as tx:
                for _ in range(count):
                    await tx.execute(statement, statement)
            return wire.round_trips - before

    assert asyncio.run(nonblocking()) == (count + 1 if count else 0)


# The proxy itself


def test_statements_one_by_one_are_a_round_trip_each(wire: Proxy, addresses: Addresses) -> None:
    with psycopg.connect(addresses.service) as conn:

        def one_by_one() -> None:
            conn.execute("SELECT 1")  # The client sends BEGIN and waits for its answer.
            conn.execute("SELECT %s", (2,))
            conn.commit()

        assert trips(wire, one_by_one) == 4


def test_a_pipeline_that_synchronises_midway_is_two_round_trips(wire: Proxy, addresses: Addresses) -> None:
    with psycopg.connect(addresses.service, autocommit=True) as conn:

        def synchronise_midway() -> None:
            with conn.pipeline() as pipeline:
                conn.execute("SELECT 1")
                pipeline.sync()
                conn.execute("SELECT 2")

        assert trips(wire, synchronise_midway) == 2


def test_a_client_that_waits_before_its_synchronisation_point_gets_no_answer(
    admin: Admin, addresses: Addresses
) -> None:
    with (
        proxy(admin.host, admin.port, wait_timeout=0.2) as short,
        psycopg.connect(through(short, addresses.service), autocommit=True) as conn,
        pytest.raises(psycopg.OperationalError, match="server closed the connection"),
        conn.pipeline(),
    ):
        conn.execute("SELECT 1").fetchone()
    assert short.round_trips == 0
