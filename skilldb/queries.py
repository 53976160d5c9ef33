"""Reads the named queries of sql/ and checks them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from skilldb import examples
from skilldb.query import Query
from skilldb.values import ADAPT

_HEADER = re.compile(r"-- name: (?P<name>[a-z][a-z0-9_]*)\((?P<parameters>[^)]*)\)\n")
_PARAMETER = re.compile(r"%\((?P<name>\w+)\)s(?:::(?P<type>\w+(?:\[\])?))?")
_TENANT = "tenant_id"


def folder(name: str) -> Path:
    """The folder `sql` or `migrations`: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name


@cache
def load(file: str) -> Mapping[str, Query]:
    """The queries of `sql/<file>.sql` by name. `file` may be `admin/migrate`. ValueError: the file is malformed."""
    path = folder("sql") / f"{file}.sql"
    found = parse(path.read_text(encoding="utf-8"), path.stem)
    for query in found.values():
        name = f"{path.stem}.{query.name}"
        examples.require(name, query.types, query.examples)
        if unknown := [each for each in query.run_first if each not in found]:
            raise ValueError(
                f"{name}: its `-- Run first:` line names {', '.join(unknown)}, which is no query of this file. "
                f"The file has: {', '.join(found)}"
            )
    return found


def load_all() -> dict[str, Query]:
    """All queries of sql/, by `file.name`. ValueError: two of them share a name."""
    root = folder("sql")
    files = sorted([*root.glob("*.sql"), *root.glob("admin/*.sql")], key=lambda path: path.stem)
    loaded = {path.stem: load(path.relative_to(root).with_suffix("").as_posix()) for path in files}
    names = [name for queries in loaded.values() for name in queries]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"queries of the same name in two files: {', '.join(sorted(twice))}")
    return {f"{file}.{name}": query for file, queries in loaded.items() for name, query in queries.items()}


def parse(text: str, file: str) -> dict[str, Query]:
    """The queries of one file's text. ValueError: for example, the declared parameters are not those in use.

    tenant_id is not declared.
    """
    starts = [match.start() for match in _HEADER.finditer(text)]
    preamble = text[: starts[0]] if starts else text
    if not starts or any(line.strip() and not line.startswith("--") for line in preamble.splitlines()):
        raise ValueError(f"{file}: expected comments and then `-- name: query(parameters)`")
    queries: dict[str, Query] = {}
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        sql = text[start:end].strip()
        header = _HEADER.match(sql)
        if header is None:
            raise ValueError(f"{file}: no SQL after {sql!r}")
        name = f"{file}.{header['name']}"
        lines = sql.splitlines()
        comments = [line for line in lines if line.lstrip().startswith("--")]
        body = "\n".join(line for line in lines if line not in comments).strip()
        if not body.removesuffix(";"):
            raise ValueError(f"{name}: has no SQL")
        if not (body.endswith(";") and sql.endswith(";")):
            raise ValueError(f"{name}: must end with a semicolon")
        if ";" in re.sub(r"(\$\w*\$).*?\1|'[^']*'", "", body[:-1], flags=re.DOTALL):
            raise ValueError(f"{name}: holds more than one statement")
        # psycopg looks for parameters in comments and strings too.
        if "%" in "".join(comments) + _PARAMETER.sub("", body).replace("%%", ""):
            raise ValueError(f"{name}: has a % that is not part of a parameter. In SQL, type %% for a percent sign")
        if header["name"] in queries:
            raise ValueError(f"{name}: the file has two queries of this name")
        verb, rest = re.split(r"\b(?=\W)", body[:-1], maxsplit=1)
        types = _types(name, header["parameters"], body)
        queries[header["name"]] = Query(
            header["name"],
            f"{verb} /* {name} */{rest}".encode(),
            types,
            _line(name, "Reads all", comments),
            examples.read(name, _line(name, "Example", comments), types),
            tuple(re.findall(r"\w+", _line(name, "Run first", comments) or "")),
        )
    return queries


def _line(name: str, label: str, comments: list[str]) -> str | None:
    """The text of the header's line `-- label: `. A line that ends with a comma continues on the next line."""
    found = re.findall(rf"^-- {label}: ((?:.*,\n-- )*.*)$", "\n".join(comments), flags=re.MULTILINE)
    if len(found) > 1:
        raise ValueError(f"{name}: has two `-- {label}:` lines. Join them: a line that ends with a comma continues")
    return found[0].replace("\n-- ", " ") if found else None


def _types(name: str, declared: str, body: str) -> dict[str, str]:
    types: dict[str, str] = {}
    for match in _PARAMETER.finditer(body):
        cast = match["type"]
        if types.get(match["name"], "") not in ("", cast or ""):
            if cast is not None:
                raise ValueError(f"{name}: parameter {match['name']} is cast to {types[match['name']]} and to {cast}")
            continue
        types[match["name"]] = cast or ""
    types = {parameter: cast or "text" for parameter, cast in types.items()}
    used = types.keys() - {_TENANT}
    expected = set(re.findall(r"\w+", declared))
    if used != expected:
        raise ValueError(f"{name}: declares {sorted(expected)} but uses {sorted(used)}")
    if unknown := set(types.values()) - ADAPT.keys():
        raise ValueError(f"{name}: no values of type {', '.join(sorted(unknown))}")
    return types
