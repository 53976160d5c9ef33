"""Tests benchmark runs: their workflow, results and winners, and the comparison of models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count, product
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import errors as pg

import skilldb
from skilldb.errors import (
    AlreadyExistsError,
    InvalidTransitionError,
    InvalidValueError,
    NotFoundError,
)
from skilldb.models import (
    BenchmarkResult,
    BenchmarkRun,
    BenchmarkRunWithResults,
    ModelComparison,
    ModelRank,
    NewBenchmarkResult,
    NewBenchmarkRun,
    NewSkillVersion,
    Page,
)
from skilldb.repositories import benchmarks, skills, tenants, users
from skilldb.statement import Statement
from tests.support.api import GONE, Api, new_skill, new_user
from tests.support.bursts import Race, first_wrong, unexpected
from tests.support.database import contents, refused, rows
from tests.support.queries import altered
from tests.support.server import Addresses


@pytest.fixture
def acme(api: Callable[[str], Api]) -> Api:
    """An organisation with the users u1 and u2 and the skills s1 and s2."""
    tenant = api("acme")
    for user in ("u1", "u2"):
        new_user(tenant, user)
    for skill in ("s1", "s2"):
        new_skill(tenant, skill)
    return tenant


def pending(tenant: Api | skilldb.Tenant, id: str, *models: str, **more: Any) -> BenchmarkRun:
    """A run with that id on s1 by u1, by default of the models a and b."""
    given = {"skill_id": "s1", "triggered_by": "u1", "models": models or ("a", "b")} | more
    run: BenchmarkRun = tenant.execute(benchmarks.create_benchmark_run(NewBenchmarkRun(id=id, **given)))
    return run


def running(tenant: Api | skilldb.Tenant, id: str, *models: str) -> BenchmarkRun:
    pending(tenant, id, *models)
    run: BenchmarkRun = tenant.execute(benchmarks.start_benchmark_run(id))
    return run


def case(
    model: str, index: int = 0, quality: int | None = None, cost: int | None = None, **more: Any
) -> NewBenchmarkResult:
    return NewBenchmarkResult(
        model_name=model, test_case_index=index, quality_score=quality, estimated_cost_microcents=cost, **more
    )


def cases(model: str, *measured: tuple[int | None, int | None]) -> list[NewBenchmarkResult]:
    """A result for each pair of quality and cost."""
    return [case(model, index, *pair) for index, pair in enumerate(measured)]


def publish(tenant: Api, skill: str) -> str:
    version = NewSkillVersion(content_url="u", content_hash="a" * 64)
    id: str = tenant.execute(skills.publish_skill_version(skill, version)).id
    return id


# Creating


def test_a_run_is_created_pending(acme: Api) -> None:
    version = publish(acme, "s1")
    new = NewBenchmarkRun(skill_id="s1", triggered_by="u1", models=("b", "a", "ü [x]"), skill_version_id=version)
    run = acme.execute(benchmarks.create_benchmark_run(new))
    assert run == BenchmarkRun(
        id=run.id,
        skill_id="s1",
        skill_version_id=version,
        triggered_by="u1",
        status="pending",
        worker=None,
        models=["b", "a", "ü [x]"],
        best_model=None,
        best_quality_score=None,
        cheapest_model=None,
        cheapest_cost_microcents=None,
        started_at=None,
        completed_at=None,
        created_at=run.created_at,
    )
    assert str(UUID(run.id)) == run.id
    assert run.created_at.utcoffset() is not None
    bare = pending(acme, "r1", "a")
    assert (bare.id, bare.skill_version_id, bare.models) == ("r1", None, ["a"])


def test_a_run_that_cannot_be_is_refused(addresses: Addresses, acme: Api) -> None:
    pending(acme, "r1")
    foreign = publish(acme, "s2")
    for named, cause, given in (
        ("user 'nobody' does not exist", pg.NoDataFound, {"triggered_by": "nobody"}),
        ("skill 'missing' does not exist", pg.ForeignKeyViolation, {"skill_id": "missing"}),
        ("version 'none' does not exist", pg.NoDataFound, {"skill_version_id": "none"}),
        (f"version '{foreign}' does not exist", pg.NoDataFound, {"skill_version_id": foreign}),
    ):
        with refused(addresses, NotFoundError, named, cause=cause):
            pending(acme, "r2", **given)
    with refused(addresses, AlreadyExistsError, "id 'r1' is already taken", cause=pg.UniqueViolation):
        pending(acme, "r1")


def create_with(acme: Api, models: Any) -> BenchmarkRun:
    new = NewBenchmarkRun(skill_id="s1", triggered_by="u1", models=models)
    run: BenchmarkRun = acme.execute(benchmarks.create_benchmark_run(new))
    return run


def test_a_run_needs_models_and_they_are_texts(addresses: Addresses, acme: Api) -> None:
    for models in ([], (), "gpt", ["a\0"], ["a", 3], [b"a"]):
        with refused(addresses, InvalidValueError, "models"):
            create_with(acme, models)


def test_none_is_no_model(addresses: Addresses, acme: Api) -> None:
    for models in ([None], ["a", None]):
        with pytest.raises(InvalidValueError, match="models"):
            create_with(acme, models)
    assert rows(addresses.admin, "SELECT models FROM benchmark_runs") == []


def test_what_is_no_list_of_models_is_refused_as_any_other_wrong_value(addresses: Addresses, acme: Api) -> None:
    with refused(addresses, InvalidValueError, "models", "7"):
        create_with(acme, 7)


def test_runs_of_one_id_in_two_organisations_are_apart(acme: Api, api: Callable[[str], Api]) -> None:
    globex = api("globex")
    new_user(globex, "u1")
    new_skill(globex, "s1")
    running(acme, "r1")
    pending(globex, "r1")
    acme.execute(benchmarks.record_benchmark_results("r1", [case("a", 0, 50, 5)]))
    assert globex.execute(benchmarks.compare_models("r1")) == []
    assert globex.execute(benchmarks.get_latest_benchmark_run("s1")).status == "pending"
    globex.execute(benchmarks.fail_benchmark_run("r1"))
    assert acme.execute(benchmarks.complete_benchmark_run("r1")).best_model == "a"


# The workflow

ACTIONS: dict[str, tuple[str, Callable[[str], Statement[Any]]]] = {
    "start": ("start", benchmarks.start_benchmark_run),
    "complete": ("complete", benchmarks.complete_benchmark_run),
    "fail": ("fail", benchmarks.fail_benchmark_run),
    "record": ("take results", lambda id: benchmarks.record_benchmark_results(id, [case("a", 0, 50, 5)])),
    "record nothing": ("take results", lambda id: benchmarks.record_benchmark_results(id, [])),
}
# The steps that bring a run to each status.
WAYS: dict[str, list[str]] = {
    "pending": [],
    "running": ["start"],
    "completed": ["start", "complete"],
    "failed": ["start", "fail"],
}
ALLOWED: dict[tuple[str, str], str] = {
    ("pending", "start"): "running",
    ("pending", "fail"): "failed",
    ("running", "complete"): "completed",
    ("running", "fail"): "failed",
    ("running", "record"): "running",
    ("running", "record nothing"): "running",
}


@pytest.mark.parametrize("status", WAYS)
def test_a_run_changes_as_the_workflow_allows_and_not_otherwise(addresses: Addresses, acme: Api, status: str) -> None:
    for action, (said, function) in ACTIONS.items():
        pending(acme, action)
        for step in WAYS[status]:
            acme.execute(ACTIONS[step][1](action))
        expected = ALLOWED.get((status, action))
        if expected is None:
            message = f"run '{action}' is {status}: it cannot {said}"
            with refused(addresses, InvalidTransitionError, message, cause=pg.ObjectNotInPrerequisiteState):
                acme.execute(function(action))
        else:
            acme.execute(function(action))
        found = rows(addresses.admin, "SELECT status FROM benchmark_runs WHERE id = %s", action)
        assert found == [(expected or status,)]


def test_started_at_and_completed_at_tell_when(acme: Api) -> None:
    started = running(acme, "r1")
    assert started.started_at is not None
    assert started.created_at <= started.started_at
    assert (started.status, started.completed_at) == ("running", None)
    for end, status in (
        (benchmarks.complete_benchmark_run, "completed"),
        (benchmarks.fail_benchmark_run, "failed"),
    ):
        before = running(acme, status)
        after = acme.execute(end(status))
        assert (after.status, after.started_at) == (status, before.started_at)
        assert before.started_at <= after.completed_at
        assert after.completed_at.utcoffset() is not None
    pending(acme, "r2")
    never = acme.execute(benchmarks.fail_benchmark_run("r2"))
    assert (never.status, never.started_at) == ("failed", None)
    assert never.created_at <= never.completed_at


def test_a_refused_change_takes_what_travels_with_it_along(addresses: Addresses, acme: Api) -> None:
    running(acme, "r1")
    pending(acme, "r2")
    with refused(addresses, InvalidTransitionError, "'r2' is pending", cause=pg.ObjectNotInPrerequisiteState):
        acme.execute(
            benchmarks.record_benchmark_results("r1", [case("a")]),
            benchmarks.complete_benchmark_run("r1"),
            benchmarks.complete_benchmark_run("r2"),
        )


def test_a_run_that_does_not_exist_is_not_found(addresses: Addresses, acme: Api) -> None:
    for _, function in ACTIONS.values():
        with refused(addresses, NotFoundError, "run 'missing' does not exist", cause=pg.NoDataFound):
            acme.execute(function("missing"))
        with refused(addresses, InvalidValueError, "run_id", r"'a\x00'"):
            acme.execute(function("a\0"))
    assert acme.execute(benchmarks.compare_models("missing")) == []
    assert acme.execute(benchmarks.get_benchmark_run("missing")) is None


def test_another_organisation_sees_nothing_of_a_run(addresses: Addresses, acme: Api, api: Callable[[str], Api]) -> None:
    version = publish(acme, "s1")
    running(acme, "r1")
    acme.execute(benchmarks.record_benchmark_results("r1", [case("a", 0, 50, 5)]))
    globex = api("globex")
    new_user(globex, "g1")
    new_skill(globex, "g1")
    for _, function in ACTIONS.values():
        with refused(addresses, NotFoundError, "run 'r1' does not exist", cause=pg.NoDataFound):
            globex.execute(function("r1"))
    for named, cause, given in (
        ("user 'u1' does not exist", pg.NoDataFound, {"skill_id": "g1"}),
        ("skill 's1' does not exist", pg.ForeignKeyViolation, {"triggered_by": "g1"}),
        (
            f"version '{version}' does not exist",
            pg.NoDataFound,
            {"triggered_by": "g1", "skill_id": "g1", "skill_version_id": version},
        ),
    ):
        with refused(addresses, NotFoundError, named, cause=cause):
            pending(globex, "r2", **given)
    assert globex.execute(benchmarks.get_latest_benchmark_run("s1"), benchmarks.compare_models("r1")) == (None, [])
    pending(acme, "r0")
    assert globex.execute(
        benchmarks.get_benchmark_run("r1"),
        benchmarks.list_benchmark_runs(),
        benchmarks.list_benchmark_runs(skill_id="s1", status="running"),
        benchmarks.get_model_leaderboard(),
        benchmarks.claim_benchmark_run("w"),
        benchmarks.requeue_stale_runs(timedelta(0)),
    ) == (None, Page(items=[], after=None), Page(items=[], after=None), [], None, 0)
    assert rows(addresses.admin, "SELECT status FROM benchmark_runs ORDER BY id") == [("pending",), ("running",)]


# Workers


def test_a_worker_claims_the_oldest_pending_run(addresses: Addresses, acme: Api) -> None:
    assert acme.execute(benchmarks.claim_benchmark_run("w1")) is None
    for id in ("r1", "r2", "r3", "r4"):
        pending(acme, id)
    at = "UPDATE benchmark_runs SET created_at = %s WHERE id = %s RETURNING id"
    for id, year in (("r1", 2003), ("r2", 2001), ("r3", 2001), ("r4", 2000)):
        rows(addresses.admin, at, datetime(year, 1, 1, tzinfo=UTC), id)
    acme.execute(benchmarks.start_benchmark_run("r4", worker="w0"))
    before = acme.execute(benchmarks.get_benchmark_run("r2"))
    claimed: BenchmarkRun = acme.execute(benchmarks.claim_benchmark_run("w1"))
    assert asdict(claimed) == {
        **{name: getattr(before, name) for name in BenchmarkRun.__slots__},
        "status": "running",
        "worker": "w1",
        "started_at": claimed.started_at,
    }
    assert before.created_at < claimed.started_at
    found = [acme.execute(benchmarks.claim_benchmark_run(worker)) for worker in ("w2", " ", "w1")]
    assert [(run.id, run.worker) if run else None for run in found] == [("r3", "w2"), ("r1", " "), None]
    assert acme.execute(benchmarks.get_benchmark_run("r4")).worker == "w0"
    assert acme.execute(benchmarks.complete_benchmark_run("r2")).worker == "w1"
    for wrong in (None, 5, "a\0", ""):
        with refused(addresses, InvalidValueError, "worker"):
            acme.execute(benchmarks.claim_benchmark_run(wrong))  # type: ignore[arg-type]
    pending(acme, "r5")
    with refused(addresses, InvalidValueError, "worker must not be empty"):
        acme.execute(benchmarks.start_benchmark_run("r5", worker=""))


def test_a_worker_does_not_wait_for_a_run_that_is_locked(addresses: Addresses, acme: Api) -> None:
    pending(acme, "r1")
    pending(acme, "r2")
    with psycopg.connect(addresses.admin) as conn:
        conn.execute("SELECT FROM benchmark_runs WHERE id = 'r1' FOR NO KEY UPDATE")
        assert acme.execute(benchmarks.claim_benchmark_run("w1")).id == "r2"
        assert acme.execute(benchmarks.claim_benchmark_run("w1")) is None
        acme.execute(benchmarks.record_benchmark_results("r2", [case("a")], worker="w1"))
    assert acme.execute(benchmarks.claim_benchmark_run("w2")).id == "r1"


def test_stale_runs_go_back_to_the_queue_without_their_results(addresses: Addresses, acme: Api) -> None:
    now = datetime.now(UTC)
    for id, worker, age in (("r1", "w1", 3), ("r2", None, 2), ("r3", "w1", 0), ("done", "w1", 9)):
        pending(acme, id, created_at=now - timedelta(days=1))
        started = now - timedelta(hours=age) if age else None
        acme.execute(
            benchmarks.start_benchmark_run(id, worker=worker, started_at=started),
            benchmarks.record_benchmark_results(id, [case("a", 0, 50, 5), case("b", 0, 60, 6)]),
        )
    acme.execute(benchmarks.complete_benchmark_run("done"))
    pending(acme, "waiting")
    kept = acme.execute(*(benchmarks.get_benchmark_run(id) for id in ("r3", "done", "waiting")))
    before = acme.execute(benchmarks.get_benchmark_run("r1"))

    assert acme.execute(benchmarks.requeue_stale_runs(timedelta(hours=4))) == 0
    assert acme.execute(benchmarks.requeue_stale_runs(timedelta(hours=1))) == 2

    after = acme.execute(benchmarks.get_benchmark_run("r1"))
    changed: dict[str, Any] = {"status": "pending", "worker": None, "started_at": None, "results": []}
    assert asdict(after) == asdict(before) | changed
    assert acme.execute(benchmarks.get_benchmark_run("r2")).results == []
    assert acme.execute(*(benchmarks.get_benchmark_run(id) for id in ("r3", "done", "waiting"))) == kept
    assert acme.execute(benchmarks.requeue_stale_runs(timedelta(hours=1))) == 0
    assert acme.execute(benchmarks.claim_benchmark_run("w2")).id == "r1"
    assert acme.execute(benchmarks.requeue_stale_runs(timedelta(0))) == 2
    assert acme.execute(benchmarks.get_benchmark_run("r3")).results == []


def test_a_run_that_is_being_written_is_not_requeued(addresses: Addresses, acme: Api) -> None:
    running(acme, "r1")
    running(acme, "r2")
    acme.execute(benchmarks.record_benchmark_results("r2", [case("a")]))
    with psycopg.connect(addresses.admin) as conn:
        conn.execute("SELECT FROM benchmark_runs WHERE id = 'r2' FOR NO KEY UPDATE")
        assert acme.execute(benchmarks.requeue_stale_runs(timedelta(0))) == 1
        found = acme.execute(benchmarks.get_benchmark_run("r2"))
        assert (found.status, len(found.results)) == ("running", 1)
    assert acme.execute(benchmarks.requeue_stale_runs(timedelta(0))) == 1


def test_a_length_of_time_that_cannot_be_is_refused(addresses: Addresses, acme: Api) -> None:
    for wrong in (timedelta(microseconds=-1), timedelta(days=36_526), timedelta.max, 5, "1 day", None):
        with refused(addresses, InvalidValueError, "older_than"):
            acme.execute(benchmarks.requeue_stale_runs(wrong))  # type: ignore[arg-type]
    assert acme.execute(benchmarks.requeue_stale_runs(timedelta(days=36_525))) == 0


BY_WORKER: dict[str, tuple[str, Callable[[str, str], Statement[Any]]]] = {
    "record": ("take results", lambda id, worker: benchmarks.record_benchmark_results(id, [case("a")], worker=worker)),
    "complete": ("complete", lambda id, worker: benchmarks.complete_benchmark_run(id, worker=worker)),
    "fail": ("fail", lambda id, worker: benchmarks.fail_benchmark_run(id, worker=worker)),
}


@pytest.mark.parametrize("action", BY_WORKER)
def test_a_worker_that_lost_its_run_writes_nothing_to_it(addresses: Addresses, acme: Api, action: str) -> None:
    said, by = BY_WORKER[action]
    pending(acme, "r1")
    acme.execute(benchmarks.claim_benchmark_run("w1"), benchmarks.requeue_stale_runs(timedelta(0)))
    cause = pg.ObjectNotInPrerequisiteState
    with refused(
        addresses, InvalidTransitionError, f"run 'r1' is pending: it cannot {said} for worker 'w1'", cause=cause
    ):
        acme.execute(by("r1", "w1"))
    acme.execute(benchmarks.claim_benchmark_run("w2"))
    message = f"run 'r1' is running for worker 'w2': it cannot {said} for worker 'w1'"
    with refused(addresses, InvalidTransitionError, message, cause=cause):
        acme.execute(by("r1", "w1"))
    acme.execute(by("r1", "w2"))
    running(acme, "r2")
    message = f"run 'r2' is running for no worker: it cannot {said} for worker 'w1'"
    with refused(addresses, InvalidTransitionError, message, cause=cause):
        acme.execute(by("r2", "w1"))
    pending(acme, "done")
    acme.execute(benchmarks.start_benchmark_run("done", worker="w1"), benchmarks.complete_benchmark_run("done"))
    for worker in ("w1", "w2"):
        with refused(addresses, InvalidTransitionError, f"run 'done' is completed: it cannot {said}", cause=cause):
            acme.execute(by("done", worker))
    with refused(addresses, NotFoundError, "run 'missing' does not exist", cause=pg.NoDataFound):
        acme.execute(by("missing", "w1"))


# History


def test_runs_of_another_system_keep_their_times(addresses: Addresses, acme: Api) -> None:
    days = [datetime(2020, 1, day, 12, 0, 0, 1_999, tzinfo=UTC) for day in range(1, 5)]
    created, started, measured, completed = (day.replace(microsecond=1_000) for day in days)
    for id, end in (("r1", benchmarks.complete_benchmark_run), ("r2", benchmarks.fail_benchmark_run)):
        new = NewBenchmarkRun(id=id, skill_id="s1", triggered_by="u1", models=["a", "b"], created_at=days[0])
        results = [replace(case("a", 0, 90, 9), created_at=days[2]), case("b", 0, 80, 8)]
        *_, ended = acme.execute(
            benchmarks.create_benchmark_run(new),
            benchmarks.start_benchmark_run(id, worker="w", started_at=days[1]),
            benchmarks.record_benchmark_results(id, results),
            end(id, completed_at=days[3]),
        )
        found = acme.execute(benchmarks.get_benchmark_run(id))
        assert (found.created_at, found.started_at, found.completed_at, found.worker) == (
            created,
            started,
            completed,
            "w",
        )
        assert {name: getattr(found, name) for name in BenchmarkRun.__slots__} == asdict(ended)
        assert found.results[0].created_at == measured < found.results[1].created_at
    assert acme.execute(benchmarks.get_benchmark_run("r1")).best_model == "a"
    naive = datetime(2026, 1, 1)
    new = NewBenchmarkRun(skill_id="s1", triggered_by="u1", models=["a"], created_at=naive)
    pending(acme, "r3")
    running(acme, "r4")
    for name, refuse in (
        ("created_at", partial(benchmarks.create_benchmark_run, new)),
        ("started_at", partial(benchmarks.start_benchmark_run, "r3", started_at=naive)),
        ("completed_at", partial(benchmarks.complete_benchmark_run, "r4", completed_at=naive)),
        ("completed_at", partial(benchmarks.fail_benchmark_run, "r4", completed_at=naive)),
        ("created_at", partial(benchmarks.record_benchmark_results, "r4", [replace(case("a"), created_at=naive)])),
    ):
        with refused(addresses, InvalidValueError, f"{name} must carry a time zone"):
            acme.execute(refuse())


def test_no_run_ends_before_its_start_or_starts_before_it_was_created(addresses: Addresses, acme: Api) -> None:
    """A time that is given and cannot be is refused. None is now, or the start where that is still to come."""
    created, started = (datetime(2020, 1, day, tzinfo=UTC) for day in (1, 2))
    early = timedelta(microseconds=1)
    ways = (("complete", benchmarks.complete_benchmark_run), ("fail", benchmarks.fail_benchmark_run))
    for id, end in ways:
        pending(acme, id, created_at=created)
        message = ("started_at '", "is before the run was created")
        with refused(addresses, InvalidValueError, *message, cause=pg.InvalidParameterValue):
            acme.execute(benchmarks.start_benchmark_run(id, started_at=created - early))
        acme.execute(benchmarks.start_benchmark_run(id, worker="w", started_at=started))
        for worker in (None, "w"):
            message = ("completed_at '", "is before the run was started")
            with refused(addresses, InvalidValueError, *message, cause=pg.InvalidParameterValue):
                acme.execute(end(id, worker=worker, completed_at=started - early))
        ended = acme.execute(end(id, worker="w", completed_at=started))
        assert ended.started_at == ended.completed_at == started
        # It has ended: no time makes another end possible, and the status is what is wrong.
        with refused(addresses, InvalidTransitionError, f"run '{id}' is", cause=pg.ObjectNotInPrerequisiteState):
            acme.execute(end(id, completed_at=created - early))
        with refused(addresses, InvalidTransitionError, f"run '{id}' is", cause=pg.ObjectNotInPrerequisiteState):
            acme.execute(benchmarks.start_benchmark_run(id, started_at=created - early))
        with refused(addresses, NotFoundError, "run 'missing' does not exist", cause=pg.NoDataFound):
            acme.execute(end("missing", completed_at=created))
    pending(acme, "never", created_at=created)
    message = ("completed_at '", "is before the run was created")
    with refused(addresses, InvalidValueError, *message, cause=pg.InvalidParameterValue):
        acme.execute(benchmarks.fail_benchmark_run("never", completed_at=created - early))
    assert acme.execute(benchmarks.fail_benchmark_run("never", completed_at=created)).completed_at == created
    later = datetime(2100, 1, 1, tzinfo=UTC)
    for id, end in ways:
        pending(acme, f"later {id}", created_at=created)
        acme.execute(benchmarks.start_benchmark_run(f"later {id}", started_at=later))
        assert acme.execute(end(f"later {id}")).completed_at == later


def test_a_result_recorded_again_keeps_the_time_of_the_first(acme: Api) -> None:
    running(acme, "r1")
    given = datetime(2020, 1, 1, tzinfo=UTC)
    acme.execute(benchmarks.record_benchmark_results("r1", [replace(case("a"), created_at=given)]))
    acme.execute(benchmarks.record_benchmark_results("r1", [case("a", 0, 90)]))
    (found,) = acme.execute(benchmarks.get_benchmark_run("r1")).results
    assert (found.created_at, found.quality_score) == (given, 90)


# Results


def test_results_are_recorded_and_read_back_whole(addresses: Addresses, acme: Api) -> None:
    running(acme, "r1", "a", "b", "unused")
    full = NewBenchmarkResult(
        model_name="b",
        test_case_index=2**31 - 1,
        model_provider="openai",
        input_used='"quoted" \\ and\nlines',
        output_produced="très bien 🎉",
        expected_output="",
        input_tokens=0,
        output_tokens=10**9,
        total_tokens=7,
        latency_ms=1200,
        estimated_cost_microcents=10**13,
        quality_score=100,
        quality_notes="good",
        matches_expected=False,
        error_message="none",
    )
    bare = case("b", 0)
    other = case("a", 10, 0, 0, matches_expected=True)
    assert acme.execute(benchmarks.record_benchmark_results("r1", (r for r in (full, other, bare)))) == 3
    assert acme.execute(benchmarks.record_benchmark_results("r1", [])) == 0
    assert acme.execute(benchmarks.record_benchmark_results("r1", [case("a", 9)])) == 1

    latest = acme.execute(benchmarks.get_latest_benchmark_run("s1"))

    assert isinstance(latest, BenchmarkRunWithResults)
    # Ordered by model, then by test case as a number.
    found: list[BenchmarkResult] = latest.results
    assert [asdict(r) for r in found] == [
        asdict(new) | {"id": r.id, "benchmark_run_id": "r1", "created_at": r.created_at}
        for new, r in zip((case("a", 9), other, bare, full), found, strict=True)
    ]
    assert all(type(r) is BenchmarkResult for r in found)
    assert [type(value) for value in (found[3].estimated_cost_microcents, found[3].matches_expected)] == [int, bool]
    stored = rows(addresses.admin, "SELECT id, created_at FROM benchmark_results")
    assert {(r.id, r.created_at) for r in found} == set(stored)
    assert {r.created_at.utcoffset() for r in found} == {timedelta(0)}


def test_a_result_recorded_again_replaces_all_of_the_former(acme: Api) -> None:
    running(acme, "r1")
    first = case("a", 0, 90, 10, input_used="i", output_tokens=3, matches_expected=True, model_provider="openai")
    acme.execute(benchmarks.record_benchmark_results("r1", [first, case("b", 0, 80, 20), case("a", 1, 70, 30)]))
    before = acme.execute(benchmarks.get_latest_benchmark_run("s1")).results

    again = case("a", 0, error_message="timeout")
    assert acme.execute(benchmarks.record_benchmark_results("r1", [again])) == 1

    after = acme.execute(benchmarks.get_latest_benchmark_run("s1")).results
    assert after[1:] == before[1:]
    kept = {"id": before[0].id, "benchmark_run_id": "r1", "created_at": before[0].created_at}
    assert asdict(after[0]) == asdict(again) | kept


def test_of_two_results_for_one_case_in_one_call_the_last_one_stays(acme: Api) -> None:
    running(acme, "r1")
    twice = [case("a", 0, 10), case("b", 0, 20), case("a", 0, 30), case("a", 1, 40)]
    assert acme.execute(benchmarks.record_benchmark_results("r1", twice)) == 3
    results = acme.execute(benchmarks.get_latest_benchmark_run("s1")).results
    assert [(r.model_name, r.test_case_index, r.quality_score) for r in results] == [
        ("a", 0, 30),
        ("a", 1, 40),
        ("b", 0, 20),
    ]


def test_results_of_one_bad_one_are_all_refused(addresses: Addresses, acme: Api) -> None:
    running(acme, "r1")
    acme.execute(benchmarks.record_benchmark_results("r1", [case("a", 0, 50, 5)]))
    refusals: list[tuple[NewBenchmarkResult, str, type[psycopg.Error] | None]] = [
        (case("c"), "model 'c' is not one that the run lists", pg.InvalidParameterValue),
        (case("A"), "model 'A' is not one that the run lists", pg.InvalidParameterValue),
        (case("a", -1), "-1", None),
        (case("a", 2**31), "test_case_index 2147483648", None),
        (case("a", True), "test_case_index", None),
        (case("a", 0, -1), "quality_score", None),
        (case("a", 0, 101), "101", None),
        (case("a", 0, 1.5), "quality_score", None),  # type: ignore[arg-type]
        (case("a", 0, 50, -2), "-2", None),
        (case("a", 0, 50, 10**13 + 1), "estimated_cost_microcents must be at most 10000000000000, not 1000", None),
        (case("a", 0, 50, 2**63), "estimated_cost_microcents must be at most 10000000000000, not 9223372036", None),
        (case("a", matches_expected=1), "matches_expected", None),
        (case("a", input_used="a\0"), "input_used", None),
        (case("a", model_provider=None), "model_provider", pg.NotNullViolation),
        *((case("a", **{name: -3}), f"{name} must be at least 0, not -3", None) for name in COUNTS),
        *(
            (case("a", **{name: 10**9 + 1}), f"{name} must be at most 1000000000, not 1000", None)
            for name in COUNTS[:3]
        ),
        (case("a", latency_ms=2**31), "latency_ms 2147483648", None),
    ]
    for bad, named, cause in refusals:
        with refused(addresses, InvalidValueError, named, cause=cause):
            acme.execute(benchmarks.record_benchmark_results("r1", [case("b"), case("a", 0, 60), bad]))


COUNTS = ("input_tokens", "output_tokens", "total_tokens", "latency_ms")


def test_the_offending_value_is_named_among_however_many_results(addresses: Addresses, acme: Api) -> None:
    running(acme, "r1")
    many = [case("a", index, 50) for index in range(200)]
    with refused(addresses, InvalidValueError, "quality_score", "101"):
        acme.execute(benchmarks.record_benchmark_results("r1", [*many, case("a", 777, 101)]))
    with refused(addresses, InvalidValueError, "model 'nope'", cause=pg.InvalidParameterValue):
        acme.execute(benchmarks.record_benchmark_results("r1", [*many, case("nope", 0)]))


# Winners


def test_the_means_of_many_results_are_exact(acme: Api) -> None:
    """The mean costs are 9 * 10**12 and less than a half. 16 digits show neither which is the least, nor the half."""
    running(acme, "r1", "a", "b", "c")
    many = [
        case(model, n, None, 9 * 10**12 + (n < more))
        for model, more, of in (("a", 71, 143), ("b", 70, 141), ("c", 5_000, 10_001))
        for n in range(of)
    ]
    acme.execute(benchmarks.record_benchmark_results("r1", many))
    compared = acme.execute(benchmarks.compare_models("r1"))
    assert [(m.model_name, m.avg_cost_microcents) for m in compared] == [(model, 9 * 10**12) for model in "bac"]
    done = acme.execute(benchmarks.complete_benchmark_run("r1"))
    assert (done.cheapest_model, done.cheapest_cost_microcents) == ("b", 9 * 10**12)


WINNERS: list[tuple[str, list[NewBenchmarkResult], tuple[Any, ...]]] = [
    ("nothing was recorded", [], (None, None, None, None)),
    ("nothing was measured", [*cases("a", (None, None)), *cases("b", (None, None))], (None, None, None, None)),
    ("best and cheapest differ", [*cases("a", (90, 20)), *cases("b", (80, 10))], ("a", 90, "b", 10)),
    ("means, not sums", [*cases("a", (60, 9), (60, 9)), *cases("b", (70, 10))], ("b", 70, "a", 9)),
    ("best of equals is the cheaper", [*cases("a", (90, 20)), *cases("b", (90, 10))], ("b", 90, "b", 10)),
    ("then the first by name", [*cases("b", (90, 10)), *cases("a", (90, 10))], ("a", 90, "a", 10)),
    ("cheapest of equals is the first by name", [*cases("b", (95, 10)), *cases("a", (90, 10))], ("b", 95, "a", 10)),
    ("of equals one has no cost", [*cases("a", (90, None)), *cases("b", (90, 10**12))], ("b", 90, "b", 10**12)),
    ("no costs at all", [*cases("b", (90, None)), *cases("a", (90, None))], ("a", 90, None, None)),
    ("no qualities at all", [*cases("a", (None, 7)), *cases("b", (None, 6))], (None, None, "b", 6)),
    (
        "what was not measured does not count",
        [*cases("a", (90, None), (None, 30)), *cases("b", (80, 20), (80, 20), (None, None))],
        ("a", 90, "b", 20),
    ),
    ("zero is a measurement", [*cases("a", (0, 0)), *cases("b", (None, 1))], ("a", 0, "a", 0)),
    ("a half goes up from even", [*cases("a", (2, 0), (3, 1))], ("a", 3, "a", 1)),
    ("a half goes up from odd", [*cases("a", (1, 1), (2, 2))], ("a", 2, "a", 2)),
    (
        "the unrounded quality decides",  # 90.33 against 90, although b is cheaper
        [*cases("a", (90, 20), (90, 20), (91, 20)), *cases("b", (90, 10))],
        ("a", 90, "b", 10),
    ),
    (
        "the unrounded cost decides",  # 10.33 against 10, although a comes first by name
        [*cases("a", (90, 10), (90, 10), (90, 11)), *cases("b", (90, 10))],
        ("b", 90, "b", 10),
    ),
    (
        "nothing overflows",
        [*cases("a", (100, 10**13), (100, 10**13)), *cases("b", (99, 10**13))],
        ("a", 100, "a", 10**13),
    ),
]


def test_completing_computes_the_winners(acme: Api) -> None:
    for what, results, expected in WINNERS:
        running(acme, what, "unused", "b", "a")
        # Results of other runs do not count.
        running(acme, f"not {what}", "zz")
        acme.execute(
            benchmarks.record_benchmark_results(what, results),
            benchmarks.record_benchmark_results(f"not {what}", [case("zz", 0, 100, 0)]),
        )
        run = acme.execute(benchmarks.complete_benchmark_run(what))
        found = (run.best_model, run.best_quality_score, run.cheapest_model, run.cheapest_cost_microcents)
        assert found == expected, what


def test_a_failed_run_keeps_its_results_and_has_no_winners(acme: Api) -> None:
    running(acme, "r1")
    acme.execute(benchmarks.record_benchmark_results("r1", [case("a", 0, 90, 10)]))
    run = acme.execute(benchmarks.fail_benchmark_run("r1"))
    assert (run.best_model, run.best_quality_score, run.cheapest_model, run.cheapest_cost_microcents) == (None,) * 4
    assert [r.quality_score for r in acme.execute(benchmarks.get_latest_benchmark_run("s1")).results] == [90]


# Reading


def test_the_latest_run_is_the_one_created_last_whatever_its_status(addresses: Addresses, acme: Api) -> None:
    assert acme.execute(benchmarks.get_latest_benchmark_run("s1")) is None
    assert acme.execute(benchmarks.get_latest_benchmark_run("missing")) is None
    runs = {run.id: run for run in (pending(acme, "r1"), pending(acme, "r2"), pending(acme, "r3"))}
    done = running(acme, "other", "a")
    acme.execute(benchmarks.record_benchmark_results("other", [case("a", 0, 90, 10)]))
    move = "UPDATE benchmark_runs SET created_at = %s, skill_id = %s WHERE id = %s RETURNING id"
    rows(addresses.admin, move, datetime(2031, 1, 1, tzinfo=UTC), "s2", done.id)
    for latest in ("r2", "r1", "r3"):
        for id in runs:
            rows(addresses.admin, move, datetime(2030 if id == latest else 2029, 1, 1, tzinfo=UTC), "s1", id)
        found = acme.execute(benchmarks.get_latest_benchmark_run("s1"))
        assert asdict(found) == asdict(runs[latest]) | {"created_at": datetime(2030, 1, 1, tzinfo=UTC), "results": []}
    # Starting and completing a run do not change its created_at.
    acme.execute(benchmarks.start_benchmark_run("r1"), benchmarks.complete_benchmark_run("r1"))
    assert acme.execute(benchmarks.get_latest_benchmark_run("s1")).id == "r3"
    assert acme.execute(benchmarks.get_latest_benchmark_run("s2")).id == "other"


def test_the_latest_run_is_the_run_that_was_completed_and_its_results(acme: Api) -> None:
    running(acme, "r1")
    acme.execute(benchmarks.record_benchmark_results("r1", [case("b", 0, 90, 10), case("a", 0, 80, 5)]))
    completed = acme.execute(benchmarks.complete_benchmark_run("r1"))
    latest = acme.execute(benchmarks.get_latest_benchmark_run("s1"))
    assert acme.execute(benchmarks.get_benchmark_run("r1")) == latest
    latest = asdict(latest)
    assert [r["model_name"] for r in latest.pop("results")] == ["a", "b"]
    assert latest == asdict(completed)


def test_times_of_results_are_right_in_a_session_of_another_time_zone(
    addresses: Addresses, acme: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    running(acme, "r1")
    acme.execute(benchmarks.record_benchmark_results("r1", [case("a", index) for index in range(4)]))
    fractions = (0, 100_000, 120_000, 123_000)  # JSON omits trailing zeros of the fraction
    expected = [datetime(2026, 1, 31, 23, 59, 59, fraction, tzinfo=UTC) for fraction in fractions]
    for index, at in enumerate(expected):
        rows(
            addresses.admin,
            "UPDATE benchmark_results SET created_at = %s WHERE test_case_index = %s RETURNING 1",
            at,
            index,
        )
    monkeypatch.setenv("PGTZ", "Asia/Kathmandu")
    with skilldb.connect(addresses.service) as db:
        for found in (
            db.tenant("acme").execute(benchmarks.get_latest_benchmark_run("s1")),
            acme.execute(benchmarks.get_latest_benchmark_run("s1")),
        ):
            assert found is not None
            assert [r.created_at for r in found.results] == expected


def test_models_are_compared_by_their_means_best_first(acme: Api) -> None:
    running(acme, "r1", *"gfedcba", "unused")
    assert acme.execute(benchmarks.compare_models("r1")) == []
    given = [
        # Quality 90.5, cost 0.5, tokens 2.5, latency 1.5. Three of four cases are judged, one matches.
        case("a", 0, 90, 0, total_tokens=2, latency_ms=1, matches_expected=True),
        case("a", 1, 91, 1, total_tokens=3, latency_ms=2, matches_expected=False),
        case("a", 2, matches_expected=False),
        case("a", 3, error_message="timeout"),
        # Above a by less than rounding shows.
        case("g", 0, 91, 10**13, total_tokens=10**9, latency_ms=2**31 - 1, matches_expected=True),
        case("g", 1, None, 10**13, total_tokens=10**9, latency_ms=2**31 - 1),
        # Of equal quality: the cheaper, then by name, then without a cost.
        *cases("b", (50, None)),
        *cases("e", (50, 2)),
        *cases("d", (50, 2)),
        *cases("f", (50, 1)),
        case("c", 0, None, 0, matches_expected=False),
    ]
    acme.execute(benchmarks.record_benchmark_results("r1", given))
    running(acme, "r2", "a")
    acme.execute(benchmarks.record_benchmark_results("r2", [case("a", 0, 1)]))

    # Model, cases, quality, cost, tokens, latency, share of matches.
    expected: list[tuple[Any, ...]] = [
        ("g", 2, 91, 10**13, 10**9, 2**31 - 1, 100),
        ("a", 4, 91, 1, 3, 2, 33),
        ("f", 1, 50, 1, None, None, None),
        ("d", 1, 50, 2, None, None, None),
        ("e", 1, 50, 2, None, None, None),
        ("b", 1, 50, None, None, None, None),
        ("c", 1, None, 0, None, None, 0),
    ]
    found = acme.execute(benchmarks.compare_models("r1"))
    assert [tuple(asdict(row).values()) for row in found] == expected
    assert {type(row) for row in found} == {ModelComparison}
    assert {type(value) for row in found for value in asdict(row).values()} == {str, int, type(None)}
    best = acme.execute(benchmarks.complete_benchmark_run("r1"))
    assert (best.best_model, best.best_quality_score) == (found[0].model_name, found[0].avg_quality_score)
    assert acme.execute(benchmarks.compare_models("r1")) == found


def test_the_share_as_expected_rounds_half_up(acme: Api) -> None:
    running(acme, "r1", "a", "b")
    judged = [
        *(case("a", index, matches_expected=index < 1) for index in range(8)),  # 12.5
        *(case("b", index, 1, matches_expected=index < 3) for index in range(8)),  # 37.5
    ]
    acme.execute(benchmarks.record_benchmark_results("r1", judged))
    assert [c.matches_expected_pct for c in acme.execute(benchmarks.compare_models("r1"))] == [38, 13]


def test_runs_are_listed_newest_first_page_by_page(addresses: Addresses, acme: Api) -> None:
    ways: tuple[list[str], ...] = (
        ["start", "complete"],
        [],
        ["start"],
        ["start", "fail"],
        ["start", "complete"],
        [],
        ["start", "complete"],
    )
    for number, steps in enumerate(ways, 1):
        pending(acme, f"r{number}", skill_id=f"s{1 + number % 2}")
        for step in steps:
            acme.execute(ACTIONS[step][1](f"r{number}"))
    # Three runs share a millisecond, and two share another. Their ids decide the order.
    rows(
        addresses.admin,
        "UPDATE benchmark_runs SET created_at = CASE "
        "WHEN id IN ('r2', 'r3', 'r6') THEN timestamptz '2026-01-02 00:00:00.123Z' "
        "WHEN id IN ('r1', 'r7') THEN '2026-01-01Z' WHEN id = 'r4' THEN '2026-01-03Z' "
        "ELSE '2025-01-01Z' END RETURNING 1",
    )
    filtered: list[tuple[dict[str, str], list[str]]] = [
        ({}, ["r4", "r6", "r3", "r2", "r7", "r1", "r5"]),
        ({"skill_id": "s2"}, ["r3", "r7", "r1", "r5"]),
        ({"status": "completed"}, ["r7", "r1", "r5"]),
        ({"skill_id": "s1", "status": "pending"}, ["r6", "r2"]),
        ({"status": "failed"}, ["r4"]),
        ({"status": "running"}, ["r3"]),
    ]
    for limit, (filters, expected) in product((1, 2, 3, 4, 6, 7, 8), filtered):
        found: list[BenchmarkRun] = []
        page = acme.execute(benchmarks.list_benchmark_runs(limit=limit, **filters))
        while page.after is not None:
            assert len(page.items) == limit
            found += page.items
            page = acme.execute(benchmarks.list_benchmark_runs(limit=limit, after=page.after, **filters))
        assert [run.id for run in found + page.items] == expected
    for run in acme.execute(benchmarks.list_benchmark_runs()).items:
        whole = acme.execute(benchmarks.get_benchmark_run(run.id))
        assert {name: getattr(whole, name) for name in BenchmarkRun.__slots__} == asdict(run)
    nothing: Page[Any] = Page(items=[], after=None)
    assert acme.execute(
        benchmarks.list_benchmark_runs(skill_id="missing"),
        benchmarks.list_benchmark_runs(status="unknown"),
        benchmarks.list_benchmark_runs(skill_id="s1", status="running"),
    ) == (nothing, nothing, nothing)
    for limit in (0, -1):
        with refused(addresses, InvalidValueError, f"limit must be at least 1, not {limit}"):
            acme.execute(benchmarks.list_benchmark_runs(limit=limit))
    with refused(addresses, InvalidValueError, "after", "'garbage'"):
        acme.execute(benchmarks.list_benchmark_runs(after="garbage"))


def test_the_leaderboard_averages_the_completed_runs_of_all_skills(addresses: Addresses, acme: Api) -> None:
    assert acme.execute(benchmarks.get_model_leaderboard()) == []
    given = {
        "r1": ("s1", [*cases("a", (90, 10), (91, 11)), case("b", 0, 50, 2, matches_expected=False)]),
        "r2": ("s2", [*cases("a", (90, None)), case("b", 0, 51, 1, total_tokens=3, matches_expected=True)]),
        "r3": ("s1", [case("c", 0, latency_ms=7), case("d", 0, 50, 1), case("e", 0, 50, 1)]),
        "failed": ("s1", cases("a", (1, 1))),
        "running": ("s1", cases("a", (1, 1))),
    }
    for id, (skill, results) in given.items():
        pending(acme, id, *"abcde", skill_id=skill)
        acme.execute(benchmarks.start_benchmark_run(id), benchmarks.record_benchmark_results(id, results))
        if id != "running":
            acme.execute((benchmarks.fail_benchmark_run if id == "failed" else benchmarks.complete_benchmark_run)(id))
    pending(acme, "pending", "a")

    # Model, runs, cases, quality, cost, tokens, latency, share of matches.
    expected: list[tuple[Any, ...]] = [
        ("a", 2, 3, 90, 11, None, None, None),
        ("b", 2, 2, 51, 2, 3, None, 50),
        ("d", 1, 1, 50, 1, None, None, None),
        ("e", 1, 1, 50, 1, None, None, None),
        ("c", 1, 1, None, None, None, 7, None),
    ]
    found = acme.execute(benchmarks.get_model_leaderboard())
    assert [
        (
            rank.model_name,
            rank.runs,
            rank.cases,
            rank.avg_quality_score,
            rank.avg_cost_microcents,
            rank.avg_total_tokens,
            rank.avg_latency_ms,
            rank.matches_expected_pct,
        )
        for rank in found
    ] == expected
    assert {type(rank) for rank in found} == {ModelRank}
    assert {type(value) for rank in found for value in asdict(rank).values()} == {str, int, type(None)}

    move = "UPDATE benchmark_runs SET created_at = now() - interval '3 days' WHERE id = 'r1' RETURNING 1"
    rows(addresses.admin, move)
    assert [(rank.model_name, rank.runs) for rank in acme.execute(benchmarks.get_model_leaderboard(2))] == [
        ("a", 1),
        ("b", 1),
        ("d", 1),
        ("e", 1),
        ("c", 1),
    ]
    assert acme.execute(benchmarks.get_model_leaderboard(days=4)) == found
    for days, message in ((0, "days must be at least 1"), (36_526, "days must be at most 36525")):
        with refused(addresses, InvalidValueError, message):
            acme.execute(benchmarks.get_model_leaderboard(days))


def test_the_leaderboard_ranks_one_run_as_comparing_its_models_does(acme: Api) -> None:
    running(acme, "r1", *"abcd")
    results = [*cases("a", (90, 10**13), (91, 10**13)), *cases("b", (90, 1), (91, 2)), case("c"), case("d", 0, None, 7)]
    acme.execute(benchmarks.record_benchmark_results("r1", results), benchmarks.complete_benchmark_run("r1"))
    compared, ranked = acme.execute(benchmarks.compare_models("r1"), benchmarks.get_model_leaderboard())
    assert ranked == [ModelRank(**asdict(model), runs=1) for model in compared]
    assert [rank.model_name for rank in ranked] == ["b", "a", "d", "c"]


# Deleting


def test_a_run_passes_to_the_successor_of_the_user_who_triggered_it_or_to_nobody(acme: Api) -> None:
    running(acme, "r1")
    before = acme.execute(benchmarks.complete_benchmark_run("r1"))
    assert before.triggered_by == "u1"
    for user, successor in (("u1", "u2"), ("u2", None)):
        assert acme.execute(users.delete_user(user, successor_id=successor)) == GONE
        after = acme.execute(benchmarks.get_latest_benchmark_run("s1"))
        assert {**asdict(after), "results": None} == {**asdict(before), "triggered_by": successor, "results": None}


def test_runs_and_results_go_with_their_skill(addresses: Addresses, acme: Api, api: Callable[[str], Api]) -> None:
    globex = api("globex")
    new_user(globex, "u1")
    new_skill(globex, "s1")
    pending(acme, "r1", skill_version_id=publish(acme, "s1"))
    acme.execute(benchmarks.start_benchmark_run("r1"))
    running(globex, "r1")
    pending(acme, "r2", skill_id="s2")
    acme.execute(benchmarks.start_benchmark_run("r2"))
    for tenant, run in ((acme, "r1"), (acme, "r2"), (globex, "r1")):
        tenant.execute(benchmarks.record_benchmark_results(run, [case("a"), case("b")]))

    assert acme.execute(skills.delete_skill("s1")) is True

    assert rows(addresses.admin, "SELECT tenant_id, id FROM benchmark_runs ORDER BY 1") == [
        ("acme", "r2"),
        ("globex", "r1"),
    ]
    assert rows(
        addresses.admin,
        "SELECT tenant_id, benchmark_run_id, count(*) FROM benchmark_results GROUP BY 1, 2 ORDER BY 1",
    ) == [("acme", "r2", 2), ("globex", "r1", 2)]
    before = contents(addresses.admin)
    assert acme.execute(benchmarks.get_latest_benchmark_run("s1"), benchmarks.compare_models("r1")) == (None, [])
    assert contents(addresses.admin) == before


# Races

Job = Callable[[], Any]
End = Callable[[Race, str], Job]
WRITERS = 8


@pytest.fixture
def race(addresses: Addresses) -> Iterator[Race]:
    with (
        psycopg.connect(addresses.admin, autocommit=True) as admin,
        ThreadPoolExecutor(WRITERS) as threads,
        skilldb.connect(addresses.service, min_size=WRITERS, max_size=WRITERS) as db,
    ):
        tenant = db.tenant("acme")
        tenant.execute(tenants.create_tenant("Acme", "acme"))
        new_user(tenant, "u1")
        new_skill(tenant, "s1")
        yield Race(acme=tenant, admin=admin, threads=threads)


def completing(race: Race, run_id: str) -> Job:
    return partial(race.acme.execute, benchmarks.complete_benchmark_run(run_id))


def failing(race: Race, run_id: str) -> Job:
    return partial(race.acme.execute, benchmarks.fail_benchmark_run(run_id))


def completing_what_was_read_as_running(race: Race, run_id: str) -> Job:
    right = benchmarks.complete_benchmark_run(run_id)
    unconditional = altered(right.steps[-1], ("AND id = %(run_id)s AND status = 'running'", "AND id = %(run_id)s"))

    def complete() -> BenchmarkRun:
        latest = race.acme.execute(benchmarks.get_latest_benchmark_run("s1"))
        if latest is None or latest.status != "running":
            raise InvalidTransitionError(f"run '{run_id}' is completed")
        return race.acme.execute(Statement(right.reader, unconditional))

    return complete


def ending_bursts(race: Race, *ends: End) -> Iterator[list[str]]:
    """Bursts of writers who end one run. One succeeds, and the others get an error with the run's status."""
    for n in count():
        running(race.acme, f"r{n}")
        outcomes = race.burst(*(end(race, f"r{n}") for end in ends))
        ended = [outcome for outcome in outcomes if isinstance(outcome, BenchmarkRun)]
        ((status,),) = race.rows(f"SELECT status FROM benchmark_runs WHERE id = 'r{n}'".encode())  # noqa: S608
        named = [str(o) for o in outcomes if isinstance(o, InvalidTransitionError) and f"'r{n}' is {status}" in str(o)]
        wrong = unexpected(outcomes, InvalidTransitionError)
        if [run.status for run in ended] != [status] or len(named) != len(ends) - 1:
            wrong.append(f"{len(ended)} winners and {len(named)} losers with the status {status}")
        yield wrong


