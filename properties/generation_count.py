"""docs/generation-count.md, a proposal and what the suite says of it: `python -m properties.generation_count > docs/generation-count.md`.

All but the telling is the suite's: verdicts as `intack run` gives them, schedules as its report lays them out. Only how long a
search took differs from one time to the next.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from textwrap import fill

from conformance.adapters.registry import resolve
from conformance.ordering.names import parse
from conformance.ordering.order import order
from conformance.report.lanes import lane_table, plain
from conformance.report.reason import why
from conformance.verdict.clause import Clause, Counterexample
from conformance.verdict.explore import explore
from conformance.verdict.judge import Judge
from properties.nested.suite import NESTED
from properties.suite import SUITE

WIDTH = 112
SCENARIOS = {s.name: s for s in NESTED.scenarios}
JUDGED = frozenset(("nested-post", "nested-order", "nested-polled", "nested-again", "nested-shared"))
"""The table's scenarios: those that tell something of the proposal."""
COLUMNS = (
    ("reference", "kvm"),
    ("reference", "strict"),
    ("generation-count", "strict"),
    ("nested-emulated", "strict"),
)
CLAUSES = tuple(
    clause
    for clause in NESTED.clauses
    if clause.id
    in (*(f"KVM-NST-{n}" for n in (1, 4, 6, 9, 10, 11)), "MODE-9", *(f"NST-E2E-{n}" for n in (1, 2, 3, 5, 6)))
)

BEGINNING = """\
# Counting generations: a proposal, its holes, and what is left of it

Written by `python -m properties.generation_count > docs/generation-count.md`; a test fails when it is out of date, but for the times, which
are those of the machine that wrote it.

In November 2020 KVM's maintainers asked how L0 should remember that L1 has notified L2 of a posted interrupt. L1's vectors lie in a
descriptor of its own, in L1's memory. L0 learns of them by PINV12 alone, the notification vector that L1 wrote to its ICR, and passes it
on as NPINV, a physical vector that the processor takes for L2's. KVM notes `pi_pending` too, in case that the processor does not take it.
A message of P. Bonzini's (24 November, Message-ID e140ed23-df91-5da2-965a-e92b4a54e54e@redhat.com) proposed to do without, by counting:

| where | vcpu->mode becomes |
| --- | --- |
| entry | `(mode \\| 3) + 1 + IN`: the generation above goes one up, bits 1:0 are IN_GUEST_MODE |
| exit | `mode & ~3` |
| a walk of shadow pages | `mode \\| READING`, and `mode & ~3` |
| a kick | `mode ^ IN ^ EXITING`, by compare-exchange as long as bits 1:0 are IN |
| sender | reads mode, sends NPINV, reads mode again, and once more from the start if it differs |

[reference/alternatives/nested/generation_count.py](../reference/alternatives/nested/generation_count.py) does this, to the bit. What the
message leaves open, what becomes of a notification that finds the vCPU out of its guest, it does as KVM does elsewhere: PINV12 is then an
interrupt for L1, and where L0 next looks for those it takes it for L2's. `intack run -a generation-count` judges it by the manuals.

It was refuted twice within two days, by S. Christopherson and by J. Mattson. The suite is told nothing of that: it has the clauses, the
processor and this code, and looks at every interleaving of small scenarios.
"""
FIRST = """\
## The first hole: taken in root mode, and nobody remembers

The thread's trace has the notification come between the VM exit and `mode := OUT`. The search finds one with fewer switches: the message
is still under way when the sender reads mode again, so an exit at any later time will do. In both nothing is left that says that PIR12
is to be looked at. The least:
"""
AS_TOLD = """\
And the thread's own, as an order of five operations that is asked for:
"""
ORDER = (
    "exit cpu0.vcpu0 exits: tick < deliver_interrupt.sends NPINV < wire0.NPINV arrives at cpu0 "
    "< deliver_interrupt.reads mode = 9 #2 < cpu0.mode := 8"
)
SECOND = """\
## The second hole: another vCPU by now

The sender is held up (an NMI, an SMI, or a hypervisor that is itself a guest) after it read where the vCPU runs. The vCPU leaves its pCPU,
and another one's L2 runs there when NPINV comes. The processor cannot know whom it is for: it moves what L1 has posted to that other
L2, which nobody notified. KVM has this too, with `pi_pending` and whatever put does to SN, and its maintainers accept it: the profile
`kvm` waives the clause, `strict` shows it.
"""
THIRD = """\
## A third one: the second try after the first has arrived

That mode differs does not say that the notification was not taken. Here it was, in L2; then L2 exits to L1, and the sender, which
sees another generation, tries again: by now PINV12 is an interrupt to L1, which so has one notification twice. The thread names this
danger for another remedy (25 November, on double delivery). It hangs on what is done with a notification that finds L1, which the
message leaves open.
"""
ACCEPTED = """\
## What KVM does instead, and what it costs

The note stays, and so does the price that the thread named: `pi_pending` is still set after the processor has taken the notification. L1
waits until PIR12 is empty, posts 200 and notifies nobody; at the next entry L0 finds the note and moves 200. By the manual nothing can
have brought it. The profile `kvm` waives this with its source; `strict` shows it:
"""
SURVIVES = """\
## What survives

Spurious notifications are fine, as the message says: NPINV in root mode is seen (MODE-9) and harms nobody. And so is its other
observation, that no order is promised across vectors: 200 may come before 100 on bare metal, since the acknowledgement only starts an
eventual scan. The suite demands none, and shows the trace:
"""
TABLE = """\
## All verdicts, side by side

`nested-emulated` leaves the processor out: each notification is noted, kicks the vCPU out of its guest, and is used up where L0 looks at
PIR12. It keeps to every clause, at the price of an exit each. A clause that `kvm` waives is NOT APPLICABLE there. Scenarios:
"""


