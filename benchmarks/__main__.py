"""Runs all benchmarks on one server, and writes performance.md and its pictures into the given folder."""

from __future__ import annotations

import argparse
import platform
import subprocess
import warnings
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

import psycopg

from benchmarks import (
    batches,
    clients,
    counters,
    crowd,
    data,
    footprint,
    growth,
    inplace,
    libpq,
    network,
    questions,
    report,
    rollups,
)
from benchmarks.harness import SETTINGS, Bench, say, server

TOPICS = {
    topic.__name__.rpartition(".")[2]: topic
    for topic in (clients, libpq, network, crowd, batches, counters, inplace, growth, rollups, questions, footprint)
}
LIBRARIES = ("psycopg", "psycopg-pool", "asyncpg", "SQLAlchemy")


def main() -> None:
    """Run the benchmarks."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="smaller sizes and counts: shows that the benchmarks work, not their figures",
    )
    parser.add_argument("--topic", action="append", choices=TOPICS, help="run only this topic; may be repeated")
    parser.add_argument("folder", type=Path, help="folder for performance.md and its pictures")
    arguments = parser.parse_args()
    warnings.simplefilter("error")
    start = perf_counter()
    topics = []
    with server(arguments.quick) as bench:
        data.load_small(bench)
        data.load_big(bench)
        for name in arguments.topic or TOPICS:
            say(f"{perf_counter() - start:4.0f} s: {name}")
            topics.append(TOPICS[name].run(bench))
            for check in topics[-1].checks:
                say(f"    {check.work}: {check.measured}, {check.target}{'' if check.met else ': NOT MET'}")
        machine = describe(bench)
    minutes = (perf_counter() - start) / 60
    say(f"{minutes:.1f} minutes")
    report.write(arguments.folder, topics, [*machine, f"{minutes:.1f} minutes in total"], quick=arguments.quick)


def describe(bench: Bench) -> list[str]:
    """The time of the run, the machine and the versions."""
    with psycopg.connect(bench.admin_dsn) as conn:
        postgres = conn.info.parameter_status("server_version")
        fsync = conn.execute(b"SELECT current_setting('fsync'), current_setting('full_page_writes')").fetchone()
    assert fsync is not None
    settings = ", ".join(f"{name} = {value}" for name, value in SETTINGS.items())
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {_commit()}",
        f"{_processor()}, {_cores()}, {platform.system()} {platform.release()}",
        f"PostgreSQL {postgres} on the same machine; fsync = {fsync[0]}, full_page_writes = {fsync[1]}, {settings}",
        f"Python {platform.python_version()}, {libraries}, libpq {psycopg.pq.version()} ({psycopg.pq.__impl__})",
    ]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _cores() -> str:
    import psutil

    return f"{psutil.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GB"


def _commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
