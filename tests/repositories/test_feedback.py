"""Tests feedback: its counts on skills, its review and its lists, also with concurrent reviewers and writers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from itertools import count, islice, product
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import errors as pg

import skilldb
from skilldb import queries
from skilldb.errors import AlreadyExistsError, InvalidTransitionError, InvalidValueError, NotFoundError
from skilldb.models import (
    FeedbackStats,
    FeedbackWithSkill,
    FeedbackWithUsers,
    MetricDrift,
    NewSkillFeedback,
    NewSkillVersion,
    NewTokenMeasurement,
    Page,
    SkillFeedback,
    UserDeletion,
)
from skilldb.repositories import feedback, metrics, ratings, skills, tenants, tokens, users
from skilldb.statement import Statement
from tests.support.api import GONE, Api, delete_whole_user, new_skill, new_user
from tests.support.bursts import Race, assert_found_out, first_wrong, unexpected
from tests.support.database import contents, refused, rows
from tests.support.queries import altered
from tests.support.server import Addresses

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
TYPES = ("thumbs_up", "thumbs_down", "suggestion", "training_example", "bug_report")
STATUSES = ("pending", "accepted", "dismissed", "implemented")
ALLOWED = {
    ("pending", "accepted"),
    ("pending", "dismissed"),
    ("accepted", "implemented"),
    ("accepted", "dismissed"),
    ("dismissed", "pending"),
}


@pytest.fixture
def acme(api: Callable[[str], Api]) -> Api:
    """An organisation with the users u1 to u3 and the skills s1 and s2."""
    tenant = api("acme")
    for user in ("u1", "u2", "u3"):
        new_user(tenant, user)
    for skill in ("s1", "s2"):
        new_skill(tenant, skill)
    return tenant


def submitted(tenant: Api, feedback_type: str = "suggestion", skill_id: str = "s1", **more: Any) -> SkillFeedback:
    """A feedback item of that type on that skill."""
    new = NewSkillFeedback(skill_id=skill_id, feedback_type=feedback_type, **more)
    found: SkillFeedback = tenant.execute(feedback.submit_feedback(new))
    return found


def counts(tenant: Api, skill_id: str) -> tuple[int, int | None]:
    """The stored number and percentage of a skill's feedback. They must agree with the rows."""
    assert tenant.execute(metrics.find_metric_drift()) == []
    skill = tenant.execute(skills.get_skill(skill_id))
    return skill.total_feedback, skill.positive_feedback_pct


def published(tenant: Api, skill_id: str, version_id: str) -> None:
    """A version with that id."""
    version = NewSkillVersion(id=version_id, content_url="file:SKILL.md", content_hash="a" * 64)
    tenant.execute(skills.publish_skill_version(skill_id, version))


# Submitting


def test_feedback_is_kept_as_given(acme: Api) -> None:
    published(acme, "s1", "v1")
    new = NewSkillFeedback(
        id="f1",
        skill_id="s1",
        skill_version_id="v1",
        user_id="u1",
        usage_event_id="no such event",
        feedback_type="training_example",
        sentiment=0,
        comment="très bien",
        suggested_content="content",
        suggested_diff="diff",
        example_input="input",
        example_output="output",
        expected_output="expected",
        quality_score=10,
        source="hook",
    )
    full = acme.execute(feedback.submit_feedback(new))
    assert full == SkillFeedback(**asdict(new) | {"created_at": full.created_at})
    assert (full.status, full.reviewed_by, full.reviewed_at, full.reply) == ("pending", None, None, None)
    assert datetime.now(UTC) - timedelta(hours=1) < full.created_at
    (listed,) = acme.execute(feedback.list_feedback("s1")).items
    assert listed == FeedbackWithUsers(**asdict(full), user_name="U1", reviewer_name=None)
    assert acme.execute(feedback.get_feedback("f1")) == with_skill(full, "U1")
    assert acme.execute(feedback.get_feedback("missing")) is None


def with_skill(item: SkillFeedback, user_name: str | None, reviewer_name: str | None = None) -> FeedbackWithSkill:
    """The feedback item with its names and its skill, whose name is its id in capitals."""
    return FeedbackWithSkill(
        **asdict(item),
        user_name=user_name,
        reviewer_name=reviewer_name,
        skill_name=item.skill_id.upper(),
        skill_slug=item.skill_id,
    )


def test_a_review_is_of_reviewed_feedback_and_not_older_than_it(addresses: Addresses, acme: Api) -> None:
    """What no review can have made is refused, with the parameter's name."""
    reviews: list[dict[str, Any]] = [{"reviewed_by": "u1"}, {"reviewed_at": LONG_AGO}, {"review_notes": "notes"}]
    for review in reviews:
        with refused(addresses, InvalidValueError, f"{next(iter(review))} must be None while the status is pending"):
            submitted(acme, created_at=LONG_AGO, **review)
    item = submitted(acme, reply="thanks")
    assert item.status == "pending"
    with refused(addresses, InvalidValueError, "reply must not be empty"):
        submitted(acme, reply="")
    with refused(addresses, InvalidValueError, "reply must not be empty"):
        acme.execute(feedback.review_feedback(item.id, "accepted", "u1", reply=""))
    later = datetime(2100, 1, 1, tzinfo=UTC)
    for created_at, reviewed_at, right in (
        (LONG_AGO, LONG_AGO - timedelta(microseconds=1), False),
        (LONG_AGO + timedelta(microseconds=900), LONG_AGO, True),
        (LONG_AGO, LONG_AGO, True),
        (None, LONG_AGO, False),
        (None, later, True),
        (later, datetime.now(UTC), False),
        (later, later, True),
    ):
        given: dict[str, Any] = {"status": "accepted", "created_at": created_at, "reviewed_at": reviewed_at}
        if right:
            assert submitted(acme, **given).reviewed_at == reviewed_at
        else:
            message = ("reviewed_at '", "is before the feedback was created")
            with refused(addresses, InvalidValueError, *message, cause=pg.InvalidParameterValue):
                submitted(acme, **given)


