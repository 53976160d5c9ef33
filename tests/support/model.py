"""Models every repository function in plain Python, on one organisation's rows in memory.

The functions have the names and parameters of the repositories' functions. A refusal lists every reason that applies,
because the database may report any of them first.
"""

from __future__ import annotations

import re
import unicodedata
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from hashlib import sha256
from math import floor
from typing import Any, TypeVar
from unittest.mock import ANY
from uuid import UUID, uuid4

from skilldb import paging
from skilldb.errors import (
    AlreadyExistsError,
    InvalidTransitionError,
    InvalidValueError,
    NotFoundError,
    PermissionDeniedError,
    SkilldbError,
    StillReferencedError,
)
from skilldb.models import (
    BenchmarkResult,
    BenchmarkRun,
    BenchmarkRunWithResults,
    CategoryCount,
    DailyCost,
    DailyUses,
    EarlierVersion,
    FeedbackWithUsers,
    FileChange,
    FoundSkill,
    Horizon,
    ImportedSkill,
    ImportOutcome,
    MetricDrift,
    ModelComparison,
    NewBenchmarkResult,
    NewBenchmarkRun,
    NewContent,
    NewSkill,
    NewSkillFeedback,
    NewSkillVersion,
    NewTokenMeasurement,
    NewUsageEvent,
    Page,
    PrunableRows,
    Rating,
    RollupDrift,
    Skill,
    SkillChanges,
    SkillCostStats,
    SkillFeedback,
    SkillImport,
    SkillUpdate,
    SkillUses,
    SkillVersion,
    SlugOwner,
    StoredFile,
    TagCount,
    Tenant,
    TokenMeasurement,
    User,
    UserSkillView,
    ViewedSkill,
    WhatsNewItem,
)
from skilldb.paging import TIME, Sort
from skilldb.prices import DEFAULT_PRICES

Row = TypeVar("Row")

Reason = tuple[type[SkilldbError], str]
"""An error class, and a word of its message."""

MOST = 2**31 - 1
DAY = timedelta(days=1)
COST = "estimated_cost_microcents"
TOKENS = ("input_tokens", "output_tokens", "total_tokens")
MOST_TOKENS, MOST_COST, MOST_USES = 10**9, 10**13, 10**6
STATUSES = ("draft", "pending_review", "published", "archived")
THUMBS = {"thumbs_up": 1, "thumbs_down": -1}
SHA_256 = re.compile("[0-9a-f]{64}")
FEEDBACK_TYPES = (*THUMBS, "suggestion", "training_example", "bug_report")
REVIEWS = {
    "pending": ("accepted", "dismissed"),
    "accepted": ("implemented", "dismissed"),
    "dismissed": ("pending",),
    "implemented": (),
}


class Refused(Exception):
    """The call must fail for one of these reasons."""

    def __init__(self, *reasons: Reason) -> None:
        self.reasons = reasons


def refuse(*reasons: tuple[bool, type[SkilldbError], str]) -> None:
    """Raise Refused with the reasons that apply."""
    if found := [(error, named) for holds, error, named in reasons if holds]:
        raise Refused(*found)


def outside(least: int, most: int = MOST, **numbers: int | None) -> list[tuple[bool, type[SkilldbError], str]]:
    """The numbers that are too small or too large."""
    return [(n is not None and not least <= n <= most, InvalidValueError, name) for name, n in numbers.items()]


def unlike(**names: str | None) -> list[tuple[bool, type[SkilldbError], str]]:
    """The new ids and slugs that are not spelt as one may be."""
    return [
        (
            name is not None
            and not (len(name.encode()) <= 255 and name == name.strip() == unicodedata.normalize("NFC", name)),
            InvalidValueError,
            parameter,
        )
        for parameter, name in names.items()
    ]


def unlikely(row: NewTokenMeasurement | NewBenchmarkResult) -> list[tuple[bool, type[SkilldbError], str]]:
    """The numbers of a measurement or result that it cannot have."""
    return [
        *outside(0, MOST_TOKENS, **{name: getattr(row, name) for name in TOKENS}),
        *outside(0, latency_ms=row.latency_ms),
        *outside(0, MOST_COST, estimated_cost_microcents=row.estimated_cost_microcents),
    ]


SORTS = ("updated", "name", "uses", "rating", "hours_saved")
LETTERS = str.maketrans(
    {"ø": "o", "đ": "d", "ð": "d", "ħ": "h", "\u0131": "i", "ł": "l", "æ": "ae", "œ": "oe", "þ": "th"}
)
# The scripts that write words without spaces, or with endings.
SPACELESS = ("CJK ", "HIRAGANA ", "KATAKANA", "HANGUL ", "BOPOMOFO ", "THAI ", "LAO ", "KHMER ", "MYANMAR ", "IDEOGR")
QUOTED = re.compile(r'(-?)"([^"]*)("?)|(-?)(\S+)')

Term = tuple[list[str], bool]
"""Words that follow each other, and whether the last one is a prefix."""


def words(text: str) -> list[str]:
    """The words that a search compares."""
    found = ""
    for letter in unicodedata.normalize("NFKD", text):
        if not (10 <= unicodedata.combining(letter) <= 35 or unicodedata.combining(letter) >= 200):
            found += letter
    folded = ""
    for letter in unicodedata.normalize("NFC", found).casefold().translate(LETTERS):
        category = unicodedata.category(letter)
        if unicodedata.name(letter, "").startswith(SPACELESS) and category[0] in "LMN":
            folded += f" {letter} "
        elif category[0] in "LMN" or letter in "+#":
            folded += letter
        elif category != "Cf" or letter == "\u200b":
            folded += " "
    # A plus or number sign counts at the end of a word.
    kept = [re.sub(r"(?<![a-z0-9+#])[+#]+|[+#]+(?=[a-z0-9])", " ", each) for each in folded.split()]
    return [word[:100] for each in kept for word in each.split()]


def has(field: Sequence[str], term: Term) -> bool:
    """Whether the words of the term follow each other in the field."""
    wanted, prefix = term
    runs = [field[start : start + len(wanted)] for start in range(len(field) - len(wanted) + 1)]
    return any(
        list(run[:-1]) == wanted[:-1] and (run[-1].startswith(wanted[-1]) if prefix else run[-1] == wanted[-1])
        for run in runs
    )


def asked(text: str) -> tuple[list[Term], list[Term]]:
    """The terms that a skill must have, and those that it must not have."""
    wanted: list[Term] = []
    unwanted: list[Term] = []
    for minus, phrase, closed, minus_word, word in QUOTED.findall(re.sub("[\u201c-\u201f\xab\xbb]", '"', text[:1000])):
        found = words(phrase or word)
        if found and (minus or minus_word):
            unwanted.append((found, False))
        elif found:
            wanted.append((found, not closed))
    return wanted, unwanted


def name_key(name: str) -> str:
    return " ".join(words(name[:1000]))[:100]


def half_up(number: Fraction) -> int:
    return floor(number + Fraction(1, 2))


