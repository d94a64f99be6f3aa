"""The report for people: clauses by section, every violation and deviation with its schedule, and what it comes to.

Laid out as lines of at most 110 columns, except replay lines, which must survive copying. Colours and line-drawing
characters only where the output is a terminal.
"""

from __future__ import annotations

import shlex
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO

from rich.console import Console
from rich.text import Text

from conformance.report.lanes import ASCII, UNICODE, WIDTH, Glyphs, lane_table, plain
from conformance.report.reason import why
from conformance.verdict.clause import Counterexample, Status, Verdict, exit_status

STYLES = {
    Status.VIOLATED: "bold red",
    Status.CRASH: "bold magenta",
    Status.TIMEOUT: "bold magenta",
    Status.NONDETERMINISTIC: "bold magenta",
    Status.UNKNOWN: "magenta",
    Status.NOT_EXERCISED: "magenta",
    Status.DEVIATES: "yellow",
    Status.HELD: "green",
    Status.OBSERVED: "cyan",
    Status.NEVER_OBSERVED: "dim",
    Status.NOT_APPLICABLE: "dim",
    Status.NOT_CHECKED: "dim",
}
"""In the order in which the summary counts them."""
DISCIPLINE = "a discipline, not a guarantee: alone it fails nothing"
AUTHORITY = {
    "architecture": "the architecture's",
    "linux": "Linux's: how it does it, or what it finds in hardware",
    "end-to-end": "nobody's in particular: no guest or device could do without it",
}
"""Whose word a clause is."""


def show(
    verdicts: Sequence[Verdict],
    console: Console,
    *,
    assumptions: Sequence[str] = (),
    left_out: Sequence[str] = (),
    missing: Sequence[str] = (),
    exits: int | None = None,
) -> None:
    """Print the whole report. `left_out` are scenarios in which nothing but the reference would run, `missing` clauses that
    were asked for and have no verdict; `exits` is the exit status, where it is not what the verdicts come to.
    """
    fancy = console.is_terminal and not console.options.ascii_only
    width = min(WIDTH, console.width) if console.is_terminal else WIDTH
    glyphs = UNICODE if fancy else ASCII
    for line in lines(
        verdicts,
        assumptions=assumptions,
        width=width,
        glyphs=glyphs,
        left_out=left_out,
        missing=missing,
        exits=exits,
    ):
        console.print(line, soft_wrap=True, highlight=False)


def text(verdicts: Sequence[Verdict], *, assumptions: Sequence[str] = (), color: bool = False) -> str:
    """The whole report: plain, or with a terminal's colours and lines."""
    return _rendered(lines(verdicts, assumptions=assumptions, glyphs=UNICODE if color else ASCII), color)


def overview(verdicts: Sequence[Verdict], *, color: bool = False, missing: Sequence[str] = ()) -> str:
    """Verdicts by section and the summary, without the schedules."""
    return _rendered([*_clauses(verdicts, WIDTH), Text(), Text(summary(verdicts, missing), "bold")], color)


def block_text(verdict: Verdict, *, color: bool = False) -> str:
    """What `block` says: plain, or with a terminal's colours and lines."""
    return _rendered(block(verdict, glyphs=UNICODE if color else ASCII), color)


def _rendered(lines: Iterable[Text], color: bool) -> str:
    if not color:
        return plain(lines) + "\n"
    console = Console(file=StringIO(), force_terminal=True, color_system="standard", width=WIDTH)
    with console.capture() as capture:
        for line in lines:
            console.print(line, soft_wrap=True, highlight=False)
    return capture.get()


def lines(
    verdicts: Sequence[Verdict],
    *,
    assumptions: Sequence[str] = (),
    width: int = WIDTH,
    glyphs: Glyphs = ASCII,
    left_out: Sequence[str] = (),
    missing: Sequence[str] = (),
    exits: int | None = None,
) -> Iterator[Text]:
    yield from _clauses(verdicts, width)
    for status in (Status.VIOLATED, Status.DEVIATES):
        for verdict in verdicts:
            if verdict.status is status:
                yield Text()
                yield from block(verdict, width=width, glyphs=glyphs)
    yield from _not_checked(verdicts, width)
    if left_out:
        yield Text()
        lead = f"Left out, since none of its routines runs there ({len(left_out)}): "
        yield from _hang(lead, ", ".join(left_out), width, lead_style="bold", indent=2)
    if assumptions:
        yield Text()
        yield Text("All of this assumes:", "bold")
        for rule in assumptions:
            yield from _hang("  - ", rule, width)
    style = {0: "bold green", 1: "bold red", 2: "bold magenta"}[exit_status(list(verdicts))]
    yield Text()
    yield from _hang("", summary(verdicts, missing, exits), width, style=style)


def _clauses(verdicts: Sequence[Verdict], width: int) -> Iterator[Text]:
    at: tuple[str, str] = ("", "")
    status = max((len(v.status.value) for v in verdicts), default=0)
    name = max((len(v.clause.id) for v in verdicts), default=0)
    ordered = sorted(verdicts, key=lambda v: _first(verdicts, v))
    for verdict in ordered:
        clause = verdict.clause
        if at[0] != verdict.implementation:
            yield Text(f"{verdict.implementation} (profile {verdict.profile})", "bold underline")
        if at != (verdict.implementation, clause.section):
            yield Text()
            yield Text(clause.section, "bold")
        at = (verdict.implementation, clause.section)
        lead = f"  {verdict.status.value:<{status}}  {clause.id:<{name}}  {clause.modality:<8}  "
        evidence = "see below" if verdict.status is Status.NOT_CHECKED else verdict.evidence
        yield from _hang(lead, evidence, width, lead_style=STYLES[verdict.status])


