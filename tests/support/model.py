"""Models every repository function in plain Python, on one organisation's rows in memory.

The functions have the names and parameters of the repositories' functions. A refusal lists every reason that applies,
because the database may report any of them first.
"""

from __future__ import annotations

import re
import unicodedata
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from hashlib import sha256
from math import floor
from typing import Any, TypeVar
from unittest.mock import ANY
from uuid import UUID, uuid4

from skilldb import paging
from skilldb.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidTransitionError,
    InvalidValueError,
    NotFoundError,
    PermissionDeniedError,
    SkilldbError,
)
from skilldb.models import (
    ActiveUser,
    BenchmarkResult,
    BenchmarkRun,
    BenchmarkRunWithResults,
    CategoryCount,
    CostTotals,
    DailyCost,
    DailyUses,
    EarlierVersion,
    FeedbackStats,
    FeedbackWithSkill,
    FeedbackWithUsers,
    FileChange,
    FoundSkill,
    Horizon,
    ImportedSkill,
    ImportOutcome,
    MetricDrift,
    ModelComparison,
    ModelCost,
    ModelRank,
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
    RatingWithUser,
    RollupDrift,
    Skill,
    SkillChanges,
    SkillCost,
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
    TenantUpdate,
    TokenMeasurement,
    ToolUses,
    TrendingSkill,
    UsageEvent,
    UsageTotals,
    User,
    UserDeletion,
    UserSkillView,
    UserUpdate,
    UserUses,
    ViewedSkill,
    WhatsNewItem,
)
from skilldb.paging import Sort
from skilldb.prices import DEFAULT_PRICES
from skilldb.repositories.users import EMAIL

Row = TypeVar("Row")

Reason = tuple[type[SkilldbError], str]
"""An error class, and a word of its message."""

MOST = 2**31 - 1
DAY = timedelta(days=1)
COST = "estimated_cost_microcents"
TOKENS = ("input_tokens", "output_tokens", "total_tokens")
MOST_TOKENS, MOST_COST, MOST_USES, MOST_ROWS = 10**9, 10**13, 10**6, 10**6
PERIODS = ("day", "week", "month")
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


def empty(**texts: str | None) -> list[tuple[bool, type[SkilldbError], str]]:
    """The texts that may not be empty, and are."""
    return [(text == "", InvalidValueError, name) for name, text in texts.items()]


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
    typed = QUOTED.findall(re.sub("[\u201c-\u201f\xab\xbb]", '"', text[:1000]))
    different: list[tuple[str, ...]] = []
    for minus, phrase, closed, minus_word, word in typed:
        one = ("-", "", phrase or word) if minus or minus_word else ("", closed, phrase or word)
        if one in different or len(different) == 32:
            continue
        different.append(one)
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


def first_of(period: str, day: date) -> date:
    """The first day of the day's week or month, or the day itself."""
    return {"day": day, "week": day - day.weekday() * DAY, "month": day.replace(day=1)}[period]


