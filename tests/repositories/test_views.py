"""Tests views and what's new: every published change is listed, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from psycopg import errors as pg

import skilldb
from skilldb.errors import InvalidValueError, NotFoundError
from skilldb.models import (
    NewSkillVersion,
    NewUsageEvent,
    SkillChanges,
    SkillUpdate,
    UserSkillView,
    ViewedSkill,
    WhatsNewItem,
)
from skilldb.repositories import metrics, ratings, skills, usage, views
from tests.support.api import Api, new_skill, new_user
from tests.support.database import contents, refused, rows
from tests.support.server import Addresses

FUTURE = datetime(2999, 1, 1, tzinfo=UTC)

pytestmark = pytest.mark.usefixtures("zone")


@pytest.fixture
def acme(api: Callable[[str], Api]) -> Api:
    """An organisation with the users u1 and u2 and the skills s1 to s3, of which s1 has a version."""
    tenant = api("acme")
    for user in ("u1", "u2"):
        new_user(tenant, user)
    for skill in ("s1", "s2", "s3"):
        new_skill(tenant, skill)
    publish(tenant, "s1", "1")
    return tenant


def publish(tenant: Api | skilldb.Transaction, skill_id: str, hash: str) -> None:
    """Publish content whose hash repeats that digit."""
    version = NewSkillVersion(content_url=f"file:{hash}", content_hash=hash * 64)
    tenant.execute(skills.publish_skill_version(skill_id, version))


def an_hour_passes(addresses: Addresses) -> None:
    """Move all times an hour back, so that the next change is later and not in the same millisecond."""
    for table, column in (
        ("skills", "updated_at"),
        ("skill_versions", "created_at"),
        ("skills", "edited_at"),
        ("user_skill_views", "last_viewed_at"),
        ("skill_feedback", "created_at"),
    ):
        rows(addresses.admin, f"UPDATE {table} SET {column} = {column} - interval '1 hour' RETURNING 1")  # noqa: S608


def feedback(addresses: Addresses, skill_id: str) -> None:
    """Submit a feedback item on the skill."""
    rows(
        addresses.admin,
        "INSERT INTO skill_feedback (tenant_id, skill_id, feedback_type) "
        "VALUES ('acme', %s, 'suggestion') RETURNING id",
        skill_id,
    )


def whats_new(tenant: Api, user_id: str = "u1", **more: int) -> list[str]:
    """The ids of what's new for the user. Their number, without a limit, must be the counted one."""
    found, whole, counted = tenant.execute(
        views.get_whats_new_for_user(user_id, **more),
        views.get_whats_new_for_user(user_id, **more | {"limit": 1_000_000}),
        views.count_whats_new(user_id, more.get("days", 30)),
    )
    assert counted == len(whole)
    assert whole[: len(found)] == found
    return [item.skill_id for item in found]


# Recording


def test_a_first_view_counts_one_and_a_repeat_adds_one(addresses: Addresses, acme: Api) -> None:
    assert acme.execute(views.record_skill_view("u1", "s1", 1)) is None
    first: UserSkillView = acme.execute(views.get_user_view("u1", "s1"))
    assert first == UserSkillView(
        id=first.id,
        user_id="u1",
        skill_id="s1",
        last_viewed_at=first.last_viewed_at,
        last_viewed_version=1,
        view_count=1,
    )
    assert first.last_viewed_at.utcoffset() is not None
    an_hour_passes(addresses)
    acme.execute(views.record_skill_view("u1", "s1", 2))
    second = acme.execute(views.get_user_view("u1", "s1"))
    assert (second.id, second.view_count, second.last_viewed_version) == (first.id, 2, 2)
    assert second.last_viewed_at >= first.last_viewed_at
    acme.execute(views.record_skill_view("u1", "s1", None))
    assert acme.execute(views.get_user_view("u1", "s1")).last_viewed_version is None
    assert acme.execute(views.get_user_view("u2", "s1"), views.get_user_view("u1", "s2")) == (None, None)


def test_views_are_counted_beyond_the_last_32_bit_integer(addresses: Addresses, acme: Api) -> None:
    acme.execute(views.record_skill_view("u1", "s1", 1))
    rows(addresses.admin, "UPDATE user_skill_views SET view_count = %s RETURNING id", 2**31 - 1)
    acme.execute(views.record_skill_view("u1", "s1", 1), views.open_skill("u1", "s1"))
    assert acme.execute(views.get_user_view("u1", "s1")).view_count == 2**31 + 1


