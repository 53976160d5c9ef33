"""Statements for organisations. A handle sees and creates only its own tenant."""

from collections.abc import Mapping
from datetime import datetime

from skilldb import queries
from skilldb.errors import InvalidValueError, shown
from skilldb.models import Tenant, TenantUpdate
from skilldb.statement import Statement, one, optional
from skilldb.values import adapter, not_empty

_SQL = queries.load("tenants")
_LOCKS = queries.load("locks")
_RETENTION = queries.load("retention")

# The columns of TenantUpdate, and what checks their values. A changed slug is a new one.
_COLUMNS = {
    name: adapter(name, type, creates=True)
    for name, type in {"name": "text", "slug": "text", "is_active": "boolean"}.items()
}


def create_tenant(
    name: str, slug: str, *, id: str | None = None, created_at: datetime | None = None
) -> Statement[Tenant]:
    """Create the handle's tenant. If `id` is given, it must be the handle's id. `created_at` None is now.

    AlreadyExistsError: any tenant has the id or the slug already. PermissionDeniedError: `id` is not the handle's.
    InvalidValueError: the name or the slug is empty; the id or the slug is not in Unicode NFC, or begins or ends with
    white space; or a time without a time zone.
    """
    return Statement(
        one(Tenant),
        _SQL["check_tenant_id"](),
        _SQL["create_tenant"](id=id, name=not_empty("name", name), slug=slug, created_at=created_at),
        _RETENTION["prepare_horizon"](),
        _SQL["get_tenant"](),
    )


def get_tenant() -> Statement[Tenant | None]:
    """The handle's tenant, or None if it was not created."""
    return Statement(optional(Tenant), _SQL["get_tenant"]())


def update_tenant(changes: TenantUpdate) -> Statement[Tenant]:
    """Change some columns of the handle's tenant and keep the others. `updated_at` moves only if a value changes.

    `is_active` stops nobody by itself: the service reads it. A new slug waits for the writers of the organisation.
    NotFoundError: the tenant was not created. AlreadyExistsError: any tenant has the slug. InvalidValueError: a column
    that TenantUpdate does not have, or a value that is not allowed, such as an empty name or slug.
    """
    if not isinstance(changes, Mapping):
        raise InvalidValueError(f"changes must be a dict, not {shown(changes)}")
    if unknown := changes.keys() - _COLUMNS.keys():
        raise InvalidValueError(f"a tenant has no {', '.join(sorted(map(str, unknown)))} to update")
    not_empty("name", changes.get("name"))
    checked = {name: None if value is None else _COLUMNS[name](name, value) for name, value in changes.items()}
    return Statement(
        one(Tenant),
        _LOCKS["lock_tenant_key" if "slug" in changes else "lock_tenant"](),
        _SQL["update_tenant"](changes=checked),
    )
