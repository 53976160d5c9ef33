"""Keeps the databases of the repositories' tests open from test to test: opening takes longer than most tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.api import Api, created_once, opened
from tests.support.reuse import KEPT, Reused
from tests.support.server import Addresses


class Kept:
    """Keeps the open databases of one test module."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._open: dict[tuple[str, int], Callable[[str], Api]] = {}

    def open(self, api: str, dsn: str, copies: int) -> Callable[[str], Api]:
        """The database that opened() yields, opened once per copy of the database."""
        key = (api, copies)
        if key not in self._open:
            self._open[key] = self._stack.enter_context(opened(api, dsn, application_name=KEPT))
        return self._open[key]


@pytest.fixture(scope="module")
def kept() -> Iterator[Kept]:
    with ExitStack() as stack:
        yield Kept(stack)


@pytest.fixture(params=["blocking", "async"])
def api(
    request: pytest.FixtureRequest, addresses: Addresses, reused: Reused, kept: Kept
) -> Iterator[Callable[[str], Api]]:
    """A function from a tenant id to that tenant's Api; the tenant is created on its first use."""
    if "zone" in request.fixturenames:  # The time zone is a setting of new sessions.
        request.getfixturevalue("zone")
        with opened(request.param, addresses.service) as tenant:
            yield created_once(tenant)
    else:
        yield created_once(kept.open(request.param, addresses.service, reused.copies))
