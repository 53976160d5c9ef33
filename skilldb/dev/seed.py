"""Example data: two organisations with a believable history, the same on every machine and written only once."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate, islice
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from skilldb.database import Database, Tenant
from skilldb.models import (
    NewBenchmarkResult,
    NewBenchmarkRun,
    NewContent,
    NewSkill,
    NewSkillFeedback,
    NewSkillVersion,
    NewTokenMeasurement,
    NewUsageEvent,
    SkillImport,
)
from skilldb.repositories import (
    benchmarks,
    feedback,
    imports,
    ratings,
    retention,
    rollups,
    skills,
    tenants,
    tokens,
    usage,
    users,
    views,
)
from skilldb.statement import Statement

DAYS = 90
KEPT_DAYS = 400
BATCH = 1000
IMPORTED = 6
SHAPES = ("growing", "steady", "fading", "new")
FEEDBACK = ("thumbs_up", "suggestion", "thumbs_up", "training_example", "thumbs_down", "bug_report")
REVIEWS = ((), ("accepted",), ("dismissed",), ("accepted", "implemented"))  # The statuses, one after the other.
STATUSES = {6: "draft", 9: "pending_review", 12: "archived"}  # By the last number of a skill; the others are published.
SOURCES = ("web", "api", "editor")
# Mean quality, mean seconds a case, and share of the measurements.
MODELS = {"claude-opus-4-5": (91, 9, 2), "claude-sonnet-4-5": (86, 5, 5), "claude-haiku-4-5": (77, 2, 3)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Organisation:
    """The numbers of rows of an organisation."""

    id: str
    name: str
    users: int
    skills: slice  # of SKILLS
    ratings: int
    events: int
    viewers: int
    feedback: int
    measurements: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The progress with one kind of row of one organisation, and the number of rows added."""

    organisation: str
    kind: str
    done: int
    total: int
    added: int


ORGANISATIONS = (
    Organisation(
        id="acme",
        name="Acme",
        users=60,
        skills=slice(0, 30),
        ratings=180,
        events=12_000,
        viewers=18,
        feedback=120,
        measurements=3_000,
    ),
    Organisation(
        id="globex",
        name="Globex",
        users=40,
        skills=slice(30, 50),
        ratings=120,
        events=8_000,
        viewers=12,
        feedback=80,
        measurements=2_000,
    ),
)

# Category, then the names of its skills.
_CATALOGUE = {
    "engineering": (
        "API Design Review", "Commit Message Writer", "Database Migration Planner", "Dependency Upgrade",
        "Dockerfile Review", "Error Log Triage", "Flaky Test Hunter", "Incident Timeline", "Load Test Design",
        "Pull Request Summary", "Regex Explainer", "Release Notes", "SQL Query Tuning", "Terraform Review",
    ),
    "data": (
        "Chart Chooser", "Cohort Analysis", "CSV Cleaner", "Dashboard Review", "Experiment Readout",
        "Forecast Sanity Check", "Funnel Analysis", "Schema Documentation", "Survey Coding",
    ),
    "writing": (
        "Changelog Editor", "Customer Email Reply", "Executive Summary", "Glossary Builder", "Meeting Minutes",
        "Plain Language Rewrite", "Press Release Draft", "Proofreading", "Style Guide Check", "Translation Review",
    ),
    "support": (
        "Bug Report Intake", "Escalation Brief", "FAQ Builder", "Knowledge Base Article", "Refund Policy Answer",
        "Root Cause Letter", "Ticket Classification", "Tone Adjustment",
    ),
    "operations": (
        "Contract Clause Finder", "Expense Report Check", "Interview Question Set", "Job Description",
        "Onboarding Plan", "Policy Comparison", "Risk Register", "Supplier Comparison", "Travel Planning",
    ),
}  # fmt: skip
_GIVEN = ("Ada", "Björn", "Chiara", "Dmitri", "Elif", "Femi", "Grace", "Hana", "Ivo", "Jun", "Kofi", "Lucía")
_FAMILY = ("Abebe", "Brandt", "Costa", "Dubois", "Eriksen", "Fischer", "Gupta", "Hansen", "Ito", "Jansen")
_PRAISE = {5: "Saves me time every week.", 4: "Good, but wordy.", 1: "I had to do it all again."}
_COMMENTS = {
    "thumbs_up": "Just what I needed.",
    "thumbs_down": "It missed the point of my question.",
    "suggestion": "Ask for the audience first.",
    "training_example": "A case that it should get right.",
    "bug_report": "It stops after the third section.",
}
_REPLIES = {
    "accepted": "Good point. It is on our list.",
    "dismissed": "Thank you. This is what another skill is for.",
    "implemented": "Thank you. The new version does it.",
    "pending": "We will look at it again.",
}


