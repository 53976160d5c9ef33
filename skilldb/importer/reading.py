"""Reads a SKILL.md: leniently, with scalars as the text that was written, and without losing anything.

It follows the Agent Skills specification and its client guide (agentskills.io): what a client would load is imported
with a warning, and what it could not load is refused with a reason of one line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

MAX_BYTES = 1 << 20
"""The largest SKILL.md."""
MAX_FRONT_MATTER = 1 << 17
"""The longest front matter, in characters."""
MAX_LEVELS = 32
"""The deepest front matter: levels of mappings and lists."""
MAX_VALUES, MAX_CHARACTERS = 10_000, 1 << 20
"""The most values of a front matter, and the most characters in them, those of aliases included."""
MAX_NAME, MAX_DESCRIPTION, MAX_COMPATIBILITY = 64, 1_024, 500
"""The specification's limits in characters. Longer values are imported with a warning."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_RESOLVER: Any = yaml.resolver.Resolver()
_TEXT = "tag:yaml.org,2002:str"
_KINDS = {"int": "a number", "float": "a number", "bool": "a truth value", "null": "null", "timestamp": "a date"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillFile:
    """The content of a SKILL.md.

    `text` is the whole file without a byte order mark and with \\n as line end. `metadata` is the front matter without
    name, description, and what `category` and `tags` hold. `category` is None if the front matter has none. `warnings`
    says what a strict reader would refuse.
    """

    name: str
    description: str
    category: str | None
    tags: list[str]
    metadata: dict[str, Any]
    text: str
    warnings: list[str]


class UnreadableError(ValueError):
    """A file is refused. The message is the reason, in one line."""


def parse(content: bytes) -> SkillFile:
    """Read the bytes of a SKILL.md. UnreadableError: it is refused."""
    if len(content) > MAX_BYTES:
        raise UnreadableError("larger than 1 MiB")
    try:
        text = normalised(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UnreadableError(f"not UTF-8 at byte {error.start}") from None
    warnings: list[str] = []
    front = _front_matter(text, warnings)
    name = front.pop("name", None)
    if name is not None and not isinstance(name, str):
        raise UnreadableError("the name is not text")
    if name is None or not name.strip():
        raise UnreadableError("no name in the front matter")
    description = front.pop("description", "")
    if not isinstance(description, str):
        raise UnreadableError("the description is not text")
    name, description = name.strip(), description.strip()
    if len(name) > MAX_NAME:
        warnings.append(f"the name has {len(name)} characters: the specification allows {MAX_NAME}")
    elif not _NAME.fullmatch(name):
        warnings.append("the name is not of a-z, 0-9 and single hyphens")
    if not description:
        warnings.append("no description")
    elif len(description) > MAX_DESCRIPTION:
        warnings.append(f"the description has {len(description)} characters: the specification allows 1,024")
    category, tags = _category(front, warnings), _tags(front, warnings)
    _check_fields(front, warnings)
    return SkillFile(
        name=name,
        description=description,
        category=category,
        tags=tags,
        metadata=front,
        text=text,
        warnings=warnings,
    )


def normalised(text: str) -> str:
    """The text with \\n as its only line end."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _category(front: dict[str, Any], warnings: list[str]) -> str | None:
    """Take the category out of the front matter, or read it from its `metadata`."""
    value = front.get("category")
    if isinstance(value, str) and value.strip():
        return str(front.pop("category")).strip()
    if value:
        warnings.append("the category is not text: it is kept in metadata")
    nested = front["metadata"].get("category") if isinstance(front.get("metadata"), dict) else None
    return nested.strip() or None if isinstance(nested, str) else None


def _tags(front: dict[str, Any], warnings: list[str]) -> list[str]:
    """Take the tags out of the front matter, or read them from its `metadata`: a list, or text with commas."""
    found = _words(front.get("tags"))
    if found is not None:
        front.pop("tags", None)
        return found
    if front.get("tags"):
        warnings.append("the tags are not a list of texts: they are kept in metadata")
    nested = front["metadata"].get("tags") if isinstance(front.get("metadata"), dict) else None
    return _words(nested) or []


def _words(value: Any) -> list[str] | None:
    """Texts without white space at their ends, each once. None: it is no list of texts."""
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return None
    return list(dict.fromkeys(word.strip() for word in words if word.strip()))


def _check_fields(front: dict[str, Any], warnings: list[str]) -> None:
    """Warn of fields of the specification that hold something else than it says."""
    if "allowed-tools" in front and not isinstance(front["allowed-tools"], str):
        warnings.append("allowed-tools is not text with spaces between the tools: it is kept as it is")
    for key in ("license", "compatibility"):
        if key in front and not isinstance(front[key], str):
            warnings.append(f"{key} is not text: it is kept as it is")
    if isinstance(compatibility := front.get("compatibility"), str) and len(compatibility) > MAX_COMPATIBILITY:
        warnings.append(f"compatibility has {len(compatibility)} characters: the specification allows 500")
    if "metadata" in front and not isinstance(front["metadata"], dict):
        warnings.append("metadata is not a mapping: it is kept as it is")


# The front matter


def _front_matter(text: str, warnings: list[str]) -> dict[str, Any]:
    lines = text.split("\n")  # Not splitlines(): it also splits at U+2028, and YAML does not.
    if lines[0].rstrip() != "---":
        raise UnreadableError("no front matter: the file does not begin with ---")
    end = next((number for number, line in enumerate(lines[1:], start=1) if line.rstrip() == "---"), None)
    if end is None:
        raise UnreadableError("no front matter: its closing --- is missing")
    block = lines[1:end]
    if sum(map(len, block)) + len(block) > MAX_FRONT_MATTER:
        raise UnreadableError(f"the front matter is longer than {MAX_FRONT_MATTER:,} characters")
    try:
        found = _load("\n".join(block), warnings)
    except _SyntaxError as error:
        quoted: list[str] = []
        again = _quoted(block, quoted)
        if not quoted:
            raise UnreadableError(f"the front matter is not YAML: {error}") from None
        warnings.append(f"not YAML until {_listed(quoted)} was quoted")
        try:
            found = _load("\n".join(again), warnings)
        except _SyntaxError:
            raise UnreadableError(f"the front matter is not YAML: {error}") from None
    if not isinstance(found, dict):
        raise UnreadableError("no front matter: it is not a mapping")
    _check_text(found)
    return found


def _check_text(value: Any) -> None:
    """Refuse text that PostgreSQL cannot store."""
    if isinstance(value, dict):
        for key, each in value.items():
            _check_text(key)
            _check_text(each)
    elif isinstance(value, list):
        for each in value:
            _check_text(each)
    elif "\0" in value:
        raise UnreadableError("the front matter has a NUL character")
    elif not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise UnreadableError("the front matter has half of a surrogate pair")


def _listed(keys: list[str]) -> str:
    shown = ", ".join(keys[:3])
    return f"{shown} and {len(keys) - 3} more" if len(keys) > 3 else shown


class _SyntaxError(ValueError):
    """The text is not YAML. Quoting a value may help."""


@dataclass(slots=True)
class _Open:
    """A mapping or a list that is being read. `found`: its keys and values in turn, and whether each is text."""

    is_mapping: bool
    anchor: str | None
    found: list[tuple[Any, bool]] = field(default_factory=list)


def _load(block: str, warnings: list[str]) -> Any:
    """The YAML with each scalar as text. It is built without recursion, so that deep nesting ends with a reason.

    _SyntaxError: it is not YAML. UnreadableError: it is YAML, but is refused.
    """
    noted: list[str] = []
    try:
        value = _built(yaml.parse(block, Loader=_LOADER), noted)
    except (UnreadableError, _SyntaxError):
        raise
    except yaml.MarkedYAMLError as error:
        where = f" in line {error.problem_mark.line + 2}" if error.problem_mark else ""
        raise _SyntaxError(_one_line(f"{error.problem or error.context or 'it cannot be read'}{where}")) from None
    except Exception as error:  # An escape such as \U00110000 raises ValueError in the parser.
        raise _SyntaxError(_one_line(str(error)) or "it cannot be read") from None
    warnings += noted
    return value


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]


def _built(events: Iterator[Any], noted: list[str]) -> Any:
    anchors: dict[str, Any] = {}
    sizes: dict[str, tuple[int, int]] = {}
    stack: list[_Open] = []
    count = characters = documents = 0
    top: Any = None

    def add(value: Any, is_text: bool) -> None:
        nonlocal top
        if stack:
            stack[-1].found.append((value, is_text))
        else:
            top = value

    starts: dict[int, tuple[int, int]] = {}
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _SyntaxError("it holds more than one document")
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors:
                raise _SyntaxError(f"the alias *{event.anchor} has no anchor")
            count += sizes[event.anchor][0]
            characters += sizes[event.anchor][1]
            if sizes[event.anchor][0] == 0:
                raise UnreadableError("a YAML alias refers to what contains it")
            if "YAML aliases are written out" not in noted:
                noted.append("YAML aliases are written out")
            add(anchors[event.anchor], isinstance(anchors[event.anchor], str))
        elif isinstance(event, yaml.ScalarEvent | yaml.MappingStartEvent | yaml.SequenceStartEvent):
            count += 1
            explicit = event.tag is not None
            if isinstance(event, yaml.ScalarEvent):
                explicit = explicit and not any(event.implicit)
            if explicit:
                raise UnreadableError(f"YAML tags such as {_one_line(_tag(event.tag))} are not accepted")
            if isinstance(event, yaml.ScalarEvent):
                characters += len(event.value)
                if event.anchor:
                    anchors[event.anchor], sizes[event.anchor] = event.value, (1, len(event.value))
                plain = event.implicit[0] and event.style in (None, "")
                kind = _RESOLVER.resolve(yaml.ScalarNode, event.value, (True, False)) if plain else _TEXT
                add(event.value, kind == _TEXT)
                _note_name(stack, event.value, kind, noted)
            else:
                if len(stack) >= MAX_LEVELS:
                    raise UnreadableError(f"the front matter is nested deeper than {MAX_LEVELS} levels")
                if event.anchor:
                    sizes[event.anchor], anchors[event.anchor] = (0, 0), None
                stack.append(_Open(is_mapping=isinstance(event, yaml.MappingStartEvent), anchor=event.anchor))
                starts[len(stack)] = count, characters
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            closed = stack.pop()
            value = _mapping(closed.found, noted) if closed.is_mapping else [each for each, _ in closed.found]
            if closed.anchor:
                anchors[closed.anchor] = value
                values, texts = starts[len(stack) + 1]
                sizes[closed.anchor] = 1 + count - values, characters - texts
            if _levels(value) + len(stack) > MAX_LEVELS:
                raise UnreadableError(f"the front matter is nested deeper than {MAX_LEVELS} levels")
            add(value, False)
        if count > MAX_VALUES:
            raise UnreadableError(f"the front matter has more than {MAX_VALUES:,} values, those of aliases included")
        if characters > MAX_CHARACTERS:
            raise UnreadableError("the aliases of the front matter are longer than 1 MiB when they are written out")
    return top


def _levels(value: Any) -> int:
    """How deep the value is. Only aliases can make it deeper than the events say; they are few."""
    depth, level = 0, [value]
    while level:
        inner = [each for each in level if isinstance(each, dict | list)]
        level = [each for one in inner for each in (one.values() if isinstance(one, dict) else one)]
        depth += bool(inner)
        if depth > MAX_LEVELS:
            break
    return depth


def _tag(tag: str | None) -> str:
    return (tag or "").replace("tag:yaml.org,2002:", "!!")


def _note_name(stack: list[_Open], value: str, kind: str, noted: list[str]) -> None:
    """Warn of a name or description that YAML takes for something else than text."""
    if kind == _TEXT or len(stack) != 1 or not stack[0].is_mapping or len(stack[0].found) % 2:
        return
    key = stack[0].found[-2][0]
    said = _KINDS.get(kind.rpartition(":")[2], "no text")
    if key in ("name", "description") and value:
        noted.append(f"YAML takes the {key} for {said}: it is imported as the text that was written")


def _mapping(found: list[tuple[Any, bool]], noted: list[str]) -> dict[str, Any]:
    """A mapping of keys that are text. Of equal keys the last one wins; the earlier values get a key of their own."""
    made: dict[str, Any] = {}
    earlier: dict[str, list[Any]] = {}
    for (key, is_text), (value, _) in zip(found[::2], found[1::2], strict=True):
        text = key if isinstance(key, str) else json.dumps(key, ensure_ascii=False)
        if not is_text:
            noted.append(f"the key {_shown(text)} is not text: it is imported as the text that was written")
        if text in made:
            earlier.setdefault(text, []).append(made[text])
        made[text] = value
    for key, values in earlier.items():
        kept = f"{key} (earlier)"
        while kept in made:
            kept += "+"
        made[kept] = values
        noted.append(f"the key {_shown(key)} is there {len(values) + 1} times: the last one counts")
    return made


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:37]}...")


# Quote and try again


def _quoted(lines: list[str], changed: list[str]) -> list[str]:
    """The lines with each value quoted that is no YAML by itself. Adds the keys of those to `changed`.

    A value and the lines below it that are indented more are one text, as in a plain YAML scalar.
    """
    result: list[str] = []
    number = 0
    while number < len(lines):
        line = lines[number]
        indent = len(line) - len(line.lstrip(" "))
        end = number + 1
        while end < len(lines) and (not lines[end].strip() or _indent(lines[end]) > indent):
            end += 1
        entry = _entry(line[indent:])
        chunk = lines[number:end]
        number = end
        if entry is None or _is_yaml("\n".join(each[indent:] for each in chunk)):
            result += chunk
        elif entry[1] is None:
            result += [line, *_quoted(chunk[1:], changed)]
        elif entry[1][0] in "|>" and len(entry[1]) <= 3:
            result += chunk
        else:
            changed.append(entry[0])
            text = _folded([entry[1], *chunk[1:]])
            result.append(f"{' ' * indent}{entry[0]}: {json.dumps(text, ensure_ascii=False)}")
    return result


def _entry(line: str) -> tuple[str, str | None] | None:
    """The key and the value of a line `key: value`; None for any other line.

    No regular expression: one with two runs of blanks takes seconds for a line of 100,000 blanks.
    """
    key, colon, value = line.partition(":")
    if not colon or re.match(r"[\w.]", key) is None or value[:1].strip(" \t"):
        return None
    return key.rstrip(), value.strip() or None


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))


def _is_yaml(text: str) -> bool:
    try:
        for _ in yaml.parse(text, Loader=_LOADER):
            pass
    except Exception:  # Some texts raise ValueError in the parser, not YAMLError.
        return False
    return "*" not in text or not re.search(r":[ \t]+\*", text)


def _folded(lines: list[str]) -> str:
    """The text of a plain scalar: a line end is a space, and an empty line is a line end."""
    text = ""
    pending = 0
    for line in lines:
        if not line.strip():
            pending += 1
            continue
        text += ("\n" * pending if pending else " " if text else "") + line.strip()
        pending = 0
    return text
