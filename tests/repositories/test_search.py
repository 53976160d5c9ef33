"""Tests the search: folding, prefixes, phrases, negation, ranks, paging, and that the words follow every change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import errors as pg

from skilldb import guards
from skilldb.admin import explain
from skilldb.errors import InvalidValueError, NotFoundError
from skilldb.models import CategoryCount, TagCount
from skilldb.repositories import metrics, search, skills, users
from skilldb.statement import NOTHING, Statement
from tests.support.api import Api, new_skill, new_user
from tests.support.database import contents, refused, rows
from tests.support.server import Addresses


@pytest.fixture
def acme(api: Callable[[str], Api]) -> Api:
    """An organisation without skills."""
    return api("acme")


def found(tenant: Api, text: str, **more: Any) -> str:
    """The ids that a search finds, best first."""
    return " ".join(skill.id for skill in tenant.execute(search.search_skills(text, **more)).items)


def ranks(tenant: Api, text: str) -> dict[str, int]:
    return {skill.id: skill.rank for skill in tenant.execute(search.search_skills(text)).items}


def named(tenant: Api, id: str, name: str, **more: Any) -> None:
    """A skill of that name, with no other words."""
    new_skill(tenant, id, **({"name": name, "slug": id, "description": "", "category": "c"} | more))


# What is found


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("Écrire à l'École", ["ecrire", "ÉCRIRE", "e\u0301cole", "ecole", "l'ecole", "EC"]),
        ("Straße in Łódź", ["strasse", "STRASSE", "straße", "STRAẞE", "lodz", "ŁÓDŹ", "stras"]),
        ("İstanbul ve I\u011fd\u0131r", ["istanbul", "İSTANBUL", "ISTANBUL", "\u0131stanbul", "igdir", "IĞDIR"]),
        ("Smørrebrød Æble", ["smorrebrod", "SMØRREBRØD", "aeble", "æbl"]),
        ("Проверка Ёлок", ["проверка", "ПРОВЕР", "елок", "ЁЛОК"]),
        ("Σίσυφος ΟΔΟΣ", ["σισυφος", "ΣΊΣΥΦΟΣ", "σισυφοσ", "οδος", "ΟΔ"]),
        ("Ստուգում", ["ստուգում", "ՍՏՈՒԳ"]),
        ("使用SQL数据库设计", ["数据库", "设计", "sql", "库设", "使用sql", "使用 SQL", "库", '"数据库"', "设计 使用"]),
        ("データベース設計レビュー", ["設計", "レビュー", "データ", "ﾃﾞｰﾀ", "ベース設"]),
        ("코드리뷰를 위한 도구", ["리뷰", "코드", "도구", "위한"]),
        ("مُحَمَّد والبَحْث", ["محمد", "مُحَمَّد", "والبحث", "والب"]),
        ("שָׁלוֹם", ["שלום"]),
        ("ภาษาไทยง่าย", ["ไทย", "ง่าย"]),
        ("हिन्दी में खोज", ["हिन्दी", "खो"]),
        ("C++ and C# for .NET 9", ["c++", "C#", ".net", "net", "9", "c# c++"]),
        ("snake_case don't e-mail", ["snake_case", "case", "don't", "mail", "e-mail"]),
        ("ﬁle Ⅳ ½ ²", ["file", "iv", "2"]),
        ("Party\U0001f389time", ["party", "time"]),
        ("zero\u200dwidth so\u00adft", ["zerowidth", "soft"]),
    ],
)
def test_words_are_found_without_regard_to_case_accents_and_forms(acme: Api, name: str, texts: list[str]) -> None:
    named(acme, "x", name)
    named(acme, "y", "Another")
    assert {text: found(acme, text) for text in texts} == dict.fromkeys(texts, "x")


def test_other_letters_and_inner_parts_of_words_are_not_found(acme: Api) -> None:
    named(acme, "x", "Database がくせい 각 설계")
    assert found(acme, "base") == found(acme, "databases") == ""
    assert found(acme, "かくせい") == found(acme, "가") == ""
    assert found(acme, "がく") == found(acme, "각") == "x"


def test_name_slug_tags_description_and_author_are_searched_in_any_order(acme: Api) -> None:
    new_user(acme, "ann")
    new_skill(
        acme, "x", name="Query", slug="tuning", tags=["sql", "Slow Plans"], description="Finds scans", author_id="ann"
    )
    new_skill(acme, "y", name="Other", slug="other", description="Finds nothing")
    for text in ("query", "tuning", "sql", "plans slow", "finds scans", "scans finds", "ann query sql finds tun"):
        assert found(acme, text) == "x", text
    assert found(acme, "finds") == "y x"
    assert found(acme, "query other") == found(acme, "testing") == ""


def test_a_word_is_found_by_its_beginning_and_a_phrase_by_whole_words(acme: Api) -> None:
    named(acme, "a", "Code Review of Reports")
    named(acme, "b", "Review Code")
    assert found(acme, "rev cod") == found(acme, "rev") == "b a"
    assert found(acme, '"code review"') == "a"
    assert found(acme, '"review code"') == "b"
    assert found(acme, '"code rev"') == ""
    assert found(acme, '"code rev') == "a"
    assert found(acme, '"review" "reports" code') == "a"
    assert found(acme, "\u201ccode review\u201d") == found(acme, "\u00abcode review\u00bb") == "a"


def test_a_phrase_stays_within_one_field_and_one_tag(acme: Api) -> None:
    named(acme, "a", "Code", slug="review", tags=["slow", "plans"], description="of reports")
    for text in ("code review", "review slow", "slow plans", "plans of"):
        assert (found(acme, text), found(acme, f'"{text}"')) == ("a", ""), text


def test_a_minus_leaves_out_skills_with_the_whole_word_or_phrase(acme: Api) -> None:
    named(acme, "a", "Go Tool")
    named(acme, "b", "Google Tool")
    named(acme, "c", "Tool for Go", tags=["code review"])
    named(acme, "d", "设计 Tool")
    assert found(acme, "tool -go") == "d b"
    assert found(acme, "tool -GO -google") == "d"
    assert found(acme, 'tool -"code review"') == "d b a"
    assert found(acme, 'tool -"review code"') == "d c b a"
    assert found(acme, "tool -设") == "c b a"
    assert found(acme, "-go") == "d b"
    assert found(acme, "go - tool") == "c a b"


def test_a_text_without_words_leaves_nothing_out(acme: Api) -> None:
    named(acme, "a", "Go")
    named(acme, "b", "Sql")
    for text in ("", " ", "\t\n", "-", '"', '""', "!!!", '-""', "\U0001f389", "- -", "&|!()<->:*", "\u0301"):
        assert found(acme, text) == "b a", text


HOSTILE = (
    *("'", '"', "\\", "a\\", "'a':*", "a:*", "a:*A", "a & | b", "a <-> b", "!(a", "a)", "(((", "<->", "a'b\"c\\d"),
    *("%", "%(x)s", "%s", "$1", "$$", "; DROP TABLE skills; --", "\x01\x7f", "a" * 10_000, "a " * 5_000, '"a ' * 3_000),
    *("-" * 10_000, "é" * 3_000, "".join(map(chr, range(0x4E00, 0x5E00))), "\ufffe\uffff", "\U0010ffff", "\u202e"),
    "+ # +# c+++",
)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_text_is_wrong(acme: Api, text: str) -> None:
    named(acme, "a", "No match")
    before = acme.execute(skills.list_skills(status=None))
    acme.execute(search.search_skills(text))
    acme.execute(search.search_skills(f"-{text}"), search.search_skills(f'"{text}'), search.search_skills(f'"{text}"'))
    named(acme, "b", f"Z {text}", slug="b", description=text, tags=[text])
    assert "b" in found(acme, text)
    assert acme.execute(skills.list_skills(status=None)).items[-1:] == before.items


def test_the_first_32_different_words_of_a_search_count(acme: Api) -> None:
    """Each word costs a comparison with every skill, so a text of a word again and again must cost one of it."""
    several = [f"w{number}" for number in range(100, 132)]
    named(acme, "a", " ".join(several))
    assert found(acme, " ".join([*several, "absent"])) == "a"
    assert found(acme, " ".join([*several[1:], "absent"])) == ""
    assert found(acme, " ".join([*several, "-w100"])) == "a"
    assert found(acme, " ".join(["w100"] * 100 + ['"w100"', "w100", "absent"])) == ""
    *_, step = search.search_skills('s "s t" -s ' * 90).steps
    assert [step.params[name] for name in ("words", "phrases", "unwanted")] == [["s"], ["s t"], ["s"]]


def test_a_text_that_cannot_be_is_refused(addresses: Addresses, acme: Api) -> None:
    for text in ("a\0", "\ud800", None, 5, b"a", ["a"]):
        with refused(addresses, InvalidValueError, "text"):
            acme.execute(search.search_skills(text))  # type: ignore[arg-type]
    for limit in (0, -1, 2**63):
        with refused(addresses, InvalidValueError, "limit"):
            acme.execute(search.search_skills("a", limit=limit))
    for name in ("category", "tag"):
        for wrong, why in ((5, "a str or a list of str, not 5"), (b"x", "a str or a list of str"), ([None], "a str")):
            filters: dict[str, Any] = {name: wrong}
            with refused(addresses, InvalidValueError, f"{name} must be {why}"):
                acme.execute(search.search_skills("a", **filters))
            with refused(addresses, InvalidValueError, f"{name} must be {why}"):
                acme.execute(skills.list_skills(**filters))
    named(acme, "a", "A")
    named(acme, "b", "A")
    of_list = acme.execute(skills.list_skills(limit=1)).after
    for after in ("none", "", of_list):
        with refused(addresses, InvalidValueError, "after"):
            acme.execute(search.search_skills("a", after=after))


def test_long_texts_are_found_by_their_beginning(acme: Api) -> None:
    long = "x" * 5_000
    named(acme, "a", long, description=f"{'word ' * 3_000}end {'设' * 3_000}", tags=[long, *map(str, range(200))])
    named(acme, "b", "y" * 300_000, description="z" * 1_000_000)
    assert found(acme, "x" * 200) == found(acme, "90") == "a"
    assert found(acme, "y" * 900) == found(acme, "zz") == "b"
    assert found(acme, "end") == ""


# Order


def test_the_name_comes_before_tags_and_these_before_the_description(acme: Api) -> None:
    new_user(acme, "sql")
    named(acme, "whole", "Sql Tuning")
    named(acme, "slug", "Tuning", slug="sql-two")
    named(acme, "begun", "Sqlite Tuning")
    named(acme, "tag", "Tuning", tags=["sql"])
    named(acme, "text", "Tuning", description="About sql")
    named(acme, "author", "Tuning", author_id="sql")
    assert ranks(acme, "sql") == {"whole": 6, "slug": 6, "begun": 5, "tag": 4, "text": 1, "author": 1}
    assert found(acme, "sql") == "whole slug begun tag text author"
    named(acme, "apart", "Sql", tags=["tuning"])
    named(acme, "below", "Other", description="tuning", tags=["sql"])
    assert ranks(acme, "tuning sql") == {
        "whole": 6, "slug": 6, "begun": 5, "tag": 4, "text": 3, "author": 3, "apart": 4, "below": 2,
    }  # fmt: skip


def test_all_results_are_paged_through_none_twice_none_lost(acme: Api) -> None:
    for number in range(7):
        named(acme, f"n{number}", "Sql")
        named(acme, f"d{number}", "Other", description="sql")
        named(acme, f"t{number}", "Other", tags=["sql"])
    expected = [f"{kind}{number}" for kind in "ntd" for number in reversed(range(7))]
    for limit in (1, 2, 5, 7, 20, 21, 22):
        seen: list[str] = []
        page = acme.execute(search.search_skills("sql", limit=limit))
        while page.after is not None:
            assert len(page.items) == limit
            seen += [skill.id for skill in page.items]
            page = acme.execute(search.search_skills("sql", limit=limit, after=page.after))
        assert seen + [skill.id for skill in page.items] == expected


def test_the_result_is_the_skill_with_its_rank(acme: Api) -> None:
    named(acme, "a", "Sql")
    acme.execute(metrics.increment_skill_uses("a", 5))
    (one,) = acme.execute(search.search_skills("sql")).items
    skill = acme.execute(skills.get_skill("a"))
    assert {field: getattr(one, field) for field in type(skill).__slots__} == {
        field: getattr(skill, field) for field in type(skill).__slots__
    }
    assert (one.rank, one.total_uses) == (6, 5)


def test_filters_hold_on_every_page(acme: Api) -> None:
    named(acme, "a", "Sql", category="x", tags=["t", "u"])
    named(acme, "b", "Sql", category="x", status="draft", tags=["t"])
    named(acme, "c", "Sql", category="y", tags=["u"])
    named(acme, "d", "Sql", category="x", tags=["t"])
    assert found(acme, "sql") == "d c a"
    assert found(acme, "sql", status=None) == "d c b a"
    assert found(acme, "sql", status="draft") == "b"
    assert found(acme, "sql", category="x") == "d a"
    assert found(acme, "sql", tag="t", status=None, category="x") == "d b a"
    assert found(acme, "sql", tag="none") == found(acme, "sql", category="none") == ""
    assert found(acme, "sql", category=["x", "y"]) == found(acme, "sql", tag=iter("tu")) == "d c a"
    assert found(acme, "sql", category=("y", "none"), tag=["t", "u"]) == "c"
    assert found(acme, "sql", category=[]) == found(acme, "sql", tag=[]) == ""
    first = acme.execute(search.search_skills("sql", tag="t", limit=1))
    assert found(acme, "sql", tag="t", limit=1, after=first.after) == "a"


# The words follow the rows


def test_a_change_of_a_skill_is_found_at_once(acme: Api) -> None:
    named(acme, "a", "Old", slug="old")
    changes: list[tuple[Any, str]] = [
        ({"name": "Newname"}, "newname"),
        ({"slug": "newslug"}, "newslug"),
        ({"description": "newtext"}, "newtext"),
        ({"tags": ["newtag"]}, "newtag"),
    ]
    for change, word in changes:
        assert found(acme, word) == ""
        updated = acme.execute(skills.update_skill("a", change))
        assert found(acme, word) == "a"
        assert acme.execute(skills.get_skill("a")) == updated
    assert found(acme, "old") == ""
    acme.execute(skills.update_skill("a", {"status": "archived", "category": "moved"}))
    assert (found(acme, "newname"), found(acme, "newname", status=None, category="moved")) == ("", "a")
    assert acme.execute(skills.update_skill("a", {"hours_saved": 9})).hours_saved == 9
    acme.execute(skills.delete_skill("a"))
    assert found(acme, "newname", status=None) == ""


def test_the_name_of_a_user_leaves_the_search_with_each_skill_that_passes_on(acme: Api) -> None:
    """A call of delete_user takes the name away at once, and passes on a part of the skills. The rest is no drift."""
    acme.execute(users.create_user("ann@example.com", name="Annika", id="ann"))
    for id in "abc":
        named(acme, id, id, author_id="ann")
    for left in ("c b", "c", ""):
        acme.execute(users.delete_user("ann", limit=1))
        assert found(acme, "annika") == left
        assert acme.execute(search.find_search_drift()) == []


def test_a_refused_change_leaves_the_words(addresses: Addresses, acme: Api) -> None:
    named(acme, "a", "Old")
    before = contents(addresses.admin)
    with pytest.raises(InvalidValueError, match="status"):
        acme.execute(skills.update_skill("a", {"name": "New", "status": "secret"}))
    assert contents(addresses.admin) == before


def test_the_stored_words_are_those_that_the_migration_writes(addresses: Addresses, acme: Api) -> None:
    new_user(acme, "ann")
    named(acme, "a", "Écrire", tags=["x y", "数"], description="d", author_id="ann")
    acme.execute(skills.update_skill("a", {"name": "Lire"}))
    assert rows(
        addresses.admin,
        "SELECT t.words = search_document(s.name, s.slug, s.tags, s.description, u.name), "
        "t.name_key = search_name_key(s.name), (t.status, t.category, t.tags) = (s.status, s.category, s.tags) "
        "FROM skill_search AS t JOIN skills AS s ON s.id = t.skill_id JOIN users AS u ON u.id = s.author_id",
    ) == [(True, True, True)]


def test_the_steps_after_a_rename_write_the_new_name(addresses: Addresses, acme: Api) -> None:
    new_user(acme, "ann")
    named(acme, "a", "First", author_id="ann")
    named(acme, "b", "Second")
    rows(addresses.admin, "UPDATE users SET name = 'Zoé' WHERE id = 'ann' RETURNING 1")
    assert found(acme, "ann") == "a"
    acme.execute(Statement(NOTHING, *users._index_renamed("ann")))
    assert (found(acme, "ann"), found(acme, "zoe")) == ("", "a")


def test_words_that_drifted_are_found_and_repaired(addresses: Addresses, acme: Api) -> None:
    stored = "SELECT * FROM skill_search ORDER BY skill_id"
    new_user(acme, "ann")
    for id in "abcdef":
        named(acme, id, "Sql", author_id="ann" if id == "f" else None)
    assert acme.execute(search.find_search_drift()) == []
    before = rows(addresses.admin, stored)
    drifts = {
        "a": "DELETE FROM skill_search WHERE skill_id = 'a'",
        "b": "UPDATE skill_search SET words = '' WHERE skill_id = 'b'",
        "c": "UPDATE skill_search SET status = 'draft' WHERE skill_id = 'c'",
        "d": "UPDATE skill_search SET tags = '{x}' WHERE skill_id = 'd'",
        "e": "UPDATE skill_search SET name_key = 'x', category = 'x' WHERE skill_id = 'e'",
    }
    for sql in drifts.values():
        rows(addresses.admin, f"{sql} RETURNING 1")
    assert acme.execute(search.find_search_drift()) == list(drifts)
    rows(addresses.admin, "UPDATE users SET name = 'Other' WHERE id = 'ann' RETURNING 1")
    assert acme.execute(search.find_search_drift()) == [*drifts, "f"]
    with refused(addresses, NotFoundError, "skill 'missing' does not exist", cause=pg.NoDataFound):
        acme.execute(search.repair_search(["a", "missing"]))
    with refused(addresses, InvalidValueError, "skill_ids must be a list, not None"):
        acme.execute(search.repair_search(None))  # type: ignore[arg-type]
    acme.execute(search.repair_search(["f", *drifts, "a"]))
    assert acme.execute(search.find_search_drift()) == []
    rows(addresses.admin, "UPDATE users SET name = 'Ann' WHERE id = 'ann' RETURNING 1")
    acme.execute(search.repair_search(["f"]))
    assert rows(addresses.admin, stored) == before


# Similar skills, categories, tags


def test_similar_skills_share_tags_category_and_words_of_the_name(acme: Api) -> None:
    named(acme, "own", "Sql Query Review", category="data", tags=["sql", "slow"])
    named(acme, "tags", "Other", tags=["slow", "sql", "sql"])
    named(acme, "category", "Other", category="data")
    named(acme, "words", "Réview a Query")
    named(acme, "slug", "Other", slug="sql")
    named(acme, "all", "Review Query", category="data", tags=["sql"])
    named(acme, "draft", "Sql Query Review", category="data", status="draft")
    named(acme, "none", "Other", description="sql query review")
    similar = acme.execute(search.list_similar_skills("own"))
    assert [(skill.id, skill.rank) for skill in similar] == [
        ("all", 7), ("tags", 6), ("words", 2), ("category", 2), ("slug", 1),
    ]  # fmt: skip
    assert [skill.id for skill in acme.execute(search.list_similar_skills("own", limit=2))] == ["all", "tags"]
    assert acme.execute(search.list_similar_skills("missing")) == []
    assert acme.execute(search.list_similar_skills("draft"))[0].id == "own"
    with pytest.raises(InvalidValueError, match="limit"):
        acme.execute(search.list_similar_skills("own", limit=0))


def test_categories_and_tags_of_published_skills_are_counted(addresses: Addresses, acme: Api) -> None:
    named(acme, "a", "A", category="x", tags=["t", "t", "u"])
    named(acme, "b", "B", category="y", tags=["t"])
    named(acme, "c", "C", category="y", tags=[])
    named(acme, "d", "D", category="z", tags=["v"])
    named(acme, "e", "E", category="draft", tags=["draft", "u"], status="draft")
    categories, tags = acme.execute(search.list_categories(), search.list_tags())
    assert categories.items == [CategoryCount(category=c, skills=n) for c, n in [("y", 2), ("x", 1), ("z", 1)]]
    assert tags.items == [TagCount(tag=t, skills=n) for t, n in [("t", 2), ("u", 1), ("v", 1)]]
    for function, whole in ((search.list_categories, categories), (search.list_tags, tags)):
        seen: list[Any] = []
        page = acme.execute(function(limit=1))
        while page.after is not None:
            seen += page.items
            page = acme.execute(function(limit=1, after=page.after))
        assert seen + page.items == whole.items
    with refused(addresses, InvalidValueError, "after"):
        acme.execute(search.list_tags(after=acme.execute(search.list_categories(limit=1)).after))


# Other organisations


def test_another_tenant_finds_nothing(acme: Api, api: Callable[[str], Api]) -> None:
    globex = api("globex")
    named(acme, "a", "Sql", tags=["sql"])
    named(globex, "b", "Sql", tags=["sql"])
    assert (found(acme, "sql"), found(globex, "sql")) == ("a", "b")
    assert globex.execute(search.list_similar_skills("a")) == []
    assert acme.execute(search.list_similar_skills("a")) == []
    assert [c.skills for c in acme.execute(search.list_tags()).items] == [1]
    assert [c.skills for c in acme.execute(search.list_categories()).items] == [1]
    assert acme.execute(skills.get_skills(["b", "a"]))[0].id == "a"


# Plans


def whole_tables(addresses: Addresses, statement: Statement[Any], *, hint: bool) -> set[str]:
    """The tables that the statement reads from end to end, with the generic plans that the service uses."""
    found = set()
    with psycopg.connect(addresses.service) as conn:
        guards.set_tenant(conn, "acme")
        for step in statement.steps:
            if explain.has_plan(step.query):
                given = {**step.params, "tenant_id": "acme"}
                nodes = [explain.analyse(conn, step.query, given, generic=True, as_json=True)["Plan"]]
                while nodes:
                    node = nodes.pop()
                    nodes += node.get("Plans", [])
                    found |= {node["Relation Name"]} if node["Node Type"] == "Seq Scan" else set()
            elif hint:
                conn.execute(step.query.sql)
    return found


def test_a_small_organisation_reads_no_rows_of_a_big_one(
    addresses: Addresses, acme: Api, api: Callable[[str], Api]
) -> None:
    named(acme, "s1", "Red fox")
    api("globex")
    with psycopg.connect(addresses.admin, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO skills (tenant_id, id, name, slug, description, category) "
            "SELECT 'globex', n, 'Red ' || n, n, 'It', 'c' FROM generate_series(1, 12000) AS n"
        )
        conn.execute(
            "INSERT INTO skill_search (tenant_id, skill_id, status, category, tags, name_key, words) "
            "SELECT tenant_id, id, status, category, tags, search_name_key(name), "
            "search_document(name, slug, tags, repeat(description, 50), '') FROM skills WHERE tenant_id = 'globex'"
        )
        conn.execute("VACUUM (ANALYZE) skills, skill_search")
    asked: list[Statement[Any]] = [
        search.search_skills("red"),
        search.list_similar_skills("s1"),
        search.list_categories(),
        search.list_tags(),
        search.find_search_drift(),
    ]
    assert [whole_tables(addresses, each, hint=True) for each in asked] == [set()] * len(asked)
    # Without the hint the planner expects half of all rows.
    assert set().union(*(whole_tables(addresses, each, hint=False) for each in asked)) == {"skills", "skill_search"}
