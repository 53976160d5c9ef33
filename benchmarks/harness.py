"""Shared by the benchmarks: the server, interleaved rounds, ratios with their spread, and a topic's report."""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from skilldb.admin import migrate
from skilldb.dev import embedded

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Size = TypeVar("Size")

ROUNDS = 5

# Settings of the server. All others, such as fsync and full_page_writes, have PostgreSQL's defaults.
SETTINGS = {
    "max_connections": "200",
    "shared_buffers": "4GB",
    "max_wal_size": "16GB",
    "checkpoint_timeout": "30min",
    "maintenance_work_mem": "512MB",
    # The benchmarks compare the work of client, network and server. Waiting for the disk at COMMIT would take equally
    # long for all clients. libpq.py alone measures with it too.
    "synchronous_commit": "off",
}


@dataclass(frozen=True, slots=True)
class Spread:
    """The median, lowest and highest value of some rounds."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{short(self.median)} ({short(self.least)}-{short(self.most)})"


def spread(values: Iterable[float]) -> Spread:
    """The spread of the rounds' values."""
    values = list(values)
    return Spread(statistics.median(values), min(values), max(values))


def ratio(above: Sequence[float], below: Sequence[float]) -> Spread:
    """`above` divided by `below`, round by round."""
    return spread(a / b for a, b in zip(above, below, strict=True))


def short(value: float) -> str:
    """The number with three significant digits and a comma for thousands."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A row of the targets: what was measured, its target, and whether it meets it."""

    work: str
    target: str
    measured: Spread | str
    met: bool
    why: str = ""
    """The reason, if the target is not met."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a heading. The first `texts` columns are text, the others figures."""

    heading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""
    texts: int = 1


@dataclass(frozen=True, slots=True)
class Picture:
    """A file name, what it shows, and how to draw it."""

    name: str
    alt: str
    draw: Callable[[Axes], None]


@dataclass(slots=True)
class Topic:
    """The results of one file of this folder."""

    title: str
    text: str
    checks: list[Check] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    page: str = "performance.md"
    """The file that the topic is written to. A page of its own has the topic's title and text at its top."""


def at_least(work: str, target: float, measured: Spread, unit: str = "x", why: str = "") -> Check:
    """A check of a lower bound, by the median."""
    met = measured.median >= target
    return Check(work=work, target=f"at least {target:g}{unit}", measured=measured, met=met, why=why)


def at_most(work: str, target: float, measured: Spread, unit: str = "x", why: str = "") -> Check:
    """A check of an upper bound, by the median."""
    met = measured.median <= target
    return Check(work=work, target=f"at most {target:g}{unit}", measured=measured, met=met, why=why)


def interleaved(runs: Mapping[str, Callable[[], float]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Run each of `runs` once per round, after a warm-up round. Each round starts with another one."""
    names = list(runs)
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            value = runs[name]()
            if number:
                found[name].append(value)
    return found


def timed(work: Callable[[], object]) -> float:
    """The seconds that `work` takes."""
    start = perf_counter()
    work()
    return perf_counter() - start


@dataclass(frozen=True, slots=True)
class Bench:
    """The current run: the addresses of its server, and whether it is a quick run."""

    admin_dsn: str
    owner_dsn: str
    service_dsn: str
    quick: bool
    random: random.Random

    def size(self, quick: Size, full: Size) -> Size:
        """The size or count for this run."""
        return quick if self.quick else full

    def admin(self) -> psycopg.Connection[tuple[object, ...]]:
        """A superuser's connection for loading data, without foreign-key checks."""
        return psycopg.connect(self.admin_dsn, autocommit=True, options="-c session_replication_role=replica")


@contextmanager
def server(quick: bool) -> Iterator[Bench]:
    """Start a new server in a temporary folder, and migrate its database."""
    with tempfile.TemporaryDirectory(prefix="skilldb-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # As root, the server runs as another user.
        started = embedded.start(folder)
        with psycopg.connect(started.admin_dsn, autocommit=True) as conn:
            for setting, value in SETTINGS.items():
                conn.execute(f"ALTER SYSTEM SET {setting} = '{value}'".encode())
        embedded.stop(folder)
        try:
            started = embedded.start(folder)
            list(migrate.migrate(started.owner_dsn))
            yield Bench(
                make_conninfo(started.admin_dsn, dbname="skilldb"),
                started.owner_dsn,
                started.service_dsn,
                quick,
                random.Random(1),
            )
        finally:
            embedded.stop(folder)


def address(dsn: str) -> dict[str, str]:
    """Host, port, user and database of a DSN, for clients that take them separately."""
    given = conninfo_to_dict(dsn)
    return {name: str(given[name]) for name in ("host", "port", "user", "dbname")}


def say(text: str) -> None:
    """Print the progress."""
    print(text, file=sys.stderr, flush=True)
