"""What the benchmarks share: the server, interleaved rounds, ratios with their spread, and what a topic reports."""

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

# Of the server, beside PostgreSQL's defaults, fsync and full_page_writes among them.
SETTINGS = {
    "max_connections": "200",
    "shared_buffers": "4GB",
    "max_wal_size": "16GB",
    "checkpoint_timeout": "30min",
    "maintenance_work_mem": "512MB",
    # A commit does not wait for the disk, which every client would have to wait for alike: what is compared is the
    # work of client, network and server.
    "synchronous_commit": "off",
}


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some rounds' values, and their extremes."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{short(self.median)} ({short(self.least)}-{short(self.most)})"


def spread(values: Iterable[float]) -> Spread:
    """What is told of the rounds' values."""
    values = list(values)
    return Spread(statistics.median(values), min(values), max(values))


def ratio(above: Sequence[float], below: Sequence[float]) -> Spread:
    """How many times `below` goes into `above`, round by round."""
    return spread(a / b for a, b in zip(above, below, strict=True))


def short(value: float) -> str:
    """Three digits that count, thousands with a comma."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A row of the targets: what was measured, what it must reach, and whether it does."""

    work: str
    target: str
    measured: Spread | str
    met: bool
    why: str = ""
    """Why it is not met, where it is not."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a heading, the first column text and the others figures."""

    heading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """A file name, what it shows, and how to draw it."""

    name: str
    alt: str
    draw: Callable[[Axes], None]


@dataclass(slots=True)
class Topic:
    """What one file of this folder has found out."""

    title: str
    text: str
    checks: list[Check] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)


def at_least(work: str, target: float, measured: Spread, unit: str = "x", why: str = "") -> Check:
    """A check of a lower bound, by the median."""
    met = measured.median >= target
    return Check(work=work, target=f"at least {target:g}{unit}", measured=measured, met=met, why=why)


def at_most(work: str, target: float, measured: Spread, unit: str = "x", why: str = "") -> Check:
    """A check of an upper bound, by the median."""
    met = measured.median <= target
    return Check(work=work, target=f"at most {target:g}{unit}", measured=measured, met=met, why=why)


def interleaved(runs: Mapping[str, Callable[[], float]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """What each of `runs` returns, once a round, after a round that only warms up; the order turns with the round."""
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
    """The seconds that it takes."""
    start = perf_counter()
    work()
    return perf_counter() - start


@dataclass(frozen=True, slots=True)
class Bench:
    """The run at hand: its server's addresses, and whether it is the quick one."""

    admin_dsn: str
    owner_dsn: str
    service_dsn: str
    quick: bool
    random: random.Random

    def size(self, quick: Size, full: Size) -> Size:
        """How often or how much."""
        return quick if self.quick else full

    def admin(self) -> psycopg.Connection[tuple[object, ...]]:
        """The superuser's connection, for data; foreign keys are not checked on it."""
        return psycopg.connect(self.admin_dsn, autocommit=True, options="-c session_replication_role=replica")


@contextmanager
def server(quick: bool) -> Iterator[Bench]:
    """A new server in a folder that goes with it, migrated."""
    with tempfile.TemporaryDirectory(prefix="skilldb-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # Root's server runs as another user.
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
    """Host, port, user and database of a DSN, for clients that take them one by one."""
    given = conninfo_to_dict(dsn)
    return {name: str(given[name]) for name in ("host", "port", "user", "dbname")}


def say(text: str) -> None:
    """Tell whoever waits how far it is."""
    print(text, file=sys.stderr, flush=True)
