"""Tests that imports are fast, safe beside each other and when interrupted, and change nothing the second time."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from random import Random
from threading import Barrier

import pytest

import skilldb
from skilldb.errors import DatabaseUnavailableError
from skilldb.importer import folders, reading
from skilldb.importer.folders import FAULTS, Imported, Options, import_folder
from skilldb.importer.sources import Origin
from skilldb.repositories import skills, tenants
from tests.support.database import contents, rows, until
from tests.support.front_matters import damaged, front_matter
from tests.support.proxy import Fault, Proxy, through
from tests.support.reliability import size
from tests.support.server import Addresses, direct_only
from tests.support.waits import running

SKILLDB = str(Path(sys.executable).parent / "skilldb")
HERE = Origin(name="here")
QUICK = Options()


@pytest.fixture
def acme(addresses: Addresses) -> Iterator[skilldb.Tenant]:
    with skilldb.connect(addresses.service) as db:
        tenant = db.tenant("acme")
        tenant.execute(tenants.create_tenant("Acme", "acme"))
        yield tenant


def write(root: Path, path: str, description: str = "d") -> None:
    (root / path).mkdir(parents=True, exist_ok=True)
    text = f"---\nname: {path.rpartition('/')[2]}\ndescription: {description}\n---\n"
    (root / path / "SKILL.md").write_text(text)


def counted(report: list[Imported]) -> Counter[str]:
    return Counter(each.outcome for each in report)


def test_a_hundred_skills_take_few_round_trips(addresses: Addresses, wire: Proxy, tmp_path: Path) -> None:
    for number in range(100):
        write(tmp_path, f"s{number}")
    with skilldb.connect(through(wire, addresses.service)) as db:
        tenant = db.tenant("acme")
        tenant.execute(tenants.create_tenant("Acme", "acme"))
        for outcome, most in (("new", 3), ("unchanged", 1), ("new version", 3)):
            before = wire.round_trips
            assert counted(import_folder(tenant, tmp_path, HERE, Options(store=outcome == "new"))) == {outcome: 100}
            assert wire.round_trips - before <= most
            for number in range(100 if outcome == "unchanged" else 0):
                write(tmp_path, f"s{number}", "changed")


def test_skills_that_are_not_kept_in_memory_are_read_again(
    acme: skilldb.Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "KEPT_CHARACTERS", 3_000)
    monkeypatch.setattr(folders, "BATCH", 7)
    monkeypatch.setattr(folders, "PAGE", 5)
    for number in range(40):
        write(tmp_path, f"s{number}", f"number {number}")
    assert counted(import_folder(acme, tmp_path, HERE, Options(store=True))) == {"new": 40}
    assert counted(import_folder(acme, tmp_path, HERE, Options(store=True))) == {"unchanged": 40}
    found = acme.execute(skills.list_skills(limit=100)).items
    assert {(skill.slug, skill.description) for skill in found} == {(f"s{n}", f"number {n}") for n in range(40)}


# Beside each other


def at_once(*jobs: tuple[skilldb.Tenant, Path, Origin]) -> list[list[Imported]]:
    barrier = Barrier(len(jobs))

    def run(job: tuple[skilldb.Tenant, Path, Origin]) -> list[Imported]:
        barrier.wait(60)
        return import_folder(*job, QUICK)

    with ThreadPoolExecutor(len(jobs)) as threads:
        return list(threads.map(run, jobs))


@pytest.mark.torture
def test_two_imports_at_once_both_end_well(acme: skilldb.Tenant, tmp_path: Path) -> None:
    random = Random(17)
    for burst in range(size(10, 100)):
        for number in range(60):
            if random.random() < 0.5:
                write(tmp_path / "one", f"s{number}", f"burst {burst}")
        shutil.copytree(tmp_path / "one", tmp_path / "two", dirs_exist_ok=True)
        first, second = at_once(*((acme, tmp_path / name, HERE) for name in ("one", "two")))
        assert not FAULTS & (counted(first) + counted(second)).keys()
        assert counted(import_folder(acme, tmp_path / "one", HERE, QUICK)) == {"unchanged": len(first)}
    numbers = acme.execute(*(skills.list_skill_versions(s.id) for s in acme.execute(skills.list_skills()).items))
    for versions in (page.items for page in numbers):
        assert [version.version for version in versions] == list(range(len(versions), 0, -1))
        assert all(a.content_hash != b.content_hash for a, b in pairwise(versions))


@pytest.mark.torture
def test_of_two_sources_at_once_each_slug_goes_to_one(acme: skilldb.Tenant, tmp_path: Path) -> None:
    for burst in range(size(10, 100)):
        for name in ("one", "two"):
            for number in range(30):
                write(tmp_path / name, f"burst-{burst}-{number}", name)
        both = at_once(*((acme, tmp_path / name, Origin(name=name)) for name in ("one", "two")))
        last = [[each for each in report if f"burst-{burst}-" in each.slug] for report in both]
        for mine, theirs in zip(*last, strict=True):
            assert {mine.outcome, theirs.outcome} == {"new", "collision"}


# Interrupted


def test_ctrl_c_leaves_whole_batches_and_the_next_import_completes(addresses: Addresses, tmp_path: Path) -> None:
    for number in range(3_000):
        write(tmp_path, f"s{number}")
    command = [SKILLDB, "import", str(tmp_path), "--source", "here"]
    environment = os.environ | {"SKILLDB_OWNER_DSN": addresses.owner, "SKILLDB_DSN": addresses.service}
    count = "SELECT count(*) FROM skills"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with running(command, env=environment, text=True, **pipes) as first:
        until(lambda: rows(addresses.admin, count) > [(0,)] or first.poll() is not None, seconds=120)
        first.send_signal(signal.SIGINT)
        _, said = first.communicate(timeout=120)
    assert "Traceback" not in said
    ((written,),) = rows(addresses.admin, count)
    assert written % folders.BATCH == 0
    done = subprocess.run(
        [*command, "--json"], env=environment, capture_output=True, text=True, timeout=200, check=True
    )
    found = Counter(each["outcome"] for each in json.loads(done.stdout))
    assert found == Counter(new=3_000 - written, unchanged=written)
    assert rows(addresses.admin, "SELECT count(*) FROM skill_versions") == [(3_000,)]


@direct_only
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_server_that_goes_away_leaves_whole_batches(
    addresses: Addresses, wire: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The connection breaks at each round trip of an import in turn."""
    monkeypatch.setattr(folders, "BATCH", 50)
    for each in range(100):
        write(tmp_path, f"s{each}")
    with skilldb.connect(through(wire, addresses.service)) as db:
        tenant = db.tenant("acme")
        tenant.execute(tenants.create_tenant("Acme", "acme"))
        wire.faults = [*[None] * (number - 1), Fault(of="answer", share=0, then="cut")]
        with pytest.raises(DatabaseUnavailableError):
            import_folder(tenant, tmp_path, HERE, QUICK)
        ((written,),) = rows(addresses.admin, "SELECT count(*) FROM skills WHERE published_version = 1")
        assert written % 50 == 0
        assert rows(addresses.admin, "SELECT count(*) FROM skill_sources") == [(written,)]
        again = counted(import_folder(tenant, tmp_path, HERE, QUICK))
    assert again["new"] + again["unchanged"] == 100
    assert again["unchanged"] == written


