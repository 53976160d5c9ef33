"""The exceptions of skilldb, and their translation from PostgreSQL's SQLSTATE codes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import psycopg

Outcome = Literal["not applied", "unknown"]


class SkilldbError(Exception):
    """The base of all errors of this package. It is raised itself where no other class fits."""


class NotFoundError(SkilldbError):
    """A skill, user, version, feedback item, run or the tenant itself does not exist in this tenant."""


class AlreadyExistsError(SkilldbError):
    """A slug, email, id or version number is already taken."""


class InvalidValueError(SkilldbError):
    """The schema does not allow a value, or an argument makes no sense."""


class InvalidTransitionError(SkilldbError):
    """The workflow does not allow a status change."""


class ConflictError(SkilldbError):
    """Another caller changed the row since it was read. Read it again, and decide again."""


class StillReferencedError(SkilldbError):
    """Another row still refers to the row."""


class TenantRequiredError(SkilldbError):
    """No tenant id, or an empty one, was given."""


class UnsafeRoleError(SkilldbError):
    """The database role could bypass row-level security."""


class UnsafeSchemaError(SkilldbError):
    """A role that is not trusted may create in the schema or the database, or owns something in the schema.

    `found`: each reason, with the statement that removes it.
    """

    def __init__(self, found: Sequence[tuple[str, str]]) -> None:
        self.found = list(found)
        shown = found[:5]
        more = f" ({len(found) - len(shown)} more: `skilldb doctor` lists all)" if len(found) > len(shown) else ""
        reasons, remedies = ("; ".join(texts) for texts in zip(*shown, strict=True))
        super().__init__(
            f"{reasons}{more}: an object made there can take the place of one that skilldb calls. Run: {remedies}. "
            'Or trust the role, in the comment of the schema: docs/operations.md, "Who may create"'
        )


class SchemaMismatchError(SkilldbError):
    """A table, column or function that this version of skilldb needs does not exist in the schema."""


class UnsuitableSettingError(SkilldbError):
    """A setting of the server, database or role makes right answers impossible. The message says what to run."""


class UnsafePoolerError(SkilldbError):
    """A pooler would make one client run another client's prepared statement."""


class ForkedError(SkilldbError):
    """The process was forked during a call or transaction, which belongs to the parent process."""


class DatabaseClosedError(SkilldbError):
    """The call came after close(), or close() ended it while it waited for a connection."""


class PermissionDeniedError(SkilldbError):
    """PostgreSQL refused: a missing grant, or a row of another tenant."""


class DatabaseUnavailableError(SkilldbError):
    """The database could not do the work now. A subclass names the reason; the message gives the cause.

    `outcome`: "not applied", or "unknown" if the call may have been committed. `retryable`: whether the same call may
    succeed soon. After an unknown outcome repeat only calls that change nothing the second time, such as recording an
    event that has an id of its own.
    """

    outcome: Outcome = "not applied"
    retryable = True


class PoolTimeoutError(DatabaseUnavailableError):
    """No connection of the pool became free within `timeout`."""


class StatementTimeoutError(DatabaseUnavailableError):
    """A statement took longer than `statement_timeout`, or the server cancelled it on request."""

    retryable = False


class LockTimeoutError(DatabaseUnavailableError):
    """Waiting for a lock took longer than `lock_timeout`."""


class DeadlockError(DatabaseUnavailableError):
    """PostgreSQL ended this call because it and another one waited for each other."""


class SerializationError(DatabaseUnavailableError):
    """PostgreSQL ended this call because a concurrent transaction conflicts with it."""


class ReadOnlyError(DatabaseUnavailableError):
    """The server accepts no writes, for example a standby after a failover. The connection is replaced."""


class ConnectionLostError(DatabaseUnavailableError):
    """The connection broke, or its answer did not come in time. The outcome is unknown if the commit was sent."""

    def __init__(self, message: str, outcome: Outcome = "unknown") -> None:
        super().__init__(message)
        self.outcome = outcome

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (*self.args, self.outcome)


class ServerUnavailableError(DatabaseUnavailableError):
    """The server cannot be reached, refuses connections, or lacks resources such as memory, disk or connections."""


