"""Asserts the types that `execute` returns: mypy checks the assertions, and the test runs them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, assert_type

import skilldb
from skilldb.models import Page, Rating, Skill, SkillChanges, SkillVersion, UserSkillView, WhatsNewItem
from skilldb.repositories import metrics, ratings, skills, views
from tests.support.api import new_skill, new_user
from tests.support.server import Addresses

SKILL = skills.get_skill("s1")
WHATS_NEW = views.get_whats_new_for_user("u1")
VIEWS = views.get_user_views_for_skills("u1", ["s1"])
PAGE = skills.list_skills()
DELETED = skills.delete_skill("none")
SEEN = views.record_skill_view("u1", "s1", None)
USES = metrics.increment_skill_uses("s1")
AVERAGE = metrics.update_skill_rating("s1")
RATED = ratings.rate_skill("u1", "s1", 5)
OPENED = views.open_skill("u1", "s1")
VERSIONS = skills.list_skill_versions("s1")
NONE: Page[SkillVersion] = Page(items=[], after=None)


def test_a_blocking_execute_returns_what_its_statements_say(acme: skilldb.Tenant) -> None:
    new_user(acme, "u1")
    new_skill(acme, "s1")

    skill = assert_type(acme.execute(SKILL), Skill | None)
    assert isinstance(skill, Skill)
    assert assert_type(acme.execute(WHATS_NEW), list[WhatsNewItem]) == []
    assert assert_type(acme.execute(VIEWS), dict[str, UserSkillView]) == {}
    assert assert_type(acme.execute(PAGE), Page[Skill]).items == [skill]
    assert assert_type(acme.execute(DELETED), bool) is False
    assert assert_type(acme.execute(USES), int) == 1
    assert assert_type(acme.execute(AVERAGE), int | None) is None
    assert isinstance(assert_type(acme.execute(RATED), Rating), Rating)
    assert assert_type(acme.execute(OPENED), SkillChanges | None) is None
    assert assert_type(acme.execute(VERSIONS), Page[SkillVersion]).items == []
    assert_type(acme.execute(SEEN), None)

    two = assert_type(acme.execute(USES, DELETED), tuple[int, bool])
    assert two == (2, False)
    three = assert_type(acme.execute(USES, DELETED, AVERAGE), tuple[int, bool, int | None])
    assert three == (3, False, 500)
    four = assert_type(
        acme.execute(USES, VERSIONS, WHATS_NEW, DELETED), tuple[int, Page[SkillVersion], list[WhatsNewItem], bool]
    )
    assert four == (4, NONE, [], False)
    five = assert_type(
        acme.execute(SKILL, USES, VIEWS, PAGE, RATED),
        tuple[Skill | None, int, dict[str, UserSkillView], Page[Skill], Rating],
    )
    assert [type(result) for result in five] == [Skill, int, dict, Page, Rating]
    six = assert_type(
        acme.execute(USES, OPENED, VIEWS, PAGE, RATED, DELETED),
        tuple[int, SkillChanges | None, dict[str, UserSkillView], Page[Skill], Rating, bool],
    )
    assert [type(result) for result in six] == [int, SkillChanges, dict, Page, Rating, bool]
    ten = assert_type(
        acme.execute(USES, USES, USES, USES, USES, USES, USES, DELETED, VERSIONS, OPENED),
        tuple[int, int, int, int, int, int, int, bool, Page[SkillVersion], SkillChanges | None],
    )
    assert ten[:9] == (7, 8, 9, 10, 11, 12, 13, False, NONE)
    # With more than ten statements a type checker only knows that it is a tuple.
    eleven = assert_type(acme.execute(*[DELETED] * 11), tuple[Any, ...])
    assert eleven == (False,) * 11

    with acme.transaction() as tx:
        assert assert_type(assert_type(tx, skilldb.Transaction).execute(USES), int) == 14
        assert assert_type(tx.execute(USES, DELETED), tuple[int, bool]) == (15, False)


def test_an_async_execute_returns_what_its_statements_say(acme: skilldb.Tenant, addresses: Addresses) -> None:
    new_user(acme, "u1")
    new_skill(acme, "s1")

    async def execute() -> None:
        async with skilldb.connect_async(addresses.service) as db:
            tenant = assert_type(db, skilldb.AsyncDatabase).tenant("acme")

            skill = assert_type(await tenant.execute(SKILL), Skill | None)
            assert isinstance(skill, Skill)
            assert assert_type(await tenant.execute(WHATS_NEW), list[WhatsNewItem]) == []
            assert assert_type(await tenant.execute(VIEWS), dict[str, UserSkillView]) == {}
            assert assert_type(await tenant.execute(PAGE), Page[Skill]).items == [skill]
            assert assert_type(await tenant.execute(DELETED), bool) is False
            assert assert_type(await tenant.execute(USES), int) == 1

            two = assert_type(await tenant.execute(USES, DELETED), tuple[int, bool])
            assert two == (2, False)
            three = assert_type(await tenant.execute(USES, DELETED, AVERAGE), tuple[int, bool, int | None])
            assert three == (3, False, None)
            four = assert_type(
                await tenant.execute(USES, VERSIONS, WHATS_NEW, DELETED),
                tuple[int, Page[SkillVersion], list[WhatsNewItem], bool],
            )
            assert four == (4, NONE, [], False)
            five = assert_type(
                await tenant.execute(SKILL, USES, VIEWS, PAGE, RATED),
                tuple[Skill | None, int, dict[str, UserSkillView], Page[Skill], Rating],
            )
            assert [type(result) for result in five] == [Skill, int, dict, Page, Rating]
            six = assert_type(
                await tenant.execute(USES, OPENED, VIEWS, PAGE, RATED, DELETED),
                tuple[int, SkillChanges | None, dict[str, UserSkillView], Page[Skill], Rating, bool],
            )
            assert [type(result) for result in six] == [int, type(None), dict, Page, Rating, bool]
            seven = assert_type(
                await tenant.execute(USES, USES, USES, USES, USES, USES, USES),
                tuple[int, int, int, int, int, int, int],
            )
            assert seven == (7, 8, 9, 10, 11, 12, 13)

            async with tenant.transaction() as tx:
                assert assert_type(await assert_type(tx, skilldb.AsyncTransaction).execute(USES), int) == 14
                assert assert_type(await tx.execute(USES, DELETED), tuple[int, bool]) == (15, False)

    asyncio.run(execute())


if TYPE_CHECKING:

    def refused(tenant: skilldb.Tenant) -> None:
        # mypy reports an unused ignore, so it must find an error in each of these lines.
        tenant.execute("SELECT 1")  # type: ignore[call-overload]
        tenant.execute(skills.get_skill)  # type: ignore[call-overload]
        tenant.execute(skills.get_skill(1))  # type: ignore[arg-type]
        SKILL.steps = ()  # type: ignore[misc]
