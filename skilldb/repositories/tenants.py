"""Organisations. The handle's tenant is the only one that can be seen or created."""

from skilldb import queries
from skilldb.models import Tenant
from skilldb.statement import Statement, one, optional

_SQL = queries.load("tenants")


def create_tenant(name: str, slug: str, *, id: str | None = None) -> Statement[Tenant]:
    """Create the handle's tenant: its id is the handle's, and `id`, where given, must be the same.

    AlreadyExistsError: the id or the slug is taken, by whomever. PermissionDeniedError: `id` is another tenant's.
    """
    return Statement(one(Tenant), _SQL["create_tenant"](id=id, name=name, slug=slug))


def get_tenant() -> Statement[Tenant | None]:
    """The handle's tenant, None where it was not created."""
    return Statement(optional(Tenant), _SQL["get_tenant"]())