def test_the_skills_viewed_last_come_newest_first_with_their_names(addresses: Addresses, acme: Api) -> None:
    assert acme.execute(views.list_recently_viewed("u1")) == []
    for skill in ("s2", "s1", "s3"):
        acme.execute(views.open_skill("u1", skill))
        an_hour_passes(addresses)
    acme.execute(views.open_skill("u2", "s2"))
    acme.execute(views.open_skill("u1", "s2"))
    acme.execute(skills.update_skill("s3", SkillUpdate(name="Renamed", slug="other", status="archived")))
    found: list[ViewedSkill] = acme.execute(views.list_recently_viewed("u1"))
    assert [(item.skill_id, item.view_count) for item in found] == [("s2", 2), ("s3", 1), ("s1", 1)]
    view: UserSkillView = acme.execute(views.get_user_view("u1", "s3"))
    assert found[1] == ViewedSkill(
        skill_id="s3",
        skill_name="Renamed",
        skill_slug="other",
        skill_status="archived",
        last_viewed_at=view.last_viewed_at,
        last_viewed_version=None,
        view_count=1,
    )
    assert acme.execute(views.list_recently_viewed("u1", limit=2)) == found[:2]
    rows(addresses.admin, "UPDATE user_skill_views SET last_viewed_at = %s RETURNING 1", FUTURE)
    assert [item.skill_id for item in acme.execute(views.list_recently_viewed("u1"))] == ["s3", "s2", "s1"]
    assert acme.execute(views.list_recently_viewed("nobody")) == []
    acme.execute(skills.delete_skill("s2"))
    assert [item.skill_id for item in acme.execute(views.list_recently_viewed("u1"))] == ["s3", "s1"]
    for limit in (0, -1, True, "3"):
        with refused(addresses, InvalidValueError, "limit"):
            acme.execute(views.list_recently_viewed("u1", limit=limit))  # type: ignore[arg-type]


def test_last_viewed_at_never_goes_backwards(addresses: Addresses, acme: Api) -> None:
    acme.execute(views.record_skill_view("u1", "s1", 1))
    rows(addresses.admin, "UPDATE user_skill_views SET last_viewed_at = %s RETURNING 1", FUTURE)
    acme.execute(views.record_skill_view("u1", "s1", 2))
    found = acme.execute(views.get_user_view("u1", "s1"))
    assert (found.last_viewed_at, found.last_viewed_version, found.view_count) == (FUTURE, 2, 2)
    acme.execute(views.open_skill("u1", "s1"))
    found = acme.execute(views.get_user_view("u1", "s1"))
    assert (found.last_viewed_at, found.last_viewed_version, found.view_count) == (FUTURE, 1, 3)


def test_a_view_reads_what_was_seen_before_it_in_the_same_execute(acme: Api) -> None:
    seen, _, now = acme.execute(
        views.get_user_view("u1", "s1"), views.record_skill_view("u1", "s1", 1), views.get_user_view("u1", "s1")
    )
    assert (seen, now.view_count) == (None, 1)


def test_a_view_that_cannot_be_is_refused(addresses: Addresses, acme: Api) -> None:
    acme.execute(views.record_skill_view("u1", "s1", 1))
    for user, skill, message, cause in (
        ("nobody", "s1", "user 'nobody' does not exist", pg.NoDataFound),
        ("u1", "missing", "skill 'missing' does not exist", pg.ForeignKeyViolation),
    ):
        with refused(addresses, NotFoundError, message, cause=cause):
            acme.execute(views.record_skill_view(user, skill, 1))
    for version in (0, -1):
        for user in ("u1", "u2"):
            with refused(addresses, InvalidValueError, "version", str(version), cause=pg.CheckViolation):
                acme.execute(views.record_skill_view(user, "s1", version))
    with refused(addresses, InvalidValueError, "current_version", str(2**31)):
        acme.execute(views.record_skill_view("u1", "s1", 2**31))
    with refused(addresses, InvalidValueError, "skill_id", r"'a\x00'"):
        acme.execute(views.record_skill_view("u1", "a\0", 1))


