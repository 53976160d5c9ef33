"""Tests 300 bursts of 8 concurrent writers: every count is exact after each burst. Broken variants are noticed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from functools import partial
from itertools import count
from typing import Any
from uuid import UUID

import psycopg
import pytest

import skilldb
from skilldb import queries
from skilldb.errors import ConflictError, NotFoundError
from skilldb.models import (
    NewSkill,
    NewSkillFeedback,
    NewSkillVersion,
    NewTokenMeasurement,
    NewUsageEvent,
    Skill,
    SkillUpdate,
    SkillVersion,
    UserDeletion,
)
from skilldb.repositories import feedback, metrics, ratings, rollups, skills, tenants, tokens, usage, users, views
from skilldb.statement import NOTHING, VALUE, Statement
from tests.support.api import ask, delete_whole_user, new_skill, new_user
from tests.support.bursts import Race, assert_found_out, first_wrong, unexpected
from tests.support.queries import altered
from tests.support.rollups import drifted
from tests.support.server import Addresses

USERS = [f"u{n}" for n in range(8)]
SKILLS = [f"s{n}" for n in range(4)]
WRITERS = 10  # the 8 writers of a burst, and those that delete at the same time


@pytest.fixture
def race(addresses: Addresses) -> Iterator[Race]:
    with (
        psycopg.connect(addresses.admin, autocommit=True) as admin,
        ThreadPoolExecutor(WRITERS) as threads,
    ):
        # PostgreSQL detects a deadlock only after this time. A lower value does not make deadlocks more likely.
        admin.execute(f"ALTER DATABASE {admin.info.dbname} SET deadlock_timeout = '20ms'".encode())
        with skilldb.connect(addresses.service, min_size=WRITERS, max_size=WRITERS) as db:
            acme = db.tenant("acme")
            acme.execute(tenants.create_tenant("Acme", "acme"))
            for user in USERS:
                new_user(acme, user)
            for skill in SKILLS:
                new_skill(acme, skill)
            yield Race(acme=acme, admin=admin, threads=threads)


# Ratings

Rate = Callable[[str, str, int], Statement[Any]]


def rating_bursts(race: Race, rate: Rate) -> Iterator[list[str]]:
    for n in count():
        dice = random.Random(n)
        # Each burst has first ratings, repeated ratings, and users who rate twice at once.
        for user in dice.sample(USERS, 3):
            race.acme.execute(ratings.delete_rating(user, "s0"))
        yield race.wrong(race.execute(*(rate(user, "s0", dice.randint(1, 5)) for user in dice.choices(USERS, k=8))))


def recomputing_in_one_statement(user_id: str, skill_id: str, rating: int) -> Statement[Any]:
    right = ratings.rate_skill(user_id, skill_id, rating)
    _, count, rate = right.steps
    others = "FROM ratings WHERE tenant_id = %(tenant_id)s AND skill_id = %(skill_id)s AND user_id <> %(user_id)s"
    recomputing = altered(
        count,
        (
            "rating_count = s.rating_count + added.ratings",
            f"rating_count = 1 + (SELECT count(*) {others})",
        ),
        (
            "rating_sum = s.rating_sum + added.stars",
            f"rating_sum = %(rating)s::integer + (SELECT coalesce(sum(rating), 0) {others})",
        ),
    )
    return Statement(right.reader, recomputing, rate)


def rating_without_a_lock(user_id: str, skill_id: str, rating: int) -> Statement[Any]:
    right = ratings.rate_skill(user_id, skill_id, rating)
    return Statement(right.reader, *right.steps[1:])


def rating_and_then_locking(user_id: str, skill_id: str, rating: int) -> Statement[Any]:
    lock, count, rate = ratings.rate_skill(user_id, skill_id, rating).steps
    return Statement(VALUE, count, rate, lock)


def test_ratings_at_once_are_counted_exactly(race: Race) -> None:
    assert first_wrong(rating_bursts(race, ratings.rate_skill)) == ""


@pytest.mark.parametrize(
    "broken", [recomputing_in_one_statement, rating_without_a_lock, rating_and_then_locking], ids=lambda f: f.__name__
)
def test_a_broken_rating_is_found_out(race: Race, broken: Rate) -> None:
    assert_found_out(rating_bursts(race, broken))


def rating_and_taking_back_bursts(
    race: Race, rate: Rate, delete: Callable[[str, str], Statement[bool]]
) -> Iterator[list[str]]:
    for n in count():
        dice = random.Random(n)
        raters = dice.choices(USERS[:3], k=4)
        yield race.wrong(
            race.execute(
                *(rate(user, "s0", dice.randint(1, 5)) for user in raters),
                *(delete(user, "s0") for user in dice.choices(raters, k=3)),
                metrics.update_skill_rating("s0"),
            )
        )


def deleting_a_rating_without_a_lock(user_id: str, skill_id: str) -> Statement[bool]:
    right = ratings.delete_rating(user_id, skill_id)
    return Statement(right.reader, right.steps[-1])


def test_ratings_given_taken_back_and_recomputed_at_once_are_counted_exactly(race: Race) -> None:
    assert first_wrong(rating_and_taking_back_bursts(race, ratings.rate_skill, ratings.delete_rating)) == ""


@pytest.mark.parametrize(
    ("rate", "delete"),
    [
        (rating_without_a_lock, ratings.delete_rating),
        (ratings.rate_skill, deleting_a_rating_without_a_lock),
    ],
    ids=["rating", "taking back"],
)
def test_a_rating_given_or_taken_back_without_a_lock_is_found_out(
    race: Race, rate: Rate, delete: Callable[[str, str], Statement[bool]]
) -> None:
    assert_found_out(rating_and_taking_back_bursts(race, rate, delete))


# Uses


def increment_bursts(race: Race, increment: Callable[[], int]) -> Iterator[list[str]]:
    for n in count():
        outcomes = race.burst(*[increment] * 8)
        total = race.rows(b"SELECT total_uses FROM skills WHERE id = 's0'")
        wrong = unexpected(outcomes)
        if not wrong and (sorted(outcomes), total) != ([*range(8 * n + 1, 8 * n + 9)], [(8 * n + 8,)]):
            wrong.append(f"drift: {total} after {sorted(outcomes)}")
        yield wrong


def test_increments_at_once_are_all_counted(race: Race) -> None:
    assert first_wrong(increment_bursts(race, partial(race.acme.execute, metrics.increment_skill_uses("s0")))) == ""


def test_an_increment_that_reads_and_then_writes_is_found_out(race: Race) -> None:
    def increment() -> int:
        with race.acme.transaction() as tx:
            skill = tx.execute(skills.get_skill("s0"))
            assert skill is not None
            right = metrics.increment_skill_uses("s0", by=skill.total_uses + 1)
            write = altered(right.steps[0], ("coalesce(total_uses, 0) + %(by)s", "%(by)s"))
            return tx.execute(Statement(right.reader, write))

    assert_found_out(increment_bursts(race, increment))


# Editors who read the same state

Update = Callable[[str, SkillUpdate, datetime], Statement[Skill]]


def updating(skill_id: str, changes: SkillUpdate, expected: datetime) -> Statement[Skill]:
    return skills.update_skill(skill_id, changes, expected_updated_at=expected)


def updating_without_a_lock(skill_id: str, changes: SkillUpdate, expected: datetime) -> Statement[Skill]:
    right = updating(skill_id, changes, expected)
    return Statement(right.reader, *right.steps[1:])


def updating_bursts(race: Race, update: Update) -> Iterator[list[str]]:
    for n in count():
        # Every other burst changes what moves updated_at only if an updated_at is expected.
        changes: list[SkillUpdate] = [{"hours_saved": 8 * n + i} if n % 2 else {"name": f"{n} {i}"} for i in range(8)]
        seen = race.acme.execute(skills.get_skill("s0"))
        assert seen is not None
        outcomes = race.execute(*(update("s0", change, seen.updated_at) for change in changes))
        won = [outcome for outcome in outcomes if isinstance(outcome, Skill)]
        wrong = unexpected(outcomes, ConflictError)
        if len(won) != 1 or won != [race.acme.execute(skills.get_skill("s0"))]:
            wrong.append(f"drift: {won} won")
        yield wrong


def test_of_editors_who_read_the_same_state_exactly_one_wins(race: Race) -> None:
    assert first_wrong(updating_bursts(race, updating)) == ""


def test_an_editor_who_does_not_lock_the_skill_is_found_out(race: Race) -> None:
    assert_found_out(updating_bursts(race, updating_without_a_lock))


# Versions

Publish = Callable[[str, NewSkillVersion], Statement[SkillVersion]]


def new_version(number: int, created_by: str | None = None) -> NewSkillVersion:
    """Content that is unique for the number."""
    return NewSkillVersion(content_url=f"v{number}", content_hash=f"{number:064x}", created_by=created_by)


def publishing_bursts(race: Race, publish: Publish) -> Iterator[list[str]]:
    for n in count():
        outcomes = race.execute(*(publish("s0", new_version(8 * n + i)) for i in range(8)))
        wrong = unexpected(outcomes)
        if not wrong and sorted(o.version for o in outcomes) != [*range(8 * n + 1, 8 * n + 9)]:
            wrong.append(f"gap or clash: {outcomes}")
        (state,) = race.rows(b"""
            SELECT
                s.published_version,
                (SELECT version FROM skill_versions WHERE id = s.published_version_id),
                (SELECT array_agg(version ORDER BY version) FROM skill_versions WHERE skill_id = s.id)
            FROM skills AS s WHERE s.id = 's0'
        """)
        if state != (8 * n + 8, 8 * n + 8, [*range(1, 8 * n + 9)]):
            wrong.append(f"gap or clash: {state}")
        yield wrong


def publishing_without_a_lock(skill_id: str, version: NewSkillVersion) -> Statement[SkillVersion]:
    right = skills.publish_skill_version(skill_id, version)
    return Statement(right.reader, *right.steps[-2:])


def publishing_with_the_lock_in_the_same_statement(skill_id: str, version: NewSkillVersion) -> Statement[SkillVersion]:
    right = skills.publish_skill_version(skill_id, version)
    add, publish = right.steps[-2:]
    return Statement(right.reader, altered(add, ("RETURNING", "FOR NO KEY UPDATE OF s\nRETURNING")), publish)


def test_versions_published_at_once_are_numbered_without_gap_or_clash(race: Race) -> None:
    assert first_wrong(publishing_bursts(race, skills.publish_skill_version)) == ""


@pytest.mark.parametrize(
    "broken",
    [publishing_without_a_lock, publishing_with_the_lock_in_the_same_statement],
    ids=lambda f: f.__name__,
)
def test_broken_publishing_is_found_out(race: Race, broken: Publish) -> None:
    assert_found_out(publishing_bursts(race, broken))


def stepping_bursts(race: Race, step: Callable[[str, int], Statement[SkillVersion]]) -> Iterator[list[str]]:
    """New versions are published while others go back to earlier ones."""
    race.acme.execute(skills.publish_skill_version("s0", new_version(0)))
    for n in count():
        dice = random.Random(n)
        numbers = [dice.randint(1, 4 * n + 1) for _ in range(4)]
        outcomes = race.execute(
            *(skills.publish_skill_version("s0", new_version(4 * n + i)) for i in range(1, 5)),
            *(step("s0", number) for number in numbers),
        )
        wrong = unexpected(outcomes)
        if not wrong and [o.version for o in outcomes[4:]] != numbers:
            wrong.append(f"gap or clash: {outcomes}")
        (state,) = race.rows(b"""
            SELECT
                s.published_version - (SELECT version FROM skill_versions WHERE id = s.published_version_id),
                (SELECT max(created_at) FROM skill_versions) <= s.updated_at,
                (SELECT array_agg(version ORDER BY version) FROM skill_versions WHERE skill_id = s.id)
            FROM skills AS s WHERE s.id = 's0'
        """)
        if state != (0, True, [*range(1, 4 * n + 6)]):
            wrong.append(f"gap or clash: {state}")
        yield wrong


def stepping_without_the_number(skill_id: str, version: int) -> Statement[SkillVersion]:
    right = skills.publish_existing_version(skill_id, version)
    return Statement(
        right.reader,
        right.steps[0],
        altered(right.steps[1], ("published_version = chosen.version,", "")),
    )


def test_going_back_to_a_version_while_others_are_published_keeps_the_numbers(race: Race) -> None:
    assert first_wrong(stepping_bursts(race, skills.publish_existing_version)) == ""


def test_going_back_without_the_number_is_found_out(race: Race) -> None:
    assert_found_out(stepping_bursts(race, stepping_without_the_number))


# Batches of uses

Record = Callable[[list[NewUsageEvent]], Statement[int]]


def batch_bursts(race: Race, record: Record) -> Iterator[list[str]]:
    recorded = 0
    for n in count():
        dice = random.Random(n)
        skilled, free = (
            [
                NewUsageEvent(
                    id=str(UUID(int=dice.getrandbits(128))),
                    tool_name="tool",
                    skill_id=dice.choice(skill_ids),
                    user_id=dice.choice([None, *USERS]),
                )
                for _ in range(20)
            ]
            for skill_ids in ([None, *SKILLS], [None])
        )
        # Half of the batches name no skill, so no skill lock separates them. random.sample shuffles.
        batches = [
            *(dice.sample(skilled, 10) + dice.sample(free, 6) for _ in range(4)),
            *(dice.sample(free, 16) for _ in range(4)),
        ]
        outcomes = race.execute(*map(record, batches))
        wrong = race.wrong(outcomes)
        new = len({event.id for batch in batches for event in batch})
        recorded += new
        rows = race.rows(b"SELECT count(*) FROM usage_events")
        if not wrong and (sum(outcomes) != new or rows != [(recorded,)]):
            wrong.append(f"drift: {outcomes} of {new} events, {rows} of {recorded}")
        yield wrong


def skills_locked_in_the_order_of_the_batch(events: list[NewUsageEvent]) -> Statement[int]:
    right = usage.record_usage_events(events)
    lock = queries.load("locks")["lock_skill"]
    skill_ids = dict.fromkeys(event.skill_id for event in events if event.skill_id)
    return Statement(right.reader, right.steps[0], *(lock(skill_id=id) for id in skill_ids), right.steps[2])


def events_inserted_in_the_order_of_the_batch(events: list[NewUsageEvent]) -> Statement[int]:
    right = usage.record_usage_events(events)
    return Statement(right.reader, *right.steps[:2], altered(right.steps[2], ("ORDER BY e.id\n", "")))


def neither_locked_nor_ordered(events: list[NewUsageEvent]) -> Statement[int]:
    right = events_inserted_in_the_order_of_the_batch(events)
    return Statement(right.reader, right.steps[2])


def test_batches_that_overlap_are_counted_exactly_and_do_not_deadlock(race: Race) -> None:
    assert first_wrong(batch_bursts(race, usage.record_usage_events)) == ""


@pytest.mark.parametrize(
    "broken",
    [
        skills_locked_in_the_order_of_the_batch,
        events_inserted_in_the_order_of_the_batch,
        neither_locked_nor_ordered,
    ],
    ids=lambda f: f.__name__,
)
def test_a_broken_batch_is_found_out(race: Race, broken: Record) -> None:
    assert_found_out(batch_bursts(race, broken))


# Users who are deleted at the same time

Delete = Callable[[str], Statement[UserDeletion]]


def leaving_bursts(race: Race, delete: Delete) -> Iterator[list[str]]:
    for n in count():
        dice = random.Random(n)
        leaving = dice.sample(USERS, 2)
        staying = dice.sample(sorted({*USERS} - {*leaving}), 4)
        outcomes = race.execute(
            *(ratings.rate_skill(user, dice.choice(SKILLS), dice.randint(1, 5)) for user in [*leaving * 2, *staying]),
            *map(delete, leaving),
        )
        wrong = race.wrong(outcomes[:4], NotFoundError) + unexpected(outcomes[4:])
        wrong += [f"drift: {drift}" for drift in race.acme.execute(metrics.find_metric_drift())]
        yield wrong
        for user in leaving:
            delete_whole_user(race.acme, user)
            new_user(race.acme, user)
            race.acme.execute(*(ratings.rate_skill(user, skill, 3) for skill in dice.sample(SKILLS, 2)))


def deleting_a_user_who_is_not_locked(user_id: str) -> Statement[UserDeletion]:
    right = users.delete_user(user_id)
    return Statement(right.reader, *right.steps[1:])


def deleting_a_user_who_is_locked_after_the_skills(user_id: str) -> Statement[UserDeletion]:
    right = users.delete_user(user_id)
    user, mark, rated, *rest = right.steps
    return Statement(right.reader, rated, user, mark, *rest)


def test_ratings_while_users_are_deleted_are_counted_exactly(race: Race) -> None:
    assert first_wrong(leaving_bursts(race, users.delete_user)) == ""


def test_deleting_a_user_who_is_not_locked_is_found_out(race: Race) -> None:
    assert_found_out(leaving_bursts(race, deleting_a_user_who_is_not_locked))


def test_deleting_a_user_who_is_locked_after_the_skills_is_found_out(race: Race) -> None:
    assert_found_out(leaving_bursts(race, deleting_a_user_who_is_locked_after_the_skills))


# All writers, on few skills


def some_event(dice: random.Random) -> NewUsageEvent:
    """An event of one of few skills and users. Other events may have the same id."""
    return NewUsageEvent(
        id=str(UUID(int=dice.randrange(30))),
        tool_name="tool",
        skill_id=dice.choice([None, *SKILLS[:2]]),
        user_id=dice.choice([None, *USERS[:3]]),
    )


def mixed_bursts(
    race: Race,
    *,
    publish: Publish = skills.publish_skill_version,
    record: Callable[[NewUsageEvent], Statement[bool]] = usage.record_usage_event,
    record_batch: Record = usage.record_usage_events,
    delete_user: Delete = users.delete_user,
) -> Iterator[list[str]]:
    for n in count():
        dice = random.Random(n)
        race.admin.execute(b"DELETE FROM usage_events; DELETE FROM skills; DELETE FROM users")
        for skill in SKILLS[:2]:
            new_skill(race.acme, skill)
        for user in USERS[:3]:
            new_user(race.acme, user)
        race.acme.execute(
            *(ratings.rate_skill(user, skill, 3) for user in USERS[:3] for skill in SKILLS[:2]),
            *(views.open_skill(user, skill) for user in USERS[:3] for skill in SKILLS[:2]),
            usage.record_usage_events([some_event(dice) for _ in range(10)]),
        )

        user, other = dice.sample(USERS[:3], 2)
        skill = dice.choice(SKILLS[:2])
        writing: list[Statement[Any]] = [
            publish(skill, new_version(2 * n, created_by=user)),
            publish(skill, new_version(2 * n + 1, created_by=other)),
            *(record(some_event(dice)) for _ in range(4)),
            *(record_batch([some_event(dice) for _ in range(5)]) for _ in range(2)),
            views.record_skill_view(user, skill, 1),
            views.open_skill(user, skill),
            *(ratings.delete_rating(user, id) for id in SKILLS[:2]),
            ratings.rate_skill(user, skill, 5),
        ]
        deleting: list[Statement[Any]] = [
            delete_user(user),
            dice.choice([delete_user(other), skills.delete_skill(skill)]),
        ]
        outcomes = race.execute(*dice.sample(writing, 6), *deleting)
        yield race.wrong(outcomes[:6], NotFoundError) + unexpected(outcomes[6:])


def publishing_without_a_lock_of_the_creator(skill_id: str, version: NewSkillVersion) -> Statement[SkillVersion]:
    right = skills.publish_skill_version(skill_id, version)
    return Statement(right.reader, *right.steps[1:])


def recording_without_a_lock_of_the_user(event: NewUsageEvent) -> Statement[bool]:
    right = usage.record_usage_event(event)
    return Statement(right.reader, altered(right.steps[0], ("FOR KEY SHARE", "")), right.steps[1])


def batch_without_a_lock_of_the_users(events: list[NewUsageEvent]) -> Statement[int]:
    right = usage.record_usage_events(events)
    return Statement(right.reader, altered(right.steps[0], ("FOR KEY SHARE", "")), *right.steps[1:])


def deleting_a_user_whose_skills_are_not_locked(user_id: str) -> Statement[UserDeletion]:
    right = users.delete_user(user_id)
    user, mark, _, withdraw, *rest = right.steps
    unlocked = altered(withdraw, ("    FOR NO KEY UPDATE SKIP LOCKED\n", ""))
    return Statement(right.reader, user, mark, unlocked, *rest)


def test_writing_while_users_and_skills_are_deleted_keeps_every_count_exact(race: Race) -> None:
    assert first_wrong(mixed_bursts(race)) == ""


@pytest.mark.parametrize(
    "broken",
    [
        {"publish": publishing_without_a_lock_of_the_creator},
        {"record": recording_without_a_lock_of_the_user},
        {"record_batch": batch_without_a_lock_of_the_users},
        {"delete_user": deleting_a_user_whose_skills_are_not_locked},
    ],
    ids=lambda broken: next(iter(broken.values())).__name__,
)
def test_a_broken_writer_is_found_out_among_deletions(race: Race, broken: dict[str, Any]) -> None:
    assert_found_out(mixed_bursts(race, **broken))


def viewing_bursts(race: Race) -> Iterator[list[str]]:
    for _ in count():
        for user in USERS[:3]:
            race.acme.execute(ratings.rate_skill(user, "s0", 3))
        outcomes = race.execute(
            *(views.record_skill_view(user, "s0", 1) for user in USERS[:3]),
            *(views.open_skill(user, "s0") for user in USERS[:3]),
            *map(users.delete_user, USERS[:3]),
            skills.delete_skill("s0"),
        )
        yield race.wrong(outcomes[:6], NotFoundError) + unexpected(outcomes[6:])
        new_skill(race.acme, "s0")
        for user in USERS[:3]:
            delete_whole_user(race.acme, user)
            new_user(race.acme, user)


def test_views_of_a_skill_and_users_being_deleted_do_not_deadlock(race: Race) -> None:
    assert first_wrong(viewing_bursts(race)) == ""


def test_views_do_not_deadlock_in_a_restored_database(race: Race) -> None:
    # pg_dump writes foreign keys in the order of their names. PostgreSQL checks them in the order of their creation.
    race.admin.execute(b"""
        ALTER TABLE user_skill_views
        DROP CONSTRAINT user_skill_views_user_fk,
        ADD CONSTRAINT user_skill_views_user_fk FOREIGN KEY (tenant_id, user_id)
        REFERENCES users (tenant_id, id) ON DELETE CASCADE
    """)
    assert first_wrong(viewing_bursts(race)) == ""


def test_users_who_reviewed_each_other_can_be_deleted_at_once(race: Race) -> None:
    named = b"SELECT id FROM skill_feedback WHERE user_id IS NOT NULL OR reviewed_by IS NOT NULL"

    def bursts() -> Iterator[list[str]]:
        while True:
            race.rows(b"""
                INSERT INTO skill_feedback (tenant_id, skill_id, user_id, reviewed_by, feedback_type)
                SELECT 'acme', 's' || right(u.id, 1)::integer % 4, u.id, r.id, 'suggestion'
                FROM users AS u
                INNER JOIN users AS r ON r.id <> u.id
                RETURNING id
            """)
            yield race.wrong(race.execute(*map(users.delete_user, USERS)))
            for user in USERS:
                delete_whole_user(race.acme, user)
            yield [f"drift: still named: {row}" for row in race.rows(named)]
            race.admin.execute(b"DELETE FROM skill_feedback")
            for user in USERS:
                new_user(race.acme, user)

    assert first_wrong(bursts()) == ""


# Reviews

Review = Callable[[str, str, str], Statement[Any]]


def implementing(feedback_id: str, reviewed_by: str, version_id: str) -> Statement[Any]:
    return feedback.review_feedback(feedback_id, "implemented", reviewed_by, implemented_version_id=version_id)


def implementing_without_a_lock_of_the_skill(feedback_id: str, reviewed_by: str, version_id: str) -> Statement[Any]:
    right = implementing(feedback_id, reviewed_by, version_id)
    return Statement(right.reader, *(s for s in right.steps if s.query.name != "lock_skill_of_version"))


def implementing_bursts(race: Race, review: Review) -> Iterator[list[str]]:
    """Reviews name the version that implemented feedback, while the skill of both is deleted."""
    while True:
        new_skill(race.acme, "gone")
        version = race.acme.execute(skills.publish_skill_version("gone", new_version(0)))
        items = [
            NewSkillFeedback(id=user, skill_id="gone", feedback_type="suggestion", status="accepted") for user in USERS
        ]
        race.acme.execute(*map(feedback.submit_feedback, items))
        outcomes = race.execute(
            *(review(user, user, version.id) for user in USERS[:4]),
            skills.delete_skill("gone"),
            *(review(user, user, version.id) for user in USERS[4:]),
        )
        yield race.wrong(outcomes, NotFoundError)


def test_a_review_beside_the_deletion_of_its_skill_does_not_deadlock(race: Race) -> None:
    assert first_wrong(implementing_bursts(race, implementing)) == ""


def test_a_review_that_does_not_lock_the_skill_is_found_out(race: Race) -> None:
    assert_found_out(implementing_bursts(race, implementing_without_a_lock_of_the_skill))


# Merges

Merge = Callable[[str, str], Statement[Skill]]


def merging_bursts(race: Race, merge: Merge) -> Iterator[list[str]]:
    """Skills are merged in both directions while users use, rate and view both, and one of these users is deleted."""
    for n in count():
        dice = random.Random(n)
        leaving, *staying = dice.sample(USERS, 4)
        race.acme.execute(
            *(
                ratings.rate_skill(user, skill, dice.randint(1, 5))
                for user in USERS[:6]
                for skill in dice.sample(PAIR, 1)
            ),
            *(views.record_skill_view(user, skill, None) for user in USERS for skill in dice.sample(PAIR, 1)),
        )
        before = race.rows(SUMS)[0]
        there, back = dice.sample(PAIR, 2)
        user = dice.choice(staying)
        writing: list[Statement[Any]] = [
            usage.record_usage_events([NewUsageEvent(tool_name="t", skill_id=skill) for skill in PAIR]),
            usage.record_usage_event(NewUsageEvent(tool_name="t", skill_id=there, user_id=user)),
            tokens.record_token_measurement(
                NewTokenMeasurement(skill_id=there, model_name="m", user_id=user, estimated_cost_microcents=7)
            ),
            feedback.submit_feedback(NewSkillFeedback(skill_id=there, feedback_type="thumbs_up", user_id=user)),
            ratings.rate_skill(user, dice.choice(PAIR), dice.randint(1, 5)),
            ratings.rate_skill(leaving, dice.choice(PAIR), 5),
            views.record_skill_view(user, dice.choice(PAIR), None),
            views.open_skill(dice.choice(staying), dice.choice(PAIR)),
        ]
        outcomes = race.execute(
            *writing, merge(there, back), merge(back, there) if n % 2 else users.delete_user(leaving)
        )
        after = race.rows(SUMS)[0]
        wrong = race.wrong(outcomes, NotFoundError)
        wrong += [f"drift: {found}" for found in race.acme.execute(metrics.find_metric_drift())]
        wrong += [f"drift: {found}" for found in drifted(race.acme.execute)]
        added = tuple(b - a for a, b in zip(before[:4], after[:4], strict=True))
        if added != (3, 3, 1, 1) and not wrong:
            wrong.append(f"drift: {added} were added")
        # A user who is deleted takes along the views, which are then not counted.
        if n % 2 and not wrong and after[4] != before[4] + 2:
            wrong.append(f"drift: {after[4]} views after {before[4]}")
        yield wrong
        if not n % 2:
            new_user(race.acme, leaving)


PAIR = SKILLS[:2]
# What a merge only moves: uses, their events, measurements and feedback items, and how often was viewed.
SUMS = b"""
SELECT
    (SELECT sum(total_uses)::integer FROM skills),
    (SELECT count(*) FROM usage_events),
    (SELECT count(*) FROM token_measurements),
    (SELECT count(*) FROM skill_feedback),
    (SELECT coalesce(sum(view_count), 0)::integer FROM user_skill_views)
