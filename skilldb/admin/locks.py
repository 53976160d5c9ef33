"""Tells which locks a migration's statements take on which tables, from a table of lock modes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg

from skilldb import queries

_SQL = queries.load("admin/migrate")

# Weakest first, each with what other sessions cannot do meanwhile (PostgreSQL documentation, "Table-Level Locks").
MODES = {
    "ACCESS SHARE": "blocks neither reads nor writes",
    "ROW SHARE": "blocks only writes of the rows that it locks",
    "ROW EXCLUSIVE": "blocks only writes of the rows that it writes",
    "SHARE UPDATE EXCLUSIVE": "blocks neither reads nor writes",
    "SHARE": "blocks writes",
    "SHARE ROW EXCLUSIVE": "blocks writes",
    "EXCLUSIVE": "blocks writes",
    "ACCESS EXCLUSIVE": "blocks reads and writes",
}
_STRENGTH = {mode: strength for strength, mode in enumerate(MODES)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKey:
    """A foreign key of `table`, which refers to `parent`."""

    table: str
    name: str
    columns: list[str]
    parent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """What a statement does not say itself: the existing tables, their foreign keys, and each index's table."""

    tables: frozenset[str] = frozenset()
    foreign_keys: tuple[ForeignKey, ...] = ()
    indexes: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Locks:
    """The strongest mode on each table, the tables that are created, and the parts whose locks are not known."""

    modes: dict[str, str] = field(default_factory=dict)
    created: set[str] = field(default_factory=set)
    unknown: list[str] = field(default_factory=list)

    def add(self, mode: str | None, tables: Iterable[str]) -> None:
        """Record the lock mode for the tables, unless a stronger one is recorded already."""
        for table in tables:
            if mode and _STRENGTH[mode] >= _STRENGTH[self.modes.get(table, "ACCESS SHARE")]:
                self.modes[table] = mode


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of statement, or of action of ALTER TABLE. `pattern` matches its beginning.

    - `mode`: the lock on the table that it names, or on the table of the index that it names. None means no lock.
    - `parents`: the lock on the tables that the table's foreign keys refer to. An action locks only the parents of the
      keys that it names.
    - `children`: the lock on the tables whose foreign keys refer to the table.
    - `reads`: the lock on the tables after FROM and JOIN.
    """

    pattern: str
    mode: str | None
    parents: str | None = None
    children: str | None = None
    reads: str | None = None


_NAME = r'"?\w+"?(?:\."?\w+"?)*'
_TABLE = rf"(?:IF (?:NOT )?EXISTS )?(?:ONLY )?(?P<table>{_NAME}(?: ?, ?{_NAME})*)"
_INDEX = _TABLE.replace("<table>", "<index>")

# The first match counts. Tests compare each line with pg_locks on every PostgreSQL version that they run on.
STATEMENTS = (
    Kind(r"CREATE (UNIQUE )?INDEX CONCURRENTLY .*?\bON {table}", "SHARE UPDATE EXCLUSIVE"),
    Kind(r"CREATE (UNIQUE )?INDEX .*?\bON {table}", "SHARE"),
    Kind(r"DROP INDEX CONCURRENTLY {index}", "SHARE UPDATE EXCLUSIVE"),
    Kind(r"DROP INDEX {index}", "ACCESS EXCLUSIVE"),
    Kind(r"REINDEX INDEX CONCURRENTLY {index}", "SHARE UPDATE EXCLUSIVE"),
    Kind(r"REINDEX INDEX {index}", "SHARE"),
    Kind(r"REINDEX TABLE CONCURRENTLY {table}", "SHARE UPDATE EXCLUSIVE"),
    Kind(r"REINDEX TABLE {table}", "SHARE"),
    Kind(r"ALTER INDEX {index} (RENAME TO|SET \(|RESET \()", None),
    Kind(r"CREATE TABLE (IF NOT EXISTS )?\S+ PARTITION OF {table}", "ACCESS EXCLUSIVE", parents="SHARE ROW EXCLUSIVE"),
    Kind(r"CREATE TABLE .*\bINHERITS ?\( ?{table}", "SHARE UPDATE EXCLUSIVE"),
    Kind(r"CREATE TABLE {table}", None),
    Kind(r"CREATE (OR REPLACE )?VIEW", None, reads="ACCESS SHARE"),
    Kind(r"TRUNCATE (TABLE )?{table}", "ACCESS EXCLUSIVE", children="ACCESS EXCLUSIVE"),
    Kind(r"LOCK (TABLE )?{table} IN SHARE MODE", "SHARE"),
    Kind(r"LOCK (TABLE )?{table}", "ACCESS EXCLUSIVE"),
    Kind(r"(VACUUM (FULL|\([^)]*\bFULL\b[^)]*\))|CLUSTER)[^;]*? {table}", "ACCESS EXCLUSIVE"),
    Kind(r"VACUUM (\([^)]*\) )?(ANALYZE )?{table}", "SHARE UPDATE EXCLUSIVE"),
    Kind(r"DROP TABLE {table} CASCADE", "ACCESS EXCLUSIVE", parents="ACCESS EXCLUSIVE", children="ACCESS EXCLUSIVE"),
    Kind(r"DROP TABLE {table}", "ACCESS EXCLUSIVE", parents="ACCESS EXCLUSIVE"),
    Kind(r"CREATE POLICY \S+ ON {table}", "ACCESS EXCLUSIVE"),
    Kind(r"ALTER POLICY \S+ ON {table}", "ACCESS EXCLUSIVE"),
    Kind(r"DROP POLICY (IF EXISTS )?\S+ ON {table}", "ACCESS EXCLUSIVE"),
    Kind(r"CREATE (CONSTRAINT )?TRIGGER .*?\bON {table}", "SHARE ROW EXCLUSIVE"),
    Kind(r"DROP TRIGGER (IF EXISTS )?\S+ ON {table}", "ACCESS EXCLUSIVE"),
    Kind(r"CREATE STATISTICS .*?\bFROM {table}", "SHARE UPDATE EXCLUSIVE"),
    Kind(r"ANALYZE {table}", "SHARE UPDATE EXCLUSIVE"),
    Kind(r"COMMENT ON TABLE {table}", "SHARE UPDATE EXCLUSIVE"),
    Kind(r"COMMENT ON COLUMN (?P<table>\S+)\.\S+", "SHARE UPDATE EXCLUSIVE"),
    Kind(r"COMMENT ON (CONSTRAINT|POLICY) \S+ ON {table}", "ACCESS SHARE"),
    Kind(r"COMMENT ON (FUNCTION|AGGREGATE|INDEX|ROLE|SCHEMA)", None),
    # From PostgreSQL 18 on, GRANT and REVOKE lock the table.
    Kind(r"(GRANT|REVOKE) .*?\bON (ALL|FUNCTION|SCHEMA|DATABASE)", None),
    Kind(r"(GRANT|REVOKE) .*?\bON (TABLE )?{table}", "ACCESS SHARE"),
    Kind(r"(GRANT|REVOKE) \S+ (TO|FROM)", None),
    Kind(r"(CREATE|ALTER|DROP) ROLE", None),
    Kind(r"(CREATE|CREATE OR REPLACE|DROP) (FUNCTION|AGGREGATE)", None),
    Kind(r"(CREATE|DROP) DOMAIN(?!.* CASCADE\b)", None),
    Kind(r"INSERT INTO {table}", "ROW EXCLUSIVE", parents="ROW SHARE", reads="ACCESS SHARE"),
    Kind(r"UPDATE {table}", "ROW EXCLUSIVE", reads="ACCESS SHARE"),
    Kind(r"DELETE FROM {table}", "ROW EXCLUSIVE", children="ROW EXCLUSIVE", reads="ACCESS SHARE"),
    Kind(r"(SELECT|PERFORM) .*\bFOR (NO KEY )?(UPDATE|SHARE|KEY SHARE)\b", None, reads="ROW SHARE"),
    Kind(r"(SELECT|PERFORM)\b", None, reads="ACCESS SHARE"),
    Kind(r"SET\b", None),
    # PL/pgSQL's own statements, in DO blocks.
    Kind(r"(RAISE|END|NULL)\b", None),
)

ALTER_TABLE = re.compile(rf"ALTER TABLE {_TABLE} (?P<actions>.*)", re.IGNORECASE)
ACTIONS = (
    Kind(r"ADD (CONSTRAINT \S+ )?FOREIGN KEY", "SHARE ROW EXCLUSIVE"),
    Kind(r"VALIDATE CONSTRAINT (?P<key>\w+)", "SHARE UPDATE EXCLUSIVE", parents="ROW SHARE"),
    Kind(r"(SET|RESET) \(", "SHARE UPDATE EXCLUSIVE"),
    Kind(r"ALTER (COLUMN )?\S+ (SET STATISTICS|(SET|RESET) \()", "SHARE UPDATE EXCLUSIVE"),
    Kind(r"(ENABLE|DISABLE) TRIGGER", "SHARE ROW EXCLUSIVE"),
    Kind(r"DROP (CONSTRAINT|COLUMN) (IF EXISTS )?(?P<key>\w+)", "ACCESS EXCLUSIVE", parents="ACCESS EXCLUSIVE"),
    Kind(r"ADD\b", "ACCESS EXCLUSIVE"),
    Kind(r"ALTER\b", "ACCESS EXCLUSIVE"),
    Kind(r"RENAME\b", "ACCESS EXCLUSIVE"),
    Kind(r"OWNER TO\b", "ACCESS EXCLUSIVE"),
    Kind(r"(ENABLE|DISABLE|FORCE|NO FORCE) ROW LEVEL SECURITY", "ACCESS EXCLUSIVE"),
)

# The control structures that may precede a statement in PL/pgSQL.
_CONTROL = re.compile(
    r"(BEGIN|ELSE|LOOP|EXCEPTION|(IF|ELSIF|WHEN)\b.*?\bTHEN|(FOR|FOREACH|WHILE)\b.*?\bLOOP)\b ?", re.IGNORECASE
)
_DO = re.compile(r"DO (LANGUAGE \w+ )?(?P<tag>\$\w*\$)(?P<body>.*)(?P=tag)", re.IGNORECASE | re.DOTALL)


def of_statement(statement: str, catalogue: Catalogue) -> Locks:
    """The locks that one statement takes at most. It takes fewer if its work is done already."""
    found = Locks()
    sql = _flat(statement)
    if block := _DO.match(sql):
        body = re.sub(r"^ ?DECLARE\b.*?\bBEGIN\b", "BEGIN", _flat(block["body"]), flags=re.IGNORECASE)
        found.add("ACCESS SHARE", _read(body, catalogue))
        for part in body.split(";"):
            rest = part.strip()
            while control := _CONTROL.match(rest):
                rest = rest[control.end() :]
            if rest:
                _classify(rest, catalogue, found)
    else:
        _classify(sql, catalogue, found)
    return found


def catalogue(conn: psycopg.Connection[Any]) -> Catalogue:
    """The catalogue of the database, as far as the role's search_path shows it."""
    return Catalogue(
        tables=frozenset(name for (name,) in conn.execute(_SQL["list_tables"].sql)),
        foreign_keys=tuple(
            ForeignKey(table=table, name=name, columns=columns, parent=parent)
            for table, name, parent, columns in conn.execute(_SQL["list_references"].sql)
        ),
        indexes=dict(conn.execute(_SQL["list_indexed_tables"].sql).fetchall()),
    )