def test_views_of_many_skills_are_found_by_skill_in_one_query(acme: Api) -> None:
    acme.execute(
        views.record_skill_view("u1", "s1", 1),
        views.record_skill_view("u1", "s2", None),
        views.record_skill_view("u1", "s2", None),
        views.record_skill_view("u1", "s3", None),
        views.record_skill_view("u2", "s1", 1),
    )
    wanted = ["s1", "s2", "missing", "s1"]
    statement = views.get_user_views_for_skills("u1", wanted)
    assert len(statement.steps) == len(views.get_user_views_for_skills("u1", ["s1"] * 1000).steps) == 1
    s1, s2 = acme.execute(views.get_user_view("u1", "s1"), views.get_user_view("u1", "s2"))
    assert acme.execute(statement) == {"s1": s1, "s2": s2}
    assert s2.view_count == 2
    assert acme.execute(views.get_user_views_for_skills("u1", iter(wanted))) == {"s1": s1, "s2": s2}
    for order in (["s1", "s2"], ["s2", "s1"]):
        assert list(acme.execute(views.get_user_views_for_skills("u1", order))) == order
    assert acme.execute(views.get_user_views_for_skills("nobody", wanted)) == {}


def test_views_of_no_skills_are_none_and_nothing_is_sent(addresses: Addresses, acme: Api) -> None:
    nothing = views.get_user_views_for_skills("u1", [])
    assert acme.execute(nothing) == {}
    assert nothing.steps == ()
    with skilldb.connect(addresses.service) as closed:
        tenant = closed.tenant("acme")
    assert tenant.execute(nothing) == {}

    async def after_closing() -> dict[str, UserSkillView]:
        async with skilldb.connect_async(addresses.service) as closed:
            tenant = closed.tenant("acme")
        return await tenant.execute(nothing)

    assert asyncio.run(after_closing()) == {}


# What's new


def test_a_skill_that_changed_after_its_view_is_new_until_it_is_viewed_again(addresses: Addresses, acme: Api) -> None:
    acme.execute(*(views.record_skill_view("u1", skill, 1 if skill == "s1" else None) for skill in ("s1", "s2", "s3")))
    assert whats_new(acme) == []
    an_hour_passes(addresses)
    assert whats_new(acme) == []
    publish(acme, "s1", "2")
    changed, seen = acme.execute(skills.get_skill("s1"), views.get_user_view("u1", "s1"))
    assert acme.execute(views.get_whats_new_for_user("u1")) == [
        WhatsNewItem(
            skill_id="s1",
            skill_name="S1",
            skill_slug="s1",
            category="testing",
            updated_at=changed.updated_at,
            last_viewed_at=seen.last_viewed_at,
            view_count=1,
            last_viewed_version=1,
            published_version=2,
        )
    ]
    assert (whats_new(acme, "u2"), whats_new(acme, "nobody")) == ([], [])
    acme.execute(views.record_skill_view("u1", "s1", 2))
    assert whats_new(acme) == []


def test_any_change_of_content_is_new(addresses: Addresses, acme: Api) -> None:
    changes: list[SkillUpdate] = [{"name": "New"}, {"description": "New"}, {"category": "new"}, {"tags": ["new"]}]
    for change in changes:
        acme.execute(views.record_skill_view("u1", "s2", None))
        an_hour_passes(addresses)
        acme.execute(skills.update_skill("s2", change))
        assert whats_new(acme) == ["s2"]
    an_hour_passes(addresses)
    acme.execute(views.record_skill_view("u1", "s2", None), skills.update_skill("s1", {"name": "Not viewed"}))
    assert whats_new(acme) == []


def test_only_published_skills_are_new(addresses: Addresses, acme: Api) -> None:
    acme.execute(views.record_skill_view("u1", "s1", 1))
    an_hour_passes(addresses)
    publish(acme, "s1", "2")
    for status in ("draft", "pending_review", "archived"):
        acme.execute(skills.update_skill("s1", {"status": status}))
        assert whats_new(acme) == []
    acme.execute(skills.update_skill("s1", {"status": "published"}))
    assert whats_new(acme) == ["s1"]


