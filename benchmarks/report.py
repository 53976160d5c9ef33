"""Writes the results of the topics: performance.md and its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

from benchmarks.harness import ROUNDS, Picture, Table, Topic

PAGE = "performance.md"

HEAD = """# How fast it is

`make bench` writes this page. It compares skilldb with the libraries that a service could use instead. All clients use
the same server, schema and data, and the same protection: a service role that is subject to row-level security, and the
tenant set for the transaction. Each client has its own connection pool.

Compare the ratios, not the absolute figures. Each figure is the median of at least {rounds} interleaved rounds, after
one warm-up round. The lowest and the highest value are in brackets. A target counts as met if the median meets it.

`make bench-quick` runs the same on less data in under two minutes, and writes to `.bench/`.
"""

PEERS = """## The clients

| client | what it does for one operation |
|---|---|
| skilldb, skilldb async | `execute` of one statement: one round trip |
| pgbench pipelined | `pgbench -M prepared`, tenant and query in one pipeline. It is written in C and shows the limit |
| pgbench, 4 trips | the same with BEGIN and COMMIT; pgbench waits for each answer |
| psycopg pipelined, also async | hand-written: tenant and query in one pipeline, autocommit; models by `class_row` |
| psycopg, 4 trips | hand-written: a transaction block; psycopg waits for BEGIN, tenant, query and COMMIT |
| asyncpg | `async with conn.transaction()` around tenant and query; a fifth round trip resets the session |
| asyncpg, no reset | the same, but its pool does not reset the session |
| SQLAlchemy ORM | mapped classes on psycopg, one session per request; its own SQL |

All clients except the ORM run the SQL of `sql/` as prepared statements, with the session setting that skilldb uses
(`plan_cache_mode = force_generic_plan`).
"""

TAIL = """## Where skilldb is slower, and why

- **Against pgbench.** pgbench is written in C, sends constants and discards the answers. The difference is Python's
  work: checking parameters, building the statement, borrowing a connection, and reading answers into dataclasses.
- **Where the server does most of the work.** `get_whats_new_for_user` looks up each of the user's views, and all
  clients wait equally long for it. With more views, its ratios over a Unix socket approach 1. Its ratios over the
  network fall further below 4.
- **Async on one machine.** An event loop costs more than a blocking call. Hand-written code on psycopg's async API
  has the same cost.
- **Batches against COPY.** COPY FROM is not allowed under row-level security. The difference is the cost of
  isolation, of counting, and of accepting an id twice. For a single event, the three steps of the statement cost
  most.
- **A thousand ids at once.** The table "1,000 ids" shows how much of the time the server takes, and how much psycopg
  takes to read the rows.
- **A user with ten thousand views and no changed skills.** If more than a thousand skills changed within the days of
  the call, the newest thousand decide nothing. The query then compares all of the user's views with their skills, and
  its time grows with their number.

## What was tried

- **One exchange in place of psycopg's cursors.** psycopg's pipeline sends after each `execute`, and waits four times
  for a call of two queries. It also makes a cursor with its type adapters for each query. skilldb passes all messages
  of a call to libpq at once and waits for the answers once. It sends values as text, so one prepared statement serves
  a query, whichever of its values are None. This change alone made three operations 1.43, 1.30 and 1.07 times as fast
  on a Unix socket. Because of it, skilldb is faster than hand-written psycopg with a pipeline.
- **A wait and a pool of its own.** The client's part of increment_skill_uses, in instructions counted by valgrind, fell
  from 248,600 to 182,600; bare libpq calls take 44,100. skilldb waits with poll() and reads libpq's results itself. A
  free connection is taken and put back without psycopg_pool's bookkeeping.
- **The settings of a call.** A call that sets the tenant alone and does nothing else took 30.9 microseconds, and 42.0
  with all nine settings. To set four of them only where `current_setting()` differs took 44.5. Not kept.
- **Plans.** With `plan_cache_mode = auto`, PostgreSQL chooses between two plans for `get_whats_new_for_user`. One is
  made anew for each call, which took longer than running the query. The other is kept from the first call on the
  connection, and did not suit users with more views. Kept: one generic plan for each query, and a query for which one
  plan suits all users.
- **The newest skills first.** `get_whats_new_for_user` reads the newest thousand skills before it looks up all views.
  This limits its time for users with a thousand views and more. If these are all skills that changed within the days of
  the call, it stops there.
- **All views at once.** If it must compare all views, it finds their skills with one scan of an index that holds all
  compared columns, and joins both by a hash table. One probe of `skills` per view took twice as long.
- **A summary of a user's views.** A time before which the user has seen all changes would spare the reading of the
  views. An index with `last_viewed_at` would give it, but would prevent updates in place. The time would also not
  suffice: a version may commit long after the time that it carries.
- **A cursor in the index condition.** Under row-level security, PostgreSQL uses only leakproof functions in an index
  condition. `coalesce()` is not leakproof, so page 1,000 read the 50,000 rows before it. Inside a subquery,
  `coalesce()` does not prevent the use of the index.
- **Rows.** skilldb fills the slots of a model one by one, in half the time of psycopg's `class_row`. Results in
  binary format were at most a tenth faster, and only with many rows. They were not kept.
- **Updates in place.** Updates were not in place for two reasons. Pages were full, and user_skill_views had an index
  on `(user_id, last_viewed_at)`. No query used the index, so it was dropped. skills and user_skill_views now have a
  fill factor of 90.
"""


def write(folder: Path, topics: Sequence[Topic], machine: Sequence[str], *, quick: bool) -> None:
    """Write performance.md with its pictures, and the topics that have pages of their own. A quick run says so."""
    folder.mkdir(parents=True, exist_ok=True)
    warning = ["**This was a quick run. It shows that the benchmarks work; do not use its figures.**", ""]
    how = [*(warning if quick else []), *(f"- {line}" for line in machine), ""]
    together = [topic for topic in topics if topic.page == PAGE]
    for topic in topics:
        if topic.page != PAGE:
            lines = [f"# {topic.title}", "", topic.text, *how, *_body(folder, topic, level=2)]
            (folder / topic.page).write_text("\n".join(lines), encoding="utf-8")
    if not together:
        return
    lines = [HEAD.format(rounds=ROUNDS), *how]
    lines += ["## Targets", "", "| work | target | measured | met |", "|---|---|---|---|"]
    for topic in together:
        lines += [
            f"| {check.work} | {check.target} | {check.measured} | {'yes' if check.met else f'**no**: {check.why}'} |"
            for check in topic.checks
        ]
    lines += ["", PEERS]
    for topic in together:
        lines += [f"## {topic.title}", "", topic.text, "", *_body(folder, topic, level=3)]
    (folder / PAGE).write_text("\n".join([*lines, TAIL]), encoding="utf-8")


def _body(folder: Path, topic: Topic, *, level: int) -> list[str]:
    """The tables and pictures of a topic; `level` is that of its headings."""
    lines = [line for table in topic.tables for line in _table(table, level)]
    for picture in topic.pictures:
        _draw(folder / picture.name, picture)
        lines += [f"![{picture.alt}]({picture.name})", ""]
    return lines


def _table(table: Table, level: int) -> list[str]:
    return [
        f"{'#' * level} {table.heading}",
        "",
        f"| {' | '.join(table.columns)} |",
        f"|{'---|' * table.texts}{'---:|' * (len(table.columns) - table.texts)}",
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
