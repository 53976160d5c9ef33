"""Statements that import skills in bulk, and tell which skill comes from which source."""

import base64
import binascii
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from skilldb import paging, queries
from skilldb.errors import InvalidValueError, shown
from skilldb.models import (
    EarlierVersion,
    FileChange,
    ImportedSkill,
    ImportOutcome,
    NewContent,
    Page,
    SkillImport,
    SlugOwner,
    StoredFile,
)
from skilldb.statement import VALUE, Instances, Reader, Statement, many
from skilldb.values import MAX_ID_BYTES, adapter

_SQL = queries.load("imports")
_LOCKS = queries.load("locks")

_IMPORTED = paging.Sort("imported", datetime)

MAX_PATH_BYTES = 1_024
"""The longest path of a skill within its source, in bytes of UTF-8."""

_STATUSES = ("draft", "pending_review", "published", "archived")
_HASH = re.compile(r"[0-9a-f]{64}", flags=re.ASCII)
_File = TypeVar("_File", StoredFile, FileChange)
_text = adapter("name", "text")
_new_id = adapter("id", "text", creates=True)
_texts = adapter("tags", "text[]")


def import_skills(source: str, items: Iterable[SkillImport]) -> Statement[list[ImportOutcome]]:
    """Create or change any number of skills of one source, all or none of them, and publish what is new of them.

    The outcomes are in the order of the items. A column keeps its value if the source has not changed it since the last
    import, because people may have. The same holds for the content: no version is added if the published version
    already has this content. An item is skipped if the slug of a new skill is taken, or if the published version is
    not `expected_version_id`: read again and decide again then.

    NotFoundError: no such author. AlreadyExistsError: a version's id is taken. InvalidValueError: an id that is there
    twice, a hash that is not a SHA-256, a source of more than 255 bytes, a path of more than 1,024, or another value
    that is not allowed.
    """
    items = list(items)
    if not items:
        return Statement(Reader(many(ImportOutcome).rows, list))
    ids = [_new_id("id", item.id) for item in items]
    version_ids = [_new_id("version_id", item.version_id) for item in items]
    expected = [item.expected_version_id for item in items]
    columns = [_columns(item) for item in items]
    authors = {
        adapter("author_id", "text")("author_id", item.author_id) for item in items if item.author_id is not None
    }
    statement = Statement(
        many(ImportOutcome),
        *([_LOCKS["lock_users"](user_ids=sorted(authors))] if authors else []),
        *(_LOCKS["lock_author"](author_id=author) for author in sorted(authors)),
        _SQL["lock_imported_skills"](id=ids),
        _SQL["create_imported_skills"](
            id=ids,
            slug=[item.slug for item in items],
            columns=columns,
            author_id=[item.author_id for item in items],
            expected_version_id=expected,
        ),
        _SQL["update_imported_skills"](source=source, id=ids, columns=columns, expected_version_id=expected),
        _SQL["index_imported_skills"](id=ids),
        _SQL["publish_imported_versions"](
            source=source,
            id=ids,
            version_id=version_ids,
            expected_version_id=expected,
            path=[item.path for item in items],
            content_url=[item.content_url for item in items],
            content_hash=[item.content_hash for item in items],
            metadata=[item.metadata for item in items],
            columns=columns,
            commit_hash=[item.commit_hash for item in items],
            committed_at=[item.committed_at for item in items],
        ),
    )
    _check(source, items)
    return statement


def _check(source: str, items: Sequence[SkillImport]) -> None:
    """Raise InvalidValueError for values that the database would refuse without the item's place."""
    _bounded("source", source, MAX_ID_BYTES)
    for id, count in Counter(item.id for item in items).items():
        if count > 1:
            raise InvalidValueError(f"id {shown(id)} is there twice")
    for item in items:
        _bounded("path", item.path, MAX_PATH_BYTES)
        if not _HASH.fullmatch(item.content_hash):
            raise InvalidValueError(
                f"content_hash must be 64 lower-case hexadecimal digits, not {shown(item.content_hash)}"
            )
        if item.tags is not None and None in item.tags:
            raise InvalidValueError(f"tags must not hold None: {shown(item.tags)}")
        if item.status is not None and item.status not in _STATUSES:
            raise InvalidValueError(f"status must be one of {', '.join(_STATUSES)}, not {shown(item.status)}")


def _columns(item: SkillImport) -> dict[str, Any]:
    """The columns of the skill that the source gives."""
    given: dict[str, Any] = {"name": _text("name", item.name), "description": _text("description", item.description)}
    if item.category is not None:
        given["category"] = _text("category", item.category)
    if item.tags is not None:
        given["tags"] = _texts("tags", item.tags)
    if item.status is not None:
        given["status"] = _text("status", item.status)
    return given


