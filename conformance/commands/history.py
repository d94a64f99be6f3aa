"""What became of each guarantee, commit by commit: the part of `intack linux` that goes by a git repository."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from conformance.adapters import git
from conformance.adapters.kernel import Kernel, Take
from conformance.adapters.registry import AdapterError
from conformance.report.difference import difference
from conformance.report.lines import MARKS, plural
from conformance.report.model import Report
from conformance.report.several import called, joined
from conformance.verdict.clause import Status
from conformance.verdict.session import BadInput, Session


class Row(NamedTuple):
    """A commit, and what it was judged to be or else why it could not be."""

    commit: git.Commit
    report: Report | None
    why: str = ""
    same: bool = False
    """What is compiled of it is what was of the one before."""


class History(NamedTuple):
    """`rows` from the oldest on; the first is what came before the commits, where that is known."""

    rows: tuple[Row, ...]

    def report(self, arch: str) -> Report | None:
        """All in one, each called by its commit; of one that could not be judged there is its name alone."""
        names = tuple(f"{arch} {row.commit.short}" for row in self.rows)
        judged = [called(row.report, name) for row, name in zip(self.rows, names, strict=True) if row.report]
        whole = joined(judged) if judged else None
        return whole and replace(whole, run=replace(whole.run, implementations=names))

    @property
    def exit_status(self) -> int:
        """Of `intack diff`, from the first to the last; 2 if one could not be judged and nothing is newly violated."""
        known = [row.report for row in self.rows if row.report]
        status = difference(known[0], known[-1]).exit_status if known else 2
        return status or 2 * (len(known) < len(self.rows))

    def text(self, arch: str) -> str:
        """A line a commit; a column for each guarantee that one of them breaks, or of which they differ."""
        if not self.rows:
            return f"{arch}: no commit touches what is taken of the tree.\n"
        by_clause = [{row.id: row for row in each.report.clauses} if each.report else {} for each in self.rows]
        ids = dict.fromkeys(clause.id for each in self.rows if each.report for clause in each.report.clauses)
        shown = [i for i in ids if _worth_a_column([by[i].status for by in by_clause if i in by])]
        lines = [f"{arch}: {plural(len(self.rows), 'commit')}, oldest first"]
        lines += ["", " ".join(["commit".ljust(12), *shown]).rstrip()]
        for row, by in zip(self.rows, by_clause, strict=True):
            marks = [(MARKS[by[i].status][False] if i in by else "").center(len(i)) for i in shown]
            told = "  (the same code)" * row.same
            lines.append(f"{' '.join([row.commit.short, *marks])}  {row.commit.subject}{told}")
            lines += [f"    cannot be judged: {row.why}"] * bool(row.why)
        legend = "X violated, + held, ? undecided, - not applicable" if shown else "No guarantee is broken, or changes."
        return "\n".join((*lines, "", legend, ""))


def gone_by(
    repository: str, since: str, take: Take, asked: Callable[[str, str], Session], judge: Callable[[Session], Report]
) -> History:
    """The commits that touch what is taken of the tree. Raises AdapterError, BadInput, GitError."""
    folder, _, until = repository.rpartition("@") if not Path(repository).is_dir() else (repository, "", "HEAD")
    last = git.commit(Path(folder), until)
    first = [git.commit(Path(folder), since)] if since else []
    files = {file for one in (*first, last) for file in _of(folder, one, take).taken}
    rows: list[Row] = []
    content = base = ""
    for commit in (*first, *git.commits(Path(folder), since, last.id, sorted(files))):
        try:
            session = asked(_of(folder, commit, take).spec, base)
            same = content == session.implementation.content
            report = rows[-1].report if same else judge(session)
            rows.append(Row(commit, report, same=same))
            content, base = session.implementation.content, session.implementation.spec
        except (AdapterError, BadInput) as error:
            rows.append(Row(commit, None, _first_error(str(error))))
            content = ""
    return History(tuple(rows))


def _worth_a_column(statuses: list[Status]) -> bool:
    return Status.VIOLATED in statuses or len(set(statuses)) > 1


def _of(folder: str, commit: git.Commit, take: Take) -> Kernel:
    return take(f"{folder}@{commit.id}", "")


def _first_error(told: str) -> str:
    """Of what a compiler said, or what was missing."""
    lines = told.splitlines()
    return next((line for line in lines if " error: " in line), lines[0])
