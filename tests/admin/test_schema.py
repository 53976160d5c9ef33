"""Tests that the files of `make schema` describe what the migrations create, and that stale files are found."""

from __future__ import annotations

import re

import psycopg
import pytest

from tests.support import schema
from tests.support.database import rows
from tests.support.server import CHECKOUT, Addresses

FILES = ["docs/schema.sql", "docs/schema.md"]
DEFINITIONS = "sql/admin/definitions.txt"


def now(name: str, addresses: Addresses) -> str:
    if name == "docs/schema.sql":
        return schema.dump(addresses.admin)
    with psycopg.connect(addresses.admin) as conn:
        return schema.definitions(conn) if name == DEFINITIONS else schema.markdown(conn)


def change(addresses: Addresses, statements: str) -> None:
    with psycopg.connect(addresses.owner, autocommit=True) as conn:
        conn.execute(statements.encode())


@pytest.mark.parametrize("name", [*FILES, DEFINITIONS])
def test_the_file_is_what_the_migrations_make(name: str, addresses: Addresses, pytestconfig: pytest.Config) -> None:
    found = now(name, addresses)
    file = CHECKOUT / name
    if pytestconfig.getoption("write_docs"):
        file.write_text(found, encoding="utf-8")
    schema.compare(name, file.read_text(encoding="utf-8"), found)


def test_a_policy_is_described_without_the_clauses_that_it_does_not_have(addresses: Addresses) -> None:
    lines = re.findall("^- `tenant_.*", now("docs/schema.md", addresses), re.MULTILINE)
    policies = [line for line in lines if "PERMISSIVE" in line or "RESTRICTIVE" in line]
    assert {match[1] for line in policies if (match := re.search(r" FOR (\w+) ", line))} == {
        *("ALL", "SELECT", "INSERT", "UPDATE", "DELETE"),
    }
    assert [line for line in policies if re.search(r"(USING|WITH CHECK)(?! \()", line)] == []


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        ("ALTER TABLE users ADD COLUMN shoe_size INTEGER", r"\+.*shoe_size"),
        ("DROP INDEX skills_author_idx", "-.*skills_author_idx"),
        ("ALTER POLICY tenant_access ON users USING (true)", r"\+.*tenant_access.*USING \(?true"),
        ("ALTER TABLE users NO FORCE ROW LEVEL SECURITY", "-.*(FORCE ROW LEVEL|enabled and forced)"),
        ("GRANT UPDATE (created_at) ON users TO skilldb_app", r"\+.*UPDATE.*created_at"),
        ("COMMENT ON COLUMN users.name IS 'A pet name'", r"\+.*A pet name"),
        ("ALTER TABLE users ALTER COLUMN role SET DEFAULT 'admin'", r"\+.*'admin'::text"),
        ("DROP FUNCTION raise_not_found", "-.*raise_not_found"),
        ("ALTER DOMAIN skills_status DROP CONSTRAINT status_check", "-.*pending_review"),
    ],
)
def test_a_stale_file_is_found_and_the_command_named(
    name: str, addresses: Addresses, statements: str, expected: str
) -> None:
    before = now(name, addresses)
    change(addresses, statements)
    with pytest.raises(AssertionError, match=rf"{name} is stale: run `make schema`(.|\n)*\n{expected}"):
        schema.compare(name, before, now(name, addresses))


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        ("ALTER TABLE users ADD COLUMN shoe_size INTEGER", r"\+column users.shoe_size: integer"),
        ("ALTER TABLE users ALTER COLUMN role SET DEFAULT 'admin'", r"\+column users.role: .*DEFAULT 'admin'::text"),
        ("ALTER TABLE users ALTER COLUMN role DROP NOT NULL", "-column users.role: text NOT NULL"),
        ("ALTER TABLE ratings DROP CONSTRAINT ratings_rating_check", "-constraint ratings.ratings_rating_check: CHECK"),
        ("DROP INDEX skills_author_idx", "-index skills_author_idx: CREATE INDEX"),
        ("ALTER DOMAIN skills_status DROP CONSTRAINT status_check", "-domain skills_status: text CHECK"),
        ("DROP FUNCTION mean_rating", r"-function mean_rating\(bigint,bigint\): RETURN CASE"),
    ],
)
def test_stale_definitions_are_found_too(addresses: Addresses, statements: str, expected: str) -> None:
    before = now(DEFINITIONS, addresses)
    change(addresses, statements)
    with pytest.raises(AssertionError, match=rf"{DEFINITIONS} is stale: run `make schema`(.|\n)*\n{expected}"):
        schema.compare(DEFINITIONS, before, now(DEFINITIONS, addresses))


def test_a_long_difference_is_cut_short() -> None:
    with pytest.raises(AssertionError) as caught:
        schema.compare("docs/schema.sql", "", "line\n" * 1000)
    assert str(caught.value).splitlines()[-1] == "... and 963 more lines"


def test_the_diagram_has_every_table_and_every_foreign_key(addresses: Addresses) -> None:
    text = now("docs/schema.md", addresses)
    tables = rows(addresses.admin, "SELECT DISTINCT tablename::text FROM pg_policies")
    keys = rows(
        addresses.admin,
        "SELECT confrelid::regclass::text, conrelid::regclass::text, conname FROM pg_constraint WHERE contype = 'f'",
    )
    assert sorted(re.findall(r"^    (\w+) \{$", text, flags=re.MULTILINE)) == sorted(name for (name,) in tables)
    drawn = re.findall(r"^    (\w+) [|o]+--[|o{]+ (\w+) : (\w+)$", text, flags=re.MULTILINE)
    assert sorted(drawn) == sorted(keys)


def test_a_line_of_the_diagram_says_how_many_rows_stand_at_each_end(addresses: Addresses) -> None:
    change(
        addresses,
        """
        CREATE TABLE badges (
            id NUMERIC(10, 2) PRIMARY KEY,
            owner_id TEXT NOT NULL REFERENCES tenants (id),
            giver_id TEXT UNIQUE REFERENCES tenants (id)
        )
        """,
    )
    text = now("docs/schema.md", addresses)
    assert "    tenants ||--o{ badges : badges_owner_id_fkey\n" in text
    assert "    tenants |o--o| badges : badges_giver_id_fkey\n" in text
    assert "        numeric_10_2 id PK\n" in text


def test_what_a_comment_holds_is_no_markup(addresses: Addresses) -> None:
    change(addresses, "COMMENT ON COLUMN users.name IS 'a | b, <i> *c* $d$\n`e` \\'")
    assert r"| a \| b, \<i> \*c\* \$d\$ \`e\` \\ |" in now("docs/schema.md", addresses)


def test_the_indexes_that_serve_the_questions_of_the_original_plan_are_there(addresses: Addresses) -> None:
    named = set(re.findall(r"`(\w+_idx)`", schema.PLANNED))
    assert len(named) == 4
    assert named <= {name for (name,) in rows(addresses.admin, "SELECT indexname::text FROM pg_indexes")}
