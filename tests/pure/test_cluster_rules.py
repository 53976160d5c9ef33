"""Tests the rules that let the SQL of a service run on a Citus cluster too, as far as the text shows it.

The text does not show how many commands the coordinator sends for a statement, nor in which order it runs them. So
these tests cannot decide whether the main part of a statement reads a table itself after a CTE has written it. That is
right as long as the whole statement is one command on one shard.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from skilldb import queries

# The owner runs these, and they name no table with rows of organisations, or many.
OF_THE_OWNER = {"doctor", "drift", "embedded", "explain", "harden", "isolation", "migrate", "top", "guards"}

WRITE = re.compile(r"(?<!FOR )(?<!KEY )(?<!DO )\b(?:INSERT INTO|UPDATE|DELETE FROM) (\w+)")
READ = re.compile(r"(?<!DELETE )\b(?:FROM|JOIN|USING) (\w+)")
CLOCK = re.compile(r"\bnow\(\)")


@dataclass(frozen=True)
class Part:
    """A CTE of a statement, or what comes after the CTEs: `name` is empty then."""

    name: str
    text: str
    materialized: bool = False

    @property
    def writes(self) -> set[str]:
        return set(WRITE.findall(self.text))

    def uses(self, name: str) -> bool:
        return name in READ.findall(self.text)


def inside(sql: str, start: int) -> int:
    """The end of the parentheses that open at `start`."""
    depth = 0
    for place in range(start, len(sql)):
        depth += {"(": 1, ")": -1}.get(sql[place], 0)
        if not depth:
            return place
    raise AssertionError(f"no closing parenthesis: {sql[start:]}")


def plain(sql: str) -> str:
    """The SQL without comments, what is in quotes, and parameters' names; every space is one blank."""
    without = re.sub(r"--[^\n]*|/\*.*?\*/", "", sql, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"%\(\w+\)s", "$", re.sub(r"'[^']*'", "''", without))).strip()


def parts(sql: str) -> list[Part]:
    """The CTEs of a statement, and the rest as the last part."""
    sql, found = plain(sql), []
    head = re.compile(r"(?:WITH |, ?)(\w+) AS ((?:NOT )?MATERIALIZED )?\(")
    while match := head.match(sql):
        end = inside(sql, match.end() - 1)
        found.append(Part(match[1], sql[match.end() : end].strip(), match[2] == "MATERIALIZED "))
        sql = sql[end + 1 :].lstrip()
    return [*found, Part("", sql)]


def outermost(text: str) -> str:
    """The text without what is in parentheses."""
    found, place = "", 0
    while (start := text.find("(", place)) >= 0:
        found += text[place:start] + "()"
        place = inside(text, start) + 1
    return found + text[place:]


def blocks(text: str) -> Iterator[str]:
    """Each CASE ... END, and each coalesce(...), with what it contains."""
    for found in re.finditer(r"\bcoalesce\(", text, flags=re.IGNORECASE):
        yield text[found.start() : inside(text, found.end() - 1) + 1]
    open_: list[int] = []
    for found in re.finditer(r"\b(CASE|END)\b", text):
        if found[1] == "CASE":
            open_.append(found.start())
        else:
            yield text[open_.pop() : found.end()]


def simple_case(sql: str) -> bool:
    """PostgreSQL compares CASE x WHEN y by an operator that Citus writes wrongly for a shard."""
    return re.search(r"\bCASE (?!WHEN\b)", plain(sql)) is not None


def subquery_in_values(sql: str) -> bool:
    """Citus refuses a subquery within INSERT ... VALUES."""
    for part in parts(sql):
        for found in re.finditer(r"\bVALUES ?\(", part.text):
            if (
                part.text.startswith("INSERT")
                and "SELECT" in part.text[found.start() : inside(part.text, found.end() - 1)]
            ):
                return True
    return False


def insert_by_copy(sql: str) -> bool:
    """The coordinator may run INSERT ... SELECT by COPY, which row-level security forbids. Two clauses prevent it."""
    return any(
        part.text.startswith("INSERT")
        and re.search(r"\bSELECT\b", text := outermost(part.text)) is not None
        and re.search(r"\bON CONFLICT\b|\bRETURNING\b", text) is None
        for part in parts(sql)
    )


def read_after_write(sql: str) -> bool:
    """A CTE is read where it is used, which may be after another part has written the table.

    PostgreSQL reads every part in one snapshot. A CTE that only feeds the part that writes the table is read in time,
    and so is a CTE that is MATERIALIZED.
    """
    found = parts(sql)
    names = {part.name for part in found}

    def users(name: str) -> Iterator[Part]:
        """The parts that use the CTE, through CTEs that only read as well."""
        for part in found:
            if part.uses(name):
                if part.name and not part.writes:
                    if not part.materialized:
                        yield from users(part.name)
                else:
                    yield part

    return any(
        part.name
        and not part.materialized
        and not part.writes
        and any(
            other is not user and other.writes & (set(READ.findall(part.text)) - names)
            for user in users(part.name)
            for other in found
        )
        for part in found
    )


def clock_of_a_worker(sql: str) -> bool:
    """now() of a CTE that reads is that of the shard's server, and no other time of the transaction equals it."""
    found = parts(sql)
    return any(part.writes for part in found) and any(
        part.name and not part.writes and CLOCK.search(part.text) is not None for part in found
    )


def clock_in_a_condition(sql: str) -> bool:
    """In an UPDATE, Citus allows only IMMUTABLE functions within CASE and coalesce()."""
    return any(
        part.text.startswith("UPDATE") and any(CLOCK.search(block) is not None for block in blocks(part.text))
        for part in parts(sql)
    )


