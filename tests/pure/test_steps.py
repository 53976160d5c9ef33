"""Tests that each repository function took the steps of "Add a query" in CONTRIBUTING.md that nothing else checks."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tests.support.functions import FUNCTIONS
from tests.support.model import Organisation
from tests.support.server import CHECKOUT


def forgotten(functions: Mapping[str, object], model: type, tests: str, readme: str) -> list[str]:
    """One message per step that a function lacks, with advice."""
    found = []
    for name in functions:
        module, _, function = name.partition(".")
        if not re.search(rf"\b{module}\.{function}\b", tests):
            found.append(f"{name} has no test: call it in tests/repositories/test_{module}.py (step 4)")
        if not hasattr(model, function):
            found.append(f"{name} has no model: write Organisation.{function} in tests/support/model.py (step 5)")
        if f"`{function}`" not in readme:
            found.append(f"{name} is not in README: add it to the table of repositories (step 6)")
    return found


def test_every_function_took_every_step() -> None:
    tests = "".join(path.read_text() for path in (CHECKOUT / "tests" / "repositories").glob("test_*.py"))
    readme = (CHECKOUT / "README.md").read_text()
    assert forgotten(FUNCTIONS, Organisation, tests, readme) == []


def test_a_forgotten_step_is_named() -> None:
    assert forgotten({"skills.forget_skill": None}, Organisation, "skills.forget_skills()", "`forget`") == [
        "skills.forget_skill has no test: call it in tests/repositories/test_skills.py (step 4)",
        "skills.forget_skill has no model: write Organisation.forget_skill in tests/support/model.py (step 5)",
        "skills.forget_skill is not in README: add it to the table of repositories (step 6)",
    ]
    assert forgotten({"skills.get_skill": None}, Organisation, "skills.get_skill(", "`get_skill`") == []
