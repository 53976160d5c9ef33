"""Tests the commands as users type them, and runs the README's examples unchanged."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from typer.testing import CliRunner, Result

import skilldb
from skilldb import cli
from skilldb.admin import migrate
from skilldb.dev import demo, embedded
from skilldb.dev.seed import seed
from skilldb.repositories import metrics, skills, tenants
from tests.support.database import contents, rows
from tests.support.server import CHECKOUT, Addresses, direct_only, server_folder

SKILLDB = str(Path(sys.executable).parent / "skilldb")
SNAPSHOTS = CHECKOUT.parent / "shared" / "data" / "skills"


@pytest.fixture(autouse=True)
def environment(addresses: Addresses, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the variables that a service uses, so that the commands use the test's own database."""
    monkeypatch.setenv("SKILLDB_OWNER_DSN", addresses.owner)
    monkeypatch.setenv("SKILLDB_DSN", addresses.service)


def run(*arguments: str | Path, input: str | None = None) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments], input=input)


def command_names() -> set[str]:
    return {c.name or (c.callback.__name__ if c.callback else "") for c in cli.app.registered_commands}


def counts(result: Result) -> list[int]:
    """The numbers of the import's closing table: new, new version, unchanged, failed."""
    return [int(number) for number in re.findall(r"\d+", result.output.splitlines()[-2])]


def write_skill(folder: Path, slug: str, content: str | bytes) -> None:
    (folder / slug).mkdir(exist_ok=True)
    (folder / slug / "SKILL.md").write_bytes(content if isinstance(content, bytes) else content.encode())


def test_the_seed_has_the_promised_size_and_a_second_run_changes_no_row_and_no_timestamp(addresses: Addresses) -> None:
    first = run("seed")
    assert first.exit_code == 0, first.output
    assert "rows added" in first.output
    found = contents(addresses.admin)
    sizes = Counter(table for table, *_ in found)
    assert sizes["users"] == 100
    assert sizes["skills"] == 50
    assert 50 < sizes["skill_versions"] <= 200
    assert sizes["ratings"] == 300
    assert sizes["usage_events"] == 20_000
    assert rows(addresses.admin, "SELECT count(*) FROM tenants") == [(2,)]
    assert rows(addresses.admin, "SELECT count(DISTINCT (tenant_id, user_id)) FROM user_skill_views") == [(30,)]
    per_skill = "SELECT count(*) AS n FROM skill_versions GROUP BY tenant_id, skill_id"
    assert rows(addresses.admin, f"SELECT min(n), max(n) FROM ({per_skill}) AS v") == [(1, 4)]  # noqa: S608
    assert rows(addresses.admin, "SELECT count(*) FROM skills WHERE published_version IS NULL") == [(0,)]
    ages = "SELECT now() - min(created_at), now() - max(created_at) FROM usage_events"
    ((oldest, newest),) = rows(addresses.admin, ages)
    assert oldest.days in (88, 89, 90)
    assert newest.days == 0
    with skilldb.connect() as db:
        for tenant in ("acme", "globex"):
            assert db.tenant(tenant).execute(metrics.find_metric_drift()) == []
    second = run("seed")
    assert "Nothing to seed" in second.output
    assert contents(addresses.admin) == found


def test_the_seed_fills_every_column(addresses: Addresses) -> None:
    """So that the demo, `explain` and whoever looks at the rows see an example of each."""
    assert run("seed").exit_code == 0
    columns = rows(
        addresses.admin,
        """SELECT c.relname, a.attname FROM pg_class AS c INNER JOIN pg_attribute AS a ON a.attrelid = c.oid
        WHERE c.relkind = 'r' AND c.relrowsecurity AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 1, 2""",
    )
    assert len(columns) > 100
    counted = [(table, column, f"SELECT count({column}) FROM {table}") for table, column in columns]  # noqa: S608
    empty = [f"{table}.{column}" for table, column, query in counted if rows(addresses.admin, query) == [(0,)]]
    assert empty == ["users.deleting_since"]  # Nobody is being deleted.
    assert len(rows(addresses.admin, "SELECT DISTINCT status FROM skills")) == 4