def page() -> Iterator[str]:
    yield BEGINNING
    yield FIRST
    yield from shown("generation-count", "nested-post", "NST-E2E-1")
    yield AS_TOLD
    yield from directed("generation-count", "nested-post", "NST-E2E-1")
    yield SECOND
    yield from shown("generation-count", "nested-shared", "KVM-NST-11")
    yield THIRD
    yield from shown("generation-count", "nested-again", "KVM-NST-10")
    yield ACCEPTED
    yield from shown("reference", "nested-polled", "KVM-NST-9")
    yield SURVIVES
    yield from witnessed("generation-count", "nested-order", "NST-E2E-6")
    yield TABLE + fill(", ".join(s for s in SCENARIOS if s in JUDGED) + ".", 138) + "\n"
    yield from table()


def clause_of(name: str) -> Clause:
    return next(clause for clause in NESTED.clauses if clause.id == name)


def shown(spec: str, scenario: str, name: str) -> Iterator[str]:
    """The least counterexample of a scenario, as the report lays it out, with how long it took to find."""
    begin = time.process_time()
    explored = explore(resolve(spec), SCENARIOS[scenario], SUITE)
    took = time.process_time() - begin
    found = explored.counterexamples[name]
    head = f"VIOLATED{f' ({found.recovery})' * bool(found.recovery)}  {name}  {clause_of(name).statement}"
    yield block([fill(head, WIDTH), "", *laid_out(found, name), "", *(fill(s, WIDTH) for s in why(found).sentences)])
    yield (
        f"`intack run -a {spec} --profile strict --clause {name} --scenario {scenario}`: {explored.states:,} states exhausted, "
        f"{found.switches} switches and {found.steps} steps at least, {took:.1f} s.\n"
    )


def directed(spec: str, scenario: str, name: str) -> Iterator[str]:
    """The least run that fits `ORDER`, which breaks the clause."""
    begin = time.process_time()
    answer = order(resolve(spec), SCENARIOS[scenario], SUITE, parse([ORDER]))
    took = time.process_time() - begin
    found = next(v.counterexample for v in answer.verdicts if v.clause.id == name and v.counterexample)
    head = f"VIOLATED{f' ({found.recovery})' * bool(found.recovery)}  {name}  {clause_of(name).statement}"
    yield block([fill(head, WIDTH), "", *laid_out(found, name)])
    yield f"""`intack order -a {spec} --scenario {scenario} "{ORDER}"`: {answer.states:,} states, {took:.1f} s.\n"""


def witnessed(spec: str, scenario: str, name: str) -> Iterator[str]:
    """The least witness of what a clause allows."""
    verdict = Judge(resolve(spec), "strict", SUITE, scenarios={scenario}).verdict(clause_of(name))
    if verdict.counterexample is None:
        raise ValueError(f"{name} was not seen in {scenario}")
    head = f"{verdict.status.value}  {name}  {verdict.clause.statement}"
    yield block([fill(head, WIDTH), "", *laid_out(verdict.counterexample, name)])


def laid_out(found: Counterexample, name: str) -> list[str]:
    """Every step of what breaks something: the holes are in steps that do nothing wrong."""
    return [plain(lane_table(found, name, width=WIDTH, all_steps=not found.witness)).rstrip()]


def block(lines: list[str]) -> str:
    return "\n".join(["```", *lines, "```", ""])


def table() -> Iterator[str]:
    """Verdicts, a row for each clause."""
    judges = [Judge(resolve(spec), profile, SUITE, scenarios=JUDGED) for spec, profile in COLUMNS]
    yield "| | | " + " | ".join(f"{spec}, {profile}" for spec, profile in COLUMNS) + " |"
    yield "| --- | --- |" + " --- |" * len(COLUMNS)
    for clause in CLAUSES:
        said = [judge.verdict(clause).status.value for judge in judges]
        yield f"| {clause.id} | {clause.modality} | " + " | ".join(said) + " |"


if __name__ == "__main__":
    print("\n".join(page()))