@dataclass(kw_only=True)
class Event:
    tool_name: str
    skill_id: str | None
    user_id: str | None
    metadata: dict[str, Any] | None
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
        self.results: dict[tuple[str, str, int], BenchmarkResult] = {}
        # What is left of raw rows that are gone: pruned rows still count, and so do the uses of tools and users with
        # skills that were deleted.
        self.horizon = Horizon(events_kept_from=None, measurements_kept_from=None)
        self.pruned_events: list[Event] = []
        self.pruned_measurements: list[TokenMeasurement] = []
        self.tool_uses: Counter[tuple[str, date]] = Counter()
        self.user_uses: Counter[tuple[str, date]] = Counter()
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

    def create_tenant(
        self, name: str, slug: str, *, id: str | None = None, created_at: datetime | None = None
    ) -> Tenant:
        refuse(
            *unlike(id=self.id if id is None else id, slug=slug),
            *empty(name=name, slug=slug),
            (id not in (None, self.id), PermissionDeniedError, "tenants"),
            (self.tenant is not None, AlreadyExistsError, f"id {self.id!r}"),
            (slug in self.slugs, AlreadyExistsError, f"slug {slug!r}"),
        )
        self.slugs.add(slug)
        at = to_millisecond(created_at or self.now)
        self.tenant = Tenant(id=self.id, name=name, slug=slug, is_active=True, created_at=at, updated_at=at)
        return self.tenant

    def get_tenant(self) -> Tenant | None:
        return self.tenant

    def update_tenant(self, changes: TenantUpdate) -> Tenant:
        slug = changes.get("slug")
        refuse(
            *unlike(slug=slug),
            *empty(name=changes.get("name"), slug=slug),
            self.no_tenant(),
            (slug in self.slugs and self.tenant is not None and slug != self.tenant.slug, AlreadyExistsError, "slug"),
        )
        assert self.tenant is not None
        new = replace(self.tenant, **changes)
        self.slugs.remove(self.tenant.slug)
        self.slugs.add(new.slug)
        self.tenant = new if new == self.tenant else replace(new, updated_at=max(new.updated_at, self.now))
        return self.tenant

    def create_user(
        self,
        email: str,
        *,
        name: str | None = None,
        role: str = "member",
        id: str | None = None,
        created_at: datetime | None = None,
    ) -> User:
        refuse(
            *unlike(id=id),
            *empty(email=email),
            (role not in ("admin", "member"), InvalidValueError, "role"),
            (id in self.users, AlreadyExistsError, "id"),
            (any(user.email == email for user in self.users.values()), AlreadyExistsError, "email"),
            self.no_tenant(),
        )
        at = to_millisecond(created_at or self.now)
        user = User(id=self.named(id), email=email, name=name, role=role, created_at=at, updated_at=at)
        self.users[user.id] = user
        return user

    def get_user(self, user_id: str) -> User | None:
        return self.users.get(user_id)

    def get_user_by_email(self, email: str) -> User | None:
        return next((user for user in self.users.values() if user.email == email), None)

    def list_users(
        self, *, role: str | None = None, deleting: bool = False, limit: int = 50, after: str | None = None
    ) -> Page[User]:
        try:
            email, _ = paging.decode(after, EMAIL)
        except InvalidValueError:
            raise Refused((InvalidValueError, "after"), (InvalidValueError, "limit")) from None
        refuse((not 1 <= limit <= MOST_ROWS, InvalidValueError, "limit"))
        # A call of delete_user deletes all that the model has.
        found = [user for user in self.users.values() if role in (None, user.role) and not deleting]
        found = sorted((u for u in found if email is None or u.email > email), key=lambda u: u.email)
        more = paging.encode(found[limit - 1].email, found[limit - 1].id, EMAIL) if len(found) > limit else None
        return Page(items=found[:limit], after=more)

    def update_user(self, user_id: str, changes: UserUpdate) -> User:
        other = self.get_user_by_email(changes["email"]) if "email" in changes else None
        refuse(
            self.no_user(user_id),
            *empty(email=changes.get("email")),
            (changes.get("role", "member") not in ("admin", "member"), InvalidValueError, "role"),
            (other is not None and other.id != user_id, AlreadyExistsError, "email"),
        )
        new = replace(self.users[user_id], **changes)
        moved = replace(new, updated_at=max(new.updated_at, self.now))
        self.users[user_id] = new if new == self.users[user_id] else moved
        return self.users[user_id]

    def delete_user(self, user_id: str, *, successor_id: str | None = None, limit: int = 1_000) -> UserDeletion:
        """With a low limit, any of the rows may be left. The model does not cover that."""
        refuse(
            (not 1 <= limit <= MOST_ROWS, InvalidValueError, "limit"),
            (successor_id == user_id, InvalidValueError, "successor_id"),
            self.no_user(successor_id),
        )
        if user_id not in self.users:
            return UserDeletion(found=False, done=True)
        for id, skill in self.skills.items():
            if skill.author_id == user_id:
                self.skills[id] = replace(skill, author_id=successor_id)
        for id, version in self.versions.items():
            if version.created_by == user_id:
                self.versions[id] = replace(version, created_by=successor_id)
        for id, run in self.runs.items():
            if run.triggered_by == user_id:
                self.runs[id] = replace(run, triggered_by=successor_id)
        for user, rated in [key for key in self.ratings if key[0] == user_id]:
            del self.ratings[user, rated]
            self.count(rated)
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
        for user, day in [key for key in self.user_uses if key[0] == user_id]:
            del self.user_uses[user, day]
        del self.users[user_id]
        return UserDeletion(found=True, done=True)

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
            (
                skill.updated_at is not None and (skill.created_at is None or skill.updated_at < skill.created_at),
                InvalidValueError,
                "updated_at",
            ),
            self.no_tenant(),
        )
        id = self.named(skill.id)
        created_at = to_millisecond(skill.created_at or self.now)
        updated_at = to_millisecond(skill.updated_at or created_at)
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
            created_at=created_at,
            updated_at=updated_at,
            metrics_updated_at=None,
            total_uses=0,
            rating_count=0,
            average_rating=None,
            total_feedback=0,
            positive_feedback_pct=None,
            avg_token_cost_microcents=None,
        )
        self.edited[id] = updated_at
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
            "name": lambda skill: skill.name[:1000],
            "uses": lambda skill: skill.total_uses,
            "rating": lambda skill: -1 if skill.average_rating is None else skill.average_rating,
            "hours_saved": lambda skill: -1 if skill.hours_saved is None else skill.hours_saved,
        }
        rows = [(values[sort](skill), skill.id, skill) for skill in found]
        if sort == "updated":
            return self.page(rows, limit, after, Sort(sort, datetime))
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
        category: str | Iterable[str] | None = None,
        tag: str | Iterable[str] | None = None,
        limit: int = 20,
        after: str | None = None,
    ) -> Page[FoundSkill]:
        wanted, unwanted = asked(text)
        categories = [category] if isinstance(category, str) else category
        tags = [tag] if isinstance(tag, str) else tag
        rows = []
        for id, skill in self.skills.items():
            fields = self.fields(skill)

            def some(term: Term, weights: str, fields: dict[str, list[list[str]]] = fields) -> bool:
                return any(has(field, term) for weight in weights for field in fields[weight])

            if not all(some(term, "ABCD") for term in wanted) or any(some(term, "ABCD") for term in unwanted):
                continue
            if status not in (None, skill.status) or (categories is not None and skill.category not in categories):
                continue
            if tags is not None and not set(skill.tags) & set(tags):
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
        refuse((not 1 <= limit <= MOST_ROWS, InvalidValueError, "limit"))
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
        sort: Sort,
        key: Callable[[Any, str], Any] = lambda value, id: (value, id),
        *,
        falling: bool = True,
    ) -> Page[Row]:
        """The rows after the cursor, each with its value and id, by their keys: highest first if falling."""
        try:
            value, id = paging.decode(after, sort)  # Cursors are opaque.
        except InvalidValueError:
            raise Refused((InvalidValueError, "after"), (InvalidValueError, "limit")) from None
        refuse((not 1 <= limit <= MOST_ROWS, InvalidValueError, "limit"))
        rows = sorted(rows, key=lambda row: key(*row[:2]), reverse=falling)
        if id is not None:
            bound = key(value, id)
            rows = [row for row in rows if (key(*row[:2]) < bound if falling else key(*row[:2]) > bound)]
        more = paging.encode(*rows[limit - 1][:2], sort) if len(rows) > limit else None
        return Page(items=[row for _, _, row in rows[:limit]], after=more)

    def update_skill(
        self, skill_id: str, changes: SkillUpdate, *, expected_updated_at: datetime | None = None
    ) -> Skill:
        other = self.get_skill_by_slug(changes["slug"]) if "slug" in changes else None
        seen = None if expected_updated_at is None else to_millisecond(expected_updated_at)
        conflict = skill_id in self.skills and seen not in (None, self.skills[skill_id].updated_at)
        refuse(
            *unlike(slug=changes.get("slug")),
            self.no_skill(skill_id),
            (conflict, ConflictError, "was changed at"),
            (changes.get("status", "draft") not in STATUSES, InvalidValueError, "status"),
            *outside(0, hours_saved=changes.get("hours_saved")),
            (other is not None and other.id != skill_id, AlreadyExistsError, "slug"),
        )
        old = self.skills[skill_id]
        # Without a type annotation, because mypy accepts any sequence for the tags, which are stored as a list.
        given: dict[str, Any] = {**changes, "tags": list(changes.get("tags", old.tags))}
        new = replace(old, **given)
        edited = new != replace(old, slug=new.slug, hours_saved=new.hours_saved)
        changed_at = max(old.updated_at + timedelta(milliseconds=1), self.now)
        if edited:
            self.edited[skill_id] = changed_at
        if edited or (new != old and seen is not None):
            new = replace(new, updated_at=changed_at)
        self.skills[skill_id] = new
        return self.skill(skill_id)

    def transfer_skills(self, from_user_id: str, to_user_id: str) -> int:
        refuse(self.no_user(from_user_id), self.no_user(to_user_id))
        theirs = [id for id, skill in self.skills.items() if skill.author_id == from_user_id]
        for id in theirs:
            self.skills[id] = replace(self.skills[id], author_id=to_user_id)
        return len(theirs)

    def publish_skill_version(self, skill_id: str, version: NewSkillVersion) -> SkillVersion:
        refuse(*unlike(id=version.id), self.no_user(version.created_by), self.no_skill(skill_id))
        skill = self.skills[skill_id]
        present = self.versions.get(skill.published_version_id or "")
        if present is not None and present.content_hash == version.content_hash:
            return present
        created_at = max(skill.updated_at, self.now)
        if version.created_at is not None:
            created_at = to_millisecond(version.created_at)
        latest = [skill.created_at, *(v.created_at for v in self.versions_of(skill_id))]
        refuse(
            (not re.fullmatch("[0-9a-f]{64}", version.content_hash), InvalidValueError, "content_hash"),
            (version.id in self.versions, AlreadyExistsError, "id"),
            (created_at < max(latest), InvalidValueError, "created_at"),
        )
        added = SkillVersion(
            id=self.named(version.id),
            skill_id=skill_id,
            version=1 + len(self.versions_of(skill_id)),
            content_url=version.content_url,
            content_hash=version.content_hash,
            content_type=version.content_type,
            name=skill.name,
            description=skill.description,
            metadata=None if version.metadata is None else dict(version.metadata),
            created_by=version.created_by,
            created_at=created_at,
        )
        self.versions[added.id] = added
        self.skills[skill_id] = replace(
            skill,
            published_version_id=added.id,
            published_version=added.version,
            updated_at=max(skill.updated_at + timedelta(milliseconds=1), added.created_at),
        )
        return added

    def publish_existing_version(self, skill_id: str, version: int) -> SkillVersion:
        refuse(*outside(-MOST - 1, version=version))
        refuse(self.no_skill(skill_id))
        numbers = {row.version: row for row in self.versions_of(skill_id)}
        refuse((version not in numbers, NotFoundError, f"version '{version}'"))
        skill, found = self.skills[skill_id], numbers[version]
        if found.id != skill.published_version_id:
            self.skills[skill_id] = replace(
                skill,
                published_version_id=found.id,
                published_version=version,
                updated_at=max(skill.updated_at + timedelta(milliseconds=1), self.now),
            )
        return found

    def get_skill_version(self, version_id: str) -> SkillVersion | None:
        return self.versions.get(version_id)

    def list_skill_versions(self, skill_id: str, *, limit: int = 50, after: str | None = None) -> Page[SkillVersion]:
        found = [(version.version, "", version) for version in self.versions_of(skill_id)]
        return self.page(found, limit, after, paging.Sort("version", int))

    def versions_of(self, skill_id: str) -> list[SkillVersion]:
        return [version for version in self.versions.values() if version.skill_id == skill_id]

    def get_version_number(self, version_id: str) -> int | None:
        return self.versions[version_id].version if version_id in self.versions else None

    def merge_skills(self, source_skill_id: str, target_skill_id: str) -> Skill:
        refuse((source_skill_id == target_skill_id, InvalidValueError, "target_skill_id"))
        refuse(self.no_skill(source_skill_id), self.no_skill(target_skill_id))

        def merged(row: Any) -> Any:
            return replace(row, skill_id=target_skill_id) if row.skill_id == source_skill_id else row

        for user, rating in [(key[0], row) for key, row in self.ratings.items() if key[1] == source_skill_id]:
            del self.ratings[user, source_skill_id]
            other = self.ratings.get((user, target_skill_id))
            if other is None or rating.updated_at > other.updated_at:
                self.ratings[user, target_skill_id] = merged(rating)
        for user, view in [(key[0], row) for key, row in self.views.items() if key[1] == source_skill_id]:
            del self.views[user, source_skill_id]
            seen = self.views.get((user, target_skill_id))
            self.views[user, target_skill_id] = replace(
                merged(view),
                last_viewed_at=max(view.last_viewed_at, seen.last_viewed_at) if seen else view.last_viewed_at,
                last_viewed_version=seen.last_viewed_version if seen else None,
                view_count=view.view_count + (seen.view_count if seen else 0),
            )
        for id, item in self.feedback.items():
            if item.skill_id == source_skill_id:
                self.feedback[id] = replace(merged(item), skill_version_id=None)
        self.events = {id: merged(row) for id, row in self.events.items()}
        self.measurements = {id: merged(row) for id, row in self.measurements.items()}
        self.pruned_events = [merged(row) for row in self.pruned_events]
        self.pruned_measurements = [merged(row) for row in self.pruned_measurements]
        source = self.skills[source_skill_id]
        self.count(target_skill_id, source.total_uses)
        self.count(source_skill_id, -source.total_uses)
        if source.status != "archived":
            self.edited[source_skill_id] = max(source.updated_at + timedelta(milliseconds=1), self.now)
            self.skills[source_skill_id] = replace(
                self.skills[source_skill_id], status="archived", updated_at=self.edited[source_skill_id]
            )
        return self.skill(target_skill_id)

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
        rows = [(row.created_at, row.skill_id, row) for row in found]
        return self.page(rows, limit, after, Sort("imported", datetime))

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
            self.tool_uses[event.tool_name, day_of(created_at)] += 1
            if event.user_id is not None:
                self.user_uses[event.user_id, day_of(created_at)] += 1
            self.events[str(UUID(event.id) if event.id else uuid4())] = Event(
                tool_name=event.tool_name,
                skill_id=event.skill_id,
                user_id=event.user_id,
                metadata=None if event.metadata is None else dict(event.metadata),
                created_at=created_at,
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

    def count_skill_users(self, skill_id: str, days: int = 30) -> int:
        within = self.days(days)
        used = [e for e in self.events.values() if e.skill_id == skill_id and day_of(e.created_at) in within]
        return len({e.user_id for e in used if e.user_id is not None})

    def of_days(self, uses: Counter[tuple[str, date]], days: int) -> Counter[str]:
        """The uses of each tool or user on these days."""
        found, within = Counter[str](), set(self.days(days))
        for (key, day), count in uses.items():
            if day in within:
                found[key] += count
        return found

    def of_skills(self, days: int) -> Counter[tuple[str, date]]:
        """The uses of each skill on each of these days."""
        within = set(self.days(days))
        used = [(e.skill_id, day_of(e.created_at)) for e in self.used() if e.skill_id is not None]
        return Counter((skill, day) for skill, day in used if day in within)

    def get_usage_totals(self, days: int = 30) -> UsageTotals:
        tools = self.of_days(self.tool_uses, days)
        return UsageTotals(
            uses=tools.total(),
            skills_used=len({skill for skill, _ in self.of_skills(days)}),
            active_users=len(self.of_days(self.user_uses, days)),
            tools_used=len(tools),
        )

    def get_usage_trend(self, days: int = 30, by: str = "day") -> list[DailyUses]:
        refuse((by not in PERIODS, InvalidValueError, "by"), (not 1 <= days <= 36_525, InvalidValueError, "days"))
        found, uses = dict.fromkeys((first_of(by, day) for day in self.days(days)), 0), Counter[date]()
        for (_, day), count in self.tool_uses.items():
            uses[day] += count
        for day in self.days(days):
            found[first_of(by, day)] += uses[day]
        return [DailyUses(day=day, uses=count) for day, count in found.items()]

    def top(self, numbers: Mapping[str, int], limit: int, days: int) -> list[tuple[str, int]]:
        """The keys with the highest numbers, and these."""
        refuse(
            (not 1 <= days <= 36_525, InvalidValueError, "days"),
            (not 1 <= limit <= MOST_ROWS, InvalidValueError, "limit"),
        )
        return sorted(numbers.items(), key=lambda item: (-item[1], item[0]))[:limit]

    def with_status(self, numbers: Mapping[str, int], status: str | None) -> dict[str, int]:
        """The numbers of the skills that have the status."""
        return {id: number for id, number in numbers.items() if status in (None, self.skills[id].status)}

    def get_top_skills(self, days: int = 30, limit: int = 10, *, status: str | None = "published") -> list[SkillUses]:
        self.top({}, limit, days)
        uses = Counter[str]()
        for (skill, _), count in self.of_skills(days).items():
            uses[skill] += count
        return [
            SkillUses(
                skill_id=id,
                skill_name=self.skills[id].name,
                skill_slug=self.skills[id].slug,
                average_rating=self.skill(id).average_rating,
                uses=count,
            )
            for id, count in self.top(self.with_status(uses, status), limit, days)
        ]

    def get_trending_skills(
        self, days: int = 30, half_life_days: int = 7, limit: int = 10, *, status: str | None = "published"
    ) -> list[TrendingSkill]:
        refuse(
            (not 1 <= half_life_days <= 36_525, InvalidValueError, "half_life_days"),
            (not 1 <= days <= 36_525, InvalidValueError, "days"),
            (not 1 <= limit <= MOST_ROWS, InvalidValueError, "limit"),
        )
        scores, today = Counter[str](), day_of(self.instant)
        for (skill, day), uses in self.of_skills(days).items():
            share = Decimal("0.5") ** (Decimal((today - day).days) / half_life_days)
            scores[skill] += uses * half_up(Fraction(1_000_000 * share))
        scored = {id: score for id, score in scores.items() if score > 0}
        return [
            TrendingSkill(
                skill_id=id,
                skill_name=self.skills[id].name,
                skill_slug=self.skills[id].slug,
                average_rating=self.skill(id).average_rating,
                score=score,
            )
            for id, score in self.top(self.with_status(scored, status), limit, days)
        ]

    def get_top_users(self, days: int = 30, limit: int = 10) -> list[UserUses]:
        self.top({}, limit, days)
        top = self.top(self.of_days(self.user_uses, days), limit, days)
        return [UserUses(user_id=id, user_name=self.users[id].name, uses=uses) for id, uses in top]

    def get_top_tools(self, days: int = 30, limit: int = 10) -> list[ToolUses]:
        self.top({}, limit, days)
        top = self.top(self.of_days(self.tool_uses, days), limit, days)
        return [ToolUses(tool_name=name, uses=uses) for name, uses in top]

    def list_active_users(self, days: int = 30, *, limit: int = 50, after: str | None = None) -> Page[ActiveUser]:
        if not 1 <= days <= 36_525:
            raise Refused((InvalidValueError, "days"), (InvalidValueError, "limit"), (InvalidValueError, "after"))
        last: dict[str, date] = {}
        within = set(self.days(days))
        for (user, day), _ in self.user_uses.items():
            if day in within:
                last[user] = max(day, last.get(user, day))
        found = [
            (
                datetime.combine(day, time(), UTC),
                id,
                ActiveUser(user_id=id, user_name=self.users[id].name, last_active_day=day),
            )
            for id, day in last.items()
        ]
        return self.page(found, limit, after, Sort("active", datetime))

    def list_usage_events(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 1_000,
        after: str | None = None,
    ) -> Page[UsageEvent]:
        found = [
            (
                event.created_at,
                id,
                UsageEvent(
                    id=id,
                    tool_name=event.tool_name,
                    skill_id=event.skill_id,
                    user_id=event.user_id,
                    metadata=event.metadata,
                    created_at=event.created_at,
                ),
            )
            for id, event in self.events.items()
            if (since is None or event.created_at >= since) and (until is None or event.created_at < until)
        ]
        return self.page(found, limit, after, Sort("events", datetime, is_uuid=True), falling=False)

    # Rollups and retention.

    def fold_uses(self, limit: int = 10_000) -> int:
        refuse((not 1 <= limit <= MOST_ROWS, InvalidValueError, "limit"), self.no_tenant())
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
        refuse((not 1 <= limit <= MOST_ROWS, InvalidValueError, "limit"))
        gone = self.older(self.events, self.horizon.events_kept_from)
        self.pruned_events += [self.events.pop(id) for id in gone]
        return len(gone)

    def prune_measurements(self, limit: int = 10_000) -> int:
        refuse((not 1 <= limit <= MOST_ROWS, InvalidValueError, "limit"))
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
        created_at: datetime | None = None,
    ) -> Rating:
        refuse(
            self.no_user(user_id),
            self.no_skill(skill_id),
            (not 1 <= rating <= 5, InvalidValueError, "rating"),
            *outside(0, hours_saved_estimate=hours_saved_estimate),
        )
        former = self.ratings.get((user_id, skill_id))
        rated_at = to_millisecond(created_at or self.now)
        if former and created_at is not None and rated_at < former.updated_at:
            return former
        found = self.ratings[user_id, skill_id] = Rating(
            id=former.id if former else self.new_id,
            skill_id=skill_id,
            user_id=user_id,
            rating=rating,
            comment=comment,
            hours_saved_estimate=hours_saved_estimate,
            created_at=former.created_at if former else rated_at,
            updated_at=max(former.updated_at, rated_at) if former else rated_at,
        )
        self.count(skill_id)
        return found

    def delete_rating(self, user_id: str, skill_id: str) -> bool:
        if self.ratings.pop((user_id, skill_id), None) is None:
            return False
        self.count(skill_id)
        return True

    def get_rating(self, user_id: str, skill_id: str) -> Rating | None:
        return self.ratings.get((user_id, skill_id))

    def list_ratings(
        self, skill_id: str, *, except_user_id: str | None = None, limit: int = 50, after: str | None = None
    ) -> Page[RatingWithUser]:
        found = [
            RatingWithUser(
                **{field: getattr(rating, field) for field in Rating.__slots__},
                user_name=self.users[rating.user_id].name,
            )
            for rating in self.ratings.values()
            if rating.skill_id == skill_id and rating.user_id != except_user_id
        ]
        rows = [(rating.updated_at, rating.id, rating) for rating in found]
        return self.page(rows, limit, after, Sort("ratings", datetime))

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
        refuse((not 1 <= limit <= MOST_ROWS, InvalidValueError, "limit"))
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
            (not 1 <= days <= 36_525, InvalidValueError, "days"),
            (not 1 <= limit <= MOST_ROWS, InvalidValueError, "limit"),
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
                or skill.published_version not in (None, view.last_viewed_version)
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

    def count_whats_new(self, user_id: str, days: int = 30) -> int:
        return len(self.get_whats_new_for_user(user_id, limit=MOST_ROWS, days=days))

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
            version_changed=current not in (None, view.last_viewed_version),
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
            *empty(reply=feedback.reply),
            self.no_user(feedback.user_id),
            self.no_user(feedback.reviewed_by),
            self.no_skill(feedback.skill_id),
            self.no_version(feedback.skill_id, feedback.skill_version_id),
            self.no_version(feedback.skill_id, feedback.implemented_version_id),
            (feedback.status not in REVIEWS, InvalidValueError, "status"),
            *(
                (feedback.status == "pending" and getattr(feedback, name) is not None, InvalidValueError, name)
                for name in ("reviewed_by", "reviewed_at", "review_notes")
            ),
            (
                feedback.reviewed_at is not None
                and feedback.reviewed_at < to_millisecond(feedback.created_at or self.now),
                InvalidValueError,
                "reviewed_at",
            ),
            (
                feedback.implemented_version_id is not None and feedback.status != "implemented",
                InvalidValueError,
                "implemented_version_id",
            ),
            (feedback.feedback_type not in FEEDBACK_TYPES, InvalidValueError, "feedback_type"),
            (feedback.sentiment not in (None, -1, 0, 1), InvalidValueError, "sentiment"),
            (feedback.quality_score not in (None, *range(1, 11)), InvalidValueError, "quality_score"),
            (feedback.id in self.feedback, AlreadyExistsError, "id"),
        )
        sentiment = THUMBS.get(feedback.feedback_type) if feedback.sentiment is None else feedback.sentiment
        added = SkillFeedback(
            **{field: getattr(feedback, field) for field in feedback.__slots__}
            | {"sentiment": sentiment}
            | {
                "id": self.named(feedback.id),
                "created_at": to_millisecond(feedback.created_at or self.now),
                "reviewed_at": None if feedback.reviewed_at is None else to_millisecond(feedback.reviewed_at),
            },
        )
        self.feedback[added.id] = added
        self.count(feedback.skill_id)
        return added

    def review_feedback(
        self,
        feedback_id: str,
        status: str | None,
        reviewed_by: str,
        *,
        notes: str | None = None,
        reply: str | None = None,
        implemented_version_id: str | None = None,
    ) -> SkillFeedback:
        nothing = notes is None and reply is None and implemented_version_id is None
        unknown = status is not None and status not in REVIEWS
        found = self.feedback.get(feedback_id)
        refuse(
            self.no_user(reviewed_by),
            *empty(reply=reply),
            (found is None, NotFoundError, f"feedback '{feedback_id[:100]}'"),
            (unknown or (status is None and nothing), InvalidValueError, "status"),
            (unknown and implemented_version_id is not None, InvalidValueError, "implemented_version_id"),
            *([self.no_version(found.skill_id, implemented_version_id)] if found else []),
        )
        feedback = self.feedback[feedback_id]
        becomes = feedback.status if status is None else status
        refuse(
            (
                status is not None and status not in REVIEWS[feedback.status],
                InvalidTransitionError,
                f"is {feedback.status}",
            ),
            (
                implemented_version_id is not None and becomes != "implemented",
                InvalidValueError,
                "implemented_version_id",
            ),
        )
        self.feedback[feedback_id] = replace(
            feedback,
            status=becomes,
            reviewed_by=reviewed_by,
            reviewed_at=self.now,
            review_notes=feedback.review_notes if status is None and notes is None else notes,
            reply=feedback.reply if reply is None else reply,
            implemented_version_id=(
                feedback.implemented_version_id if implemented_version_id is None else implemented_version_id
            ),
        )
        return self.feedback[feedback_id]

    def with_users(self, feedback: SkillFeedback) -> FeedbackWithUsers:
        return FeedbackWithUsers(
            **{field: getattr(feedback, field) for field in SkillFeedback.__slots__},
            user_name=self.users[feedback.user_id].name if feedback.user_id else None,
            reviewer_name=self.users[feedback.reviewed_by].name if feedback.reviewed_by else None,
        )

    def with_skill(self, feedback: SkillFeedback) -> FeedbackWithSkill:
        named, skill = self.with_users(feedback), self.skills[feedback.skill_id]
        return FeedbackWithSkill(
            **{field: getattr(named, field) for field in (*SkillFeedback.__slots__, *FeedbackWithUsers.__slots__)},
            skill_name=skill.name,
            skill_slug=skill.slug,
        )

    def get_feedback(self, feedback_id: str) -> FeedbackWithSkill | None:
        return self.with_skill(self.feedback[feedback_id]) if feedback_id in self.feedback else None

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
            self.with_users(feedback)
            for feedback in self.feedback.values()
            if feedback.skill_id == skill_id
            if feedback_type in (None, feedback.feedback_type) and status in (None, feedback.status)
        ]
        rows = [(feedback.created_at, feedback.id, feedback) for feedback in found]
        return self.page(rows, limit, after, Sort("feedback", datetime))

    def count_feedback_since(self, skill_id: str, since: datetime) -> int:
        return sum(f.skill_id == skill_id and f.created_at > since for f in self.feedback.values())

    def list_feedback_queue(
        self, *, status: str = "pending", feedback_type: str | None = None, limit: int = 50, after: str | None = None
    ) -> Page[FeedbackWithSkill]:
        refuse((status is None, InvalidValueError, "status"))
        found = [
            (feedback.created_at, feedback.id, self.with_skill(feedback))
            for feedback in self.feedback.values()
            if feedback.status == status and feedback_type in (None, feedback.feedback_type)
        ]
        return self.page(found, limit, after, Sort("queue", datetime), falling=False)

    def list_user_feedback(self, user_id: str, *, limit: int = 50, after: str | None = None) -> Page[FeedbackWithSkill]:
        found = [
            (feedback.created_at, feedback.id, self.with_skill(feedback))
            for feedback in self.feedback.values()
            if feedback.user_id == user_id
        ]
        return self.page(found, limit, after, Sort("user_feedback", datetime))

    def get_feedback_stats(self, skill_id: str, days: int = 30) -> FeedbackStats | None:
        refuse((not 1 <= days <= 36_525, InvalidValueError, "days"))
        if skill_id not in self.skills:
            return None
        since = self.instant - timedelta(days=days)
        found = [f for f in self.feedback.values() if f.skill_id == skill_id and f.created_at >= since]
        types, statuses = Counter(f.feedback_type for f in found), Counter(f.status for f in found)

        def percent(numbers: list[int]) -> int | None:
            average = mean(numbers)
            return rounded(None if average is None else average * 100)

        return FeedbackStats(
            skill_id=skill_id,
            total_feedback=len(found),
            thumbs_up_count=types["thumbs_up"],
            thumbs_down_count=types["thumbs_down"],
            suggestion_count=types["suggestion"],
            training_example_count=types["training_example"],
            bug_report_count=types["bug_report"],
            pending_count=statuses["pending"],
            accepted_count=statuses["accepted"],
            dismissed_count=statuses["dismissed"],
            implemented_count=statuses["implemented"],
            oldest_pending_at=min((f.created_at for f in found if f.status == "pending"), default=None),
            positive_feedback_pct=percent(
                [int(f.feedback_type == "thumbs_up") for f in found if f.feedback_type in THUMBS]
            ),
            average_sentiment=percent([f.sentiment for f in found if f.sentiment is not None]),
            average_quality_score=percent([f.quality_score for f in found if f.quality_score is not None]),
        )

    def list_training_examples(
        self, skill_id: str, *, limit: int = 50, after: str | None = None
    ) -> Page[SkillFeedback]:
        found = [
            feedback
            for feedback in self.feedback.values()
            if feedback.skill_id == skill_id
            and (feedback.feedback_type, feedback.status) == ("training_example", "accepted")
            and None not in (feedback.example_input, feedback.expected_output)
        ]
        rows = [(f.created_at, f.id, f) for f in found]
        return self.page(rows, limit, after, Sort("examples", datetime), falling=False)

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

    def measured_on(self, days: int) -> list[TokenMeasurement]:
        """The measurements of these days, pruned ones included."""
        within = set(self.days(days))
        return [m for m in self.measured() if day_of(m.created_at) in within]

    def figures(self, rows: Sequence[TokenMeasurement]) -> dict[str, Any]:
        """The sums of measurements, and their mean latency."""
        latencies = [m.latency_ms for m in rows if m.latency_ms is not None]
        return {
            "measurements": len(rows),
            "priced_measurements": sum(m.estimated_cost_microcents is not None for m in rows),
            "cost_microcents": sum(m.estimated_cost_microcents or 0 for m in rows),
            **{name: sum(getattr(m, name) or 0 for m in rows) for name in TOKENS},
            "avg_latency_ms": rounded(mean(latencies)),
        }

    def get_cost_totals(self, days: int = 30) -> CostTotals:
        return CostTotals(**self.figures(self.measured_on(days)))

    def get_total_cost_trend(self, days: int = 90, by: str = "day") -> list[DailyCost]:
        refuse((by not in PERIODS, InvalidValueError, "by"), (not 1 <= days <= 36_525, InvalidValueError, "days"))
        rows: dict[date, list[TokenMeasurement]] = {first_of(by, day): [] for day in self.days(days)}
        for m in self.measured_on(days):
            rows[first_of(by, day_of(m.created_at))].append(m)
        return [
            DailyCost(
                day=day,
                cost_microcents=sum(m.estimated_cost_microcents or 0 for m in found),
                measurements=len(found),
            )
            for day, found in rows.items()
        ]

    def get_cost_by_model(self, days: int = 30) -> list[ModelCost]:
        rows = self.measured_on(days)
        found = [
            ModelCost(model_name=model, **self.figures([m for m in rows if m.model_name == model]))
            for model in {m.model_name for m in rows}
        ]
        return sorted(found, key=lambda cost: (-cost.cost_microcents, cost.model_name))

    def get_cost_by_skill(
        self, days: int = 30, limit: int = 10, *, status: str | None = "published"
    ) -> list[SkillCost]:
        self.top({}, limit, days)
        rows: dict[str, list[TokenMeasurement]] = {}
        for m in self.measured_on(days):
            rows.setdefault(m.skill_id, []).append(m)
        figures = {id: self.figures(found) for id, found in rows.items()}
        costs = self.with_status({id: found["cost_microcents"] for id, found in figures.items()}, status)
        return [
            SkillCost(
                skill_id=id,
                skill_name=self.skills[id].name,
                skill_slug=self.skills[id].slug,
                measurements=figures[id]["measurements"],
                priced_measurements=figures[id]["priced_measurements"],
                cost_microcents=cost,
                total_tokens=figures[id]["total_tokens"],
            )
            for id, cost in self.top(costs, limit, days)
        ]

    def list_measurements(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 1_000,
        after: str | None = None,
    ) -> Page[TokenMeasurement]:
        found = [
            (m.created_at, m.id, m)
            for m in self.measurements.values()
            if (since is None or m.created_at >= since) and (until is None or m.created_at < until)
        ]
        return self.page(found, limit, after, Sort("measurements", datetime), falling=False)

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
            worker=None,
            models=list(run.models),
            best_model=None,
            best_quality_score=None,
            cheapest_model=None,
            cheapest_cost_microcents=None,
            started_at=None,
            completed_at=None,
            created_at=to_millisecond(run.created_at or self.now),
        )
        self.runs[added.id] = added
        return added

    def move(self, run_id: str, *allowed: str, of: str | None = None, **changes: Any) -> BenchmarkRun:
        """Change a run. `of`: the worker that must still have it."""
        refuse(self.no_run(run_id))
        run = self.runs[run_id]
        lost = of is not None and run.worker != of
        refuse((run.status not in allowed or lost, InvalidTransitionError, f"is {run.status}"))
        self.runs[run_id] = replace(run, **changes)
        return self.runs[run_id]

    def claim_benchmark_run(self, worker: str) -> BenchmarkRun | None:
        refuse(*empty(worker=worker))
        pending = [(run.created_at, run.id) for run in self.runs.values() if run.status == "pending"]
        return self.start_benchmark_run(min(pending)[1], worker=worker) if pending else None

    def requeue_stale_runs(self, older_than: timedelta) -> int:
        refuse((not timedelta(0) <= older_than <= 36_525 * DAY, InvalidValueError, "older_than"))
        stale = [
            run
            for run in self.runs.values()
            if run.status == "running" and run.started_at is not None and run.started_at <= self.instant - older_than
        ]
        for run in stale:
            self.runs[run.id] = replace(run, status="pending", worker=None, started_at=None)
            self.results = {key: result for key, result in self.results.items() if key[0] != run.id}
        return len(stale)

    def start_benchmark_run(
        self, run_id: str, *, worker: str | None = None, started_at: datetime | None = None
    ) -> BenchmarkRun:
        run = self.runs.get(run_id)
        early = run is not None and started_at is not None and started_at < run.created_at
        refuse(
            *empty(worker=worker),
            (early and run is not None and run.status == "pending", InvalidValueError, "started_at"),
        )
        started_at = to_millisecond(started_at or self.now)
        return self.move(run_id, "pending", status="running", worker=worker, started_at=started_at)

    def record_benchmark_results(
        self, run_id: str, results: Iterable[NewBenchmarkResult], *, worker: str | None = None
    ) -> int:
        results = list(results)
        refuse(
            *(reason for r in results for reason in (*unlikely(r), *outside(0, test_case_index=r.test_case_index))),
            *(((r.quality_score or 0) not in range(101), InvalidValueError, "quality_score") for r in results),
            self.no_run(run_id),
        )
        models = self.move(run_id, "running", of=worker).models
        refuse(*((r.model_name not in models, InvalidValueError, f"model '{r.model_name[:100]}'") for r in results))
        cases = {(run_id, r.model_name, r.test_case_index): r for r in results}
        for case, r in cases.items():
            first = self.results.get(case)
            self.results[case] = BenchmarkResult(
                **{field: getattr(r, field) for field in NewBenchmarkResult.__slots__}
                | {"created_at": first.created_at if first else to_millisecond(r.created_at or self.now)},
                id=ANY,
                benchmark_run_id=run_id,
            )
        return len(cases)

    def complete_benchmark_run(
        self, run_id: str, *, worker: str | None = None, completed_at: datetime | None = None
    ) -> BenchmarkRun:
        refuse(self.no_run(run_id))
        completed_at = self.ended(run_id, "running", of=worker, at=completed_at)
        ranked = self.ranked(run_id)
        judged = [(name, quality) for name, quality, _ in ranked if quality is not None]
        priced = [(cost, name) for name, _, cost in ranked if cost is not None]
        best_model, best = judged[0] if judged else (None, None)
        cost, cheapest_model = min(priced, default=(None, None))
        return self.move(
            run_id,
            "running",
            of=worker,
            status="completed",
            completed_at=completed_at,
            best_model=best_model,
            best_quality_score=rounded(best),
            cheapest_model=cheapest_model,
            cheapest_cost_microcents=rounded(cost),
        )

    def of(self, runs: Collection[str], model: str, field: str) -> list[int]:
        """The values of a field over a model's cases in these runs, without missing ones."""
        found = [getattr(r, field) for (run, name, _), r in self.results.items() if run in runs and name == model]
        return [value for value in found if value is not None]

    def ranked(self, *runs: str) -> list[tuple[str, Fraction | None, Fraction | None]]:
        """The models with results in these runs, with their mean quality and mean cost, best first."""
        models = {model for run, model, _ in self.results if run in runs}
        means = [
            (model, mean(self.of(runs, model, "quality_score")), mean(self.of(runs, model, COST))) for model in models
        ]
        return sorted(means, key=lambda m: (m[1] is None, -(m[1] or 0), m[2] is None, m[2] or 0, m[0]))

    def fail_benchmark_run(
        self, run_id: str, *, worker: str | None = None, completed_at: datetime | None = None
    ) -> BenchmarkRun:
        refuse(self.no_run(run_id))
        completed_at = self.ended(run_id, "pending", "running", of=worker, at=completed_at)
        return self.move(run_id, "pending", "running", of=worker, status="failed", completed_at=completed_at)

    def ended(self, run_id: str, *allowed: str, of: str | None, at: datetime | None) -> datetime:
        """When a run ends that may be ended from these statuses, by this worker."""
        run = self.runs[run_id]
        began = run.started_at or run.created_at
        lost = run.status not in allowed or (of is not None and run.worker != of)
        refuse(
            (lost, InvalidTransitionError, f"is {run.status}"),
            (at is not None and at < began and run.status in ("pending", "running"), InvalidValueError, "completed_at"),
        )
        return max(to_millisecond(at or self.now), began)

    def get_benchmark_run(self, run_id: str) -> BenchmarkRunWithResults | None:
        run = self.runs.get(run_id)
        if run is None:
            return None
        cases = sorted(case for case in self.results if case[0] == run_id)
        return BenchmarkRunWithResults(
            **{field: getattr(run, field) for field in BenchmarkRun.__slots__},
            results=[self.results[case] for case in cases],
        )

    def get_latest_benchmark_run(self, skill_id: str) -> BenchmarkRunWithResults | None:
        runs = [run for run in self.runs.values() if run.skill_id == skill_id]
        return self.get_benchmark_run(max(runs, key=lambda run: (run.created_at, run.id)).id) if runs else None

    def list_benchmark_runs(
        self, *, skill_id: str | None = None, status: str | None = None, limit: int = 50, after: str | None = None
    ) -> Page[BenchmarkRun]:
        found = [
            (run.created_at, run.id, run)
            for run in self.runs.values()
            if skill_id in (None, run.skill_id) and status in (None, run.status)
        ]
        return self.page(found, limit, after, Sort("runs", datetime))

    def compared(self, *runs: str) -> list[ModelComparison]:
        return [
            ModelComparison(
                model_name=model,
                cases=sum(run in runs and name == model for run, name, _ in self.results),
                avg_quality_score=rounded(quality),
                avg_cost_microcents=rounded(cost),
                avg_total_tokens=rounded(mean(self.of(runs, model, "total_tokens"))),
                avg_latency_ms=rounded(mean(self.of(runs, model, "latency_ms"))),
                matches_expected_pct=rounded(mean([100 * match for match in self.of(runs, model, "matches_expected")])),
            )
            for model, quality, cost in self.ranked(*runs)
        ]

    def compare_models(self, run_id: str) -> list[ModelComparison]:
        return self.compared(run_id)

    def get_model_leaderboard(self, days: int | None = None) -> list[ModelRank]:
        refuse((days is not None and not 1 <= days <= 36_525, InvalidValueError, "days"))
        runs = [
            run.id
            for run in self.runs.values()
            if run.status == "completed" and (days is None or run.created_at >= self.instant - timedelta(days=days))
        ]
        return [
            ModelRank(
                **{field: getattr(compared, field) for field in ModelComparison.__slots__},
                runs=len({run for run, model, _ in self.results if run in runs and model == compared.model_name}),
            )
            for compared in self.compared(*runs)
        ]
