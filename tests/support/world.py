"""Runs random operations on three organisations with the same ids, and compares them with a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from typing import Any

import psycopg
from psycopg import sql

import skilldb
from skilldb import queries
from skilldb.errors import SkilldbError
from skilldb.models import (
    NewBenchmarkRun,
    NewSkill,
    NewSkillFeedback,
    NewSkillVersion,
    NewTokenMeasurement,
    NewUsageEvent,
    Page,
    Skill,
)
from skilldb.statement import VALUE, Statement
from tests.support.functions import FUNCTIONS, LEFT_OUT, arguments, everything, shown
from tests.support.model import FEEDBACK_TYPES, Organisation, Refused
from tests.support.server import Addresses

Choose = Callable[[Sequence[Any]], Any]
Operation = tuple[str, dict[str, Any]]

NAMES = ("acme", "globex", "initech")
# Any organisation may use any of these ids for rows of any kind. They have one form, so that they sort equally under
# every collation.
IDS = tuple(f"00000000-0000-4000-8000-00000000000{n}" for n in range(3))

# Placeholders for values that earlier answers returned.
RECENT_ID, RECENT_CURSOR, RECENT_TIME, RECENT_UPDATE, WORDS = (
    *("recent id", "recent cursor", "recent time", "recent update"),
    "words",
)

ID = (*IDS, IDS[0], IDS[1], IDS[0], IDS[1], RECENT_ID)
COUNT = (LEFT_OUT, LEFT_OUT, 0, 7, 7, 1_000, 1_000, 250_000, 250_000, 10_000_000, 3, 3, 3, 3, 3, -1)
SLUGS = ("sql", "go", "ops", "law")

# The hash of a content, and that of a manifest that names it.
HELLO = sha256(b"hello").hexdigest()
MANIFEST = sha256(f"{HELLO}  SKILL.md".encode()).hexdigest()

# By the last name of a path. The simplest value comes first: a failing run is reduced to it.
REQUIRED: Mapping[str, Sequence[Any]] = {
    "id": IDS,
    "slug": SLUGS,
    "slugs": SLUGS,
    "hashes": ("0" * 64, HELLO),
    "body": ("hello", "hello", f"{HELLO}  SKILL.md", "aGVsbG8="),
    "source": ("words of a source", "another source"),
    "path": ("skills/a", "skills/b"),
    "email": ("ann@example.com", "bob@example.com", "cy@example.com", "di@example.com"),
    "status": ("accepted", "dismissed", "implemented", "pending", "accepted", None, "unknown"),
    "feedback_type": (*FEEDBACK_TYPES, *FEEDBACK_TYPES, "training_example", "unknown"),
    "category": ("data", "law"),
    "content_hash": ("0" * 64, "1" * 64, "2" * 64, "3" * 64, "none", MANIFEST),
    "content_hashes": ("0" * 64, "1" * 64, "2" * 64),
    "models": ("gpt-4o", "gpt-4o-mini", "llama"),
    "model_name": ("gpt-4o", "gpt-4o-mini", "llama"),
    "text": ("words", "wor", "OF acme words", '"words of"', "sql", "data -words", "", "words acm", '"of" go'),
    "rating": (1, 2, 3, 4, 5, 0, 6),
    "current_version": (1, 2, None, 3, 0),
    "worker": ("w1", "w2"),
    "older_than": (timedelta(0), timedelta(days=1), timedelta(days=-1)),
    "version": (1, 2, 3, 1, 2, 0),
    "since": (RECENT_TIME, timedelta(days=-1), timedelta(days=1)),
    "test_case_index": (0, 1, 2, 0, 1, 2, -1),
}
OPTIONAL: Mapping[str, Sequence[Any]] = {
    "id": (*IDS, LEFT_OUT),
    "is_active": (LEFT_OUT, True, False),
    "role": (LEFT_OUT, "admin", "owner"),
    "deleting": (LEFT_OUT, LEFT_OUT, False, True),
    "sort": (LEFT_OUT, LEFT_OUT, "name", "uses", "rating", "hours_saved", "updated", "unknown"),
    "status": (LEFT_OUT, LEFT_OUT, None, "published", "draft", "archived", "pending", "accepted", "unknown"),
    "by": (LEFT_OUT, 2, 0),
    "half_life_days": (LEFT_OUT, 1, 7, 50, 0),
    "expected_version_id": (*(LEFT_OUT,) * 4, *ID[:4]),
    "limit": (LEFT_OUT, LEFT_OUT, 1, 2, 0),
    "days": (LEFT_OUT, 1, 3, 50, 0, 36_525),
    "since": (LEFT_OUT, LEFT_OUT, timedelta(days=-2), timedelta(days=-40), timedelta(0)),
    "until": (LEFT_OUT, LEFT_OUT, timedelta(days=-2), timedelta(days=1), timedelta(0)),
    "event_days": (LEFT_OUT, 30, 400, 2, 1),
    "measurement_days": (LEFT_OUT, 30, 400, 2, 1),
    "backfill": (LEFT_OUT, True, False),
    "after": (LEFT_OUT, LEFT_OUT, RECENT_CURSOR, RECENT_CURSOR, "none"),
    "sentiment": (LEFT_OUT, LEFT_OUT, -1, 0, 1, 0, 1, 2),
    "quality_score": (LEFT_OUT, 1, 2, 10, 10, 9, 3, 101),
    "hours_saved": (LEFT_OUT, LEFT_OUT, 0, 8, None, -1),
    "hours_saved_estimate": (LEFT_OUT, LEFT_OUT, 0, 8, -1),
    "matches_expected": (LEFT_OUT, True, False),
    "is_binary": (LEFT_OUT, LEFT_OUT, False, True),
    "created_at": (LEFT_OUT, LEFT_OUT, timedelta(days=-2), timedelta(days=-40)),
    "started_at": (LEFT_OUT, LEFT_OUT, timedelta(days=-2)),
    "completed_at": (LEFT_OUT, LEFT_OUT, timedelta(days=-1)),
    "reviewed_at": (LEFT_OUT, LEFT_OUT, timedelta(days=-1)),
    "updated_at": (LEFT_OUT, LEFT_OUT, RECENT_TIME, timedelta(days=-1)),
    "expected_updated_at": (LEFT_OUT, LEFT_OUT, RECENT_UPDATE, RECENT_UPDATE, timedelta(days=-1)),
    "committed_at": (LEFT_OUT, LEFT_OUT, timedelta(days=-2), timedelta(days=-40)),
    "metadata": (LEFT_OUT, {}, {"a": [1, {"b": "é"}]}),
    "prices": (LEFT_OUT,),
}
# Feedback with a review and a version seldom fits what is there.
RARE: Mapping[str, Sequence[Any]] = {
    "reviewed_by": (LEFT_OUT, LEFT_OUT, LEFT_OUT, *IDS),
    "implemented_version_id": (*(LEFT_OUT,) * 6, *IDS),
}
BY = (LEFT_OUT, "week", "month", "year")
DATES = (timedelta(0), timedelta(days=-2), timedelta(days=-40), timedelta(days=-1), timedelta(days=-500))
# The ids that the database generates for these are in no answer of the call, but in later lists: the model cannot know
# them. So each gets an id.
LISTED = ("event.id", "events.id", "measurements.id")
SOMETIMES = {name: (LEFT_OUT, LEFT_OUT, LEFT_OUT, *values) for name, values in REQUIRED.items()}
LENGTH = (1, 0, 2, 3)

# The first rows of two organisations. Without them most operations would find no rows.
A, B = IDS[:2]
PRELUDE: Sequence[Operation] = [
    ("users.create_user", {"email": "ann@example.com", "id": A, "name": "Ann"}),
    ("users.create_user", {"email": "bob@example.com", "id": B}),
    ("skills.create_skill", {"skill": NewSkill(id=A, slug="sql", name="SQL", description="", category="data")}),
    ("skills.create_skill", {"skill": NewSkill(id=B, slug="go", name="Go", description="", category="data")}),
    (
        "skills.publish_skill_version",
        {"skill_id": A, "version": NewSkillVersion(id=A, content_url="sql/1", content_hash="0" * 64)},
    ),
    ("feedback.submit_feedback", {"feedback": NewSkillFeedback(id=A, skill_id=A, feedback_type="training_example")}),
    ("ratings.rate_skill", {"user_id": B, "skill_id": A, "rating": 4}),
    ("views.open_skill", {"user_id": B, "skill_id": A}),
    ("usage.record_usage_event", {"event": NewUsageEvent(id=A, tool_name="editor", skill_id=A, user_id=B)}),
    (
        "tokens.record_token_measurement",
        {"measurement": NewTokenMeasurement(skill_id=A, model_name="llama", user_id=B)},
    ),
    (
        "benchmarks.create_benchmark_run",
        {"run": NewBenchmarkRun(id=A, skill_id=A, triggered_by=A, models=["gpt-4o", "llama"])},
    ),
    ("benchmarks.start_benchmark_run", {"run_id": A}),
]

# Choose creations more often than other operations and deletions less often, or the organisations would stay empty.
DRAWN = tuple(name for name in FUNCTIONS for _ in range(9 if ".create_" in name else 1 if ".delete_" in name else 3))
ACTORS = (*NAMES, *NAMES[:2])  # The third organisation does not exist at the start.

CLOCK: Statement[datetime] = Statement(VALUE, queries.parse("-- name: clock()\nSELECT now();", "test")["clock"]())


def pool(path: str, hint: Any, required: bool) -> Sequence[Any]:
    """The values to choose from for a parameter."""
    name = path.rpartition(".")[2]
    if not required and name in RARE:
        return RARE[name]
    if name == "successor_id":  # Often a user who does not exist, and then nobody is deleted.
        return (*[LEFT_OUT] * 9, *IDS)
    if name.endswith(("_id", "_ids", "_by")) and name not in OPTIONAL:
        return ID if required else (LEFT_OUT, LEFT_OUT, *ID)
    if required and name in REQUIRED:
        return REQUIRED[name]
    if name == "by" and hint is str:
        return BY
    if not required and (found := OPTIONAL.get(name) or SOMETIMES.get(name)):
        return found
    if hint is int:
        return COUNT
    if hint is date:
        return DATES
    assert hint is str, (
        f"no values to choose from for {path}, which is {shown(hint)}: "
        f"add {name} to {'REQUIRED' if required else 'OPTIONAL'} in tests/support/world.py"
    )
    return (WORDS,) if required else (LEFT_OUT, WORDS)


class World:
    """The organisations and their models, and the check that they agree."""

    def __init__(self, db: skilldb.Database, admin: psycopg.Connection[Any]) -> None:
        slugs: set[str] = set()
        self.models = {name: Organisation(name, slugs) for name in NAMES}
        self.tenants = {name: db.tenant(name) for name in NAMES}
        self.answered: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.done: list[tuple[str, Operation]] = []
        self.recent_id = IDS[0]
        self.recent_cursor: str | None = None
        self.recent_update: datetime | None = None
        self.now: datetime = admin.execute("SELECT now()").fetchall()[0][0]
        self.start = self.now

    def operation(self, of: str, choose: Choose, functions: Sequence[str] = DRAWN) -> Operation:
        """A random operation for an organisation."""

        def leaf(path: str, hint: Any, required: bool) -> Any:
            value = choose(pool(path, hint, required))
            if value is LEFT_OUT and path in LISTED:
                return f"{choose(range(2**32)):08x}-0000-4000-8000-{choose(range(2**48)):012x}"
            match value:
                case timedelta() if hint is not timedelta:
                    time = self.start + value
                    return time.astimezone(UTC).date() if hint is date else time
                case str():
                    known = {
                        RECENT_ID: self.recent_id,
                        RECENT_CURSOR: self.recent_cursor,
                        RECENT_TIME: self.now,
                        RECENT_UPDATE: self.recent_update,
                    }
                    return f"words of {of}" if value == WORDS else known.get(value, value)
            return value

        name = choose(functions)
        given = arguments(FUNCTIONS[name], leaf, count=lambda path: choose(LENGTH))
        if name.startswith("retention.prune_") and given.get("limit", 0) > 0:  # It may leave either of two equally old.
            del given["limit"]
        if name == "users.delete_user" and given.get("limit", 0) > 0:  # It may leave any of the rows.
            del given["limit"]
        if name == "tenants.update_tenant" and "slug" in given["changes"]:  # Slugs are shared, answers are not.
            given["changes"]["slug"] += f" of {of}"
        if name == "usage.record_usage_events":  # Either of two events with the same id may be recorded.
            ids = [event.id for event in given["events"]]
            given["events"] = [e for n, e in enumerate(given["events"]) if e.id is None or e.id not in ids[:n]]
        return name, given

    def answer(self, of: str, operation: Operation) -> Any:
        """Run the operation. Returns the result or the error."""
        name, given = operation
        self.done.append((of, operation))
        try:
            result, self.now = self.tenants[of].execute(FUNCTIONS[name](**given), CLOCK)
        except SkilldbError as error:
            self.refused[name] += 1
            return error
        self.answered[name] += 1
        if isinstance(id := getattr(result, "id", None), str):
            self.recent_id = id
        if isinstance(result, Skill):
            self.recent_update = result.updated_at
        if isinstance(result, Page) and result.after is not None:
            self.recent_cursor = result.after
        return result

    def act(self, of: str, operation: Operation) -> Any:
        """Run the operation and compare its answer with the model's. Returns it; AssertionError if it is wrong."""
        answer = self.answer(of, operation)
        self.compare(of, operation, answer)
        return answer

    def compare(self, of: str, operation: Operation, answer: Any) -> None:
        """Run the operation on the model. AssertionError if the answer differs from the model's."""
        name, given = operation
        model = self.models[of]
        model.at(self.now, getattr(answer, "id", None))
        expected: Any
        try:
            expected = getattr(model, name.partition(".")[2])(**given)
            agrees = expected == answer and type(expected) is type(answer)
        except Refused as refused:
            expected = refused.reasons
            agrees = any(type(answer) is kind and named in str(answer) for kind, named in expected)
        assert agrees, f"{of}: {operation}: {answer!r}, not {expected!r}"
        if isinstance(answer, SkilldbError):
            text = everything(answer)
            assert not any(f"words of {other}" in text for other in NAMES if other != of), text