def test_whats_new_covers_the_last_days_newest_first_up_to_the_limit(addresses: Addresses, acme: Api) -> None:
    for number in range(4, 13):
        new_skill(acme, f"s{number}")
    for number in range(1, 13):
        acme.execute(views.record_skill_view("u1", f"s{number}", None))
    rows(addresses.admin, "UPDATE user_skill_views SET last_viewed_at = now() - interval '90 days' RETURNING 1")
    for days, skill in ((31, "s1"), (29, "s2"), (8, "s3")):
        rows(
            addresses.admin,
            "UPDATE skills SET updated_at = now() - make_interval(days => %s) WHERE id = %s RETURNING 1",
            days,
            skill,
        )
    rows(
        addresses.admin,
        "UPDATE skills SET updated_at = now() - make_interval(hours => substr(id, 2)::integer) "
        "WHERE id NOT IN ('s1', 's2', 's3') RETURNING 1",
    )
    newest = [f"s{number}" for number in range(4, 13)]
    assert whats_new(acme) == [*newest, "s3"]
    assert whats_new(acme, limit=20) == [*newest, "s3", "s2"]
    assert whats_new(acme, limit=20, days=7) == newest
    assert whats_new(acme, limit=20, days=60) == [*newest, "s3", "s2", "s1"]
    assert whats_new(acme, limit=1) == ["s4"]
    for wrong in ({"limit": 0}, {"limit": -1}, {"days": 0}, {"days": -1}):
        ((name, value),) = wrong.items()
        with refused(addresses, InvalidValueError, f"{name} must be at least 1, not {value}"):
            acme.execute(views.get_whats_new_for_user("u1", **wrong))
    with refused(addresses, InvalidValueError, "days", str(2**31)):
        whats_new(acme, days=2**31)
    assert acme.execute(views.count_whats_new("u1"), views.count_whats_new("u1", days=60)) == (11, 12)
    for days, message in ((0, "days must be at least 1"), (36_526, "days must be at most 36525")):
        with refused(addresses, InvalidValueError, message):
            acme.execute(views.count_whats_new("u1", days))


def test_what_is_new_for_users_of_many_views_is_counted_as_it_is_listed(addresses: Addresses, acme: Api) -> None:
    """From a thousand views on, the newest skills are read first: all of these days, or too many of them."""
    rows(
        addresses.admin,
        "INSERT INTO skills (tenant_id, id, name, slug, description, category, status, updated_at, published_version) "
        "SELECT 'acme', 'n' || n, 'N', 'n' || n, '', 'c', CASE WHEN n % 7 = 0 THEN 'draft' ELSE 'published' END, "
        "now() - make_interval(hours => 12 + 24 * (n / 40)), 1 + n % 2 FROM generate_series(0, 2399) AS n RETURNING 1",
    )
    for user, share in (("u1", 2), ("u2", 3)):
        rows(
            addresses.admin,
            "INSERT INTO user_skill_views (tenant_id, user_id, skill_id, last_viewed_at, last_viewed_version) "
            "SELECT 'acme', %s, 'n' || n, now() - make_interval(days => n %% 50), 1 "
            "FROM generate_series(0, 2399) AS n WHERE n %% 6 < %s OR n %% 11 = 0 RETURNING 1",
            user,
            share,
        )
    assert rows(addresses.admin, "SELECT count(*) > 1000 FROM user_skill_views GROUP BY user_id") == [(False,), (True,)]
    for user in ("u1", "u2"):
        # In 24 days 823 skills were published; in 30 more than a thousand.
        numbers = [len(whats_new(acme, user, limit=10_000, days=days)) for days in (1, 24, 30, 60)]
        assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("zone", ["America/New_York"], indirect=True)
def test_the_days_of_whats_new_do_not_depend_on_the_sessions_time_zone(
    addresses: Addresses, acme: Api, zone: str
) -> None:
    now = datetime.now(UTC)
    offset = now.astimezone(ZoneInfo(zone)).utcoffset()
    days = next(d for d in range(7, 365) if (now - timedelta(d)).astimezone(ZoneInfo(zone)).utcoffset() != offset)
    for skill, minutes in (("s2", -30), ("s3", 30)):
        acme.execute(views.record_skill_view("u1", skill, None))
        changed = now - timedelta(days=days, minutes=minutes)
        rows(addresses.admin, "UPDATE skills SET updated_at = %s WHERE id = %s RETURNING 1", changed, skill)
    rows(addresses.admin, "UPDATE user_skill_views SET last_viewed_at = '2020-01-01Z' RETURNING 1")
    assert whats_new(acme, days=days) == ["s2"]


