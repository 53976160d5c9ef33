"""Where a folder comes from: a git repository and its commit, or the folder itself. Git only reads."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlsplit

from skilldb.errors import SkilldbError
from skilldb.importer.finding import ReadSkill, shown

SECONDS = 120
"""The longest that one command of git may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """A commit of a repository, and the id of each of its files by path. `paths` are those paths in order."""

    hash: str
    at: datetime
    blobs: Mapping[str, str] = field(repr=False)
    paths: list[str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The source of a folder.

    `prefix` is the folder's path within the source: empty, or with a slash at its end. `top` is the folder of the
    repository; `commit` and `top` are None without one. `checkout` is where the files stand, if not in `top`.
    """

    name: str
    prefix: str = ""
    url: str | None = None
    top: Path | None = None
    commit: Commit | None = None
    checkout: Path | None = None

    def content_url(self, path: str, file_name: str, read: ReadSkill) -> str:
        """An address of this very version: of its commit, if the skill is there as committed, else with its hash."""
        file = f"{path}/{file_name}".lstrip("/")
        if self.commit is None or not self._is_committed(path, read):
            return f"{quote(file)}#sha256={read.content_hash}"
        return _commit_url(self.url or str(self.top), self.commit.hash, quote(file))

    def _is_committed(self, path: str, read: ReadSkill) -> bool:
        """Whether the skill's files are those of the commit, and the commit has no others."""
        assert self.commit is not None
        checkout = self.checkout or self.top
        assert checkout is not None
        below = f"{path}/" if path else ""
        if any(self.commit.blobs.get(f"{below}{name}", "") not in ids for name, ids in read.blobs.items()):
            return False
        names = self.commit.paths
        at = bisect_left(names, below)
        while at < len(names) and names[at].startswith(below):
            if not os.path.lexists(checkout / names[at]):
                return False
            at += 1
        return True

    def is_older_than(self, hash: str | None, at: datetime | None) -> bool:
        """Whether this commit is older than another one of the source."""
        if self.commit is None or self.top is None or hash is None or at is None or hash == self.commit.hash:
            return False
        if _succeeds(self.top, "merge-base", "--is-ancestor", self.commit.hash, hash):
            return True
        if _succeeds(self.top, "merge-base", "--is-ancestor", hash, self.commit.hash):
            return False
        return self.commit.at < at  # The repository lacks the other commit, or the two are on different branches.


def _commit_url(url: str, commit: str, file: str) -> str:
    host = urlsplit(url).hostname or ""
    if host == "github.com":
        return f"{url}/blob/{commit}/{file}"
    if host.startswith("gitlab."):
        return f"{url}/-/blob/{commit}/{file}"
    if host in ("codeberg.org", "gitea.com"):
        return f"{url}/src/commit/{commit}/{file}"
    return f"git+{url}@{commit}#{file}"


def origin(folder: Path, name: str | None = None) -> Origin:
    """The source of a folder: the given name, else the address of its repository, else the folder's path.

    SkilldbError: the folder is in a repository that git does not read.
    """
    folder = folder.resolve()
    plain = Origin(name=name or str(folder))
    if not any((parent / ".git").exists() for parent in (folder, *folder.parents)):
        return plain
    if shutil.which("git") is None:
        if name is not None:
            return plain
        raise SkilldbError(f"{folder} is in a git repository, and git is not installed. Install it, or pass --source")
    try:
        top = Path(os.fsdecode(_git(folder, "rev-parse", "--show-toplevel")).rstrip("\n"))
        prefix = os.fsdecode(_git(folder, "rev-parse", "--show-prefix")).rstrip("\n")
    except SkilldbError:
        if name is not None:
            return plain
        raise
    if not _succeeds(top, "rev-parse", "--verify", "--quiet", "HEAD"):
        return plain
    commit = read_commit(top, "HEAD", prefix)
    if not commit.blobs:  # The repository does not know this folder.
        return plain
    remotes = _git(top, "remote").decode(errors="replace").split()
    url = None
    if remotes:
        remote = "origin" if "origin" in remotes else remotes[0]
        url = cleaned(_git(top, "config", "--get", f"remote.{remote}.url").decode(errors="replace").strip())
    return Origin(name=name or url or str(top), prefix=prefix, url=url, top=top, commit=commit)


def cleaned(url: str) -> str:
    """The address of a repository without a login or a password, the same for all protocols of a server."""
    if found := re.fullmatch(
        r"(?:[\w.-]+@)?([\w.-]+\.[\w-]+):(?!//)/?(.+)", url
    ):  # As in git@github.com:owner/name.git
        url = f"https://{found[1]}/{found[2]}"
    elif found := re.fullmatch(r"(?:https?|ssh|git)://(?:[^/@]*@)?([^/:]+)(?::\d+)?/(.*)", url):
        url = f"https://{found[1].lower()}/{found[2]}"
    return url.rstrip("/").removesuffix(".git")


def read_commit(top: Path, name: str, prefix: str) -> Commit:
    """A commit, with the files below the prefix."""
    hash, seconds = _git(top, "show", "--no-patch", "--no-show-signature", "--format=%H %ct", name).decode().split()
    blobs = {}
    for entry in _git(top, "ls-tree", "-r", "-z", "--full-tree", hash, "--", prefix or ".").split(b"\0"):
        if entry:
            about, _, path = entry.partition(b"\t")
            mode, kind, blob = about.split()
            if kind == b"blob" and mode != b"120000":  # Links are left out.
                blobs[os.fsdecode(path)] = blob.decode()
    return Commit(hash=hash, at=datetime.fromtimestamp(int(seconds), UTC), blobs=blobs, paths=sorted(blobs))


def _command(folder: Path, *arguments: str) -> list[str]:
    # A repository's settings may name programs, which must not run.
    return ["git", "-C", str(folder), "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", *arguments]


def _environment() -> dict[str, str]:
    # No protocol is allowed: git would fetch what a partial clone lacks, with a program that its settings name.
    quiet = {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "none"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return kept | quiet | {"GIT_PAGER": "cat"}


def _git(folder: Path, *arguments: str) -> bytes:
    try:
        done = subprocess.run(
            _command(folder, *arguments),
            capture_output=True,
            check=False,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise SkilldbError(f"git {arguments[0]} took longer than {SECONDS} s in {folder}") from None
    if done.returncode:
        said = shown(" ".join(done.stderr.decode(errors="replace").split()))[:300]
        raise SkilldbError(f"git {arguments[0]} failed in {shown(str(folder))}: {said}")
    return done.stdout


def _succeeds(folder: Path, *arguments: str) -> bool:
    try:
        _git(folder, *arguments)
    except SkilldbError:
        return False
    return True


# History


def commits(of: Origin) -> list[str]:
    """The commits that changed the folder, oldest first; of a merge the first parent only."""
    assert of.top is not None
    found = _git(of.top, "rev-list", "--reverse", "--first-parent", "HEAD", "--", of.prefix or ".")
    return found.decode().split()


def checked_out(of: Origin, hashes: list[str], into: Path) -> Iterator[Commit]:
    """Write the files of one commit after the other into a folder, as they are stored, and give each commit.

    Links and submodules are left out. Only what changed from one commit to the next is written.
    """
    assert of.top is not None
    command = _command(of.top, "cat-file", "--batch")
    present: dict[str, str] = {}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_environment()
    ) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        try:
            for hash in hashes:
                commit = read_commit(of.top, hash, of.prefix)
                for path in present.keys() - commit.blobs.keys():
                    (into / path).unlink()
                    for parent in (into / path).parents:
                        if parent == into or any(parent.iterdir()):
                            break
                        parent.rmdir()
                for path, blob in commit.blobs.items():
                    if {"", ".", ".."} & set(path.split("/")):
                        raise SkilldbError(f"commit {hash} has a file {shown(path)} outside its folder")
                    if present.get(path) != blob:
                        reader.stdin.write(f"{blob}\n".encode())
                        reader.stdin.flush()
                        head = reader.stdout.readline().split()
                        if len(head) != 3 or head[1] != b"blob":
                            raise SkilldbError(f"git cannot read {shown(path)} of commit {hash}")
                        content = reader.stdout.read(int(head[2]) + 1)[:-1]
                        (into / path).parent.mkdir(parents=True, exist_ok=True)
                        (into / path).write_bytes(content)
                present = dict(commit.blobs)
                yield commit
        finally:
            reader.stdin.close()
            reader.kill()
