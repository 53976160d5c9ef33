"""Finds the skills of a folder and reads the files of each: regular files inside the folder only."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from skilldb.importer import reading
from skilldb.importer.reading import SkillFile, UnreadableError

MAX_LEVELS = 6
"""How many folders below the given one a skill is looked for."""
MAX_FILES, MAX_FOLDER_BYTES = 10_000, 100 << 20
"""The most files of one skill, and the most bytes of them together."""
MAX_PATH_BYTES = 1_024

_SKIPPED = {
    *(".git", ".hg", ".svn", "node_modules", "bower_components", "__pycache__", "__MACOSX", "site-packages"),
    *("venv", ".venv", ".tox", ".nox", ".eggs", ".cache", ".mypy_cache", ".pytest_cache", ".ruff_cache"),
    *(".ipynb_checkpoints", ".Trash", ".DS_Store", "Thumbs.db", "desktop.ini"),
}
_BACKUPS = ("~", ".bak", ".backup", ".orig", ".old", ".swp", ".pyc", ".pyo")
_NAME = "SKILL.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillFolder:
    """A folder with a SKILL.md. `path` is relative to the folder that was searched; empty for that folder itself."""

    path: str
    file_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """What could not be read: its path, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSkill:
    """A skill as it stands in its folder.

    `content_hash` is the SHA-256 of the manifest, which has a line `<SHA-256>  <path>` for each file, as sha256sum
    prints them, ordered by path. `blobs` has the id that git would give each file.
    """

    file: SkillFile
    content_hash: str
    manifest: str
    blobs: dict[str, frozenset[str]]
    warnings: list[str]


@dataclass(slots=True)
class Content:
    """The bytes of a skill's files by path, with \\n as line end in texts, as they are hashed and stored."""

    files: dict[str, bytes] = field(default_factory=dict)


def find(root: Path) -> Iterator[SkillFolder | Unread]:
    """The skills of the folder in the order of their paths, and what could not be read.

    Links to folders are not followed: a target inside the folder is found by itself.
    """
    yield from _find(root, "", 0)


def _find(root: Path, path: str, level: int) -> Iterator[SkillFolder | Unread]:
    try:
        with os.scandir(root / path) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        yield Unread(path=path or ".", reason=_reason(error))
        return
    names = [entry.name for entry in entries if entry.name.lower() == "skill.md"]
    if names:
        # The name of the specification first; `sorted` puts capitals before small letters.
        yield SkillFolder(path=path, file_name=_NAME if _NAME in names else names[0])
    for entry in entries:
        below = f"{path}/{entry.name}" if path else entry.name
        if _skipped(entry.name):
            continue
        try:
            is_link, is_folder = entry.is_symlink(), entry.is_dir()
        except OSError:  # A link that leads to itself. If it is a SKILL.md, reading it gives the reason.
            continue
        if is_link and is_folder:
            if not _inside(root, root / below) and any((root / below / name).exists() for name in (_NAME, "skill.md")):
                yield Unread(path=below, reason="it is a link that leads out of the folder")
        elif is_folder and (root / below / "pyvenv.cfg").exists():
            continue
        elif is_folder and level < MAX_LEVELS:
            yield from _find(root, below, level + 1)


def _skipped(name: str) -> bool:
    return name in _SKIPPED or name.endswith(_BACKUPS)


def _inside(root: Path, path: Path) -> bool:
    try:
        return path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # A link that leads to itself.
        return False


