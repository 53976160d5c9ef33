"""Times as the data grows: ratings and measurements of a skill, views of all users and of one, pages, ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psycopg
from matplotlib.axes import Axes

import skilldb
from benchmarks import data
from benchmarks.data import BIG, BIG_SKILLS, VIEWS_A_USER
from benchmarks.harness import (
    Bench,
    Check,
    Picture,
    Spread,
    Table,
    Topic,
    at_most,
    interleaved,
    ratio,
    say,
    spread,
    timed,
)
from benchmarks.peers import PLANS
from skilldb.models import NewTokenMeasurement
from skilldb.query import Step
from skilldb.repositories import ratings, skills, tokens, views
from skilldb.settings import SET_TENANT
from skilldb.statement import Statement

# The special skills and users of this topic. The ids of all others are numbers.
_RATINGS = """
INSERT INTO skills (tenant_id, id, name, slug, description, category, status)
VALUES ('big', 'rated-{n}', 'Rated', 'rated-{n}', 'It', 'testing', 'archived');
INSERT INTO ratings (tenant_id, skill_id, user_id, rating)
SELECT 'big', 'rated-{n}', u, 3 FROM generate_series(1, {n}) AS u;
UPDATE skills SET rating_count = {n}, rating_sum = 3 * {n}, average_rating = 300
WHERE tenant_id = 'big' AND id = 'rated-{n}';
"""
_MEASUREMENTS = """
INSERT INTO skills (tenant_id, id, name, slug, description, category, status)
VALUES ('big', 'measured-{n}', 'Measured', 'measured-{n}', 'It', 'testing', 'archived');
INSERT INTO token_measurements (
    tenant_id, skill_id, model_name, input_tokens, output_tokens, total_tokens, estimated_cost_microcents
)
SELECT 'big', 'measured-{n}', 'a model', 1000, 200, 1200, 600000 FROM generate_series(1, {n}) AS u;
UPDATE skills SET priced_measurement_count = {n}, token_cost_sum_microcents = 600000 * {n}::bigint,
    avg_token_cost_microcents = 600000
