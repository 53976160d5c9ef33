"""Tests ratings, one per user and skill, and the count and average that follow them."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from psycopg import errors as pg

from skilldb.errors import InvalidValueError, NotFoundError
from skilldb.models import Page, Rating, RatingWithUser
from skilldb.repositories import metrics, ratings, skills, users
from tests.support.api import Api, new_skill, new_user
from tests.support.database import contents, refused, rows
from tests.support.server import Addresses

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def acme(api: Callable[[str], Api]) -> Api:
    """An organisation with the users u1 to u3 and the skills s1 and s2."""
    tenant = api("acme")
    for user in ("u1", "u2", "u3"):
        new_user(tenant, user)
    for skill in ("s1", "s2"):
        new_skill(tenant, skill)
    return tenant


def named(rating: Rating, user_name: str | None) -> RatingWithUser:
    return RatingWithUser(**asdict(rating), user_name=user_name)


def average(tenant: Api, skill_id: str) -> tuple[int, int | None]:
    """The stored count and average of a skill's ratings. They must agree with the rows."""
    assert tenant.execute(metrics.find_metric_drift()) == []
    skill = tenant.execute(skills.get_skill(skill_id))
    return skill.rating_count, skill.average_rating


def test_a_rating_is_returned_and_listed(acme: Api) -> None:
    full: Rating = acme.execute(ratings.rate_skill("u1", "s1", 5, comment="très bien", hours_saved_estimate=0))
    assert full == Rating(
        id=full.id,
        skill_id="s1",
        user_id="u1",
        rating=5,
        comment="très bien",
        hours_saved_estimate=0,
        created_at=full.created_at,
        updated_at=full.updated_at,
    )
    assert str(UUID(full.id)) == full.id
    assert full.updated_at.utcoffset() is not None
    bare = acme.execute(ratings.rate_skill("u1", "s2", 1))
    assert (bare.rating, bare.comment, bare.hours_saved_estimate) == (1, None, None)
    assert acme.execute(ratings.list_ratings("s1"), ratings.list_ratings("s2")) == (
        Page(items=[named(full, "U1")], after=None),
        Page(items=[named(bare, "U1")], after=None),
    )
    assert acme.execute(ratings.get_rating("u1", "s1"), ratings.get_rating("u1", "s2")) == (full, bare)
    for user, skill in (("u2", "s1"), ("nobody", "s1"), ("u1", "missing")):
        assert acme.execute(ratings.get_rating(user, skill)) is None


def test_ratings_are_listed_with_names_and_without_one_user_if_asked(acme: Api) -> None:
    acme.execute(users.create_user("nameless@example.com", id="nameless"))
    found = {user: acme.execute(ratings.rate_skill(user, "s1", 3)) for user in ("u1", "u2", "nameless")}
    names = {"u1": "U1", "u2": "U2", "nameless": None}
    for left_out, listed in (
        (None, {"u1", "u2", "nameless"}),
        ("u2", {"u1", "nameless"}),
        ("u3", {"u1", "u2", "nameless"}),
        ("nobody", {"u1", "u2", "nameless"}),
    ):
        page = acme.execute(ratings.list_ratings("s1", except_user_id=left_out))
        assert {r.user_id: r for r in page.items} == {user: named(found[user], names[user]) for user in listed}
    first = acme.execute(ratings.list_ratings("s1", except_user_id="u2", limit=1))
    second = acme.execute(ratings.list_ratings("s1", except_user_id="u2", limit=1, after=first.after))
    assert {r.user_id for page in (first, second) for r in page.items} == {"u1", "nameless"}
    assert second.after is None


def test_ratings_of_another_system_keep_their_times_and_replace_no_later_one(addresses: Addresses, acme: Api) -> None:
    given = LONG_AGO + timedelta(microseconds=123_999)
    cut = LONG_AGO + timedelta(microseconds=123_000)
    first = acme.execute(ratings.rate_skill("u1", "s1", 5, comment="first", created_at=given))
    assert (first.rating, first.created_at, first.updated_at) == (5, cut, cut)
    acme.execute(ratings.rate_skill("u2", "s1", 1))
    assert average(acme, "s1") == (2, 300)

    # The same time replaces, so that an import can be repeated. So does a later time.
    again = acme.execute(ratings.rate_skill("u1", "s1", 4, created_at=given))
    assert (again.id, again.rating, again.comment, again.created_at, again.updated_at) == (first.id, 4, None, cut, cut)
    later = acme.execute(ratings.rate_skill("u1", "s1", 3, comment="later", created_at=given + timedelta(days=1)))
    assert (later.rating, later.created_at, later.updated_at) == (3, cut, cut + timedelta(days=1))
    assert average(acme, "s1") == (2, 200)

    before = acme.execute(skills.get_skill("s1"))
    assert acme.execute(ratings.rate_skill("u1", "s1", 1, created_at=given)) == later
    assert acme.execute(ratings.get_rating("u1", "s1"), skills.get_skill("s1")) == (later, before)
    assert average(acme, "s1") == (2, 200)

    now = acme.execute(ratings.rate_skill("u1", "s1", 5))
    assert (now.rating, now.created_at) == (5, cut)
    assert now.updated_at > later.updated_at
    rows(addresses.admin, "UPDATE ratings SET updated_at = '2999-01-01Z' RETURNING 1")
    assert acme.execute(ratings.rate_skill("u1", "s1", 2)).rating == 2
    with refused(addresses, InvalidValueError, "created_at must carry a time zone"):
        acme.execute(ratings.rate_skill("u1", "s1", 3, created_at=datetime(2026, 1, 1)))