def test_feedback_of_another_system_keeps_its_time_and_its_review(addresses: Addresses, acme: Api) -> None:
    published(acme, "s1", "v1")
    given = LONG_AGO + timedelta(microseconds=1_999)
    new = NewSkillFeedback(
        id="f1",
        skill_id="s1",
        user_id="u2",
        feedback_type="thumbs_up",
        status="implemented",
        reviewed_by="u1",
        reviewed_at=given + timedelta(days=1),
        review_notes="notes",
        reply="thanks",
        implemented_version_id="v1",
        created_at=given,
    )
    imported = acme.execute(feedback.submit_feedback(new))
    cut = LONG_AGO + timedelta(milliseconds=1)
    assert imported == SkillFeedback(
        **asdict(new) | {"sentiment": 1, "created_at": cut, "reviewed_at": cut + timedelta(days=1)}
    )
    assert acme.execute(feedback.get_feedback("f1")) == with_skill(imported, "U2", "U1")
    assert counts(acme, "s1") == (1, 100)
    # The reviewer may be the author, may not be known, or may have reviewed what nobody signed.
    for id, people in (
        ("f2", {"user_id": "u1", "reviewed_by": "u1"}),
        ("f3", {"user_id": "u1"}),
        ("f4", {"reviewed_by": "u1"}),
        ("f5", {}),
    ):
        item = submitted(acme, id=id, status="dismissed", **people)
        assert (item.status, item.user_id, item.reviewed_by) == (
            "dismissed",
            *map(people.get, ("user_id", "reviewed_by")),
        )
    good = NewSkillFeedback(skill_id="s1", user_id="u1", feedback_type="suggestion")
    published(acme, "s2", "version of s2")
    for wrong, error, message, cause in (
        ({"status": "done"}, InvalidValueError, "status 'done'", pg.CheckViolation),
        (
            {"reviewed_by": "nobody", "status": "accepted"},
            NotFoundError,
            "user 'nobody' does not exist",
            pg.NoDataFound,
        ),
        (
            {"user_id": "nobody", "reviewed_by": "u1", "status": "accepted"},
            NotFoundError,
            "user 'nobody' does not exist",
            pg.NoDataFound,
        ),
        (
            {"user_id": None, "reviewed_by": "nobody", "status": "accepted"},
            NotFoundError,
            "user 'nobody' does not exist",
            pg.NoDataFound,
        ),
        ({"created_at": datetime(2026, 1, 1)}, InvalidValueError, "created_at must carry a time zone", None),
        (
            {"reviewed_at": datetime(2026, 1, 1), "status": "accepted"},
            InvalidValueError,
            "reviewed_at must carry a time zone",
            None,
        ),
        ({"reply": "a\0"}, InvalidValueError, "reply", None),
        ({"implemented_version_id": "v1"}, InvalidValueError, "implemented_version_id 'v1'", pg.CheckViolation),
        (
            {"implemented_version_id": "version of s2", "status": "implemented"},
            NotFoundError,
            "version 'version of s2' does not exist",
            pg.NoDataFound,
        ),
    ):
        with refused(addresses, error, message, cause=cause):
            acme.execute(feedback.submit_feedback(replace(good, **wrong)))


def test_feedback_is_anonymous_from_the_web_and_has_an_id_unless_said_otherwise(acme: Api) -> None:
    bare = submitted(acme)
    assert str(UUID(bare.id)) == bare.id
    assert (bare.user_id, bare.source, bare.status) == (None, "web", "pending")
    assert {getattr(bare, name) for name in ("comment", "skill_version_id", "quality_score", "sentiment")} == {None}


def test_the_sentiment_follows_the_thumb_unless_it_is_given(acme: Api) -> None:
    assert [submitted(acme, type_).sentiment for type_ in TYPES] == [1, -1, None, None, None]
    for type_, sentiment in product(TYPES, (-1, 0, 1)):
        assert submitted(acme, type_, sentiment=sentiment).sentiment == sentiment


def test_the_total_counts_every_type_and_the_percentage_thumbs_only(acme: Api) -> None:
    assert counts(acme, "s1") == (0, None)
    for number, type_ in enumerate(("suggestion", "training_example", "bug_report"), 1):
        submitted(acme, type_, sentiment=-1)
        assert counts(acme, "s1") == (number, None)
    submitted(acme, "thumbs_up", sentiment=-1)
    assert counts(acme, "s1") == (4, 100)
    submitted(acme, "thumbs_down")
    assert counts(acme, "s1") == (5, 50)
    assert counts(acme, "s2") == (0, None)
    submitted(acme, "thumbs_down", skill_id="s2")
    assert counts(acme, "s2") == (1, 0)


def test_the_percentage_rounds_half_up(acme: Api) -> None:
    for up, total, expected in ((1, 3, 33), (2, 3, 67), (1, 8, 13), (3, 8, 38), (5, 8, 63)):
        skill = new_skill(acme, f"{up} of {total}").id
        for number in range(total):
            submitted(acme, "thumbs_up" if number < up else "thumbs_down", skill_id=skill)
        assert counts(acme, skill) == (total, expected)


def test_feedback_moves_metrics_updated_at_of_its_skill_and_never_updated_at(addresses: Addresses, acme: Api) -> None:
    for type_ in TYPES:
        rows(
            addresses.admin,
            "UPDATE skills SET updated_at = %s, edited_at = %s, metrics_updated_at = %s RETURNING 1",
            *[LONG_AGO] * 3,
        )
        submitted(acme, type_)
        changed, other = acme.execute(skills.get_skill("s1"), skills.get_skill("s2"))
        assert changed.metrics_updated_at > LONG_AGO
        assert (changed.updated_at, other.updated_at, other.metrics_updated_at) == (LONG_AGO,) * 3
    assert rows(addresses.admin, "SELECT DISTINCT edited_at FROM skills") == [(LONG_AGO,)]


def test_feedback_that_cannot_be_is_refused(addresses: Addresses, acme: Api) -> None:
    submitted(acme, id="taken")
    published(acme, "s2", "version of s2")
    good = NewSkillFeedback(skill_id="s1", feedback_type="suggestion")
    for wrong, error, cause in (
        ({"feedback_type": "praise"}, InvalidValueError, pg.CheckViolation),
        ({"feedback_type": ""}, InvalidValueError, pg.CheckViolation),
        ({"sentiment": 2}, InvalidValueError, pg.CheckViolation),
        ({"sentiment": -2}, InvalidValueError, pg.CheckViolation),
        ({"quality_score": 0}, InvalidValueError, pg.CheckViolation),
        ({"quality_score": 11}, InvalidValueError, pg.CheckViolation),
        ({"id": "taken"}, AlreadyExistsError, pg.UniqueViolation),
        ({"quality_score": 2**31}, InvalidValueError, None),
        ({"sentiment": True}, InvalidValueError, None),
        ({"comment": "a\0"}, InvalidValueError, None),
        ({"comment": 3}, InvalidValueError, None),
    ):
        ((name, value),) = wrong.items()
        with refused(addresses, error, f"{name} ", repr(value), cause=cause):
            acme.execute(feedback.submit_feedback(replace(good, **wrong)))
    for name in ("feedback_type", "source"):
        with refused(addresses, InvalidValueError, f"{name} must not be None", cause=pg.NotNullViolation):
            acme.execute(feedback.submit_feedback(replace(good, **{name: None})))  # type: ignore[arg-type]
    for unknown, message in (
        ({"skill_id": "missing"}, "skill 'missing' does not exist"),
        ({"user_id": "nobody"}, "user 'nobody' does not exist"),
        ({"skill_version_id": "v0"}, "version 'v0' does not exist"),
        ({"skill_version_id": "version of s2"}, "version 'version of s2' does not exist"),
    ):
        with refused(addresses, NotFoundError, message, cause=pg.NoDataFound):
            acme.execute(feedback.submit_feedback(replace(good, **unknown)))  # type: ignore[arg-type]
    assert (counts(acme, "s1"), counts(acme, "s2")) == ((1, None), (0, None))


