"""The rows, as frozen dataclasses, and the New... inputs. Times carry a zone; ids are strings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Generic, TypedDict, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """Some of the rows. `after` is the cursor to ask for the next page with, None on the last one."""

    items: list[T]
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """An organisation."""

    id: str
    name: str
    slug: str
    is_active: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person of an organisation; `role` is admin or member."""

    id: str
    email: str
    name: str | None
    role: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSkill:
    """A skill to be created. `status` is draft, pending_review, published or archived; `hours_saved` is by one use."""

    name: str
    slug: str
    description: str
    category: str
    tags: Sequence[str] = ()
    status: str = "published"
    hours_saved: int | None = 1
    author_id: str | None = None
    id: str | None = None


class SkillUpdate(TypedDict, total=False):
    """The columns of a skill that are to change, and their new values."""

    name: str
    slug: str
    description: str
    category: str
    tags: Sequence[str]
    status: str
    hours_saved: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """A skill as it is now.

    `updated_at` is the last change of content, `metrics_updated_at` that of a counter. `average_rating` is the mean
    rating * 100, `positive_feedback_pct` 0 to 100, `avg_token_cost_microcents` in millionths of a cent; each rounded
    half up, and None where nothing was counted yet.
    """

    id: str
    name: str
    slug: str
    description: str
    category: str
    tags: list[str]
    status: str
    hours_saved: int | None
    author_id: str | None
    published_version_id: str | None
    published_version: int | None
    created_at: datetime
    updated_at: datetime
    metrics_updated_at: datetime | None
    total_uses: int
    rating_count: int
    average_rating: int | None
    total_feedback: int
    positive_feedback_pct: int | None
    avg_token_cost_microcents: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSkillVersion:
    """Content to be published. `content_hash` is its SHA-256, 64 lower-case hexadecimal digits."""

    content_url: str
    content_hash: str
    content_type: str = "text/markdown"
    metadata: Mapping[str, Any] | None = None
    created_by: str | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillVersion:
    """A published version; `name` and `description` are the skill's as they were then."""

    id: str
    skill_id: str
    version: int
    content_url: str
    content_hash: str
    content_type: str
    name: str
    description: str
    metadata: dict[str, Any] | None
    created_by: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricDrift:
    """A counter of a skill that differs from what its rows say."""

    skill_id: str
    metric: str
    stored: int
    actual: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUsageEvent:
    """A use to be recorded. `id` is a UUID; recording it again changes nothing. `created_at` None is now."""

    tool_name: str
    skill_id: str | None = None
    user_id: str | None = None
    metadata: Mapping[str, Any] | None = None
    id: str | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyUses:
    """The uses of a skill on one day of UTC."""

    day: date
    uses: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillUses:
    """The uses of a skill over some days; `average_rating` is the mean rating * 100, None without ratings."""

    skill_id: str
    skill_name: str
    skill_slug: str
    average_rating: int | None
    uses: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """What one user thinks of one skill, 1 to 5."""

    id: str
    skill_id: str
    user_id: str
    rating: int
    comment: str | None
    hours_saved_estimate: int | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSkillView:
    """When a user last looked at a skill, and which version was shown, None where none was published."""

    id: str
    user_id: str
    skill_id: str
    last_viewed_at: datetime
    last_viewed_version: int | None
    view_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatsNewItem:
    """A skill that changed since the user last looked."""

    skill_id: str
    skill_name: str
    skill_slug: str
    category: str
    updated_at: datetime
    last_viewed_at: datetime
    view_count: int
    last_viewed_version: int | None
    published_version: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillChanges:
    """What changed on a skill since the user last looked.

    `version_rose`: a higher version than the one seen is published. `feedback_since`: number of feedback items since.
    `content_changed`: name, description, category, tags or status were edited since.
    """

    skill_id: str
    last_viewed_at: datetime
    last_viewed_version: int | None
    current_version: int | None
    version_rose: bool
    feedback_since: int
    content_changed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSkillFeedback:
    """Feedback to be submitted.

    `feedback_type` is thumbs_up, thumbs_down, suggestion, training_example or bug_report. `sentiment` is -1, 0 or 1;
    None is 1 for thumbs_up and -1 for thumbs_down. `quality_score` is 1 to 10. `user_id` None is anonymous.
    """

    skill_id: str
    feedback_type: str
    user_id: str | None = None
    skill_version_id: str | None = None
    usage_event_id: str | None = None
    sentiment: int | None = None
    comment: str | None = None
    suggested_content: str | None = None
    suggested_diff: str | None = None
    example_input: str | None = None
    example_output: str | None = None
    expected_output: str | None = None
    quality_score: int | None = None
    source: str = "web"
    id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillFeedback:
    """A piece of feedback, and its review: `status` is pending, accepted, dismissed or implemented."""

    id: str
    skill_id: str
    skill_version_id: str | None
    user_id: str | None
    usage_event_id: str | None
    feedback_type: str
    sentiment: int | None
    comment: str | None
    suggested_content: str | None
    suggested_diff: str | None
    example_input: str | None
    example_output: str | None
    expected_output: str | None
    quality_score: int | None
    status: str
    reviewed_by: str | None
    reviewed_at: datetime | None
    review_notes: str | None
    source: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackWithUsers(SkillFeedback):
    """Feedback with the names of its author and its reviewer; None where there is none, or it has no name."""

    user_name: str | None
    reviewer_name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTokenMeasurement:
    """One run of a skill to be recorded. `latency_ms` in milliseconds, cost in microcents: $1 is 100,000,000.

    `total_tokens` and the cost, where they are None, are filled in if both token counts are given and, for the cost,
    the model has a price. `created_at` None is now.
    """

    skill_id: str
    model_name: str
    model_provider: str = "anthropic"
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    estimated_cost_microcents: int | None = None
    latency_ms: int | None = None
    user_id: str | None = None
    usage_event_id: str | None = None
    source: str = "hook"
    id: str | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenMeasurement:
    """The tokens, cost in microcents ($1 is 100,000,000) and latency in milliseconds of one run; None: not known."""

    id: str
    skill_id: str
    usage_event_id: str | None
    user_id: str | None
    input_tokens: int | None
    output_tokens: int | None
    total_tokens: int | None
    model_name: str
    model_provider: str
    estimated_cost_microcents: int | None
    latency_ms: int | None
    source: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillCostStats:
    """What a skill costs, in microcents ($1 is 100,000,000).

    Total and mean are of the measurements that have a cost, the mean None without any. `measurements` counts all;
    `predominant_model` is the one most often measured, None without any.
    """

    skill_id: str
    total_cost_microcents: int
    avg_cost_microcents: int | None
    measurements: int
    predominant_model: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyCost:
    """What a skill cost on one day of UTC, in microcents ($1 is 100,000,000)."""

    day: date
    cost_microcents: int
    measurements: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBenchmarkRun:
    """A comparison of models on a skill, to be created."""

    skill_id: str
    triggered_by: str
    models: Sequence[str]
    skill_version_id: str | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkRun:
    """A comparison of models on a skill: `status` is pending, running, completed or failed.

    On completion, `best_model` has the highest mean quality (0 to 100), `cheapest_model` the lowest mean cost a case,
    in microcents ($1 is 100,000,000); None where no result says so.
    """

    id: str
    skill_id: str
    skill_version_id: str | None
    triggered_by: str
    status: str
    models: list[str]
    best_model: str | None
    best_quality_score: int | None
    cheapest_model: str | None
    cheapest_cost_microcents: int | None
    started_at: datetime | None
    completed_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBenchmarkResult:
    """What one model made of one test case, counted from 0. Cost in microcents, quality 0 to 100; None: not known."""

    model_name: str
    test_case_index: int
    model_provider: str = "anthropic"
    input_used: str | None = None
    output_produced: str | None = None
    expected_output: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    latency_ms: int | None = None
    estimated_cost_microcents: int | None = None
    quality_score: int | None = None
    quality_notes: str | None = None
    matches_expected: bool | None = None
    error_message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResult(NewBenchmarkResult):
    """A recorded result."""

    id: str
    benchmark_run_id: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkRunWithResults(BenchmarkRun):
    """A run with its results, by model and test case."""

    results: list[BenchmarkResult]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelComparison:
    """One model's means over the cases of a run, rounded half up; None where no case has the value.

    Quality is 0 to 100, cost in microcents ($1 is 100,000,000), latency in milliseconds; `matches_expected_pct` is 0 to
    100, of the cases that were judged.
    """

    model_name: str
    cases: int
    avg_quality_score: int | None
    avg_cost_microcents: int | None
    avg_total_tokens: int | None
    avg_latency_ms: int | None
    matches_expected_pct: int | None
