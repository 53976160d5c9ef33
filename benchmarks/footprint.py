"""The cost of the package itself: the time of its import, and the memory that much data takes."""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.data import BIG, SKILLS, SMALL, USERS
from benchmarks.harness import Bench, Check, Table, Topic, at_most, interleaved, ratio, say, spread

BATCH = 1_000

_IMPORT = """
from time import perf_counter
start = perf_counter()
import {modules}
print(perf_counter() - start)
"""

# Peak resident memory in MB, minus its value after importing and connecting. Not from getrusage: on Linux its value
# starts with that of the parent process.
_PEAK = """
import os, uuid
from itertools import islice
dsn, count, tenant_id = os.environ["DSN"], int(os.environ["COUNT"]), os.environ["TENANT"]
def peak(): return int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) / 1024
def events(make):
    for n in range(count):
        make_id = str(uuid.UUID(int=uuid.uuid4().int))
        yield make(tool_name="editor", skill_id=str(1 + n % %(skills)d), user_id=str(1 + n % %(users)d), id=make_id)
def batches(rows):
    while batch := list(islice(rows, %(batch)d)):
        yield batch
%(body)s
print(peak() - before)
"""
_SKILLDB = """
import skilldb
from skilldb.models import NewUsageEvent
from skilldb.repositories import skills, usage
db = skilldb.connect(dsn)
tenant = db.tenant(tenant_id)
tenant.execute(skills.list_skills(limit=1))
before = peak()
"""
_BY_HAND = """
from psycopg_pool import ConnectionPool
from skilldb import queries
pool = ConnectionPool(dsn, min_size=1, open=True)
SET = "SELECT set_config('app.current_tenant_id', %s, true)"
with pool.connection() as conn:
    conn.execute(SET, (tenant_id,)).fetchall()
before = peak()
"""
_RECORD = """
for batch in batches(events(NewUsageEvent)):
    tenant.execute(usage.record_usage_events(batch))
"""
_RECORD_BY_HAND = """
lock_users, lock_skills, record = (
    queries.load("usage")[name].sql for name in ("lock_users_of_events", "lock_skills_of_events", "record_usage_events")
)
for batch in batches(events(dict)):
    params = {name: [row.get(name) for row in batch] for name in
        ("id", "tool_name", "skill_id", "user_id", "metadata", "created_at")} | {"tenant_id": tenant_id}
    with pool.connection() as conn:
        conn.execute(SET, (tenant_id,))
        for sql in (lock_users, lock_skills, record):
            conn.execute(sql, params).fetchall()
"""
_READ = """
found = tenant.execute(skills.list_skills(limit=count)).items
assert len(found) == count
"""
_READ_BY_HAND = """
sql = queries.load("skills")["list_skills"].sql
params = {"tenant_id": tenant_id, "status": "published", "category": None, "tag": None, "limit": count,
    "after_updated_at": None, "after_id": None}
with pool.connection() as conn:
    conn.execute(SET, (tenant_id,))
    found = conn.execute(sql, params).fetchmany(count)
assert len(found) == count
"""


def run(bench: Bench) -> Topic:
    """Measure each in its own process."""
    say("  imports")
    times = interleaved(
        {
            "skilldb": lambda: _float(_IMPORT.format(modules="skilldb")),
            "psycopg, psycopg_pool": lambda: _float(_IMPORT.format(modules="psycopg, psycopg_pool")),
        },
        bench.size(5, 15),
    )
    unwanted = ("yoyo", "typer", "rich", "yaml")
    loaded = _python(f"import skilldb, sys; print(*[name for name in {unwanted} if name in sys.modules])").strip()
    count = bench.size(10_000, 100_000)
    say("  memory")
    peaks = interleaved(
        {
            "record: skilldb": lambda: _peak(bench, count, SMALL, _SKILLDB + _RECORD),
            "record: hand-written": lambda: _peak(bench, count, SMALL, _BY_HAND + _RECORD_BY_HAND),
            "record ten batches: skilldb": lambda: _peak(bench, 10 * BATCH, SMALL, _SKILLDB + _RECORD),
            "read: skilldb": lambda: _peak(bench, count, BIG, _SKILLDB + _READ),
            "read: hand-written": lambda: _peak(bench, count, BIG, _BY_HAND + _READ_BY_HAND),
        },
        bench.size(1, 5),
    )
    return Topic(
        "Import and memory",
        "Each runs in its own process. Memory is the peak minus the memory of the process after it connected. "
        "Hand-written: psycopg with the same SQL, dicts as input and tuples as output.",
        [
            at_most("import skilldb against import psycopg, psycopg_pool", 1.5, ratio(*times.values())),
            Check(
                work="import skilldb loads none of " + ", ".join(unwanted),
                target="none",
                measured=loaded or "none",
                met=not loaded,
            ),
            at_most(
                f"memory of recording {count:,} events from a generator in batches of {BATCH:,}, against ten batches",
                1.2,
                ratio(peaks["record: skilldb"], peaks["record ten batches: skilldb"]),
            ),
            at_most(
                f"memory of recording {count:,} events in batches of {BATCH:,}, against hand-written",
                1.5,
                ratio(peaks["record: skilldb"], peaks["record: hand-written"]),
            ),
            at_most(
                f"memory of a result of {count:,} skills, against hand-written",
                1.5,
                ratio(peaks["read: skilldb"], peaks["read: hand-written"]),
            ),
        ],
        [
            Table(
                "Import", ["modules", "ms"], [[name, spread(s * 1000 for s in found)] for name, found in times.items()]
            ),
            Table("Peak memory", ["work", "MB"], [[name, spread(found)] for name, found in peaks.items()]),
        ],
    )


def _peak(bench: Bench, count: int, tenant: str, body: str) -> float:
    sizes = {"skills": SKILLS, "users": USERS, "batch": BATCH, "body": body}
    text = _PEAK
    for name, value in sizes.items():
        text = text.replace(f"%({name}){'s' if name == 'body' else 'd'}", str(value))
    return _float(text, DSN=bench.service_dsn, COUNT=str(count), TENANT=tenant)


def _float(script: str, **environment: str) -> float:
    return float(_python(script, **environment))


def _python(script: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