# Random trees


class Tree:
    """A folder whose skills change at random."""

    def __init__(self, root: Path, random: Random) -> None:
        self.root, self.random = root, random
        root.mkdir()

    def paths(self) -> list[Path]:
        return sorted(path.parent for path in self.root.rglob("SKILL.md"))

    def change(self) -> None:
        random, paths = self.random, self.paths()
        name = f"{random.choice('xyz')}/{random.choice('pq')}/{random.choice('abcdef')}"
        place = self.root / name[random.choice((0, 2, 4)) :]
        kind = random.randrange(8)
        if kind < 3 or not paths:
            write(self.root, str(place.relative_to(self.root)), f"words {random.randrange(6)}")
            return
        chosen = random.choice(paths)
        match kind:
            case 3:
                (chosen / f"file{random.randrange(3)}.txt").write_text(f"{random.randrange(3)}\n")
            case 4:
                shutil.rmtree(chosen)
            case 5 if not place.exists() and chosen not in place.parents:
                place.parent.mkdir(parents=True, exist_ok=True)
                chosen.rename(place)
            case 6:
                (chosen / "SKILL.md").write_bytes(front_matter(random)[0].encode())
            case 7:
                (chosen / "SKILL.md").write_bytes(damaged(random, front_matter(random)[0]).encode("utf-8", "replace"))


@pytest.mark.torture
def test_importing_any_tree_twice_changes_nothing_the_second_time(
    addresses: Addresses, acme: skilldb.Tenant, tmp_path: Path
) -> None:
    for seed in range(size(3, 30)):
        random = Random(seed)
        tree = Tree(tmp_path / f"{seed}", random)
        origin = Origin(name=f"source {seed}")
        for _ in range(size(12, 60)):
            for _ in range(random.randint(1, 6)):
                tree.change()
            options = Options(
                on_conflict=random.choice(("skip", "namespace", "replace")),
                adopt=random.random() < 0.3,
                allow_older=random.random() < 0.5,
                store=random.random() < 0.3,
                archive_missing=random.random() < 0.3,
            )
            first = import_folder(acme, tree.root, origin, options)
            before = contents(addresses.admin)
            second = import_folder(acme, tree.root, origin, options)
            again = [each for each in second if each.outcome not in ("unchanged", "missing", *FAULTS)]
            assert again == [], (seed, options, [each for each in first if each.path in {a.path for a in again}])
            assert contents(addresses.admin) == before, (seed, options, first, second)


# Random front matters


@pytest.mark.torture
def test_random_front_matters_are_stored_as_written_or_refused_in_one_line(
    addresses: Addresses, acme: skilldb.Tenant, tmp_path: Path
) -> None:
    random = Random(19)
    number = size(2_000, 10_000)
    expected: dict[str, reading.SkillFile] = {}
    for each in range(number):
        content, _ = front_matter(random)
        if random.random() < 0.5:
            content = damaged(random, content)
        (tmp_path / f"s{each}").mkdir()
        (tmp_path / f"s{each}" / "SKILL.md").write_bytes(content.encode())
        with suppress(reading.UnreadableError):
            expected[f"s{each}"] = reading.parse(content.encode())
    report = import_folder(acme, tmp_path, HERE, QUICK)
    assert counted(report) == {"new": len(expected), "failed": number - len(expected)}
    reasons = [each.reason or "" for each in report if each.outcome == "failed"]
    assert all(reason.isprintable() and 0 < len(reason) < 300 for reason in reasons)
    found = rows(
        addresses.admin,
        "SELECT s.slug, s.name, s.description, s.tags, v.metadata FROM skills AS s INNER JOIN skill_versions AS v "
        "ON v.tenant_id = s.tenant_id AND v.id = s.published_version_id",
    )
    assert {slug: (name, text, tags, metadata) for slug, name, text, tags, metadata in found} == {
        slug: (file.name, file.description, file.tags, file.metadata) for slug, file in expected.items()
    }