# SQLSTATE codes and classes: PostgreSQL documentation, appendix A.
_UNAVAILABLE_CLASSES: Mapping[str, tuple[type[DatabaseUnavailableError], str]] = {
    "08": (ConnectionLostError, "the connection failed"),
    "40": (SerializationError, "a concurrent transaction got in the way"),
    "53": (ServerUnavailableError, "the server is out of resources"),
    "57": (ServerUnavailableError, "the server ended the work"),
    "58": (ServerUnavailableError, "the server met a system error"),
}
_UNAVAILABLE_CODES: Mapping[str, tuple[type[DatabaseUnavailableError], str]] = {
    "25006": (ReadOnlyError, "the server is read-only"),
    "25P03": (ServerUnavailableError, "idle_in_transaction_session_timeout ended the connection"),
    "25P04": (ServerUnavailableError, "transaction_timeout ended the connection"),
    "40P01": (DeadlockError, "a deadlock was broken"),
    "55P03": (LockTimeoutError, "lock_timeout ended the wait for a lock"),
    "57014": (StatementTimeoutError, "statement_timeout ended the statement"),
}
_OWN: Mapping[str, type[SkilldbError]] = {
    "P0002": NotFoundError,  # raise_not_found
    "55000": InvalidTransitionError,  # raise_invalid_transition
    "SK001": ConflictError,  # raise_conflict
    "22023": InvalidValueError,  # raise_invalid_value, and PostgreSQL's own
}
_MISMATCHED_SCHEMA = {"42P01", "42703", "42883", "3F000"}  # no such table, column, function, schema
_MISMATCHED_TYPE = {"42804", "42846"}  # a parameter of a type that the query does not take


def translate(error: psycopg.Error, params: Mapping[str, Any], outcome: Outcome = "not applied") -> SkilldbError:
    """The exception of this module for a psycopg error. The caller raises it from that error.

    `outcome`: what becomes of the work if the connection or the server is lost, "unknown" once the commit was sent.

    `params` are the parameters of the failed step. The constraint's name tells which of them is wrong, so constraints
    are named `<table>_<column>_check`, `<table>_<column>_key` and `<table>_<column without _id>_fk`. The constraint
    of a domain is named `<column>_check`, because PostgreSQL does not say in which table the domain is used.
    """
    state = error.sqlstate
    message = _without_shards(error.diag.message_primary or str(error))
    if state is None:
        # InternalError: an unexpected protocol message, for example from a pooler whose server died.
        lost = isinstance(error, psycopg.OperationalError | psycopg.InternalError)
        return ConnectionLostError(message, outcome) if lost else _other(error)
    if state in _OWN:
        return _OWN[state](error.diag.message_primary or str(error))
    if state == "54000":  # The value is too long for an index.
        return InvalidValueError(f"{message} ({_listed(params)})")
    if state == "23505":
        return AlreadyExistsError(f"{_offender(error, 'key', params)} is already taken")
    if state in ("23503", "23001"):
        return _reference(error, params)
    if state == "23514":
        domain, constraint = _named(error, "datatype_name"), _named(error, "constraint_name")
        within = f" of domain {domain}" if domain else ""
        return InvalidValueError(
            f"{_offender(error, 'check', params)} is not allowed (constraint {constraint}{within})"
        )
    if state == "23502":
        return InvalidValueError(f"{_named(error, 'column_name')} must not be None")
    if state.startswith("22") or state in _MISMATCHED_TYPE:
        return InvalidValueError(f"{message} ({_listed(params)})")
    if state == "42501":
        return PermissionDeniedError(message)
    if state in _MISMATCHED_SCHEMA:
        return SchemaMismatchError(f"{message}: the schema does not fit this version of skilldb. Run: skilldb migrate")
    found = _UNAVAILABLE_CODES.get(state) or _UNAVAILABLE_CLASSES.get(state[:2])
    if found is not None:
        kind, reason = found
        unavailable = kind(f"{reason}: {message}")
        if kind in (ServerUnavailableError, ConnectionLostError):
            unavailable.outcome = outcome
        return unavailable
    return _other(error)


