"""skilldb: the data layer of a skill catalogue that many organisations share."""

from skilldb.aio import AsyncDatabase, AsyncTenant, AsyncTransaction, connect_async
from skilldb.database import Database, Tenant, Transaction, connect
from skilldb.errors import (
    AlreadyExistsError,
    DatabaseClosedError,
    DatabaseUnavailableError,
    ForkedError,
    InvalidTransitionError,
    InvalidValueError,
    NotFoundError,
    PermissionDeniedError,
    SkilldbError,
    StillReferencedError,
    TenantRequiredError,
    UnsafePoolerError,
    UnsafeRoleError,
    UnsafeSchemaError,
)
from skilldb.statement import Statement

__all__ = [
    "AlreadyExistsError",
    "AsyncDatabase",
    "AsyncTenant",
    "AsyncTransaction",
    "Database",
    "DatabaseClosedError",
    "DatabaseUnavailableError",
    "ForkedError",
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
    "UnsafePoolerError",
    "UnsafeRoleError",
    "UnsafeSchemaError",
    "connect",
    "connect_async",
]

__version__ = "0.1.0"
