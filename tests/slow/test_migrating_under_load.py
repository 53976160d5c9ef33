"""Tests migrating beside readers and writers: no client gets an error, and no acknowledged write is lost."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

import skilldb
from skilldb.admin import migrate
from skilldb.models import NewUsageEvent
from skilldb.repositories import metrics, ratings, usage
from tests.support.database import rows, until
from tests.support.server import Addresses
from tests.support.waits import ended, started

CLIENTS = 4
SKILLS = 40_000
# The first rewrites the table: nobody can read it meanwhile. The second waits for nobody, and nobody waits for it.
MIGRATIONS = {
    "rewrite": (
        "SET LOCAL lock_timeout = '5s';\n"
        "ALTER TABLE skills ADD COLUMN load_length INTEGER GENERATED ALWAYS AS (length(description)) STORED;",
        "ALTER TABLE skills DROP COLUMN load_length;",
    ),
    "index": (
        "-- transactional: false\nCREATE INDEX CONCURRENTLY load_idx ON skills (tenant_id, category, name);",
        "DROP INDEX IF EXISTS load_idx;",
    ),
}
FILL = """
INSERT INTO tenants (id, name, slug) VALUES ('acme', 'Acme', 'acme');

INSERT INTO users (tenant_id, id, email)
SELECT 'acme', 'u' || n, 'u' || n FROM generate_series(0, %(clients)s - 1) AS n;

INSERT INTO skills (tenant_id, id, name, slug, description, category)
SELECT 'acme', 's' || n, 'Skill ' || n, 's' || n, repeat('text ', 50), 'c' || n %% 10
FROM generate_series(0, %(skills)s - 1) AS n;
"""


class Client:
    """Reads and writes on its own pool, with calls that work before and after the migrations."""

    def __init__(self, service: str, number: int) -> None:
        self.rounds = 0
        self.events: Counter[str] = Counter()
        self.rated: dict[str, int] = {}
        self.errors: list[Exception] = []
        self._service, self.user = service, f"u{number}"

    def run(self, stop: threading.Event) -> None:
        with skilldb.connect(self._service, max_size=1) as db:
            tenant = db.tenant("acme")
            while not stop.is_set():
                # Its rounds cover the whole table, so all clients use the same skills.
                skill, stars = f"s{self.rounds * 97 % SKILLS}", self.rounds % 5 + 1
                try:
                    tenant.execute(ratings.rate_skill(self.user, skill, stars))
                    self.rated[skill] = stars
                    event = NewUsageEvent(tool_name="load", skill_id=skill, user_id=self.user)
                    recorded, page, _ = tenant.execute(
                        usage.record_usage_event(event), ratings.list_ratings(skill), usage.count_uses_by_day(skill)
                    )
                    self.events[skill] += recorded
                    assert stars in {rating.rating for rating in page.items}
                except Exception as error:
                    self.errors.append(error)
                self.rounds += 1


@contextmanager
def at_work(clients: list[Client]) -> Iterator[None]:
    """Run the clients until the block ends."""
    stop = threading.Event()
    threads = [started(client.run, stop) for client in clients]
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            ended(thread)


def go_on(clients: list[Client]) -> None:
    """Wait until each client has done ten more rounds. After the first five its statements are prepared."""
    goals = [client.rounds + 10 for client in clients]
    until(lambda: all(client.rounds >= goal for client, goal in zip(clients, goals, strict=True)))


def test_clients_at_work_meet_no_error_and_lose_nothing_while_the_schema_migrates(
    addresses: Addresses, files: Path
) -> None:
    before = len(migrate.read())
    for number, (name, (up, down)) in enumerate(MIGRATIONS.items(), start=before + 1):
        (files / f"{number:04}_{name}.sql").write_text(up)
        (files / f"{number:04}_{name}.rollback.sql").write_text(down)
    with psycopg.connect(addresses.admin, autocommit=True) as conn:
        for statement in FILL.strip().split("\n\n"):
            conn.execute(statement.encode(), {"clients": CLIENTS, "skills": SKILLS})
        conn.execute("ANALYZE")
    clients = [Client(addresses.service, number) for number in range(CLIENTS)]
    applied = []
    with at_work(clients):
        go_on(clients)
        for done in migrate.migrate(addresses.owner):
            applied.append(done.id)
            go_on(clients)
    assert [error for client in clients for error in client.errors] == []
    assert applied == sorted(migrate.read())[before:]
    assert rows(addresses.admin, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'load_idx'::regclass") == [(True,)]
    rated = {(client.user, skill): stars for client in clients for skill, stars in client.rated.items()}
    found = rows(addresses.admin, "SELECT user_id, skill_id, rating FROM ratings")
    assert {(user, skill): stars for user, skill, stars in found} == rated
    events = sum((client.events for client in clients), Counter())
    assert dict(rows(addresses.admin, "SELECT skill_id, count(*) FROM usage_events GROUP BY skill_id")) == events
    with skilldb.connect(addresses.service) as db:
        assert db.tenant("acme").execute(metrics.find_metric_drift()) == []