def tables(admin: psycopg.Connection[Any]) -> list[tuple[str, str]]:
    """Every table with rows of organisations, and its tenant column."""
    return admin.execute(
        """SELECT c.relname, a.attname FROM pg_class AS c INNER JOIN pg_attribute AS a ON a.attrelid = c.oid
        WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
        AND a.attname = CASE c.relname WHEN 'tenants' THEN 'id' ELSE 'tenant_id' END ORDER BY 1"""
    ).fetchall()


def snapshot(admin: psycopg.Connection[Any], of: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """A fingerprint of each organisation's rows and of the transactions that wrote them."""
    one = "SELECT {0} AS tenant, hashtextextended(t.xmin::text || t::text, 0) AS hash FROM {1} AS t"
    parts = [sql.SQL(one).format(sql.Identifier(column), sql.Identifier(table)) for table, column in of]
    query = sql.SQL("SELECT tenant, sum(hash), count(*) FROM ({}) AS r GROUP BY tenant").format(
        sql.SQL(" UNION ALL ").join(parts)
    )
    return {tenant: (total, count) for tenant, total, count in admin.execute(query).fetchall()}


def empty(admin: psycopg.Connection[Any], of: Sequence[tuple[str, str]]) -> None:
    names = sql.SQL(", ").join(sql.Identifier(table) for table, _ in of)
    admin.execute(sql.SQL("TRUNCATE {}").format(names))


@contextmanager
def opened(addresses: Addresses) -> Iterator[tuple[skilldb.Database, psycopg.Connection[Any]]]:
    with skilldb.connect(addresses.service) as db, psycopg.connect(addresses.admin, autocommit=True) as admin:
        yield db, admin
