"""Writes docs/reliability.md: the promises under faults and attacks, with the figures of the run that tested them.

`make test` runs a short form of each test with the marker `torture`. `make torture` runs the long form and then writes
the page. SKILLDB_TORTURE names the file for the figures of the long run; it is unset in a short run.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from tests.support.server import CHECKOUT

FIGURES = os.environ.get("SKILLDB_TORTURE")
PAGE = CHECKOUT / "docs" / "reliability.md"


def size(quick: int, long: int) -> int:
    """The number of repetitions in this run: `long` in the long form, otherwise `quick`."""
    return long if FIGURES else quick


def record(
    promise: str, *, tested: str, ablation: str, figures: Mapping[str, int | str], losses: int = 0, leaks: int = 0
) -> None:
    """Record a test's figures, and fail if anything was lost or leaked.

    `promise`: one sentence without a full stop. `tested`: how this test checks it. `ablation`: each defect that was
    built in on purpose and made this test fail. `figures`: names and counts. `losses`: acknowledged writes that are
    missing or counted twice, and wrong results. `leaks`: rows of another organisation, and connections or
    transactions that stay open.
    """
    if FIGURES:
        row = {"promise": promise, "tested": tested, "ablation": ablation, "figures": dict(figures)}
        with Path(FIGURES).open(
            "a", encoding="utf-8"
        ) as file:  # One write per line, because two workers share the file.
            file.write(json.dumps(row | {"losses": losses, "leaks": leaks}) + "\n")
    assert (losses, leaks) == (0, 0), f"{promise}: {losses} losses, {leaks} leaks, {dict(figures)}"


def page(rows: list[dict[str, object]], machine: str) -> str:
    """The Markdown of docs/reliability.md."""
    lines = [
        "# Promises under faults and attacks",
        "",
        f"`make torture` wrote this page ({machine}). Each line says how a promise was tested. The same test was seen",
        "to fail for each defect in the last column, which was built in on purpose.",
        "",
        "| promise | how tested | figures | losses | leaks | fails if |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        assert isinstance(row["figures"], dict)
        figures = "<br>".join(
            f"{value:,} {name}" if isinstance(value, int) else f"{name}: {value}"
            for name, value in row["figures"].items()
        )
        cells = [row["promise"], row["tested"], figures, row["losses"], row["leaks"], row["ablation"]]
        lines.append(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Write the page from the figures of the long run."""
    assert FIGURES, "SKILLDB_TORTURE names the file of figures"
    rows = [json.loads(line) for line in Path(FIGURES).read_text(encoding="utf-8").splitlines()]
    day = datetime.now(UTC).date().isoformat()
    machine = f"{day}, Python {platform.python_version()}, {os.cpu_count()} cores"
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(sorted(rows, key=lambda row: str(row["promise"])), machine), encoding="utf-8")


if __name__ == "__main__":
    main()
