"""Wraps the blocking and the async API, so that one test covers both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import skilldb
from skilldb import queries
from skilldb.models import NewSkill, NewSkillFeedback, NewTokenMeasurement, NewUsageEvent, Skill, User, UserDeletion
from skilldb.repositories import feedback, ratings, skills, tenants, tokens, usage, users
from skilldb.statement import VALUE, Statement

GONE = UserDeletion(found=True, done=True)
UNKNOWN = UserDeletion(found=False, done=True)

APIS = pytest.mark.parametrize("api", ["blocking", "async"])


class Api:
    """`execute` for one organisation on the blocking or the async API, so that one test covers both."""

    def __init__(self, execute: Callable[..., Any], tenant_id: str) -> None:
        self.execute = execute
        self.id = tenant_id


@contextmanager
def opened(api: str, dsn: str, **chosen: Any) -> Iterator[Callable[[str], Api]]:
    """A function from a tenant id to its Api, on a database opened by the "blocking" or the "async" API."""
    if api == "blocking":
        with skilldb.connect(dsn, **chosen) as database:
            yield lambda tenant_id: Api(database.tenant(tenant_id).execute, tenant_id)
        return
    with asyncio.Runner() as runner:
        opening = skilldb.connect_async(dsn, **chosen)
        runner.run(opening.open())

        def run(tenant_id: str) -> Api:
            tenant = opening.tenant(tenant_id)

            def execute(*statements: Statement[Any]) -> Any:
                return runner.run(tenant.execute(*statements))

            return Api(execute, tenant_id)

        yield run
        runner.run(opening.close())


def created_once(tenant: Callable[[str], Api]) -> Callable[[str], Api]:
    """The same function, which also creates each tenant on its first use."""
    created: set[str] = set()

    def found(tenant_id: str) -> Api:
        api = tenant(tenant_id)
        if tenant_id not in created:
            created.add(tenant_id)
            api.execute(tenants.create_tenant(tenant_id.title(), tenant_id))
        return api

    return found


def pool_of(database: skilldb.Database | skilldb.AsyncDatabase) -> Any:
    """The pool behind an open database."""
    assert database._pool is not None
    return database._pool


def new_user(tenant: skilldb.Tenant | Api, id: str) -> User:
    """A user with that id."""
    user: User = tenant.execute(users.create_user(f"{id}@example.com", name=id.title(), id=id))
    return user


def new_skill(tenant: skilldb.Tenant | Api, id: str, **more: Any) -> Skill:
    """A skill with that id, which is also its slug."""
    given = {"name": id.title(), "slug": id, "description": f"What {id} does", "category": "testing"} | more
    skill: Skill = tenant.execute(skills.create_skill(NewSkill(id=id, **given)))
    return skill


def delete_whole_user(tenant: skilldb.Tenant | Api, id: str, **more: Any) -> int:
    """Call delete_user until the user is gone. Returns the number of calls."""
    for number in range(1, 1000):
        if tenant.execute(users.delete_user(id, **more)).done:
            return number
    raise AssertionError(f"the user {id} is still there")


def fill(tenant: skilldb.Tenant | Api, skill: str) -> None:
    """A skill with something to count for each counter, by the user u1."""
    new_skill(tenant, skill)
    tenant.execute(
        ratings.rate_skill("u1", skill, 3),
        usage.record_usage_events([NewUsageEvent(tool_name="t", skill_id=skill)] * 2),
        *(
            feedback.submit_feedback(NewSkillFeedback(skill_id=skill, feedback_type=kind))
            for kind in ("thumbs_up", "thumbs_down", "suggestion")
        ),
        tokens.record_token_measurement(
            NewTokenMeasurement(skill_id=skill, model_name="m", estimated_cost_microcents=1_050_000)
        ),
    )


def ask(sql: str, **params: Any) -> Statement[Any]:
    """A statement with SQL of the test that returns one value."""
    return Statement(VALUE, queries.parse(f"-- name: ask({', '.join(params)})\n{sql};", "test")["ask"](**params))
