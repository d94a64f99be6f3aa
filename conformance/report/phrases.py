"""What steps read and did, in words; every step that is mentioned is noted.

"As step 3 left it" and "before step 5 makes it 1" are the two edges of a read: where its value came from, and what would
have been read a little later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile

from conformance.machine import facts
from conformance.report.edges import Message, cpu_of, stored
from conformance.report.point import Cell, Look, Point
from conformance.report.tour import NOTED, Stop, shared
from conformance.search.trace import Change, Held, TraceStep
from conformance.search.words import NO_CPU, Changed, Words, show

VERBS = (("sets", ("0", "1")), ("clears", ("1", "0")), ("wakes", ("sleeping", "runnable")))


class Phrases:
    """About one point: P, or B if it breaks the clause. `named` are the steps mentioned so far, `told` those of which it is
    said what they did.
    """

    def __init__(self, point: Point, words: Words) -> None:
        self.point, self.words, self.trace = point, words, point.trace
        self.name = "B" if point.broken else "P"
        self.named: set[int] = set()
        self.told: set[int] = set()
        self.looked: set[tuple[int, Cell]] = set()
        """Which steps are said to have read what."""

    def step(self, number: int) -> str:
        self.named.add(number)
        return self.name if number == self.point.step.number else f"step {number}"

    def who(self, step: TraceStep) -> str:
        handler = "in a handler " * step.in_handler
        return f"{step.routine} {handler}on {step.agent}" if step.routine else step.agent

    def site(self, step: TraceStep) -> str:
        return f"{self.step(step.number)} ({self.who(step)})"

    # Cells

    def cell(self, cell: Cell) -> str:
        return self.words.place(*cell)

    def after(self, step: TraceStep, cell: Cell) -> str:
        """What a step that changes a cell leaves there."""
        return next(show(c.new, cell.mask) for c in step.changes if c.at == cell.at)

    def final(self, cell: Cell) -> str:
        return self.after(self.point.turned(cell)[-1], cell)

    def seen(self, step: TraceStep, cell: Cell) -> str:
        value = self.point.saw(step, cell)
        return "" if value is None else show(value, cell.mask)

    def path(self, cell: Cell) -> str:
        """What a cell became, step by step."""
        turned = self.point.turned(cell)[-3:]
        if not turned:
            return self.since(cell)
        became = [f"{self.after(step, cell)} in {self.step(step.number)}" for step in turned]
        return f"{self.cell(cell)} becomes {', '.join(became)}" + f" ({self.who(turned[-1])})" * bool(
            turned[-1].routine
        )

    def since(self, cell: Cell) -> str:
        """What a cell holds, and who left it so."""
        last = self.point.last_write(cell)
        if last is None:
            return ""
        if cell.turned(last):
            return f"{self.cell(cell)} = {self.after(last, cell)} since {self.site(last)}"
        return f"{self.cell(cell)} = {self._put(last, cell)}, written again in {self.site(last)}"

    def wrote(self, step: TraceStep, cell: Cell) -> str:
        value = self.after(step, cell) if cell.turned(step) else self._put(step, cell)
        return f"{self.cell(cell)} := {value}"

    def _put(self, step: TraceStep, cell: Cell) -> str:
        return next(show(f.value, cell.mask) for f in step.facts if isinstance(f, facts.Writes) and f.at == cell.at)

    # Steps

    def known(self, step: TraceStep, cell: Cell) -> bool:
        """Whether it is told already that a step read a cell."""
        return any(n == step.number and at == cell.at and mask & cell.mask for n, (at, mask) in self.looked)

    def look(self, look: Look, over: bool = True) -> str:
        """What was read, which step left it, and which changes it next; `over`: and that its call ends so, if it does."""
        self.looked.add((look.step, look.cell))
        told: list[str] = []
        if sources := [edge.source for edge in look.about if edge.kind == "reads"]:
            told.append(f"as {self.step(max(sources))} left it")
        if targets := [edge.target for edge in look.about if edge.kind == "overwritten"]:
            told.append(self._next(look, min(targets)))
        fact = self.point.fact(look)
        ends = f", and {fact.routine} is over" if over and fact and fact.last and fact.decides else ""
        value: Held = "" if look.value is None else look.value
        known = f", {' and '.join(told)}" if told else ""
        return f"reads {self.cell(look.cell)} = {show(value, look.cell.mask)}{known}{ends}"

    def _next(self, look: Look, target: int) -> str:
        writer = self.point.steps[target]
        put = stored(self.trace, writer) if writer.agent.startswith("buffer") else 0
        made = self.after(writer, look.cell)
        if 0 < put < look.step:
            hidden = f"stays in {cpu_of(writer.agent)}'s store buffer until {self.step(target)}"
            return f"though {self.step(put)} had stored {made}, which {hidden}"
        return f"before {self.step(target)} makes it {made}"

    def did(self, *steps: TraceStep, only: Callable[[Change], bool] = bool) -> str:
        """What steps do to memory and threads, each location once."""
        net: dict[str, tuple[str, str]] = {}
        for change in (change for step in steps for change in step.changes if only(change)):
            for name, old, new in self._parts(change):
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

    def _parts(self, change: Change) -> list[Changed]:
        """Fields of a word, unless it is many."""
        parts = self.words.changed(change)
        if len(parts) > 2 and isinstance(change.old, int):
            return [Changed(self.words.place(change.at), show(change.old), show(change.new))]
        return parts

    def does(self, step: TraceStep) -> str:
        """What of a step others notice."""
        noted = (fact for fact in step.facts if isinstance(fact, NOTED))
        said = ["announces its sleep" if isinstance(f, facts.Announces) else self.words.fact(f) for f in noted]
        return " and ".join(filter(None, [self.did(step, only=shared), *said]))

    def stop(self, stop: Stop) -> str:
        """One of a tour: what it read and did; of the point, which has been told, what it read."""
        self.told.add(stop.step.number)
        does = self.does(stop.step) if stop.does and stop.step is not self.point.step else ""
        said = [*(self.look(look, not does) for look in stop.looks), *[does][: bool(does)]]
        return f"{self.step(stop.step.number)} {_joined(said)}" if said else ""

    def message(self, message: Message) -> str:
        """What became of one, and who sent it, if that is not told."""
        vector, known = self.words.interrupt(message.vector), message.sent in self.told
        it = f"{vector} of {self.step(message.sent)}"
        sent = "" if known else f"{self.step(message.sent)} sends {vector} to {message.cpu}"
        if not message.arrived:
            if NO_CPU in message.cpu:
                return f"{it} goes to no CPU" if known else sent
            return f"{it} has not arrived" if known else f"{sent}, where it has not arrived"
        if not message.taken:
            latched = f"is latched in {self.step(message.arrived)} and not taken"
            return f"{it} {latched}" if known else f"{sent}, where it {latched}"
        step = self.point.steps[message.taken]
        taken = self.step(message.taken)
        self.told.add(message.taken)
        return (f"{taken} takes {it}" if known else f"{sent}; {taken} takes it") + self._taken(step)

    def _taken(self, step: TraceStep) -> str:
        if any(isinstance(f, facts.Takes) for f in step.facts):
            handled = self.point.handled(step)
            did = self.did(step, *handled)
            seen = next((look for s in handled for look in self.point.all_looks(s)), None)
            if seen and not did:
                did = f"{self.step(seen.step)} {self.look(seen)}"
            until = f" until {self.step(handled[-1].number)}" if handled and not seen else ""
            return f" {self.words.architecture.in_host} and {did or 'changes nothing'}{until}"
        lane = [s for s in self.trace if s.agent == step.agent and s.number > step.number]
        left = next((self.words.fact(f) for f in step.facts if isinstance(f, facts.Exits)), "")
        did = left or self.did(step, *takewhile(lambda s: s.routine == "acknowledge", lane))
        return f" in the guest{' and ' * bool(did)}{did}"


def _joined(said: Sequence[str]) -> str:
    """The last after a comma, if there is one already."""
    if len(said) < 2:
        return "".join(said)
    return f"{', '.join(said[:-1])}{',' * any(',' in text for text in said[:-1])} and {said[-1]}"
