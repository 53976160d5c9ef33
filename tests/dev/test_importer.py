"""Tests what `skilldb import` does with the inputs that real repositories hold, and with what is in the database."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import zipfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner, Result

import skilldb
from skilldb import cli
from skilldb.errors import InvalidValueError, SkilldbError
from skilldb.importer import archives, sources
from skilldb.models import NewSkill, Skill, SkillVersion
from skilldb.repositories import imports, skills, tenants, users
from tests.support.database import contents, rows
from tests.support.server import CHECKOUT, Addresses

CASES = CHECKOUT / "tests" / "support" / "importer_cases"


@pytest.fixture(autouse=True)
def environment(addresses: Addresses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKILLDB_OWNER_DSN", addresses.owner)
    monkeypatch.setenv("SKILLDB_DSN", addresses.service)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, ["import", *(str(argument) for argument in arguments)])


def report(folder: Path, *options: str, source: str = "here") -> dict[str, dict[str, Any]]:
    """The report of an import by path."""
    result = run(folder, "--source", source, "--json", *options)
    assert not result.exception or isinstance(result.exception, SystemExit), result.exception
    found = json.loads(result.stdout)
    failed = [each for each in found if each["outcome"] in ("failed", "collision", "older")]
    assert result.exit_code == (1 if failed else 0)
    for each in found:
        for text in (each["reason"] or "", *each["warnings"]):
            assert len(text) < 400
            assert text.isprintable()
    return {each["path"]: each for each in found}


def outcomes(folder: Path, *options: str, source: str = "here") -> dict[str, str]:
    return {path: each["outcome"] for path, each in report(folder, *options, source=source).items()}


def stored() -> dict[str, Skill]:
    """The skills of the organisation by slug."""
    with skilldb.connect() as db:
        page = db.tenant("imported").execute(skills.list_skills(status=None, limit=1000))
    return {skill.slug: skill for skill in page.items}


def newest(slug: str) -> SkillVersion:
    with skilldb.connect() as db:
        skill = db.tenant("imported").execute(skills.get_skill_by_slug(slug))
        assert skill is not None
        (version, *_) = db.tenant("imported").execute(skills.list_skill_versions(skill.id)).items
    return version


def write(root: Path, path: str, description: str = "d", **more: str) -> None:
    (root / path).mkdir(parents=True, exist_ok=True)
    front = {"name": path.rpartition("/")[2], "description": description} | more
    lines = "".join(f"{key}: {value}\n" for key, value in front.items())
    (root / path / "SKILL.md").write_text(f"---\n{lines}---\n# Body\n")


def unchanged(addresses: Addresses, folder: Path, *options: str) -> bool:
    """Whether importing again finds nothing to write, and writes nothing."""
    before = contents(addresses.admin)
    found = outcomes(folder, *options)
    return contents(addresses.admin) == before and not {"new", "new version", "edited", "renamed"} & set(found.values())


# The cases


def test_nested_skills_are_found() -> None:
    assert set(outcomes(CASES / "01-nested").values()) == {"new"}
    assert stored().keys() == {"plan-trip", "write-memo", "clean-table"}


def test_a_folder_that_is_a_skill_gets_its_slug_from_its_name(tmp_path: Path) -> None:
    shutil.copytree(CASES / "02-root", tmp_path / "tmp123")
    assert list(outcomes(tmp_path / "tmp123").values()) == ["new"]
    assert stored().keys() == {"only-one"}


def test_a_lower_case_name_is_imported_with_a_warning() -> None:
    (found,) = report(CASES / "03-lower-case").values()
    assert found["outcome"] == "new"
    assert found["warnings"] == ["the file is called skill.md, not SKILL.md"]


def test_two_skills_of_one_slug_are_both_named_and_neither_is_imported(addresses: Addresses) -> None:
    found = report(CASES / "04-same-slug")
    assert [each["outcome"] for each in found.values()] == ["collision", "collision"]
    first, second = found
    assert second in found[first]["reason"]
    assert first in found[second]["reason"]
    assert stored() == {}
    assert unchanged(addresses, CASES / "04-same-slug")


def test_two_skills_of_one_slug_get_their_paths_as_slugs(addresses: Addresses, tmp_path: Path) -> None:
    shutil.copytree(CASES / "04-same-slug", tmp_path / "x")
    assert set(outcomes(tmp_path / "x", "--on-conflict", "namespace").values()) == {"new"}
    assert stored().keys() == {"v1-review", "v2-review"}
    assert unchanged(addresses, tmp_path / "x", "--on-conflict", "namespace")
    assert unchanged(addresses, tmp_path / "x")


def test_of_two_skills_of_one_slug_the_last_replaces_the_first(addresses: Addresses, tmp_path: Path) -> None:
    shutil.copytree(CASES / "04-same-slug", tmp_path / "x")
    assert outcomes(tmp_path / "x", "--on-conflict", "replace") == {"v1/review": "collision", "v2/review": "new"}
    assert stored()["review"].description == "Reviews text, second way."
    assert unchanged(addresses, tmp_path / "x", "--on-conflict", "replace")


def test_lenient_yaml_is_imported_as_written_with_warnings() -> None:
    found = report(CASES / "05-lenient-yaml")
    assert [(each["outcome"], bool(each["warnings"])) for each in found.values()] == [("new", True)] * 4
    assert {(skill.name, skill.description) for skill in stored().values()} == {
        ("yes", "A name that YAML takes for a truth value"),
        ("bold", "**Bold** words first"),
        ("8004", "A name that YAML takes for a number"),
        ("use-when", "Use when: the table has a header"),
    }


def test_scalars_are_stored_as_written() -> None:
    report(CASES / "06-scalars")
    held = {"version": "1.10", "mode": "0755", "at": "12:30", "flag": "on", "day": "2026-01-02"}
    assert newest("scalars").metadata == {"metadata": held}


def test_a_changed_file_beside_it_is_a_new_version(tmp_path: Path) -> None:
    for part, outcome in (("a", "new"), ("b", "new version")):
        shutil.rmtree(tmp_path / "x", ignore_errors=True)
        shutil.copytree(CASES / "07-resources" / part, tmp_path / "x")
        assert outcomes(tmp_path / "x") == {"report": outcome}
    assert stored()["report"].published_version == 2


def test_line_ends_and_a_byte_order_mark_are_no_new_version(tmp_path: Path) -> None:
    for part, outcome in (("lf", "new"), ("crlf", "unchanged"), ("bom", "unchanged")):
        shutil.rmtree(tmp_path / "x", ignore_errors=True)
        shutil.copytree(CASES / "08-line-ends" / part, tmp_path / "x")
        assert outcomes(tmp_path / "x") == {"same-text": outcome}


def test_what_vanished_is_reported_and_archived_only_if_that_is_wanted(addresses: Addresses, tmp_path: Path) -> None:
    shutil.copytree(CASES / "09-vanished" / "before", tmp_path / "x")
    outcomes(tmp_path / "x")
    write(tmp_path / "other", "from-elsewhere")
    outcomes(tmp_path / "other", source="elsewhere")
    shutil.rmtree(tmp_path / "x" / "go")
    assert outcomes(tmp_path / "x") == {"go": "missing", "stay": "unchanged"}
    assert stored()["go"].status == "published"
    assert outcomes(tmp_path / "x", "--archive-missing") == {"go": "archived", "stay": "unchanged"}
    assert {slug: skill.status for slug, skill in stored().items()} == {
        "go": "archived",
        "stay": "published",
        "from-elsewhere": "published",
    }
    assert outcomes(tmp_path / "x", "--archive-missing") == {"stay": "unchanged"}
    write(tmp_path / "x", "go", "Is gone in the next import.")
    assert outcomes(tmp_path / "x")["go"] == "new version"
    assert stored()["go"].status == "published"


def test_broken_files_are_refused_each_with_its_reason_and_nothing_of_them_is_stored() -> None:
    found = report(CASES / "10-refused")
    assert {each["outcome"] for each in found.values()} == {"failed"}
    reasons = {path.rpartition("/")[2]: each["reason"] for path, each in found.items()}
    assert len(set(reasons.values())) == len(reasons) == 6
    assert not any("INSERT" in reason or "jsonb" in reason for reason in reasons.values())
    assert stored() == {}
    shown = run(CASES / "10-refused")
    assert shown.exit_code == 1
    assert all(f"{path}: {each['reason']}\n" in shown.output for path, each in found.items())


def test_what_is_warned_of_is_imported_and_refused_if_strict() -> None:
    assert {each["outcome"] for each in report(CASES / "11-warned", "--strict").values()} == {"failed"}
    assert stored() == {}
    found = report(CASES / "11-warned")
    assert {each["outcome"] for each in found.values()} == {"new"}
    assert all(each["warnings"] for each in found.values())
    assert len(found) == 5


def test_fields_are_mapped_to_columns_or_metadata() -> None:
    report(CASES / "12-mapped")
    skill = stored()["mapped"]
    assert (skill.category, skill.tags, skill.author_id) == ("writing", ["memo", "office"], None)
    metadata = {"author": "sample-author", "version": "2.1.0", "license": "MIT", "compatibility": "any"}
    assert newest("mapped").metadata == metadata


# Columns


def test_category_and_author_are_given_for_all(addresses: Addresses, tmp_path: Path) -> None:
    with skilldb.connect() as db:
        db.tenant("imported").execute(
            tenants.create_tenant("I", "imported"), users.create_user("a@example.com", id="ann")
        )
    write(tmp_path, "a", category="own")
    write(tmp_path, "b")
    assert outcomes(tmp_path) == {"a": "new", "b": "new"}
    assert {skill.category for skill in stored().values()} == {"own", "imported"}
    write(tmp_path, "c")
    given = ("--category", "law", "--author", "ann")
    assert outcomes(tmp_path, *given) == {"a": "edited", "b": "edited", "c": "new"}
    assert {(slug, skill.category, skill.author_id) for slug, skill in stored().items()} == {
        ("a", "law", None),
        ("b", "law", None),
        ("c", "law", "ann"),
    }
    assert unchanged(addresses, tmp_path, *given)
    write(tmp_path, "d")
    assert "user 'nobody' does not exist" in str(run(tmp_path, "--author", "nobody").exception)
    assert "d" not in stored()


def test_what_people_wrote_stays_until_the_source_changes_it(addresses: Addresses, tmp_path: Path) -> None:
    write(tmp_path, "a", tags="x")
    outcomes(tmp_path)
    with skilldb.connect() as db:
        db.tenant("imported").execute(
            skills.update_skill(stored()["a"].id, {"description": "By hand", "tags": ["mine"], "status": "draft"})
        )
    assert unchanged(addresses, tmp_path)
    write(tmp_path, "a", tags="x", license="MIT")
    assert outcomes(tmp_path) == {"a": "new version"}
    skill = stored()["a"]
    assert (skill.description, skill.tags, skill.status) == ("By hand", ["mine"], "draft")
    write(tmp_path, "a", "New")
    assert outcomes(tmp_path) == {"a": "new version"}
    assert (stored()["a"].description, stored()["a"].tags) == ("New", [])


# Identity


def test_a_skill_that_the_source_did_not_create_is_not_overwritten(addresses: Addresses, tmp_path: Path) -> None:
    with skilldb.connect() as db:
        db.tenant("imported").execute(
            tenants.create_tenant("I", "imported"),
            skills.create_skill(NewSkill(name="By hand", slug="a", description="Mine", category="mine")),
        )
    write(tmp_path, "a", "Theirs")
    before = contents(addresses.admin)
    found = report(tmp_path)
    assert found["a"]["outcome"] == "collision"
    assert "--adopt" in found["a"]["reason"]
    assert "was not imported" in found["a"]["reason"]
    assert contents(addresses.admin) == before
    assert outcomes(tmp_path, "--on-conflict", "replace") == {"a": "collision"}
    assert outcomes(tmp_path, "--adopt") == {"a": "new version"}
    skill = stored()["a"]
    assert (skill.name, skill.description, skill.category, skill.published_version) == ("a", "Theirs", "mine", 1)
    assert unchanged(addresses, tmp_path)
    other = report(tmp_path, source="there")
    assert "comes from here" in other["a"]["reason"]
    assert outcomes(tmp_path, "--on-conflict", "namespace", source="there") == {"a": "new"}
    assert stored().keys() == {"a", "there-a"}


def test_a_second_skill_of_a_slug_does_not_take_the_first_ones_place(tmp_path: Path) -> None:
    write(tmp_path, "v1/review", "First")
    outcomes(tmp_path)
    write(tmp_path, "v2/review", "Second")
    found = report(tmp_path)
    assert {path: each["outcome"] for path, each in found.items()} == {
        "v1/review": "unchanged",
        "v2/review": "collision",
    }
    assert "v1/review" in found["v2/review"]["reason"]
    assert stored()["review"].description == "First"


def test_an_older_folder_does_not_undo_a_newer_one(tmp_path: Path) -> None:
    for description in ("one", "two"):
        write(tmp_path, "a", description)
        outcomes(tmp_path)
    write(tmp_path, "a", "one")
    found = report(tmp_path)
    assert found["a"]["outcome"] == "older"
    assert "version 1" in found["a"]["reason"]
    assert stored()["a"].description == "two"
    assert outcomes(tmp_path, "--allow-older") == {"a": "new version"}
    assert stored()["a"].published_version == 3


# Lifecycle


def test_no_more_than_the_limit_is_archived_without_a_question(tmp_path: Path) -> None:
    for number in range(8):
        write(tmp_path, f"s{number}")
    outcomes(tmp_path)
    for number in range(1, 8):
        shutil.rmtree(tmp_path / f"s{number}")
    found = report(tmp_path, "--archive-missing")
    assert Counter(each["outcome"] for each in found.values()) == {"missing": 7, "unchanged": 1}
    assert "--archive-limit 7" in found["s1"]["reason"]
    found = report(tmp_path, "--archive-missing", "--archive-limit", "7")
    assert Counter(each["outcome"] for each in found.values()) == {"archived": 7, "unchanged": 1}


def test_a_skill_that_cannot_be_read_is_not_missing(tmp_path: Path) -> None:
    write(tmp_path, "a")
    write(tmp_path, "b")
    outcomes(tmp_path)
    (tmp_path / "a" / "SKILL.md").write_text("broken")
    assert outcomes(tmp_path, "--archive-missing") == {"a": "failed", "b": "unchanged"}


def test_a_folder_of_the_same_content_under_another_name_is_a_rename(addresses: Addresses, tmp_path: Path) -> None:
    write(tmp_path, "old", name="n")
    outcomes(tmp_path)
    before = stored()["old"]
    (tmp_path / "old").rename(tmp_path / "new")
    found = report(tmp_path)
    assert (found["new"]["outcome"], found["new"]["reason"]) == ("renamed", "was old")
    after = stored()
    assert after.keys() == {"new"}
    assert (after["new"].id, after["new"].published_version) == (before.id, 1)
    assert unchanged(addresses, tmp_path)


def test_a_skill_that_moved_to_another_folder_stays_the_same(addresses: Addresses, tmp_path: Path) -> None:
    write(tmp_path, "a/s", "one")
    outcomes(tmp_path)
    before = stored()["s"]
    shutil.rmtree(tmp_path / "a")
    write(tmp_path, "b/c/s", "two")
    assert outcomes(tmp_path) == {"b/c/s": "renamed"}
    assert (stored()["s"].id, stored()["s"].published_version) == (before.id, 2)
    assert unchanged(addresses, tmp_path)


# The command


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(addresses: Addresses, tmp_path: Path) -> None:
    write(tmp_path, "a")
    before = contents(addresses.admin)
    assert outcomes(tmp_path, "--dry-run") == {"a": "new"}
    assert contents(addresses.admin) == before
    outcomes(tmp_path)
    write(tmp_path, "a", "Other")
    write(tmp_path, "b")
    before = contents(addresses.admin)
    assert outcomes(tmp_path, "--dry-run") == {"a": "new version", "b": "new"}
    shutil.rmtree(tmp_path / "a")
    assert outcomes(tmp_path, "--dry-run", "--archive-missing") == {"a": "archived", "b": "new"}
    assert contents(addresses.admin) == before


def test_control_characters_of_paths_and_reasons_are_escaped(tmp_path: Path) -> None:
    write(tmp_path, "a\x1b[2J\n")
    shown = run(tmp_path)
    assert "\x1b" not in shown.output
    assert "a\\x1b[2J" in shown.output


def test_a_wrong_choice_is_refused_in_one_line(tmp_path: Path) -> None:
    write(tmp_path, "a")
    assert "--on-conflict is skip" in str(run(tmp_path, "--on-conflict", "overwrite").exception)
    assert "255 bytes" in str(run(tmp_path, "--source", "x" * 256).exception)


def test_what_only_the_database_refuses_fails_alone(addresses: Addresses, tmp_path: Path) -> None:
    for number in range(9):
        write(tmp_path, f"s{number}")
    with psycopg.connect(addresses.admin) as conn:
        conn.execute("ALTER TABLE skills ADD CONSTRAINT skills_name_check CHECK (name NOT IN ('s3', 's7'))")
    found = report(tmp_path)
    assert Counter(each["outcome"] for each in found.values()) == {"new": 7, "failed": 2}
    assert found["s3"]["reason"].startswith("name ")
    assert stored().keys() == {f"s{number}" for number in range(9)} - {"s3", "s7"}


# Contents


def test_stored_contents_are_exported_and_import_as_unchanged(addresses: Addresses, tmp_path: Path) -> None:
    here = tmp_path / "here"
    for case in ("01-nested", "05-lenient-yaml", "06-scalars"):
        shutil.copytree(CASES / case, here / case)
    shutil.copytree(CASES / "08-line-ends" / "crlf", here / "crlf")
    write(here, "files/with-files")
    (here / "files/with-files/a").mkdir()
    (here / "files/with-files/a/x.bin").write_bytes(b"\0\xff\r\n")
    (here / "files/with-files/a/x.txt").write_bytes(b"a\r\nb")
    found = outcomes(here, "--store")
    assert set(found.values()) == {"new"}
    result = CliRunner().invoke(cli.app, ["export", str(tmp_path / "there"), "--source", "here"])
    assert result.exit_code == 0, result.output
    assert f"{len(found)} skills written, 0 not" in result.output
    assert (tmp_path / "there/files/with-files/a/x.bin").read_bytes() == b"\0\xff\r\n"
    before = contents(addresses.admin)
    assert outcomes(tmp_path / "there", "--store") == dict.fromkeys(found, "unchanged")
    assert contents(addresses.admin) == before
    again = CliRunner().invoke(cli.app, ["export", str(tmp_path / "there")])
    assert "is not empty" in str(again.exception)


def test_what_was_imported_without_its_content_is_stored_by_the_next_import(tmp_path: Path) -> None:
    write(tmp_path / "x", "a")
    write(tmp_path / "x", "b")
    outcomes(tmp_path / "x")
    export = CliRunner().invoke(cli.app, ["export", str(tmp_path / "y")])
    assert export.exit_code == 1
    assert "a: its content is not stored: import it with --store" in export.output
    assert set(outcomes(tmp_path / "x", "--store").values()) == {"unchanged"}
    assert CliRunner().invoke(cli.app, ["export", str(tmp_path / "y")]).exit_code == 0
    assert (tmp_path / "y/a/SKILL.md").read_text() == (tmp_path / "x/a/SKILL.md").read_text()


def test_every_version_can_be_read_again_and_compared(tmp_path: Path) -> None:
    for description in ("one", "two"):
        write(tmp_path, "a", description)
        outcomes(tmp_path, "--store")
    with skilldb.connect() as db:
        tenant = db.tenant("imported")
        new, old = tenant.execute(skills.list_skill_versions(stored()["a"].id)).items
        (file,), (change,) = tenant.execute(imports.get_version_content(old.id), imports.diff_versions(old.id, new.id))
    assert "description: one" in file.body
    assert "-description: one\n+description: two\n" in change.unified()


@pytest.mark.parametrize("path", ["../out", "/tmp/out", "a/../../out"])
def test_an_export_writes_nothing_outside_its_folder(tmp_path: Path, path: str) -> None:
    write(tmp_path / "x", "a")
    outcomes(tmp_path / "x", "--store")
    with skilldb.connect() as db:
        db.tenant("imported").execute(skills.update_skill(stored()["a"].id, {"slug": path}))
    result = CliRunner().invoke(cli.app, ["export", str(tmp_path / "y" / "z")])
    assert result.exit_code == 1
    assert "leads out of the folder" in result.output
    assert not list((tmp_path / "y").rglob("*"))


# Archives


def archive(folder: Path, files: dict[str, bytes | str]) -> Path:
    with zipfile.ZipFile(folder / "x.skill", "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return folder / "x.skill"


TEXT = "---\nname: a\ndescription: d\n---\n"


def test_an_archive_is_imported_like_its_folder(addresses: Addresses, tmp_path: Path) -> None:
    made = archive(tmp_path, {"a/SKILL.md": TEXT, "a/scripts/run.py": "print(1)\n", "__MACOSX/a/SKILL.md": TEXT})
    assert outcomes(made) == {"a": "new"}
    write(tmp_path / "x", "a")
    (tmp_path / "x/a/SKILL.md").write_text(TEXT)
    (tmp_path / "x/a/scripts").mkdir()
    (tmp_path / "x/a/scripts/run.py").write_text("print(1)\n")
    assert unchanged(addresses, tmp_path / "x")
    assert newest("a").content_url.startswith("a/SKILL.md#sha256=")


def test_hostile_archives_are_refused_in_one_line(addresses: Addresses, tmp_path: Path) -> None:
    link = zipfile.ZipInfo("a/SKILL.md")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    hostile: dict[str, tuple[dict[str, bytes | str], str]] = {
        "out": ({"../SKILL.md": TEXT}, "leads out"),
        "absolute": ({"/a/SKILL.md": TEXT}, "leads out"),
        "inner": ({"a/../../SKILL.md": TEXT}, "leads out"),
        "backslash": ({"a\\..\\SKILL.md": TEXT}, "leads out"),
        "bomb": ({"a/SKILL.md": TEXT, "a/x": b"\0" * (3 << 20)}, "200 times as big"),
        "twice": ({"a/SKILL.md": TEXT, "A/skill.md": TEXT}, "there twice"),
        "deep": ({"/".join("abcdefghijklmnopqrstuvw") + "/SKILL.md": TEXT}, "too long"),
        "many": ({f"a/{number}": "" for number in range(10_001)}, "more than 10,000 files"),
        "large": ({f"a/{number}": Random(number).randbytes(1 << 20) * 26 for number in range(4)}, "100 MiB"),
    }
    with skilldb.connect() as db:
        db.tenant("acme").execute(tenants.create_tenant("Acme", "acme"))
    before = contents(addresses.admin)
    for name, (files, reason) in hostile.items():
        result = run(archive(tmp_path, files), "--tenant", "acme")
        assert reason in str(result.exception), name
        assert str(result.exception).isprintable()
    with zipfile.ZipFile(tmp_path / "x.skill", "w") as made:
        made.writestr(link, "/etc/passwd")
    assert "no SKILL.md" in str(run(tmp_path / "x.skill", "--tenant", "acme").exception)
    (tmp_path / "x.skill").write_bytes(b"no zip")
    assert "not a zip file" in str(run(tmp_path / "x.skill", "--tenant", "acme").exception)
    whole = archive(tmp_path, {"a/SKILL.md": TEXT + "x" * 1000}).read_bytes()
    random = Random(1)
    for _ in range(200):
        damaged = bytearray(whole)
        for _ in range(random.randint(1, 4)):
            damaged[random.randrange(len(damaged))] = random.randrange(256)
        (tmp_path / "x.skill").write_bytes(damaged)
        with suppress(SkilldbError), TemporaryDirectory() as into:
            archives.extract(tmp_path / "x.skill", Path(into))
    assert contents(addresses.admin) == before


# Repositories


def git(folder: Path, *arguments: str, at: int = 0) -> str:
    date = f"2026-01-{1 + at:02}T12:00:00Z"
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    environment |= {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment |= {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=60)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with three commits: a skill, a change of it with a second one, and the first one gone."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "remote", "add", "origin", "https://user:secret@github.com/owner/name.git")
    write(folder, "skills/a", "one")
    commit(folder, 0)
    write(folder, "skills/a", "two")
    write(folder, "skills/b", "b")
    commit(folder, 1)
    shutil.rmtree(folder / "skills/a")
    commit(folder, 2)
    return folder


def commit(folder: Path, at: int) -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", f"commit {at}", at=at)
    return git(folder, "rev-parse", "HEAD")


def plain(folder: Path, *options: str) -> dict[str, str]:
    """The outcomes of an import whose source is found."""
    return {each["path"]: each["outcome"] for each in json.loads(run(folder, "--json", *options).stdout)}


def test_a_repository_is_a_source_with_its_commit(addresses: Addresses, repository: Path) -> None:
    assert plain(repository / "skills") == {"skills/b": "new"}
    head = git(repository, "rev-parse", "HEAD")
    assert newest("b").content_url == f"https://github.com/owner/name/blob/{head}/skills/b/SKILL.md"
    assert rows(addresses.admin, "SELECT source, path, commit_hash FROM skill_sources") == [
        ("https://github.com/owner/name", "skills/b", head)
    ]
    assert plain(repository) == {"skills/b": "unchanged"}
    write(repository, "skills/b", "not committed")
    assert plain(repository) == {"skills/b": "new version"}
    assert newest("b").content_url.startswith("skills/b/SKILL.md#sha256=")


def test_a_part_of_a_repository_says_nothing_of_the_rest(repository: Path) -> None:
    write(repository, "other/c", "c")
    write(repository, "other/d", "d")
    commit(repository, 3)
    assert plain(repository) == {"skills/b": "new", "other/c": "new", "other/d": "new"}
    git(repository, "mv", "other/d", "other/e")
    write(repository, "other/b", "another b")
    commit(repository, 4)
    assert plain(repository / "skills", "--archive-missing") == {"skills/b": "unchanged"}
    found = plain(repository / "other", "--archive-missing")
    assert found == {"other/b": "collision", "other/c": "unchanged", "other/e": "renamed"}
    assert stored()["b"].description == "b"


def test_an_older_checkout_does_not_undo_a_newer_one(repository: Path) -> None:
    git(repository, "checkout", "--quiet", "HEAD~1")
    assert plain(repository) == {"skills/a": "new", "skills/b": "new"}
    git(repository, "checkout", "--quiet", "main~2")
    assert plain(repository, "--archive-missing") == {"skills/a": "older"}
    assert stored()["a"].description == "two"
    assert stored()["b"].status == "published"
    git(repository, "checkout", "--quiet", "main")
    assert plain(repository, "--archive-missing") == {"skills/a": "archived", "skills/b": "unchanged"}


def test_the_history_is_imported_oldest_first_and_once(addresses: Addresses, repository: Path) -> None:
    hashes = git(repository, "rev-list", "--reverse", "HEAD").split()
    result = run(repository, "--history", "--json", "--archive-missing", "--store")
    found = [(each["path"], each["outcome"]) for each in json.loads(result.stdout)]
    assert found == [
        ("skills/a", "new"),
        ("skills/a", "new version"),
        ("skills/b", "new"),
        ("skills/a", "archived"),
        ("skills/b", "unchanged"),
    ]
    with skilldb.connect() as db:
        new, old = db.tenant("imported").execute(skills.list_skill_versions(stored()["a"].id)).items
    base = "https://github.com/owner/name/blob"
    assert old.content_url == f"{base}/{hashes[0]}/skills/a/SKILL.md"
    assert new.content_url == f"{base}/{hashes[1]}/skills/a/SKILL.md"
    before = contents(addresses.admin)
    assert run(repository, "--history", "--json").exit_code == 0
    assert contents(addresses.admin) == before
    assert "needs a git repository" in str(run(CASES, "--history", "--source", "x", "--dry-run").exception)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://user:token@GitHub.com/o/n.git", "https://github.com/o/n"),
        ("git@github.com:o/n.git", "https://github.com/o/n"),
        ("ssh://git@github.com:22/o/n", "https://github.com/o/n"),
        ("https://github.com/o/n/", "https://github.com/o/n"),
        ("/srv/git/n.git", "/srv/git/n"),
    ],
)
def test_the_address_of_a_repository_has_no_password_and_one_form(url: str, name: str) -> None:
    assert sources.cleaned(url) == name


def test_a_repositorys_settings_run_no_program(repository: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    for key in ("core.fsmonitor", "core.pager", "filter.x.clean", "filter.x.smudge", "diff.external", "gpg.program"):
        git(repository, "config", key, f"touch {ran}")
    git(repository, "config", "log.showSignature", "true")
    (repository / ".gitattributes").write_text("* filter=x\n")
    plain(repository)
    run(repository, "--history")
    assert not ran.exists()


def test_a_folder_named_like_a_skill_file_is_a_failure_and_stops_nothing(tmp_path: Path) -> None:
    write(tmp_path, "a")
    (tmp_path / "b" / "SKILL.md").mkdir(parents=True)
    found = report(tmp_path)
    assert {path: each["outcome"] for path, each in found.items()} == {"a": "new", "b": "failed"}
    assert found["b"]["reason"] == "SKILL.md is no regular file"


def test_a_fifo_is_no_archive_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "skills.skill")
    result = run(tmp_path / "skills.skill", "--source", "here")
    assert result.exit_code != 0
    assert isinstance(result.exception, InvalidValueError)
    assert "is neither a folder nor an archive" in str(result.exception)


def test_a_line_of_blanks_is_read_at_once(tmp_path: Path) -> None:
    """A regular expression with two runs of blanks took 84 s for this file. pytest ends a test that hangs."""
    (tmp_path / "a").mkdir()
    for line in (f"b: x{' ' * 100_000}y: *z", f"b{' ' * 100_000}x", f"b:{' ' * 100_000}"):
        text = f"---\nname: a\ndescription: *x: y\n{line}\n---\n# Body\n"
        (tmp_path / "a" / "SKILL.md").write_text(text)
        assert set(outcomes(tmp_path)) == {"a"}