def _bounded(name: str, value: Any, most: int) -> None:
    length = len(_text(name, value).encode())
    if length > most:
        raise InvalidValueError(f"{name} must be at most {most} bytes, not {length}: {shown(value)}")


def list_imported_skills(
    source: str, *, limit: int = 1_000, after: str | None = None
) -> Statement[Page[ImportedSkill]]:
    """One page of the skills of a source, the latest first import first.

    `after` is the cursor of the page before. InvalidValueError: a limit below 1, or an `after` that is not a cursor.
    """
    created_at, id = paging.decode(after, _IMPORTED)
    return Statement(
        paging.page(ImportedSkill, limit, lambda skill: (skill.created_at, skill.skill_id), _IMPORTED),
        _SQL["list_imported_skills"](source=source, after_created_at=created_at, after_id=id, limit=limit),
    )


def find_slug_owners(slugs: Iterable[str]) -> Statement[list[SlugOwner]]:
    """Which of the slugs are taken, and by which skills, ordered by slug."""
    return Statement(many(SlugOwner), _SQL["find_slug_owners"](slugs=_texts("slugs", slugs)))


def find_earlier_versions(skill_ids: Iterable[str], content_hashes: Iterable[str]) -> Statement[list[EarlierVersion]]:
    """The versions of the first skill that have the first content, of the second skill the second, and so on.

    Published versions are left out. Ordered by skill and version. InvalidValueError: not as many hashes as skills.
    """
    ids: list[str] = adapter("skill_ids", "text[]")("skill_ids", skill_ids)
    hashes: list[str] = adapter("content_hashes", "text[]")("content_hashes", content_hashes)
    if len(ids) != len(hashes):
        raise InvalidValueError(
            f"content_hashes must have as many elements as skill_ids, {len(ids)}, not {len(hashes)}"
        )
    return Statement(many(EarlierVersion), _SQL["find_earlier_versions"](skill_ids=ids, content_hashes=hashes))


def store_contents(contents: Iterable[NewContent]) -> Statement[int]:
    """Keep the contents of files in the database, each once. Returns the number of those that were not there before.

    The content of a version is its manifest and the files that it names; see get_version_content. InvalidValueError:
    a `body` that is not base64, although `is_binary` says so.
    """
    wanted = {_hash(content): content for content in contents}
    if not wanted:
        return Statement(Reader(VALUE.rows, len))
    return Statement(
        VALUE,
        _SQL["store_contents"](
            hash=list(wanted),
            body=[content.body for content in wanted.values()],
            is_binary=[content.is_binary for content in wanted.values()],
        ),
    )


def _hash(content: NewContent) -> str:
    body = _text("body", content.body)
    if not adapter("is_binary", "boolean")("is_binary", content.is_binary):
        return hashlib.sha256(body.encode()).hexdigest()
    try:
        return hashlib.sha256(base64.b64decode(body.encode(), validate=True)).hexdigest()
    except binascii.Error:
        raise InvalidValueError(f"body must be base64: {shown(body)}") from None


def find_missing_contents(hashes: Iterable[str]) -> Statement[list[str]]:
    """Those of the hashes whose content is not in the database, each once, ordered."""
    step = _SQL["find_missing_contents"](hashes=_texts("hashes", hashes))
    return Statement(Reader(VALUE.rows, lambda rows: sorted(rows[0])), step)


def _by_path(model: type[_File]) -> Reader[list[_File]]:
    """Rows in the order of paths: databases sort texts in different ways."""
    return Reader(Instances(model), lambda rows: sorted(rows, key=lambda row: row.path))


def get_version_content(version_id: str) -> Statement[list[StoredFile]]:
    """The files of a version, ordered by path. Empty if there is no such version, or its content was not stored.

    `content_hash` is the SHA-256 of a manifest, which is stored like a file. Its lines are the SHA-256 of a file, two
    spaces and the file's path, as sha256sum prints them.
    """
    return Statement(_by_path(StoredFile), _SQL["get_version_content"](version_id=version_id))


def diff_versions(version_id: str, to_version_id: str) -> Statement[list[FileChange]]:
    """The files that differ between two versions, ordered by path; FileChange.unified() shows the lines.

    A version whose content was not stored has no files.
    """
    return Statement(_by_path(FileChange), _SQL["diff_versions"](version_id=version_id, to_version_id=to_version_id))
