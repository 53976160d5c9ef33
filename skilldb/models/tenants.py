"""The rows of organisations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """An organisation."""

    id: str
    name: str
    slug: str
    is_active: bool
    created_at: datetime
    updated_at: datetime