def test_feedback_that_is_refused_undoes_what_travelled_with_it(addresses: Addresses, acme: Api) -> None:
    good = NewSkillFeedback(skill_id="s1", feedback_type="thumbs_up")
    with refused(addresses, InvalidValueError, "quality_score 11", cause=pg.CheckViolation):
        acme.execute(feedback.submit_feedback(good), feedback.submit_feedback(replace(good, quality_score=11)))


# Review


def in_status(tenant: Api, status: str) -> str:
    """The id of a feedback item that u1 brought to the status through the workflow."""
    found = submitted(tenant, user_id="u2")
    for step in {"implemented": ("accepted", "implemented"), "pending": ()}.get(status, (status,)):
        tenant.execute(feedback.review_feedback(found.id, step, "u1", notes="before"))
    return found.id


@pytest.mark.parametrize(("present", "wanted"), [*product(STATUSES, STATUSES)])
def test_the_workflow_allows_five_changes_and_no_other(
    addresses: Addresses, acme: Api, present: str, wanted: str
) -> None:
    id = in_status(acme, present)
    bystander = submitted(acme)
    before = acme.execute(skills.get_skill("s1"))
    change = feedback.review_feedback(id, wanted, "u3", notes="why")
    if (present, wanted) not in ALLOWED:
        message = f"feedback '{id}' is {present}: it cannot become {wanted}"
        with refused(addresses, InvalidTransitionError, message, cause=pg.ObjectNotInPrerequisiteState):
            acme.execute(change)
        return
    rows(addresses.admin, "UPDATE skill_feedback SET created_at = %s, reviewed_at = %s RETURNING 1", *[LONG_AGO] * 2)
    reviewed = acme.execute(change)
    assert (reviewed.id, reviewed.status, reviewed.reviewed_by, reviewed.review_notes) == (id, wanted, "u3", "why")
    assert (reviewed.user_id, reviewed.created_at) == ("u2", LONG_AGO)
    assert reviewed.reviewed_at > LONG_AGO
    listed = {f.id: f for f in acme.execute(feedback.list_feedback("s1")).items}
    assert listed[id] == FeedbackWithUsers(**asdict(reviewed), user_name="U2", reviewer_name="U3")
    assert (listed[bystander.id].status, listed[bystander.id].reviewed_by) == ("pending", None)
    assert acme.execute(skills.get_skill("s1")) == before


def test_a_review_without_notes_takes_the_former_ones_away(acme: Api) -> None:
    id = in_status(acme, "accepted")
    reviewed = acme.execute(feedback.review_feedback(id, "dismissed", "u1"))
    assert (reviewed.status, reviewed.review_notes) == ("dismissed", None)


def test_a_review_that_cannot_be_is_refused(addresses: Addresses, acme: Api) -> None:
    for status in STATUSES:
        id = in_status(acme, status)
        for unknown in ("rejected", "", "Accepted"):
            with refused(addresses, InvalidValueError, f"status {unknown!r}", cause=pg.CheckViolation):
                acme.execute(feedback.review_feedback(id, unknown, "u1"))
    id = in_status(acme, "pending")
    with refused(addresses, NotFoundError, "user 'nobody' does not exist", cause=pg.NoDataFound):
        acme.execute(feedback.review_feedback(id, "accepted", "nobody"))
    with refused(addresses, NotFoundError, "feedback 'f0' does not exist", cause=pg.NoDataFound):
        acme.execute(feedback.review_feedback("f0", "accepted", "u1"))
    with refused(addresses, InvalidValueError, "review_notes", r"'a\x00'"):
        acme.execute(feedback.review_feedback(id, "accepted", "u1", notes="a\0"))


def test_a_review_without_any_change_is_refused(addresses: Addresses, acme: Api) -> None:
    id = in_status(acme, "pending")
    with refused(addresses, InvalidValueError, "status may be None only with notes, a reply"):
        acme.execute(feedback.review_feedback(id, None, "u1"))


@pytest.mark.parametrize("status", STATUSES)
def test_a_reply_and_notes_need_no_change_of_status(addresses: Addresses, acme: Api, status: str) -> None:
    id = in_status(acme, status)
    notes = None if status == "pending" else "before"
    rows(addresses.admin, "UPDATE skill_feedback SET reviewed_at = %s RETURNING 1", LONG_AGO)
    replied = acme.execute(feedback.review_feedback(id, None, "u3", reply="thanks"))
    assert (replied.status, replied.reply, replied.review_notes) == (status, "thanks", notes)
    assert replied.reviewed_by == "u3"
    assert replied.reviewed_at > LONG_AGO
    noted = acme.execute(feedback.review_feedback(id, None, "u1", notes="after"))
    assert (noted.status, noted.reply, noted.review_notes, noted.reviewed_by) == (status, "thanks", "after", "u1")
    again = acme.execute(feedback.review_feedback(id, None, "u1", reply="done"))
    assert (again.reply, again.review_notes) == ("done", "after")
    with refused(addresses, NotFoundError, "user 'nobody' does not exist", cause=pg.NoDataFound):
        acme.execute(feedback.review_feedback(id, None, "nobody", reply="thanks"))
    with refused(addresses, NotFoundError, "feedback 'f0' does not exist", cause=pg.NoDataFound):
        acme.execute(feedback.review_feedback("f0", None, "u1", reply="thanks"))


def test_a_change_of_status_replaces_the_notes_and_keeps_the_reply(acme: Api) -> None:
    id = in_status(acme, "pending")
    accepted = acme.execute(feedback.review_feedback(id, "accepted", "u1", notes="good", reply="soon"))
    assert (accepted.status, accepted.review_notes, accepted.reply) == ("accepted", "good", "soon")
    done = acme.execute(feedback.review_feedback(id, "implemented", "u1"))
    assert (done.status, done.review_notes, done.reply) == ("implemented", None, "soon")