def test_an_interrupted_seed_is_completed_by_the_next(addresses: Addresses) -> None:
    with skilldb.connect() as db:
        for step in seed(db):
            if step.kind == "usage events":
                break
    result = run("seed")
    assert result.exit_code == 0
    assert rows(addresses.admin, "SELECT count(*) FROM usage_events") == [(20_000,)]
    assert rows(addresses.admin, "SELECT count(*) FROM user_skill_views") == [
        rows(addresses.admin, "SELECT sum(view_count) FROM user_skill_views")[0]
    ]


def test_the_demo_shows_use_whats_new_and_isolation_and_can_be_repeated() -> None:
    for _ in range(2):
        result = run("demo")
        assert result.exit_code == 0, result.output
        assert "Token cost at Acme" in result.output
        assert "Benchmark of " in result.output
        assert "claude-opus-4-5" in result.output
        shown = result.output.split("What is new for acme-user-001")[1]
        before, after = re.split(r"\.\.\. after version \d+ of API Design Review was published", shown)
        published, opened = after.split("... after acme-user-001 opened it")
        opened, other = opened.split("The same query as Globex")
        assert "API Design Review" not in before
        assert "API Design Review" in published
        assert "API Design Review" not in opened
        assert other.split()[-1] == "nothing"
        assert "█" in result.output


@pytest.mark.skipif(not SNAPSHOTS.is_dir(), reason="the snapshots of real skills are not beside the checkout")
def test_three_snapshots_of_real_skills_become_skills_and_versions() -> None:
    reports = [
        run("import", SNAPSHOTS / day, "--source", "snapshots")
        for day in ("2026-01-20", "2026-03-10", "2026-05-05", "2026-05-05")
    ]
    assert [report.exit_code for report in reports] == [0, 0, 0, 0]
    assert [counts(report) for report in reports] == [[5, 0, 0, 0], [2, 1, 4, 0], [1, 1, 6, 0], [0, 0, 8, 0]]
    with skilldb.connect() as db:
        tenant = db.tenant("imported")
        skill = tenant.execute(skills.get_skill_by_slug("react-best-practices"))
        assert skill is not None
        assert skill.name == "vercel-react-best-practices"
        (newest, *_) = tenant.execute(skills.list_skill_versions(skill.id)).items
    assert newest.content_type == "text/markdown"
    assert newest.content_url == f"react-best-practices/SKILL.md#sha256={newest.content_hash}"
    assert newest.metadata is not None
    assert newest.metadata["license"] == "MIT"


def test_importing_again_changes_no_row_and_a_changed_file_is_a_new_version(
    addresses: Addresses, tmp_path: Path
) -> None:
    write_skill(tmp_path, "one", "---\nname: One\ndescription: |\n  First\n  lines\nreleased: 2026-01-02\n---\n# One")
    assert counts(run("import", tmp_path)) == [1, 0, 0, 0]
    found = contents(addresses.admin)
    assert counts(run("import", tmp_path)) == [0, 0, 1, 0]
    assert contents(addresses.admin) == found
    write_skill(tmp_path, "one", "---\nname: One more\n---\n# One")
    assert counts(run("import", tmp_path)) == [0, 1, 0, 0]
    with skilldb.connect() as db:
        skill = db.tenant("imported").execute(skills.get_skill_by_slug("one"))
        assert skill is not None
        new, old = db.tenant("imported").execute(skills.list_skill_versions(skill.id)).items
    assert (old.version, old.name, old.description, old.metadata) == (
        1,
        "One",
        "First\nlines",
        {"released": "2026-01-02"},
    )
    assert (new.version, new.name, new.description, new.metadata) == (2, "One more", "", {})
    assert (skill.name, skill.published_version_id) == ("One more", new.id)


