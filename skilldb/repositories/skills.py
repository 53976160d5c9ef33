"""Statements for skills and their versions."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from skilldb import paging, queries
from skilldb.errors import InvalidValueError, shown
from skilldb.models import NewSkill, NewSkillVersion, Page, Skill, SkillUpdate, SkillVersion
from skilldb.paging import Sort
from skilldb.statement import EXISTS, VALUE, Instances, Reader, Statement, one, optional
from skilldb.values import ADAPT, adapter, several

_SQL = queries.load("skills")
_LOCKS = queries.load("locks")
_MERGES = queries.load("merges")

_BY_VERSION = Sort("version", int)

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


# How many characters of a name search_name_key() looks at.
_KEYED = 1_000
# The sorts of list_skills, and the value of a skill in each. An unknown figure is -1, as in the queries.
_SORTS: dict[str, tuple[Sort, Callable[[Skill], datetime | int | str]]] = {
    "updated": (Sort("updated", datetime), lambda skill: skill.updated_at),
    "name": (Sort("name", str), lambda skill: skill.name[:_KEYED]),
    "uses": (Sort("uses", int), lambda skill: skill.total_uses),
    "rating": (Sort("rating", int), lambda skill: -1 if skill.average_rating is None else skill.average_rating),
    "hours_saved": (Sort("hours_saved", int), lambda skill: -1 if skill.hours_saved is None else skill.hours_saved),
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def create_skill(skill: NewSkill) -> Statement[Skill]:
    """Create a skill, without a version yet.

    AlreadyExistsError: the slug or id is taken in this tenant. NotFoundError: no such author. InvalidValueError: a
    value that is not allowed, a time without a time zone, or an `updated_at` without or before its `created_at`.
    """
    created_at = _time("created_at", skill.created_at)
    updated_at = _time("updated_at", skill.updated_at)
    if updated_at is not None and (created_at is None or updated_at < created_at):
        raise InvalidValueError(f"updated_at must not be before created_at: {shown(updated_at)}, {shown(created_at)}")
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
            created_at=created_at,
            updated_at=created_at if updated_at is None else updated_at,
        ),
    )


def _time(name: str, value: datetime | None) -> datetime | None:
    """The time itself. Raises InvalidValueError for a value that is no time, or lacks a time zone."""
    return None if value is None else ADAPT["timestamptz"](name, value)


def get_skill(skill_id: str) -> Statement[Skill | None]:
    """The skill, or None."""
    return Statement(optional(Skill), _SQL["get_skill"](skill_id=skill_id))


def get_skill_by_slug(slug: str) -> Statement[Skill | None]:
    """The skill of that slug, or None."""
    return Statement(optional(Skill), _SQL["get_skill_by_slug"](slug=slug))


def get_skills(skill_ids: Iterable[str]) -> Statement[list[Skill]]:
    """The skills with these ids, in the order of the ids. Missing ones are left out, and a repeated id counts once."""
    ids = adapter("skill_ids", "text[]")("skill_ids", skill_ids)
    step = _SQL["get_skills"](skill_ids=ids)
    order = {id: number for number, id in reversed(list(enumerate(ids)))}
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
    then be on both, or on neither. In a list by name or by time that happens only to a skill that was itself changed.

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
        "category": several("category", category),
        "tag": several("tag", tag),
    }
    where = {"after_id": id, "limit": limit, **filters}
    if sort == "name" and author_id is not None:
        step = _SQL["list_skills_of_author_by_name"](author_id=author_id, after_name=last, **where)
    elif sort == "name":
        step = _SQL["list_skills_by_name"](after_name=last, **where)
    elif author_id is not None:
        figure = (last - _EPOCH) // timedelta(milliseconds=1) if isinstance(last, datetime) else last
        step = _SQL["list_skills_of_author"](author_id=author_id, sort=sort, after_figure=figure, **where)
    elif sort == "updated":
        step = _SQL["list_skills"](after_updated_at=last, **where)
    else:
        step = _SQL["list_skills_by_figure"](sort=sort, after_figure=last, **where)
    return Statement(paging.page(Skill, limit, lambda skill: (value(skill), skill.id), order), step)


def update_skill(
    skill_id: str, changes: SkillUpdate, *, expected_updated_at: datetime | None = None
) -> Statement[Skill]:
    """Change some columns and keep the others. `updated_at` moves only if a value other than slug and hours changes.

    `expected_updated_at` is the `updated_at` with which the caller read the skill, and counts in milliseconds. Then
    `updated_at` moves if any value changes, so of callers that expect the same one, only the first changes the skill.
    Without it, changes of the slug and of `hours_saved` move nothing, so nobody else notices them.

    ConflictError: `updated_at` is another one, as another caller was faster. NotFoundError: no such skill.
    AlreadyExistsError: the slug is taken. InvalidValueError: a column that SkillUpdate does not have, or a value that
    is not allowed.
    """
    if not isinstance(changes, Mapping):
        raise InvalidValueError(f"changes must be a dict, not {shown(changes)}")
    if unknown := changes.keys() - _COLUMNS.keys():
        raise InvalidValueError(f"a skill has no {', '.join(sorted(map(str, unknown)))} to update")
    checked = {name: None if value is None else _COLUMNS[name](name, value) for name, value in changes.items()}
    return Statement(
        one(Skill),
        _LOCKS["lock_skill_key" if "slug" in changes else "lock_skill"](skill_id=skill_id),
        *(
            [_SQL["check_skill_unchanged"](skill_id=skill_id, expected_updated_at=expected_updated_at)]
            if expected_updated_at is not None
            else []
        ),
        _SQL["update_skill"](skill_id=skill_id, changes=checked, expected_updated_at=expected_updated_at),
        *(
            [_SQL["index_skills"](skill_ids=[skill_id]), _SQL["get_skill"](skill_id=skill_id)]
            if changes.keys() - {"hours_saved"}
            else []
        ),
    )


def transfer_skills(from_user_id: str, to_user_id: str) -> Statement[int]:
    """Make one user the author of all skills of another. Returns the number of skills.

    `updated_at` stays, because the author is no content. Versions keep who published them. From a user to the same user
    nothing changes. It locks all these skills at once, and writes the words of each for the search: recording for one
    of them waits until the end. NotFoundError: no such user.
    """
    for name, id in (("from_user_id", from_user_id), ("to_user_id", to_user_id)):
        adapter(name, "text")(name, id)
    return Statement(
        VALUE,
        _LOCKS["lock_authors"](user_ids={from_user_id, to_user_id}),
        _SQL["transfer_skills"](from_user_id=from_user_id, to_user_id=to_user_id),
    )


def publish_skill_version(skill_id: str, version: NewSkillVersion) -> Statement[SkillVersion]:
    """Publish content as the skill's next version. Numbers are 1, 2, 3 without a gap, also under concurrency.

    If the content equals the published version's, no version is added and that version is returned. NotFoundError: no
    such skill or creator. AlreadyExistsError: the id is taken. InvalidValueError: a hash that is not a SHA-256, or a
    time without a time zone, or before the skill or its latest version was created.
    """
    if version.created_by is not None:
        adapter("created_by", "text")("created_by", version.created_by)
    # The second step names the new version, so the id is known before.
    id = str(uuid4()) if version.id is None else version.id
    return Statement(
        one(SkillVersion),
        *([_LOCKS["lock_users"](user_ids=[version.created_by])] if version.created_by is not None else []),
        _LOCKS["lock_skill"](skill_id=skill_id),
        *(
            [
                _SQL["check_version_time"](
                    skill_id=skill_id, content_hash=version.content_hash, created_at=version.created_at
                )
            ]
            if version.created_at is not None
            else []
        ),
        _SQL["add_version"](
            skill_id=skill_id,
            id=id,
            content_url=version.content_url,
            content_hash=version.content_hash,
            content_type=version.content_type,
            metadata=version.metadata,
            created_by=version.created_by,
            created_at=version.created_at,
        ),
        _SQL["publish_skill_version"](skill_id=skill_id, id=id, content_hash=version.content_hash),
    )


def publish_existing_version(skill_id: str, version: int) -> Statement[SkillVersion]:
    """Publish a version that the skill has, by its number, for example to go back to an earlier one. Returns it.

    No number is added: the next new version gets the highest number + 1. Users who saw another version find the skill
    in what's new. Name and description of the skill stay. Nothing changes if that version is published already.
    NotFoundError: no such skill, or the skill has no such version. InvalidValueError: a version that is no int.
    """
    return Statement(
        one(SkillVersion),
        _LOCKS["lock_skill"](skill_id=skill_id),
        _SQL["publish_existing_version"](skill_id=skill_id, version=ADAPT["integer"]("version", version)),
    )


def get_skill_version(version_id: str) -> Statement[SkillVersion | None]:
    """The version, or None."""
    return Statement(optional(SkillVersion), _SQL["get_skill_version"](version_id=version_id))


def list_skill_versions(skill_id: str, *, limit: int = 50, after: str | None = None) -> Statement[Page[SkillVersion]]:
    """One page of the versions of a skill, the highest number first. Empty if there is no such skill.

    `after` is the cursor of the page before. InvalidValueError: a limit below 1, or an `after` that is not a cursor of
    this function.
    """
    number, _ = paging.decode(after, _BY_VERSION)
    return Statement(
        paging.page(SkillVersion, limit, lambda version: (version.version, ""), _BY_VERSION),
        _SQL["list_skill_versions"](skill_id=skill_id, after_version=number, limit=limit),
    )


def get_version_number(version_id: str) -> Statement[int | None]:
    """The number of a version, or None."""
    return Statement(VALUE, _SQL["get_version_number"](version_id=version_id))


def merge_skills(source_skill_id: str, target_skill_id: str) -> Statement[Skill]:
    """Move what users gave to the source skill to the target, and archive the source. Returns the target.

    Ratings, feedback, events, views, measurements, rollups and uses without an event move, and the counters of both
    stay exact. A user who rated both keeps the newer rating, and the target's if both are equally new. A user who
    viewed both keeps the later view and the sum of the counts, with the version seen of the target. A user who viewed
    only the source has seen no version of the target, so what's new shows it. Feedback items no longer name the
    source's versions. Versions and benchmark runs stay with the source: they are about its content. delete_skill
    deletes them with it.

    All of it is one transaction, which took 5 s with 100,000 events. Whoever records for one of the two skills waits
    for it, and then records for the skill that the call names: merge again to move that. Merge again, too, if a user
    rated or viewed the source meanwhile and is being deleted, or gets another email: both may then stay with the
    source. Every step has the statement timeout for itself. If a step exceeds it, nothing is merged: connect with a
    longer `statement_timeout`, and run it again.

    InvalidValueError: the target is the source. NotFoundError: no such skill.
    """
    ids = {"skill_id": adapter("source_skill_id", "text")("source_skill_id", source_skill_id)}
    both = ids | {"target_skill_id": adapter("target_skill_id", "text")("target_skill_id", target_skill_id)}
    if source_skill_id == target_skill_id:
        raise InvalidValueError(f"target_skill_id must not be the source_skill_id: {shown(target_skill_id)}")
    return Statement(
        one(Skill),
        _MERGES["lock_users_of_skill"](**ids),
        _LOCKS["lock_skills"](skill_ids=[source_skill_id, target_skill_id]),
        _MERGES["move_ratings"](**both),
        _MERGES["move_feedback"](**both),
        _MERGES["move_events"](**both),
        _MERGES["move_measurements"](**both),
        _MERGES["lock_views_of_skills"](**both),
        _MERGES["move_views"](**both),
        _MERGES["move_monthly_uses"](**both),
        _MERGES["move_daily_costs"](**both),
        _MERGES["add_counters"](**both),
        _MERGES["archive_merged_skill"](**ids),
        _SQL["index_skills"](skill_ids=[source_skill_id]),
        _SQL["get_skill"](skill_id=target_skill_id),
    )


def delete_skill(skill_id: str) -> Statement[bool]:
    """Delete a skill and everything that belongs to it. Returns False if there is no such skill."""
    return Statement(EXISTS, _SQL["delete_skill"](skill_id=skill_id))
