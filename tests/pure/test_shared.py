"""Tests of skilldb. They share code in tests/support/; no test module imports another."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.support.server import CHECKOUT


def imported(name: str, text: str) -> Iterator[str]:
    """The full names of the modules that a module of tests/ imports, at any place in its code."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(name.split(".")[: -node.level]) if node.level else ""
            source = ".".join(part for part in (package, node.module) if part)
            yield from (f"{source}.{alias.name}" for alias in node.names)


def is_test(module: str) -> bool:
    """Whether the name is a test module, a name in a test module, or a conftest."""
    parts = module.split(".")
    return parts[0] == "tests" and any(part.startswith("test_") or part == "conftest" for part in parts)


def complaints(files: dict[str, str]) -> list[str]:
    """One message per import of a test module, with the right place for the imported code."""
    return [
        f"{name} must not import {target}. Code that two test modules share belongs to tests/support/"
        for name, text in files.items()
        for target in imported(name, text)
        if is_test(target)
    ]


def texts() -> dict[str, str]:
    return {
        ".".join(path.relative_to(CHECKOUT).with_suffix("").parts): path.read_text(encoding="utf-8")
        for path in (CHECKOUT / "tests").rglob("*.py")
    }


def test_no_test_module_imports_another_test_module() -> None:
    files = texts()
    assert len(files) > 50
    assert complaints(files) == []


@pytest.mark.parametrize(
    ("line", "target"),
    [
        ("from tests.core.test_core import ask", "tests.core.test_core.ask"),
        ("from tests.core import test_core", "tests.core.test_core"),
        ("import tests.core.test_core", "tests.core.test_core"),
        ("from tests.conftest import rows", "tests.conftest.rows"),
        ("from .test_core import ask", "tests.core.test_core.ask"),
        ("from ..core import test_core", "tests.core.test_core"),
        ("def ask():\n    from tests.core.test_core import ask", "tests.core.test_core.ask"),
    ],
)
def test_an_import_of_a_test_module_is_named_with_the_place_of_what_is_shared(line: str, target: str) -> None:
    sentence = (
        f"tests.core.test_fork must not import {target}. Code that two test modules share belongs to tests/support/"
    )
    assert complaints({"tests.core.test_fork": line}) == [sentence]