def test_broken_files_are_named_with_their_reason_and_the_others_imported(tmp_path: Path) -> None:
    broken: dict[str, tuple[str | bytes, str]] = {
        "no-front-matter": ("# Only Markdown", "no front matter"),
        "no-name": ("---\ndescription: X\n---\n", "no name"),
        "not-utf-8": (b"---\nname: \xff\n---\n", "not UTF-8 at byte 10"),
        "nul": ('---\nname: "a\\0b"\n---\n', "NUL"),
    }
    for slug, (content, _) in broken.items():
        write_skill(tmp_path, slug, content)
    write_skill(tmp_path, "sound", "---\r\nname: Sound\r\n---\r\n")
    write_skill(tmp_path, "exactly-1-mib", "---\nname: X\n---\n".ljust(1 << 20))
    result = run("import", tmp_path)
    assert result.exit_code == 1
    assert counts(result) == [2, 0, 0, len(broken)]
    lines = dict(line.split(": ", 1) for line in result.output.splitlines() if ": " in line)
    for slug, (_, reason) in broken.items():
        assert reason in lines[slug]


def test_an_import_needs_skills_and_a_tenant_that_exists(tmp_path: Path) -> None:
    assert "no SKILL.md in" in str(run("import", tmp_path).exception)
    write_skill(tmp_path, "one", "---\nname: One\n---\n")
    assert "tenant 'acme' does not exist" in str(run("import", tmp_path, "--tenant", "acme").exception)
    assert run("import", tmp_path / "nowhere").exit_code == 2


def test_rollback_asks_before_it_destroys(addresses: Addresses) -> None:
    declined = run("rollback", input="n\n")
    assert declined.exit_code == 1
    assert "pending" not in run("status").output
    last = max(migrate.read())
    assert f"rolled back {last}" in run("rollback", "--yes").output
    assert "pending" in run("status").output
    assert "rolled back 0001" in run("rollback", "--all", input="y\n").output
    assert "Nothing to roll back" in run("rollback").output
    assert re.search(rf"applied {last} in \d+ ms", run("migrate").output)
    assert "Nothing to apply" in run("migrate").output


def test_one_address_without_the_other_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SKILLDB_DSN")
    assert "SKILLDB_DSN is not" in str(run("seed").exception)