def test_an_implemented_suggestion_names_a_version_of_its_skill(addresses: Addresses, acme: Api) -> None:
    published(acme, "s1", "v1")
    published(acme, "s2", "version of s2")
    id = in_status(acme, "accepted")
    for version in ("missing", "version of s2"):
        with refused(addresses, NotFoundError, f"version '{version}' does not exist", cause=pg.NoDataFound):
            acme.execute(feedback.review_feedback(id, "implemented", "u1", implemented_version_id=version))
    for status in (None, "dismissed"):
        with refused(addresses, InvalidValueError, "implemented_version_id 'v1'", cause=pg.CheckViolation):
            acme.execute(feedback.review_feedback(id, status, "u1", implemented_version_id="v1"))
    done = acme.execute(feedback.review_feedback(id, "implemented", "u1", implemented_version_id="v1"))
    assert (done.status, done.implemented_version_id) == ("implemented", "v1")
    replied = acme.execute(feedback.review_feedback(id, None, "u1", reply="done"))
    assert replied.implemented_version_id == "v1"
    # It may be named later, and corrected.
    other = in_status(acme, "implemented")
    named = acme.execute(feedback.review_feedback(other, None, "u1", implemented_version_id="v1"))
    assert (named.status, named.implemented_version_id) == ("implemented", "v1")
    assert acme.execute(skills.delete_skill("s1")) is True
    assert rows(addresses.admin, "SELECT id FROM skill_feedback") == []


# Lists


def test_feedback_is_listed_with_the_names_of_author_and_reviewer(acme: Api) -> None:
    acme.execute(users.create_user("nameless@example.com", id="nameless"))
    for id, author, reviewer in (
        ("f1", "u1", "u2"),
        ("f2", "u1", "u1"),
        ("f3", None, "u3"),
        ("f4", "u2", None),
        ("f5", None, None),
        ("f6", "nameless", "nameless"),
    ):
        submitted(acme, id=id, user_id=author)
        if reviewer:
            acme.execute(feedback.review_feedback(id, "accepted", reviewer))
    assert {
        f.id: (f.user_id, f.user_name, f.reviewed_by, f.reviewer_name)
        for f in acme.execute(feedback.list_feedback("s1")).items
    } == {
        "f1": ("u1", "U1", "u2", "U2"),
        "f2": ("u1", "U1", "u1", "U1"),
        "f3": (None, None, "u3", "U3"),
        "f4": ("u2", "U2", None, None),
        "f5": (None, None, None, None),
        "f6": ("nameless", None, "nameless", None),
    }


def test_feedback_is_listed_newest_first_page_by_page_none_twice_none_lost(addresses: Addresses, acme: Api) -> None:
    for number in range(1, 8):
        submitted(acme, TYPES[number % 2], id=f"f{number}")
        submitted(acme, id=f"other{number}", skill_id="s2")
    # Three items share a millisecond, and two share another. Their ids decide the order.
    rows(
        addresses.admin,
        "UPDATE skill_feedback SET created_at = CASE "
        "WHEN id IN ('f2', 'f3', 'f6') THEN timestamptz '2026-01-02 00:00:00.123Z' "
        "WHEN id IN ('f1', 'f7') THEN '2026-01-01Z' WHEN id = 'f4' THEN '2026-01-03Z' "
        "ELSE '2025-01-01Z' END RETURNING 1",
    )
    whole = ["f4", "f6", "f3", "f2", "f7", "f1", "f5"]
    thumbs_down = ["f3", "f7", "f1", "f5"]
    filtered: list[tuple[dict[str, Any], list[str]]] = [
        ({}, whole),
        ({"feedback_type": "thumbs_down"}, thumbs_down),
        ({"feedback_type": "thumbs_down", "status": "pending"}, thumbs_down),
    ]
    for limit, (filters, expected) in product((1, 2, 3, 4, 6, 7, 8), filtered):
        found: list[Any] = []
        page = acme.execute(feedback.list_feedback("s1", limit=limit, **filters))
        while page.after is not None:
            assert len(page.items) == limit
            found += page.items
            page = acme.execute(feedback.list_feedback("s1", limit=limit, after=page.after, **filters))
        assert page.items
        assert [f.id for f in found + page.items] == expected


def test_feedback_is_filtered_by_type_and_status(acme: Api) -> None:
    for type_, status in product(TYPES, STATUSES):
        id = f"{type_} {status}"
        submitted(acme, type_, id=id)
        for step in {"implemented": ("accepted", "implemented"), "pending": ()}.get(status, (status,)):
            acme.execute(feedback.review_feedback(id, step, "u1"))

    def found(**filters: Any) -> set[str]:
        return {f.id for f in acme.execute(feedback.list_feedback("s1", **filters)).items}

    assert found() == {f"{type_} {status}" for type_, status in product(TYPES, STATUSES)}
    for type_ in TYPES:
        assert found(feedback_type=type_) == {f"{type_} {status}" for status in STATUSES}
        for status in STATUSES:
            assert found(feedback_type=type_, status=status) == {f"{type_} {status}"}
            assert found(status=status) == {f"{any_type} {status}" for any_type in TYPES}
    assert acme.execute(feedback.list_feedback("s2"), feedback.list_feedback("missing")) == (
        Page(items=[], after=None),
        Page(items=[], after=None),
    )


def test_a_limit_below_one_and_a_cursor_that_is_none_are_refused(addresses: Addresses, acme: Api) -> None:
    for limit in (0, -1):
        with refused(addresses, InvalidValueError, f"limit must be at least 1, not {limit}"):
            acme.execute(feedback.list_feedback("s1", limit=limit))
    for cursor in ("", "garbage"):
        with refused(addresses, InvalidValueError, "after", repr(cursor)):
            acme.execute(feedback.list_feedback("s1", after=cursor))


Lister = Callable[..., Statement[Page[Any]]]


def pages(tenant: Api, listed: Lister, limit: int) -> list[Any]:
    """All rows, page by page."""
    found: list[Any] = []
    page = tenant.execute(listed(limit=limit))
    while page.after is not None:
        assert len(page.items) == limit
        found += page.items
        page = tenant.execute(listed(limit=limit, after=page.after))
    assert page.items
    return [*found, *page.items]


