"""Statements for organisations. A handle sees and creates only its own tenant."""

from skilldb import queries
from skilldb.models import Tenant
from skilldb.statement import Statement, one, optional

_SQL = queries.load("tenants")


def create_tenant(name: str, slug: str, *, id: str | None = None) -> Statement[Tenant]:
    """Create the handle's tenant. If `id` is given, it must be the handle's id.

    AlreadyExistsError: any tenant has the id or the slug already. PermissionDeniedError: `id` is not the handle's.
    InvalidValueError: the id or the slug is not in Unicode NFC, or begins or ends with white space.
    """
    return Statement(one(Tenant), _SQL["check_tenant_id"](), _SQL["create_tenant"](id=id, name=name, slug=slug))


def get_tenant() -> Statement[Tenant | None]:
    """The handle's tenant, or None if it was not created."""
    return Statement(optional(Tenant), _SQL["get_tenant"]())
