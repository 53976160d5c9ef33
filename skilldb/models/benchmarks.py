"""The rows and inputs of benchmark runs and their results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBenchmarkRun:
    """A comparison of models on a skill, to be created. `created_at` None is now.

    A time in the future is stored as given.
    """

    skill_id: str
    triggered_by: str
    models: Sequence[str]
    skill_version_id: str | None = None
    id: str | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkRun:
    """A comparison of models on a skill. `status` is pending, running, completed or failed.

    `triggered_by` is None if that user was deleted. `worker` is the name of the worker that claimed it last. In a
    completed run, `best_model` has the highest mean quality, `cheapest_model` the lowest mean cost per case. Each is
    None if no result has a quality or a cost.
    """

    id: str
    skill_id: str
    skill_version_id: str | None
    triggered_by: str | None
    status: str
    worker: str | None
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
    """The result of one model on one test case.

    `test_case_index` counts from 0. The cost is in microcents ($1 is 100,000,000), the latency in milliseconds,
    `quality_score` is 0 to 100. None means not known; a `created_at` of None is now.
    """

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
    created_at: datetime | None = None


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
    """One model's means over the cases of a run, rounded half up. A mean is None if no case has the value.

    Quality is 0 to 100, cost in microcents ($1 is 100,000,000), latency in milliseconds. `matches_expected_pct`, 0 to
    100, counts only the cases that were judged.
    """

    model_name: str
    cases: int
    avg_quality_score: int | None
    avg_cost_microcents: int | None
    avg_total_tokens: int | None
    avg_latency_ms: int | None
    matches_expected_pct: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRank(ModelComparison):
    """One model's means over the cases of all completed runs, each case counting alike. `runs`: how many these are."""

    runs: int