"""


def left_out(right: Statement[Skill], *names: str) -> Statement[Skill]:
    return Statement(right.reader, *(step for step in right.steps if step.query.name not in names))


def merging_without_locks_of_the_skills(source: str, target: str) -> Statement[Skill]:
    return left_out(skills.merge_skills(source, target), "lock_skills")


def merging_with_the_source_locked_first(source: str, target: str) -> Statement[Skill]:
    right = skills.merge_skills(source, target)
    lock = queries.load("locks")["lock_skill"]
    users_locked, _, *rest = right.steps
    return Statement(right.reader, users_locked, lock(skill_id=source), lock(skill_id=target), *rest)


def merging_without_the_rollups(source: str, target: str) -> Statement[Skill]:
    return left_out(skills.merge_skills(source, target), "move_monthly_uses")


def merging_with_the_users_locked_after_the_skills(source: str, target: str) -> Statement[Skill]:
    right = left_out(skills.merge_skills(source, target), "lock_users_of_skill")
    waiting = (altered(s, (" SKIP LOCKED", "")) if b"SKIP LOCKED" in s.query.sql else s for s in right.steps)
    return Statement(right.reader, *waiting)


def test_merges_beside_all_writers_keep_every_count_exact_and_do_not_deadlock(race: Race) -> None:
    assert first_wrong(merging_bursts(race, skills.merge_skills)) == ""


@pytest.mark.parametrize(
    "broken",
    [
        merging_without_locks_of_the_skills,
        merging_with_the_source_locked_first,
        merging_with_the_users_locked_after_the_skills,
        merging_without_the_rollups,
    ],
    ids=lambda f: f.__name__,
)
def test_a_broken_merge_is_found_out(race: Race, broken: Merge) -> None:
    assert_found_out(merging_bursts(race, broken))


def viewing_both_bursts(race: Race, merge: Merge) -> Iterator[list[str]]:
    """Each user views both skills in one call, in id order, while the second is merged into the first."""
    source, target = PAIR[1], PAIR[0]
    for n in count():
        race.acme.execute(*(views.record_skill_view(user, skill, None) for user in USERS for skill in PAIR if n % 3))
        both = [[views.record_skill_view(user, skill, None) for skill in PAIR] for user in USERS]
        outcomes = race.burst(
            *(partial(race.acme.execute, *viewing) for viewing in both),
            partial(race.acme.execute, merge(source, target)),
        )
        yield race.wrong(outcomes)


def merging_without_locks_of_the_views(source: str, target: str) -> Statement[Skill]:
    return left_out(skills.merge_skills(source, target), "lock_views_of_skills")


def test_a_merge_beside_calls_that_view_both_skills_does_not_deadlock(race: Race) -> None:
    assert first_wrong(viewing_both_bursts(race, skills.merge_skills)) == ""


def test_a_merge_that_does_not_lock_the_views_is_found_out(race: Race) -> None:
    assert_found_out(viewing_both_bursts(race, merging_without_locks_of_the_views))


# Folds and repairs


def folding_bursts(
    race: Race, fold: Callable[[], Statement[int]], rebuild: Callable[[date], Statement[None]]
) -> Iterator[list[str]]:
    """Uses are recorded, folded and repaired at once, while a user of some of them is deleted."""
    today = datetime.now(UTC).date()
    race.acme.execute(usage.record_usage_events(NewUsageEvent(tool_name="tool", user_id=user) for user in USERS))
    for n in count():
        leaving = USERS[n % len(USERS)]
        race.admin.execute(b"DELETE FROM tool_monthly_uses" if n % 2 else b"DELETE FROM user_monthly_uses")
        events = [NewUsageEvent(tool_name="tool", skill_id=SKILLS[0], user_id=user) for user in (leaving, None)]
        outcomes = race.execute(
            *(usage.record_usage_event(event) for event in events),
            *(fold() for _ in range(3)),
            *(rebuild(today) for _ in range(3)),
            users.delete_user(leaving),
        )
        outcomes += race.execute(fold(), rebuild(today))
        outcomes += race.execute(fold())
        ((uses, events_stored),) = race.rows(
            b"SELECT (SELECT sum(uses_to_day[31]) FROM tool_monthly_uses), (SELECT count(*) FROM usage_events)"
        )
        wrong = race.wrong(outcomes, NotFoundError)
        wrong += [f"drift: {found}" for found in drifted(race.acme.execute)]
        wrong += [f"drift: {uses} of {events_stored} uses"] if uses != events_stored else []
        yield wrong
        delete_whole_user(race.acme, leaving)
        new_user(race.acme, leaving)


def rebuilding_without_the_lock(day: date) -> Statement[None]:
    right = rollups.rebuild_day(day, [])
    return Statement(right.reader, *right.steps[1:])


def test_folds_and_repairs_at_once_count_every_use_once(race: Race) -> None:
    assert first_wrong(folding_bursts(race, rollups.fold_uses, partial(rollups.rebuild_day, skill_ids=[]))) == ""


def test_a_repair_without_its_lock_is_found_out(race: Race) -> None:
    assert_found_out(folding_bursts(race, rollups.fold_uses, rebuilding_without_the_lock))


# Words for searches

STALE = b"""
SELECT s.id, u.name, t.words
FROM skills AS s
LEFT JOIN users AS u ON u.tenant_id = s.tenant_id AND u.id = s.author_id
LEFT JOIN skill_search AS t ON t.tenant_id = s.tenant_id AND t.skill_id = s.id
WHERE t.words IS DISTINCT FROM search_document(s.name, s.slug, s.tags, s.description, u.name)
"""


def renamed(user_id: str, name: str) -> Statement[Any]:
    """Change a user's name, and then what searches find the user's skills by."""
    sql = "UPDATE users SET name = %(name)s WHERE tenant_id = %(tenant_id)s AND id = %(user_id)s RETURNING id"
    return Statement(NOTHING, *ask(sql, name=name, user_id=user_id).steps, *users._index_renamed(user_id))


def words_bursts(race: Race, create: Callable[[NewSkill], Statement[Any]]) -> Iterator[list[str]]:
    race.admin.execute("GRANT UPDATE (name) ON users TO skilldb_app")
    for n in count():
        new = [
            NewSkill(id=f"n{n}-{k}", name="New", slug=f"n{n}-{k}", description="", category="c", author_id="u0")
            for k in range(3)
        ]
        jobs = [
            *(create(skill) for skill in new),
            renamed("u0", f"Name{n}"),
            renamed("u0", f"Other{n}"),
            *(skills.update_skill(f"n{n - 1}-{k}", {"name": f"Changed {n}"}) for k in range(3) if n > 0),
        ]
        outcomes = race.execute(*random.Random(n).sample(jobs, len(jobs)))
        yield unexpected(outcomes) + [f"drift: {row}" for row in race.rows(STALE)]


def creating_without_a_lock(skill: NewSkill) -> Statement[Any]:
    right = skills.create_skill(skill)
    return Statement(right.reader, right.steps[-1])


def test_skills_created_and_changed_while_their_author_is_renamed_are_found_by_the_new_name(race: Race) -> None:
    assert first_wrong(words_bursts(race, skills.create_skill)) == ""


def test_creating_without_locking_the_author_is_found_out(race: Race) -> None:
    assert_found_out(words_bursts(race, creating_without_a_lock))
