"""The parts of answers that several repositories share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """One page of rows. Pass `after` to the same function for the next page; it is None on the last page.

    The `limit` of a function is the most rows of a page, from 1 to 1,000,000.
    """

    items: list[T]
    after: str | None
