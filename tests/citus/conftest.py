"""Gives the tests a distributed database on the cluster of SKILLDB_TEST_CITUS_DSN, and skips them without one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from skilldb.admin import distribute, migrate
from tests.support import cluster as clusters
from tests.support.cluster import Cluster
from tests.support.server import RUN, Addresses


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of this folder where there is no cluster."""
    if not clusters.CITUS_DSN:
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=clusters.MISSING))


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    return clusters.found()


@pytest.fixture(scope="session")
def distributed(cluster: Cluster) -> Iterator[str]:
    """The name of a migrated and distributed database."""
    with clusters.database(cluster, f"skilldb_citus_{RUN}") as dbname:
        owner = cluster.addresses(dbname).owner
        list(migrate.migrate(owner))
        distribute.distribute(owner, shards=4)
        yield dbname


@pytest.fixture
def addresses(cluster: Cluster, distributed: str) -> Iterator[Addresses]:
    """The addresses of a distributed database without rows."""
    yield cluster.addresses(distributed)
    clusters.clear(cluster, distributed)
