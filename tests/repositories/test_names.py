"""Tests what ids, slugs and JSON may be: bounded everywhere, and of one spelling where they are new."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest
from psycopg import errors as pg

import skilldb
from skilldb import queries
from skilldb.errors import InvalidValueError, TenantRequiredError
from skilldb.models import (
    NewBenchmarkRun,
    NewSkill,
    NewSkillFeedback,
    NewSkillVersion,
    NewTokenMeasurement,
    NewUsageEvent,
    Page,
    SkillImport,
)
from skilldb.repositories import benchmarks, feedback, imports, ratings, skills, tenants, tokens, usage, users, views
from skilldb.statement import Statement
from tests.support.api import APIS, Api, new_skill, new_user, opened
from tests.support.database import refused, rows
from tests.support.functions import FUNCTIONS, LEFT_OUT, Function, arguments
from tests.support.server import Addresses

NFC, NFD = "caf\u00e9", "cafe\u0301"
SPACED = (" a", "a ", "a\n", "\ta", "\u00a0a", "a\u2003", "a\u3000", "a\x85", "a\x1f", " ")
HASH = "a" * 64
NAMED = ("id", "slug", "reviewed_by", "created_by", "triggered_by", "tool_name", "model_name")


def is_id(path: str) -> bool:
    """Whether the parameter is an id, a slug, or the name of a tool or model. The ids of events are UUIDs."""
    name = path.rpartition(".")[2]
    named = name in NAMED or name.endswith(("_id", "_ids"))
    return named and path not in ("event.id", "events.id")


def leaf(path: str, hint: Any, long: str = "") -> Any:
    """A value for a parameter: more than 255 bytes for the path `long`."""
    if is_id(path):
        return "x" * 256 if path == long else "a"
    if path in ("event.id", "events.id"):
        return str(UUID(int=0))
    if path == "sort":
        return LEFT_OUT
    return {
        str: "text",
        int: 1,
        datetime: datetime(2026, 1, 1, tzinfo=UTC),
        date: date(2026, 1, 1),
        timedelta: timedelta(hours=1),
    }.get(hint, LEFT_OUT)


def ids(function: Function) -> list[str]:
    """The parameters of a function that are ids or slugs."""
    found: list[str] = []

    def note(path: str, hint: Any, required: bool) -> Any:
        found.extend([path] if is_id(path) else [])
        return leaf(path, hint)

    arguments(function, note)
    return found


def test_every_id_and_slug_of_every_function_is_bounded_before_anything_is_sent() -> None:
    tried = 0
    for name, function in FUNCTIONS.items():
        for long in ids(function):
            tried += 1

            def value(path: str, hint: Any, required: bool, long: str = long) -> Any:
                return leaf(path, hint, long)

            given = arguments(function, value)
            given.pop("after", None)
            with pytest.raises(InvalidValueError) as caught:
                function(**given)
            assert f"{long.rpartition('.')[2]} must be at most 255 bytes" in str(caught.value), (name, long)
    assert tried > 70


def test_every_id_of_every_query_is_bounded() -> None:
    for name, query in queries.load_all().items():
        for parameter, type_ in query.types.items():
            if is_id(parameter) and type_ in ("text", "text[]"):
                for long in ("x" * 256, "é" * 128):
                    with pytest.raises(InvalidValueError, match=f"{parameter} must be at most 255 bytes, not 256"):
                        query(**{parameter: long if type_ == "text" else ["a", long]})
                query(**{parameter: "x" * 255 if type_ == "text" else ["x" * 255]}), name


@pytest.mark.parametrize("tenant_id", ["x" * 256, "é" * 128])
def test_a_longer_id_of_an_organisation_is_refused_by_its_handle(db: skilldb.Database, tenant_id: str) -> None:
    for database in (db, skilldb.connect_async("host=/nowhere")):
        with pytest.raises(TenantRequiredError, match="tenant_id must be at most 255 bytes, not 256"):
            database.tenant(tenant_id)
        assert database.tenant(tenant_id[:-1]).id == tenant_id[:-1]


def test_ids_of_255_random_bytes_are_stored_everywhere(addresses: Addresses, api: Callable[[str], Api]) -> None:
    """Random, so that no compression makes them fit into an index."""
    random = Random(0)
    tenant_id, user, skill, version, item, run = (random.randbytes(200).hex()[:255] for _ in range(6))
    tenant = api(tenant_id)
    new_user(tenant, user)
    new_skill(tenant, skill, author_id=user)
    tenant.execute(
        skills.publish_skill_version(
            skill, NewSkillVersion(id=version, content_url="u", content_hash=HASH, created_by=user)
        ),
        ratings.rate_skill(user, skill, 5),
        usage.record_usage_event(NewUsageEvent(tool_name="t", skill_id=skill, user_id=user)),
        feedback.submit_feedback(
            NewSkillFeedback(id=item, skill_id=skill, user_id=user, skill_version_id=version, feedback_type="thumbs_up")
        ),
        feedback.review_feedback(item, "accepted", user),
        tokens.record_token_measurement(NewTokenMeasurement(id=item, skill_id=skill, user_id=user, model_name="m")),
        views.open_skill(user, skill),
        benchmarks.create_benchmark_run(
            NewBenchmarkRun(id=run, skill_id=skill, skill_version_id=version, triggered_by=user, models=["m"])
        ),
    )
    assert tenant.execute(skills.get_skill(skill)).total_feedback == 1
    page = tenant.execute(skills.list_skills(limit=1))
    assert [found.id for found in page.items] == [skill]


def an_import(**more: Any) -> SkillImport:
    given = {"id": "imported", "version_id": "v1", "slug": "imported", "path": "p", "name": "n", "description": "d"}
    return SkillImport(**(given | more), category="c", content_url="u", content_hash=HASH)


NEW: dict[str, Callable[[str], Statement[Any]]] = {
    "create_user": lambda name: users.create_user("new@example.com", id=name),
    "create_skill": lambda name: skills.create_skill(
        NewSkill(id=name, name="n", slug="new", description="d", category="c")
    ),
    "publish_skill_version": lambda name: skills.publish_skill_version(
        "s1", NewSkillVersion(id=name, content_url="u", content_hash=HASH)
    ),
    "submit_feedback": lambda name: feedback.submit_feedback(
        NewSkillFeedback(id=name, skill_id="s1", feedback_type="suggestion")
    ),
    "record_token_measurement": lambda name: tokens.record_token_measurement(
        NewTokenMeasurement(id=name, skill_id="s1", model_name="m")
    ),
    "record_token_measurements": lambda name: tokens.record_token_measurements(
        [NewTokenMeasurement(id=each, skill_id="s1", model_name="m") for each in ("fine", name)]
    ),
    "create_benchmark_run": lambda name: benchmarks.create_benchmark_run(
        NewBenchmarkRun(id=name, skill_id="s1", triggered_by="u1", models=["m"])
    ),
    "create_tenant": lambda name: tenants.create_tenant("T", "new", id=name),
    "slug of create_tenant": lambda name: tenants.create_tenant("T", name),
    "slug of create_skill": lambda name: skills.create_skill(
        NewSkill(name="n", slug=name, description="d", category="c")
    ),
    "import_skills": lambda name: imports.import_skills("here", [an_import(id=name)]),
    "slug of import_skills": lambda name: imports.import_skills("here", [an_import(slug=name, version_id="v2")]),
    "slug of update_skill": lambda name: skills.update_skill("s1", {"slug": name}),
}


@pytest.fixture
def acme(api: Callable[[str], Api]) -> Api:
    """An organisation with the user u1 and the skill s1."""
    tenant = api("acme")
    new_user(tenant, "u1")
    new_skill(tenant, "s1")
    return tenant


def test_a_new_id_or_slug_that_looks_like_another_is_refused(addresses: Addresses, acme: Api) -> None:
    for of, function in NEW.items():
        parameter = "slug" if of.startswith("slug") else "id"
        with refused(addresses, InvalidValueError, f"{parameter} must be in Unicode NFC", ascii(NFC)):
            acme.execute(function(NFD))
        for spaced in SPACED:
            with refused(addresses, InvalidValueError, f"{parameter} must not begin or end with white space"):
                acme.execute(function(spaced))


def test_a_new_id_or_slug_in_nfc_is_kept_as_given(addresses: Addresses, acme: Api) -> None:
    for of, function in NEW.items():
        if of != "create_tenant" and of != "slug of create_tenant":
            acme.execute(function(f"{NFC} {of}"))
    found = rows(addresses.admin, "SELECT id FROM skills UNION ALL SELECT slug FROM skills")
    assert {name for (name,) in found if NFC in name} == {
        f"{NFC} {of}" for of in NEW if "skill" in of and "version" not in of
    }
    assert acme.execute(skills.get_skill(f"{NFC} create_skill")).slug == "new"


def test_reading_by_such_an_id_finds_nothing(acme: Api) -> None:
    new_skill(acme, NFC)
    for name in (NFD, f"{NFC} ", f" {NFC}"):
        found = acme.execute(
            skills.get_skill(name),
            skills.get_skill_by_slug(name),
            skills.list_skill_versions(name),
            users.get_user(name),
            views.get_user_views_for_skills("u1", [name]),
            skills.delete_skill(name),
        )
        assert found == (None, None, Page(items=[], after=None), None, {}, False)
    assert acme.execute(skills.get_skill(NFC)).slug == NFC


@APIS
@pytest.mark.parametrize("tenant_id", [NFD, *SPACED])
def test_an_organisation_whose_handle_looks_like_another_is_not_created(
    addresses: Addresses, api: str, tenant_id: str
) -> None:
    with opened(api, addresses.service) as tenant:
        acme, handle = tenant("acme"), tenant(tenant_id)
        acme.execute(tenants.create_tenant("Acme", "acme"))
        assert handle.execute(tenants.get_tenant()) is None
        for id in (None, tenant_id):
            create = functools.partial(tenants.create_tenant, "T", "t", id=id)
            cause = pg.InvalidParameterValue if id is None else None
            with refused(addresses, InvalidValueError, "id", "NFC" if tenant_id == NFD else "white space", cause=cause):
                handle.execute(create())
        handle.execute(skills.get_skill("s1"))


def test_python_and_the_database_agree_on_white_space(addresses: Addresses) -> None:
    query = queries.load("tenants")["check_tenant_id"].sql.decode()
    pattern = query.split("~ '")[1].split("'")[0]
    spaces = {chr(code) for code in range(1, 0x110000) if chr(code).isspace()}
    with_space = rows(
        addresses.admin,
        "SELECT chr(code) FROM generate_series(1, 65535) AS code "
        "WHERE code NOT BETWEEN 55296 AND 57343 AND chr(code) ~ %s",
        pattern,
    )
    assert {name for (name,) in with_space} == spaces
    assert all(unicodedata.is_normalized("NFC", space) for space in spaces - {"\u2000", "\u2001"})


def nested(levels: int) -> dict[str, Any]:
    """An object of so many levels, every second one a list."""
    value: Any = "leaf"
    for level in range(levels - 1):
        value = [value] if level % 2 else {"a": value}
    return {"a": value}


def test_json_of_64_levels_is_stored_and_listed_and_deeper_json_is_refused(addresses: Addresses, acme: Api) -> None:
    deep = nested(64)
    version = NewSkillVersion(content_url="u", content_hash=HASH, metadata=deep)
    acme.execute(
        skills.publish_skill_version("s1", version),
        usage.record_usage_event(NewUsageEvent(tool_name="t", metadata=deep)),
    )
    assert [found.metadata for found in acme.execute(skills.list_skill_versions("s1")).items] == [deep]
    for levels in (65, 1_000, 100_000):
        deeper = nested(levels)
        event = NewUsageEvent(tool_name="t", metadata=deeper)
        deeper_version = NewSkillVersion(content_url="u", content_hash="b" * 64, metadata=deeper)
        for refuse in (
            functools.partial(skills.publish_skill_version, "s1", deeper_version),
            functools.partial(usage.record_usage_event, event),
            functools.partial(usage.record_usage_events, [event]),
        ):
            with refused(addresses, InvalidValueError, "metadata must not be nested deeper than 64 levels"):
                acme.execute(refuse())