def test_a_version_whose_transaction_began_before_the_view_and_committed_after_it_is_new(
    acme: Api, db: skilldb.Database
) -> None:
    with db.tenant("acme").transaction() as publisher:
        publisher.execute(skills.get_skill("s1"))
        acme.execute(views.open_skill("u1", "s1"), views.record_skill_view("u1", "s2", None))
        publish(publisher, "s1", "2")
        publish(publisher, "s2", "1")
        assert whats_new(acme) == []
    found = {item.skill_id: item for item in acme.execute(views.get_whats_new_for_user("u1"))}
    assert {id: (i.last_viewed_version, i.published_version) for id, i in found.items()} == {
        "s1": (1, 2),
        "s2": (None, 1),
    }
    assert all(item.updated_at <= item.last_viewed_at for item in found.values())
    assert [acme.execute(views.open_skill("u1", skill)).version_rose for skill in ("s1", "s2")] == [True, True]
    assert whats_new(acme) == []


def test_a_version_published_in_the_millisecond_of_the_view_is_new(addresses: Addresses, acme: Api) -> None:
    acme.execute(views.record_skill_view("u1", "s1", 1))
    publish(acme, "s1", "2")
    rows(
        addresses.admin, "UPDATE user_skill_views SET last_viewed_at = (SELECT max(updated_at) FROM skills) RETURNING 1"
    )
    rows(addresses.admin, "UPDATE skills SET updated_at = (SELECT max(updated_at) FROM skills) RETURNING 1")
    assert whats_new(acme) == ["s1"]
    assert acme.execute(views.detect_changes("u1", "s1")).version_rose is True


def test_the_version_that_was_shown_counts_and_not_the_current_one(acme: Api) -> None:
    publish(acme, "s1", "2")
    acme.execute(views.record_skill_view("u1", "s1", 1), views.record_skill_view("u2", "s1", 2))
    assert (whats_new(acme, "u1"), whats_new(acme, "u2")) == (["s1"], [])
    assert acme.execute(views.detect_changes("u1", "s1")).version_rose is True
    assert acme.execute(views.detect_changes("u2", "s1")).version_rose is False


def test_an_earlier_version_that_is_published_again_is_new_to_who_saw_another(addresses: Addresses, acme: Api) -> None:
    publish(acme, "s1", "2")
    acme.execute(views.open_skill("u1", "s1"), views.record_skill_view("u2", "s1", 1))
    acme.execute(skills.publish_existing_version("s1", 1))
    # As if the views were later: then only the numbers tell.
    rows(addresses.admin, "UPDATE user_skill_views SET last_viewed_at = last_viewed_at + interval '1 hour' RETURNING 1")
    assert (whats_new(acme, "u1"), whats_new(acme, "u2")) == (["s1"], [])
    (item,) = acme.execute(views.get_whats_new_for_user("u1"))
    assert (item.last_viewed_version, item.published_version) == (2, 1)
    found = acme.execute(views.detect_changes("u1", "s1"))
    assert (found.last_viewed_version, found.current_version) == (2, 1)
    assert (found.version_rose, found.version_changed, found.content_changed) == (False, True, False)
    assert acme.execute(views.detect_changes("u2", "s1")).version_changed is False
    assert acme.execute(views.open_skill("u1", "s1")) == found
    assert acme.execute(views.get_user_view("u1", "s1")).last_viewed_version == 1
    assert (whats_new(acme, "u1"), acme.execute(views.detect_changes("u1", "s1")).version_changed) == ([], False)


def test_a_version_that_was_replaced_and_published_again_since_the_view_is_new(addresses: Addresses, acme: Api) -> None:
    acme.execute(views.open_skill("u1", "s1"))
    an_hour_passes(addresses)
    publish(acme, "s1", "2")
    acme.execute(skills.publish_existing_version("s1", 1))
    assert whats_new(acme) == ["s1"]


def test_a_change_of_counters_is_not_new(addresses: Addresses, acme: Api) -> None:
    acme.execute(views.record_skill_view("u1", "s1", 1))
    an_hour_passes(addresses)
    feedback(addresses, "s1")
    acme.execute(
        ratings.rate_skill("u2", "s1", 5),
        usage.record_usage_event(NewUsageEvent(tool_name="t", skill_id="s1")),
        usage.record_usage_events([NewUsageEvent(tool_name="t", skill_id="s1")]),
        metrics.increment_skill_uses("s1"),
        metrics.repair_metrics("s1"),
        skills.update_skill("s1", {"name": "S1", "hours_saved": 9}),
        views.record_skill_view("u2", "s1", 1),
    )
    publish(acme, "s1", "1")
    assert whats_new(acme) == []
    found = acme.execute(views.detect_changes("u1", "s1"))
    assert (found.version_rose, found.content_changed, found.feedback_since) == (False, False, 1)