_DETAILS: dict[str, dict[str, Any]] = {
    "suggestion": {
        "suggested_content": "First ask who will read the text.",
        "suggested_diff": "+ First ask who will read the text.",
    },
    "training_example": {
        "example_input": "A draft of last week",
        "example_output": "The same draft, with a title",
        "expected_output": "The draft, in half the words",
    },
}
_NOTES = {
    "accepted": "Right: we should handle this.",
    "dismissed": "The skill is not meant for this.",
    "implemented": "It is in the newest version.",
    "pending": "It should be read again.",
}


def _slug(name: str) -> str:
    return name.lower().replace(" ", "-")


SKILLS = sorted((name, category) for category, names in _CATALOGUE.items() for name in names)


def seed(db: Database) -> Iterator[Progress]:
    """Write what is missing, through the repositories, and yield after each batch. A second run adds nothing.

    An interrupted run is completed by the next one.
    """
    for organisation in ORGANISATIONS:
        yield from _Seeder(db.tenant(organisation.id), organisation).run()


class _Seeder:
    def __init__(self, tenant: Tenant, organisation: Organisation) -> None:
        self.tenant = tenant
        self.of = organisation
        self.random = random.Random(organisation.id)
        self.users = [f"{organisation.id}-user-{number:03}" for number in range(1, organisation.users + 1)]
        self.names = dict(SKILLS[organisation.skills])
        self.skills = {f"{organisation.id}-{_slug(name)}": name for name in self.names}
        # Some skills are rated far higher, and used far more, than others.
        self.quality = {skill: self.random.uniform(2.2, 4.9) for skill in self.skills}
        self.versions = {skill: self.random.randint(1, 4) for skill in self.skills}

    def run(self) -> Iterator[Progress]:
        if self.tenant.execute(tenants.get_tenant()) is None:
            self.tenant.execute(
                tenants.create_tenant(self.of.name, self.of.id),
                retention.keep_rows(event_days=KEPT_DAYS, measurement_days=KEPT_DAYS),
            )
        viewed = self._views()
        early = {pair: 1 for number, pair in enumerate(viewed) if number % 3 == 0}
        late = {pair: self.versions[pair[1]] for pair in viewed if pair not in early}
        yield from self._write("users", self._missing_users())
        yield from self._write("skills", self._missing_skills())
        yield from self._write("first versions", self._missing_versions(first=True))
        yield from self._write("early views", self._missing_views(early))
        yield from self._write("later versions", self._missing_versions(first=False))
        yield from self._write("sources", self._missing_sources())
        yield from self._write("later views", self._missing_views(late))
        yield from self._write("ratings", self._missing_ratings())
        yield from self._write("feedback", self._missing_feedback())
        yield from self._write("benchmark runs", self._missing_benchmarks())
        yield from self._record_measurements()
        yield from self._record_events()

    def _write(self, kind: str, statements: Sequence[Statement[Any]]) -> Iterator[Progress]:
        for start in range(0, max(len(statements), 1), BATCH):
            batch = statements[start : start + BATCH]
            if batch:
                self.tenant.execute(*batch)
            done = start + len(batch)
            yield Progress(organisation=self.of.name, kind=kind, done=done, total=len(statements), added=len(batch))

    def _all(self, statements: Sequence[Statement[Any]]) -> tuple[Any, ...]:
        """The answers of any number of reads: a tuple, even for one."""
        return self.tenant.execute(*statements, tenants.get_tenant())[:-1]

    def _missing_users(self) -> list[Statement[Any]]:
        found = self._all([users.get_user(user) for user in self.users])
        missing = []
        for number, (user, present) in enumerate(zip(self.users, found, strict=True)):
            given, family = _GIVEN[number % len(_GIVEN)], _FAMILY[number % len(_FAMILY)]
            if present is None:
                missing.append(
                    users.create_user(
                        f"{user}@{self.of.id}.example",
                        name=f"{given} {family}",
                        role="admin" if number % 20 == 0 else "member",
                        id=user,
                    )
                )
        return missing

    def _missing_skills(self) -> list[Statement[Any]]:
        found = self._all([skills.get_skill(skill) for skill in self.skills])
        return [
            skills.create_skill(
                NewSkill(
                    id=skill,
                    name=name,
                    slug=_slug(name),
                    description=f"Helps with {name.lower()}: what to look at, in which order, and what to hand over.",
                    category=self.names[name],
                    tags=[self.names[name], *_slug(name).split("-")[:1]],
                    status=STATUSES.get(number % 15, "published"),
                    hours_saved=1 + number % 5,
                    author_id=self.users[number % 7],
                )
            )
            for number, ((skill, name), present) in enumerate(zip(self.skills.items(), found, strict=True))
            if present is None
        ]

    def _missing_versions(self, *, first: bool) -> list[Statement[Any]]:
        found = self._all([skills.list_skill_versions(skill, limit=1) for skill in self.skills])
        return [
            skills.publish_skill_version(
                skill,
                NewSkillVersion(
                    id=f"{skill}-v{number}",
                    content_url=f"skills/{skill}/{number}/SKILL.md",
                    content_hash=hashlib.sha256(f"{skill} {number}".encode()).hexdigest(),
                    metadata={"license": "MIT"},
                    created_by=self.users[number % 7],
                ),
            )
            for skill, present in zip(self.skills, found, strict=True)
            for number in range(sum(v.version for v in present.items) + 1, (1 if first else self.versions[skill]) + 1)
        ]

    def _missing_sources(self) -> list[Statement[Any]]:
        """Some skills come from a repository."""
        source, commit = f"https://git.example/{self.of.id}/skills", hashlib.sha1(self.of.id.encode()).hexdigest()
        names = list(self.skills)[:IMPORTED]
        *found, page = self._all([*map(skills.get_skill, names), imports.list_imported_skills(source)])
        if page.items:
            return []
        versions = self._all([skills.get_skill_version(skill.published_version_id) for skill in found])
        items = [
            SkillImport(
                id=skill.id,
                version_id=f"{skill.id}-imported",
                slug=skill.slug,
                path=f"skills/{skill.slug}",
                name=skill.name,
                description=skill.description,
                category=skill.category,
                tags=skill.tags,
                content_url=version.content_url,
                content_hash=version.content_hash,
                expected_version_id=version.id,
                commit_hash=commit,
                committed_at=datetime(2026, 1, 5, 9, tzinfo=UTC),
            )
            for skill, version in zip(found, versions, strict=True)
        ]
        texts = [f"---\nname: {item.name}\ndescription: {item.description}\n---\n" for item in items]
        return [
            imports.import_skills(source, items),
            imports.store_contents([NewContent(body=text) for text in texts]),
        ]

    def _views(self) -> list[tuple[str, str]]:
        """Pairs of viewer and skill: each viewer views some five to twelve skills."""
        return [
            (user, skill)
            for user in self.users[: self.of.viewers]
            for skill in self.random.sample(sorted(self.skills), self.random.randint(5, 12))
        ]

    def _missing_views(self, wanted: dict[tuple[str, str], int]) -> list[Statement[Any]]:
        viewers = sorted({user for user, _ in wanted})
        found = dict(
            zip(viewers, self._all([views.get_user_views_for_skills(u, self.skills) for u in viewers]), strict=True)
        )
        return [
            views.record_skill_view(user, skill, version)
            for (user, skill), version in wanted.items()
            if skill not in found[user]
        ]

    def _missing_ratings(self) -> list[Statement[Any]]:
        pairs = self.random.sample([(u, s) for u in self.users for s in sorted(self.skills)], self.of.ratings)
        wanted = {(u, s): min(5, max(1, round(self.random.gauss(self.quality[s], 0.8)))) for u, s in pairs}
        found = {
            (rating.user_id, rating.skill_id)
            for page in self._all([ratings.list_ratings(skill, limit=1_000_000) for skill in self.skills])
            for rating in page.items
        }
        return [
            ratings.rate_skill(
                user,
                skill,
                stars,
                comment=_PRAISE.get(stars),
                hours_saved_estimate=stars - 2 if stars > 2 else None,
            )
            for (user, skill), stars in wanted.items()
            if (user, skill) not in found
        ]

    def _missing_feedback(self) -> list[Statement[Any]]:
        """Every type in every status. An organisation's feedback fits into one batch, so no review is left out."""
        names = sorted(self.skills)
        found = {
            item.id
            for page in self._all([feedback.list_feedback(skill, limit=1_000_000) for skill in names])
            for item in page.items
        }
        missing: list[Statement[Any]] = []
        for number in range(self.of.feedback):
            skill, id = self.random.choice(names), f"{self.of.id}-feedback-{number:03}"
            kind, state = FEEDBACK[number % len(FEEDBACK)], REVIEWS[number // len(FEEDBACK) % len(REVIEWS)]
            new = NewSkillFeedback(
                id=id,
                skill_id=skill,
                feedback_type=kind,
                user_id=None if number % 9 == 0 else self.random.choice(self.users),
                comment=_COMMENTS[kind],
                quality_score=self.random.randint(4, 10),
                skill_version_id=f"{skill}-v1" if number % 2 == 0 else None,
                usage_event_id=self._event_id(number) if number % 3 == 0 else None,
                source=SOURCES[number % len(SOURCES)],
                **_DETAILS.get(kind, {}),
            )
            if id not in found:
                missing.append(feedback.submit_feedback(new))
                missing.extend(
                    feedback.review_feedback(
                        id,
                        status,
                        self.users[0],
                        notes=_NOTES[status],
                        reply=_REPLIES[status],
                        implemented_version_id=f"{skill}-v{self.versions[skill]}" if status == "implemented" else None,
                    )
                    for status in state
                )
        return missing

    def _missing_benchmarks(self) -> list[Statement[Any]]:
        """Two runs on every third skill; every fifth run fails. All runs of a skill are written in one batch."""
        names = sorted(self.skills)[::3]
        found = self._all([benchmarks.get_latest_benchmark_run(skill) for skill in names])
        missing: list[Statement[Any]] = []
        for number, (skill, present) in enumerate(zip(names, found, strict=True)):
            for run in range(2):
                id = f"{skill}-run-{run + 1}"
                failed = (2 * number + run) % 5 == 3
                statements: list[Statement[Any]] = [
                    benchmarks.create_benchmark_run(
                        NewBenchmarkRun(
                            id=id,
                            skill_id=skill,
                            skill_version_id=f"{skill}-v1",
                            triggered_by=self.users[0],
                            models=sorted(MODELS),
                        )
                    ),
                    benchmarks.start_benchmark_run(id, worker=f"{self.of.id}-worker-{number % 2}"),
                    benchmarks.record_benchmark_results(
                        id, [r for m in sorted(MODELS) for r in self._results(m, failed=failed)]
                    ),
                ]
                statements.append(
                    benchmarks.fail_benchmark_run(id) if failed else benchmarks.complete_benchmark_run(id)
                )
                if present is None:
                    missing += statements
        return missing

    def _results(self, model: str, *, failed: bool) -> Iterator[NewBenchmarkResult]:
        """Four cases. In a failed run the model gave no answer to the last one."""
        quality, seconds, _ = MODELS[model]
        for case in range(4):
            tokens_in, tokens_out = self.random.randint(800, 3000), self.random.randint(200, 900)
            score = min(100, max(0, round(self.random.gauss(quality, 6))))
            latency = round(self.random.gauss(seconds, seconds / 8) * 1000)
            asked: dict[str, Any] = {
                "input_used": f"Draft {case + 1}",
                "expected_output": f"Draft {case + 1}, in half the words",
            }
            if failed and case == 3:
                yield NewBenchmarkResult(
                    model_name=model, test_case_index=case, error_message="The model did not answer.", **asked
                )
                continue
            yield NewBenchmarkResult(
                model_name=model,
                test_case_index=case,
                output_produced=f"Draft {case + 1}, {'in half the words' if score >= 80 else 'with a title'}",
                input_tokens=tokens_in,
                output_tokens=tokens_out,
                total_tokens=tokens_in + tokens_out,
                latency_ms=latency,
                estimated_cost_microcents=tokens.estimate_cost_microcents(model, tokens_in, tokens_out),
                quality_score=score,
                quality_notes="Short and complete." if score >= 80 else "It is too long.",
                matches_expected=score >= 80,
                **asked,
            )

    def _record_measurements(self) -> Iterator[Progress]:
        """Measurements of three models over 90 days. Those of one skill are one statement: all or none are written."""
        names, now, done = sorted(self.skills), datetime.now(UTC), 0
        models = {model: share for model, (_, _, share) in MODELS.items()}
        lots: dict[str, list[NewTokenMeasurement]] = {skill: [] for skill in names}
        for number in range(self.of.measurements):
            skill = self.random.choice(names)
            lots[skill].append(
                NewTokenMeasurement(
                    id=f"{self.of.id}-measurement-{number:05}",
                    skill_id=skill,
                    model_name=self.random.choices(list(models), list(models.values()))[0],
                    input_tokens=self.random.randint(500, 6000),
                    output_tokens=self.random.randint(100, 2000),
                    latency_ms=self.random.randint(700, 9000),
                    user_id=self.random.choice(self.users),
                    usage_event_id=self._event_id(number) if number % 2 == 0 else None,
                    source=SOURCES[number % len(SOURCES)],
                    created_at=now - timedelta(seconds=self.random.randrange(DAYS * 86_400)),
                )
            )
        found = self._all([tokens.get_skill_cost_stats(skill) for skill in names])
        for skill, stats in zip(names, found, strict=True):
            added = 0
            if not stats.measurements:
                added = self.tenant.execute(tokens.record_token_measurements(lots[skill]))
            done += len(lots[skill])
            yield Progress(
                organisation=self.of.name, kind="measurements", done=done, total=self.of.measurements, added=added
            )

    def _record_events(self) -> Iterator[Progress]:
        done = added = 0
        events = self._events(datetime.now(UTC))
        while batch := list(islice(events, BATCH)):
            if added:  # The last batch stays pending, so that the data has an example of everything.
                self.tenant.execute(rollups.fold_uses())
            new = self.tenant.execute(usage.record_usage_events(batch))
            done, added = done + len(batch), added + new
            yield Progress(organisation=self.of.name, kind="usage events", done=done, total=self.of.events, added=new)

    def _event_id(self, number: int) -> str:
        return str(uuid5(NAMESPACE_URL, f"skilldb/seed/{self.of.id}/{number}"))

    def _events(self, now: datetime) -> Iterator[NewUsageEvent]:
        """The events of the last 90 days. Their ids depend only on their number, so a second run adds none."""
        names = sorted(self.skills)
        shares = [2 ** (self.quality[skill] - 2) * (3 if number % 6 == 0 else 1) for number, skill in enumerate(names)]
        tools = ("editor", "terminal", "chat", "ci")
        ages = {shape: _ages(shape) for shape in SHAPES}
        for number in range(self.of.events):
            skill = self.random.choices(names, shares)[0]
            shape = SHAPES[names.index(skill) % len(SHAPES)]
            (age,) = self.random.choices(range(DAYS), cum_weights=ages[shape])
            yield NewUsageEvent(
                id=self._event_id(number),
                tool_name=self.random.choice(tools),
                skill_id=skill,
                user_id=self.random.choice(self.users),
                metadata={"branch": "main"} if number % 10 == 0 else None,
                created_at=now - timedelta(days=age, seconds=self.random.randrange(86_400)),
            )


def _ages(shape: str) -> list[float]:
    """Cumulative weights for an event to be 0, 1, ... 89 days old."""
    ages = range(DAYS)
    weights = {
        "growing": [(DAYS - age) ** 1.5 for age in ages],
        "steady": [1.0 for age in ages],
        "fading": [(age + 1) ** 1.5 for age in ages],
        "new": [1.0 if age < 14 else 0.0 for age in ages],
    }
    return list(accumulate(weights[shape]))
