"""Tests organisations and users: what is created, found and refused, and what remains of a deleted user."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import errors as pg

from skilldb.errors import AlreadyExistsError, InvalidValueError, NotFoundError, PermissionDeniedError
from skilldb.models import (
    NewBenchmarkRun,
    NewSkill,
    NewSkillFeedback,
    NewSkillVersion,
    NewTokenMeasurement,
    NewUsageEvent,
    SkillImport,
    Tenant,
    TenantUpdate,
    UsageTotals,
    User,
    UserDeletion,
    UserUpdate,
)
from skilldb.repositories import (
    benchmarks,
    feedback,
    imports,
    metrics,
    ratings,
    rollups,
    skills,
    tenants,
    tokens,
    usage,
    users,
    views,
)
from skilldb.statement import Statement
from tests.support.api import GONE, UNKNOWN, Api, delete_whole_user, new_skill, new_user
from tests.support.database import contents, refused, rows
from tests.support.functions import FUNCTIONS, arguments, naming
from tests.support.server import Addresses

USERS = {"reviewed_by", "created_by", "triggered_by", "author_id", "successor_id"}


@pytest.fixture
def acme(api: Callable[[str], Api]) -> Api:
    return api("acme")


def without_tenant(addresses: Addresses, acme: Api) -> Api:
    """The same handle, after its organisation was deleted."""
    assert rows(addresses.admin, "WITH gone AS (DELETE FROM horizons) DELETE FROM tenants RETURNING id") == [(acme.id,)]
    return acme


# Tenants


def test_a_tenant_is_created_under_the_handles_id_and_found_by_it(addresses: Addresses, acme: Api) -> None:
    without_tenant(addresses, acme)
    assert acme.execute(tenants.get_tenant()) is None
    created = acme.execute(tenants.create_tenant("Acme Inc.", "acme-inc"))
    assert created == Tenant(
        id="acme",
        name="Acme Inc.",
        slug="acme-inc",
        is_active=True,
        created_at=created.created_at,
        updated_at=created.updated_at,
    )
    assert created.created_at.utcoffset() is not None
    assert abs(created.created_at - created.updated_at) <= timedelta(milliseconds=1)
    assert acme.execute(tenants.get_tenant()) == created


def test_a_tenants_id_may_be_given_where_it_is_the_handles(addresses: Addresses, acme: Api) -> None:
    without_tenant(addresses, acme)
    assert acme.execute(tenants.create_tenant("Acme", "acme", id="acme")).id == "acme"


def test_a_tenant_of_another_id_is_not_created(addresses: Addresses, acme: Api) -> None:
    with refused(addresses, PermissionDeniedError, "tenants", cause=pg.InsufficientPrivilege):
        acme.execute(tenants.create_tenant("Globex", "globex", id="globex"))


def test_a_tenant_is_created_once(addresses: Addresses, acme: Api) -> None:
    for id in ("acme", None):
        with refused(addresses, AlreadyExistsError, "id 'acme' is already taken", cause=pg.UniqueViolation):
            acme.execute(tenants.create_tenant("Acme", "another", id=id))


def test_a_tenants_slug_is_taken_for_all_tenants(addresses: Addresses, acme: Api, api: Callable[[str], Api]) -> None:
    globex = api("globex")
    rows(addresses.admin, "DELETE FROM horizons WHERE tenant_id = 'globex' RETURNING 1")
    assert rows(addresses.admin, "DELETE FROM tenants WHERE id = 'globex' RETURNING id") == [("globex",)]
    with refused(addresses, AlreadyExistsError, "slug 'acme' is already taken", cause=pg.UniqueViolation):
        globex.execute(tenants.create_tenant("Globex", "acme"))


def test_a_tenants_name_and_slug_are_text(addresses: Addresses, acme: Api) -> None:
    without_tenant(addresses, acme)
    with refused(addresses, InvalidValueError, "slug", "'a\\x00'"):
        acme.execute(tenants.create_tenant("Acme", "a\0"))
    with refused(addresses, InvalidValueError, "name", "None", cause=pg.NotNullViolation):
        acme.execute(tenants.create_tenant(None, "acme"))  # type: ignore[arg-type]


def test_a_tenant_of_no_slug_or_name_is_refused(addresses: Addresses, acme: Api) -> None:
    without_tenant(addresses, acme)
    with refused(addresses, InvalidValueError, "slug ''", cause=pg.CheckViolation):
        acme.execute(tenants.create_tenant("Acme", ""))
    with refused(addresses, InvalidValueError, "name must not be empty"):
        acme.execute(tenants.create_tenant("", "acme"))


def test_a_tenant_and_a_user_of_another_systems_history_keep_their_time(addresses: Addresses, acme: Api) -> None:
    without_tenant(addresses, acme)
    given = datetime(2019, 5, 6, 7, 8, 9, 123_999, tzinfo=UTC)
    kept = given.replace(microsecond=123_000)
    tenant = acme.execute(tenants.create_tenant("Acme", "acme", created_at=given))
    assert (tenant.created_at, tenant.updated_at) == (kept, kept)
    user = acme.execute(users.create_user("a@example.com", created_at=given))
    assert (user.created_at, user.updated_at) == (kept, kept)
    for create in (partial(tenants.create_tenant, "T", "t"), partial(users.create_user, "b@example.com")):
        with refused(addresses, InvalidValueError, "created_at must carry a time zone"):
            create(created_at=datetime(2019, 5, 6))


def test_a_tenant_is_renamed_moved_and_switched_off(addresses: Addresses, acme: Api) -> None:
    before = acme.execute(tenants.get_tenant())
    rows(addresses.admin, "UPDATE tenants SET updated_at = updated_at - interval '1 day' RETURNING 1")
    old = acme.execute(tenants.get_tenant()).updated_at
    changes: list[TenantUpdate] = [{"name": "New"}, {"slug": "new"}, {"is_active": False}]
    for change in changes:
        changed = acme.execute(tenants.update_tenant(change))
        assert changed == replace(before, **change, updated_at=changed.updated_at)
        assert changed.updated_at > old
        before, old = changed, changed.updated_at - timedelta(days=1)
        assert acme.execute(tenants.get_tenant()) == changed


def test_what_is_as_it_was_moves_no_time_of_a_tenant(acme: Api) -> None:
    before = acme.execute(tenants.get_tenant())
    same: list[TenantUpdate] = [{}, {"name": before.name, "slug": before.slug, "is_active": True}]
    for changes in same:
        assert acme.execute(tenants.update_tenant(changes)) == before


def test_what_a_tenant_cannot_become_is_refused(addresses: Addresses, acme: Api, api: Callable[[str], Api]) -> None:
    api("globex")
    with refused(addresses, AlreadyExistsError, "slug 'globex' is already taken", cause=pg.UniqueViolation):
        acme.execute(tenants.update_tenant({"slug": "globex"}))
    with refused(addresses, InvalidValueError, "slug ''", cause=pg.CheckViolation):
        acme.execute(tenants.update_tenant({"slug": ""}))
    with refused(addresses, InvalidValueError, "name must not be empty"):
        acme.execute(tenants.update_tenant({"name": ""}))
    for name in ("name", "slug", "is_active"):
        with refused(addresses, InvalidValueError, f"{name} must not be None", cause=pg.NotNullViolation):
            acme.execute(tenants.update_tenant({name: None}))  # type: ignore[misc]
    with refused(addresses, InvalidValueError, "slug must not begin or end with white space"):
        tenants.update_tenant({"slug": " a"})
    with refused(addresses, InvalidValueError, "is_active must be a bool, not 1"):
        tenants.update_tenant({"is_active": 1})  # type: ignore[typeddict-item]
    with refused(addresses, InvalidValueError, "a tenant has no created_at, id to update"):
        tenants.update_tenant({"id": "x", "created_at": 1})  # type: ignore[typeddict-unknown-key]
    with refused(addresses, InvalidValueError, "changes must be a dict"):
        tenants.update_tenant("name")  # type: ignore[arg-type]
    rows(addresses.admin, "DELETE FROM horizons WHERE tenant_id = 'globex' RETURNING 1")
    without_globex = rows(addresses.admin, "DELETE FROM tenants WHERE id = 'globex' RETURNING id")
    assert without_globex == [("globex",)]
    with refused(addresses, NotFoundError, "tenant 'globex' does not exist", cause=pg.NoDataFound):
        api("globex").execute(tenants.update_tenant({"name": "x"}))


def test_a_tenant_does_not_see_another(acme: Api, api: Callable[[str], Api]) -> None:
    assert api("globex").execute(tenants.get_tenant()).id == "globex"
    assert acme.execute(tenants.get_tenant()).id == "acme"


# Users


def test_a_user_is_a_member_of_a_new_id_unless_said_otherwise(acme: Api) -> None:
    created = acme.execute(users.create_user("ann@example.com"))
    assert str(UUID(created.id)) == created.id
    assert created == User(
        id=created.id,
        email="ann@example.com",
        name=None,
        role="member",
        created_at=created.created_at,
        updated_at=created.updated_at,
    )
    assert created.created_at.utcoffset() is not None
    assert acme.execute(users.get_user(created.id)) == created


def test_a_user_is_created_as_given(acme: Api) -> None:
    created = acme.execute(users.create_user("bo@example.com", name="Bo", role="admin", id="u1"))
    assert (created.id, created.email, created.name, created.role) == ("u1", "bo@example.com", "Bo", "admin")
    assert acme.execute(users.get_user("u1")) == created


def test_a_user_that_does_not_exist_is_none(acme: Api) -> None:
    assert acme.execute(users.get_user("nobody")) is None


def test_an_email_or_id_is_taken_once_in_a_tenant(addresses: Addresses, acme: Api) -> None:
    new_user(acme, "u1")
    with refused(addresses, AlreadyExistsError, "email 'u1@example.com'", cause=pg.UniqueViolation):
        acme.execute(users.create_user("u1@example.com"))
    with refused(addresses, AlreadyExistsError, "id 'u1'", cause=pg.UniqueViolation):
        acme.execute(users.create_user("other@example.com", id="u1"))


def test_emails_and_ids_of_another_tenant_are_free(acme: Api, api: Callable[[str], Api]) -> None:
    ours, theirs = new_user(acme, "u1"), new_user(api("globex"), "u1")
    assert (ours.id, ours.email) == (theirs.id, theirs.email)


def test_what_a_user_cannot_be_is_refused(addresses: Addresses, acme: Api) -> None:
    with refused(addresses, InvalidValueError, "role 'owner'", cause=pg.CheckViolation):
        acme.execute(users.create_user("a@example.com", role="owner"))
    with refused(addresses, InvalidValueError, "email must not be empty"):
        acme.execute(users.create_user(""))
    with refused(addresses, InvalidValueError, "email", "'a\\x00'"):
        acme.execute(users.create_user("a\0"))
    with refused(addresses, InvalidValueError, "email", "None", cause=pg.NotNullViolation):
        acme.execute(users.create_user(None))  # type: ignore[arg-type]


def test_a_tenant_that_was_not_created_has_no_users(addresses: Addresses, acme: Api) -> None:
    without_tenant(addresses, acme)
    with refused(addresses, NotFoundError, "tenant 'acme' does not exist", cause=pg.ForeignKeyViolation):
        acme.execute(users.create_user("a@example.com"))


# Finding, listing and changing users


def test_a_user_is_found_by_the_email_as_written(acme: Api, api: Callable[[str], Api]) -> None:
    user = acme.execute(users.create_user("Ann@Example.com"))
    api("globex").execute(users.create_user("bob@example.com"))
    assert acme.execute(users.get_user_by_email("Ann@Example.com")) == user
    for email in ("ann@example.com", "Ann@Example.com ", "bob@example.com", ""):
        assert acme.execute(users.get_user_by_email(email)) is None


def test_users_are_listed_by_email_page_by_page(acme: Api, api: Callable[[str], Api]) -> None:
    new_user(api("globex"), "aa")
    emails = [" ", "a@example.com", "b@example.com", "c@example.com", "d@example.com"]
    made = [acme.execute(users.create_user(email, role="admin" if email < "b" else "member")) for email in emails[::-1]]
    made.reverse()
    for limit in (1, 2, 3, 5, 9):
        for role, expected in ((None, made), ("admin", made[:2]), ("member", made[2:]), ("owner", [])):
            found, after = [], None
            while True:
                page = acme.execute(users.list_users(role=role, limit=limit, after=after))
                found += page.items
                assert len(page.items) <= limit
                if page.after is None:
                    break
                assert len(page.items) == limit
                after = page.after
            assert found == expected


def test_users_whose_deletion_was_begun_are_listed_apart(
    addresses: Addresses, acme: Api, api: Callable[[str], Api]
) -> None:
    """The caller may have ended between two calls of delete_user. Nothing else says which users are left over."""
    other = api("globex")
    for tenant in (acme, other):
        for id in "abcd":
            new_user(tenant, id)
        tenant.execute(users.update_user("c", {"role": "admin"}))
        tenant.execute(*(usage.record_usage_event(NewUsageEvent(tool_name="t", user_id=id)) for id in "abcd" * 2))
    other.execute(users.delete_user("d", limit=1))
    for id in "acd":
        assert acme.execute(users.delete_user(id, limit=1)) == UserDeletion(found=True, done=False)

    def listed(**filters: Any) -> str:
        found = acme.execute(users.list_users(**filters)).items
        return "".join(user.id for user in found)

    assert (listed(), listed(deleting=False), listed(deleting=True)) == ("b", "b", "acd")
    assert (listed(deleting=True, role="admin"), listed(deleting=True, role="member")) == ("c", "ad")
    first = acme.execute(users.list_users(deleting=True, limit=2))
    assert [(user.id, user.name) for user in first.items] == [("a", None), ("c", None)]
    assert listed(deleting=True, limit=2, after=first.after) == "d"
    for id in "acd":
        assert acme.execute(users.delete_user(id)) == GONE
    assert listed(deleting=True) == ""
    wrong: dict[str, Any] = {"deleting": 1}
    with refused(addresses, InvalidValueError, "deleting"):
        acme.execute(users.list_users(**wrong))


def test_a_page_of_users_begins_after_its_cursor_although_that_user_is_gone(acme: Api) -> None:
    for user in ("a", "b", "c"):
        new_user(acme, user)
    after = acme.execute(users.list_users(limit=2)).after
    assert acme.execute(users.delete_user("b")) == GONE
    assert [user.id for user in acme.execute(users.list_users(after=after)).items] == ["c"]


def test_a_cursor_of_another_list_is_refused(addresses: Addresses, acme: Api) -> None:
    for skill in ("s1", "s2"):
        new_skill(acme, skill)
        new_user(acme, skill)
    of_skills = acme.execute(skills.list_skills(limit=1)).after
    of_users = acme.execute(users.list_users(limit=1)).after
    for after in (of_skills, "none", "é", "dGV4dA==", ""):
        with refused(addresses, InvalidValueError, "after is not a cursor of this list"):
            users.list_users(after=after)
    with refused(addresses, InvalidValueError, "after is not a cursor of this list"):
        skills.list_skills(after=of_users)
    with refused(addresses, InvalidValueError, "limit must be at least 1"):
        users.list_users(limit=0)


def test_a_user_gets_another_email_name_and_role(addresses: Addresses, acme: Api) -> None:
    before = new_user(acme, "u1")
    rows(addresses.admin, "UPDATE users SET updated_at = updated_at - interval '1 day' RETURNING 1")
    changes: list[UserUpdate] = [{"email": "new@example.com"}, {"name": None}, {"name": "New"}, {"role": "admin"}]
    for change in changes:
        changed = acme.execute(users.update_user("u1", change))
        assert changed == replace(before, **change, updated_at=changed.updated_at)
        assert changed.updated_at >= before.updated_at
        before = changed
    same: list[UserUpdate] = [{}, {"email": "new@example.com", "name": "New", "role": "admin"}]
    for change in same:
        assert acme.execute(users.update_user("u1", change)) == before


def test_what_a_user_cannot_become_is_refused(addresses: Addresses, acme: Api, api: Callable[[str], Api]) -> None:
    for user in ("u1", "u2"):
        new_user(acme, user)
    new_user(api("globex"), "u3")
    with refused(addresses, AlreadyExistsError, "email 'u2@example.com' is already taken", cause=pg.UniqueViolation):
        acme.execute(users.update_user("u1", {"email": "u2@example.com"}))
    with refused(addresses, InvalidValueError, "role 'owner'", cause=pg.CheckViolation):
        acme.execute(users.update_user("u1", {"role": "owner"}))
    for name in ("email", "role"):
        with refused(addresses, InvalidValueError, f"{name} must not be None", cause=pg.NotNullViolation):
            acme.execute(users.update_user("u1", {name: None}))  # type: ignore[misc]
    with refused(addresses, InvalidValueError, "email must not be empty"):
        acme.execute(users.update_user("u1", {"email": ""}))
    with refused(addresses, InvalidValueError, "a user has no id to update"):
        users.update_user("u1", {"id": "x"})  # type: ignore[typeddict-unknown-key]
    with refused(addresses, InvalidValueError, "changes must be a dict"):
        users.update_user("u1", "name")  # type: ignore[arg-type]
    with refused(addresses, NotFoundError, "user 'u3' does not exist", cause=pg.NoDataFound):
        acme.execute(users.update_user("u3", {"name": "x"}))


# Deleting users


def test_views_and_ratings_go_with_a_user_and_the_averages_follow(addresses: Addresses, acme: Api) -> None:
    for user in ("u1", "u2"):
        new_user(acme, user)
    for skill in ("s1", "s2", "s3"):
        new_skill(acme, skill)
    acme.execute(
        ratings.rate_skill("u1", "s1", 1),
        ratings.rate_skill("u2", "s1", 4),
        ratings.rate_skill("u1", "s2", 5),
        ratings.rate_skill("u2", "s3", 3),
        views.record_skill_view("u1", "s1", None),
        views.record_skill_view("u2", "s1", None),
    )
    before = {skill: acme.execute(skills.get_skill(skill)) for skill in ("s1", "s2", "s3")}
    assert rows(addresses.admin, "UPDATE skills SET metrics_updated_at = NULL RETURNING 1") == [(1,)] * 3

    assert acme.execute(users.delete_user("u1")) == GONE

    after = {skill: acme.execute(skills.get_skill(skill)) for skill in ("s1", "s2", "s3")}
    assert {id: (s.rating_count, s.average_rating) for id, s in after.items()} == {
        "s1": (1, 400),
        "s2": (0, None),
        "s3": (1, 300),
    }
    assert {id for id, s in after.items() if s.metrics_updated_at is not None} == {"s1", "s2"}
    assert {id: s.updated_at for id, s in after.items()} == {id: s.updated_at for id, s in before.items()}
    assert acme.execute(metrics.find_metric_drift()) == []
    assert acme.execute(users.get_user("u1")) is None
    assert rows(addresses.admin, "SELECT user_id, skill_id FROM ratings ORDER BY skill_id") == [
        ("u2", "s1"),
        ("u2", "s3"),
    ]
    assert rows(addresses.admin, "SELECT user_id FROM user_skill_views") == [("u2",)]


def test_usage_feedback_reviews_and_measurements_stay_without_the_name(addresses: Addresses, acme: Api) -> None:
    for user in ("u1", "u2"):
        new_user(acme, user)
    new_skill(acme, "s1")
    for user in ("u1", "u2"):
        acme.execute(usage.record_usage_event(NewUsageEvent(tool_name=f"of {user}", skill_id="s1", user_id=user)))
    rows(
        addresses.admin,
        "INSERT INTO skill_feedback (tenant_id, skill_id, user_id, reviewed_by, feedback_type, comment) VALUES "
        "('acme', 's1', 'u1', 'u2', 'thumbs_up', 'by u1'), ('acme', 's1', 'u2', 'u1', 'thumbs_up', 'by u2'), "
        "('acme', 's1', 'u1', 'u1', 'suggestion', 'both') RETURNING id",
    )
    rows(
        addresses.admin,
        "INSERT INTO token_measurements (tenant_id, skill_id, user_id, model_name) VALUES "
        "('acme', 's1', 'u1', 'of u1'), ('acme', 's1', 'u2', 'of u2') RETURNING id",
    )

    assert acme.execute(users.delete_user("u1")) == GONE

    assert rows(addresses.admin, "SELECT tool_name, user_id FROM usage_events ORDER BY 1") == [
        ("of u1", None),
        ("of u2", "u2"),
    ]
    assert rows(addresses.admin, "SELECT comment, user_id, reviewed_by FROM skill_feedback ORDER BY 1") == [
        ("both", None, None),
        ("by u1", None, "u2"),
        ("by u2", "u2", None),
    ]
    assert rows(addresses.admin, "SELECT model_name, user_id FROM token_measurements ORDER BY 1") == [
        ("of u1", None),
        ("of u2", "u2"),
    ]
    assert acme.execute(skills.get_skill("s1")).total_uses == 2


def test_deleting_a_user_twice_or_an_unknown_one_is_false(addresses: Addresses, acme: Api) -> None:
    new_user(acme, "u1")
    assert acme.execute(users.delete_user("u1")) == GONE
    before = contents(addresses.admin)
    assert acme.execute(users.delete_user("u1")) == UNKNOWN
    assert acme.execute(users.delete_user("nobody")) == UNKNOWN
    assert contents(addresses.admin) == before


def working(acme: Api, addresses: Addresses, user: str) -> None:
    """The user wrote a skill, published a version and triggered a run, both of a skill of nobody."""
    new_user(acme, user)
    new_skill(acme, f"of {user}", author_id=user)
    new_skill(acme, "s1")
    acme.execute(
        skills.publish_skill_version("s1", NewSkillVersion(content_url="u", content_hash="a" * 64, created_by=user)),
        benchmarks.create_benchmark_run(NewBenchmarkRun(id="r1", skill_id="s1", triggered_by=user, models=["m"])),
    )


def authors(acme: Api, user: str) -> tuple[str | None, str | None, str | None]:
    """Who wrote the skill of the user, published the version and triggered the run."""
    skill, versions, run = acme.execute(
        skills.get_skill(f"of {user}"),
        skills.list_skill_versions("s1"),
        benchmarks.get_latest_benchmark_run("s1"),
    )
    (version,) = versions.items
    return skill.author_id, version.created_by, run.triggered_by


@pytest.mark.parametrize("successor", [None, "a heir", "z heir"])
def test_what_a_user_made_passes_to_the_successor_or_to_nobody(
    addresses: Addresses, acme: Api, successor: str | None
) -> None:
    working(acme, addresses, "u1")
    if successor is not None:
        new_user(acme, successor)
    before = acme.execute(skills.list_skills()).items
    assert acme.execute(users.delete_user("u1", successor_id=successor)) == GONE
    assert authors(acme, "u1") == (successor, successor, successor)
    assert {(skill.id, skill.updated_at) for skill in acme.execute(skills.list_skills()).items} == {
        (skill.id, skill.updated_at) for skill in before
    }


def test_a_successor_is_another_user_who_is_there(addresses: Addresses, acme: Api) -> None:
    working(acme, addresses, "u1")
    with refused(addresses, InvalidValueError, "successor_id must be another user", "'u1'"):
        acme.execute(users.delete_user("u1", successor_id="u1"))
    for user in ("u1", "nobody"):
        for successor in ("a nobody", "z nobody"):
            with refused(addresses, NotFoundError, f"user '{successor}' does not exist", cause=pg.NoDataFound):
                acme.execute(users.delete_user(user, successor_id=successor))
    being_deleted(addresses, acme, "z leaving")
    with refused(addresses, NotFoundError, "user 'z leaving' does not exist", cause=pg.NoDataFound):
        acme.execute(users.delete_user("u1", successor_id="z leaving"))
    with refused(addresses, InvalidValueError, "limit must be at least 1"):
        acme.execute(users.delete_user("u1", limit=0))


# A deletion in batches


def being_deleted(addresses: Addresses, acme: Api, user: str) -> None:
    """A user with two events, of which the first call has anonymised one."""
    new_user(acme, user)
    acme.execute(usage.record_usage_events([NewUsageEvent(tool_name="t", user_id=user)] * 2))
    assert acme.execute(users.delete_user(user, limit=1)) == UserDeletion(found=True, done=False)


def test_a_user_with_much_is_deleted_in_bounded_batches(addresses: Addresses, acme: Api) -> None:
    for user in ("u1", "u2"):
        new_user(acme, user)
    for number in range(5):
        new_skill(acme, f"s{number}", author_id="u1")
        acme.execute(
            ratings.rate_skill("u1", f"s{number}", 1),
            ratings.rate_skill("u2", f"s{number}", 5),
            views.open_skill("u1", f"s{number}"),
            feedback.submit_feedback(
                NewSkillFeedback(id=f"f{number}", skill_id=f"s{number}", feedback_type="thumbs_up", user_id="u1")
            ),
            feedback.review_feedback(f"f{number}", "accepted", "u1"),
            tokens.record_token_measurement(NewTokenMeasurement(skill_id=f"s{number}", model_name="m", user_id="u1")),
            usage.record_usage_event(NewUsageEvent(tool_name="t", skill_id=f"s{number}", user_id="u1")),
        )
    named = {
        "ratings": "user_id",
        "user_skill_views": "user_id",
        "skills": "author_id",
        "usage_events": "user_id",
        "pending_uses": "user_id",
        "skill_feedback": "user_id",
        "token_measurements": "user_id",
    }
    left = [5]
    while True:
        found = acme.execute(users.delete_user("u1", successor_id="u2", limit=2))
        counts = {
            rows(addresses.admin, f"SELECT count(*) FROM {table} WHERE {column} = 'u1'")[0][0]  # noqa: S608
            for table, column in named.items()
        }
        (remaining,) = counts
        left.append(remaining)
        assert acme.execute(metrics.find_metric_drift()) == []
        assert acme.execute(rollups.find_use_drift(datetime.now(UTC).date())) == []
        assert acme.execute(users.get_user("u1")) is None
        if found.done:
            break
    assert left == [5, 3, 1, 0]
    assert found == GONE
    assert "u1" not in str(contents(addresses.admin)).replace("u1@", "")
    assert [acme.execute(skills.get_skill(f"s{n}")).average_rating for n in range(5)] == [500] * 5
    assert {skill.author_id for skill in acme.execute(skills.list_skills()).items} == {"u2"}


def test_a_user_is_deleted_at_most_a_hundred_skills_at_a_time(addresses: Addresses, acme: Api) -> None:
    new_user(acme, "u1")
    for number in range(101):
        new_skill(acme, f"s{number}")
    acme.execute(*(ratings.rate_skill("u1", f"s{number}", 1) for number in sorted(range(101), key=str)))
    assert acme.execute(users.delete_user("u1")) == UserDeletion(found=True, done=False)
    assert rows(addresses.admin, "SELECT count(*) FROM ratings") == [(1,)]
    assert acme.execute(users.delete_user("u1")) == GONE


def test_a_user_who_is_being_deleted_is_read_as_missing(addresses: Addresses, acme: Api) -> None:
    being_deleted(addresses, acme, "u1")
    assert acme.execute(users.get_user("u1")) is None
    assert acme.execute(users.get_user_by_email("u1@example.com")) is None
    assert acme.execute(users.list_users()).items == acme.execute(users.list_users(role="member")).items == []
    assert rows(addresses.admin, "SELECT name, deleting_since IS NOT NULL FROM users") == [(None, True)]


def test_the_email_and_id_of_a_user_who_is_being_deleted_are_taken(addresses: Addresses, acme: Api) -> None:
    being_deleted(addresses, acme, "u1")
    with refused(addresses, AlreadyExistsError, "email 'u1@example.com'", cause=pg.UniqueViolation):
        acme.execute(users.create_user("u1@example.com"))
    with refused(addresses, AlreadyExistsError, "id 'u1'", cause=pg.UniqueViolation):
        acme.execute(users.create_user("other@example.com", id="u1"))
    assert acme.execute(users.delete_user("u1")) == GONE
    assert new_user(acme, "u1").id == "u1"


NAMING: dict[str, Callable[[], Statement[Any]]] = {
    "update_user": lambda: users.update_user("u1", {"name": "New"}),
    "update_user, email": lambda: users.update_user("u1", {"email": "new@example.com"}),
    "delete_user, as successor": lambda: users.delete_user("u2", successor_id="u1"),
    "create_skill": lambda: skills.create_skill(
        NewSkill(name="n", slug="new", description="", category="c", author_id="u1")
    ),
    "import_skills": lambda: imports.import_skills(
        "a repository",
        [
            SkillImport(
                id="new",
                version_id="new",
                path="new",
                slug="new",
                name="n",
                description="",
                category="c",
                content_url="u",
                content_hash="b" * 64,
                author_id="u1",
            )
        ],
    ),
    "transfer_skills from": lambda: skills.transfer_skills("u1", "u2"),
    "transfer_skills to": lambda: skills.transfer_skills("u2", "u1"),
    "publish_skill_version": lambda: skills.publish_skill_version(
        "s1", NewSkillVersion(content_url="u", content_hash="b" * 64, created_by="u1")
    ),
    "rate_skill": lambda: ratings.rate_skill("u1", "s1", 1),
    "record_skill_view": lambda: views.record_skill_view("u1", "s1", 1),
    "record_skill_view, again": lambda: views.record_skill_view("u1", "viewed", 1),
    "open_skill": lambda: views.open_skill("u1", "s1"),
    "open_skill, again": lambda: views.open_skill("u1", "viewed"),
    "submit_feedback": lambda: feedback.submit_feedback(
        NewSkillFeedback(skill_id="s1", feedback_type="thumbs_up", user_id="u1")
    ),
    "submit_feedback, reviewed": lambda: feedback.submit_feedback(
        NewSkillFeedback(skill_id="s1", feedback_type="suggestion", status="accepted", reviewed_by="u1")
    ),
    "review_feedback": lambda: feedback.review_feedback("f1", "accepted", "u1"),
    "record_usage_event": lambda: usage.record_usage_event(NewUsageEvent(tool_name="t", user_id="u1")),
    "record_usage_events": lambda: usage.record_usage_events([NewUsageEvent(tool_name="t", user_id="u1")]),
    "record_token_measurement": lambda: tokens.record_token_measurement(
        NewTokenMeasurement(skill_id="s1", model_name="m", user_id="u1")
    ),
    "record_token_measurements": lambda: tokens.record_token_measurements(
        [NewTokenMeasurement(skill_id="s1", model_name="m", user_id="u1")]
    ),
    "create_benchmark_run": lambda: benchmarks.create_benchmark_run(
        NewBenchmarkRun(skill_id="s1", triggered_by="u1", models=["m"])
    ),
}


def test_nothing_new_names_a_user_who_is_being_deleted(addresses: Addresses, acme: Api) -> None:
    for user in ("u1", "u2"):
        new_user(acme, user)
    for skill in ("s1", "viewed", "viewed too"):
        new_skill(acme, skill)
    acme.execute(
        feedback.submit_feedback(NewSkillFeedback(id="f1", skill_id="s1", feedback_type="suggestion")),
        views.open_skill("u1", "viewed"),
        views.open_skill("u1", "viewed too"),
        *(usage.record_usage_event(NewUsageEvent(tool_name="t", user_id="u1")) for _ in range(2)),
    )
    assert acme.execute(users.delete_user("u1", limit=1)) == UserDeletion(found=True, done=False)
    # Both views, so that the first view of a skill and a later one are tried.
    rows(
        addresses.admin,
        "INSERT INTO user_skill_views (tenant_id, user_id, skill_id) VALUES ('acme', 'u1', 'viewed') "
        "ON CONFLICT DO NOTHING RETURNING 1",
    )
    for call, statement in NAMING.items():
        with refused(addresses, NotFoundError, "user 'u1' does not exist", cause=pg.NoDataFound):
            acme.execute(statement())
            raise AssertionError(call)


def test_every_function_that_takes_a_user_is_tried() -> None:
    def writes(name: str) -> bool:
        function = FUNCTIONS[name]
        paths: list[str] = []

        def note(path: str) -> str:
            paths.append(path.rpartition(".")[2])
            if path in ("event.id", "events.id"):
                return str(UUID(int=0))
            return "b" if path == "target_skill_id" else "a"

        statement = function(**arguments(function, naming(note)))
        names_a_user = any(path in USERS or path.endswith("user_id") for path in paths)
        wrote = any(re.search(rb"\b(INSERT|UPDATE [a-z/])", step.query.sql) for step in statement.steps)
        return names_a_user and wrote

    # They write for a user who is there, and change nothing that is new.
    ending = {"users.delete_user", "ratings.delete_rating"}
    tried = {name.partition(",")[0].partition(" ")[0] for name in NAMING}
    assert {name.partition(".")[2] for name in FUNCTIONS if writes(name) and name not in ending} <= tried


def test_a_batch_that_fails_halfway_changes_nothing(addresses: Addresses, acme: Api) -> None:
    new_user(acme, "u1")
    new_skill(acme, "s1")
    acme.execute(
        ratings.rate_skill("u1", "s1", 1), usage.record_usage_event(NewUsageEvent(tool_name="t", user_id="u1"))
    )
    with psycopg.connect(addresses.owner, autocommit=True) as owner:
        owner.execute("REVOKE UPDATE (user_id) ON token_measurements FROM skilldb_app")
        with refused(addresses, PermissionDeniedError, "token_measurements", cause=pg.InsufficientPrivilege):
            acme.execute(users.delete_user("u1"))
        owner.execute("GRANT UPDATE (user_id) ON token_measurements TO skilldb_app")
    assert acme.execute(users.get_user("u1")).name == "U1"
    assert acme.execute(users.delete_user("u1")) == GONE


def test_a_row_that_somebody_has_locked_is_left_for_the_next_call(addresses: Addresses, acme: Api) -> None:
    new_user(acme, "u1")
    acme.execute(usage.record_usage_event(NewUsageEvent(tool_name="t", user_id="u1")))
    for table in ("usage_events", "pending_uses"):
        with psycopg.connect(addresses.admin) as other:
            other.execute(f"SELECT FROM {table} WHERE user_id = 'u1' FOR UPDATE".encode())
            assert acme.execute(users.delete_user("u1")) == UserDeletion(found=True, done=False)
            other.rollback()
        if table == "usage_events":  # The first call has anonymised the pending use.
            rows(addresses.admin, "UPDATE pending_uses SET user_id = 'u1' RETURNING 1")
    assert acme.execute(users.delete_user("u1")) == GONE


def test_no_report_shows_a_user_who_is_being_deleted(addresses: Addresses, acme: Api) -> None:
    """A use that is not folded yet names the user until a batch reaches it. Its use stays counted."""
    for user in ("u1", "u2"):
        new_user(acme, user)
        acme.execute(usage.record_usage_events([NewUsageEvent(tool_name=f"t{n}", user_id=user) for n in range(3)]))
    assert acme.execute(users.delete_user("u1", limit=1)).done is False
    assert ("u1",) in rows(addresses.admin, "SELECT user_id FROM pending_uses")
    for _ in range(2):
        totals = acme.execute(usage.get_usage_totals())
        assert totals == UsageTotals(uses=6, skills_used=0, active_users=1, tools_used=3)
        assert [user.user_id for user in acme.execute(usage.get_top_users())] == ["u2"]
        page = acme.execute(usage.list_active_users(limit=1))
        assert ([user.user_id for user in page.items], page.after) == (["u2"], None)
        acme.execute(rollups.fold_uses())


def test_what_a_user_who_is_being_deleted_left_is_read_without_a_name_until_it_goes(
    addresses: Addresses, acme: Api
) -> None:
    new_user(acme, "u1")
    for skill in ("s1", "s2"):
        new_skill(acme, skill)
        acme.execute(
            ratings.rate_skill("u1", skill, 4),
            usage.record_usage_event(NewUsageEvent(tool_name="t", skill_id=skill, user_id="u1")),
            tokens.record_token_measurement(NewTokenMeasurement(skill_id=skill, model_name="m", user_id="u1")),
        )
    assert acme.execute(users.delete_user("u1", limit=1)).done is False
    assert acme.execute(ratings.get_rating("u1", "s2")).user_id == "u1"
    (rating,) = acme.execute(ratings.list_ratings("s2")).items
    assert (rating.user_id, rating.user_name) == ("u1", None)
    for listed in (usage.list_usage_events(), tokens.list_measurements()):
        assert sorted(row.user_id or "" for row in acme.execute(listed).items) == ["", "u1"]
    assert acme.execute(users.delete_user("u1")) == GONE


def test_a_fold_leaves_a_user_who_is_being_deleted_out(addresses: Addresses, acme: Api) -> None:
    new_user(acme, "u1")
    for _ in range(3):
        acme.execute(usage.record_usage_event(NewUsageEvent(tool_name="t", user_id="u1")))
    acme.execute(rollups.fold_uses(1))
    assert acme.execute(users.delete_user("u1", limit=1)).done is False
    today = datetime.now(UTC).date()
    acme.execute(rollups.fold_uses(), rollups.rebuild_day(today, []), rollups.fold_uses())
    assert rows(addresses.admin, "SELECT user_id FROM user_monthly_uses") == []
    assert rows(addresses.admin, "SELECT user_id FROM pending_uses WHERE user_id IS NOT NULL") == []
    assert rows(addresses.admin, "SELECT tool_name, uses_to_day[31] FROM tool_monthly_uses") == [("t", 3)]
    assert acme.execute(rollups.find_use_drift(today)) == []


def test_a_user_of_another_tenant_is_neither_seen_nor_deleted(
    addresses: Addresses, acme: Api, api: Callable[[str], Api]
) -> None:
    new_user(acme, "u1")
    globex = api("globex")
    before = contents(addresses.admin)
    assert globex.execute(users.get_user("u1")) is None
    assert globex.execute(users.delete_user("u1")) == UNKNOWN
    assert contents(addresses.admin) == before


def test_deleting_a_user_leaves_the_one_of_the_same_id_in_another_tenant(
    addresses: Addresses, acme: Api, api: Callable[[str], Api]
) -> None:
    globex = api("globex")
    for tenant in (acme, globex):
        new_user(tenant, "u1")
        new_skill(tenant, "s1")
        tenant.execute(
            ratings.rate_skill("u1", "s1", 2),
            usage.record_usage_event(NewUsageEvent(tool_name="t", skill_id="s1", user_id="u1")),
        )
    assert globex.execute(users.delete_user("u1")) == GONE
    assert acme.execute(skills.get_skill("s1")).average_rating == 200
    assert rows(addresses.admin, "SELECT tenant_id, user_id FROM usage_events ORDER BY 1") == [
        ("acme", "u1"),
        ("globex", None),
    ]


# Transferring skills, and the words by which they are found

NOT_INDEXED = """
SELECT s.id, s.author_id
FROM skills AS s
LEFT JOIN users AS u ON u.tenant_id = s.tenant_id AND u.id = s.author_id
LEFT JOIN skill_search AS x ON x.tenant_id = s.tenant_id AND x.skill_id = s.id
WHERE x.words IS DISTINCT FROM search_document(s.name, s.slug, s.tags, s.description, u.name)
"""


def test_the_words_of_skills_follow_the_name_of_the_author(addresses: Addresses, acme: Api) -> None:
    for user in ("u1", "u2", "u3"):
        new_user(acme, user)
    for skill in ("s1", "s2", "s3"):
        new_skill(acme, skill, author_id="u1")
    changes: list[UserUpdate] = [{"name": "Another"}, {"name": None}, {"name": "Last", "email": "l@example.com"}]
    for change in changes:
        assert acme.execute(users.update_user("u1", change)).name == change["name"]
        assert rows(addresses.admin, NOT_INDEXED) == []
    acme.execute(skills.transfer_skills("u1", "u2"))
    assert rows(addresses.admin, NOT_INDEXED) == []
    assert delete_whole_user(acme, "u2", successor_id="u3", limit=2) == 2
    assert rows(addresses.admin, NOT_INDEXED) == []
    assert acme.execute(users.delete_user("u3")) == GONE
    assert rows(addresses.admin, NOT_INDEXED) == []
    assert rows(addresses.admin, "SELECT count(*) FROM skill_search WHERE words @@ 'u1 | u2 | u3 | last'::tsquery") == [
        (0,)
    ]


def test_all_skills_of_a_user_get_another_author_and_are_no_news(acme: Api, api: Callable[[str], Api]) -> None:
    globex = api("globex")
    for tenant in (acme, globex):
        for user in ("u1", "u2"):
            new_user(tenant, user)
        for skill, author in (("s1", "u1"), ("s2", "u1"), ("s3", "u2"), ("s4", None)):
            new_skill(tenant, skill, author_id=author)
    before = {skill.id: skill for skill in acme.execute(skills.list_skills()).items}
    assert acme.execute(skills.transfer_skills("u1", "u2")) == 2
    after = {skill.id: skill for skill in acme.execute(skills.list_skills()).items}
    assert after == {id: replace(skill, author_id="u2" if skill.author_id else None) for id, skill in before.items()}
    assert acme.execute(skills.transfer_skills("u1", "u2")) == 0
    assert acme.execute(skills.transfer_skills("u2", "u2")) == 3
    assert {skill.author_id for skill in globex.execute(skills.list_skills()).items} == {"u1", "u2", None}


def test_skills_are_transferred_from_and_to_users_who_are_there(addresses: Addresses, acme: Api) -> None:
    new_user(acme, "u1")
    for pair in (("u1", "nobody"), ("nobody", "u1"), ("nobody", "nobody")):
        with refused(addresses, NotFoundError, "user 'nobody' does not exist", cause=pg.NoDataFound):
            acme.execute(skills.transfer_skills(*pair))