def test_of_those_who_end_a_run_at_once_exactly_one_wins(race: Race) -> None:
    assert first_wrong(ending_bursts(race, *[completing] * 4, *[failing] * 4)) == ""


def test_of_two_who_complete_a_run_at_once_exactly_one_wins(race: Race) -> None:
    assert first_wrong(ending_bursts(race, completing, completing)) == ""


def test_completing_what_was_read_as_running_is_found_out(race: Race) -> None:
    assert "winners" in first_wrong(ending_bursts(race, *[completing_what_was_read_as_running] * WRITERS))


def recording_bursts(race: Race, complete: Callable[[str], Statement[BenchmarkRun]]) -> Iterator[list[str]]:
    """Bursts of writers who record results while the run completes. Every recorded result counts for its winners."""
    for n in count():
        run_id = f"r{n}"
        running(race.acme, run_id)
        outcomes = race.execute(
            *(benchmarks.record_benchmark_results(run_id, [case("a", index, 50, index)]) for index in range(1, 4)),
            complete(run_id),
            *(benchmarks.record_benchmark_results(run_id, [case("a", index, 50, index)]) for index in range(4, 8)),
        )
        wrong = unexpected(outcomes, InvalidTransitionError)
        ((run,),) = [[o for o in outcomes if isinstance(o, BenchmarkRun)]]
        compared = race.acme.execute(benchmarks.compare_models(run_id))
        costs = [model.avg_cost_microcents for model in compared] or [None]
        if costs != [run.cheapest_cost_microcents]:
            wrong.append(f"completed with a mean cost of {run.cheapest_cost_microcents}, recorded were {costs}")
        yield wrong