def _first(verdicts: Sequence[Verdict], verdict: Verdict) -> tuple[int, int]:
    """Where the verdict's implementation and section are first met: keeps both together, in the order given."""
    implementations = [v.implementation for v in verdicts]
    sections = [v.clause.section for v in verdicts]
    return implementations.index(verdict.implementation), sections.index(verdict.clause.section)


def block(verdict: Verdict, *, width: int = WIDTH, glyphs: Glyphs = ASCII) -> list[Text]:
    """All there is to say of one clause: what it demands, how it was broken, why, and how to see it again."""
    clause, found = verdict.clause, verdict.counterexample
    recovery = f" ({found.recovery})" if found and found.recovery else ""
    head = f"{verdict.status.value}{recovery}  {clause.id}  {clause.modality}  "
    made = [*_hang(head, f'"{clause.statement}"', width, lead_style=STYLES[verdict.status], indent=2)]
    facts = [("deviation", DISCIPLINE)] if verdict.status is Status.DEVIATES else []
    if verdict.suspicion:
        first = "; ".join(cited.where for cited in verdict.suspicion)
        facts.append(("suspicion", f"nobody has read what this clause rests on. Against {verdict.implementation} it is a "
                      f"suspicion and no more: look up {first}"))  # fmt: skip
    if clause.of:
        facts.append(("that is", f"{' or '.join(clause.of)}, where {' and '.join(clause.where)}"))
    facts += zip(("source", *("" for _ in clause.sources)), map(str, clause.sources), strict=False)
    facts += [
        ("word", AUTHORITY[clause.authority]),
        ("implementation", f"{verdict.implementation}, profile {verdict.profile}"),
        ("evidence", verdict.evidence),
    ]
    if found and found.trace:
        steps = f"{found.steps} step{'s' * (found.steps != 1)}"
        switches = f"{found.switches} switch{'es' * (found.switches != 1)}"
        facts.append(("found", f"in scenario {found.scenario}: {switches}, {steps}"))
    facts.append(("answerable", (found.role if found else "") or clause.role))
    for name, value in facts:
        made += _hang(f"{name:<16}", value, width, lead_style="dim")
    return [*made, *(_schedule(found, clause.id, width, glyphs) if found else ())]


def _schedule(found: Counterexample, clause: str, width: int, glyphs: Glyphs) -> Iterator[Text]:
    yield Text()
    if found.trace:
        yield from lane_table(found, clause, width=width, glyphs=glyphs)
    else:
        yield from _hang(f"{glyphs.mark} ", found.reason, width, style="bold red")
    sentences = why(found).sentences
    if sentences:
        yield Text()
    for n, sentence in enumerate(sentences):
        yield from _hang("Why     " if not n else " " * 8, sentence, width, lead_style="bold")
    if found.replay:
        whole = found.replay.startswith("intack ")  # a command already, where there is no schedule to follow
        yield Text()
        yield Text.assemble(
            ("Replay  ", "bold"), found.replay if whole else f"intack replay {shlex.quote(found.replay)}"
        )


def _not_checked(verdicts: Sequence[Verdict], width: int) -> Iterator[Text]:
    """What the suite cannot say, each reason once."""
    reasons: dict[str, list[str]] = {}
    for verdict in verdicts:
        if verdict.status is Status.NOT_CHECKED:
            reasons.setdefault(verdict.evidence, []).append(verdict.clause.id)
    if reasons:
        yield Text()
        yield Text("Not checked, and never counted as held:", "bold")
    for reason, clauses in reasons.items():
        yield from _hang(f"  {', '.join(dict.fromkeys(clauses))}: ", reason, width, indent=4)


def summary(verdicts: Sequence[Verdict], missing: Sequence[str] = (), exits: int | None = None) -> str:
    """One sentence with the exit status and the counts it rests on. Where verdicts are missing nothing passes."""
    found = exit_status(verdicts)
    ends = f"exit status {found if exits is None else exits}"
    counts = Counter(v.status for v in verdicts)
    told = ", ".join(f"{counts[s]} {s.value}" for s in STYLES if counts[s]) or "no clause was asked for"
    if missing:
        told += f"; {len(missing)} of {len(verdicts) + len(missing)} clauses have no verdict, for the run ended before its time"
    if found == 1:
        violated = [v for v in verdicts if v.status is Status.VIOLATED]
        names = (
            f"{v.clause.id} {v.counterexample.recovery if v.counterexample else ''}".strip()
            + " (suspicion)" * bool(v.suspicion)
            for v in violated
        )
        return f"FAIL ({ends}): {told}. Violated: {', '.join(dict.fromkeys(names))}."
    if missing:
        return f"INCOMPLETE{f' ({ends})' * (exits is not None)}: nothing violated so far: {told}."
    if found == 2:
        return f"UNDECIDED ({ends}): nothing violated, but not everything could be decided: {told}."
    judged = counts[Status.HELD] + counts[Status.DEVIATES] + counts[Status.OBSERVED] + counts[Status.NEVER_OBSERVED]
    return f"{'PASS' if judged else 'NOTHING JUDGED'} ({ends}): nothing violated: {told}."


def _hang(
    lead: str, body: str, width: int, *, style: str = "", lead_style: str = "", indent: int | None = None
) -> Iterator[Text]:
    """A paragraph after a lead, its further lines indented."""
    indent = len(lead) if indent is None else indent
    wrapped = textwrap.wrap(
        lead + (body or "-"), max(width, indent + 20), subsequent_indent=" " * indent, break_on_hyphens=False
    )
    for n, line in enumerate(wrapped):
        made = Text(line, style)
        if not n and lead_style:
            made.stylize(lead_style, 0, len(lead))
        yield made
