"""Why a schedule breaks a clause: a few sentences computed from the happens-before edges of its trace.

    reads        the last step that changed a location      ->  a step that read the value
    overwritten  a step that read a value                   ->  the first later step that changes it
    message      the step that sends, the one that arrives  ->  the step that latches, the one that takes
    wakes        the step that makes a thread runnable      ->  the step that puts it back on a CPU

and program order, top to bottom within an agent. The style is Elle's (K. Kingsbury and P. Alvaro, Elle: Inferring
Isolation Anomalies from Experimental Observations, 2020): name the step that matters, what it saw and could not see,
what the others saw, and what is left. The story begins where the finding's subjects last change; of all that was read it
tells what was decisive: what sent its routine another way than an earlier or later value would have. Nothing is said that
the trace does not prove: an edge whose value does not fit (a store read back from its CPU's store buffer) is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from typing import NamedTuple

from conformance.machine import facts
from conformance.report.edges import Message, Turn, cpu_of, messages, stored
from conformance.report.point import Cell, Look, Point
from conformance.report.rows import reason_of, words_of
from conformance.roles.operations import WORD
from conformance.search.proof import LIVELOCK_REASON
from conformance.search.trace import Change, Held, TraceStep
from conformance.search.words import show
from conformance.verdict.clause import Counterexample

VERBS = (("sets", ("0", "1")), ("clears", ("1", "0")), ("wakes", ("sleeping", "runnable")))
RECOVERY = {
    "": "",
    "DELAYED": ", and only an exit or tick, which nothing promises, mends it",
    "LOST": ", and one more exit on every CPU does not mend it",
}


class Why(NamedTuple):
    sentences: tuple[str, ...]
    """Three to five, fewer where hardly anything happens."""
    steps: frozenset[int] = frozenset()
    """The steps that they name."""


def why(found: Counterexample) -> Why:
    """How the steps lead to what the monitor found. Of no steps there is nothing to say."""
    return _Story(found).told() if found.trace else Why(())


class _Story:
    """The sentences about one trace. Its point is called B if it breaks the clause, else P."""

    def __init__(self, found: Counterexample) -> None:
        self.words, self.recovery = words_of(found), found.recovery
        self.reason = reason_of(found, self.words)
        self.point = Point(found, self.words)
        self.trace, self.cells, self.broken = found.trace, self.point.cells, self.point.broken
        self.name = "B" if self.broken else "P"
        self.named: set[int] = set()

    def told(self) -> Why:
        sentences: list[str] = []
        steps: set[int] = set()
        for sentence in self._by_step() if self.broken else self._at_rest():
            self.named = set()
            if text := sentence():
                sentences.append(text)
                steps |= self.named
        return Why(tuple(sentences), frozenset(steps))

    def _by_step(self) -> list[Callable[[], str]]:
        last = self._messages if self._messages() else self._switches
        return [self._let, self._history, self._learned, last, self._breaks]

    def _at_rest(self) -> list[Callable[[], str]]:
        parts = [self._let, self._learned, self._messages, self._switches, self._however, self._so]
        if all(part() for part in parts):
            parts.remove(self._learned if " moves " in self._switches() else self._switches)
        return parts

    # Words for steps and cells

    def step(self, number: int) -> str:
        self.named.add(number)
        return self.name if number == self.point.step.number else f"step {number}"

    def who(self, step: TraceStep) -> str:
        handler = "in a handler " * step.in_handler
        return f"{step.routine} {handler}on {step.agent}" if step.routine else step.agent

    def cell(self, cell: Cell) -> str:
        return self.words.place(*cell)

    def value(self, value: Held, cell: Cell) -> str:
        return show(value, cell.mask)

    def after(self, step: TraceStep, cell: Cell) -> str:
        """What a step that changes a cell leaves there."""
        return next(show(c.new, cell.mask) for c in step.changes if c.at == cell.at)

    def turned(self, cell: Cell) -> list[TraceStep]:
        return [step for step in self.trace if cell.turned(step)]

    def did(self, *steps: TraceStep) -> str:
        """What steps do to memory and threads, each location once."""
        net: dict[str, tuple[str, str]] = {}
        for step in steps:
            for change in step.changes:
                for name, old, new in self.words.changed(change):
                    if " " not in name:
                        net[name] = (net.get(name, (old, new))[0], new)
        net = {n: c for n, c in net.items() if c[0] != c[1] and c[1] != "done"}
        net = {n: c for n, c in net.items() if "free" not in c} or net  # a lock, where nothing else is to be told
        told = [
            f"{verb} {' and '.join(n for n, c in net.items() if c == change)}"
            for verb, change in VERBS
            if change in net.values()
        ]
        told += [f"changes {n} from {c[0]} to {c[1]}" for n, c in net.items() if c not in dict(VERBS).values()]
        return " and ".join(told[:3]) + (" and more" if len(told) > 3 else "")

    # Sentences

    def _let(self) -> str:
        """The point, and which call it comes in the middle of."""
        step = self.point.step
        event = next((f for f in step.facts if isinstance(f, EVENTS)), None)
        does = (self.words.fact(event) if event and self.broken else "") or self.did(step)
        does = does or (f'does "{self.words.fact(step.facts[0])}"' if step.facts else "acts")
        for agent in dict.fromkeys(s.agent for s in self.trace if s.agent.startswith("cpu") and s.agent != step.agent):
            lane = [s for s in self.trace if s.agent == agent and s.routine and not s.in_handler]
            before = next((s for s in reversed(lane) if s.number < step.number), None)
            after = next((s for s in lane if s.number > step.number), None)
            if before and after and before.routine == after.routine:
                self.named |= {before.number, after.number}
                does += f", between steps {before.number} and {after.number} of {before.routine} on {agent}"
                break
        self.named.add(step.number)
        return f"Let {self.name} be step {step.number}, where {self.who(step)} {does}."

    def _learned(self) -> str:
        """At most three reads of what another agent wrote or will: at rest those in the point's call first, then decisive
        ones, then stale ones; of a step that breaks the clause those of subjects and decisive ones.
        """
        calls, subjects = {s.number for s in self.point.call}, {cell.at for cell in self.cells}

        def decides(look: Look) -> bool:
            fact = self.point.fact(look)
            return fact is not None and fact.decides

        def rank(look: Look) -> tuple[bool, bool, bool, bool, int]:
            only_read = all(edge.kind == "reads" for edge in look.about)
            return (
                not self.broken and look.step not in calls, not decides(look), only_read,
                look.cell.at not in subjects, look.step,
            )  # fmt: skip

        known = [k for k in self.point.looks() if not self.broken or k.cell.at in subjects or decides(k)]
        return _sentence("; ".join(map(self._look, sorted(sorted(known, key=rank)[:3], key=lambda k: k.step))))

    def _look(self, look: Look) -> str:
        told: list[str] = []
        for edge in look.about:
            if edge.kind == "reads":
                told.append(f"as {self.step(edge.source)} left it")
                continue
            writer = self.point.steps[edge.target]
            put = stored(self.trace, writer) if writer.agent.startswith("buffer") else 0
            made = self.after(writer, look.cell)
            if 0 < put < look.step:
                hidden = f"stays in {cpu_of(writer.agent)}'s store buffer until {self.step(edge.target)}"
                told.append(f"though {self.step(put)} had stored {made}, which {hidden}")
            else:
                told.append(f"before {self.step(edge.target)} makes it {made}")
        fact = self.point.fact(look)
        over = f", and {fact.routine} is over" if fact and fact.last and fact.decides else ""
        value = "" if look.value is None else self.value(look.value, look.cell)
        return (
            f"{self.step(look.step)} reads {self.cell(look.cell)} = {value}, {' and '.join(dict.fromkeys(told))}{over}"
        )

    def _history(self) -> str:
        """How the subjects came to be what they are, and who looked last; if there is none, what the call looked at."""
        told: list[str] = []
        for cell in self.cells[:3]:
            turned = self.turned(cell)
            path = [f"{self.after(s, cell)} in {self.step(s.number)}" for s in turned]
            told += [f"{self.cell(cell)} becomes {', '.join(path[-4:])}"] if path else []
            seen = [s for s in self.trace if self.point.saw(s, cell) is not None]
            if seen and seen[-1] not in turned:
                told.append(f"{self.cell(cell)} is last read in {self._site(seen[-1])} as {self._seen(seen[-1], cell)}")
        if not told:
            reads = [(s, f) for s in self.point.call for f in s.facts if isinstance(f, facts.Reads)][:3]
            said = [
                f"{self.words.place(f.at, f.mask)} = {show(f.value, f.mask)} in {self.step(s.number)}" for s, f in reads
            ]
            told += [f"{self.point.step.agent} last reads {', '.join(reversed(said))}"] if said else []
        return _sentence("; ".join(told[:4]))

    def _seen(self, step: TraceStep, cell: Cell) -> str:
        value = self.point.saw(step, cell)
        return "" if value is None else self.value(value, cell)

    def _messages(self) -> str:
        """What became of the interrupts that the slice, or anybody after the point, sent."""
        every, point = messages(self.trace), self.point.step
        if self.broken:
            return _sentence("".join([self._message(m) for m in every if m.cpu == point.agent and m.taken][-1:]))
        told = [m for m in every if m.sent in self.point.slice or m.sent > point.number][-2:]
        if told:
            return _sentence("; ".join(map(self._message, told)))
        later = (f for s in self.trace if s.number >= point.number for f in s.facts)
        silent = self.cells and not any(isinstance(f, facts.Sends) for f in later)
        return f"No interrupt is sent from {self.name} on." if silent else ""

    def _message(self, message: Message) -> str:
        told = f"{self.step(message.sent)} sends {self.words.interrupt(message.vector)} to {message.cpu}"
        if not message.arrived:
            return f"{told}, where it has not arrived"
        if not message.taken:
            return f"{told}, where it is latched in {self.step(message.arrived)} and not taken"
        step = self.point.steps[message.taken]
        lane = [s for s in self.trace if s.agent == step.agent and s.number > step.number]
        if any(isinstance(f, facts.Takes) for f in step.facts):
            handled = takewhile(lambda s: s.in_handler and not any(isinstance(f, facts.Takes) for f in s.facts), lane)
            did = self.did(step, *handled) or "changes nothing"
            return f"{told}; {self.step(step.number)} takes it {self.words.architecture.in_host} and {did}"
        left = next((self.words.fact(f) for f in step.facts if isinstance(f, facts.Exits)), "")
        did = left or self.did(step, *takewhile(lambda s: s.routine == "acknowledge", lane))
        return f"{told}; {self.step(step.number)} takes it in the guest{' and ' * bool(did)}{did}"

    def _switches(self) -> str:
        """Where threads left and entered CPUs."""
        told: dict[str, list[str]] = {}
        for step in self.trace:
            if step is self.point.step:
                continue
            for fact in step.facts:
                match fact:
                    case facts.Preempts(thread=thread):
                        does = "is preempted"
                    case facts.Migrates(thread=thread, source=source, target=target):
                        does = f"moves from cpu{source} to cpu{target}"
                    case facts.SwitchesIn(thread=thread):
                        does = f"is back on {step.agent}"
                    case _:
                        continue
                told.setdefault(thread, []).append(f"{does} in {self.step(step.number)}")
            for change in step.changes:
                if change.new == "sleeping":
                    thread = change.at.removesuffix(".status")
                    told.setdefault(thread, []).append(f"goes to sleep in {self.step(step.number)}")
        return _sentence("; ".join(f"{thread} {', '.join(moves[-4:])}" for thread, moves in told.items()))

    def _however(self) -> str:
        """Who looked last at what the point's call leaves to be noticed."""
        unseen: list[str] = []
        told: list[str] = []
        for cell in self._left():
            setter = self.turned(cell)[-1].number
            seen = [s for s in self.trace if s.number != setter and self.point.saw(s, cell) is not None]
            if seen and seen[-1].number > setter:
                if self._seen(seen[-1], cell) == self._final(cell):
                    told.append(
                        f"the last to look at {self.cell(cell)} is {self._site(seen[-1])} and sees {self._final(cell)}"
                    )
                continue
            unseen.append(self.cell(cell))
            before = [s for s in seen if s not in self.point.call]
            if before:
                told.append(
                    f"the last look at {self.cell(cell)} was {self._site(before[-1])} and saw {self._seen(before[-1], cell)}"
                )
        if unseen:
            told.insert(0, f"nobody looks at {' or '.join(unseen[:3])} once it is set")
        return f"However, {'; '.join(told[:3])}." if told else ""

    def _left(self) -> list[Cell]:
        """Subjects, and what the point's call changed, that are not empty at rest; no locks."""
        cells = [
            cell for cell in dict.fromkeys([*self.cells, *self._changed()]) if self.turned(cell) and _shared(cell.at)
        ]
        return [c for c in cells if self._final(c) not in ("0", "free", "[]") and not self._final(c).startswith("cpu")]

    def _changed(self) -> list[Cell]:
        """What the point's call changes."""
        return [
            Cell(c.at, part)
            for step in self.point.call
            for c in step.changes
            for part in self.point.parts(c.at, Turn(step.number, c.old, c.new).within(WORD))
        ]

    def _final(self, cell: Cell) -> str:
        return self.after(self.turned(cell)[-1], cell)

    def _site(self, step: TraceStep) -> str:
        return f"{self.step(step.number)} ({self.who(step)})"

    def _so(self) -> str:
        """What is left at rest."""
        if self.reason == LIVELOCK_REASON:
            return f"So after step {self.trace[-1].number}: {self.reason}."
        seen = [look.cell for look in self.point.looks()]
        cells = [c for c in dict.fromkeys([*self.cells, *self._changed(), *seen]) if self.turned(c) and _shared(c.at)]
        told = [f"{self.cell(cell)} = {self._final(cell)}" for cell in cells[:4]]
        told += [f"{c.at.removesuffix('.status')} sleeps" for c in self._last_changes() if c.new == "sleeping"]
        signals = [c for c in self._last_changes() if c.at.endswith((".latched", ".in_flight")) and c.new]
        told += [f"{name} is {new}" for change in signals for name, _, new in self.words.changed(change)]
        told += ["nothing is latched or in flight"] * (not signals)
        return f"So at rest {', '.join(told)}: no step that must happen is left{RECOVERY[self.recovery]}."

    def _last_changes(self) -> list[Change]:
        return list({change.at: change for step in self.trace for change in step.changes}.values())

    def _breaks(self) -> str:
        return f"So B breaks it: {self.reason}." if self.reason else ""


EVENTS = facts.Takes | facts.Acknowledges | facts.Delivers


def _shared(at: str) -> bool:
    """A location, not what the machine keeps of its own."""
    return "." in at and not at.endswith((".status", ".latched", ".in_flight", ".interrupts"))


def _sentence(text: str) -> str:
    return ("S" + text[1:] if text.startswith("step ") else text) + "." if text else ""