def test_the_queue_has_the_oldest_of_all_skills_first_page_by_page(addresses: Addresses, acme: Api) -> None:
    for number in range(1, 8):
        skill = f"s{1 + number % 2}"
        submitted(acme, TYPES[number % 3], id=f"f{number}", skill_id=skill, user_id="u1" if number < 4 else None)
    for status in ("accepted", "implemented"):
        in_status(acme, status)
    # Three items share a millisecond, and two share another. Their ids decide the order.
    rows(
        addresses.admin,
        "UPDATE skill_feedback SET created_at = CASE "
        "WHEN id IN ('f2', 'f3', 'f6') THEN timestamptz '2026-01-02 00:00:00.123Z' "
        "WHEN id IN ('f1', 'f7') THEN '2026-01-01Z' WHEN id = 'f4' THEN '2026-01-03Z' "
        "ELSE '2025-01-01Z' END WHERE status = 'pending' RETURNING 1",
    )
    whole = ["f5", "f1", "f7", "f2", "f3", "f6", "f4"]
    for limit in (1, 2, 3, 4, 6, 7, 8):
        assert [f.id for f in pages(acme, feedback.list_feedback_queue, limit)] == whole
        one_type = partial(feedback.list_feedback_queue, feedback_type="thumbs_down")
        assert [f.id for f in pages(acme, one_type, limit)] == ["f1", "f7", "f4"]
    items = {f.id: f for f in acme.execute(feedback.list_feedback_queue()).items}
    for id, user in (("f2", "U1"), ("f5", None)):
        (stored,) = [f for s in ("s1", "s2") for f in acme.execute(feedback.list_feedback(s)).items if f.id == id]
        plain = SkillFeedback(**{name: getattr(stored, name) for name in SkillFeedback.__slots__})
        assert items[id] == acme.execute(feedback.get_feedback(id)) == with_skill(plain, user)
    acme.execute(feedback.review_feedback("f5", "accepted", "u3"))
    assert [f.id for f in acme.execute(feedback.list_feedback_queue()).items] == whole[1:]
    accepted = acme.execute(feedback.list_feedback_queue(status="accepted")).items
    assert accepted[0].reviewer_name == "U3"
    assert [(f.id == "f5", f.status) for f in accepted] == [(True, "accepted"), (False, "accepted")]
    nothing: Page[Any] = Page(items=[], after=None)
    assert acme.execute(
        feedback.list_feedback_queue(status="dismissed"),
        feedback.list_feedback_queue(status="unknown"),
        feedback.list_feedback_queue(feedback_type="unknown"),
        feedback.list_feedback_queue(feedback_type="bug_report"),
    ) == (nothing, nothing, nothing, nothing)
    with refused(addresses, InvalidValueError, "status must be a str, not None"):
        acme.execute(feedback.list_feedback_queue(status=None))  # type: ignore[arg-type]


def test_the_feedback_of_a_user_is_listed_newest_first_page_by_page(addresses: Addresses, acme: Api) -> None:
    for number in range(1, 8):
        submitted(acme, TYPES[number % 3], id=f"f{number}", skill_id=f"s{1 + number % 2}", user_id="u1")
    submitted(acme, id="of another", user_id="u2")
    submitted(acme, id="of nobody")
    rows(
        addresses.admin,
        "UPDATE skill_feedback SET created_at = CASE "
        "WHEN id IN ('f2', 'f3', 'f6') THEN timestamptz '2026-01-02 00:00:00.123Z' "
        "WHEN id IN ('f1', 'f7') THEN '2026-01-01Z' WHEN id = 'f4' THEN '2026-01-03Z' "
        "ELSE '2025-01-01Z' END RETURNING 1",
    )
    acme.execute(feedback.review_feedback("f4", "accepted", "u2", reply="thanks"))
    for limit in (1, 2, 3, 4, 6, 7, 8):
        found = pages(acme, partial(feedback.list_user_feedback, "u1"), limit)
        assert [f.id for f in found] == ["f4", "f6", "f3", "f2", "f7", "f1", "f5"]
    assert (found[0].reply, found[0].user_name, found[0].reviewer_name) == ("thanks", "U1", "U2")
    assert found[0] == acme.execute(feedback.get_feedback("f4"))
    assert acme.execute(feedback.list_user_feedback("nobody")) == Page(items=[], after=None)
    acme.execute(users.delete_user("u1"))
    assert acme.execute(feedback.list_user_feedback("u1")) == Page(items=[], after=None)


@pytest.mark.parametrize(
    "listed",
    [
        feedback.list_feedback_queue,
        partial(feedback.list_user_feedback, "u1"),
        partial(feedback.list_training_examples, "s1"),
    ],
    ids=["queue", "user", "training examples"],
)
def test_the_new_lists_refuse_a_limit_below_one_and_a_cursor_that_is_none(
    addresses: Addresses, acme: Api, listed: Lister
) -> None:
    for limit in (0, -1):
        with refused(addresses, InvalidValueError, f"limit must be at least 1, not {limit}"):
            acme.execute(listed(limit=limit))
    with refused(addresses, InvalidValueError, "after", "'garbage'"):
        acme.execute(listed(after="garbage"))


def test_the_stats_of_a_skill_count_by_type_and_status_within_the_days(addresses: Addresses, acme: Api) -> None:
    assert acme.execute(feedback.get_feedback_stats("missing")) is None
    empty = FeedbackStats(
        skill_id="s1",
        total_feedback=0,
        thumbs_up_count=0,
        thumbs_down_count=0,
        suggestion_count=0,
        training_example_count=0,
        bug_report_count=0,
        pending_count=0,
        accepted_count=0,
        dismissed_count=0,
        implemented_count=0,
        oldest_pending_at=None,
        positive_feedback_pct=None,
        average_sentiment=None,
        average_quality_score=None,
    )
    assert acme.execute(feedback.get_feedback_stats("s1")) == empty
    now = datetime.now(UTC)

    def ago(days: int) -> datetime:
        return (now - timedelta(days=days)).replace(microsecond=0)

    given: list[tuple[str, str, int, dict[str, Any]]] = [
        ("thumbs_up", "pending", 3, {}),
        ("thumbs_up", "accepted", 3, {"quality_score": 10}),
        ("thumbs_down", "pending", 9, {"quality_score": 7}),
        ("suggestion", "implemented", 1, {"quality_score": 8}),
        ("training_example", "dismissed", 1, {}),
        ("bug_report", "pending", 1, {"sentiment": 0}),
        ("bug_report", "pending", 11, {"sentiment": -1, "quality_score": 1}),
    ]
    for number, (type_, status, days, more) in enumerate(given):
        submitted(acme, type_, id=f"f{number}", status=status, created_at=ago(days), **more)
        submitted(acme, type_, skill_id="s2", status=status)
    expected = FeedbackStats(
        skill_id="s1",
        total_feedback=6,
        thumbs_up_count=2,
        thumbs_down_count=1,
        suggestion_count=1,
        training_example_count=1,
        bug_report_count=1,
        pending_count=3,
        accepted_count=1,
        dismissed_count=1,
        implemented_count=1,
        oldest_pending_at=ago(9),
        positive_feedback_pct=67,
        average_sentiment=25,
        average_quality_score=833,
    )
    assert acme.execute(feedback.get_feedback_stats("s1", days=10)) == expected
    assert acme.execute(feedback.get_feedback_stats("s1", 8)).total_feedback == 5
    assert acme.execute(feedback.get_feedback_stats("s1")).total_feedback == 7
    for days, message in ((0, "days must be at least 1"), (36_526, "days must be at most 36525")):
        with refused(addresses, InvalidValueError, message):
            acme.execute(feedback.get_feedback_stats("s1", days))


