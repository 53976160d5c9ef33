"""The rows of users."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person of an organisation; `role` is admin or member."""

    id: str
    email: str
    name: str | None
    role: str
    created_at: datetime
    updated_at: datetime