def mean(numbers: Sequence[int]) -> Fraction | None:
    return Fraction(sum(numbers), len(numbers)) if numbers else None


def rounded(number: Fraction | None) -> int | None:
    return None if number is None else half_up(number)


def to_millisecond(time: datetime) -> datetime:
    """The time as it is stored."""
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def day_of(time: datetime) -> date:
    """The day of UTC."""
    return time.astimezone(UTC).date()


@dataclass(kw_only=True)
class Event:
    skill_id: str | None
    user_id: str | None
    created_at: datetime


class Organisation:
    """The rows of one organisation. Organisations share only `slugs`, the slugs of all organisations."""

    def __init__(self, id: str, slugs: set[str]) -> None:
        self.id = id
        self.slugs = slugs
        self.tenant: Tenant | None = None
        self.users: dict[str, User] = {}
        self.skills: dict[str, Skill] = {}
        self.edited: dict[str, datetime] = {}
        self.versions: dict[str, SkillVersion] = {}
        self.sources: dict[str, ImportedSkill] = {}
        self.contents: dict[str, NewContent] = {}
        self.ratings: dict[tuple[str, str], Rating] = {}
        self.views: dict[tuple[str, str], UserSkillView] = {}
        self.events: dict[str, Event] = {}
        self.feedback: dict[str, SkillFeedback] = {}
        self.measurements: dict[str, TokenMeasurement] = {}
        self.runs: dict[str, BenchmarkRun] = {}
        self.results: dict[tuple[str, str, int], NewBenchmarkResult] = {}
        # What is left of raw rows that are gone: pruned rows still count, and the trend counts those of deleted skills.
        self.horizon = Horizon(events_kept_from=None, measurements_kept_from=None)
        self.pruned_events: list[Event] = []
        self.pruned_measurements: list[TokenMeasurement] = []
        self.trend: Counter[date] = Counter()
        self.pending = 0

    def at(self, now: datetime, new_id: str | None) -> None:
        """Set the clock, and the id that the database generates if none is given."""
        self.instant = now
        self.now = to_millisecond(now)
        self.new_id = new_id or "no id was made up"

    def named(self, id: str | None) -> str:
        return self.new_id if id is None else id

    # Reasons.

    def no_tenant(self) -> tuple[bool, type[SkilldbError], str]:
        return self.tenant is None, NotFoundError, "tenant"

    def no_user(self, id: str | None) -> tuple[bool, type[SkilldbError], str]:
        return id is not None and id not in self.users, NotFoundError, f"user '{str(id)[:100]}'"

    def no_skill(self, id: str | None) -> tuple[bool, type[SkilldbError], str]:
        return id is not None and id not in self.skills, NotFoundError, f"skill '{str(id)[:100]}'"

    def no_run(self, id: str) -> tuple[bool, type[SkilldbError], str]:
        return id not in self.runs, NotFoundError, f"run '{id[:100]}'"

    def no_version(self, skill_id: str, id: str | None) -> tuple[bool, type[SkilldbError], str]:
        found = id is None or (id in self.versions and self.versions[id].skill_id == skill_id)
        return not found, NotFoundError, f"version '{str(id)[:100]}'"

    # Organisations and people.

    def create_tenant(self, name: str, slug: str, *, id: str | None = None) -> Tenant:
        refuse(
            *unlike(id=self.id if id is None else id, slug=slug),
            (id not in (None, self.id), PermissionDeniedError, "tenants"),
            (self.tenant is not None, AlreadyExistsError, f"id {self.id!r}"),
            (slug in self.slugs, AlreadyExistsError, f"slug {slug!r}"),
        )
        self.slugs.add(slug)
        self.tenant = Tenant(id=self.id, name=name, slug=slug, is_active=True, created_at=self.now, updated_at=self.now)
        return self.tenant

    def get_tenant(self) -> Tenant | None:
        return self.tenant

    def create_user(self, email: str, *, name: str | None = None, role: str = "member", id: str | None = None) -> User:
        refuse(
            *unlike(id=id),
            (role not in ("admin", "member"), InvalidValueError, "role"),
            (id in self.users, AlreadyExistsError, "id"),
            (any(user.email == email for user in self.users.values()), AlreadyExistsError, "email"),
            self.no_tenant(),
        )
        user = User(id=self.named(id), email=email, name=name, role=role, created_at=self.now, updated_at=self.now)
        self.users[user.id] = user
        return user

    def get_user(self, user_id: str) -> User | None:
        return self.users.get(user_id)

    def delete_user(self, user_id: str) -> bool:
        if user_id not in self.users:
            return False
        needed = [skill.author_id for skill in self.skills.values()]
        needed += [version.created_by for version in self.versions.values()]
        needed += [run.triggered_by for run in self.runs.values()]
        refuse((user_id in needed, StillReferencedError, "user_id"))
        for user, skill in [key for key in self.ratings if key[0] == user_id]:
            del self.ratings[user, skill]
            self.count(skill)
        self.views = {key: view for key, view in self.views.items() if key[0] != user_id}
        for event in self.events.values():
            event.user_id = None if event.user_id == user_id else event.user_id
        for id, feedback in self.feedback.items():
            self.feedback[id] = replace(
                feedback,
                user_id=None if feedback.user_id == user_id else feedback.user_id,
                reviewed_by=None if feedback.reviewed_by == user_id else feedback.reviewed_by,
            )
        for id, measurement in self.measurements.items():
            if measurement.user_id == user_id:
                self.measurements[id] = replace(measurement, user_id=None)
        del self.users[user_id]
        return True

    # Skills.

    def skill(self, id: str) -> Skill:
        """The skill with its averages, each computed from its rows."""
        ratings = [rating.rating for (_, skill), rating in self.ratings.items() if skill == id]
        types = [feedback.feedback_type for feedback in self.feedback.values() if feedback.skill_id == id]
        thumbs = [int(type == "thumbs_up") for type in types if type in THUMBS]
        rate, positive = mean(ratings), mean(thumbs)
        return replace(
            self.skills[id],
            rating_count=len(ratings),
            average_rating=rounded(None if rate is None else rate * 100),
            total_feedback=len(types),
            positive_feedback_pct=rounded(None if positive is None else positive * 100),
            avg_token_cost_microcents=rounded(mean(self.costs(id))),
        )

    def costs(self, id: str) -> list[int]:
        costs = [m.estimated_cost_microcents for m in self.measured(id)]
        return [cost for cost in costs if cost is not None]

    def used(self) -> list[Event]:
        """The events of all skills, pruned ones included."""
        return [*self.events.values(), *self.pruned_events]

    def measured(self, skill_id: str | None = None) -> list[TokenMeasurement]:
        """The measurements of a skill, or of all, pruned ones included."""
        found = [*self.measurements.values(), *self.pruned_measurements]
        return [m for m in found if skill_id in (None, m.skill_id)]

    def count(self, id: str, uses: int = 0) -> None:
        """A counter of the skill changes."""
        skill = self.skills[id]
        self.skills[id] = replace(skill, total_uses=skill.total_uses + uses, metrics_updated_at=self.now)

    def create_skill(self, skill: NewSkill) -> Skill:
        refuse(
            *unlike(id=skill.id, slug=skill.slug),
            (skill.status not in STATUSES, InvalidValueError, "status"),
            *outside(0, hours_saved=skill.hours_saved),
            (skill.id in self.skills, AlreadyExistsError, "id"),
            (self.get_skill_by_slug(skill.slug) is not None, AlreadyExistsError, "slug"),
            (skill.author_id is not None and skill.author_id not in self.users, NotFoundError, "user"),
            self.no_tenant(),
        )
        id = self.named(skill.id)
        self.skills[id] = Skill(
            id=id,
            name=skill.name,
            slug=skill.slug,
            description=skill.description,
            category=skill.category,
            tags=list(skill.tags),
            status=skill.status,
            hours_saved=skill.hours_saved,
            author_id=skill.author_id,
            published_version_id=None,
            published_version=None,
            created_at=self.now,
            updated_at=self.now,
            metrics_updated_at=None,
            total_uses=0,
            rating_count=0,
            average_rating=None,
            total_feedback=0,
            positive_feedback_pct=None,
            avg_token_cost_microcents=None,
        )
        self.edited[id] = self.now
        return self.skill(id)

    def get_skill(self, skill_id: str) -> Skill | None:
        return self.skill(skill_id) if skill_id in self.skills else None

    def get_skill_by_slug(self, slug: str) -> Skill | None:
        return next((self.skill(id) for id, skill in self.skills.items() if skill.slug == slug), None)

    def get_skills(self, skill_ids: Iterable[str]) -> list[Skill]:
        return [self.skill(id) for id in dict.fromkeys(skill_ids) if id in self.skills]

    def list_skills(
        self,
        *,
        sort: str = "updated",
        status: str | None = "published",
        category: str | Iterable[str] | None = None,
        tag: str | Iterable[str] | None = None,
        author_id: str | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> Page[Skill]:
        refuse((sort not in SORTS, InvalidValueError, "sort"))
        categories = [category] if isinstance(category, str) else category
        tags = [tag] if isinstance(tag, str) else tag
        found = [
            self.skill(id)
            for id, skill in self.skills.items()
            if status in (None, skill.status) and author_id in (None, skill.author_id)
            if categories is None or skill.category in categories
            if tags is None or set(skill.tags) & set(tags)
        ]
        values: dict[str, Callable[[Skill], Any]] = {
            "updated": lambda skill: skill.updated_at,
            "name": lambda skill: skill.name,
            "uses": lambda skill: skill.total_uses,
            "rating": lambda skill: -1 if skill.average_rating is None else skill.average_rating,
            "hours_saved": lambda skill: -1 if skill.hours_saved is None else skill.hours_saved,
        }
        rows = [(values[sort](skill), skill.id, skill) for skill in found]
        if sort == "updated":
            return self.page(rows, limit, after)
        if sort == "name":
            return self.page(
                rows, limit, after, Sort("name", str), lambda name, id: (name_key(name), id), falling=False
            )
        return self.page(rows, limit, after, Sort(sort, int))

    def fields(self, skill: Skill) -> dict[str, list[list[str]]]:
        """The words of a skill, by weight: of the name, slug, tags, description and author."""
        author = self.users[skill.author_id].name if skill.author_id else None
        return {
            "A": [words(skill.name[:1000]), words(skill.slug)],
            "B": [words(tag[:200]) for tag in skill.tags[:100]],
            "C": [words(skill.description[:10_000])],
            "D": [words((author or "")[:1000])],
        }

    def search_skills(
        self,
        text: str,
        *,
        status: str | None = "published",
        category: str | None = None,
        tag: str | None = None,
        limit: int = 20,
        after: str | None = None,
    ) -> Page[FoundSkill]:
        wanted, unwanted = asked(text)
        rows = []
        for id, skill in self.skills.items():
            fields = self.fields(skill)

            def some(term: Term, weights: str, fields: dict[str, list[list[str]]] = fields) -> bool:
                return any(has(field, term) for weight in weights for field in fields[weight])

            if not all(some(term, "ABCD") for term in wanted) or any(some(term, "ABCD") for term in unwanted):
                continue
            if status not in (None, skill.status) or category not in (None, skill.category):
                continue
            if tag is not None and tag not in skill.tags:
                continue
            ranks = {
                6: all(some((term, False), "A") for term, _ in wanted),
                5: all(some(term, "A") for term in wanted),
                4: all(some(term, "AB") for term in wanted),
                3: any(some(term, "A") for term in wanted),
                2: any(some(term, "B") for term in wanted),
            }
            rank = max((rank for rank, holds in ranks.items() if holds and wanted), default=1)
            rows.append((rank, id, self.found(id, rank)))
        return self.page(rows, limit, after, Sort("rank", int))

    def found(self, id: str, rank: int) -> FoundSkill:
        skill = self.skill(id)
        return FoundSkill(**{field: getattr(skill, field) for field in Skill.__slots__}, rank=rank)

    def list_similar_skills(self, skill_id: str, *, limit: int = 10) -> list[FoundSkill]:
        refuse((not 1 <= limit < 2**63, InvalidValueError, "limit"))
        if skill_id not in self.skills:
            return []
        own = self.skills[skill_id]
        rows = []
        for id, skill in self.skills.items():
            name = {word for field in self.fields(skill)["A"] for word in field}
            rank = (
                3 * len(set(own.tags) & set(skill.tags))
                + 2 * (own.category == skill.category)
                + len(set(words(own.name[:1000])) & name)
            )
            if skill.status == "published" and id != skill_id and rank > 0:
                rows.append((rank, id))
        return [self.found(id, rank) for rank, id in sorted(rows, reverse=True)[:limit]]

    def list_categories(self, *, limit: int = 100, after: str | None = None) -> Page[CategoryCount]:
        counts = Counter(skill.category for skill in self.skills.values() if skill.status == "published")
        rows = [(n, category, CategoryCount(category=category, skills=n)) for category, n in counts.items()]
        return self.page(rows, limit, after, Sort("categories", int), lambda n, category: (-n, category), falling=False)

    def list_tags(self, *, limit: int = 100, after: str | None = None) -> Page[TagCount]:
        counts = Counter(
            tag for skill in self.skills.values() if skill.status == "published" for tag in set(skill.tags)
        )
        rows = [(n, tag, TagCount(tag=tag, skills=n)) for tag, n in counts.items()]
        return self.page(rows, limit, after, Sort("tags", int), lambda n, tag: (-n, tag), falling=False)

    def find_search_drift(self) -> list[str]:
        return []

    def repair_search(self, skill_ids: Iterable[str]) -> None:
        refuse(*(self.no_skill(id) for id in skill_ids))

    def page(
        self,
        rows: Sequence[tuple[Any, str, Row]],
        limit: int,
        after: str | None,
        sort: Sort = TIME,
        key: Callable[[Any, str], Any] = lambda value, id: (value, id),
        *,
        falling: bool = True,
    ) -> Page[Row]:
        """The rows after the cursor, each with its value and id, by their keys: highest first if falling."""
        try:
            value, id = paging.decode(after, sort)  # Cursors are opaque.
        except InvalidValueError:
            raise Refused((InvalidValueError, "after"), (InvalidValueError, "limit")) from None
        refuse((not 1 <= limit < 2**63 - 1, InvalidValueError, "limit"))
        rows = sorted(rows, key=lambda row: key(*row[:2]), reverse=falling)
        if id is not None:
            bound = key(value, id)
            rows = [row for row in rows if (key(*row[:2]) < bound if falling else key(*row[:2]) > bound)]
        more = paging.encode(*rows[limit - 1][:2], sort) if len(rows) > limit else None
        return Page(items=[row for _, _, row in rows[:limit]], after=more)

    def update_skill(self, skill_id: str, changes: SkillUpdate) -> Skill:
        other = self.get_skill_by_slug(changes["slug"]) if "slug" in changes else None
        refuse(
            *unlike(slug=changes.get("slug")),
            self.no_skill(skill_id),
            (changes.get("status", "draft") not in STATUSES, InvalidValueError, "status"),
            *outside(0, hours_saved=changes.get("hours_saved")),
            (other is not None and other.id != skill_id, AlreadyExistsError, "slug"),
        )
        old = self.skills[skill_id]
        # Without a type annotation, because mypy accepts any sequence for the tags, which are stored as a list.
        given: dict[str, Any] = {**changes, "tags": list(changes.get("tags", old.tags))}
        new = replace(old, **given)
        if new != replace(old, slug=new.slug, hours_saved=new.hours_saved):
            new = replace(new, updated_at=max(old.updated_at, self.now))
            self.edited[skill_id] = max(self.edited[skill_id], self.now)
        self.skills[skill_id] = new
        return self.skill(skill_id)

    def publish_skill_version(self, skill_id: str, version: NewSkillVersion) -> SkillVersion:
        refuse(*unlike(id=version.id), self.no_user(version.created_by), self.no_skill(skill_id))
        skill = self.skills[skill_id]
        present = self.versions.get(skill.published_version_id or "")
        if present is not None and present.content_hash == version.content_hash:
            return present
        refuse(
            (not re.fullmatch("[0-9a-f]{64}", version.content_hash), InvalidValueError, "content_hash"),
            (version.id in self.versions, AlreadyExistsError, "id"),
        )
        added = SkillVersion(
            id=self.named(version.id),
            skill_id=skill_id,
            version=1 + len(self.list_skill_versions(skill_id)),
            content_url=version.content_url,
            content_hash=version.content_hash,
            content_type=version.content_type,
            name=skill.name,
            description=skill.description,
            metadata=None if version.metadata is None else dict(version.metadata),
            created_by=version.created_by,
            created_at=max(skill.updated_at, self.now),
        )
        self.versions[added.id] = added
        self.skills[skill_id] = replace(
            skill, published_version_id=added.id, published_version=added.version, updated_at=added.created_at
        )
        return added

    def get_skill_version(self, version_id: str) -> SkillVersion | None:
        return self.versions.get(version_id)

    def list_skill_versions(self, skill_id: str) -> list[SkillVersion]:
        found = [version for version in self.versions.values() if version.skill_id == skill_id]
        return sorted(found, key=lambda version: version.version, reverse=True)

    def get_version_number(self, version_id: str) -> int | None:
        return self.versions[version_id].version if version_id in self.versions else None

    def delete_skill(self, skill_id: str) -> bool:
        if self.skills.pop(skill_id, None) is None:
            return False
        self.versions = {id: row for id, row in self.versions.items() if row.skill_id != skill_id}
        self.sources.pop(skill_id, None)
        self.ratings = {key: row for key, row in self.ratings.items() if row.skill_id != skill_id}
        self.views = {key: row for key, row in self.views.items() if row.skill_id != skill_id}
        self.events = {id: row for id, row in self.events.items() if row.skill_id != skill_id}
        self.pruned_events = [row for row in self.pruned_events if row.skill_id != skill_id]
        self.pruned_measurements = [row for row in self.pruned_measurements if row.skill_id != skill_id]
        self.feedback = {id: row for id, row in self.feedback.items() if row.skill_id != skill_id}
        self.measurements = {id: row for id, row in self.measurements.items() if row.skill_id != skill_id}
        self.runs = {id: row for id, row in self.runs.items() if row.skill_id != skill_id}
        self.results = {key: row for key, row in self.results.items() if key[0] in self.runs}
        return True

    # Imports.

    def import_skills(self, source: str, items: Iterable[SkillImport]) -> list[ImportOutcome]:
        items = list(items)
        new = [item for item in items if item.id not in self.skills and item.expected_version_id is None]
        ids = [item.id for item in items]
        authors = [item.author_id for item in items]
        refuse(
            (len(source.encode()) > 255, InvalidValueError, "source"),
            (len(set(ids)) < len(ids), InvalidValueError, "id"),
            *(reason for item in items for reason in unlike(id=item.id, slug=item.slug)),
            *(reason for item in items for reason in unlike(version_id=item.version_id)),
            *((len(item.path.encode()) > 1024, InvalidValueError, "path") for item in items),
            *((item.status not in (None, *STATUSES), InvalidValueError, "status") for item in items),
            *((not SHA_256.fullmatch(item.content_hash), InvalidValueError, "content_hash") for item in items),
            *(self.no_user(author) for author in authors),
            *((item.category is None, InvalidValueError, "category") for item in new),
            *[self.no_tenant()] * bool(new),
        )
        taken = {skill.slug for skill in self.skills.values()}
        made = [item for number, item in enumerate(new) if item.slug not in taken | {i.slug for i in new[:number]}]
        written = [item for item in items if item in made or self.is_expected(item)]
        added = [item for item in written if self.is_new(source, item)]
        versions = [item.version_id for item in added]
        refuse(
            (len(set(versions)) < len(versions), AlreadyExistsError, "id"),
            *((id in self.versions, AlreadyExistsError, "id") for id in versions),
        )
        for item in made:
            self.create_skill(
                NewSkill(
                    id=item.id,
                    name=item.name,
                    slug=item.slug,
                    description=item.description,
                    category=str(item.category),
                    tags=item.tags or [],
                    status=item.status or "published",
                    author_id=item.author_id,
                )
            )
        for item in written:
            columns: dict[str, Any] = {
                name: list(value) if name == "tags" else value
                for name in ("name", "description", "category", "tags", "status")
                if (value := getattr(item, name)) is not None
            }
            old = self.sources.get(item.id)
            before = old.imported if old and old.source == source else {}
            changes: Any = {n: v for n, v in columns.items() if n not in before or before[n] != v}
            self.update_skill(item.id, changes)
            if item in added:
                version = NewSkillVersion(
                    id=item.version_id,
                    content_url=item.content_url,
                    content_hash=item.content_hash,
                    metadata=item.metadata,
                )
                self.publish_skill_version(item.id, version)
            self.sources[item.id] = ImportedSkill(
                skill_id=item.id,
                slug="",
                source=source,
                path=item.path,
                content_hash=item.content_hash,
                imported=before | columns,
                commit_hash=item.commit_hash,
                committed_at=None if item.committed_at is None else to_millisecond(item.committed_at),
                created_at=old.created_at if old else self.now,
                imported_at=self.now,
                published_version_id=None,
            )
        return [
            ImportOutcome(
                skill_id=item.id,
                outcome="published" if item in added else "written" if item in written else "skipped",
            )
            for item in items
        ]

    def is_expected(self, item: SkillImport) -> bool:
        """Whether the skill exists, and its published version is the one that the caller has seen."""
        skill = self.skills.get(item.id)
        return skill is not None and skill.published_version_id == item.expected_version_id

    def is_new(self, source: str, item: SkillImport) -> bool:
        """Whether neither the published version nor the last import has the content."""
        skill = self.skills.get(item.id)
        published = self.versions.get((skill and skill.published_version_id) or "")
        last = self.sources.get(item.id)
        return not (published and published.content_hash == item.content_hash) and not (
            last and last.source == source and last.content_hash == item.content_hash
        )

    def list_imported_skills(self, source: str, *, limit: int = 1_000, after: str | None = None) -> Page[ImportedSkill]:
        found = [
            replace(row, slug=self.skills[id].slug, published_version_id=self.skills[id].published_version_id)
            for id, row in self.sources.items()
            if row.source == source
        ]
        return self.page([(row.created_at, row.skill_id, row) for row in found], limit, after)

    def find_slug_owners(self, slugs: Iterable[str]) -> list[SlugOwner]:
        wanted = set(slugs)
        return [
            SlugOwner(
                slug=skill.slug,
                skill_id=skill.id,
                published_version_id=skill.published_version_id,
                source=self.sources[skill.id].source if skill.id in self.sources else None,
                path=self.sources[skill.id].path if skill.id in self.sources else None,
            )
            for skill in sorted(self.skills.values(), key=lambda skill: skill.slug)
            if skill.slug in wanted
        ]

    def find_earlier_versions(self, skill_ids: Iterable[str], content_hashes: Iterable[str]) -> list[EarlierVersion]:
        skill_ids, content_hashes = list(skill_ids), list(content_hashes)
        refuse((len(skill_ids) != len(content_hashes), InvalidValueError, "content_hashes"))
        wanted = set(zip(skill_ids, content_hashes, strict=True))
        return [
            EarlierVersion(skill_id=row.skill_id, content_hash=row.content_hash, version=row.version)
            for row in sorted(self.versions.values(), key=lambda row: (row.skill_id, row.version))
            if (row.skill_id, row.content_hash) in wanted
            if self.skills[row.skill_id].published_version_id != row.id
        ]

    def store_contents(self, contents: Iterable[NewContent]) -> int:
        contents = list(contents)
        new = {}
        for content in contents:
            try:
                body = b64decode(content.body.encode(), validate=True) if content.is_binary else content.body.encode()
            except ValueError:
                raise Refused((InvalidValueError, "body")) from None
            new[sha256(body).hexdigest()] = content
        new = {hash: content for hash, content in new.items() if hash not in self.contents}
        refuse(*[self.no_tenant()] * bool(new))
        self.contents |= new
        return len(new)

    def find_missing_contents(self, hashes: Iterable[str]) -> list[str]:
        return sorted({hash for hash in hashes if hash and hash not in self.contents})

    def files(self, version_id: str) -> dict[str, NewContent]:
        """The files of a version by path."""
        version = self.versions.get(version_id)
        manifest = self.contents.get(version.content_hash) if version else None
        lines = [(line[:64], line[66:]) for line in manifest.body.split("\n")] if manifest else []
        return {path: self.contents[hash] for hash, path in lines if path and hash in self.contents}

    def get_version_content(self, version_id: str) -> list[StoredFile]:
        return [
            StoredFile(path=path, body=content.body, is_binary=content.is_binary)
            for path, content in sorted(self.files(version_id).items())
        ]

    def diff_versions(self, version_id: str, to_version_id: str) -> list[FileChange]:
        old, new = self.files(version_id), self.files(to_version_id)
        return [
            FileChange(
                path=path,
                old_body=old[path].body if path in old else None,
                new_body=new[path].body if path in new else None,
                is_binary=any(files[path].is_binary for files in (old, new) if path in files),
            )
            for path in sorted(old.keys() | new.keys())
            if old.get(path) != new.get(path)
        ]

    # Counters.

    def increment_skill_uses(self, skill_id: str, by: int = 1) -> int:
        refuse(*outside(1, MOST_USES, by=by), self.no_skill(skill_id))
        self.count(skill_id, by)
        return self.skills[skill_id].total_uses

    def update_skill_rating(self, skill_id: str) -> int | None:
        return self.repair_metrics(skill_id).average_rating

    def update_skill_feedback(self, skill_id: str) -> int | None:
        return self.repair_metrics(skill_id).positive_feedback_pct

    def update_skill_token_cost(self, skill_id: str) -> int | None:
        return self.repair_metrics(skill_id).avg_token_cost_microcents

    def find_metric_drift(self) -> list[MetricDrift]:
        return []

    def repair_metrics(self, skill_id: str) -> Skill:
        refuse(self.no_skill(skill_id))
        self.count(skill_id)
        return self.skill(skill_id)

    # Uses.

    def record_usage_event(self, event: NewUsageEvent, *, backfill: bool = False) -> bool:
        return self.record_usage_events([event], backfill=backfill) == 1

    def record_usage_events(self, events: Iterable[NewUsageEvent], *, backfill: bool = False) -> int:
        """If one call has two events with the same id, either may be recorded. The model does not cover that."""
        events = list(events)
        new = [e for e in events if e.id is None or str(UUID(e.id)) not in self.events]
        refuse(
            *(self.no_user(event.user_id) for event in new),
            *(self.no_skill(event.skill_id) for event in new),
            *([self.no_tenant()] if new else []),
            *(self.pruned(event.created_at, self.horizon.events_kept_from) for event in events if not backfill),
        )
        self.pending += len({(day_of(e.created_at or self.now), e.tool_name, e.user_id) for e in new})
        for event in new:
            created_at = to_millisecond(event.created_at or self.now)
            self.trend[day_of(created_at)] += 1
            self.events[str(UUID(event.id) if event.id else uuid4())] = Event(
                skill_id=event.skill_id, user_id=event.user_id, created_at=created_at
            )
            if event.skill_id is not None:
                self.count(event.skill_id, uses=1)
        return len(new)

    def days(self, days: int) -> list[date]:
        refuse((not 1 <= days <= 36_525, InvalidValueError, "days"))
        today = self.instant.astimezone(UTC).date()
        return [today - n * DAY for n in reversed(range(days))]

    def count_uses_by_day(self, skill_id: str, days: int = 30) -> list[DailyUses]:
        counts = Counter(day_of(e.created_at) for e in self.used() if e.skill_id == skill_id)
        return [DailyUses(day=day, uses=counts[day]) for day in self.days(days)]

    def get_top_skills(self, days: int = 30, limit: int = 10) -> list[SkillUses]:
        refuse(
            (not 1 <= days <= 36_525, InvalidValueError, "days"), (not 1 <= limit < 2**63, InvalidValueError, "limit")
        )
        within = self.days(days)
        counts = Counter(e.skill_id for e in self.used() if e.skill_id is not None and day_of(e.created_at) in within)
        top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:limit]
        return [
            SkillUses(
                skill_id=id,
                skill_name=self.skills[id].name,
                skill_slug=self.skills[id].slug,
                average_rating=self.skill(id).average_rating,
                uses=uses,
            )
            for id, uses in top
        ]

    def get_usage_trend(self, days: int = 30) -> list[DailyUses]:
        return [DailyUses(day=day, uses=self.trend[day]) for day in self.days(days)]

    # Rollups and retention.

    def fold_uses(self, limit: int = 10_000) -> int:
        refuse((not 1 <= limit < 2**63, InvalidValueError, "limit"), self.no_tenant())
        folded = min(limit, self.pending)
        self.pending -= folded
        return folded

    def get_next_day(self, after: date) -> date | None:
        if self.tenant is None:
            return None
        first = max(after + DAY, self.horizon.events_kept_from or date.min)
        first_measured = max(after + DAY, self.horizon.measurements_kept_from or date.min)
        months = {day_of(e.created_at).replace(day=1) for e in self.used() if e.skill_id is not None}
        days = {
            *(day_of(e.created_at) for e in self.events.values() if day_of(e.created_at) >= first),
            *(max(month, first) for month in months if month >= first.replace(day=1)),
            *(day_of(m.created_at) for m in self.measured() if day_of(m.created_at) >= first_measured),
        }
        return min(days, default=None)

    def find_use_drift(self, day: date) -> list[RollupDrift]:
        return []

    def find_cost_drift(self, day: date) -> list[RollupDrift]:
        return []

    def rebuild_day(self, day: date, skill_ids: Iterable[str]) -> None:
        refuse(self.no_tenant())

    def kept(self, event_days: int | None, measurement_days: int | None) -> Horizon:
        refuse(*outside(2, 36_525, event_days=event_days, measurement_days=measurement_days))
        today = day_of(self.instant)
        days = {"events_kept_from": event_days, "measurements_kept_from": measurement_days}
        ends = {name: None if n is None else today - n * DAY for name, n in days.items()}
        return Horizon(
            **{name: max(filter(None, [end, getattr(self.horizon, name)]), default=None) for name, end in ends.items()}
        )

    def keep_rows(self, *, event_days: int | None = None, measurement_days: int | None = None) -> Horizon:
        moved = self.kept(event_days, measurement_days)
        refuse(self.no_tenant())
        self.horizon = moved
        return moved

    def count_prunable(self, *, event_days: int | None = None, measurement_days: int | None = None) -> PrunableRows:
        moved = self.kept(event_days, measurement_days)
        return PrunableRows(
            events=len(self.older(self.events, moved.events_kept_from)),
            measurements=len(self.older(self.measurements, moved.measurements_kept_from)),
        )

    def prune_events(self, limit: int = 10_000) -> int:
        """With a low limit, one of two events of the same time may go. The model does not cover that."""
        refuse((not 1 <= limit < 2**63, InvalidValueError, "limit"))
        gone = self.older(self.events, self.horizon.events_kept_from)
        self.pruned_events += [self.events.pop(id) for id in gone]
        return len(gone)

    def prune_measurements(self, limit: int = 10_000) -> int:
        refuse((not 1 <= limit < 2**63, InvalidValueError, "limit"))
        gone = self.older(self.measurements, self.horizon.measurements_kept_from)
        self.pruned_measurements += [self.measurements.pop(id) for id in gone]
        return len(gone)

    def older(self, of: Mapping[str, Event] | Mapping[str, TokenMeasurement], kept_from: date | None) -> list[str]:
        return [id for id, row in of.items() if kept_from is not None and day_of(row.created_at) < kept_from]

    def pruned(self, created_at: datetime | None, kept_from: date | None) -> tuple[bool, type[SkilldbError], str]:
        before = created_at is not None and kept_from is not None and day_of(created_at) < kept_from
        return before, InvalidValueError, "created_at"

    # Ratings.

    def rate_skill(
        self,
        user_id: str,
        skill_id: str,
        rating: int,
        *,
        comment: str | None = None,
        hours_saved_estimate: int | None = None,
    ) -> Rating:
        refuse(
            self.no_user(user_id),
            self.no_skill(skill_id),
            (not 1 <= rating <= 5, InvalidValueError, "rating"),
            *outside(0, hours_saved_estimate=hours_saved_estimate),
        )
        former = self.ratings.get((user_id, skill_id))
        found = self.ratings[user_id, skill_id] = Rating(
            id=former.id if former else self.new_id,
            skill_id=skill_id,
            user_id=user_id,
            rating=rating,
            comment=comment,
            hours_saved_estimate=hours_saved_estimate,
            created_at=former.created_at if former else self.now,
            updated_at=max(former.updated_at, self.now) if former else self.now,
        )
        self.count(skill_id)
        return found

    def delete_rating(self, user_id: str, skill_id: str) -> bool:
        if self.ratings.pop((user_id, skill_id), None) is None:
            return False
        self.count(skill_id)
        return True

    def list_ratings(self, skill_id: str, *, limit: int = 50, after: str | None = None) -> Page[Rating]:
        found = [(r.updated_at, r.id, r) for r in self.ratings.values() if r.skill_id == skill_id]
        return self.page(found, limit, after)

    # Views.

    def record_skill_view(self, user_id: str, skill_id: str, current_version: int | None) -> None:
        refuse(self.no_user(user_id), self.no_skill(skill_id), *outside(1, current_version=current_version))
        former = self.views.get((user_id, skill_id))
        self.views[user_id, skill_id] = UserSkillView(
            id=ANY,  # A generated id, which no function takes.
            user_id=user_id,
            skill_id=skill_id,
            last_viewed_at=max(former.last_viewed_at, self.now) if former else self.now,
            last_viewed_version=current_version,
            view_count=former.view_count + 1 if former else 1,
        )

    def get_user_view(self, user_id: str, skill_id: str) -> UserSkillView | None:
        return self.views.get((user_id, skill_id))

    def get_user_views_for_skills(self, user_id: str, skill_ids: Iterable[str]) -> dict[str, UserSkillView]:
        return {id: self.views[user_id, id] for id in skill_ids if (user_id, id) in self.views}

    def list_recently_viewed(self, user_id: str, limit: int = 10) -> list[ViewedSkill]:
        refuse((not 1 <= limit < 2**63, InvalidValueError, "limit"))
        seen = [view for (user, _), view in self.views.items() if user == user_id]
        return [
            ViewedSkill(
                skill_id=view.skill_id,
                skill_name=self.skills[view.skill_id].name,
                skill_slug=self.skills[view.skill_id].slug,
                skill_status=self.skills[view.skill_id].status,
                last_viewed_at=view.last_viewed_at,
                last_viewed_version=view.last_viewed_version,
                view_count=view.view_count,
            )
            for view in sorted(seen, key=lambda view: (view.last_viewed_at, view.skill_id), reverse=True)[:limit]
        ]

    def get_whats_new_for_user(self, user_id: str, limit: int = 10, days: int = 30) -> list[WhatsNewItem]:
        refuse(
            (not 1 <= days <= 36_525, InvalidValueError, "days"), (not 1 <= limit < 2**63, InvalidValueError, "limit")
        )
        since = self.instant - timedelta(days=days)
        seen = [(self.skills[view.skill_id], view) for (user, _), view in self.views.items() if user == user_id]
        changed = [
            (skill, view)
            for skill, view in seen
            if skill.status == "published"
            and skill.updated_at >= since
            and (
                skill.updated_at > view.last_viewed_at
                or (skill.published_version or 0) > (view.last_viewed_version or 0)
            )
        ]
        return [
            WhatsNewItem(
                skill_id=skill.id,
                skill_name=skill.name,
                skill_slug=skill.slug,
                category=skill.category,
                updated_at=skill.updated_at,
                last_viewed_at=view.last_viewed_at,
                view_count=view.view_count,
                last_viewed_version=view.last_viewed_version,
                published_version=skill.published_version,
            )
            for skill, view in sorted(changed, key=lambda item: (item[0].updated_at, item[0].id), reverse=True)[:limit]
        ]

    def detect_changes(self, user_id: str, skill_id: str) -> SkillChanges | None:
        view = self.views.get((user_id, skill_id))
        if view is None:
            return None
        current = self.skills[skill_id].published_version
        return SkillChanges(
            skill_id=skill_id,
            last_viewed_at=view.last_viewed_at,
            last_viewed_version=view.last_viewed_version,
            current_version=current,
            version_rose=(current or 0) > (view.last_viewed_version or 0),
            feedback_since=self.count_feedback_since(skill_id, view.last_viewed_at),
            content_changed=self.edited[skill_id] > view.last_viewed_at,
        )

    def open_skill(self, user_id: str, skill_id: str) -> SkillChanges | None:
        refuse(self.no_user(user_id), self.no_skill(skill_id))
        changes = self.detect_changes(user_id, skill_id)
        self.record_skill_view(user_id, skill_id, self.skills[skill_id].published_version)
        return changes

    # Feedback.

    def submit_feedback(self, feedback: NewSkillFeedback) -> SkillFeedback:
        refuse(
            *unlike(id=feedback.id),
            self.no_user(feedback.user_id),
            self.no_skill(feedback.skill_id),
            self.no_version(feedback.skill_id, feedback.skill_version_id),
            (feedback.feedback_type not in FEEDBACK_TYPES, InvalidValueError, "feedback_type"),
            (feedback.sentiment not in (None, -1, 0, 1), InvalidValueError, "sentiment"),
            (feedback.quality_score not in (None, *range(1, 11)), InvalidValueError, "quality_score"),
            (feedback.id in self.feedback, AlreadyExistsError, "id"),
        )
        sentiment = THUMBS.get(feedback.feedback_type) if feedback.sentiment is None else feedback.sentiment
        added = SkillFeedback(
            **{field: getattr(feedback, field) for field in feedback.__slots__}
            | {"sentiment": sentiment}
            | {"id": self.named(feedback.id)},
            status="pending",
            reviewed_by=None,
            reviewed_at=None,
            review_notes=None,
            created_at=self.now,
        )
        self.feedback[added.id] = added
        self.count(feedback.skill_id)
        return added

    def review_feedback(
        self, feedback_id: str, status: str, reviewed_by: str, *, notes: str | None = None
    ) -> SkillFeedback:
        refuse(
            self.no_user(reviewed_by),
            (feedback_id not in self.feedback, NotFoundError, f"feedback '{feedback_id[:100]}'"),
            (status not in REVIEWS, InvalidValueError, "status"),
        )
        feedback = self.feedback[feedback_id]
        refuse((status not in REVIEWS[feedback.status], InvalidTransitionError, f"is {feedback.status}"))
        self.feedback[feedback_id] = replace(
            feedback, status=status, reviewed_by=reviewed_by, reviewed_at=self.now, review_notes=notes
        )
        return self.feedback[feedback_id]

    def list_feedback(
        self,
        skill_id: str,
        *,
        feedback_type: str | None = None,
        status: str | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> Page[FeedbackWithUsers]:
        found = [
            FeedbackWithUsers(
                **{field: getattr(feedback, field) for field in SkillFeedback.__slots__},
                user_name=self.users[feedback.user_id].name if feedback.user_id else None,
                reviewer_name=self.users[feedback.reviewed_by].name if feedback.reviewed_by else None,
            )
            for feedback in self.feedback.values()
            if feedback.skill_id == skill_id
            if feedback_type in (None, feedback.feedback_type) and status in (None, feedback.status)
        ]
        return self.page([(feedback.created_at, feedback.id, feedback) for feedback in found], limit, after)

    def count_feedback_since(self, skill_id: str, since: datetime) -> int:
        return sum(f.skill_id == skill_id and f.created_at > since for f in self.feedback.values())

    def list_training_examples(self, skill_id: str) -> list[SkillFeedback]:
        found = [
            feedback
            for feedback in self.feedback.values()
            if feedback.skill_id == skill_id
            and (feedback.feedback_type, feedback.status) == ("training_example", "accepted")
            and None not in (feedback.example_input, feedback.expected_output)
        ]
        return sorted(found, key=lambda feedback: (feedback.created_at, feedback.id))

    # Token cost.

    def record_token_measurement(self, measurement: NewTokenMeasurement, *, backfill: bool = False) -> TokenMeasurement:
        id = self.named(measurement.id)
        self.record_token_measurements([replace(measurement, id=id)], backfill=backfill)
        return self.measurements[id]

    def record_token_measurements(self, measurements: Iterable[NewTokenMeasurement], *, backfill: bool = False) -> int:
        added = []
        for m in measurements:
            tokens, cost = m.total_tokens, m.estimated_cost_microcents
            if m.input_tokens is not None and m.output_tokens is not None:
                tokens = m.input_tokens + m.output_tokens if tokens is None else tokens
                price = DEFAULT_PRICES.get(m.model_name)
                if cost is None and price is not None:
                    dollars = m.input_tokens * Fraction(price.input_usd) + m.output_tokens * Fraction(price.output_usd)
                    cost = half_up(dollars * 100)
            added.append(
                replace(
                    m, total_tokens=tokens, estimated_cost_microcents=cost, id=str(uuid4()) if m.id is None else m.id
                )
            )
        ids = [m.id for m in added]
        refuse(
            *(reason for id in ids for reason in unlike(id=id)),
            *(self.no_user(m.user_id) for m in added),
            *(self.no_skill(m.skill_id) for m in added),
            *(reason for m in added for reason in unlikely(m)),
            *(self.pruned(m.created_at, self.horizon.measurements_kept_from) for m in added if not backfill),
            (any(id in self.measurements or ids.count(id) > 1 for id in ids), AlreadyExistsError, "id"),
        )
        for m in added:
            self.measurements[str(m.id)] = TokenMeasurement(
                **{field: getattr(m, field) for field in m.__slots__}
                | {"created_at": to_millisecond(m.created_at or self.now)}
            )
            if m.estimated_cost_microcents is not None:
                self.count(m.skill_id)
        return len(added)

    def get_skill_cost_stats(self, skill_id: str) -> SkillCostStats:
        refuse(self.no_skill(skill_id))
        models = Counter(m.model_name for m in self.measured(skill_id))
        return SkillCostStats(
            skill_id=skill_id,
            total_cost_microcents=sum(self.costs(skill_id)),
            avg_cost_microcents=rounded(mean(self.costs(skill_id))),
            measurements=models.total(),
            predominant_model=min(models, key=lambda model: (-models[model], model), default=None),
        )

    def get_cost_trend(self, skill_id: str, days: int = 90) -> list[DailyCost]:
        costs, counts = Counter[date](), Counter[date]()
        for m in self.measured(skill_id):
            costs[day_of(m.created_at)] += m.estimated_cost_microcents or 0
            counts[day_of(m.created_at)] += 1
        return [DailyCost(day=day, cost_microcents=costs[day], measurements=counts[day]) for day in self.days(days)]

    # Benchmarks.

    def create_benchmark_run(self, run: NewBenchmarkRun) -> BenchmarkRun:
        refuse(
            *unlike(id=run.id),
            (not run.models, InvalidValueError, "models"),
            self.no_user(run.triggered_by),
            self.no_skill(run.skill_id),
            self.no_version(run.skill_id, run.skill_version_id),
            (run.id in self.runs, AlreadyExistsError, "id"),
        )
        added = BenchmarkRun(
            id=self.named(run.id),
            skill_id=run.skill_id,
            skill_version_id=run.skill_version_id,
            triggered_by=run.triggered_by,
            status="pending",
            models=list(run.models),
            best_model=None,
            best_quality_score=None,
            cheapest_model=None,
            cheapest_cost_microcents=None,
            started_at=None,
            completed_at=None,
            created_at=self.now,
        )
        self.runs[added.id] = added
        return added

    def move(self, run_id: str, *allowed: str, **changes: Any) -> BenchmarkRun:
        refuse(self.no_run(run_id))
        run = self.runs[run_id]
        refuse((run.status not in allowed, InvalidTransitionError, f"is {run.status}"))
        self.runs[run_id] = replace(run, **changes)
        return self.runs[run_id]

    def start_benchmark_run(self, run_id: str) -> BenchmarkRun:
        return self.move(run_id, "pending", status="running", started_at=self.now)

    def record_benchmark_results(self, run_id: str, results: Iterable[NewBenchmarkResult]) -> int:
        results = list(results)
        refuse(
            *(reason for r in results for reason in (*unlikely(r), *outside(0, test_case_index=r.test_case_index))),
            *(((r.quality_score or 0) not in range(101), InvalidValueError, "quality_score") for r in results),
            self.no_run(run_id),
        )
        models = self.move(run_id, "running").models
        refuse(*((r.model_name not in models, InvalidValueError, f"model '{r.model_name[:100]}'") for r in results))
        self.results |= {(run_id, r.model_name, r.test_case_index): r for r in results}
        return len({(r.model_name, r.test_case_index) for r in results})

    def complete_benchmark_run(self, run_id: str) -> BenchmarkRun:
        refuse(self.no_run(run_id))
        ranked = self.ranked(run_id)
        judged = [(name, quality) for name, quality, _ in ranked if quality is not None]
        priced = [(cost, name) for name, _, cost in ranked if cost is not None]
        best_model, best = judged[0] if judged else (None, None)
        cost, cheapest_model = min(priced, default=(None, None))
        return self.move(
            run_id,
            "running",
            status="completed",
            completed_at=self.now,
            best_model=best_model,
            best_quality_score=rounded(best),
            cheapest_model=cheapest_model,
            cheapest_cost_microcents=rounded(cost),
        )

    def of(self, run_id: str, model: str, field: str) -> list[int]:
        """The values of a field over a model's cases, without missing ones."""
        found = [getattr(r, field) for (run, name, _), r in self.results.items() if (run, name) == (run_id, model)]
        return [value for value in found if value is not None]

    def ranked(self, run_id: str) -> list[tuple[str, Fraction | None, Fraction | None]]:
        """The models with results, with their mean quality and mean cost, best first."""
        models = {model for run, model, _ in self.results if run == run_id}
        means = [
            (model, mean(self.of(run_id, model, "quality_score")), mean(self.of(run_id, model, COST)))
            for model in models
        ]
        return sorted(means, key=lambda m: (m[1] is None, -(m[1] or 0), m[2] is None, m[2] or 0, m[0]))

    def fail_benchmark_run(self, run_id: str) -> BenchmarkRun:
        return self.move(run_id, "pending", "running", status="failed", completed_at=self.now)

    def get_latest_benchmark_run(self, skill_id: str) -> BenchmarkRunWithResults | None:
        runs = [run for run in self.runs.values() if run.skill_id == skill_id]
        if not runs:
            return None
        run = max(runs, key=lambda run: (run.created_at, run.id))
        results = [
            BenchmarkResult(
                **{field: getattr(result, field) for field in NewBenchmarkResult.__slots__},
                id=ANY,
                benchmark_run_id=run.id,
                created_at=ANY,  # The time of the first result for the case. Nothing else reads it.
            )
            for (of, _, _), result in sorted(self.results.items(), key=lambda item: item[0])
            if of == run.id
        ]
        return BenchmarkRunWithResults(
            **{field: getattr(run, field) for field in BenchmarkRun.__slots__}, results=results
        )

    def compare_models(self, run_id: str) -> list[ModelComparison]:
        return [
            ModelComparison(
                model_name=model,
                cases=sum(key[:2] == (run_id, model) for key in self.results),
                avg_quality_score=rounded(quality),
                avg_cost_microcents=rounded(cost),
                avg_total_tokens=rounded(mean(self.of(run_id, model, "total_tokens"))),
                avg_latency_ms=rounded(mean(self.of(run_id, model, "latency_ms"))),
                matches_expected_pct=rounded(
                    mean([100 * match for match in self.of(run_id, model, "matches_expected")])
                ),
            )
            for model, quality, cost in self.ranked(run_id)
        ]
