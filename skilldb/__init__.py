"""skilldb: the data layer of a skill catalogue that many organisations share."""

from skilldb.aio import AsyncDatabase, AsyncTenant, AsyncTransaction, connect_async
from skilldb.database import Database, Tenant, Transaction, connect
from skilldb.errors import (
    AlreadyExistsError,
    DatabaseUnavailableError,
    InvalidTransitionError,
    InvalidValueError,
    NotFoundError,
    PermissionDeniedError,
    SkilldbError,
    StillReferencedError,
    TenantRequiredError,
    UnsafeRoleError,
)
from skilldb.statement import Statement

__all__ = [
    "AlreadyExistsError",
    "AsyncDatabase",
    "AsyncTenant",
    "AsyncTransaction",
    "Database",
    "DatabaseUnavailableError",
    "InvalidTransitionError",
    "InvalidValueError",
    "NotFoundError",
    "PermissionDeniedError",
    "SkilldbError",
    "Statement",
    "StillReferencedError",
    "Tenant",
    "TenantRequiredError",
    "Transaction",
    "UnsafeRoleError",
    "connect",
    "connect_async",
]

__version__ = "0.1.0"
