"""Writes what the topics found: performance.md, and its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

from benchmarks.harness import ROUNDS, Picture, Table, Topic

HEAD = """# How fast it is

Written by `make bench`, which measures skilldb beside what people would use instead: on one server, one schema, one
body of data, under the same isolation (a service role that the policies hold, the tenant set for the transaction),
each client through a connection pool of its own. Ratios are what counts. Each is the median of {rounds} interleaved
rounds or more, after one that only warms up, with the least and the most in brackets; a target is met by the median.

`make bench-quick` runs all of it in under two minutes on less data, into `.bench/`.
"""

PEERS = """## Who is compared

| client | what it does for one operation |
|---|---|
| skilldb, skilldb async | `execute` of one statement: one round trip |
| pgbench pipelined | `pgbench -M prepared`, tenant and query in one pipeline: the C client, hence the limit |
| pgbench, 4 trips | the same with BEGIN and COMMIT, each waited for |
| psycopg pipelined, also async | by hand: tenant and query in one pipeline with autocommit; dataclasses by class_row |
| psycopg, 4 trips | by hand: a transaction block; psycopg waits for BEGIN, tenant, query and COMMIT |
| asyncpg | `async with conn.transaction()`, tenant and query in it; its pool resets the session: a fifth trip |
| asyncpg, no reset | the same, its pool told not to |
| SQLAlchemy ORM | mapped classes on psycopg, a session a request; its own SQL |

All but the ORM run the SQL of `sql/`, prepared, and with the one session setting that skilldb makes for it
(`plan_cache_mode = force_generic_plan`).
"""

TAIL = """## Where we lose, and why

- **Against pgbench.** It is written in C, sends constants and throws the answers away. What lies between is Python:
  checking the parameters, the statement as a value, the pool, and reading the answers into dataclasses.
- **Where the server has much to do.** `get_whats_new_for_user` looks up each of the user's views. All clients wait for
  that alike, so the more views, the closer to 1 are the ratios of that operation over a Unix socket, and the further
  below 4 those over the network.
- **Async on one machine.** An event loop costs more than a blocking call; psycopg's async API by hand pays the same.
- **Batches against COPY.** COPY under row-level security is not allowed at all, so this is the price of isolation, of
  counting and of ids that may come twice. For a single event the three steps of the statement weigh most.
- **A thousand ids at once.** The server's share and psycopg's reading of the rows are in the table of that row.
- **A user with ten thousand views and no news.** The newest thousand skills say nothing then, and all of the user's
  views are looked up: in proportion to them.

## What was tried

- **One exchange in place of psycopg's cursors.** psycopg's pipeline sends after each `execute`, waits four times for a
  call of two queries, and makes a cursor with its type adapters for each. skilldb hands all of a call to libpq at once
  and waits for the answers once, with values as text, so that one prepared statement serves a query whichever of its
  values are None. By nothing but this, three operations were 1.43, 1.30 and 1.07 times as quick on a Unix socket, which
  is what puts skilldb ahead of psycopg pipelined by hand.
- **Plans.** With PostgreSQL's own choice (`plan_cache_mode = auto`) `get_whats_new_for_user` was planned anew for each
  call, which took longer than running it, or kept the plan of whoever came first on the connection, however many views
  the next one had. One generic plan for every query, and a query whose plan is right for all, is what is kept.
- **The newest skills first.** A thousand views and more are bounded since `get_whats_new_for_user` walks the newest
  thousand skills before it looks up all views.
- **A cursor in the index condition.** Under row-level security PostgreSQL uses only what it knows to be leakproof as an
  index condition, and `coalesce()` is not: page 1,000 read the 50,000 rows before it. In a subquery it does not.
- **Rows.** Models are read by filling their slots one by one, in half the time of psycopg's `class_row`. Results in
  binary were no quicker by more than a tenth, and only where there are many rows; not kept.
- **In place.** The index on `(user_id, last_viewed_at)` of user_skill_views, which no query used, and pages without
  room kept updates from being in place. It is gone, and skills and user_skill_views have a fill factor of 90.
"""


def write(folder: Path, topics: Sequence[Topic], machine: Sequence[str], *, quick: bool) -> None:
    """The page and its pictures; a quick run's page says that it is one."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [HEAD.format(rounds=ROUNDS)]
    if quick:
        lines += ["**A quick run: it shows that the benchmarks work. Its figures mean little.**", ""]
    lines += [*(f"- {line}" for line in machine), ""]
    lines += ["## What it must reach", "", "| work | must reach | measured | met |", "|---|---|---|---|"]
    for topic in topics:
        lines += [
            f"| {check.work} | {check.target} | {check.measured} | {'yes' if check.met else f'**no**: {check.why}'} |"
            for check in topic.checks
        ]
    lines += ["", PEERS]
    for topic in topics:
        lines += [f"## {topic.title}", "", topic.text, ""]
        for table in topic.tables:
            lines += _table(table)
        for picture in topic.pictures:
            _draw(folder / picture.name, picture)
            lines += [f"![{picture.alt}]({picture.name})", ""]
    (folder / "performance.md").write_text("\n".join([*lines, TAIL]), encoding="utf-8")


def _table(table: Table) -> list[str]:
    return [
        f"### {table.heading}",
        "",
        f"| {' | '.join(table.columns)} |",
        f"|---|{'---:|' * (len(table.columns) - 1)}",
        *(f"| {' | '.join(map(str, row))} |" for row in table.rows),
        "",
        *([table.note, ""] if table.note else []),
    ]


def _draw(path: Path, picture: Picture) -> None:
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(10, 5.5), layout="constrained")
    picture.draw(axes)
    axes.set_title(picture.alt)
    axes.grid(which="major", alpha=0.3)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
