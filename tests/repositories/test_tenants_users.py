"""Tests organisations and users: what is created, found and refused, and what remains of a deleted user."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
from psycopg import errors as pg

from skilldb.errors import (
    AlreadyExistsError,
    InvalidValueError,
    NotFoundError,
    PermissionDeniedError,
    StillReferencedError,
)
from skilldb.models import NewSkillVersion, NewUsageEvent, Tenant, User
from skilldb.repositories import metrics, ratings, skills, tenants, usage, users, views
from tests.support.api import Api, new_skill, new_user
from tests.support.database import contents, refused, rows
from tests.support.server import Addresses


@pytest.fixture
def acme(api: Callable[[str], Api]) -> Api:
    return api("acme")


def without_tenant(addresses: Addresses, acme: Api) -> Api:
    """The same handle, after its organisation was deleted."""
    assert rows(addresses.admin, "DELETE FROM tenants RETURNING id") == [(acme.id,)]
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
    assert rows(addresses.admin, "DELETE FROM tenants WHERE id = 'globex' RETURNING id") == [("globex",)]
    with refused(addresses, AlreadyExistsError, "slug 'acme' is already taken", cause=pg.UniqueViolation):
        globex.execute(tenants.create_tenant("Globex", "acme"))


def test_a_tenants_name_and_slug_are_text(addresses: Addresses, acme: Api) -> None:
    without_tenant(addresses, acme)
    with refused(addresses, InvalidValueError, "slug", "'a\\x00'"):
        acme.execute(tenants.create_tenant("Acme", "a\0"))
    with refused(addresses, InvalidValueError, "name", "None", cause=pg.NotNullViolation):
        acme.execute(tenants.create_tenant(None, "acme"))  # type: ignore[arg-type]


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
    with refused(addresses, InvalidValueError, "email", "'a\\x00'"):
        acme.execute(users.create_user("a\0"))
    with refused(addresses, InvalidValueError, "email", "None", cause=pg.NotNullViolation):
        acme.execute(users.create_user(None))  # type: ignore[arg-type]


def test_a_tenant_that_was_not_created_has_no_users(addresses: Addresses, acme: Api) -> None:
    without_tenant(addresses, acme)
    with refused(addresses, NotFoundError, "tenant 'acme' does not exist", cause=pg.ForeignKeyViolation):
        acme.execute(users.create_user("a@example.com"))


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

    assert acme.execute(users.delete_user("u1")) is True

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

    assert acme.execute(users.delete_user("u1")) is True

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
    assert acme.execute(users.delete_user("u1")) is True
    before = contents(addresses.admin)
    assert acme.execute(users.delete_user("u1")) is False
    assert acme.execute(users.delete_user("nobody")) is False
    assert contents(addresses.admin) == before


def test_a_user_whose_work_is_still_there_is_not_deleted(addresses: Addresses, acme: Api) -> None:
    for user in ("author", "publisher", "trigger"):
        new_user(acme, user)
    new_skill(acme, "s1", author_id="author")
    version = NewSkillVersion(content_url="u", content_hash="a" * 64, created_by="publisher")
    acme.execute(skills.publish_skill_version("s1", version))
    rows(
        addresses.admin,
        "INSERT INTO benchmark_runs (tenant_id, skill_id, triggered_by, models) "
        "VALUES ('acme', 's1', 'trigger', '{}') RETURNING id",
    )
    for user, table in (("author", "skills"), ("publisher", "skill_versions"), ("trigger", "benchmark_runs")):
        acme.execute(
            ratings.rate_skill(user, "s1", 2),
            views.record_skill_view(user, "s1", None),
            usage.record_usage_event(NewUsageEvent(tool_name="t", skill_id="s1", user_id=user)),
        )
        with refused(addresses, StillReferencedError, "user", repr(user), table, cause=pg.ForeignKeyViolation):
            acme.execute(users.delete_user(user))


def test_a_user_of_another_tenant_is_neither_seen_nor_deleted(
    addresses: Addresses, acme: Api, api: Callable[[str], Api]
) -> None:
    new_user(acme, "u1")
    globex = api("globex")
    before = contents(addresses.admin)
    assert globex.execute(users.get_user("u1")) is None
    assert globex.execute(users.delete_user("u1")) is False
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
    assert globex.execute(users.delete_user("u1")) is True
    assert acme.execute(skills.get_skill("s1")).average_rating == 200
    assert rows(addresses.admin, "SELECT tenant_id, user_id FROM usage_events ORDER BY 1") == [
        ("acme", "u1"),
        ("globex", None),
    ]