def shown(value: Any) -> str:
    """The value as error messages show it: its repr, at most 100 characters of it."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no integer of more than 4,300 digits.
        text = f"an int of {value.bit_length()} bits" if isinstance(value, int) else f"a {type(value).__name__}"
    return text if len(text) <= 100 else f"{text[:97]}..."


def _other(error: psycopg.Error) -> SkilldbError:
    return SkilldbError(f"{type(error).__name__} {error.sqlstate or ''}: {error}")


def _column(error: psycopg.Error, suffix: str) -> str:
    """The column in a constraint's name: `slug` of `skills_slug_key`, `status` of a domain's `status_check`."""
    name = _named(error, "constraint_name") or ""
    table = _named(error, "table_name") or next((each for each in TABLES if name.startswith(f"{each}_")), None)
    return name.removeprefix(f"{table}_").removesuffix(f"_{suffix}")


def _offender(error: psycopg.Error, suffix: str, params: Mapping[str, Any]) -> str:
    column = _column(error, suffix)
    if column == "pkey":
        column = "id" if params.get("id") is not None else "tenant_id"
    if column in params:
        return f"{column} {shown(params[column])}"
    changes = json.loads(params["changes"]) if "changes" in params else {}
    return f"{column} {shown(changes[column])}" if column in changes else f"{column} ({_listed(params)})"


def _listed(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={shown(value)}" for name, value in params.items() if name != "tenant_id")


def _reference(error: psycopg.Error, params: Mapping[str, Any]) -> SkilldbError:
    """The error for a broken foreign key: the step named a row that does not exist, or it deletes a row in use."""
    column = _column(error, "fk")
    for name in (f"{column}_id", column):
        if params.get(name) is not None:
            kind = "user" if column in _USER_COLUMNS else column.replace("_", " ")
            if isinstance(params[name], list):  # The batch had found and locked it; then it was deleted.
                return NotFoundError(f"{kind} of {shown(params[name])} does not exist")
            # The same sentence as raise_not_found: it makes no difference to the caller which of the two noticed.
            return NotFoundError(f"{kind} '{str(params[name])[:100]}' does not exist")
    if (error.diag.message_primary or "").startswith("insert or update"):
        kind = "user" if column in _USER_COLUMNS else column.replace("_", " ")
        return NotFoundError(f"a {kind} does not exist (constraint {_named(error, 'constraint_name')})")
    table, constraint = _named(error, "table_name"), _named(error, "constraint_name")
    return StillReferencedError(f"{_listed(params)} is still referenced by {table} (constraint {constraint})")


_USER_COLUMNS = {"author", "created_by", "reviewed_by", "triggered_by"}


# A Citus cluster passes a worker's message on, but not the fields that name the constraint, the table, the column and
# the domain. Tables, indexes and constraints of a shard have the shard's number at the end of their names.

TABLES = (
    "benchmark_results",
    "benchmark_runs",
    "horizons",
    "pending_uses",
    "ratings",
    "skill_contents",
    "skill_daily_costs",
    "skill_feedback",
    "skill_monthly_uses",
    "skill_search",
    "skill_sources",
    "skill_versions",
    "skills",
    "tenants",
    "token_measurements",
    "tool_monthly_uses",
    "usage_events",
    "user_monthly_uses",
    "user_skill_views",
    "users",
)
"""The tables. A unique constraint's message does not name its table. No name is that of another one, `_` and more."""
_SHARD = r"(?:_\d{6,})?"
_PATTERNS = {
    "constraint_name": re.compile(rf'(?:unique|foreign key|check) constraint "(\w+?){_SHARD}"'),
    # The last table that the message names: that of the constraint.
    "table_name": re.compile(rf'.*(?:relation|table) "(\w+?){_SHARD}"'),
    "column_name": re.compile(r'column "(\w+)"'),
    "datatype_name": re.compile(r"domain (?:\w+\.)?(\w+)"),
}
_SHARD_NAME = re.compile(rf"\b((?:{'|'.join(TABLES)})(?:_[a-z_]*[a-z])?)_\d{{6,}}\b")


def _named(error: psycopg.Error, field: str) -> str | None:
    """The name in a field of the error or, on a cluster, in its message, without the number of a shard."""
    if given := getattr(error.diag, field):
        return _without_shards(given)
    found = _PATTERNS[field].search(error.diag.message_primary or "")
    return found[1] if found else None


def _without_shards(text: str) -> str:
    """The text with the names of tables, indexes and constraints in place of those of their shards."""
    return _SHARD_NAME.sub(r"\1", text)