RULES: dict[Callable[[str], bool], tuple[list[str], list[str]]] = {
    simple_case: (
        ["SELECT CASE a WHEN 'x' THEN 1 END FROM t", "SELECT CASE %(a)s WHEN 'x' THEN 1 END"],
        ["SELECT CASE WHEN a = 'x' THEN 1 END FROM t", "SELECT 'CASE a' FROM t", "SELECT 1 -- CASE a\nFROM t"],
    ),
    subquery_in_values: (
        [
            "INSERT INTO t (a) VALUES ((SELECT b FROM u))",
            "WITH w AS (INSERT INTO t (a, b) VALUES (1, coalesce((SELECT b FROM u), 2)) RETURNING a) SELECT a FROM w",
        ],
        [
            "INSERT INTO t (a) VALUES (coalesce(%(a)s, 'SELECT'))",
            "INSERT INTO t (a) SELECT b FROM (VALUES (1)) AS u (b) ON CONFLICT DO NOTHING",
            "WITH w AS (INSERT INTO t (a) VALUES (1) RETURNING a) SELECT (SELECT max(b) FROM u) FROM w",
        ],
    ),
    insert_by_copy: (
        [
            "INSERT INTO t (a) SELECT b FROM u",
            "INSERT INTO t (a) SELECT b FROM u WHERE b IN (SELECT c FROM v ON CONFLICT)",
            "WITH w AS (INSERT INTO t (a) VALUES (1) RETURNING a), x AS (INSERT INTO u (a) SELECT a FROM w) SELECT 1",
        ],
        [
            "INSERT INTO t (a) SELECT b FROM u ON CONFLICT (a) DO NOTHING",
            "WITH w AS (INSERT INTO t (a) SELECT b FROM u RETURNING a) SELECT a FROM w",
            "INSERT INTO t (a) VALUES (1)",
        ],
    ),
    read_after_write: (
        [
            "WITH r AS (SELECT a FROM t), w AS (INSERT INTO t (a) VALUES (1)) SELECT a FROM r",
            "WITH r AS (SELECT a FROM t), w AS (INSERT INTO t (a) VALUES (1) RETURNING a), "
            "x AS (UPDATE u SET b = r.a FROM r) SELECT a FROM w",
            "WITH r AS (SELECT a FROM t), s AS (SELECT a FROM r), w AS (DELETE FROM t) SELECT a FROM s",
            "WITH r AS NOT MATERIALIZED (SELECT b FROM u JOIN t ON TRUE), w AS (UPDATE t SET a = 1) SELECT b FROM r",
        ],
        [
            "WITH r AS MATERIALIZED (SELECT a FROM t), w AS (INSERT INTO t (a) VALUES (1)) SELECT a FROM r",
            "WITH r AS (SELECT a FROM u), w AS (INSERT INTO t (a) VALUES (1)) SELECT a FROM r",
            "WITH r AS (SELECT a FROM t) UPDATE t SET a = r.a FROM r",
            "WITH r AS (SELECT a FROM t), s AS (SELECT a FROM r) INSERT INTO t (a) SELECT a FROM s RETURNING a",
            "WITH r AS (SELECT a FROM t), s AS MATERIALIZED (SELECT a FROM r), w AS (DELETE FROM t) SELECT a FROM s",
            "WITH r AS (SELECT a FROM t FOR NO KEY UPDATE) SELECT a FROM r",
            "WITH w AS (DELETE FROM t RETURNING a) SELECT a FROM w",
        ],
    ),
    clock_of_a_worker: (
        ["WITH r AS (SELECT now() AS at) UPDATE t SET a = r.at FROM r"],
        ["UPDATE t SET a = now()", "WITH r AS (SELECT now() AS at) SELECT at FROM r"],
    ),
    clock_in_a_condition: (
        [
            "UPDATE t SET a = coalesce(%(a)s, now())",
            "UPDATE t SET a = CASE WHEN b THEN CASE WHEN c THEN 1 END ELSE date_trunc('day', now()) END",
            "WITH w AS (UPDATE t SET a = greatest(1, coalesce(f(%(a)s), now())) RETURNING a) SELECT a FROM w",
        ],
        [
            "UPDATE t SET a = greatest(%(a)s, least(now(), CASE WHEN b THEN 1 END))",
            "INSERT INTO t (a) VALUES (coalesce(%(a)s, now()))",
        ],
    ),
}


def of_a_service() -> dict[str, str]:
    """The SQL that runs as the service."""
    every = {name: query.sql.decode() for name, query in queries.load_all().items()}
    return {name: sql for name, sql in every.items() if name.partition(".")[0] not in OF_THE_OWNER}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_query_of_a_service_runs_on_a_cluster(rule: Callable[[str], bool]) -> None:
    sqls = of_a_service()
    assert {name.partition(".")[0] for name in sqls} >= {"locks", "merges", "skills", "usage"}
    assert [name for name, sql in sqls.items() if rule(sql)] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_query_that_breaks_the_rule_is_found(rule: Callable[[str], bool]) -> None:
    breaking, keeping = RULES[rule]
    assert [sql for sql in breaking if not rule(sql)] == []
    assert [sql for sql in keeping if rule(sql)] == []


def test_a_statement_is_split_into_its_parts() -> None:
    sql = "WITH a AS (SELECT f(1) FROM t), -- A comment.\nb AS NOT MATERIALIZED (\nDELETE FROM u\n)\nSELECT ')' FROM a"
    assert parts(sql) == [Part("a", "SELECT f(1) FROM t"), Part("b", "DELETE FROM u"), Part("", "SELECT '' FROM a")]