def _reason(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "it is a link that leads to itself"
    return f"it cannot be read: {error.strerror}"


def read(root: Path, skill: SkillFolder, keep: Content | None = None, *, for_git: bool = False) -> ReadSkill:
    """Read a skill and the files beside it. UnreadableError: it is refused. `keep` takes what the files hold.

    The ids that git would give the files are computed `for_git` only.
    """
    warnings: list[str] = []
    path = f"{skill.path}/{skill.file_name}".lstrip("/")
    _check_path(path)
    content = _bytes(root, path, reading.MAX_BYTES)
    file = reading.parse(content)
    if skill.file_name != _NAME:
        warnings.append(f"the file is called {skill.file_name}, not {_NAME}")
    hashes: dict[str, str] = {}
    blobs: dict[str, frozenset[str]] = {}
    left = MAX_FOLDER_BYTES
    for name, found in _files(root, skill, path, content, warnings):
        left -= len(found)
        if left < 0:
            raise UnreadableError("its files have more than 100 MiB together")
        if len(hashes) == MAX_FILES:
            raise UnreadableError(f"it has more than {MAX_FILES:,} files")
        hashed = file.text.encode() if name == _NAME else _text_ends(found)
        hashes[name] = hashlib.sha256(hashed).hexdigest()
        if for_git:
            blobs[skill.file_name if name == _NAME else name] = frozenset(
                blob for each in {found, hashed} for blob in _blobs(each)
            )
        if keep is not None:
            keep.files[name] = hashed
    manifest = "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))
    return ReadSkill(
        file=file,
        content_hash=hashlib.sha256(manifest.encode()).hexdigest(),
        manifest=manifest,
        blobs=blobs,
        warnings=warnings + file.warnings,
    )


def _text_ends(content: bytes) -> bytes:
    """The content with \\n as line end, if it is text: like git, by the lack of NUL bytes."""
    return content if b"\0" in content[:8_000] else content.replace(b"\r\n", b"\n")


def _blobs(content: bytes) -> tuple[str, str]:
    """The ids of the content in a git repository, of SHA-1 and of SHA-256."""
    blob = b"blob %d\0" % len(content) + content
    return hashlib.sha1(blob, usedforsecurity=False).hexdigest(), hashlib.sha256(blob).hexdigest()


def _files(
    root: Path, skill: SkillFolder, path: str, content: bytes, warnings: list[str]
) -> Iterator[tuple[str, bytes]]:
    """The paths within the skill's folder, and their content. Other skills below it are left out."""
    yield _NAME, content
    folder = root / skill.path
    below = [""]
    while below:
        current = below.pop()
        try:
            with os.scandir(folder / current) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            raise UnreadableError(f"{current or 'its folder'}: {_reason(error)}") from None
        if current and any(entry.name.lower() == "skill.md" for entry in entries):
            continue
        for entry in entries:
            name = f"{current}/{entry.name}" if current else entry.name
            if _skipped(entry.name) or (not current and entry.name.lower() == "skill.md"):
                continue
            whole = f"{skill.path}/{name}".lstrip("/")
            try:
                target = entry.stat()
            except OSError as error:
                warnings.append(f"{name} is left out: {_reason(error)}")
                continue
            if entry.is_symlink() and (stat.S_ISDIR(target.st_mode) or not _inside(root, folder / name)):
                warnings.append(f"{name} is left out: it is a link to a folder, or out of the folder that is imported")
            elif stat.S_ISDIR(target.st_mode):
                if not (folder / name / "pyvenv.cfg").exists():
                    below.append(name)
            elif not stat.S_ISREG(target.st_mode):
                warnings.append(f"{name} is left out: it is no regular file")
            else:
                _check_path(whole)
                yield name, _bytes(root, whole, MAX_FOLDER_BYTES)


def _check_path(path: str) -> None:
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        raise UnreadableError(f"the file name {shown(path)} is not UTF-8") from None
    if size > MAX_PATH_BYTES:
        raise UnreadableError(f"the path of a file has more than {MAX_PATH_BYTES:,} bytes")
    if any(unicodedata.category(letter) == "Cc" for letter in path):
        raise UnreadableError(f"the file name {shown(path)} has control characters")


def _bytes(root: Path, path: str, most: int) -> bytes:
    """The content of a regular file inside the root, one byte more than `most` of it."""
    whole = root / path
    if whole.is_symlink() and not _inside(root, whole):
        raise UnreadableError(f"{os.path.basename(path)} is a link that leads out of the folder, or to nothing")
    try:
        # O_NONBLOCK: opening a FIFO would wait for a writer.
        number = os.open(whole, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise UnreadableError(_reason(error)) from None
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise UnreadableError(f"{os.path.basename(path)} is no regular file")
        with open(number, "rb", closefd=False) as file:
            return file.read(most + 1)
    except OSError as error:
        raise UnreadableError(_reason(error)) from None
    finally:
        os.close(number)


def shown(text: str) -> str:
    """Text for a terminal: control characters are escaped."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "surrogatepass").decode() for letter in text
    )
