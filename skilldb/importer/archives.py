"""Reads .skill archives: zip files, with bounds on what they may hold."""

from __future__ import annotations

import lzma
import stat
import unicodedata
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from skilldb.errors import SkilldbError
from skilldb.importer.finding import MAX_FILES, shown

MAX_BYTES = 100 << 20
"""The most bytes of all files of an archive."""
MAX_RATIO = 200
"""How many times as big as in the archive a file may be. A megabyte is always allowed."""
MAX_PATH_BYTES = 1_024
MAX_FOLDERS = 20
_CHUNK = 1 << 16


def extract(archive: Path, into: Path) -> None:
    """Write the files of an archive into an empty folder.

    SkilldbError: it is no zip file, is encrypted or damaged, holds too much, or a path that leads out of the folder.
    Links and folders of metadata (__MACOSX) are left out.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            _extract(opened, into)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError, OSError, ValueError) as error:
        raise _refused(archive, " ".join(str(error).split()) or "it is damaged") from None
    except RuntimeError:  # zipfile asks for a password.
        raise _refused(archive, "it is encrypted") from None
    except _Refused as error:
        raise _refused(archive, str(error)) from None
    except (zlib.error, lzma.LZMAError):
        raise _refused(archive, "it is damaged") from None


class _Refused(Exception):
    """What is wrong with the archive."""


def _refused(archive: Path, reason: str) -> SkilldbError:
    return SkilldbError(f"{shown(archive.name)} is not imported: {shown(reason)}")


def _extract(opened: zipfile.ZipFile, into: Path) -> None:
    entries = [entry for entry in opened.infolist() if not entry.is_dir()]
    if len(entries) > MAX_FILES:
        raise _Refused(f"it has more than {MAX_FILES:,} files")
    if sum(entry.file_size for entry in entries) > MAX_BYTES:
        raise _Refused("its files have more than 100 MiB together")
    seen: set[str] = set()
    left = MAX_BYTES
    for entry in entries:
        path = _path(entry.filename)
        mode = entry.external_attr >> 16
        if path.parts[0] == "__MACOSX" or (stat.S_IFMT(mode) not in (0, stat.S_IFREG)):
            continue
        if entry.file_size > max(1 << 20, MAX_RATIO * entry.compress_size):
            raise _Refused(f"{entry.filename} is more than {MAX_RATIO} times as big as in the archive")
        folded = unicodedata.normalize("NFC", str(path)).casefold()
        if folded in seen:
            raise _Refused(f"{entry.filename} is there twice")
        seen.add(folded)
        target = into / path
        target.parent.mkdir(parents=True, exist_ok=True)
        # The sizes that an archive gives may be wrong: count what really comes.
        with opened.open(entry) as source, target.open("xb") as written:
            while chunk := source.read(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise _Refused("its files have more than 100 MiB together")
                written.write(chunk)


def _path(name: str) -> PurePosixPath:
    """The path of a file in an archive, if it stays inside."""
    path = PurePosixPath(name)
    inside = path.parts and not path.is_absolute() and ".." not in path.parts
    if not inside or "\\" in name or ":" in path.parts[0] or "\0" in name:
        raise _Refused(f"the path {name} leads out of its folder")
    if len(name.encode(errors="replace")) > MAX_PATH_BYTES or len(path.parts) > MAX_FOLDERS:
        raise _Refused(f"the path {name[:100]} is too long")
    return path