def test_the_averages_of_the_stats_round_half_up_below_zero_too(acme: Api) -> None:
    for given, expected in (((1, 0, 0, 0, 0, 0, 0, 0), 13), ((-1, 0, 0, 0, 0, 0, 0, 0), -12), ((-1, -1, 0), -67)):
        skill = new_skill(acme, f"skill {expected}").id
        for sentiment in given:
            submitted(acme, skill_id=skill, sentiment=sentiment)
        assert acme.execute(feedback.get_feedback_stats(skill)).average_sentiment == expected


def test_feedback_since_is_counted_strictly_after_a_time_of_any_zone(addresses: Addresses, acme: Api) -> None:
    for number in range(3):
        submitted(acme, TYPES[number], id=f"f{number}")
    submitted(acme, skill_id="s2")
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    for number in range(3):
        rows(
            addresses.admin,
            "UPDATE skill_feedback SET created_at = %s WHERE id = %s RETURNING 1",
            noon + timedelta(milliseconds=number),
            f"f{number}",
        )
    millisecond = timedelta(milliseconds=1)
    for since, expected in ((noon - millisecond, 3), (noon, 2), (noon + millisecond, 1), (noon + 2 * millisecond, 0)):
        for zone in (UTC, timezone(timedelta(hours=5)), timezone(timedelta(hours=-8))):
            assert acme.execute(feedback.count_feedback_since("s1", since.astimezone(zone))) == expected
    assert acme.execute(feedback.count_feedback_since("missing", LONG_AGO)) == 0


def test_a_time_without_a_zone_is_refused(addresses: Addresses, acme: Api) -> None:
    with refused(addresses, InvalidValueError, "since must carry a time zone", "2026-01-01T00:00:00"):
        acme.execute(feedback.count_feedback_since("s1", datetime(2026, 1, 1)))


def test_training_examples_are_the_accepted_ones_with_input_and_expected_output(
    addresses: Addresses, acme: Api
) -> None:
    whole = {"example_input": "in", "expected_output": "out"}
    for status, type_ in product(STATUSES, TYPES):
        id = in_status(acme, status)
        rows(
            addresses.admin,
            "UPDATE skill_feedback SET id = %s, feedback_type = %s, example_input = 'in', expected_output = 'out' "
            "WHERE id = %s RETURNING 1",
            f"{status} {type_}",
            type_,
            id,
        )
    for id, texts in (
        ("without input", {"expected_output": "out"}),
        ("without expected output", {"example_input": "in", "example_output": "out"}),
        ("empty", {"example_input": "", "expected_output": ""}),
        ("first", whole),
    ):
        submitted(acme, "training_example", id=id, **texts)
        acme.execute(feedback.review_feedback(id, "accepted", "u1"))
    rows(addresses.admin, "UPDATE skill_feedback SET created_at = %s WHERE id = 'first' RETURNING 1", LONG_AGO)
    found = acme.execute(feedback.list_training_examples("s1")).items
    assert [f.id for f in found] == ["first", "accepted training_example", "empty"]
    assert (found[0].example_input, found[0].expected_output, found[0].reviewed_by) == ("in", "out", "u1")
    for limit in (1, 2, 3, 4):
        assert pages(acme, partial(feedback.list_training_examples, "s1"), limit) == found
    nothing: Page[Any] = Page(items=[], after=None)
    assert acme.execute(feedback.list_training_examples("s2"), feedback.list_training_examples("missing")) == (
        nothing,
        nothing,
    )


# Other tenants, deletions, drift


def test_another_tenant_sees_and_changes_no_feedback(
    addresses: Addresses, acme: Api, api: Callable[[str], Api]
) -> None:
    example = {"example_input": "in", "expected_output": "out"}
    submitted(acme, "training_example", id="f1", user_id="u1", **example)
    acme.execute(feedback.review_feedback("f1", "accepted", "u2"))
    published(acme, "s1", "v1")
    globex = api("globex")
    new = NewSkillFeedback(skill_id="s1", feedback_type="thumbs_up")
    nothing: Page[Any] = Page(items=[], after=None)
    before = contents(addresses.admin)
    assert globex.execute(
        feedback.list_feedback("s1"),
        feedback.count_feedback_since("s1", LONG_AGO),
        feedback.list_training_examples("s1"),
        feedback.list_feedback_queue(status="accepted"),
        feedback.list_user_feedback("u1"),
        feedback.get_feedback("f1"),
        feedback.get_feedback_stats("s1"),
    ) == (nothing, 0, nothing, nothing, nothing, None, None)
    assert contents(addresses.admin) == before
    with refused(addresses, NotFoundError, "skill 's1' does not exist", cause=pg.NoDataFound):
        globex.execute(feedback.submit_feedback(new))
    with refused(addresses, NotFoundError, "user 'u1' does not exist", cause=pg.NoDataFound):
        globex.execute(feedback.review_feedback("f1", "dismissed", "u1"))
    for user in ("u1", "u9"):
        new_user(globex, user)
    new_skill(globex, "s1")
    with refused(addresses, NotFoundError, "feedback 'f1' does not exist", cause=pg.NoDataFound):
        globex.execute(feedback.review_feedback("f1", "dismissed", "u1"))
    with refused(addresses, NotFoundError, "version 'v1' does not exist", cause=pg.NoDataFound):
        globex.execute(feedback.submit_feedback(replace(new, skill_version_id="v1")))
    with refused(addresses, NotFoundError, "user 'u9' does not exist", cause=pg.NoDataFound):
        acme.execute(feedback.review_feedback("f1", "dismissed", "u9"))
    globex.execute(feedback.submit_feedback(replace(new, id="f1", user_id="u1")))
    assert (counts(acme, "s1"), counts(globex, "s1")) == ((1, None), (1, 100))
    globex.execute(feedback.review_feedback("f1", "dismissed", "u1"))
    globex.execute(users.delete_user("u1"))
    (ours,) = acme.execute(feedback.list_feedback("s1")).items
    assert (ours.status, ours.user_name, ours.reviewer_name) == ("accepted", "U1", "U2")


