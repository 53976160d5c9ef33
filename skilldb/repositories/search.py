"""Statements that search the skills, and count their categories and tags."""

import re
from collections.abc import Iterable, Iterator
from itertools import islice

from skilldb import paging, queries
from skilldb.models import CategoryCount, FoundSkill, Page, TagCount
from skilldb.paging import Sort
from skilldb.statement import NOTHING, ROWS, Reader, Statement, many
from skilldb.values import adapter, limited, several

_SQL = queries.load("search")
_SKILLS = queries.load("skills")
_LOCKS = queries.load("locks")

_RANK, _CATEGORIES, _TAGS = Sort("rank", int), Sort("categories", int), Sort("tags", int)

MAX_SEARCH = 1_000
"""How many characters of a search count."""

MAX_TERMS = 32
"""How many different words and phrases of a search count. Each is compared with the words of every skill."""

# A minus, then a phrase and its second quote, or anything else up to white space.
_TERM = re.compile(r'(-?)(?:"([^"]*)("|$)|(\S+))')
_QUOTES = str.maketrans(dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb", '"'))


def search_skills(
    text: str,
    *,
    status: str | None = "published",
    category: str | Iterable[str] | None = None,
    tag: str | Iterable[str] | None = None,
    limit: int = 20,
    after: str | None = None,
) -> Statement[Page[FoundSkill]]:
    """One page of the skills that have all words of the text, best first.

    It searches the words of name, slug, tags, description and author's name, in any order, without regard to case and
    accents. A word is found by its beginning, `"quoted words"` as a phrase of whole words, and `-word` leaves out each
    skill that has the word. Chinese, Japanese, Korean and Thai are found by any part of a text. Everything else that
    can be typed separates words. A text without a word leaves nothing out. Only the first 1,000 characters of the text
    count, and of these the first 32 different words and phrases. Of a description the first 10,000 characters count.

    `rank` is 6 if the name or slug has all words whole, 5 if it has their beginnings, 4 if name, slug and tags have
    them together, 3 if the name or slug has any word, 2 if a tag has any, and otherwise 1. Ties are sorted by id. A
    skill that was changed between two pages may be on both, or on neither. `status`, `category`, `tag` and `after` are
    as in list_skills. InvalidValueError: a limit below 1, or an `after` that is not a cursor of a search.
    """
    rank, id = paging.decode(after, _RANK)
    wanted: dict[str, list[str]] = {"words": [], "phrases": [], "unwanted": []}
    terms = dict.fromkeys(_terms(adapter("text", "text")("text", text)[:MAX_SEARCH]))
    for kind, term in islice(terms, MAX_TERMS):
        wanted[kind].append(term)
    return Statement(
        paging.page(FoundSkill, limit, lambda skill: (skill.rank, skill.id), _RANK),
        _SQL["read_by_index"](),
        _SQL["search_skills"](
            **wanted,
            status=status,
            category=several("category", category),
            tag=several("tag", tag),
            after_rank=rank,
            after_id=id,
            limit=limit,
        ),
    )


def _terms(text: str) -> Iterator[tuple[str, str]]:
    """Each word or phrase of a search, and which parameter takes it. Any text has terms: there is no wrong syntax."""
    for minus, phrase, closed, word in _TERM.findall(text.translate(_QUOTES)):
        if minus:
            yield "unwanted", phrase or word
        elif closed:
            yield "phrases", phrase
        else:  # A phrase without its second quote is still being typed.
            yield "words", phrase or word


def list_similar_skills(skill_id: str, *, limit: int = 10) -> Statement[list[FoundSkill]]:
    """The published skills that are most like this one, without itself. Empty if there is no such skill.

    `rank` is three points for each tag that both have, two for the same category, and one for each word of this skill's
    name that is in the other's name or slug. Skills without points are left out; ties are sorted by id.
    InvalidValueError: a limit below 1.
    """
    return Statement(
        many(FoundSkill),
        _SQL["read_by_index"](),
        _SQL["list_similar_skills"](skill_id=skill_id, limit=limited(limit)),
    )


def list_categories(*, limit: int = 100, after: str | None = None) -> Statement[Page[CategoryCount]]:
    """One page of the categories of published skills, with the number of skills of each, most skills first.

    Ties are sorted by category. `after` is the cursor of the page before; counts may move between two pages.
    InvalidValueError: a limit below 1, or an `after` that is not such a cursor.
    """
    skills, category = paging.decode(after, _CATEGORIES)
    return Statement(
        paging.page(CategoryCount, limit, lambda count: (count.skills, count.category), _CATEGORIES),
        _SQL["read_by_index"](),
        _SQL["list_categories"](after_skills=skills, after_category=category, limit=limit),
    )


def list_tags(*, limit: int = 100, after: str | None = None) -> Statement[Page[TagCount]]:
    """One page of the tags of published skills, with the number of skills of each; otherwise as list_categories."""
    skills, tag = paging.decode(after, _TAGS)
    return Statement(
        paging.page(TagCount, limit, lambda count: (count.skills, count.tag), _TAGS),
        _SQL["read_by_index"](),
        _SQL["list_tags"](after_skills=skills, after_tag=tag, limit=limit),
    )


def find_search_drift() -> Statement[list[str]]:
    """The ids of the skills that searches do not find by their present words, in order. Reads every skill.

    A skill drifts if SQL changed it or its author without skilldb, or if the words are folded in another way. Skills
    whose author is being deleted are left out: delete_user writes their words again when they pass on.
    """
    return Statement(
        Reader(ROWS.rows, lambda rows: [id for (id,) in rows]), _SQL["read_by_index"](), _SQL["find_search_drift"]()
    )


def repair_search(skill_ids: Iterable[str]) -> Statement[None]:
    """Write the words of these skills again, so that searches find them. NotFoundError: one of them does not exist."""
    wanted = adapter("skill_ids", "text[]")("skill_ids", skill_ids)
    ids = sorted({id for id in wanted if id is not None})
    return Statement(NOTHING, _LOCKS["lock_skills"](skill_ids=ids), _SKILLS["index_skills"](skill_ids=ids))