def completing_without_a_lock(run_id: str) -> Statement[BenchmarkRun]:
    right = benchmarks.complete_benchmark_run(run_id)
    return Statement(right.reader, right.steps[-1])


def test_results_recorded_while_a_run_is_completed_are_refused_or_have_a_part_in_it(race: Race) -> None:
    assert first_wrong(recording_bursts(race, benchmarks.complete_benchmark_run)) == ""


def test_completing_without_a_lock_is_found_out(race: Race) -> None:
    assert "completed with a mean cost" in first_wrong(recording_bursts(race, completing_without_a_lock))


Claim = Callable[[str], Statement[BenchmarkRun | None]]
RUNS = 5


def claiming_bursts(race: Race, claim: Claim) -> Iterator[list[str]]:
    """Bursts of workers who claim fewer runs than they are. Each run is claimed once, the oldest first."""
    for n in count():
        for number in range(RUNS):
            pending(race.acme, f"r{n}-{number}")
        outcomes = race.execute(*(claim(f"w{number}") for number in range(WRITERS)))
        wrong = unexpected(outcomes)
        claimed = {run.id: run.worker for run in outcomes if isinstance(run, BenchmarkRun)}
        stored = race.rows(f"SELECT id, worker FROM benchmark_runs WHERE id LIKE 'r{n}-%'".encode())  # noqa: S608
        winners = sum(isinstance(run, BenchmarkRun) for run in outcomes)
        if not wrong and (winners, claimed) != (RUNS, dict(stored)):
            wrong.append(f"{winners} claims of {len(claimed)} runs, but stored is {stored}")
        yield wrong


