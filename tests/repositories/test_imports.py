"""Tests skills that are imported in bulk, and the source of each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg import errors as pg

from skilldb.errors import AlreadyExistsError, InvalidValueError, NotFoundError
from skilldb.models import (
    EarlierVersion,
    ImportedSkill,
    ImportOutcome,
    NewContent,
    NewSkillVersion,
    SkillImport,
    SlugOwner,
)
from skilldb.repositories import imports, skills
from tests.support.api import Api, new_skill, new_user
from tests.support.database import contents, refused, rows
from tests.support.server import Addresses

AT = datetime(2026, 5, 5, 12, tzinfo=UTC)


@pytest.fixture
def acme(api: Callable[[str], Api]) -> Api:
    """An organisation with the user u1 and the skill s1, which nobody imported."""
    tenant = api("acme")
    new_user(tenant, "u1")
    new_skill(tenant, "s1")
    return tenant


def given(id: str, version: int = 1, **more: Any) -> SkillImport:
    """The skill of that id, with the content of that number."""
    values = {
        "version_id": f"{id}-{version}",
        "slug": id,
        "path": f"skills/{id}",
        "name": id.title(),
        "description": f"What {id} does",
        "category": "imported",
        "content_url": f"{id}/{version}.md",
        "content_hash": f"{version}" * 64,
    }
    return SkillImport(id=id, **(values | more))


def run(tenant: Api, *items: SkillImport, source: str = "here") -> list[str]:
    """Import the items. Returns the outcomes, which are in the order of the items."""
    found: list[ImportOutcome] = tenant.execute(imports.import_skills(source, items))
    assert [each.skill_id for each in found] == [item.id for item in items]
    return [each.outcome for each in found]


def listed(tenant: Api, source: str = "here") -> list[ImportedSkill]:
    found: list[ImportedSkill] = tenant.execute(imports.list_imported_skills(source)).items
    return found


def test_new_skills_get_their_columns_a_version_and_a_source(acme: Api) -> None:
    item = given("a", tags=["x", "y"], author_id="u1", metadata={"k": "v"}, commit_hash="c0", committed_at=AT)
    assert run(acme, item, given("b")) == ["published", "published"]
    a, b, version = acme.execute(skills.get_skill("a"), skills.get_skill_by_slug("b"), skills.get_skill_version("a-1"))
    assert (a.name, a.slug, a.description, a.category) == ("A", "a", "What a does", "imported")
    assert (a.tags, a.status, a.author_id, a.hours_saved) == (["x", "y"], "published", "u1", 1)
    assert (a.published_version_id, a.published_version) == ("a-1", 1)
    assert (b.tags, b.author_id, b.published_version_id) == ([], None, "b-1")
    assert (version.content_url, version.content_hash, version.content_type) == ("a/1.md", "1" * 64, "text/markdown")
    assert (version.name, version.metadata, version.created_by) == ("A", {"k": "v"}, None)
    assert a.updated_at == version.created_at + timedelta(milliseconds=1)
    (found,) = [each for each in listed(acme) if each.skill_id == "a"]
    assert found == ImportedSkill(
        skill_id="a",
        slug="a",
        source="here",
        path="skills/a",
        content_hash="1" * 64,
        imported={"name": "A", "description": "What a does", "category": "imported", "tags": ["x", "y"]},
        commit_hash="c0",
        committed_at=AT,
        created_at=found.created_at,
        imported_at=found.imported_at,
        published_version_id="a-1",
    )


def test_a_changed_skill_gets_a_new_version_and_its_new_columns(acme: Api) -> None:
    run(acme, given("a"), given("b"))
    changed = given("a", 2, name="A2", category="law", tags=["t"], status="draft", expected_version_id="a-1")
    assert run(acme, changed, given("b", 1, version_id="b-2", expected_version_id="b-1")) == ["published", "written"]
    a, versions, b = acme.execute(skills.get_skill("a"), skills.list_skill_versions("a"), skills.get_skill("b"))
    assert (a.name, a.category, a.tags, a.status, a.published_version) == ("A2", "law", ["t"], "draft", 2)
    assert [(v.version, v.name, v.content_hash[0]) for v in versions.items] == [(2, "A2", "2"), (1, "A", "1")]
    assert b.published_version_id == "b-1"
    (found,) = [each for each in listed(acme) if each.skill_id == "a"]
    assert found.imported["name"] == "A2"
    assert found.created_at <= found.imported_at


def test_what_people_wrote_is_kept_until_the_source_changes_it(acme: Api) -> None:
    run(acme, given("a"))
    acme.execute(skills.update_skill("a", {"description": "By hand", "category": "by hand", "status": "archived"}))
    assert run(acme, given("a", 2, name="A2", expected_version_id="a-1")) == ["published"]
    skill = acme.execute(skills.get_skill("a"))
    assert (skill.name, skill.description, skill.category, skill.status) == ("A2", "By hand", "by hand", "archived")
    assert run(
        acme, given("a", 2, version_id="a-3", name="A2", description="By source", expected_version_id="a-2")
    ) == ["written"]
    skill = acme.execute(skills.get_skill("a"))
    assert (skill.description, skill.category, skill.published_version) == ("By source", "by hand", 2)


def test_a_version_that_people_published_is_kept_until_the_source_changes_its_content(acme: Api) -> None:
    run(acme, given("a"))
    by_hand = NewSkillVersion(id="hand", content_url="u", content_hash="9" * 64)
    acme.execute(skills.publish_skill_version("a", by_hand))
    assert run(acme, given("a", version_id="a-2", expected_version_id="hand")) == ["written"]
    assert acme.execute(skills.get_skill("a")).published_version_id == "hand"
    assert run(acme, given("a", 3, expected_version_id="hand")) == ["published"]
    assert acme.execute(skills.get_skill("a")).published_version == 3


def test_content_that_is_published_already_adds_no_version(acme: Api) -> None:
    published = NewSkillVersion(id="hand", content_url="u", content_hash="1" * 64)
    acme.execute(skills.publish_skill_version("s1", published))
    assert run(acme, given("s1", name="Taken over", expected_version_id="hand")) == ["written"]
    skill = acme.execute(skills.get_skill("s1"))
    assert (skill.name, skill.published_version) == ("Taken over", 1)


def test_another_source_takes_a_skill_over_with_all_columns(acme: Api) -> None:
    run(acme, given("a"))
    acme.execute(skills.update_skill("a", {"description": "By hand"}))
    taken = given("a", description="What b does", version_id="a-2", expected_version_id="a-1")
    assert run(acme, taken, source="there") == ["written"]
    assert acme.execute(skills.get_skill("a")).description == "What b does"
    assert listed(acme) == []
    (found,) = listed(acme, "there")
    assert found.path == "skills/a"
    assert found.imported == {"name": "A", "description": "What b does", "category": "imported"}
    acme.execute(skills.update_skill("a", {"name": "By hand"}))
    assert run(acme, given("a", version_id="a-3", expected_version_id="a-1", status="draft")) == ["written"]
    assert acme.execute(skills.get_skill("a")).name == "A"
    assert run(acme, given("a", version_id="a-4", expected_version_id="a-1"), source="there") == ["written"]
    assert "status" not in listed(acme, "there")[0].imported


def test_what_changed_meanwhile_is_skipped(addresses: Addresses, acme: Api) -> None:
    run(acme, given("a"))
    found = contents(addresses.admin)
    skipped = [
        given("new", slug="s1"),
        given("a", 2),
        given("s1", expected_version_id="a-1"),
        given("gone", expected_version_id="a-1"),
    ]
    assert run(acme, *skipped) == ["skipped"] * 4
    assert contents(addresses.admin) == found
    assert run(acme, given("x", slug="same"), given("y", slug="same")) == ["published", "skipped"]
    assert run(acme) == []


@pytest.mark.parametrize(
    ("more", "error", "named", "cause"),
    [
        ({"content_hash": "A" * 64}, InvalidValueError, "content_hash must be 64", None),
        ({"status": "new"}, InvalidValueError, "status must be one of", None),
        ({"tags": [None]}, InvalidValueError, "tags must not hold None", None),
        ({"path": "é" * 513}, InvalidValueError, "path must be at most 1024 bytes", None),
        ({"name": "a\0"}, InvalidValueError, "name must not contain a NUL byte", None),
        ({"category": None}, InvalidValueError, "category must not be None", pg.NotNullViolation),
        ({"author_id": "u9"}, NotFoundError, "user 'u9' does not exist", pg.NoDataFound),
        ({"version_id": "s1-1"}, AlreadyExistsError, "id", pg.UniqueViolation),
    ],
)
def test_one_wrong_item_refuses_all(
    addresses: Addresses, acme: Api, more: dict[str, Any], error: type, named: str, cause: Any
) -> None:
    run(acme, given("s1"))
    with refused(addresses, error, named, cause=cause):
        acme.execute(imports.import_skills("here", [given("a"), given("b", **more)]))


def test_an_id_that_is_there_twice_and_a_long_source_are_refused(addresses: Addresses, acme: Api) -> None:
    with refused(addresses, InvalidValueError, "id 'a' is there twice"):
        acme.execute(imports.import_skills("here", [given("a"), given("a", slug="b")]))
    with refused(addresses, InvalidValueError, "source must be at most 255 bytes"):
        acme.execute(imports.import_skills("x" * 256, [given("a")]))


def test_an_organisation_that_does_not_exist_imports_nothing(addresses: Addresses, acme: Api, db: Any) -> None:
    with refused(addresses, NotFoundError, "tenant", cause=pg.ForeignKeyViolation):
        db.tenant("nobody").execute(imports.import_skills("here", [given("a")]))


def test_the_skills_of_a_source_are_listed_in_pages(acme: Api) -> None:
    for name in "abcde":
        run(acme, given(name))
    run(acme, given("f"), source="there")
    found: list[str] = []
    after = None
    for _ in range(3):
        page = acme.execute(imports.list_imported_skills("here", limit=2, after=after))
        found += [each.skill_id for each in page.items]
        after = page.after
    assert after is None
    assert sorted(found) == list("abcde")
    assert found[-1] == "a"


def test_what_is_no_list_of_texts_is_refused() -> None:
    for wrong in (None, "s1", b"s1", 5):
        with pytest.raises(InvalidValueError, match=r"^slugs must be a list, not"):
            imports.find_slug_owners(wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidValueError, match=r"^hashes must be a list, not"):
            imports.find_missing_contents(wrong)  # type: ignore[arg-type]


def test_the_owners_of_slugs_are_found(acme: Api) -> None:
    run(acme, given("a"))
    assert acme.execute(imports.find_slug_owners(["s1", "none", "a"])) == [
        SlugOwner(slug="a", skill_id="a", published_version_id="a-1", source="here", path="skills/a"),
        SlugOwner(slug="s1", skill_id="s1", published_version_id=None, source=None, path=None),
    ]


def test_versions_with_a_content_are_found(acme: Api) -> None:
    run(acme, given("a"), given("b"))
    run(acme, given("a", 2, expected_version_id="a-1"))
    run(acme, given("a", 1, version_id="a-3", expected_version_id="a-2"))
    hashes = ["1" * 64, "2" * 64, "3" * 64]
    assert acme.execute(imports.find_earlier_versions(["a", "b", "b"], hashes)) == [
        EarlierVersion(skill_id="a", content_hash="1" * 64, version=1)
    ]
    with pytest.raises(InvalidValueError, match="as many elements"):
        imports.find_earlier_versions(["a"], [])


# Contents


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def stored(tenant: Api, id: str, version: int, files: dict[str, bytes], expected: str | None = None) -> None:
    """Import a version of the skill with these files, and store them."""
    manifest = "".join(f"{sha(files[path])}  {path}\n" for path in sorted(files)).encode()
    item = given(id, version, content_hash=sha(manifest), expected_version_id=expected)
    tenant.execute(
        imports.import_skills("here", [item]),
        imports.store_contents([NewContent.of(content) for content in (manifest, *files.values())]),
    )


def test_contents_are_stored_once_and_read_back(addresses: Addresses, acme: Api) -> None:
    files = {"SKILL.md": b"---\nname: \xc3\xa9\n", "b/x.bin": b"\0\xff", "a.txt": b"", "twice": b"\0\xff"}
    stored(acme, "a", 1, files)
    found = acme.execute(imports.get_version_content("a-1"))
    assert [each.path for each in found] == ["SKILL.md", "a.txt", "b/x.bin", "twice"]
    assert {each.path: each.content for each in found} == files
    assert [each.is_binary for each in found] == [False, False, True, True]
    assert rows(addresses.admin, "SELECT count(*) FROM skill_contents") == [(4,)]
    again = [NewContent.of(b"\0\xff"), NewContent.of(b"new"), NewContent.of(b"new")]
    assert acme.execute(imports.store_contents(again), imports.store_contents([])) == (1, 0)
    hashes = [sha(b"new"), sha(b"z"), sha(b"z"), sha(b"y")]
    assert acme.execute(imports.find_missing_contents(hashes)) == sorted({sha(b"z"), sha(b"y")})


def test_a_version_whose_content_is_not_stored_has_no_files(acme: Api) -> None:
    run(acme, given("a"))
    assert acme.execute(imports.get_version_content("a-1"), imports.get_version_content("none")) == ([], [])


def test_the_difference_of_two_versions(acme: Api) -> None:
    stored(acme, "a", 1, {"SKILL.md": b"one\ntwo\n", "gone": b"g", "bin": b"\0", "same": b"s"})
    stored(acme, "a", 2, {"SKILL.md": b"one\n2\n", "new": b"n\n", "bin": b"\1\xff", "same": b"s"}, "a-1")
    changes = acme.execute(imports.diff_versions("a-1", "a-2"))
    assert [each.path for each in changes] == ["SKILL.md", "bin", "gone", "new"]
    text, binary, gone, new = (each.unified() for each in changes)
    assert text == "--- a/SKILL.md\n+++ b/SKILL.md\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n"
    assert binary == "Binary file bin differs\n"
    assert gone.startswith("--- a/gone\n+++ /dev/null\n")
    assert gone.endswith("-g\n\\ No newline at end of file\n")
    assert new == "--- /dev/null\n+++ b/new\n@@ -0,0 +1 @@\n+n\n"
    assert acme.execute(imports.diff_versions("a-1", "a-1"), imports.diff_versions("x", "y")) == ([], [])


def test_contents_of_another_organisation_are_not_read(acme: Api, api: Callable[[str], Api]) -> None:
    stored(acme, "a", 1, {"SKILL.md": b"secret"})
    globex = api("globex")
    manifest = f"{sha(b'secret')}  SKILL.md\n".encode()
    run(globex, given("a", content_hash=sha(manifest)))
    assert globex.execute(imports.get_version_content("a-1")) == []
    assert globex.execute(imports.find_missing_contents([sha(b"secret")])) == [sha(b"secret")]


def test_a_body_that_is_no_base64_is_refused(addresses: Addresses, acme: Api) -> None:
    with refused(addresses, InvalidValueError, "body must be base64"):
        acme.execute(imports.store_contents([NewContent(body="a", is_binary=True)]))


def test_the_words_for_a_search_are_written_with_the_skill(addresses: Addresses, acme: Api) -> None:
    differs = (
        "SELECT count(*), count(*) FILTER (WHERE (d.status, d.category, d.tags, d.name_key, d.words) IS DISTINCT FROM "
        "(s.status, s.category, s.tags, search_name_key(s.name), "
        "search_document(s.name, s.slug, s.tags, s.description, u.name))) "
        "FROM skills AS s LEFT JOIN users AS u ON u.tenant_id = s.tenant_id AND u.id = s.author_id "
        "LEFT JOIN skill_search AS d ON d.tenant_id = s.tenant_id AND d.skill_id = s.id"
    )
    run(acme, given("a", author_id="u1"), given("b", tags=["x"]))
    assert rows(addresses.admin, differs) == [(3, 0)]
    run(acme, given("a", 2, name="New", tags=["y"], status="draft", expected_version_id="a-1"))
    assert rows(addresses.admin, differs) == [(3, 0)]
