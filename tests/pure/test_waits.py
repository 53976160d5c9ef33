"""Tests that every wait of the tests has a bound: a wait without one hides which test hangs."""

from __future__ import annotations

import ast

import pytest

from tests.support.server import CHECKOUT

RUN = {"run", "call", "check_call", "check_output"}
# Without an argument these wait as long as it takes.
WAITS = {"join", "wait", "result", "exception", "communicate"}


def unbounded(text: str) -> list[tuple[int, str]]:
    """The waits of a module that have no bound: the line, and what to do."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.While) and all(isinstance(each, ast.Pass) for each in node.body):
            found.append((node.lineno, "use until() of tests/support/database.py"))
        if not isinstance(node, ast.Call) or any(keyword.arg == "timeout" for keyword in node.keywords):
            continue
        name = ast.unparse(node.func)
        if name in {f"subprocess.{run}" for run in RUN}:
            found.append((node.lineno, "give it a timeout"))
        elif name == "subprocess.Popen":
            found.append((node.lineno, "use running() of tests/support/waits.py"))
        elif name == "threading.Thread" and not any(keyword.arg == "daemon" for keyword in node.keywords):
            found.append((node.lineno, "use started() of tests/support/waits.py"))
        elif isinstance(node.func, ast.Attribute) and node.func.attr in WAITS and not node.args:
            found.append((node.lineno, "give it a timeout; for a thread use ended() of tests/support/waits.py"))
    return found


def test_every_wait_has_a_bound() -> None:
    """waits.py holds the bounded waits themselves. The proxy's loops end with their client or with the process."""
    left_out = {"tests/support/waits.py", "tests/support/proxy.py"}
    found = [
        f"{name}:{line} may wait for ever: {advice}"
        for path in sorted((CHECKOUT / "tests").rglob("*.py"))
        if (name := path.relative_to(CHECKOUT).as_posix()) not in left_out
        for line, advice in unbounded(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "subprocess.run(['true'], check=True)",
        "subprocess.Popen(['true'])",
        "threading.Thread(target=print).start()",
        "thread.join()",
        "process.wait()",
        "future.result()",
        "while not done():\n    pass",
    ],
)
def test_a_wait_without_a_bound_is_named(line: str) -> None:
    assert len(unbounded(line)) == 1


def test_a_wait_with_a_bound_is_not_named() -> None:
    text = "subprocess.run([], timeout=60)\nfuture.result(timeout=60)\nthread.join(60)\n', '.join(names)"
    assert unbounded(text) == []
