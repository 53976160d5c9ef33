"""The commands of a DBA for rollups and raw rows: check, rebuild, fold, prune."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from typing import Annotated, TypeVar

import typer

import skilldb
from skilldb.admin import drift, retention, rollups
from skilldb.cli.shared import Schema, app, err, out, owner_dsn, service_dsn
from skilldb.errors import InvalidValueError, NotFoundError, SkilldbError
from skilldb.models import MetricDrift, RollupDrift
from skilldb.repositories.retention import LEAST_DAYS
from skilldb.values import MAX_DAYS, bounded

T = TypeVar("T")

Organisation = Annotated[str | None, typer.Option("--tenant", metavar="ID", help="One organisation. Default: all.")]
Since = Annotated[
    datetime | None,
    typer.Option(formats=["%Y-%m-%d"], help="The first day of UTC to compare, to go on after an interruption."),
]
Age = Annotated[str | None, typer.Option(metavar="DAYS", help="The age in days, such as 400d. Older ones are deleted.")]


@contextmanager
def _organisations(tenant: str | None, schema: str | None) -> Iterator[list[skilldb.Tenant]]:
    """The organisation of that id, or all of them."""
    known = [id for id, _ in drift.list_tenants(owner_dsn(), schema=schema)]
    if tenant is not None and tenant not in known:
        raise NotFoundError(f"tenant {tenant!r} does not exist")
    with skilldb.connect(service_dsn(), schema=schema, statement_timeout=0) as db:
        yield [db.tenant(id) for id in (known if tenant is None else [tenant])]


def _each(organisations: list[skilldb.Tenant], work: Callable[[skilldb.Tenant], T]) -> tuple[list[T], int]:
    """The result of each organisation, and how many failed. An error in one is printed, and the next one is taken."""
    done, failed = [], 0
    for organisation in organisations:
        try:
            done.append(work(organisation))
        except SkilldbError as error:
            failed += 1
            err.print(f"{organisation.id}: {error}", markup=False, soft_wrap=True)
    return done, failed


@app.command()
def check(
    repair: Annotated[bool, typer.Option("--repair", help="Recompute what has drifted. Implies --raw.")] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="Also compare the rollups with the raw rows, day by day. Reads every row.")
    ] = False,
    since: Since = None,
    tenant: Organisation = None,
    schema: Schema = None,
) -> None:
    """Compare every organisation's counters and words for searches with its rows. Exit status 1: drift.

    Each line shows the organisation, the skill, the counter or average, the stored value and the value it should have;
    an average without rows is "-". A skill that searches do not find by its present words is a line with "search". With
    --raw a line shows the organisation, the day, the rollup, its key, the figure and both values. --repair first
    rebuilds the rollups that have drifted, and then recomputes the counters from them. The exit status is then 1 only
    if drift is left. Pruned raw rows are not reported as drift.
    """
    asked, raw = raw, raw or repair
    if since is not None and not (raw and tenant is not None):
        raise InvalidValueError("--since needs --raw and --tenant: it goes on with one organisation, day by day")
    counters: list[tuple[str, MetricDrift]] = []
    unfound: list[tuple[str, str]] = []

    def compare(organisation: skilldb.Tenant) -> tuple[int, int]:
        """The number of days with drift, and of days and counters with drift that is left."""
        days = _recount(organisation, since, repair=repair) if raw else 0
        found = list(drift.check([organisation], repair=repair))
        counters.extend(found)
        skills = drift.check_search(organisation, repair=repair)
        unfound.extend((organisation.id, skill_id) for skill_id in skills)
        if not repair:
            return days, days + len(found) + len(skills)
        left = sum(bool(day.drift) for day in rollups.recount(organisation, _day(since)))
        return days, left + len(list(drift.check([organisation]))) + len(drift.check_search(organisation))

    with _organisations(tenant, schema) as organisations:
        done, failed = _each(organisations, compare)
    for id, counter in counters:
        # Lines, not a table: a table would cut long ids, and a cut id cannot be looked up.
        stored, actual = ("-" if value is None else value for value in (counter.stored, counter.actual))
        line = f"{id} {counter.skill_id} {counter.metric} {stored} {actual}"
        out.print(line, markup=False, soft_wrap=True)
    for id, skill_id in unfound:
        out.print(f"{id} {skill_id} search", markup=False, soft_wrap=True)
    days, left = sum(days for days, _ in done), sum(left for _, left in done)
    drifted = f", {days} days of rollups drifted" if asked or days else ""
    drifted += f", {len(unfound)} skills not found by their words" if unfound else ""
    wrong = len(counters) + days + len(unfound)
    repaired = f" {wrong - left} repaired." if repair and wrong else ""
    out.print(f"{len(done)} organisations checked, {len(counters)} counters drifted{drifted}.{repaired}")
    if left or failed:
        raise typer.Exit(1)


@app.command("rebuild-rollups")
def rebuild_rollups(since: Since = None, tenant: Organisation = None, schema: Schema = None) -> None:
    """Rebuild the rollups of the days that differ from the raw rows, oldest day first. Others may write meanwhile.

    It prints each day when it is done. After an interruption go on with --tenant and --since, the organisation and the
    day that were printed last, and then with the organisations after it. Days before the horizon of `skilldb prune`
    stay as they are. So do the counters: `skilldb check` compares them with the rollups.
    """
    if since is not None and tenant is None:
        raise InvalidValueError("--since needs --tenant: it goes on with one organisation, day by day")
    with _organisations(tenant, schema) as organisations:
        days, failed = _each(
            organisations, lambda organisation: _recount(organisation, since, repair=True, progress=True)
        )
    out.print(f"{len(days)} organisations, {sum(days)} days rebuilt.")
    if failed:
        raise typer.Exit(1)


def _recount(organisation: skilldb.Tenant, since: datetime | None, *, repair: bool, progress: bool = False) -> int:
    """Print what has drifted. Returns the number of days with drift."""
    drifted = 0
    for day in rollups.recount(organisation, _day(since), repair=repair):
        for found in day.drift:
            out.print(f"{organisation.id} {_shown(found)}", markup=False, soft_wrap=True)
        if progress:
            out.print(f"{organisation.id} {day.day} done", markup=False, soft_wrap=True)
        drifted += bool(day.drift)
    return drifted


def _day(since: datetime | None) -> date | None:
    return None if since is None else since.date()


def _shown(found: RollupDrift) -> str:
    key = found.key if found.model_name is None else f"{found.key} {found.model_name}"
    return f"{found.day} {found.rollup} {key} {found.metric} {found.stored} {found.actual}"


@app.command()
def fold(tenant: Organisation = None, schema: Schema = None) -> None:
    """Add the pending uses to the rollups of tools and users. Run it every minute or so.

    Reports count pending uses too, so they are exact at any time, but reading many pending uses takes long.
    """
    with _organisations(tenant, schema) as organisations:
        rows, failed = _each(organisations, lambda organisation: sum(rollups.fold(organisation)))
    out.print(f"{len(rows)} organisations, {sum(rows)} rows folded.")
    if failed:
        raise typer.Exit(1)


@app.command()
def prune(
    events: Age = None,
    measurements: Age = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would be deleted; delete nothing.")] = False,
    tenant: Organisation = None,
    schema: Schema = None,
) -> None:
    """Delete usage events and token measurements by age. Counters, averages and reports stay as they are.

    The rows are deleted in small transactions beside other callers. It may be stopped at any time, and repeated. From
    then on events and measurements of an earlier time are refused, unless the caller passes backfill=True.
    docs/operations.md names the few answers that need raw rows.
    """
    event_days, measurement_days = _days("--events", events), _days("--measurements", measurements)
    if event_days is None and measurement_days is None:
        raise InvalidValueError("nothing to prune: give --events, --measurements or both, such as --events 400d")
    deleted = {"events": 0, "measurements": 0}

    def delete(organisation: skilldb.Tenant) -> None:
        if dry_run:
            rows = retention.count(organisation, event_days=event_days, measurement_days=measurement_days)
            deleted["events"] += rows.events
            deleted["measurements"] += rows.measurements
            return
        for done in retention.prune(organisation, event_days=event_days, measurement_days=measurement_days):
            deleted[done.kind] += done.rows
            out.print(f"{organisation.id} {done.rows} {done.kind} deleted", markup=False, soft_wrap=True)

    with _organisations(tenant, schema) as organisations:
        pruned, failed = _each(organisations, delete)
    verb = "would be deleted" if dry_run else "deleted"
    out.print(
        f"{len(pruned)} organisations, {deleted['events']} events and {deleted['measurements']} measurements {verb}."
    )
    if failed:
        raise typer.Exit(1)


def _days(option: str, age: str | None) -> int | None:
    if age is None:
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,5}d", age):
        raise InvalidValueError(f"{option} takes a number of days such as 400d, not {age!r}")
    return bounded(option, int(age[:-1]), LEAST_DAYS, MAX_DAYS)
