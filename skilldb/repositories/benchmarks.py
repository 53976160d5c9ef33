"""Statements for benchmark runs, which compare models on a skill, and for their results."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from skilldb import queries
from skilldb.errors import InvalidValueError
from skilldb.models import (
    BenchmarkResult,
    BenchmarkRun,
    BenchmarkRunWithResults,
    ModelComparison,
    NewBenchmarkResult,
    NewBenchmarkRun,
)
from skilldb.statement import VALUE, Reader, Statement, dicts, many, one
from skilldb.values import ADAPT, MAX_COST_MICROCENTS, MAX_TOKENS, adapter, bounded, optional_bounded

_SQL = queries.load("benchmarks")
_LOCKS = queries.load("locks")


def create_benchmark_run(run: NewBenchmarkRun) -> Statement[BenchmarkRun]:
    """Create a run with the status pending.

    NotFoundError: no such skill, user, or version of that skill. InvalidValueError: `models` is empty.
    AlreadyExistsError: the id is taken.
    """
    models = ADAPT["text[]"]("models", run.models)
    adapter("triggered_by", "text")("triggered_by", run.triggered_by)
    if not models:
        raise InvalidValueError("models must name at least one model")
    return Statement(
        one(BenchmarkRun),
        _LOCKS["lock_users"](user_ids=[run.triggered_by]),
        _LOCKS["check_skill_version"](skill_id=run.skill_id, skill_version_id=run.skill_version_id),
        _SQL["create_benchmark_run"](
            id=run.id,
            skill_id=run.skill_id,
            skill_version_id=run.skill_version_id,
            triggered_by=run.triggered_by,
            models=models,
        ),
    )


def start_benchmark_run(run_id: str) -> Statement[BenchmarkRun]:
    """Move a run from pending to running. InvalidTransitionError: it is not pending. NotFoundError: no such run."""
    return Statement(
        one(BenchmarkRun),
        _SQL["lock_benchmark_run"](run_id=run_id),
        _SQL["start_benchmark_run"](run_id=run_id),
    )


def record_benchmark_results(run_id: str, results: Iterable[NewBenchmarkResult]) -> Statement[int]:
    """Record results of a running run, all or none. Returns the number of cases written.

    A later result for the same model and case replaces an earlier one, also within `results`. InvalidTransitionError:
    the run is not running. InvalidValueError: the run does not list a model, or a number is out of range.
    NotFoundError: no such run.
    """
    cases: dict[tuple[str, int], NewBenchmarkResult] = {}
    for result in results:
        case = (ADAPT["text"]("model_name", result.model_name), bounded("test_case_index", result.test_case_index, 0))
        for name in ("input_tokens", "output_tokens", "total_tokens"):
            optional_bounded(name, getattr(result, name), 0, MAX_TOKENS)
        optional_bounded("latency_ms", result.latency_ms)
        optional_bounded("estimated_cost_microcents", result.estimated_cost_microcents, 0, MAX_COST_MICROCENTS)
        optional_bounded("quality_score", result.quality_score, 0, 100)
        cases[case] = result
    found = list(cases.values())
    return Statement(
        VALUE,
        _SQL["lock_benchmark_run"](run_id=run_id),
        _SQL["check_benchmark_results"](run_id=run_id, models=[r.model_name for r in found]),
        _SQL["record_benchmark_results"](
            run_id=run_id,
            model_name=[r.model_name for r in found],
            model_provider=[r.model_provider for r in found],
            test_case_index=[r.test_case_index for r in found],
            input_used=[r.input_used for r in found],
            output_produced=[r.output_produced for r in found],
            expected_output=[r.expected_output for r in found],
            input_tokens=[r.input_tokens for r in found],
            output_tokens=[r.output_tokens for r in found],
            total_tokens=[r.total_tokens for r in found],
            latency_ms=[r.latency_ms for r in found],
            estimated_cost_microcents=[r.estimated_cost_microcents for r in found],
            quality_score=[r.quality_score for r in found],
            quality_notes=[r.quality_notes for r in found],
            matches_expected=[r.matches_expected for r in found],
            error_message=[r.error_message for r in found],
        ),
    )


def complete_benchmark_run(run_id: str) -> Statement[BenchmarkRun]:
    """Move a run from running to completed, and store its best and its cheapest model.

    Best: the highest mean quality; among equals the cheaper model, then the first by name. Cheapest: the lowest mean
    cost per case, then the first by name. InvalidTransitionError: it is not running. NotFoundError: no such run.
    """
    return Statement(
        one(BenchmarkRun),
        _SQL["lock_benchmark_run"](run_id=run_id),
        _SQL["complete_benchmark_run"](run_id=run_id),
    )


def fail_benchmark_run(run_id: str) -> Statement[BenchmarkRun]:
    """Move a pending or running run to failed. InvalidTransitionError: it has ended. NotFoundError: no such run."""
    return Statement(
        one(BenchmarkRun),
        _SQL["lock_benchmark_run"](run_id=run_id),
        _SQL["fail_benchmark_run"](run_id=run_id),
    )


def get_latest_benchmark_run(skill_id: str) -> Statement[BenchmarkRunWithResults | None]:
    """The newest run of a skill, with its results ordered by model and case; None if there is no run.

    Runs of one transaction are equally new; the one with the highest id is returned.
    """
    return Statement(Reader(dicts, _with_results), _SQL["get_latest_benchmark_run"](skill_id=skill_id))


def _with_results(rows: list[dict[str, Any]]) -> BenchmarkRunWithResults | None:
    if not rows:
        return None
    (run,) = rows
    results = [
        BenchmarkResult(**result | {"created_at": datetime.fromisoformat(result["created_at"])})
        for result in run["results"]
    ]
    return BenchmarkRunWithResults(**run | {"results": results})


def compare_models(run_id: str) -> Statement[list[ModelComparison]]:
    """Each model's means over the cases of a run, best first.

    Models without a result are left out. Empty if there are no results or no such run.
    """
    return Statement(many(ModelComparison), _SQL["compare_models"](run_id=run_id))
