"""Statements for skills and their versions."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta

from skilldb import paging, queries
from skilldb.errors import InvalidValueError, shown
from skilldb.models import (
    NewSkill,
    NewSkillVersion,
    Page,
    Skill,
    SkillUpdate,
    SkillVersion,
)
from skilldb.paging import TIME, Sort
from skilldb.statement import EXISTS, VALUE, Instances, Reader, Statement, many, one, optional
from skilldb.values import adapter

_SQL = queries.load("skills")
_LOCKS = queries.load("locks")

# The columns of SkillUpdate, and what checks their values. A changed slug is a new one.
_COLUMNS = {
    name: adapter(name, type, creates=True)
    for name, type in {
        "name": "text",
        "slug": "text",
        "description": "text",
        "category": "text",
        "tags": "text[]",
        "status": "text",
        "hours_saved": "integer",
    }.items()
}


# The sorts of list_skills, and the value of a skill in each. An unknown figure is -1, as in the queries.
_SORTS: dict[str, tuple[Sort, Callable[[Skill], datetime | int | str]]] = {
    "updated": (TIME, lambda skill: skill.updated_at),
    "name": (Sort("name", str), lambda skill: skill.name),
    "uses": (Sort("uses", int), lambda skill: skill.total_uses),
    "rating": (Sort("rating", int), lambda skill: -1 if skill.average_rating is None else skill.average_rating),
    "hours_saved": (Sort("hours_saved", int), lambda skill: -1 if skill.hours_saved is None else skill.hours_saved),
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def create_skill(skill: NewSkill) -> Statement[Skill]:
    """Create a skill, without a version yet.

    AlreadyExistsError: the slug or id is taken in this tenant. NotFoundError: no such author.
    """
    return Statement(
        one(Skill),
        *([_LOCKS["lock_author"](author_id=skill.author_id)] if skill.author_id is not None else []),
        _SQL["create_skill"](
            id=skill.id,
            name=skill.name,
            slug=skill.slug,
            description=skill.description,
            category=skill.category,
            tags=skill.tags,
            status=skill.status,
            hours_saved=skill.hours_saved,
            author_id=skill.author_id,
        ),
    )


def get_skill(skill_id: str) -> Statement[Skill | None]:
    """The skill, or None."""
    return Statement(optional(Skill), _SQL["get_skill"](skill_id=skill_id))


def get_skill_by_slug(slug: str) -> Statement[Skill | None]:
    """The skill of that slug, or None."""
    return Statement(optional(Skill), _SQL["get_skill_by_slug"](slug=slug))


def get_skills(skill_ids: Iterable[str]) -> Statement[list[Skill]]:
    """The skills with these ids, in the order of the ids. Missing ones are left out, and a repeated id counts once."""
    step = _SQL["get_skills"](skill_ids=skill_ids)
    order = {id: number for number, id in reversed(list(enumerate(step.params["skill_ids"])))}
    return Statement(Reader(Instances(Skill), lambda rows: sorted(rows, key=lambda skill: order[skill.id])), step)


def list_skills(
    *,
    sort: str = "updated",
    status: str | None = "published",
    category: str | Iterable[str] | None = None,
    tag: str | Iterable[str] | None = None,
    author_id: str | None = None,
    limit: int = 50,
    after: str | None = None,
) -> Statement[Page[Skill]]:
    """One page of the skills.

    `sort` is "updated" (newest change first), "name" (A to Z, without regard to case and accents), or "uses", "rating"
    or "hours_saved" (highest first, unknown last). Ties are sorted by id. Counters move between two pages: a skill may
    then be on both, or on neither. By name or by time, only a skill that was itself changed may be.

    `category` and `tag` take one or several: a skill must have any of the categories, and any of the tags. A filter
    that is None does not apply. `after` is the cursor of the page before, with the same arguments. InvalidValueError:
    another sort, a limit below 1, or an `after` that is not a cursor of this sort.
    """
    if sort not in tuple(_SORTS):
        raise InvalidValueError(f"sort must be one of {', '.join(_SORTS)}, not {shown(sort)}")
    order, value = _SORTS[sort]
    last, id = paging.decode(after, order)
    filters = {
        "status": status,
        "category": [category] if isinstance(category, str) else category,
        "tag": [tag] if isinstance(tag, str) else tag,
    }
    where = {"after_id": id, "limit": limit, **filters}
    if sort == "name":
        step = _SQL["list_skills_by_name"](author_id=author_id, after_name=last, **where)
    elif author_id is not None:
        figure = (last - _EPOCH) // timedelta(milliseconds=1) if isinstance(last, datetime) else last
        step = _SQL["list_skills_of_author"](author_id=author_id, sort=sort, after_figure=figure, **where)
    elif sort == "updated":
        step = _SQL["list_skills"](after_updated_at=last, **where)
    else:
        step = _SQL["list_skills_by_figure"](sort=sort, after_figure=last, **where)
    return Statement(paging.page(Skill, limit, lambda skill: (value(skill), skill.id), order), step)


def update_skill(skill_id: str, changes: SkillUpdate) -> Statement[Skill]:
    """Change some columns and keep the others. `updated_at` moves only if a value really changes.

    NotFoundError: no such skill. AlreadyExistsError: the slug is taken. InvalidValueError: a column that SkillUpdate
    does not have, or a value that is not allowed.
    """
    if not isinstance(changes, Mapping):
        raise InvalidValueError(f"changes must be a dict, not {shown(changes)}")
    if unknown := changes.keys() - _COLUMNS.keys():
        raise InvalidValueError(f"a skill has no {', '.join(sorted(map(str, unknown)))} to update")
    checked = {name: None if value is None else _COLUMNS[name](name, value) for name, value in changes.items()}
    return Statement(
        one(Skill),
        _LOCKS["lock_skill_key" if "slug" in changes else "lock_skill"](skill_id=skill_id),
        _SQL["update_skill"](skill_id=skill_id, changes=checked),
        *(
            [_SQL["index_skills"](skill_ids=[skill_id]), _SQL["get_skill"](skill_id=skill_id)]
            if changes.keys() - {"hours_saved"}
            else []
        ),
    )


def publish_skill_version(skill_id: str, version: NewSkillVersion) -> Statement[SkillVersion]:
    """Publish content as the skill's next version. Numbers are 1, 2, 3 without a gap, also under concurrency.

    If the content equals the published version's, no version is added and that version is returned. NotFoundError: no
    such skill or creator. AlreadyExistsError: the id is taken. InvalidValueError: a hash that is not a SHA-256.
    """
    if version.created_by is not None:
        adapter("created_by", "text")("created_by", version.created_by)
    return Statement(
        one(SkillVersion),
        *([_LOCKS["lock_users"](user_ids=[version.created_by])] if version.created_by is not None else []),
        _LOCKS["lock_skill"](skill_id=skill_id),
        _SQL["publish_skill_version"](
            skill_id=skill_id,
            id=version.id,
            content_url=version.content_url,
            content_hash=version.content_hash,
            content_type=version.content_type,
            metadata=version.metadata,
            created_by=version.created_by,
        ),
    )


def get_skill_version(version_id: str) -> Statement[SkillVersion | None]:
    """The version, or None."""
    return Statement(optional(SkillVersion), _SQL["get_skill_version"](version_id=version_id))


def list_skill_versions(skill_id: str) -> Statement[list[SkillVersion]]:
    """The versions of a skill, newest first. Empty if there is no such skill."""
    return Statement(many(SkillVersion), _SQL["list_skill_versions"](skill_id=skill_id))


def get_version_number(version_id: str) -> Statement[int | None]:
    """The number of a version, or None."""
    return Statement(VALUE, _SQL["get_version_number"](version_id=version_id))


def delete_skill(skill_id: str) -> Statement[bool]:
    """Delete a skill and everything that belongs to it. Returns False if there is no such skill."""
    return Statement(EXISTS, _SQL["delete_skill"](skill_id=skill_id))