def test_feedback_and_reviews_of_a_deleted_user_stay_and_count_without_the_name(acme: Api) -> None:
    submitted(acme, "thumbs_up", id="f1", user_id="u1")
    submitted(acme, "thumbs_down", id="f2", user_id="u2", comment="why")
    for id, reviewer in (("f1", "u2"), ("f2", "u1")):
        acme.execute(feedback.review_feedback(id, "accepted", reviewer, notes="because"))
    before = {f.id: f for f in acme.execute(feedback.list_feedback("s1")).items}
    assert acme.execute(users.delete_user("u1")) == GONE
    assert {f.id: f for f in acme.execute(feedback.list_feedback("s1")).items} == {
        "f1": replace(before["f1"], user_id=None, user_name=None),
        "f2": replace(before["f2"], reviewed_by=None, reviewer_name=None),
    }
    assert counts(acme, "s1") == (2, 50)


def test_feedback_goes_with_its_skill(addresses: Addresses, acme: Api) -> None:
    published(acme, "s1", "v1")
    submitted(acme, user_id="u1", skill_version_id="v1")
    kept = submitted(acme, "thumbs_up", skill_id="s2", user_id="u1")
    assert acme.execute(skills.delete_skill("s1")) is True
    assert rows(addresses.admin, "SELECT id FROM skill_feedback") == [(kept.id,)]
    assert counts(acme, "s2") == (1, 100)


def test_falsified_feedback_counts_are_found_and_mended(addresses: Addresses, acme: Api) -> None:
    for type_ in (*TYPES, "thumbs_up"):
        submitted(acme, type_)
    assert counts(acme, "s1") == (6, 67)
    falsified = (
        "UPDATE skills SET total_feedback = 9, thumbs_up_count = 1, thumbs_down_count = 8, "
        "positive_feedback_pct = 11, metrics_updated_at = NULL "
        "WHERE id = 's1' RETURNING positive_feedback_pct"
    )
    drift = [
        MetricDrift(skill_id="s1", metric=metric, stored=stored, actual=actual)
        for metric, stored, actual in (
            ("positive_feedback_pct", 11, 67),
            ("thumbs_down_count", 8, 1),
            ("thumbs_up_count", 1, 2),
            ("total_feedback", 9, 6),
        )
    ]
    for repair, expected in (
        (metrics.update_skill_feedback, 67),
        (metrics.repair_metrics, None),
    ):
        assert rows(addresses.admin, falsified) == [(11,)]
        assert acme.execute(metrics.find_metric_drift()) == drift
        result = acme.execute(repair("s1"))
        assert counts(acme, "s1") == (6, 67)
        skill = acme.execute(skills.get_skill("s1"))
        assert skill.metrics_updated_at is not None
        assert result == (skill if expected is None else expected)


# Concurrency. The writers of a burst wait for each other and start together.

USERS = [f"u{n}" for n in range(8)]
SKILLS = ["s0", "s1", "s2"]


@pytest.fixture
def race(addresses: Addresses) -> Iterator[Race]:
    with (
        psycopg.connect(addresses.admin, autocommit=True) as admin,
        ThreadPoolExecutor(8) as threads,
    ):
        # PostgreSQL detects a deadlock only after this time. A lower value does not make deadlocks more likely.
        admin.execute(f"ALTER DATABASE {admin.info.dbname} SET deadlock_timeout = '20ms'".encode())
        with skilldb.connect(addresses.service, min_size=8, max_size=8) as db:
            acme = db.tenant("acme")
            acme.execute(tenants.create_tenant("Acme", "acme"))
            for user in USERS:
                new_user(acme, user)
            for skill in SKILLS:
                new_skill(acme, skill)
            yield Race(acme=acme, admin=admin, threads=threads)


Review = Callable[[str, str, str], SkillFeedback]


def reviewing_bursts(race: Race, review: Review) -> Iterator[list[str]]:
    for n in count():
        # Only one change of each pair is allowed from the current status, so only one reviewer succeeds.
        present, *wanted = (
            ("pending", "accepted", "accepted"),
            ("pending", "dismissed", "dismissed"),
            ("accepted", "implemented", "dismissed"),
            ("dismissed", "pending", "pending"),
        )[n % 4]
        new = NewSkillFeedback(id=f"f{n}", skill_id="s0", feedback_type="bug_report")
        race.acme.execute(feedback.submit_feedback(new))
        if present != "pending":
            race.acme.execute(feedback.review_feedback(f"f{n}", present, "u7"))
        outcomes = race.burst(*(partial(review, f"f{n}", status, f"u{i}") for i, status in enumerate(wanted)))
        wrong = unexpected(outcomes, InvalidTransitionError)
        won = [o for o in outcomes if isinstance(o, SkillFeedback)]
        lost = [str(o) for o in outcomes if isinstance(o, InvalidTransitionError)]
        if not wrong and (len(won), len(lost)) != (1, 1):
            wrong.append(f"gap or clash: {outcomes}")
        elif not wrong:
            status, reviewer = won[0].status, won[0].reviewed_by
            if f"is {status}: it cannot become" not in lost[0]:
                wrong.append(f"gap or clash: {status} won, the other got {lost[0]}")
            kept = race.admin.execute(
                b"SELECT status, reviewed_by FROM skill_feedback WHERE id = %s", (f"f{n}",)
            ).fetchall()
            if kept != [(status, reviewer)]:
                wrong.append(f"gap or clash: {won} won, {kept} is kept")
        yield wrong


def test_of_two_reviewers_at_once_one_wins_and_the_other_gets_the_new_status(race: Race) -> None:
    def review(id: str, status: str, user: str) -> SkillFeedback:
        return race.acme.execute(feedback.review_feedback(id, status, user))

    assert first_wrong(islice(reviewing_bursts(race, review), 100)) == ""


def test_a_review_that_reads_the_status_first_is_found_out(race: Race) -> None:
    def review(id: str, status: str, user: str) -> SkillFeedback:
        with race.acme.transaction() as tx:
            (read,) = (f.status for f in tx.execute(feedback.list_feedback("s0", limit=300)).items if f.id == id)
            right = feedback.review_feedback(id, status, user)
            present = (f"WHEN status = '{status}'" for status in ("pending", "accepted", "dismissed"))
            write = altered(right.steps[-1], *((when, when.replace("status", f"'{read}'")) for when in present))
            return tx.execute(Statement(right.reader, write))

    assert_found_out(islice(reviewing_bursts(race, review), 100))


