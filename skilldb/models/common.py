"""What answers of several repositories have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """Some of the rows. `after` is the cursor to ask for the next page with, None on the last one."""

    items: list[T]
    after: str | None
