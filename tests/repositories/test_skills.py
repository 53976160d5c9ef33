"""Tests skills and their versions: creating, finding, listing, changing, publishing, deleting, and refusals."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import errors as pg

from skilldb.errors import AlreadyExistsError, ConflictError, InvalidValueError, NotFoundError, StillReferencedError
from skilldb.models import NewSkill, NewSkillVersion, NewUsageEvent, Page, Skill, SkillImport, SkillUpdate, SkillVersion
from skilldb.repositories import imports, ratings, skills, usage, users, views
from tests.support.api import Api, new_skill, new_user
from tests.support.database import contents, refused, rows
from tests.support.server import Addresses

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
MISSING = "skill 'missing' does not exist"
NONE: Page[Any] = Page(items=[], after=None)


@pytest.fixture
def acme(api: Callable[[str], Api]) -> Api:
    """An organisation with the user u1 and the skill s1."""
    tenant = api("acme")
    new_user(tenant, "u1")
    new_skill(tenant, "s1")
    return tenant


def version(hash: str, **more: Any) -> NewSkillVersion:
    """Content whose hash repeats that digit."""
    return NewSkillVersion(content_url=f"file:{hash}", content_hash=hash * 64, **more)


def backdate(addresses: Addresses) -> None:
    """Move the last change of all skills far back, so that a later change is visible, also in the same millisecond."""
    assert rows(addresses.admin, "UPDATE skills SET updated_at = %s RETURNING 1", LONG_AGO)


# Creating and finding


def test_a_skill_is_created_as_given_and_found_by_id_and_slug(acme: Api) -> None:
    given = NewSkill(
        id="s2",
        name="Écrire",
        slug="write",
        description="'; DROP TABLE skills; --",
        category="writing",
        tags=["b", "a", 'q"u,o{t}e\\'],
        status="draft",
        hours_saved=0,
        author_id="u1",
    )
    created: Skill = acme.execute(skills.create_skill(given))
    assert created == Skill(
        id="s2",
        name="Écrire",
        slug="write",
        description="'; DROP TABLE skills; --",
        category="writing",
        tags=["b", "a", 'q"u,o{t}e\\'],
        status="draft",
        hours_saved=0,
        author_id="u1",
        published_version_id=None,
        published_version=None,
        created_at=created.created_at,
        updated_at=created.updated_at,
        metrics_updated_at=None,
        total_uses=0,
        rating_count=0,
        average_rating=None,
        total_feedback=0,
        positive_feedback_pct=None,
        avg_token_cost_microcents=None,
    )
    assert created.updated_at.utcoffset() is not None
    assert acme.execute(skills.get_skill("s2"), skills.get_skill_by_slug("write")) == (created, created)
    assert acme.execute(skills.get_skill("write"), skills.get_skill_by_slug("s2")) == (None, None)


def test_a_skill_is_published_untagged_and_saves_an_hour_unless_said_otherwise(acme: Api) -> None:
    created = acme.execute(skills.create_skill(NewSkill(name="n", slug="n", description="", category="c")))
    assert (created.status, created.tags, created.hours_saved, created.author_id) == ("published", [], 1, None)
    assert str(UUID(created.id)) == created.id
    unknown = NewSkill(name="n", slug="m", description="", category="c", hours_saved=None)
    assert acme.execute(skills.create_skill(unknown)).hours_saved is None


def test_a_skill_of_another_system_keeps_its_times_and_those_of_its_versions(addresses: Addresses, acme: Api) -> None:
    year = timedelta(days=365)
    created = new_skill(acme, "s2", created_at=LONG_AGO, updated_at=LONG_AGO + 3 * year)
    assert (created.created_at, created.updated_at) == (LONG_AGO, LONG_AGO + 3 * year)
    assert rows(addresses.admin, "SELECT edited_at FROM skills WHERE id = 's2'") == [(LONG_AGO + 3 * year,)]
    for number, (hash, after, updated) in enumerate([("a", 0, 3), ("b", 1, 3), ("c", 1, 3), ("d", 4, 4)], start=1):
        published = acme.execute(skills.publish_skill_version("s2", version(hash, created_at=LONG_AGO + after * year)))
        assert (published.version, published.created_at) == (number, LONG_AGO + after * year)
        skill = acme.execute(skills.get_skill("s2"))
        moved = skill.updated_at - (LONG_AGO + updated * year)
        assert (skill.published_version, moved // timedelta(milliseconds=1)) == (number, number % 4)
    now = acme.execute(skills.publish_skill_version("s2", version("e")))
    assert now.created_at == acme.execute(skills.get_skill("s2")).updated_at > LONG_AGO + 4 * year
    plain = new_skill(acme, "s3", created_at=LONG_AGO)
    assert plain.updated_at == plain.created_at == LONG_AGO


def test_times_of_another_system_that_cannot_be_are_refused(addresses: Addresses, acme: Api) -> None:
    day = timedelta(days=1)
    with refused(addresses, InvalidValueError, "updated_at must not be before created_at"):
        new_skill(acme, "s2", created_at=LONG_AGO, updated_at=LONG_AGO - day)
    with refused(addresses, InvalidValueError, "updated_at must not be before created_at"):
        new_skill(acme, "s2", updated_at=LONG_AGO)
    for name in ("created_at", "updated_at"):
        for wrong in (datetime(2026, 1, 1), datetime(1, 1, 1, tzinfo=UTC), "2026-01-01"):
            with refused(addresses, InvalidValueError, name):
                new_skill(acme, "s2", **{"created_at": LONG_AGO, name: wrong})
    new_skill(acme, "s2", created_at=LONG_AGO)

    def publish(hash: str, created_at: datetime) -> None:
        acme.execute(skills.publish_skill_version("s2", version(hash, created_at=created_at)))

    with refused(addresses, InvalidValueError, "created_at", "is before 2020-01-01", cause=pg.InvalidParameterValue):
        publish("a", LONG_AGO - timedelta(microseconds=1))
    publish("a", LONG_AGO + 2 * day)
    with refused(addresses, InvalidValueError, "created_at", "is before 2020-01-03", cause=pg.InvalidParameterValue):
        publish("b", LONG_AGO + day)
    with refused(addresses, InvalidValueError, "created_at must carry a time zone"):
        publish("b", datetime(2026, 1, 1))
    # Published content is returned as it is, whatever its time.
    before = contents(addresses.admin)
    publish("a", LONG_AGO - day)
    assert contents(addresses.admin) == before


def test_a_skill_that_cannot_be_is_refused(addresses: Addresses, acme: Api) -> None:
    with refused(addresses, AlreadyExistsError, "slug 's1' is already taken", cause=pg.UniqueViolation):
        new_skill(acme, "s2", slug="s1")
    with refused(addresses, AlreadyExistsError, "id 's1' is already taken", cause=pg.UniqueViolation):
        new_skill(acme, "s1", slug="free")
    with refused(addresses, NotFoundError, "user 'nobody' does not exist", cause=pg.NoDataFound):
        new_skill(acme, "s2", author_id="nobody")
    with refused(addresses, InvalidValueError, "status 'secret'", cause=pg.CheckViolation):
        new_skill(acme, "s2", status="secret")
    with refused(addresses, InvalidValueError, "hours_saved -1", cause=pg.CheckViolation):
        new_skill(acme, "s2", hours_saved=-1)
    with refused(addresses, InvalidValueError, f"hours_saved {2**31}"):
        new_skill(acme, "s2", hours_saved=2**31)
    with refused(addresses, InvalidValueError, "description", r"'a\x00'"):
        new_skill(acme, "s2", description="a\0")
    with refused(addresses, InvalidValueError, "tags", r"'a\x00'"):
        new_skill(acme, "s2", tags=["a\0"])
    with refused(addresses, InvalidValueError, "name", "None", cause=pg.NotNullViolation):
        new_skill(acme, "s2", name=None)


def test_an_error_undoes_the_statements_that_travelled_before_it(addresses: Addresses, acme: Api) -> None:
    with refused(addresses, NotFoundError, MISSING, cause=pg.NoDataFound):
        acme.execute(
            users.create_user("new@example.com"),
            skills.publish_skill_version("s1", version("a")),
            skills.update_skill("missing", {"name": "x"}),
            skills.delete_skill("s1"),
        )


# Listing


def test_skills_are_listed_newest_change_first_page_by_page_none_twice_none_lost(
    addresses: Addresses, acme: Api
) -> None:
    for number in range(2, 8):
        new_skill(acme, f"s{number}")
    # Three skills share a millisecond, and two share another.
    rows(
        addresses.admin,
        "UPDATE skills SET updated_at = CASE WHEN id IN ('s2', 's3', 's6') THEN timestamptz '2026-01-02 00:00:00.123Z' "
        "WHEN id IN ('s1', 's7') THEN '2026-01-01Z' WHEN id = 's4' THEN '2026-01-03Z' ELSE '2025-01-01Z' END "
        "RETURNING 1",
    )
    expected = ["s4", "s6", "s3", "s2", "s7", "s1", "s5"]
    for limit in (1, 2, 3, 6, 7, 8, 1_000_000):
        found: list[str] = []
        page = acme.execute(skills.list_skills(limit=limit))
        while page.after is not None:
            assert len(page.items) == limit
            found += [skill.id for skill in page.items]
            page = acme.execute(skills.list_skills(limit=limit, after=page.after))
        assert found + [skill.id for skill in page.items] == expected
        assert page.items


def test_skills_are_filtered_by_status_category_and_tag(acme: Api) -> None:
    acme.execute(skills.delete_skill("s1"))
    new_skill(acme, "a", category="x", tags=["t", "u"])
    new_skill(acme, "b", category="x", status="draft", tags=["t"])
    new_skill(acme, "c", category="y", tags=["u"])
    new_skill(acme, "d", category="y", status="archived")
    new_skill(acme, "e", category="y", status="pending_review", tags=["t"])

    def listed(**filters: Any) -> str:
        return "".join(sorted(skill.id for skill in acme.execute(skills.list_skills(**filters)).items))

    assert listed() == "ac"
    assert listed(status=None) == "abcde"
    assert [listed(status=s) for s in ("draft", "archived", "pending_review")] == ["b", "d", "e"]
    assert listed(category="x") == "a"
    assert listed(category="x", status=None) == "ab"
    assert listed(tag="t") == "a"
    assert listed(tag="t", status=None) == "abe"
    assert listed(tag="t", category="y", status=None) == "e"
    assert listed(category="none") == listed(tag="none") == listed(status="none") == ""


def test_a_filter_holds_on_every_page(acme: Api) -> None:
    for number in range(2, 6):
        new_skill(acme, f"s{number}", tags=["odd"] if number % 2 else [], category="even or odd")
    filters: dict[str, Any] = {"tag": "odd", "category": "even or odd", "limit": 1}
    first = acme.execute(skills.list_skills(**filters))
    second = acme.execute(skills.list_skills(**filters, after=first.after))
    assert {skill.id for skill in first.items + second.items} == {"s3", "s5"}
    assert second.after is None


def test_a_limit_below_one_and_a_cursor_that_is_none_are_refused(addresses: Addresses, acme: Api) -> None:
    for limit in (0, -1):
        with refused(addresses, InvalidValueError, f"limit must be at least 1, not {limit}"):
            acme.execute(skills.list_skills(limit=limit))
    with refused(addresses, InvalidValueError, "limit", str(2**63)):
        acme.execute(skills.list_skills(limit=2**63))
    made_up = ("no time s1", "2026-01-01T00:00:00 s1", "2026-01-01T00:00:00+00:00 s\0", "")
    for cursor in ("", "garbage", "s1", "ä", "====", *(urlsafe_b64encode(text.encode()).decode() for text in made_up)):
        with refused(addresses, InvalidValueError, "after"):
            acme.execute(skills.list_skills(after=cursor))


def test_skills_are_sorted_by_name_or_highest_figure_first_page_by_page(addresses: Addresses, acme: Api) -> None:
    acme.execute(skills.delete_skill("s1"))
    new_user(acme, "u2")
    figures = {
        "a": ("Zoé", 5, None, 3),
        "b": ("école", 5, 450, None),
        "c": ("Ecole", 0, 450, 0),
        "d": ("éclair", 9, 100, 8),
        "e": ("10 Ways", 7, None, 3),
        "f": ("Ångström", 9, 500, None),
    }
    for id, (name, *_) in figures.items():
        new_skill(acme, id, name=name, author_id="u1" if id in "abc" else "u2", hours_saved=figures[id][3])
    for id, (_, uses, rating, _) in figures.items():
        rows(
            addresses.admin,
            "UPDATE skills SET total_uses = %s, average_rating = %s, updated_at = timestamptz '2026-01-01Z' "
            "+ ascii(id) %% 2 * interval '1 day' WHERE id = %s RETURNING 1",
            uses,
            rating,
            id,
        )
    expected = {"name": "efdbca", "uses": "fdebac", "rating": "fcbdea", "hours_saved": "deacfb", "updated": "ecafdb"}
    for sort, whole in expected.items():
        for author, ids in ((None, whole), ("u1", "".join(id for id in whole if id in "abc"))):
            for limit in (1, 2, 3, 6, 7):
                found = ""
                page = acme.execute(skills.list_skills(sort=sort, author_id=author, limit=limit))
                while page.after is not None:
                    found += "".join(skill.id for skill in page.items)
                    page = acme.execute(skills.list_skills(sort=sort, author_id=author, limit=limit, after=page.after))
                assert found + "".join(skill.id for skill in page.items) == ids, (sort, author, limit)
    assert acme.execute(skills.list_skills(author_id="nobody")).items == []


def test_the_cursor_of_a_long_name_holds_only_what_decides_the_order(acme: Api) -> None:
    """The first 1,000 characters do, and of these the words."""
    for id in "abc":
        new_skill(acme, id, name="…" * 900 + "é" * 50 + f" {id} " + "é" * 100_000, author_id="u1")
    for author in ("u1", None):
        found, after = [], None
        for _ in "abc":
            page = acme.execute(skills.list_skills(sort="name", author_id=author, limit=1, after=after))
            found += [skill.id for skill in page.items]
            after = page.after
            assert len(after or "") < 4_000
        assert found == ["a", "b", "c"]


def test_any_of_several_categories_and_tags_matches_in_every_sort(acme: Api) -> None:
    acme.execute(skills.delete_skill("s1"))
    new_skill(acme, "a", category="x", tags=["t", "u"], author_id="u1")
    new_skill(acme, "b", category="y", tags=["u"])
    new_skill(acme, "c", category="z", tags=["v", "t"], author_id="u1")
    new_skill(acme, "d", category="x", status="draft", tags=["t"], author_id="u1")

    for sort in ("updated", "name", "uses", "rating", "hours_saved"):

        def listed(sort: str = sort, **filters: Any) -> str:
            found = acme.execute(skills.list_skills(sort=sort, **filters)).items
            return "".join(sorted(skill.id for skill in found))

        assert listed(category=["x", "y"]) == "ab"
        assert listed(category=("x",), status=None) == "ad"
        assert listed(tag=["v", "u"]) == "abc"
        assert listed(tag=["t", "v"], category=["z", "y"]) == "c"
        assert listed(tag=iter(["t"]), author_id="u1") == "ac"
        assert listed(category="x", author_id="u1", status=None) == "ad"
        assert listed(category=[]) == listed(tag=[]) == ""


def test_a_sort_that_is_none_and_a_cursor_of_another_sort_are_refused(addresses: Addresses, acme: Api) -> None:
    new_skill(acme, "s2")
    for sort in ("unknown", "", None, 5, ["name"], "NAME"):
        with refused(addresses, InvalidValueError, "sort must be one of updated, name, uses, rating, hours_saved"):
            acme.execute(skills.list_skills(sort=sort))  # type: ignore[arg-type]
    sorts = ("updated", "name", "uses", "rating", "hours_saved")
    cursors = {sort: acme.execute(skills.list_skills(sort=sort, limit=1)).after for sort in sorts}
    for sort in sorts:
        for of, after in cursors.items():
            if of != sort:
                with refused(addresses, InvalidValueError, "after"):
                    acme.execute(skills.list_skills(sort=sort, after=after))
    for filters in ({"category": 5}, {"tag": b"t"}, {"category": ["a\0"]}, {"tag": [5]}):
        with refused(addresses, InvalidValueError, next(iter(filters))):
            acme.execute(skills.list_skills(**filters))


def test_skills_are_read_in_the_order_of_their_ids_and_missing_ones_are_left_out(acme: Api) -> None:
    new_skill(acme, "s2", status="draft")
    one, two = acme.execute(skills.get_skill("s1"), skills.get_skill("s2"))
    assert acme.execute(skills.get_skills(["s2", "missing", "s1", "s2"])) == [two, one]
    assert acme.execute(skills.get_skills(iter(["s1", "s2"]))) == [one, two]
    assert acme.execute(skills.get_skills([])) == acme.execute(skills.get_skills(["missing", None])) == []  # type: ignore[list-item]
    for ids in (None, "s1", 5, ["a\0"], [5]):
        with pytest.raises(InvalidValueError, match="skill_ids"):
            skills.get_skills(ids)  # type: ignore[arg-type]


# Updating


def test_a_change_of_content_is_returned_and_moves_updated_at_alone(addresses: Addresses, acme: Api) -> None:
    new_skill(acme, "s2", tags=["old"])
    each: list[SkillUpdate] = [
        {"name": "New"},
        {"description": "New"},
        {"category": "new"},
        {"tags": ["new", 'q"u,o{t}e']},
        {"status": "archived"},
        {"name": "Newer", "slug": "new", "tags": [], "hours_saved": None},
    ]
    for changes in each:
        backdate(addresses)
        before = acme.execute(skills.get_skill("s2"))
        updated = acme.execute(skills.update_skill("s2", changes))
        changed = {field for field in Skill.__slots__ if getattr(updated, field) != getattr(before, field)}
        assert changed == {*changes, "updated_at"}
        assert updated.updated_at > LONG_AGO
        assert {key: getattr(updated, key) for key in changes} == changes
        assert acme.execute(skills.get_skill("s2")) == updated
        assert acme.execute(skills.get_skill("s1")).updated_at == LONG_AGO


def test_an_update_that_changes_no_content_does_not_move_updated_at(addresses: Addresses, acme: Api) -> None:
    backdate(addresses)
    before = acme.execute(skills.get_skill("s1"))
    same: SkillUpdate = {
        "name": before.name,
        "slug": before.slug,
        "description": before.description,
        "category": before.category,
        "tags": before.tags,
        "status": before.status,
        "hours_saved": before.hours_saved,
    }
    assert acme.execute(skills.update_skill("s1", same)) == before
    assert acme.execute(skills.update_skill("s1", {})) == before
    moved = acme.execute(skills.update_skill("s1", {"hours_saved": 7, "slug": "moved"}))
    assert (moved.hours_saved, moved.slug, moved.updated_at) == (7, "moved", LONG_AGO)
    assert acme.execute(skills.get_skill("s1")) == moved


@pytest.mark.parametrize("way", ["new", "existing", "imported", "changed by an import"])
def test_who_expects_the_updated_at_of_before_a_publication_is_refused(
    way: str, addresses: Addresses, acme: Api
) -> None:
    """A publication moves updated_at, also if that is past this millisecond already."""
    acme.execute(*(skills.publish_skill_version("s1", version(hash)) for hash in "ab"))
    rows(addresses.admin, "UPDATE skills SET updated_at = now() + interval '1 day' RETURNING id")
    seen = acme.execute(skills.get_skill("s1"))
    item = SkillImport(
        id="s1",
        slug="s1",
        path="s1",
        name="New" if way == "changed by an import" else seen.name,
        description=seen.description,
        category=None,
        version_id="c",
        content_url="c",
        content_hash="b" * 64 if way == "changed by an import" else "c" * 64,
        expected_version_id=seen.published_version_id,
    )
    publications: dict[str, Any] = {
        "new": skills.publish_skill_version("s1", version("c")),
        "existing": skills.publish_existing_version("s1", 1),
    }
    acme.execute(publications.get(way) or imports.import_skills("here", [item]))
    now = acme.execute(skills.get_skill("s1"))
    assert now.updated_at > seen.updated_at
    with refused(addresses, ConflictError, "was changed at", cause=psycopg.DatabaseError):
        acme.execute(skills.update_skill("s1", {"name": "Newer"}, expected_updated_at=seen.updated_at))


def test_each_publication_of_a_millisecond_moves_updated_at(acme: Api) -> None:
    """All of it has the time of one transaction."""
    get = skills.get_skill("s2")
    given = NewSkill(id="s2", name="n", slug="n", description="", category="c")
    found = acme.execute(
        *(skills.create_skill(given), get, skills.publish_skill_version("s2", version("a")), get),
        *(skills.publish_skill_version("s2", version("b")), get, skills.publish_existing_version("s2", 1), get),
    )
    times = [skill.updated_at for skill in found[1::2]]
    assert times == [times[0] + n * timedelta(milliseconds=1) for n in range(4)]


def test_updated_at_never_goes_backwards(addresses: Addresses, acme: Api) -> None:
    ahead = datetime(2999, 1, 1, tzinfo=UTC)
    rows(addresses.admin, "UPDATE skills SET updated_at = %s RETURNING 1", ahead)
    acme.execute(skills.publish_skill_version("s1", version("a")))
    published = ahead + timedelta(milliseconds=1)
    assert acme.execute(skills.get_skill("s1")).updated_at == published
    later = published + timedelta(milliseconds=1)
    assert acme.execute(skills.update_skill("s1", {"name": "New"})).updated_at == later


def test_of_callers_that_expect_the_same_time_only_the_first_changes_the_skill(addresses: Addresses, acme: Api) -> None:
    """Also where only the slug or the hours change, and at the millisecond of the change before."""
    each: list[SkillUpdate] = [{"name": "New"}, {"tags": ["new"]}, {"hours_saved": 7}, {"slug": "new"}]
    for changes in each:
        seen = acme.execute(skills.get_skill("s1")).updated_at
        edited = rows(addresses.admin, "SELECT edited_at FROM skills")
        first = acme.execute(skills.update_skill("s1", changes, expected_updated_at=seen))
        assert first.updated_at > seen
        assert {key: getattr(first, key) for key in changes} == changes
        moves_edited = bool(changes.keys() & {"name", "tags"})
        assert (rows(addresses.admin, "SELECT edited_at FROM skills") != edited) is moves_edited
        with refused(
            addresses,
            ConflictError,
            f"skill 's1' was changed at {first.updated_at:%Y-%m-%d}",
            cause=psycopg.DatabaseError,
        ):
            acme.execute(skills.update_skill("s1", {"description": "x"}, expected_updated_at=seen))


def test_an_expected_time_counts_in_milliseconds_and_nothing_to_change_moves_nothing(acme: Api) -> None:
    seen = acme.execute(skills.get_skill("s1"))
    within = seen.updated_at + timedelta(microseconds=999)
    assert acme.execute(skills.update_skill("s1", {"name": seen.name}, expected_updated_at=within)) == seen
    assert acme.execute(skills.update_skill("s1", {}, expected_updated_at=seen.updated_at)) == seen
    for away in (timedelta(milliseconds=1), timedelta(microseconds=-1)):
        with pytest.raises(ConflictError):
            acme.execute(skills.update_skill("s1", {}, expected_updated_at=seen.updated_at + away))


def test_a_version_that_was_published_meanwhile_is_a_conflict(addresses: Addresses, acme: Api) -> None:
    backdate(addresses)
    acme.execute(skills.publish_skill_version("s1", version("a")))
    with refused(addresses, ConflictError, "skill 's1' was changed at", cause=psycopg.DatabaseError):
        acme.execute(skills.update_skill("s1", {"name": "New"}, expected_updated_at=LONG_AGO))


def test_an_expectation_of_a_missing_skill_or_without_a_time_zone_is_refused(addresses: Addresses, acme: Api) -> None:
    with refused(addresses, NotFoundError, MISSING, cause=pg.NoDataFound):
        acme.execute(skills.update_skill("missing", {"name": "New"}, expected_updated_at=LONG_AGO))
    with refused(addresses, InvalidValueError, "expected_updated_at must carry a time zone"):
        acme.execute(skills.update_skill("s1", {}, expected_updated_at=datetime(2026, 1, 1)))


def test_an_update_that_cannot_be_is_refused(addresses: Addresses, acme: Api) -> None:
    new_skill(acme, "s2")
    with refused(addresses, NotFoundError, MISSING, cause=pg.NoDataFound):
        acme.execute(skills.update_skill("missing", {"name": "New"}))
    with refused(addresses, AlreadyExistsError, "slug 's2' is already taken", cause=pg.UniqueViolation):
        acme.execute(skills.update_skill("s1", {"slug": "s2"}))
    with refused(addresses, InvalidValueError, "status 'secret'", cause=pg.CheckViolation):
        acme.execute(skills.update_skill("s1", {"status": "secret"}))
    with refused(addresses, InvalidValueError, "hours_saved -1", cause=pg.CheckViolation):
        acme.execute(skills.update_skill("s1", {"hours_saved": -1}))
    with refused(addresses, InvalidValueError, "name", "None", cause=pg.NotNullViolation):
        acme.execute(skills.update_skill("s1", {"name": None}))  # type: ignore[typeddict-item]
    for unknown in ("author_id", "updated_at", "total_uses", "published_version", "id", "tenant_id", "no_column"):
        with refused(addresses, InvalidValueError, unknown):
            acme.execute(skills.update_skill("s1", {"name": "New", unknown: None}))  # type: ignore[misc]


def test_a_value_out_of_range_is_refused_in_an_update(addresses: Addresses, acme: Api) -> None:
    before = contents(addresses.admin)
    wrong: list[SkillUpdate] = [{"name": "a\0"}, {"tags": ["a\0"]}, {"hours_saved": 2**31}]
    for changes in wrong:
        with pytest.raises(InvalidValueError, match=next(iter(changes))):
            acme.execute(skills.update_skill("s1", changes))
    assert contents(addresses.admin) == before


def test_a_value_of_another_type_is_refused_in_an_update_as_in_a_new_skill(addresses: Addresses, acme: Api) -> None:
    before = contents(addresses.admin)
    wrong: list[Any] = [{"tags": "abc"}, {"hours_saved": 1.5}, {"hours_saved": "1"}, {"name": 5}, {"tags": ["a", 5]}]
    for changes in wrong:
        with pytest.raises(InvalidValueError, match=next(iter(changes))):
            new_skill(acme, "s2", **changes)
        with pytest.raises(InvalidValueError, match=next(iter(changes))):
            acme.execute(skills.update_skill("s1", changes))
    assert contents(addresses.admin) == before


# Versions


def test_versions_count_from_one_and_the_last_is_the_published_one(addresses: Addresses, acme: Api) -> None:
    new_skill(acme, "s2")
    backdate(addresses)
    metadata = {"a": [1, 2.5, None, True, {"é": 'q"u\\o'}], "": {}}
    first: SkillVersion = acme.execute(
        skills.publish_skill_version("s1", version("a", id="v1", created_by="u1", metadata=metadata))
    )
    assert first == SkillVersion(
        id="v1",
        skill_id="s1",
        version=1,
        content_url="file:a",
        content_hash="a" * 64,
        content_type="text/markdown",
        name="S1",
        description="What s1 does",
        metadata=metadata,
        created_by="u1",
        created_at=first.created_at,
    )
    published = acme.execute(skills.get_skill("s1"))
    assert (published.published_version_id, published.published_version) == ("v1", 1)
    assert published.updated_at > LONG_AGO
    assert published.metrics_updated_at is None

    others = [acme.execute(skills.publish_skill_version("s1", version(h, content_type="text/html"))) for h in "bc"]
    assert [(v.version, v.content_type, v.metadata, v.created_by) for v in others] == [
        (2, "text/html", None, None),
        (3, "text/html", None, None),
    ]
    published = acme.execute(skills.get_skill("s1"))
    assert (published.published_version_id, published.published_version) == (others[1].id, 3)
    assert acme.execute(skills.list_skill_versions("s1")).items == [others[1], others[0], first]
    assert acme.execute(skills.get_skill_version("v1"), skills.get_version_number("v1")) == (first, 1)
    assert acme.execute(skills.get_version_number(others[1].id)) == 3

    untouched = acme.execute(skills.get_skill("s2"))
    assert (untouched.updated_at, untouched.published_version) == (LONG_AGO, None)
    assert acme.execute(skills.publish_skill_version("s2", version("a"))).version == 1


def test_versions_are_listed_by_number_page_by_page_none_twice_none_lost(addresses: Addresses, acme: Api) -> None:
    new_skill(acme, "s2")
    acme.execute(*(skills.publish_skill_version(skill, version(hash)) for hash in "abcdef" for skill in ("s1", "s2")))
    acme.execute(skills.publish_existing_version("s1", 2))
    for limit in (1, 2, 3, 5, 6, 7, 1_000_000):
        found: list[int] = []
        page = acme.execute(skills.list_skill_versions("s1", limit=limit))
        while page.after is not None:
            assert len(page.items) == limit
            found += [v.version for v in page.items]
            page = acme.execute(skills.list_skill_versions("s1", limit=limit, after=page.after))
        assert found + [v.version for v in page.items] == [6, 5, 4, 3, 2, 1]
        assert page.items
    second = acme.execute(skills.list_skill_versions("s1", limit=2))
    acme.execute(skills.publish_skill_version("s1", version("0")))
    assert [v.version for v in acme.execute(skills.list_skill_versions("s1", after=second.after)).items] == [4, 3, 2, 1]
    for wrong in (0, -1):
        with refused(addresses, InvalidValueError, f"limit must be at least 1, not {wrong}"):
            acme.execute(skills.list_skill_versions("s1", limit=wrong))
    by_time = acme.execute(skills.list_skills(limit=1)).after
    for cursor in ("", "garbage", by_time):
        with refused(addresses, InvalidValueError, "after"):
            acme.execute(skills.list_skill_versions("s1", after=cursor))


def test_publishing_the_published_content_returns_the_present_version(addresses: Addresses, acme: Api) -> None:
    acme.execute(skills.publish_skill_version("s1", version("a")))
    present = acme.execute(skills.publish_skill_version("s1", version("b")))
    backdate(addresses)
    before = contents(addresses.admin)
    again = version("b", id="another", created_by="u1", metadata={"other": True}, content_type="text/html")
    assert acme.execute(skills.publish_skill_version("s1", again)) == present
    assert acme.execute(skills.get_skill("s1")).updated_at == LONG_AGO
    assert acme.execute(skills.get_skill_version("another")) is None
    assert contents(addresses.admin) == before


def test_publishing_older_content_again_is_a_new_version(acme: Api) -> None:
    published = [acme.execute(skills.publish_skill_version("s1", version(hash))) for hash in "aba"]
    assert [v.version for v in published] == [1, 2, 3]
    assert published[0].id != published[2].id
    assert acme.execute(skills.get_skill("s1")).published_version_id == published[2].id


def test_an_earlier_version_is_published_again_without_a_new_number(addresses: Addresses, acme: Api) -> None:
    new_skill(acme, "s2")
    acme.execute(skills.publish_skill_version("s2", version("a")))
    first, second, third = [acme.execute(skills.publish_skill_version("s1", version(hash))) for hash in "abc"]
    acme.execute(skills.update_skill("s1", {"name": "New", "description": "New"}))
    before = acme.execute(skills.get_skill("s1"))
    for chosen in (first, third, second):
        backdate(addresses)
        assert acme.execute(skills.publish_existing_version("s1", chosen.version)) == chosen
        skill = acme.execute(skills.get_skill("s1"))
        assert skill.updated_at > LONG_AGO
        assert skill == replace(
            before,
            published_version=chosen.version,
            published_version_id=chosen.id,
            updated_at=skill.updated_at,
        )
    assert [v.version for v in acme.execute(skills.list_skill_versions("s1")).items] == [3, 2, 1]
    other = acme.execute(skills.get_skill("s2"))
    assert (other.published_version, other.updated_at) == (1, LONG_AGO)
    # The content of the published version adds none, and that of the highest number does.
    assert acme.execute(skills.publish_skill_version("s1", version("b"))) == second
    assert acme.execute(skills.publish_skill_version("s1", version("c"))).version == 4


def test_publishing_the_published_version_changes_nothing(addresses: Addresses, acme: Api) -> None:
    acme.execute(skills.publish_skill_version("s1", version("a")))
    present = acme.execute(skills.publish_skill_version("s1", version("b")))
    before = contents(addresses.admin)
    assert acme.execute(skills.publish_existing_version("s1", 2)) == present
    assert contents(addresses.admin) == before


def test_a_version_that_the_skill_lacks_is_not_published(addresses: Addresses, acme: Api) -> None:
    new_skill(acme, "s2")
    for hash in "ab":
        acme.execute(skills.publish_skill_version("s2", version(hash)))
    acme.execute(skills.publish_skill_version("s1", version("a")))
    with refused(addresses, NotFoundError, MISSING, cause=pg.NoDataFound):
        acme.execute(skills.publish_existing_version("missing", 1))
    for number in (2, 0, -1, 2**31 - 1):
        with refused(addresses, NotFoundError, f"version '{number}' does not exist", cause=pg.NoDataFound):
            acme.execute(skills.publish_existing_version("s1", number))
    for wrong in (2**31, "1", True, 1.0, None):
        with refused(addresses, InvalidValueError, "version"):
            acme.execute(skills.publish_existing_version("s1", wrong))  # type: ignore[arg-type]


def test_a_version_keeps_the_name_and_description_it_was_published_under(acme: Api) -> None:
    acme.execute(skills.publish_skill_version("s1", version("a")))
    changes: SkillUpdate = {"name": "New", "description": "New too"}
    acme.execute(skills.update_skill("s1", changes), skills.publish_skill_version("s1", version("b")))
    assert [(v.name, v.description) for v in acme.execute(skills.list_skill_versions("s1")).items] == [
        ("New", "New too"),
        ("S1", "What s1 does"),
    ]


def test_a_version_that_cannot_be_is_refused(addresses: Addresses, acme: Api) -> None:
    acme.execute(skills.publish_skill_version("s1", version("a", id="v1")))

    def publish(skill: str = "s1", **more: Any) -> None:
        given = {"content_url": "u", "content_hash": "b" * 64} | more
        acme.execute(skills.publish_skill_version(skill, NewSkillVersion(**given)))

    with refused(addresses, NotFoundError, MISSING, cause=pg.NoDataFound):
        publish("missing")
    with refused(addresses, NotFoundError, "user 'nobody' does not exist", cause=pg.NoDataFound):
        publish(created_by="nobody")
    with refused(addresses, AlreadyExistsError, "id 'v1' is already taken", cause=pg.UniqueViolation):
        publish(id="v1")
    for hash in ("", "b" * 63, "b" * 65, "B" * 64, "g" * 64, "b" * 64 + "\n"):
        with refused(addresses, InvalidValueError, f"content_hash {hash!r}", cause=pg.CheckViolation):
            publish(content_hash=hash)
    with refused(addresses, InvalidValueError, "content_url", r"'u\x00'"):
        publish(content_url="u\0")
    with refused(addresses, InvalidValueError, "metadata", "[]"):
        publish(metadata=[])
    with refused(addresses, InvalidValueError, "metadata", "u0000", cause=pg.UntranslatableCharacter):
        publish(metadata={"a": "\0"})
    with refused(addresses, InvalidValueError, "content_type", "None", cause=pg.NotNullViolation):
        publish(content_type=None)
    publish()
    assert acme.execute(skills.get_skill("s1")).published_version == 2


def test_what_does_not_exist_is_none_and_has_no_versions(acme: Api) -> None:
    assert acme.execute(
        skills.get_skill("missing"),
        skills.get_skill_by_slug("missing"),
        skills.get_skill_version("missing"),
        skills.get_version_number("missing"),
        skills.list_skill_versions("missing"),
        skills.list_skill_versions("s1"),
    ) == (None, None, None, None, NONE, NONE)


# Deleting


def test_a_deleted_skill_takes_along_all_that_belongs_to_it_and_nothing_else(addresses: Addresses, acme: Api) -> None:
    before = contents(addresses.admin)
    new_skill(acme, "s2", author_id="u1")
    for hash in "ab":
        acme.execute(skills.publish_skill_version("s2", version(hash, id=f"v{hash}", created_by="u1")))
    acme.execute(
        ratings.rate_skill("u1", "s2", 3),
        views.record_skill_view("u1", "s2", 2),
        usage.record_usage_event(NewUsageEvent(tool_name="t", skill_id="s2", user_id="u1")),
    )
    # The use of the tool by the user stays counted.
    assert rows(addresses.admin, "DELETE FROM pending_uses RETURNING tool_name, user_id, uses") == [("t", "u1", 1)]
    for insertion in (
        "INSERT INTO skill_feedback (tenant_id, skill_id, skill_version_id, feedback_type) "
        "VALUES ('acme', 's2', 'va', 'suggestion'), ('acme', 's2', 'vb', 'suggestion')",
        "INSERT INTO token_measurements (tenant_id, skill_id, model_name) VALUES ('acme', 's2', 'm')",
        "INSERT INTO benchmark_runs (tenant_id, id, skill_id, skill_version_id, triggered_by, models) "
        "VALUES ('acme', 'r1', 's2', 'va', 'u1', '{m}')",
        "INSERT INTO benchmark_results (tenant_id, benchmark_run_id, model_name, model_provider, test_case_index) "
        "VALUES ('acme', 'r1', 'm', 'p', 0), ('acme', 'r1', 'm', 'p', 1)",
    ):
        rows(addresses.admin, f"{insertion} RETURNING id")

    assert acme.execute(skills.delete_skill("s2")) is True
    assert contents(addresses.admin) == before
    assert acme.execute(skills.delete_skill("s2")) is False
    assert acme.execute(skills.delete_skill("missing")) is False
    assert contents(addresses.admin) == before


def test_a_skill_whose_version_another_skills_feedback_names_is_not_deleted(addresses: Addresses, acme: Api) -> None:
    new_skill(acme, "s2")
    acme.execute(skills.publish_skill_version("s1", version("a", id="v1")))
    rows(
        addresses.admin,
        "INSERT INTO skill_feedback (tenant_id, skill_id, skill_version_id, feedback_type) "
        "VALUES ('acme', 's2', 'v1', 'suggestion') RETURNING id",
    )
    with refused(addresses, StillReferencedError, "skill", "'s1'", "skill_feedback", cause=pg.ForeignKeyViolation):
        acme.execute(skills.delete_skill("s1"))


# Other organisations


def test_another_tenant_sees_and_changes_nothing_of_a_skill(
    addresses: Addresses, acme: Api, api: Callable[[str], Api]
) -> None:
    acme.execute(skills.publish_skill_version("s1", version("a", id="v1")))
    globex = api("globex")
    before = contents(addresses.admin)
    assert globex.execute(
        skills.get_skill("s1"),
        skills.get_skill_by_slug("s1"),
        skills.get_skill_version("v1"),
        skills.get_version_number("v1"),
        skills.list_skill_versions("s1"),
        skills.list_skills(status=None),
        skills.delete_skill("s1"),
    ) == (None, None, None, None, NONE, NONE, False)
    for statement in (skills.update_skill("s1", {"name": "x"}), skills.publish_skill_version("s1", version("b"))):
        with refused(addresses, NotFoundError, "skill 's1' does not exist", cause=pg.NoDataFound):
            globex.execute(statement)
    with refused(addresses, NotFoundError, "user 'u1' does not exist", cause=pg.NoDataFound):
        new_skill(globex, "s1", author_id="u1")
    assert contents(addresses.admin) == before
    new_skill(globex, "s1")
    theirs = globex.execute(skills.publish_skill_version("s1", version("a", id="v1")))
    assert (theirs.id, theirs.version) == ("v1", 1)
    assert globex.execute(skills.delete_skill("s1")) is True
    assert acme.execute(skills.get_version_number("v1")) == 1