def test_a_review_that_does_not_lock_the_feedback_is_found_out(race: Race) -> None:
    def review(id: str, status: str, user: str) -> SkillFeedback:
        right = feedback.review_feedback(id, status, user)
        return race.acme.execute(Statement(right.reader, right.steps[0], right.steps[-1]))

    assert_found_out(islice(reviewing_bursts(race, review), 100))


def writing_bursts(
    race: Race,
    *,
    submit: Callable[[NewSkillFeedback], Statement[SkillFeedback]] = feedback.submit_feedback,
    record: Callable[[NewTokenMeasurement], Statement[Any]] = tokens.record_token_measurement,
    record_batch: Callable[[list[NewTokenMeasurement]], Statement[int]] = tokens.record_token_measurements,
    delete_user: Callable[[str], Statement[UserDeletion]] = users.delete_user,
) -> Iterator[list[str]]:
    for n in count():
        dice = random.Random(n)
        leaving = dice.sample(USERS, 2)
        authors = [None, *USERS[:2], *leaving * 3]

        def measurement(dice: random.Random = dice, authors: list[str | None] = authors) -> NewTokenMeasurement:
            return NewTokenMeasurement(
                skill_id=dice.choice(SKILLS),
                model_name="m",
                estimated_cost_microcents=dice.choice([None, dice.randrange(1000)]),
                user_id=dice.choice(authors),
            )

        def item(dice: random.Random = dice, authors: list[str | None] = authors) -> NewSkillFeedback:
            return NewSkillFeedback(
                skill_id=dice.choice(SKILLS),
                feedback_type=dice.choice(TYPES),
                user_id=dice.choice(authors),
                status="accepted",
                reviewed_by=dice.choice([None, *authors]),
            )

        outcomes = race.execute(
            *(submit(item()) for _ in range(2)),
            *(record(measurement()) for _ in range(2)),
            *(record_batch([measurement() for _ in range(6)]) for _ in range(2)),
            *map(delete_user, leaving),
        )
        wrong = unexpected(outcomes, NotFoundError)
        # A foreign-key error would name the user_id.
        wrong += [f"still referenced, said as {o!r}" for o in outcomes[6:] if isinstance(o, NotFoundError)]
        wrong += [
            f"drift: not found, but {o}"
            for o in outcomes[:6]
            if isinstance(o, NotFoundError) and str(o) not in {f"user '{user}' does not exist" for user in leaving}
        ]
        wrong += [f"drift: {drift}" for drift in race.acme.execute(metrics.find_metric_drift())]
        if not wrong and not all(isinstance(o, UserDeletion) and o.found for o in outcomes[6:]):
            wrong.append(f"drift: deleting said {outcomes[6:]}")
        # A row that another call had locked is left for the next call.
        for user in leaving:
            delete_whole_user(race.acme, user)
        yield wrong
        for user in leaving:
            new_user(race.acme, user)
            race.acme.execute(
                *(ratings.rate_skill(user, skill, 3) for skill in SKILLS),  # Their skills are locked by the deletion.
                feedback.submit_feedback(replace(item(), user_id=user, reviewed_by=None)),
                tokens.record_token_measurement(replace(measurement(), user_id=user)),
            )


def submitting_without_a_lock_of_the_user(new: NewSkillFeedback) -> Statement[SkillFeedback]:
    right = feedback.submit_feedback(new)
    return Statement(right.reader, altered(right.steps[0], ("FOR KEY SHARE", "")), *right.steps[1:])


def counting_feedback_without_a_lock(new: NewSkillFeedback) -> Statement[SkillFeedback]:
    right = feedback.submit_feedback(new)
    recount = (
        "total_feedback = 1 + ("
        "SELECT count(*) FROM skill_feedback AS f WHERE f.tenant_id = %(tenant_id)s AND f.skill_id = %(skill_id)s)"
    )
    return Statement(right.reader, altered(right.steps[-1], ("total_feedback = s.total_feedback + 1", recount)))


def recording_without_a_lock_of_the_user(new: NewTokenMeasurement) -> Statement[Any]:
    right = tokens.record_token_measurement(new)
    return Statement(right.reader, *right.steps[1:])


def batch_without_a_lock_of_the_users(batch: list[NewTokenMeasurement]) -> Statement[int]:
    right = tokens.record_token_measurements(batch)
    return Statement(right.reader, *right.steps[1:])


def deleting_a_user_who_is_not_locked(user_id: str) -> Statement[UserDeletion]:
    right = users.delete_user(user_id)
    return Statement(right.reader, *right.steps[1:])


def test_feedback_and_measurements_while_users_are_deleted_are_counted_exactly(race: Race) -> None:
    assert first_wrong(islice(writing_bursts(race), 150)) == ""


@pytest.mark.parametrize(
    "broken",
    [
        {"submit": submitting_without_a_lock_of_the_user},
        {"submit": counting_feedback_without_a_lock},
        {"record": recording_without_a_lock_of_the_user},
        {"record_batch": batch_without_a_lock_of_the_users},
        {"delete_user": deleting_a_user_who_is_not_locked},
    ],
    ids=lambda broken: next(iter(broken.values())).__name__,
)
def test_a_broken_writer_is_found_out_while_users_are_deleted(race: Race, broken: dict[str, Any]) -> None:
    assert_found_out(writing_bursts(race, **broken))


RecordBatch = Callable[[list[NewTokenMeasurement]], Statement[int]]


def batch_bursts(race: Race, record: RecordBatch) -> Iterator[list[str]]:
    for n in count():
        dice = random.Random(n)
        outcomes = race.execute(
            *(
                record(
                    [
                        NewTokenMeasurement(skill_id=skill, model_name="m", estimated_cost_microcents=dice.randrange(9))
                        for skill in dice.sample(SKILLS, len(SKILLS))
                    ]
                )
                for _ in range(8)
            )
        )
        yield unexpected(outcomes) + [f"drift: {drift}" for drift in race.acme.execute(metrics.find_metric_drift())]


def batch_that_locks_the_skills_in_its_own_order(batch: list[NewTokenMeasurement]) -> Statement[int]:
    right = tokens.record_token_measurements(batch)
    lock = queries.load("locks")["lock_skill"]
    return Statement(right.reader, *(lock(skill_id=m.skill_id) for m in batch), right.steps[-1])


def test_batches_of_the_same_skills_in_any_order_do_not_deadlock(race: Race) -> None:
    assert first_wrong(islice(batch_bursts(race, tokens.record_token_measurements), 100)) == ""


def test_batches_that_lock_the_skills_in_their_own_order_are_found_out(race: Race) -> None:
    assert_found_out(batch_bursts(race, batch_that_locks_the_skills_in_its_own_order))
