"""Makes random front matters, and what each must be read as."""

from __future__ import annotations

import json
from random import Random
from typing import Any

WORDS = (
    "use",
    "when",
    "a",
    "table",
    "naïve",
    "日本",
    "🎉",
    "-",
    "1.10",
    "0755",
    "12:30",
    "on",
    "~",
    "null",
    "2026-01-02",
    "x#y",
)
PLAIN = (
    "words of it",
    "1.10",
    "0755",
    "12:30",
    "on",
    "yes",
    "null",
    "~",
    "2026-01-02",
    ".inf",
    "0x1F",
    "é 日本 🎉",
    "a#b",
)
STRANGE = "\t\"'`*&!%@{}[]|>:#,-? \\\x07\x1b\u2028\ufeff\U0001f389é"


def text(random: Random) -> str:
    return " ".join(random.choice(WORDS) for _ in range(random.randint(1, 8)))


def scalar(random: Random) -> tuple[str, str]:
    """A scalar as YAML, and the text that it stands for."""
    match random.randrange(4):
        case 0:
            plain = random.choice(PLAIN)
            return plain, plain
        case 1:
            value = text(random) + random.choice(("", ": it's", " # no comment", "\\"))
            return "'" + value.replace("'", "''") + "'", value
        case 2:
            value = text(random) + random.choice(("", "\n", '"', "\t", "\x07", "\\n"))
            return json.dumps(value, ensure_ascii=False), value
    # Written by hand, without quotes: not always YAML.
    value = random.choice(("**Bold** words", "Use when: it rains", "@team", "`code` first", "[a] [b]", "100% of: it"))
    return value, value


def value(random: Random, indent: int) -> tuple[list[str], Any]:
    """The text behind `key:` and the lines below it, and what it stands for."""
    kind = random.randrange(8) if indent < 8 else 0
    if kind == 6:
        items = [scalar(random) for _ in range(random.randint(1, 3))]
        # A list's items are never quoted afterwards: only those that are YAML.
        items = [(json.dumps(found, ensure_ascii=False), found) for _, found in items]
        return ["", *(f"{' ' * indent}  - {written}" for written, _ in items)], [found for _, found in items]
    if kind == 7:
        lines, mapping = entries(random, indent + 2)
        return ["", *lines], mapping
    written, found = scalar(random)
    return [f" {written}"], found


def entries(random: Random, indent: int, first: str = "k") -> tuple[list[str], dict[str, Any]]:
    lines: list[str] = []
    made: dict[str, Any] = {}
    for number in range(random.randint(1, 4)):
        key = f"{first}{number}{random.choice(('', '-x', '_y', '.z', ' w'))}"
        (head, *below), found = value(random, indent)
        lines += [f"{' ' * indent}{key}:{head}", *below]
        made[key] = found
    return lines, made


def front_matter(random: Random) -> tuple[str, dict[str, Any]]:
    """A SKILL.md, and what its front matter holds."""
    name, description = scalar(random), scalar(random)
    lines, made = entries(random, 0)
    front = [f"name: {name[0]}", f"description: {description[0]}", *lines]
    return (
        "---\n" + "\n".join(front) + "\n---\n# Body\n",
        {"name": name[1].strip(), "description": description[1].strip(), **made},
    )


def damaged(random: Random, content: str) -> str:
    """The content with some characters replaced, left out or added."""
    letters = list(content)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(4, len(letters))
        match random.randrange(4):
            case 0:
                del letters[at]
            case 1:
                letters.insert(at, random.choice(STRANGE))
            case 2:
                letters[at] = random.choice(STRANGE)
            case 3:
                line = content.split("\n")[random.randrange(content.count("\n"))]
                letters[at:at] = ["\n", *line, "\n"]
    return "".join(letters)