def test_a_second_rating_replaces_all_of_the_first(addresses: Addresses, acme: Api) -> None:
    acme.execute(ratings.rate_skill("u1", "s1", 5, comment="good", hours_saved_estimate=3))
    acme.execute(ratings.rate_skill("u2", "s1", 4))
    rows(addresses.admin, "UPDATE ratings SET created_at = %s, updated_at = %s RETURNING 1", LONG_AGO, LONG_AGO)
    (first,) = (r for r in acme.execute(ratings.list_ratings("s1")).items if r.user_id == "u1")

    second = acme.execute(ratings.rate_skill("u1", "s1", 2))

    assert (second.id, second.created_at) == (first.id, LONG_AGO)
    assert (second.rating, second.comment, second.hours_saved_estimate) == (2, None, None)
    assert second.updated_at > LONG_AGO
    assert [r.user_id for r in acme.execute(ratings.list_ratings("s1")).items] == ["u1", "u2"]
    assert average(acme, "s1") == (2, 300)


def test_the_average_is_exact_and_rounds_half_up(acme: Api) -> None:
    for user, rating, expected in (("u1", 1, (1, 100)), ("u2", 2, (2, 150)), ("u3", 2, (3, 167))):
        acme.execute(ratings.rate_skill(user, "s1", rating))
        assert average(acme, "s1") == expected
    # 33 / 8 is 4.125 and 35 / 8 is 4.375: halves are rounded up, after an even and after an odd digit.
    for number in range(4, 9):
        new_user(acme, f"u{number}")
    for number in range(1, 9):
        acme.execute(ratings.rate_skill(f"u{number}", "s1", 5 if number == 1 else 4))
    assert average(acme, "s1") == (8, 413)
    for number in (2, 3):
        acme.execute(ratings.rate_skill(f"u{number}", "s1", 5))
    assert average(acme, "s1") == (8, 438)
    assert average(acme, "s2") == (0, None)


def test_a_rating_moves_metrics_updated_at_of_its_skill_and_never_updated_at(addresses: Addresses, acme: Api) -> None:
    for change in (
        ratings.rate_skill("u1", "s1", 3),
        ratings.rate_skill("u1", "s1", 3),
        ratings.delete_rating("u1", "s1"),
    ):
        rows(
            addresses.admin,
            "UPDATE skills SET updated_at = %s, metrics_updated_at = %s RETURNING 1",
            LONG_AGO,
            LONG_AGO,
        )
        acme.execute(change)
        rated, other = acme.execute(skills.get_skill("s1"), skills.get_skill("s2"))
        assert rated.metrics_updated_at > LONG_AGO
        assert (rated.updated_at, other.updated_at, other.metrics_updated_at) == (LONG_AGO,) * 3


def test_a_rating_that_cannot_be_is_refused(addresses: Addresses, acme: Api) -> None:
    acme.execute(ratings.rate_skill("u1", "s1", 3))
    for rating in (0, 6, -1):
        with refused(addresses, InvalidValueError, f"rating {rating} ", cause=pg.CheckViolation):
            acme.execute(ratings.rate_skill("u1", "s1", rating))
        with refused(addresses, InvalidValueError, f"rating {rating} ", cause=pg.CheckViolation):
            acme.execute(ratings.rate_skill("u2", "s1", rating))
    for wrong in (2**31, True, 3.5, "3"):
        with refused(addresses, InvalidValueError, "rating", str(wrong)):
            acme.execute(ratings.rate_skill("u2", "s1", wrong))  # type: ignore[arg-type]
    with refused(addresses, InvalidValueError, "hours_saved_estimate -1", cause=pg.CheckViolation):
        acme.execute(ratings.rate_skill("u2", "s1", 3, hours_saved_estimate=-1))
    with refused(addresses, InvalidValueError, "comment", r"'a\x00'"):
        acme.execute(ratings.rate_skill("u2", "s1", 3, comment="a\0"))
    with refused(addresses, NotFoundError, "user 'nobody' does not exist", cause=pg.NoDataFound):
        acme.execute(ratings.rate_skill("nobody", "s1", 3))
    with refused(addresses, NotFoundError, "skill 'missing' does not exist", cause=pg.NoDataFound):
        acme.execute(ratings.rate_skill("u2", "missing", 3))
    assert average(acme, "s1") == (1, 300)