def test_an_error_is_one_line_and_exit_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKILLDB_DSN", "host=/nowhere user=nobody password=secret dbname=none")
    result = subprocess.run([SKILLDB, "seed"], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert "secret" not in result.stderr
    assert "Traceback" not in result.stderr


# The arguments of each command, and the commands that need no database.
ARGUMENTS = {
    "import": ["."],
    "export": ["/nowhere/new"],
    "rollback": ["--yes"],
    "unlock": ["--yes"],
    "prune": ["--events", "400d"],
    "explain": ["views.get_user_view"],
}
WITHOUT_DATABASE = {"db-start", "db-stop", "new-migration"}


def test_every_command_says_what_to_do_where_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("SKILLDB_DSN", "SKILLDB_OWNER_DSN"):
        monkeypatch.setenv(variable, "host=/nowhere user=nobody password=secret dbname=none")
    for name in command_names() - WITHOUT_DATABASE:
        command = [SKILLDB, name, *ARGUMENTS.get(name, [])]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        said = result.stdout + result.stderr
        assert result.returncode == (2 if name == "doctor" else 1), said
        assert "/nowhere" in said, name
        assert "check that the server runs" in said, name
        assert "make db-start" in said, name
        assert "Traceback" not in said
        assert "secret" not in said


def test_what_the_server_itself_says_comes_without_how_to_reach_it(
    monkeypatch: pytest.MonkeyPatch, addresses: Addresses
) -> None:
    monkeypatch.setenv("SKILLDB_OWNER_DSN", make_conninfo(addresses.owner, options="-c lock_timeout=1ms"))
    with psycopg.connect(addresses.owner) as conn:
        conn.execute("LOCK TABLE _yoyo_migration")
        result = subprocess.run([SKILLDB, "status"], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 1
    assert result.stderr.startswith("error: lock_timeout ended the wait for a lock")
    assert "name the server" not in result.stderr


@direct_only
def test_psql_sees_an_organisations_rows(addresses: Addresses) -> None:
    with skilldb.connect() as db:
        db.tenant("acme inc").execute(tenants.create_tenant("Acme", "acme"))

    def psql(*more: str) -> str:
        query = "\\t\n\\pset tuples_only on\nSELECT 'seen: ' || count(*) FROM tenants;"
        path = {"PATH": f"{embedded.program('psql').parent}:/usr/bin:/bin"}
        env = {"SKILLDB_DSN": addresses.service, "SKILLDB_OWNER_DSN": addresses.owner} | path
        command = [SKILLDB, "psql", *more]
        found = subprocess.run(command, input=query, capture_output=True, text=True, check=True, env=env, timeout=60)
        return found.stdout

    assert "seen: 1" in psql("--tenant", "acme inc")
    assert "seen: 0" in psql()
    assert "seen: 1" in psql("--owner")


def test_a_shell_takes_the_addresses_that_db_start_prints() -> None:
    with server_folder() as parent:
        folder = parent / 'it\'s a "folder" of $HOME'
        folder.mkdir(mode=0o711)
        script = f"""eval "$({SKILLDB} db-start)"; {sys.executable} -c 'import skilldb; skilldb.connect().open()'"""
        env = {name: value for name, value in os.environ.items() if not name.startswith("SKILLDB_")}
        try:
            # Into a file: a server that was started would keep a pipe open.
            with (parent / "said").open("wb") as said:
                subprocess.run(["sh", "-euc", script], cwd=folder, env=env, check=True, stdout=said, timeout=120)
        finally:
            subprocess.run([SKILLDB, "db-stop"], cwd=folder, env=env, check=True, capture_output=True, timeout=60)


@direct_only
def test_the_readmes_examples_run_as_they_stand_after_the_demo_and_a_second_time(addresses: Addresses) -> None:
    with skilldb.connect(addresses.service) as db:
        list(seed(db))
    blocks = re.findall(r"```python\n(.*?)```", (CHECKOUT / "README.md").read_text(), flags=re.DOTALL)
    assert len(blocks) == 2
    for block in blocks * 2:
        command = [sys.executable, "-c", block]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        promised = re.search(r"print\(.*\)  # (.*)", block)
        assert promised is not None
        assert said.strip() == promised[1]


def test_the_readme_lists_every_repository_function_and_command() -> None:
    readme = (CHECKOUT / "README.md").read_text()
    for module in (CHECKOUT / "skilldb" / "repositories").glob("[a-z]*.py"):
        for name in re.findall(r"^def ([a-z]\w*)", module.read_text(), flags=re.MULTILINE):
            if name != "with_horizon":  # Its steps are a part of other functions.
                assert f"`{name}`" in readme, f"{module.stem}.{name}"
    for name in command_names():
        assert f"`{name}" in readme, name


def test_make_lists_every_target_with_a_line() -> None:
    command = ["make", "-C", str(CHECKOUT), "--no-print-directory"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    listed = {line.split()[0] for line in said.stdout.splitlines()}
    promised = (
        "install demo db-start db-stop migrate rollback status new-migration seed import drift doctor psql explain "
        "test test-quick schema lint types check clean"
    )
    assert set(promised.split()) <= listed


def test_make_clean_works_without_an_interpreter(tmp_path: Path) -> None:
    """An upgrade of Python leaves a virtual environment whose interpreter is gone."""
    shutil.copy(CHECKOUT / "Makefile", tmp_path)
    for folder in (".skilldb", ".venv/bin", "dist", "skilldb/__pycache__"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / ".venv/bin/python").symlink_to("/nowhere/python3")
    (tmp_path / ".venv/.ready").touch()
    command = ["make", "-C", str(tmp_path), "clean"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "stop it: make db-stop" in said
    assert {path.name for path in tmp_path.rglob("*")} == {"Makefile", ".skilldb", "skilldb"}


def test_a_sparkline_scales_to_its_highest_value() -> None:
    assert demo.sparkline([0, 7, 14]) == "▁▄█"
    assert demo.sparkline([0, 0]) == "▁▁"
    assert demo.sparkline([]) == ""
