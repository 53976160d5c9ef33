"""The rows of users."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person of an organisation; `role` is admin or member."""

    id: str
    email: str
    name: str | None
    role: str
    created_at: datetime
    updated_at: datetime


class UserUpdate(TypedDict, total=False):
    """The columns of a user to change, and their new values; `role` is admin or member."""

    email: str
    name: str | None
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UserDeletion:
    """What a call of delete_user did.

    `found` is False if there was no such user. `done` is False if rows still name the user: call again.
    """

    found: bool
    done: bool