def claiming_what_was_read_as_pending(race: Race) -> Claim:
    def claim(worker: str) -> Statement[BenchmarkRun | None]:
        right = benchmarks.claim_benchmark_run(worker)
        return Statement(right.reader, altered(right.steps[0], ("FOR NO KEY UPDATE SKIP LOCKED", "")))

    return claim


def test_workers_who_claim_at_once_get_each_run_once(race: Race) -> None:
    assert first_wrong(claiming_bursts(race, benchmarks.claim_benchmark_run)) == ""


def test_claiming_without_a_lock_is_found_out(race: Race) -> None:
    assert "claims of" in first_wrong(claiming_bursts(race, claiming_what_was_read_as_pending(race)))


def requeueing_bursts(race: Race, requeue: Callable[[timedelta], Statement[int]]) -> Iterator[list[str]]:
    """Bursts of workers who write to their runs and claim others, while their runs are requeued.

    A run that is pending has neither worker nor results. The results of a run that runs are those of its worker.
    """
    race.acme.execute(benchmarks.requeue_stale_runs(timedelta(0)))
    for n in count():
        for number in range(2):
            pending(race.acme, f"r{n}-{number}")
        first, second = (race.acme.execute(benchmarks.claim_benchmark_run(f"old{n}")) for _ in range(2))
        assert first is not None
        assert second is not None
        outcomes = race.execute(
            *(
                benchmarks.record_benchmark_results(run.id, [case("a", index, index)], worker=f"old{n}")
                for index in (1, 2)
                for run in (first, second)
            ),
            requeue(timedelta(0)),
            requeue(timedelta(0)),
            benchmarks.claim_benchmark_run(f"new{n}"),
            benchmarks.claim_benchmark_run(f"new{n}"),
        )
        wrong = unexpected(outcomes, InvalidTransitionError)
        wrong += [
            f"the pending run {row} has a worker, a time or results"
            for row in race.rows(
                b"SELECT b.id, b.worker, b.started_at FROM benchmark_runs AS b WHERE b.status = 'pending' AND "
                b"(b.worker IS NOT NULL OR b.started_at IS NOT NULL OR EXISTS "
                b"(SELECT FROM benchmark_results AS r WHERE r.benchmark_run_id = b.id))"
            )
        ]
        wrong += [
            f"the run {row} of a new worker has results of the old one"
            for row in race.rows(
                b"SELECT b.id, b.worker FROM benchmark_runs AS b WHERE b.worker LIKE 'new%' AND EXISTS "
                b"(SELECT FROM benchmark_results AS r WHERE r.benchmark_run_id = b.id)"
            )
        ]
        taken = [run.id for run in outcomes if isinstance(run, BenchmarkRun)]
        requeued = sum(outcome for outcome in outcomes[4:6] if isinstance(outcome, int))
        if len(taken) > requeued:
            wrong.append(f"{taken} were claimed again, but {requeued} requeued")
        yield wrong
        while (left := race.acme.execute(benchmarks.claim_benchmark_run("end"))) is not None:
            race.acme.execute(benchmarks.fail_benchmark_run(left.id))
        for (id,) in race.rows(b"SELECT id FROM benchmark_runs WHERE status = 'running'"):
            race.acme.execute(benchmarks.fail_benchmark_run(id))


def requeueing_in_two_steps(older_than: timedelta) -> Statement[int]:
    """Deletes the results that were there when it began to look for stale runs."""
    right = benchmarks.requeue_stale_runs(older_than)
    take_back, delete, requeue = right.steps
    running_ones = altered(delete, ("b.status = 'pending' AND b.started_at IS NOT NULL", "b.status = 'running'"))
    return Statement(right.reader, running_ones, take_back, requeue)


def test_runs_that_are_requeued_while_their_worker_writes_stay_consistent(race: Race) -> None:
    assert first_wrong(requeueing_bursts(race, benchmarks.requeue_stale_runs)) == ""


def test_deleting_the_results_before_the_run_is_taken_back_is_found_out(race: Race) -> None:
    assert "results" in first_wrong(requeueing_bursts(race, requeueing_in_two_steps))