# Changes


def changes(tenant: Api, skill_id: str = "s1") -> tuple[bool, bool]:
    """Whether the version rose and whether other content changed since u1 looked."""
    found = tenant.execute(views.detect_changes("u1", skill_id))
    return found.version_rose, found.content_changed


def test_changes_tell_versions_feedback_and_other_content_since_the_view(addresses: Addresses, acme: Api) -> None:
    feedback(addresses, "s1")
    acme.execute(views.record_skill_view("u2", "s1", 1))
    an_hour_passes(addresses)
    acme.execute(views.record_skill_view("u1", "s1", 1))
    seen = acme.execute(views.get_user_view("u1", "s1"))
    unchanged = SkillChanges(
        skill_id="s1",
        last_viewed_at=seen.last_viewed_at,
        last_viewed_version=1,
        current_version=1,
        version_rose=False,
        version_changed=False,
        feedback_since=0,
        content_changed=False,
    )
    assert acme.execute(views.detect_changes("u1", "s1")) == unchanged
    an_hour_passes(addresses)
    for skill in ("s1", "s1", "s2"):
        feedback(addresses, skill)
    before = contents(addresses.admin)
    since = replace(unchanged, last_viewed_at=seen.last_viewed_at - timedelta(hours=1), feedback_since=2)
    assert acme.execute(views.detect_changes("u1", "s1")) == since
    assert contents(addresses.admin) == before
    publish(acme, "s1", "2")
    publish(acme, "s1", "3")
    assert acme.execute(views.detect_changes("u1", "s1")) == replace(
        since, current_version=3, version_rose=True, version_changed=True
    )
    acme.execute(skills.update_skill("s1", {"tags": ["new"]}))
    rows(addresses.admin, "UPDATE skills SET edited_at = edited_at + interval '1 minute' RETURNING 1")
    assert changes(acme) == (True, True)
    assert acme.execute(views.detect_changes("u2", "s1")).feedback_since == 2


def test_each_change_of_content_is_reported_without_a_version(addresses: Addresses, acme: Api) -> None:
    each: list[SkillUpdate] = [
        {"name": "New"},
        {"description": "New"},
        {"category": "new"},
        {"tags": ["new"]},
        {"status": "archived"},
    ]
    for skill, version in (("s1", 1), ("s2", None)):
        for change in each:
            acme.execute(views.record_skill_view("u1", skill, version))
            assert changes(acme, skill) == (False, False)
            an_hour_passes(addresses)
            acme.execute(skills.update_skill(skill, change))
            assert changes(acme, skill) == (False, True)
        acme.execute(views.record_skill_view("u1", skill, version))
        assert changes(acme, skill) == (False, False)


def test_a_first_version_is_a_risen_version_and_no_other_content(addresses: Addresses, acme: Api) -> None:
    acme.execute(views.record_skill_view("u1", "s2", None))
    an_hour_passes(addresses)
    publish(acme, "s2", "1")
    found = acme.execute(views.detect_changes("u1", "s2"))
    assert (found.last_viewed_version, found.current_version) == (None, 1)
    assert changes(acme, "s2") == (True, False)


def test_a_rename_that_was_published_since_is_a_change_of_other_content(addresses: Addresses, acme: Api) -> None:
    acme.execute(views.record_skill_view("u1", "s1", 1))
    an_hour_passes(addresses)
    acme.execute(skills.update_skill("s1", {"name": "New"}))
    an_hour_passes(addresses)
    publish(acme, "s1", "2")
    assert changes(acme) == (True, True)


def test_a_retag_that_was_published_since_is_a_change_of_other_content(addresses: Addresses, acme: Api) -> None:
    acme.execute(views.record_skill_view("u1", "s1", 1))
    an_hour_passes(addresses)
    acme.execute(skills.update_skill("s1", {"tags": ["new"]}))
    an_hour_passes(addresses)
    publish(acme, "s1", "2")
    assert changes(acme) == (True, True)