WHERE tenant_id = 'big' AND id = 'measured-{n}';
"""
_VIEWER = """
INSERT INTO users (tenant_id, id, email) VALUES ('big', 'viewer-{n}', 'viewer-{n}@example.com');
INSERT INTO user_skill_views (tenant_id, user_id, skill_id, last_viewed_version, last_viewed_at)
SELECT 'big', 'viewer-{n}', 1 + (k * 7919) % 100000, 3, now() - interval '20000 seconds'
FROM generate_series(1, {n}) AS k;
"""
# Change every second skill.
_HALF_CHANGED = """
UPDATE skills SET updated_at = date_trunc('milliseconds', now()) - abs(hashtext(id) % 10000) * interval '1 second'
WHERE tenant_id = 'big' AND id ~ '^[0-9]+$' AND id::integer % 2 = 0
"""
_NONE_CHANGED = "UPDATE user_skill_views SET last_viewed_at = now() WHERE tenant_id = 'big' AND user_id ~ '^viewer'"
# Move all changes but those of five hundred skills out of the last 30 days.
_FEW_IN_THE_DAYS = """
UPDATE skills SET updated_at = updated_at - interval '60 days'
WHERE tenant_id = 'big' AND id ~ '^[0-9]+$' AND id::integer > 500
"""

Times = Mapping[int, list[float]]


def run(bench: Bench) -> Topic:
    """Measure each at several sizes. The sizes take turns, if their data can exist at the same time."""
    rated = (10, 1_000, bench.size(10_000, 100_000))
    measured = (10, 10_000, bench.size(100_000, 1_000_000))
    table_sizes = bench.size((10_000, 100_000), (10_000, 100_000, 1_000_000, 10_000_000))
    own = (10, 100, 1_000, 10_000)
    for size, text in [
        *((n, _RATINGS) for n in rated),
        *((n, _MEASUREMENTS) for n in measured),
        *((n, _VIEWER) for n in own),
    ]:
        _fill(bench, text.replace("{n}", str(size)))
    with bench.admin() as conn:
        conn.execute(b"VACUUM (ANALYZE) ratings, token_measurements, user_skill_views, skills, users")
    with skilldb.connect(bench.service_dsn, max_size=1) as db:
        big = db.tenant(BIG)
        by_id = _by_size(bench, big, (1, 10, 100, 1_000), _views_of_many(bench), 20, 200)
        rate = _by_size(
            bench, big, rated, lambda n: ratings.rate_skill(str(bench.random.randint(1, n)), f"rated-{n}", 4)
        )
        measure = _by_size(
            bench,
            big,
            measured,
            lambda n: tokens.record_token_measurement(
                NewTokenMeasurement(skill_id=f"measured-{n}", model_name="a model", input_tokens=1, output_tokens=1)
            ),
        )
        by_hand = _ids_by_hand(bench)
        in_server = _ids_in_server(bench)
        pages = _pages(bench, big)
        table_times = _as_the_table_grows(bench, big, table_sizes)
        few = _by_size(bench, big, own, _whats_new, 5, 40)
        _fill(bench, _HALF_CHANGED)
        with bench.admin() as conn:
            conn.execute(b"VACUUM (ANALYZE) skills")
        half = _by_size(bench, big, own, _whats_new, 5, 40)
        half_table = _by_size(bench, big, (table_sizes[-1],), _whats_new_for_some(bench, table_sizes[-1]), 10, 100)
        _fill(bench, _NONE_CHANGED)
        none = _by_size(bench, big, own, _whats_new, 5, 40)
        _fill(bench, _FEW_IN_THE_DAYS)
        with bench.admin() as conn:
            conn.execute(b"VACUUM (ANALYZE) skills")
        quiet = _by_size(bench, big, own, _whats_new, 5, 40)
    own_views = {
        "one skill in a hundred has changed": few,
        "half of all skills have changed": half,
        "no skill has changed": none,
        "no skill has changed since the views, and 500 in the last 30 days": quiet,
    }
    ids = spread(seconds / 1_000 * 1e6 for seconds in by_id[1_000])
    return Topic(
        "As the data grows",
        f"An organisation of {BIG_SKILLS:,} skills and 100,000 users, one connection over a Unix socket. The targets "
        "compare the time of the largest size with that of the smallest, round by round.",
        [
            at_most(f"rate_skill, {rated[-1]:,} ratings on the skill against {rated[0]}", 1.3, _last(rate)),
            at_most(
                f"record_token_measurement, {measured[-1]:,} measurements on the skill against {measured[0]}",
                1.3,
                _last(measure),
            ),
            at_most(
                f"get_whats_new_for_user, {table_sizes[-1]:,} views in the table against {table_sizes[0]:,}",
                1.5,
                _last(table_times),
            ),
            *_own_views_checks(own_views),
            at_most(
                "get_whats_new_for_user, 10,000 views of the user, no skill has changed, 100,000 in the last 30 days",
                5,
                _milliseconds(none[10_000]),
                " ms",
                why="no index may contain last_viewed_at, so the server reads all views of the user; only comparing "
                "each view with its skill shows that no version rose",
            ),
            at_most(
                "get_whats_new_for_user, 10,000 views of the user, no skill has changed, 500 in the last 30 days",
                5,
                _milliseconds(quiet[10_000]),
                " ms",
            ),
            at_most(
                "get_user_views_for_skills, 1,000 ids in one round trip: microseconds per id",
                3,
                ids,
                " us",
                why="PostgreSQL takes less than that, but psycopg takes more to read a thousand rows as tuples, and "
                "dataclasses take time in addition (figures below); binary results and other ways to fill dataclasses "
                "were tried",
            ),
            at_most("list_skills, page 1,000 against page 1", 1.3, ratio(pages[1_000], pages[1])),
        ],
        [
            _table("rate_skill", "ratings on the skill", rate),
            _table("record_token_measurement", "measurements on the skill", measure),
            _table("get_whats_new_for_user, 100 views per user", "views in the table", table_times),
            _table(
                "get_whats_new_for_user, 100 views per user, half of all skills changed",
                "views in the table",
                half_table,
            ),
            *(
                _table(f"get_whats_new_for_user, {what}", "views of the user", times)
                for what, times in own_views.items()
            ),
            _table("get_user_views_for_skills", "ids", by_id),
            Table(
                "1,000 ids: where the time goes",
                ["", "us per id"],
                [
                    ["the server alone, from EXPLAIN ANALYZE", spread(in_server)],
                    ["hand-written psycopg with a pipeline, rows as tuples", spread(by_hand)],
                    ["skilldb, a dict of dataclasses", ids],
                ],
            ),
            _table("list_skills, 50 of 100,000 skills per page", "page", pages),
        ],
        [
            Picture(
                "growth.png",
                "milliseconds by the number of rows",
                lambda axes: draw(
                    axes,
                    {
                        "rate_skill, ratings on the skill": rate,
                        "record_token_measurement, measurements on the skill": measure,
                        "get_whats_new_for_user, views in the table": table_times,
                        "get_user_views_for_skills, ids": by_id,
                        "list_skills, page": pages,
                    },
                    "rows, ids or page",
                ),
            ),
            Picture(
                "whats_new.png",
                "milliseconds of get_whats_new_for_user by the number of the user's views",
                lambda axes: draw(axes, own_views, "views of the user"),
            ),
        ],
    )


def _by_size(
    bench: Bench,
    tenant: skilldb.Tenant,
    sizes: Sequence[int],
    build: Callable[[int], Statement[Any]],
    quick: int = 20,
    full: int = 300,
) -> Times:
    """Seconds of one execute, by size. The sizes take turns."""
    count = bench.size(quick, full)

    def some(size: int) -> float:
        statements = [build(size) for _ in range(count)]
        return timed(lambda: [tenant.execute(statement) for statement in statements]) / count

    found = interleaved({str(size): lambda size=size: some(size) for size in sizes})  # type: ignore[misc]
    return {size: found[str(size)] for size in sizes}


def _views_of_many(bench: Bench) -> Callable[[int], Statement[Any]]:
    seen = [str(1 + (k * 7919) % BIG_SKILLS) for k in range(1, 10_001)]
    return lambda n: views.get_user_views_for_skills("viewer-10000", bench.random.sample(seen, n))


def _ids_by_hand(bench: Bench) -> list[float]:
    """Microseconds per id with hand-written psycopg, for 1,000 ids."""
    build = _views_of_many(bench)
    with psycopg.connect(bench.service_dsn, autocommit=True, options=PLANS) as conn:

        def fetch(step: Step) -> object:
            with conn.pipeline():
                conn.execute(SET_TENANT, {"tenant_id": BIG})
                cursor = conn.execute(step.query.sql, {**step.params, "tenant_id": BIG})
            return cursor.fetchall()

        def some() -> float:
            steps = [build(1_000).steps[0] for _ in range(bench.size(20, 200))]
            return timed(lambda: [fetch(step) for step in steps]) / len(steps) / 1_000 * 1e6

        return interleaved({"by hand": some})["by hand"]


def _ids_in_server(bench: Bench) -> list[float]:
    """Microseconds per id that PostgreSQL itself takes for the prepared query, for 1,000 ids."""
    build = _views_of_many(bench)
    (step,) = build(1_000).steps
    prepared = b"PREPARE ids AS " + step.query.numbered
    run = b"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) EXECUTE ids (%s, %s, %s)"
    with psycopg.connect(bench.service_dsn, autocommit=True, options=PLANS) as conn:
        conn.execute(prepared)
        conn.execute(SET_TENANT.replace(b"true", b"false"), {"tenant_id": BIG})

        def measured() -> float:
            params = {**build(1_000).steps[0].params, "tenant_id": BIG}
            found = psycopg.ClientCursor(conn).execute(run, [params[name] for name in step.query.types]).fetchone()
            assert found is not None
            return float(found[0][0]["Execution Time"])

        return interleaved({"in the server": lambda: spread(measured() for _ in range(20)).median})["in the server"]


def _whats_new(size: int) -> Statement[Any]:
    return views.get_whats_new_for_user(f"viewer-{size}")


def _whats_new_for_some(bench: Bench, size: int) -> Callable[[int], Statement[Any]]:
    """For a hundred users at any size: more users would read more rows, whatever the size of the table."""
    some = bench.random.sample(range(1, size // VIEWS_A_USER + 1), 100)
    return lambda _: views.get_whats_new_for_user(str(bench.random.choice(some)))


def _as_the_table_grows(bench: Bench, tenant: skilldb.Tenant, sizes: Sequence[int]) -> Times:
    """Measure size after size. They cannot take turns, because they share one table."""
    times: dict[int, list[float]] = {}
    users = 0
    for size in sizes:
        data.load_views(bench, users + 1, size // VIEWS_A_USER)
        users = size // VIEWS_A_USER
        times |= _by_size(bench, tenant, (size,), _whats_new_for_some(bench, size), 50, 300)
    return times


def _pages(bench: Bench, tenant: skilldb.Tenant) -> Times:
    """Page 1 and page 1,000 of all skills. Reading the pages between gives the cursor."""
    say("  1,000 pages")
    cursors: list[str | None] = [None]
    for _ in range(999):
        cursors.append(tenant.execute(skills.list_skills(after=cursors[-1])).after)
    assert cursors[-1] is not None
    return _by_size(bench, tenant, (1, 1_000), lambda page: skills.list_skills(after=cursors[page - 1]), 20, 100)


def _own_views_checks(times: Mapping[str, Times]) -> list[Check]:
    """Up to a thousand views, the time grows less than the number of views. Above, it does not grow."""
    checks = []
    for what, by_size in list(times.items())[:2]:
        checks.append(
            at_most(
                f"get_whats_new_for_user, 1,000 views of the user against 10, {what}",
                100,
                ratio(by_size[1_000], by_size[10]),
            )
        )
        checks.append(
            at_most(
                f"get_whats_new_for_user, 10,000 views of the user against 1,000, {what}",
                1.5,
                ratio(by_size[10_000], by_size[1_000]),
            )
        )
    return checks


def _milliseconds(seconds: Sequence[float]) -> Spread:
    return spread(s * 1000 for s in seconds)


def _last(times: Times) -> Spread:
    sizes = sorted(times)
    return ratio(times[sizes[-1]], times[sizes[0]])


def _fill(bench: Bench, sql: str) -> None:
    say(f"  {sql.strip().splitlines()[0][:60]} ... {timed(lambda: _execute(bench, sql)):.1f} s")


def _execute(bench: Bench, sql: str) -> None:
    with bench.admin() as conn:
        conn.execute(sql.encode())


def _table(what: str, unit: str, times: Times) -> Table:
    smallest = min(times)
    return Table(
        what,
        [unit, "ms", f"against {smallest:,}"],
        [
            [f"{size:,}", spread(s * 1000 for s in found), ratio(found, times[smallest])]
            for size, found in times.items()
        ],
    )


def draw(axes: Axes, lines: Mapping[str, Times], unit: str) -> None:
    """Draw one line for each, with logarithmic axes."""
    for name, times in lines.items():
        found = {size: spread(s * 1000 for s in seconds) for size, seconds in times.items()}
        axes.plot(list(found), [each.median for each in found.values()], marker="o", label=name)
        axes.fill_between(list(found), [e.least for e in found.values()], [e.most for e in found.values()], alpha=0.2)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(unit)
    axes.set_ylabel("milliseconds")
    axes.legend(fontsize=8)
