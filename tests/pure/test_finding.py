"""Tests which files of a folder are skills, and what belongs to each."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from skilldb.importer import finding
from skilldb.importer.finding import Content, SkillFolder, Unread
from skilldb.importer.reading import UnreadableError
from tests.support.server import CHECKOUT

CASES = CHECKOUT / "tests" / "support" / "importer_cases"
TEXT = "---\nname: x\ndescription: d\n---\n"


def write(root: Path, path: str, content: str | bytes = TEXT) -> Path:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content if isinstance(content, bytes) else content.encode())
    return root / path


def paths(root: Path) -> list[str]:
    """The paths of the skills that are found. Everything else found fails the test."""
    found = list(finding.find(root))
    assert [each for each in found if isinstance(each, Unread)] == []
    return [each.path for each in found]


def only(root: Path) -> finding.ReadSkill:
    (skill,) = finding.find(root)
    assert isinstance(skill, SkillFolder)
    return finding.read(root, skill)


def test_skills_are_found_at_any_depth_and_not_among_installed_packages() -> None:
    assert paths(CASES / "01-nested") == [
        ".claude/skills/plan-trip",
        "plugins/office/skills/write-memo",
        "skills/data/clean-table",
    ]
    assert paths(CASES / "02-root") == [""]


def test_six_levels_are_searched(tmp_path: Path) -> None:
    write(tmp_path, "1/2/3/4/5/6/SKILL.md")
    write(tmp_path, "1/2/3/4/5/6/7/SKILL.md")
    assert paths(tmp_path) == ["1/2/3/4/5/6"]


@pytest.mark.parametrize(
    "folder",
    [".git", "node_modules", "venv", ".venv", "__pycache__", ".cache", "a.bak", "a~", "site-packages"],
)
def test_what_is_no_source_is_skipped(tmp_path: Path, folder: str) -> None:
    write(tmp_path, f"{folder}/SKILL.md")
    write(tmp_path, "SKILL.md")
    before = only(tmp_path)
    write(tmp_path, f"{folder}/more.txt", "more")
    assert only(tmp_path) == before


def test_a_virtual_environment_of_any_name_is_skipped(tmp_path: Path) -> None:
    write(tmp_path, "env/pyvenv.cfg", "")
    write(tmp_path, "env/x/SKILL.md")
    write(tmp_path, "a/SKILL.md")
    assert paths(tmp_path) == ["a"]


def test_a_lower_case_name_is_found_with_a_warning() -> None:
    assert only(CASES / "03-lower-case").warnings == ["the file is called skill.md, not SKILL.md"]


def test_the_name_of_the_specification_comes_first(tmp_path: Path) -> None:
    write(tmp_path, "skill.md", TEXT.replace("x", "small"))
    write(tmp_path, "SKILL.md", TEXT.replace("x", "capital"))
    assert only(tmp_path).file.name == "capital"


def test_a_link_out_of_the_folder_a_loop_and_a_fifo_are_never_read(tmp_path: Path) -> None:
    outside = write(tmp_path, "outside/SKILL.md")
    root = tmp_path / "root"
    for folder in ("fifo", "link", "loop", "nothing", "sound"):
        (root / folder).mkdir(parents=True)
    os.mkfifo(root / "fifo" / "SKILL.md")
    (root / "link" / "SKILL.md").symlink_to(outside)
    (root / "loop" / "SKILL.md").symlink_to("SKILL.md")
    (root / "nothing" / "SKILL.md").symlink_to("nowhere")
    (root / "folder-out").symlink_to(outside.parent)
    (root / "folder-in").symlink_to("sound")
    (root / "sound" / "around").symlink_to("..")
    write(root, "sound/SKILL.md")
    (root / "sound" / "other.md").symlink_to("SKILL.md")
    (root / "sound" / "secret").symlink_to("/etc/hostname")
    os.mkfifo(root / "sound" / "pipe")
    found = list(finding.find(root))
    assert [each for each in found if isinstance(each, Unread)] == [
        Unread(path="folder-out", reason="it is a link that leads out of the folder")
    ]
    reasons = {}
    for skill in found:
        if isinstance(skill, SkillFolder) and skill.path != "sound":
            with pytest.raises(UnreadableError) as caught:
                finding.read(root, skill)
            reasons[skill.path] = str(caught.value)
    assert reasons == {
        "fifo": "SKILL.md is no regular file",
        "link": "SKILL.md is a link that leads out of the folder, or to nothing",
        "loop": "SKILL.md is a link that leads out of the folder, or to nothing",
        "nothing": "it cannot be read: No such file or directory",
    }
    sound = finding.read(root, SkillFolder(path="sound", file_name="SKILL.md"))
    assert [line.split("  ")[1] for line in sound.manifest.splitlines()] == ["SKILL.md", "other.md"]
    assert len(sound.warnings) == 3


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write(tmp_path, "sound/SKILL.md")
    write(tmp_path, "long/SKILL.md")
    (tmp_path / "long").rename(tmp_path / "gone")
    found = finding.find(tmp_path / "gone" / "SKILL.md")
    assert list(found) == [Unread(path=".", reason="it cannot be read: Not a directory")]


@pytest.mark.parametrize("name", [b"\xff.txt", b"a\nb.txt", b"\x1b[2J.txt"])
def test_a_file_name_that_cannot_be_stored_is_named(tmp_path: Path, name: bytes) -> None:
    write(tmp_path, "SKILL.md")
    (Path(os.fsdecode(bytes(tmp_path) + b"/" + name))).write_text("x")
    with pytest.raises(UnreadableError) as caught:
        only(tmp_path)
    assert str(caught.value).isprintable()


def test_the_hash_covers_the_folder_and_is_that_of_sha256sum(tmp_path: Path) -> None:
    a, b = only(CASES / "07-resources" / "a"), only(CASES / "07-resources" / "b")
    assert a.content_hash != b.content_hash
    line = hashlib.sha256(b"print(1)\n").hexdigest() + "  scripts/run.py\n"
    assert a.manifest.endswith(line)
    assert a.content_hash == hashlib.sha256(a.manifest.encode()).hexdigest()


def test_line_ends_and_a_byte_order_mark_do_not_change_the_hash(tmp_path: Path) -> None:
    hashes = {only(CASES / "08-line-ends" / folder).content_hash for folder in ("lf", "crlf", "bom")}
    assert len(hashes) == 1
    write(tmp_path, "SKILL.md")
    found = set()
    for content in (b"a\nb\n", b"a\r\nb\r\n"):
        write(tmp_path, "x.py", content)
        found.add(only(tmp_path).content_hash)
    assert len(found) == 1
    for content in (b"\0a\nb\n", b"\0a\r\nb\r\n"):
        write(tmp_path, "x.py", content)
        found.add(only(tmp_path).content_hash)
    assert len(found) == 3


def test_a_skill_below_a_skill_belongs_to_itself(tmp_path: Path) -> None:
    write(tmp_path, "SKILL.md")
    write(tmp_path, "more.txt", "more")
    before = only(tmp_path)
    write(tmp_path, "below/SKILL.md")
    write(tmp_path, "below/more.txt", "more")
    found = list(finding.find(tmp_path))
    assert [each.path for each in found] == ["", "below"]
    assert finding.read(tmp_path, SkillFolder(path="", file_name="SKILL.md")) == before


def test_the_content_is_kept_as_it_is_hashed(tmp_path: Path) -> None:
    write(tmp_path, "SKILL.md", b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    write(tmp_path, "a/b.bin", b"\0\r\n")
    kept = Content()
    read = finding.read(tmp_path, SkillFolder(path="", file_name="SKILL.md"), kept)
    assert kept.files == {"SKILL.md": TEXT.encode(), "a/b.bin": b"\0\r\n"}
    lines = [f"{hashlib.sha256(kept.files[name]).hexdigest()}  {name}\n" for name in sorted(kept.files)]
    assert read.manifest == "".join(lines)


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "MAX_FILES", 3)
    write(tmp_path, "SKILL.md")
    for name in ("a", "b"):
        write(tmp_path, name, "x")
    only(tmp_path)
    write(tmp_path, "c", "x")
    with pytest.raises(UnreadableError, match="more than 3 files"):
        only(tmp_path)


def test_too_many_bytes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "MAX_FOLDER_BYTES", 100)
    write(tmp_path, "SKILL.md")
    write(tmp_path, "a", "x" * 60)
    only(tmp_path)
    write(tmp_path, "b", "x" * 60)
    with pytest.raises(UnreadableError, match="more than 100 MiB"):
        only(tmp_path)


def test_control_characters_are_escaped() -> None:
    assert finding.shown("a\x1b[2J\nü\udcff") == "a\\x1b[2J\\nü\\udcff"
