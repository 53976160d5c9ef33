"""Statements for benchmark runs, which compare models on a skill, and for their results."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from skilldb import paging, queries
from skilldb.errors import InvalidValueError, shown
from skilldb.models import (
    BenchmarkResult,
    BenchmarkRun,
    BenchmarkRunWithResults,
    ModelComparison,
    ModelRank,
    NewBenchmarkResult,
    NewBenchmarkRun,
    Page,
)
from skilldb.query import Step
from skilldb.statement import VALUE, Reader, Statement, dicts, many, one, optional
from skilldb.values import (
    ADAPT,
    MAX_COST_MICROCENTS,
    MAX_DAYS,
    MAX_TOKENS,
    adapter,
    bounded,
    not_empty,
    optional_bounded,
)

_SQL = queries.load("benchmarks")
_LOCKS = queries.load("locks")

_RUNS = paging.Sort("runs", datetime)


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
            created_at=run.created_at,
        ),
    )


def claim_benchmark_run(worker: str) -> Statement[BenchmarkRun | None]:
    """Move the oldest pending run of the organisation to running, for the worker of this name. None: there is none.

    No two workers get the same run, and none waits for another. Give each worker a name of its own: record, complete
    and fail then refuse a worker whose run was requeued. InvalidValueError: an empty name.
    """
    name = not_empty("worker", ADAPT["text"]("worker", worker))
    return Statement(optional(BenchmarkRun), _SQL["claim_benchmark_run"](worker=name))


def requeue_stale_runs(older_than: timedelta) -> Statement[int]:
    """Move the runs that started at least `older_than` ago and still run back to pending. Returns their number.

    Their results are deleted, so that all results of a run are those of one worker. A run that a worker is writing to
    at this moment stays for the next time. A run of another system has started long ago: import it in one `execute`,
    from its creation to its end, or it is moved back in between, without its results. InvalidValueError: a negative
    time, or more than a hundred years.
    """
    if not isinstance(older_than, timedelta):
        raise InvalidValueError(f"older_than must be a timedelta, not {shown(older_than)}")
    if not timedelta(0) <= older_than <= timedelta(days=MAX_DAYS):
        raise InvalidValueError(f"older_than must be from 0 to {MAX_DAYS} days, not {shown(older_than)}")
    return Statement(
        VALUE,
        _SQL["take_back_stale_runs"](microseconds=older_than // timedelta(microseconds=1)),
        _SQL["delete_results_of_requeued_runs"](),
        _SQL["requeue_stale_runs"](),
    )


def start_benchmark_run(
    run_id: str, *, worker: str | None = None, started_at: datetime | None = None
) -> Statement[BenchmarkRun]:
    """Move a run from pending to running. `started_at` is for runs of another system; None is now.

    A time in the future is stored as given. InvalidTransitionError: it is not pending. NotFoundError: no such run.
    InvalidValueError: an empty name of a worker, or a `started_at` before the run was created or without a time zone.
    """
    not_empty("worker", worker)
    checks = [] if started_at is None else [_SQL["check_benchmark_start"](run_id=run_id, started_at=started_at)]
    return Statement(
        one(BenchmarkRun),
        _SQL["lock_benchmark_run"](run_id=run_id),
        *checks,
        _SQL["start_benchmark_run"](run_id=run_id, worker=worker, started_at=started_at),
    )


def record_benchmark_results(
    run_id: str, results: Iterable[NewBenchmarkResult], *, worker: str | None = None
) -> Statement[int]:
    """Record results of a running run, all or none. Returns the number of cases written.

    A later result for the same model and case replaces an earlier one, also within `results`; the time stays that of
    the first. InvalidTransitionError: the run is not running, or not for this `worker`. InvalidValueError: the run does
    not list a model, or a number is out of range. NotFoundError: no such run.
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
        *_locked(run_id, worker, "take results"),
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
            created_at=[r.created_at for r in found],
        ),
    )


def _ending(run_id: str, worker: str | None, action: str, completed_at: datetime | None) -> list[Step]:
    """The steps of _locked, and one that refuses an end before the start."""
    steps = _locked(run_id, worker, action)
    if completed_at is not None:
        steps.append(_SQL["check_benchmark_end"](run_id=run_id, completed_at=completed_at))
    return steps


def _locked(run_id: str, worker: str | None, action: str) -> list[Step]:
    """The steps that lock a run and, if a worker is named, check that the run is still the worker's."""
    lock = _SQL["lock_benchmark_run"](run_id=run_id)
    if worker is None:
        return [lock]
    return [lock, _SQL["check_benchmark_worker"](run_id=run_id, worker=worker, action=action)]


def complete_benchmark_run(
    run_id: str, *, worker: str | None = None, completed_at: datetime | None = None
) -> Statement[BenchmarkRun]:
    """Move a run from running to completed, and store its best and its cheapest model.

    Best: the highest mean quality; among equals the cheaper model, then the first by name. Cheapest: the lowest mean
    cost per case, then the first by name. `completed_at` is for runs of another system; None is now, or the start if
    that is in the future. A time in the future is stored as given. InvalidTransitionError: it is not running, or not
    for this `worker`. NotFoundError: no such run. InvalidValueError: a `completed_at` before the run was started, or
    without a time zone.
    """
    return Statement(
        one(BenchmarkRun),
        *_ending(run_id, worker, "complete", completed_at),
        _SQL["complete_benchmark_run"](run_id=run_id, completed_at=completed_at),
    )


def fail_benchmark_run(
    run_id: str, *, worker: str | None = None, completed_at: datetime | None = None
) -> Statement[BenchmarkRun]:
    """Move a pending or running run to failed. `completed_at` is as in complete_benchmark_run.

    InvalidTransitionError: it has ended, or does not run for this `worker`. NotFoundError: no such run.
    InvalidValueError: a `completed_at` before the run was started, or created if it never was, or without a time zone.
    """
    return Statement(
        one(BenchmarkRun),
        *_ending(run_id, worker, "fail", completed_at),
        _SQL["fail_benchmark_run"](run_id=run_id, completed_at=completed_at),
    )


def get_benchmark_run(run_id: str) -> Statement[BenchmarkRunWithResults | None]:
    """A run with its results ordered by model and case, or None."""
    return Statement(Reader(dicts, _with_results), _SQL["get_benchmark_run"](run_id=run_id))


def list_benchmark_runs(
    *, skill_id: str | None = None, status: str | None = None, limit: int = 50, after: str | None = None
) -> Statement[Page[BenchmarkRun]]:
    """One page of the runs of a skill or of all skills, newest first, without their results.

    A filter that is None does not apply. `after` is the cursor of the page before. InvalidValueError: a limit below 1,
    or an `after` that is not a cursor.
    """
    created_at, id = paging.decode(after, _RUNS)
    return Statement(
        paging.page(BenchmarkRun, limit, lambda run: (run.created_at, run.id), _RUNS),
        _SQL["list_benchmark_runs"](
            skill_id=skill_id, status=status, after_created_at=created_at, after_id=id, limit=limit
        ),
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


def get_model_leaderboard(days: int | None = None) -> Statement[list[ModelRank]]:
    """Each model's means over the completed runs of all skills, in the order of compare_models.

    `days`: only the runs that were created within the last `days` * 24 hours; None is all. Models without a result are
    left out. InvalidValueError: fewer than one day, or more than a hundred years.
    """
    return Statement(many(ModelRank), _SQL["get_model_leaderboard"](days=optional_bounded("days", days, 1, MAX_DAYS)))
