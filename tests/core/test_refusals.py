"""Tests misuse of the core: each is refused with a sentence that says what to do."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import psycopg
import pytest

import skilldb
from skilldb.admin import migrate
from skilldb.errors import PermissionDeniedError, SchemaMismatchError
from skilldb.repositories import metrics, skills, tenants
from skilldb.settings import Secret
from tests.support.api import APIS
from tests.support.ledger import opened
from tests.support.server import Addresses

READ = skills.get_skill("s1")


@APIS
@pytest.mark.parametrize("given", [skills.list_skills, None, "SELECT 1", [READ]])
def test_what_is_no_statement_is_refused(api: str, given: Any, addresses: Addresses) -> None:
    with opened(api, addresses.service) as (execute, _):
        with pytest.raises(TypeError, match=r"execute\(\) takes statements, not .*skills\.list_skills\(\)"):
            execute(READ, given)
        assert execute(READ) is None


def test_a_handles_tenant_cannot_be_changed() -> None:
    dsn = "dbname=nowhere"
    for handle in (skilldb.connect(dsn).tenant("acme"), skilldb.connect_async(dsn).tenant("acme")):
        with pytest.raises(AttributeError):
            handle.id = "globex"  # type: ignore[misc]
        assert handle.id == "acme"


def test_a_connection_string_shows_only_where_it_is_asked_for() -> None:
    secret = skilldb.connect("dbname=x user=me password=hunter2")._settings.conninfo
    assert isinstance(secret, Secret)
    assert not isinstance(secret, str)
    assert "hunter2" not in f"{secret} {secret!r} {secret!s} {secret:}" + str([secret]) + "%s" % secret  # noqa: UP031
    for show in (json.dumps, pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            show(secret)
    assert "password=hunter2" in secret.reveal()


def test_a_secret_of_a_secret_is_the_same() -> None:
    assert Secret(Secret("dbname=x")).reveal() == "dbname=x"
    assert (bool(Secret("")), bool(Secret("x"))) == (False, True)


@APIS
def test_a_dropped_function_is_a_schema_that_does_not_fit(api: str, addresses: Addresses) -> None:
    with opened(api, addresses.service) as (execute, _):
        execute(tenants.create_tenant("Acme", "acme"))
        with psycopg.connect(addresses.owner) as owner:
            owner.execute("DROP FUNCTION raise_not_found")
        with pytest.raises(SchemaMismatchError, match=r"raise_not_found.* does not exist.*Run: skilldb migrate"):
            execute(metrics.increment_skill_uses("s1"))


@APIS
def test_a_schema_that_may_no_longer_be_used_is_named_with_the_grant(api: str, addresses: Addresses) -> None:
    with opened(api, addresses.service, max_size=1) as (execute, _):
        execute(READ)
        with psycopg.connect(addresses.admin) as admin:
            admin.execute("REVOKE USAGE ON SCHEMA public FROM PUBLIC, skilldb_app")
        for _ in range(7):  # Prepared, too.
            with pytest.raises(PermissionDeniedError) as raised:
                execute(READ)
        assert str(raised.value) == (
            "permission denied for schema public: role skilldb_service may not use it. "
            'Run: GRANT USAGE ON SCHEMA "public" TO skilldb_app, and GRANT skilldb_app TO "skilldb_service"'
        )
        with psycopg.connect(addresses.admin) as admin:
            admin.execute('GRANT USAGE ON SCHEMA "public" TO skilldb_app')
        assert execute(READ) is None
    with psycopg.connect(addresses.admin) as admin:
        admin.execute("REVOKE USAGE ON SCHEMA public FROM skilldb_app")
    with (
        pytest.raises(PermissionDeniedError, match="permission denied for schema public"),
        opened(api, addresses.service),
    ):
        pass


@pytest.mark.parametrize("privilege", ["USAGE", "CREATE"])
def test_migrating_without_a_privilege_on_the_schema_names_the_grant(privilege: str, addresses: Addresses) -> None:
    with psycopg.connect(addresses.admin, autocommit=True) as admin:
        admin.execute("ALTER SCHEMA public OWNER TO skilldb_owner")
        admin.execute(f"REVOKE {privilege} ON SCHEMA public FROM skilldb_owner, PUBLIC, pg_database_owner".encode())
    with pytest.raises(
        PermissionDeniedError, match=r"permission denied for schema public.*Run: GRANT USAGE, CREATE ON"
    ):
        list(migrate.migrate(addresses.owner))