def _classify(sql: str, catalogue: Catalogue, found: Locks) -> None:
    if alter := ALTER_TABLE.match(sql):
        tables = _names(alter["table"])
        actions = _split(alter["actions"])
        kinds = [(action, match_kind(ACTIONS, action)) for action in actions]
    else:
        tables, kinds = [], [(sql, match_kind(STATEMENTS, sql))]
    for part, (kind, match) in kinds:
        if kind is None or match is None:
            found.unknown.append(part)
            continue
        named = match.groupdict()
        key = named.get("key")
        if not alter:
            tables = _names(named.get("table") or "")
            tables += [catalogue.indexes.get(i, f"the table of index {i}") for i in _names(named.get("index") or "")]
        found.add(kind.mode, tables)
        keys = catalogue.foreign_keys
        found.add(
            kind.parents,
            [k.parent for k in keys if k.table in tables and (key is None or key == k.name or key in k.columns)],
        )
        found.add(kind.children, [k.table for k in keys if k.parent in tables])
        if kind.reads:
            found.add(kind.reads, _read(part, catalogue))
        if new := re.match(rf"CREATE TABLE {_TABLE}", part, flags=re.IGNORECASE):
            found.created |= set(_names(new["table"]))
        if part.upper().startswith(("CREATE TABLE", "ADD ")):
            found.add("SHARE ROW EXCLUSIVE", re.findall(r"\bREFERENCES (?:\w+\.)*(\w+)", part, flags=re.IGNORECASE))


