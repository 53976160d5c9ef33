"""Tests that the links between the project's documents lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.server import CHECKOUT

LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]*)(?:#([^)\s]*))?\)")


def anchors(document: Path) -> set[str]:
    """The anchors of the headings, as code hosts make them from the text."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead(document: Path) -> list[str]:
    """A sentence for each relative link of the document that leads nowhere."""
    found = []
    for path, anchor in LINK.findall(document.read_text(encoding="utf-8")):
        if path.startswith(("http:", "https:", "mailto:")):
            continue
        target = document.parent / path if path else document
        if not target.exists():
            found.append(f"{document.name} links to {path}, which does not exist")
        elif anchor and target.suffix == ".md" and anchor not in anchors(target):
            found.append(f"{document.name} links to {path}#{anchor}, but {target.name} has no such heading")
    return found


def test_every_link_between_documents_leads_somewhere() -> None:
    documents = [*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md")]
    assert len(documents) > 20
    assert [sentence for document in documents for sentence in dead(document)] == []


def test_a_dead_link_is_named(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text("# One\n[b](b.md) [one](#one) [two](#two) [out](https://example.com/c.md) [self](a.md#one)")
    assert dead(document) == [
        "a.md links to b.md, which does not exist",
        "a.md links to #two, but a.md has no such heading",
    ]
