"""Tests how a SKILL.md is read: as the text that was written, or refused with a reason of one line."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from skilldb.importer.reading import SkillFile, UnreadableError, parse
from tests.support.front_matters import damaged, front_matter
from tests.support.reliability import size
from tests.support.server import CHECKOUT

CASES = CHECKOUT / "tests" / "support" / "importer_cases"


def front(block: str) -> SkillFile:
    """A file with this front matter, and a name."""
    return parse(f"---\nname: x\ndescription: d\n{block}\n---\n# x\n".encode())


def case(name: str) -> SkillFile:
    (path,) = (CASES / name).glob("*.md")
    return parse(path.read_bytes())


@pytest.mark.parametrize(
    ("folder", "name", "description"),
    [
        ("affirm", "yes", "A name that YAML takes for a truth value"),
        ("bold", "bold", "**Bold** words first"),
        ("number", "8004", "A name that YAML takes for a number"),
        ("use-when", "use-when", "Use when: the table has a header"),
    ],
)
def test_what_is_no_strict_yaml_is_read_as_written_with_a_warning(folder: str, name: str, description: str) -> None:
    file = case(f"05-lenient-yaml/{folder}")
    assert (file.name, file.description) == (name, description)
    assert len(file.warnings) == 1


def test_scalars_are_the_text_that_was_written() -> None:
    file = case("06-scalars/scalars")
    held = {"version": "1.10", "mode": "0755", "at": "12:30", "flag": "on", "day": "2026-01-02"}
    assert file.metadata == {"metadata": held}
    assert file.warnings == []
    assert front("a: .inf\nb: ~\nc:\nd: 1_000\ne: 'it''s'\nf: |\n  two\n  lines").metadata == {
        "a": ".inf",
        "b": "~",
        "c": "",
        "d": "1_000",
        "e": "it's",
        "f": "two\nlines",
    }


@pytest.mark.parametrize("folder", ["lf", "crlf", "bom"])
def test_line_ends_and_a_byte_order_mark_make_no_difference(folder: str) -> None:
    assert case(f"08-line-ends/{folder}/same-text") == case("08-line-ends/lf/same-text")


def test_category_and_tags_are_taken_out_and_the_rest_is_kept() -> None:
    file = case("12-mapped/mapped")
    assert (file.category, file.tags) == ("writing", ["memo", "office"])
    assert file.metadata == {"author": "sample-author", "version": "2.1.0", "license": "MIT", "compatibility": "any"}
    nested = front("metadata:\n  category: ' data '\n  tags: b, a, b,")
    assert (nested.category, nested.tags) == ("data", ["b", "a"])
    assert nested.metadata == {"metadata": {"category": " data ", "tags": "b, a, b,"}}
    odd = front("category: [a]\ntags:\n  a: b")
    assert (odd.category, odd.tags, len(odd.warnings)) == (None, [], 2)
    assert odd.metadata == {"category": ["a"], "tags": {"a": "b"}}


@pytest.mark.parametrize(
    ("block", "warning"),
    [
        ("license: [MIT]", "license is not text"),
        ("compatibility: " + "x" * 501, "compatibility has 501 characters"),
        ("allowed-tools: [Read]", "allowed-tools is not text"),
        ("metadata: text", "metadata is not a mapping"),
        ("a: &b [1]\nc: *b", "aliases are written out"),
        ("a: 1\na: 2", "the key 'a' is there 2 times"),
        ("2026-01-02: x", "the key '2026-01-02' is not text"),
        ("a: b: c", "not YAML until a was quoted"),
    ],
)
def test_what_a_strict_reader_would_refuse_is_a_warning(block: str, warning: str) -> None:
    (said,) = front(block).warnings
    assert warning in said


@pytest.mark.parametrize(
    ("name", "warned"),
    [("a-b2", False), ("A", True), ("a--b", True), ("-a", True), ("x" * 64, False), ("x" * 65, True)],
)
def test_a_name_is_compared_with_the_specification(name: str, warned: bool) -> None:
    file = parse(f"---\nname: {name}\ndescription: d\n---\n".encode())
    assert file.name == name
    assert (len(file.warnings) == 1) == warned


def test_nothing_is_lost_of_duplicate_keys_and_keys_that_are_no_text() -> None:
    assert front("a: 1\na: [2]\na: 3\na (earlier): 4").metadata == {
        "a": "3",
        "a (earlier)": "4",
        "a (earlier)+": ["1", ["2"]],
    }
    assert front("1: a\n? [x, y]\n: b\nm:\n  yes: c\n  yes: d").metadata == {
        "1": "a",
        '["x", "y"]': "b",
        "m": {"yes": "d", "yes (earlier)": ["c"]},
    }


@pytest.mark.parametrize("value", [r'"\ud800"', r'"\U00110000"', r'"\d+"', "[" * 60_000, "{a", "a\x07: b"])
def test_a_value_that_is_no_yaml_is_read_as_written(value: str) -> None:
    assert front(f"a: {value}").metadata == {"a": value}


def test_a_value_over_several_lines_is_quoted_as_one_text() -> None:
    block = "a: Use when: one\n  two: three\n\n  four\nb: |\n  kept: as it is: here\nm:\n  c: **d**\n  e: f"
    assert front(block).metadata == {
        "a": "Use when: one two: three\nfour",
        "b": "kept: as it is: here\n",
        "m": {"c": "**d**", "e": "f"},
    }


BROKEN: dict[str, tuple[str | bytes, str]] = {
    "no-front-matter": ("# Only Markdown", "does not begin with ---"),
    "unclosed": ("---\nname: X\n", "closing --- is missing"),
    "no-name": ("---\ndescription: X\n---\n", "no name"),
    "empty-name": ("---\nname: ' '\n---\n", "no name"),
    "name-is-a-list": ("---\nname: [a]\n---\n", "the name is not text"),
    "description-is-a-list": ("---\nname: a\ndescription: [a]\n---\n", "the description is not text"),
    "not-utf-8": (b"---\nname: \xff\n---\n", "not UTF-8 at byte 10"),
    "too-large": ("---\nname: X\n---\n" + "x" * (1 << 20), "larger than 1 MiB"),
    "long-front-matter": ("---\nname: " + "x" * (1 << 17) + "\n---\n", "longer than 131,072 characters"),
    "no-yaml": ("---\nname: a\nb\n---\n", "not YAML"),
    "two-documents": ("---\nname: a\n--- b\n---\n", "not YAML"),
    "list": ("---\n- name\n---\n", "not a mapping"),
    "nul": ('---\nname: "a\\0b"\n---\n', "NUL"),
    "nul-in-key": ('---\nname: a\nm: {"\\0": b}\n---\n', "NUL"),
    "tag": ('---\nname: X\nx: !!int ""\n---\n', "YAML tags such as !!int"),
    "python-tag": ("---\nname: X\nx: !!python/object/apply:os.system [ls]\n---\n", "YAML tags"),
    "tag-of-a-list": ("---\nname: X\nx: !!set {a}\n---\n", "YAML tags"),
    "nested": ("---\nname: X\nx: " + "[" * 40 + "]" * 40 + "\n---\n", "nested deeper than 32 levels"),
    "recursive": ("---\nname: X\nx: &a [*a]\n---\n", "refers to what contains it"),
    "aliases": (
        "---\nname: X\na: &a [1,1,1,1,1,1,1,1,1,1]\n"
        + "".join(
            f"{b}: &{b} [{', '.join(f'*{a}' for _ in range(10))}]\n" for a, b in zip("abcdef", "bcdefg", strict=True)
        )
        + "---\n",
        "more than 10,000 values",
    ),
    "long-aliases": (
        "---\nname: X\na: &a " + "x" * 100_000 + "\nb: [" + ", ".join(["*a"] * 50) + "]\n---\n",
        "longer than 1 MiB",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_imported_is_refused_with_a_reason(name: str) -> None:
    content, reason = BROKEN[name]
    with pytest.raises(UnreadableError) as caught:
        parse(content if isinstance(content, bytes) else content.encode())
    assert reason in str(caught.value)
    assert is_short(str(caught.value))


def test_a_file_of_exactly_1_mib_is_read() -> None:
    assert parse("---\nname: X\n---\n".ljust(1 << 20).encode()).name == "X"


@pytest.mark.parametrize("folder", ["list", "no-end", "no-front-matter", "no-name", "not-utf8", "nul-in-metadata"])
def test_the_refused_cases_are_refused(folder: str) -> None:
    with pytest.raises(UnreadableError) as caught:
        case(f"10-refused/{folder}")
    assert is_short(str(caught.value))


def is_short(reason: str) -> bool:
    return 0 < len(reason) < 300 and reason.isprintable()


def refusal(content: str) -> str:
    """Why the content is refused; empty if it is read."""
    try:
        parse(content.encode())
    except UnreadableError as error:
        return str(error)
    return ""


def whole(file: SkillFile) -> dict[str, Any]:
    return {"name": file.name, "description": file.description, **file.metadata}


@pytest.mark.torture
def test_random_front_matters_are_read_as_written() -> None:
    random = Random(17)
    for _ in range(size(5_000, 100_000)):
        content, expected = front_matter(random)
        assert whole(parse(content.encode())) == expected, content


@pytest.mark.torture
def test_damaged_front_matters_are_read_or_refused_with_a_reason_of_one_line() -> None:
    random = Random(18)
    refused = 0
    rounds = size(5_000, 100_000)
    for _ in range(rounds):
        content = damaged(random, front_matter(random)[0])
        if reason := refusal(content):
            refused += 1
            assert is_short(reason), content
    assert 0.02 < refused / rounds < 0.9
