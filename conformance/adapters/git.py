"""A git repository of the user's, read with their git: commits, and files as they are there. Nothing is checked out."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple


class GitError(Exception):
    """It could not be read. The message says what was tried, and what git said."""


class Commit(NamedTuple):
    id: str
    subject: str

    @property
    def short(self) -> str:
        return self.id[:12]


def commit(repository: Path, revision: str) -> Commit:
    """What a branch, tag or hash names. Raises GitError."""
    found = _git(
        repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", fails=True
    )
    if not found:
        raise GitError(f"{repository} is no git repository, or has no commit {revision}")
    return Commit(*_git(repository, "show", "-s", "--format=%H%x00%s", found.strip()).strip().split("\0", 1))


def commits(repository: Path, since: str, until: str, files: Iterable[str]) -> tuple[Commit, ...]:
    """Those that touch a file, oldest first: after `since`, or all, up to `until`. Raises GitError."""
    which = f"{commit(repository, since).id}..{until}" if since else until
    told = _git(repository, "log", "--reverse", "--topo-order", "--format=%H%x00%s", which, "--", *files)
    return tuple(Commit(*line.split("\0", 1)) for line in told.splitlines())


@lru_cache(maxsize=512)
def text(repository: Path, revision: str, file: str) -> str | None:
    """A file, named from the top; None if it is not there. `revision` is a hash. Raises GitError."""
    if not _git(repository, "ls-tree", "--full-tree", "--name-only", revision, "--", file):
        return None
    return _git(repository, "show", f"{revision}:{file}")


def _git(repository: Path, *arguments: str, fails: bool = False) -> str:
    """What it prints; if it may fail, nothing then."""
    command = ["git", "-C", str(repository), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise GitError(f"git cannot be started ({error.strerror}): install it") from None
    if done.returncode and not fails:
        raise GitError(f"{' '.join(command)}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode(errors="surrogateescape") if not done.returncode else ""