def match_kind(kinds: tuple[Kind, ...], sql: str) -> tuple[Kind, re.Match[str]] | tuple[None, None]:
    """The first kind whose pattern matches the beginning of the SQL."""
    for kind in kinds:
        pattern = kind.pattern.replace("{table}", _TABLE).replace("{index}", _INDEX)
        if match := re.match(pattern, sql, flags=re.IGNORECASE):
            return kind, match
    return None, None


def _flat(sql: str) -> str:
    """The SQL in one line, without comments and without the contents of single quotes. Dollar quotes are kept."""
    sql = re.sub(r"('[^']*')|--[^\n]*|/\*.*?\*/", lambda found: "''" if found[1] else " ", sql, flags=re.DOTALL)
    return re.sub(r"\s+", " ", sql).strip().rstrip(";")


def _names(names: str) -> list[str]:
    return [name.split(".")[-1].strip('" ') for name in names.split(",") if name]


def _read(sql: str, catalogue: Catalogue) -> set[str]:
    return set(re.findall(r"\b(?:FROM|JOIN|USING) (?:\w+\.)*(\w+)", sql, flags=re.IGNORECASE)) & catalogue.tables


def _split(actions: str) -> Iterator[str]:
    """Split at the commas outside parentheses."""
    depth, start = 0, 0
    for at, letter in enumerate(actions):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and not depth:
            yield actions[start:at].strip()
            start = at + 1
    yield actions[start:].strip()