def test_a_deleted_rating_leaves_count_and_average(addresses: Addresses, acme: Api) -> None:
    for user, rating in (("u1", 1), ("u2", 4)):
        acme.execute(ratings.rate_skill(user, "s1", rating), ratings.rate_skill(user, "s2", rating))
    assert acme.execute(ratings.delete_rating("u1", "s1")) is True
    assert [r.user_id for r in acme.execute(ratings.list_ratings("s1")).items] == ["u2"]
    assert (average(acme, "s1"), average(acme, "s2")) == ((1, 400), (2, 250))
    assert acme.execute(ratings.delete_rating("u2", "s1")) is True
    assert average(acme, "s1") == (0, None)

    before = contents(addresses.admin)
    for user, skill in (("u1", "s1"), ("u3", "s1"), ("nobody", "s1"), ("u1", "missing")):
        assert acme.execute(ratings.delete_rating(user, skill)) is False
    assert contents(addresses.admin) == before


def test_ratings_are_listed_newest_first_page_by_page_none_twice_none_lost(addresses: Addresses, acme: Api) -> None:
    for number in range(4, 8):
        new_user(acme, f"u{number}")
    for user in range(1, 8):
        acme.execute(ratings.rate_skill(f"u{user}", "s1", 3), ratings.rate_skill(f"u{user}", "s2", 3))
    # Three ratings share a millisecond, and two share another. Their ids decide the order.
    rows(
        addresses.admin,
        "UPDATE ratings SET id = skill_id || user_id, updated_at = CASE "
        "WHEN user_id IN ('u2', 'u3', 'u6') THEN timestamptz '2026-01-02 00:00:00.123Z' "
        "WHEN user_id IN ('u1', 'u7') THEN '2026-01-01Z' WHEN user_id = 'u4' THEN '2026-01-03Z' "
        "ELSE '2025-01-01Z' END RETURNING 1",
    )
    for limit in (1, 2, 3, 6, 7, 8):
        found: list[Any] = []
        page = acme.execute(ratings.list_ratings("s1", limit=limit))
        while page.after is not None:
            assert len(page.items) == limit
            found += page.items
            page = acme.execute(ratings.list_ratings("s1", limit=limit, after=page.after))
        assert page.items
        assert [r.user_id for r in found + page.items] == ["u4", "u6", "u3", "u2", "u7", "u1", "u5"]
        assert {r.skill_id for r in found + page.items} == {"s1"}


def test_a_limit_below_one_and_a_cursor_that_is_none_are_refused(addresses: Addresses, acme: Api) -> None:
    for limit in (0, -1):
        with refused(addresses, InvalidValueError, f"limit must be at least 1, not {limit}"):
            acme.execute(ratings.list_ratings("s1", limit=limit))
    for cursor in ("", "garbage", urlsafe_b64encode(b"2026-01-01T00:00:00 naive").decode()):
        with refused(addresses, InvalidValueError, "after", repr(cursor)):
            acme.execute(ratings.list_ratings("s1", after=cursor))


def test_another_tenant_sees_and_changes_no_rating(addresses: Addresses, acme: Api, api: Callable[[str], Api]) -> None:
    acme.execute(ratings.rate_skill("u1", "s1", 3))
    globex = api("globex")
    before = contents(addresses.admin)
    assert globex.execute(
        ratings.list_ratings("s1"), ratings.get_rating("u1", "s1"), ratings.delete_rating("u1", "s1")
    ) == (Page(items=[], after=None), None, False)
    with refused(addresses, NotFoundError, "user 'u1' does not exist", cause=pg.NoDataFound):
        globex.execute(ratings.rate_skill("u1", "s1", 3))
    assert contents(addresses.admin) == before
    new_user(globex, "u1")
    with refused(addresses, NotFoundError, "skill 's1' does not exist", cause=pg.NoDataFound):
        globex.execute(ratings.rate_skill("u1", "s1", 3))
    new_skill(globex, "s1")
    globex.execute(ratings.rate_skill("u1", "s1", 5))
    assert (average(acme, "s1"), average(globex, "s1")) == ((1, 300), (1, 500))
