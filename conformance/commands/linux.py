"""`intack linux`: a kernel tree judged by its own source, or what a patch to it changes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from conformance.commands.run import _of_one, _workers
from conformance.commands.status import STATUS

if TYPE_CHECKING:
    from conformance.adapters.kernel import Kernel
    from conformance.report.model import ClauseRow, Report
    from conformance.verdict.session import Session


@click.command(epilog=STATUS + " With --patch, --against or --history: as of intack diff.")
@click.argument("tree", required=False, default="")
@click.option("--arch", "archs", metavar="NAME", multiple=True, help="x86 or arm64. Default: all. Repeatable.")
@click.option("--patch", metavar="FILE", default="", help="What changes with this patch: before and after.")
@click.option("--against", metavar="TREE2", default="", help="What changes from TREE to TREE2.")
@click.option(
    "--history", is_flag=True, help="What each commit changes that touches these files; TREE is a git repository."
)
@click.option("--since", metavar="COMMIT", default="", help="With --history: only commits after this one.")
@click.option("--profile", metavar="NAME", default="strict", help="strict, kvm or generic. Default: strict.")
@click.option("--clause", "clauses", multiple=True, metavar="GLOB", help="Only clauses whose id matches. Repeatable.")
@click.option("--scenario", "scenarios", multiple=True, metavar="GLOB", help="Only these scenarios. Repeatable.")
@click.option(
    "--quick", is_flag=True, help="Only scenarios that are stories: a fifth of the time, and less of a proof."
)
@click.option(
    "--report", "reports", multiple=True, metavar="PATH", help="As of intack run; of TREE2 or the patched tree."
)
@click.option("-v", "--verbose", is_flag=True, help="Evidence of each clause, and what was taken of the tree.")
@click.option(
    "--no-cache",
    is_flag=True,
    default=lambda: bool(os.environ.get("INTACK_NO_CACHE")),
    help="Find out everything anew, and keep nothing for the next run.",
)
@click.option("-n", "workers", default="auto", callback=_workers, metavar="N", help="Worker processes. Default: auto.")
def linux(
    tree: str,
    archs: tuple[str, ...],
    patch: str,
    against: str,
    history: bool,
    since: str,
    profile: str,
    clauses: tuple[str, ...],
    scenarios: tuple[str, ...],
    quick: bool,
    reports: tuple[str, ...],
    verbose: bool,
    no_cache: bool,
    workers: int,
) -> int:
    """Judge the interrupt delivery of a Linux kernel by its own source.

    TREE is the top directory of a kernel source tree, an archive of one, or the name of a linux-source package that is
    installed (default: linux-source-6.1, or what INTACK_LINUX_SOURCE names). Functions of it are compiled against headers of
    the suite's own; the kernel is not built, and nothing of it runs on this machine's hardware.
    """
    from pathlib import Path

    from conformance.adapters.git import GitError
    from conformance.adapters.kernel import kernels
    from conformance.adapters.registry import AdapterError
    from conformance.commands.history import gone_by
    from conformance.report import formats
    from conformance.report.several import joined
    from conformance.roles.nearest import nearest
    from conformance.verdict.session import BadInput, Session, writable

    if patch and against:
        raise click.UsageError("--patch and --against exclude each other: name the patched tree as --against")
    if history and (patch or against):
        raise click.UsageError("--history goes by commits: give no --patch or --against beside it")
    if patch and not Path(patch).is_file():
        raise click.UsageError(f"there is no patch {patch}")
    if since and not history:
        raise click.UsageError("--since is for --history")
    known = kernels()
    for arch in archs:
        if arch not in known:
            raise click.UsageError(f"no kernel code of {arch!r} is known. {nearest(arch, known)}")

    def asked(spec: str, base: str = "") -> Session:
        return Session(
            adapter=spec,
            base=base,
            profile=profile,
            clause=clauses,
            scenario=scenarios,
            keep=not no_cache,
            rows=not quick,
        )

    statuses: list[int] = []
    judged: list[Report] = []
    try:
        written = [writable(path) for path in reports]
        for arch in archs or known:
            if history:
                gone = gone_by(tree, since, known[arch], asked, lambda session: _judged(session, workers))
                click.echo(gone.text(arch), nl=False)
                judged += filter(None, [gone.report(arch)])
                statuses.append(gone.exit_status)
                continue
            taken = [known[arch](tree, "")]
            if patch or against:
                taken.append(known[arch](against or tree, patch))
            _announce(taken[-1], verbose)
            if patch and not any(taken[-1].lines.values()):
                click.echo(f"{arch}: the patch changes nothing that is taken of the tree.")
                continue
            sessions = [asked(kernel.spec) for kernel in taken]
            found = [_judged(session, workers) for session in sessions]
            statuses.append(
                _compared(found, taken[-1], not no_cache) if len(found) > 1 else _shown(found[0], verbose, not no_cache)
            )
            judged.append(found[-1])
        if judged:
            formats.write_all(written, joined(judged) if len(judged) > 1 else judged[0])
    except (AdapterError, BadInput, GitError) as error:
        raise click.UsageError(str(error)) from None
    return max(statuses, default=0)


def _announce(kernel: Kernel, verbose: bool) -> None:
    whole = [file for file, functions in kernel.taken.items() if not functions]
    cut = sum(len(functions) for functions in kernel.taken.values())
    click.echo(f"{kernel.spec}: Linux {kernel.release}; {len(whole)} files whole, {cut} functions of others")
    if verbose:
        for file, functions in kernel.taken.items():
            click.echo(f"  {file}: {', '.join(functions) or 'whole'}")
    if kernel.lines:
        click.echo(f"  the patch changes {', '.join(kernel.touched) or 'no function that is taken'}")
    if kernel.elsewhere:
        click.echo(f"  not taken, so not judged: {', '.join(kernel.elsewhere)}")


def _judged(session: Session, workers: int) -> Report:
    from conformance.commands.progress import Watch

    with Watch() as watch:
        return _of_one(session, workers, False, watch)


def _shown(report: Report, verbose: bool, keep: bool) -> int:
    from rich.console import Console

    from conformance.report import last, terminal

    if keep:
        last.keep(report)
    terminal.show(report, Console(), verbose=verbose, handle=last.LAST if keep else "")
    return report.run.exit_status


def _compared(found: list[Report], after: Kernel, keep: bool) -> int:
    """Only what changed; each schedule that breaks something now, the patch's lines marked."""
    from rich.console import Console

    from conformance.report import difference, last, terminal
    from conformance.report.grouped import groups

    before, now = found
    if keep:
        last.keep(now)
    changes = difference.difference(before, now)._replace(evidence=[])
    click.echo(difference.text(changes), nl=False)
    rows = [c.new for c in (*changes.newly_violated, *changes.newly_undecided, *changes.added) if c.new]
    shown = [_marked(group.first, after) for group in groups(rows)]
    if shown:
        click.echo("\nA line that ends with + is the patch's.\n" if after.lines else "")
        terminal.show_clauses(shown, Console())
    if changes.newly_undecided:
        terminal.show_breakdowns(now, Console())
    return changes.exit_status


def _marked(row: ClauseRow, kernel: Kernel) -> ClauseRow:
    """Its schedule says which steps are on lines of the patch."""
    from pathlib import Path

    from msgspec.structs import replace

    lines = {f"{Path(file).name}:{line}" for file, numbers in kernel.lines.items() for line in numbers}
    if row.counterexample is None:
        return row
    rows = [
        replace(step, facts=tuple(replace(f, site=f"{f.site} +") if f.site in lines else f for f in step.facts))
        for step in row.counterexample.rows
    ]
    return replace(row, counterexample=replace(row.counterexample, rows=tuple(rows)))
