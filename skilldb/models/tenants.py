"""The rows of organisations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """An organisation."""

    id: str
    name: str
    slug: str
    is_active: bool
    created_at: datetime
    updated_at: datetime


class TenantUpdate(TypedDict, total=False):
    """The columns of an organisation to change, and their new values."""

    name: str
    slug: str
    is_active: bool