def test_a_rename_before_the_view_is_no_change_when_a_version_follows_it(addresses: Addresses, acme: Api) -> None:
    acme.execute(skills.update_skill("s1", {"name": "New"}))
    an_hour_passes(addresses)
    acme.execute(views.record_skill_view("u1", "s1", 1))
    an_hour_passes(addresses)
    publish(acme, "s1", "2")
    assert changes(acme) == (True, False)


def test_versions_alone_are_no_change_of_other_content_whichever_transaction_began_first(
    addresses: Addresses, acme: Api, db: skilldb.Database
) -> None:
    acme.execute(views.record_skill_view("u1", "s1", 1))
    an_hour_passes(addresses)
    with db.tenant("acme").transaction() as early:
        early.execute(skills.get_skill("s1"))
        publish(acme, "s1", "2")
        # The early transaction began a minute before, however fast the test is.
        rows(addresses.admin, "UPDATE skills SET updated_at = updated_at + interval '1 minute' RETURNING 1")
        rows(
            addresses.admin,
            "UPDATE skill_versions SET created_at = created_at + interval '1 minute' WHERE version = 2 RETURNING 1",
        )
        publish(early, "s1", "3")
    assert changes(acme) == (True, False)


def test_a_skill_never_viewed_has_no_changes(acme: Api) -> None:
    acme.execute(views.record_skill_view("u1", "s1", 1))
    for user, skill in (("u2", "s1"), ("u1", "s2"), ("nobody", "s1"), ("u1", "missing")):
        assert acme.execute(views.detect_changes(user, skill)) is None


# Opening


def test_opening_tells_the_changes_and_then_records_the_very_version_it_told(addresses: Addresses, acme: Api) -> None:
    assert acme.execute(views.open_skill("u1", "s1")) is None
    seen = acme.execute(views.get_user_view("u1", "s1"))
    assert (seen.view_count, seen.last_viewed_version) == (1, 1)
    an_hour_passes(addresses)
    publish(acme, "s1", "2")
    feedback(addresses, "s1")
    expected = acme.execute(views.detect_changes("u1", "s1"))
    assert (expected.version_rose, expected.current_version, expected.feedback_since) == (True, 2, 1)

    assert acme.execute(views.open_skill("u1", "s1")) == expected

    again = acme.execute(views.get_user_view("u1", "s1"))
    assert (again.view_count, again.last_viewed_version) == (2, 2)
    assert again.last_viewed_at > expected.last_viewed_at
    assert whats_new(acme) == []
    assert changes(acme) == (False, False)


def test_opening_a_skill_without_a_version_records_none(acme: Api) -> None:
    assert acme.execute(views.open_skill("u1", "s2")) is None
    assert acme.execute(views.get_user_view("u1", "s2")).last_viewed_version is None
    found = acme.execute(views.open_skill("u1", "s2"))
    assert (found.last_viewed_version, found.current_version, found.version_rose) == (None, None, False)


def test_opening_records_nothing_for_an_unknown_user_or_skill(addresses: Addresses, acme: Api) -> None:
    with refused(addresses, NotFoundError, "user 'nobody' does not exist", cause=pg.NoDataFound):
        acme.execute(views.open_skill("nobody", "s1"))
    with refused(addresses, NotFoundError, "skill 'missing' does not exist", cause=pg.ForeignKeyViolation):
        acme.execute(views.open_skill("u1", "missing"))


def test_another_tenant_sees_no_view_and_nothing_new(
    addresses: Addresses, acme: Api, api: Callable[[str], Api]
) -> None:
    acme.execute(views.record_skill_view("u1", "s1", 1))
    publish(acme, "s1", "2")
    globex = api("globex")
    before = contents(addresses.admin)
    nothing: tuple[Any, ...] = (None, {}, [], None)
    statements = (
        views.get_user_view("u1", "s1"),
        views.get_user_views_for_skills("u1", ["s1"]),
        views.get_whats_new_for_user("u1"),
        views.detect_changes("u1", "s1"),
    )
    assert globex.execute(*statements) == nothing
    for statement in (views.record_skill_view("u1", "s1", 1), views.open_skill("u1", "s1")):
        with pytest.raises(NotFoundError, match="does not exist"):
            globex.execute(statement)
    assert contents(addresses.admin) == before
    new_user(globex, "u1")
    new_skill(globex, "s1")
    assert globex.execute(*statements) == nothing
    assert globex.execute(views.open_skill("u1", "s1")) is None
    assert acme.execute(views.get_user_view("u1", "s1")).view_count == 1
