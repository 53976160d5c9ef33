"""Tests that each repository function took the steps of "Add a query" in CONTRIBUTING.md that nothing else checks."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from datetime import datetime, time
from typing import Any

from skilldb import models
from skilldb.statement import Statement
from tests.support.functions import FUNCTIONS, Function, Leaf, arguments, naming
from tests.support.model import Organisation
from tests.support.server import CHECKOUT
from tests.support.world import pool


def called(text: str) -> set[str]:
    """The calls of a test module, such as skills.get_skill. A name in a comment or a string is no call."""
    return {
        f"{node.func.value.id}.{node.func.attr}"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name)
    }


READS = ("get_", "list_", "count_", "search_", "find_", "compare_", "detect_")


def forgotten(functions: Iterable[str], model: type, tests: Iterable[str], readme: str, questions: str) -> list[str]:
    """A sentence for each step that a function lacks, with what to do."""
    found = []
    calls = set().union(*map(called, tests))
    for name in functions:
        module, _, function = name.partition(".")
        if name not in calls:
            found.append(f"{name} has no test: call it in tests/repositories/test_{module}.py (step 4)")
        if not hasattr(model, function):
            found.append(f"{name} has no model: write Organisation.{function} in tests/support/model.py (step 5)")
        if f"`{function}`" not in readme:
            found.append(f"{name} is not in README: add it to the table of repositories (step 6)")
        if function.startswith(READS) and f'"{name}"' not in questions:
            found.append(f"{name} answers no question: add one to benchmarks/questions.py (step 6)")
    return found


def not_exported(defined: Mapping[str, type], exported: Iterable[str]) -> list[str]:
    """A sentence for each class of skilldb/models/ that `skilldb.models` lacks."""
    return [
        f"{name} is not exported: import it in skilldb/models/__init__.py (step 2)"
        for name, kind in defined.items()
        if kind.__name__ not in exported
    ]


def without_values(functions: Mapping[str, Function]) -> list[str]:
    """A sentence for each parameter for which the tests have no value."""
    found: dict[str, None] = {}

    def noting(name: str, leaf: Leaf) -> Leaf:
        def noted(path: str, hint: Any, required: bool) -> Any:
            try:
                return leaf(path, hint, required)
            except AssertionError as error:
                found[f"{name}: {str(error).splitlines()[0]} (step 5)"] = None
                return None

        return noted

    for name, function in functions.items():
        arguments(function, noting(name, naming(lambda path: "id")))
        arguments(function, noting(name, lambda *of: pool(*of)[0]))
    return list(found)


def test_every_function_took_every_step() -> None:
    tests = [path.read_text() for path in (CHECKOUT / "tests" / "repositories").glob("test_*.py")]
    readme = (CHECKOUT / "README.md").read_text()
    questions = (CHECKOUT / "benchmarks" / "questions.py").read_text()
    assert forgotten(FUNCTIONS, Organisation, tests, readme, questions) == []


def test_every_parameter_has_values() -> None:
    assert without_values(FUNCTIONS) == []


def test_every_row_and_input_is_exported() -> None:
    assert not_exported(classes(), models.__all__) == []


def classes() -> dict[str, type]:
    """Every public class of skilldb/models/ by its module and name."""
    modules = [
        importlib.import_module(f"{models.__name__}.{each.name}") for each in pkgutil.iter_modules(models.__path__)
    ]
    return {
        f"{module.__name__}.{name}": kind
        for module in modules
        for name, kind in vars(module).items()
        if isinstance(kind, type) and kind.__module__ == module.__name__ and not name.startswith("_")
    }


def test_a_forgotten_step_is_named() -> None:
    for no_call in (
        "skills.forget_skills()",
        "# skills.forget_skill()",
        "'skills.forget_skill()'",
        "other.skills.forget_skill()",
        "f = skills.forget_skill",
    ):
        assert forgotten(["skills.forget_skill"], Organisation, [no_call], "`forget`", "") == [
            "skills.forget_skill has no test: call it in tests/repositories/test_skills.py (step 4)",
            "skills.forget_skill has no model: write Organisation.forget_skill in tests/support/model.py (step 5)",
            "skills.forget_skill is not in README: add it to the table of repositories (step 6)",
        ]
    answered = (Organisation, ["", "ask(skills.get_skill('s'))"], "`get_skill`")
    assert forgotten(["skills.get_skill"], *answered, '"skills.get_skill"') == []
    assert forgotten(["skills.get_skill"], *answered, '"skills.get_skills"') == [
        "skills.get_skill answers no question: add one to benchmarks/questions.py (step 6)"
    ]


def forget_skill(skill_id: str, moment: datetime, *, at: time, quick: bool = True) -> Statement[int]:
    raise NotImplementedError


def test_a_parameter_without_values_is_named() -> None:
    assert without_values({"skills.forget_skill": forget_skill}) == [
        "skills.forget_skill: no argument for at, which is time: "
        "add its name to KNOWN or its type to SAMPLES in tests/support/functions.py (step 5)",
        "skills.forget_skill: no values to choose from for moment, which is datetime: "
        "add moment to REQUIRED in tests/support/world.py (step 5)",
        "skills.forget_skill: no values to choose from for at, which is time: "
        "add at to REQUIRED in tests/support/world.py (step 5)",
        "skills.forget_skill: no values to choose from for quick, which is bool: "
        "add quick to OPTIONAL in tests/support/world.py (step 5)",
    ]


def test_a_row_that_is_not_exported_is_named() -> None:
    assert not_exported(classes(), [name for name in models.__all__ if name != "NewSkill"]) == [
        "skilldb.models.skills.NewSkill is not exported: import it in skilldb/models/__init__.py (step 2)"
    ]
