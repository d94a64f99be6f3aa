"""Why a schedule breaks a clause: a few sentences computed from the happens-before edges of its trace.

    reads        the last step that changed a location      ->  a step that read the value
    overwritten  a step that read a value                   ->  the first later step that changes it
    message      the step that sends, the one that arrives  ->  the step that latches, the one that takes
    wakes        the step that makes a thread runnable      ->  the step that puts it back on a CPU

and program order, top to bottom within an agent. The style is Elle's (K. Kingsbury and P. Alvaro, Elle: Inferring
Isolation Anomalies from Experimental Observations, 2020): name the step that matters, what it saw and could not see,
what the others saw, and what is left. The story begins where the finding's subjects last change. At rest two calls are
gone through, the one that made something pending and the one in which the vCPU went where it should not have stayed, and
between them is told what became of the interrupt and of the news. Of a step that breaks the clause it is told how its
subjects came to be what they are. Nothing is said that the trace does not prove: an edge whose value does not fit (a store
read back from its CPU's store buffer) is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from conformance.machine import facts
from conformance.report.edges import Turn, looks, messages
from conformance.report.phrases import Phrases
from conformance.report.point import Cell, Look, Point
from conformance.report.rows import reason_of, words_of
from conformance.report.tour import MOST, shared, tour
from conformance.roles.operations import WORD
from conformance.search.proof import LIVELOCK_REASON
from conformance.search.trace import Change, TraceStep
from conformance.verdict.clause import Counterexample

RECOVERY = {
    "": "",
    "DELAYED": ", and only an exit or tick, which nothing promises, mends it",
    "LOST": ", and one more exit on every CPU does not mend it",
}
GUEST = ("boundary", "instruction")
"""Routines of a processor that runs a guest."""
EVENTS = facts.Takes | facts.Acknowledges | facts.Delivers


class Why(NamedTuple):
    sentences: tuple[str, ...]
    """Some five, fewer where hardly anything happens."""
    steps: frozenset[int] = frozenset()
    """The steps that they name."""


def why(found: Counterexample) -> Why:
    """How the steps lead to what the monitor found. Of no steps there is nothing to say, nor where the code itself fails."""
    if not found.trace or any(isinstance(fact, facts.Crashes) for fact in found.trace[-1].facts):
        return Why(())
    story = _Story(found)
    return Why(tuple(filter(None, story.sentences())), frozenset(story.say.named))


class _Story:
    """The sentences about one trace. Its point is called B if it breaks the clause, else P."""

    def __init__(self, found: Counterexample) -> None:
        self.found, self.words, self.recovery = found, words_of(found), found.recovery
        self.reason = reason_of(found, self.words)
        self.point = Point(found, self.words)
        self.trace, self.cells, self.broken = found.trace, self.point.cells, self.point.broken
        self.call = self.point.whole_call(self.point.step)
        self.say = Phrases(self.point, self.words)
        changed = [cell for cell in self.cells if self.point.turned(cell)]
        self.about = [*changed, *(Cell(change.at) for change in self.point.step.changes if shared(change))]

    def sentences(self) -> Iterator[str]:
        """In order: a later one leaves out what an earlier one has told."""
        yield self._let()
        if self.broken:
            yield self._history()
            yield self._causes()
            yield self._between_instructions()
            yield self._before()
            yield self._messages() or self._switches()
            yield f"So B breaks it: {self.reason}." if self.reason else ""
            return
        yield self._tour(self.call, most=MOST + 2 * (self._resting() in self.call), over=True)
        yield self._messages()
        yield self._news() if self.recovery else self._history()
        if self.recovery:
            yield self._rests()
            yield self._switches()
            yield self._lost()
            yield self._in_vain()
        yield self._however()
        yield self._so()

    # The point

    def _let(self) -> str:
        """The point, and which call it comes in the middle of."""
        step, say = self.point.step, self.say
        event = next((f for f in step.facts if isinstance(f, EVENTS)), None)
        act = next((fact.action for fact in step.facts if isinstance(fact, facts.GuestDoes)), ()) if self.broken else ()
        does = f"executes {' '.join(map(str, act))} for the guest" if act and not event else ""
        does = does or (self.words.fact(event) if event and self.broken else "") or say.did(step)
        if not does and self.point.ends_early and (looks := self.point.all_looks(step)):
            say.told.add(step.number)
            does = say.look(looks[-1])
        does = does or (f'does "{self.words.fact(step.facts[0])}"' if step.facts else "acts")
        for agent in dict.fromkeys(s.agent for s in self.trace if s.agent.startswith("cpu") and s.agent != step.agent):
            lane = [s for s in self.trace if s.agent == agent and s.routine and not s.in_handler]
            before = next((s for s in reversed(lane) if s.number < step.number), None)
            after = next((s for s in lane if s.number > step.number), None)
            if before and after and before.routine == after.routine:
                say.named |= {before.number, after.number}
                does += f", between steps {before.number} and {after.number} of {before.routine} on {agent}"
                break
        say.named.add(step.number)
        return f"Let {say.name} be step {step.number}, where {say.who(step)} {does}{self._interrupted()}."

    def _interrupted(self) -> str:
        """Which handler ran in the middle of the point's call."""
        first, last = self.call[0], self.point.step if self.broken else self.call[-1]
        between = self.trace[first.number : last.number]
        inside = [s for s in between if s.agent == first.agent and s.in_handler and not first.in_handler]
        if not inside or not first.routine:
            return ""
        names = " and ".join(dict.fromkeys(s.routine for s in inside if s.routine)) or "an interrupt"
        self.say.named |= {first.number, inside[0].number, inside[-1].number}
        span = f"steps {inside[0].number} to {inside[-1].number}"
        return f"; its call began in step {first.number}, and {names} came in between, in {span}"

    def _tour(
        self, call: Sequence[TraceStep], most: int = MOST, least: int = 2, over: bool = False, newest: bool = False
    ) -> str:
        """The telling steps of a call, in order, but for those that are told already; `over`: and its last one."""
        stops = tour(self.point, call, self.about, most, self.say.told, least, newest)
        told = [text for stop in stops if (text := self.say.stop(stop))]
        if not told:
            return ""
        last = call[-1].number
        if over and last not in {self.point.step.number, *(stop.step.number for stop in stops)}:
            told.append(f"{self.say.step(last)} ends it")
        return f"{self.say.who(call[0])}: {'; '.join(told)}."

    # How subjects came to be what they are

    def _history(self) -> str:
        """Of two subjects all of it, of some more what they are; and what who breaks the clause did to any of them."""
        cells, say = self.point.latest(), self.say
        told = [say.path(cell) for cell in cells[:2]]
        told[1:1] = [self._last_read(cell) for cell in cells[:2]]
        told += map(say.since, cells[2:4])
        mine = (s for s in reversed(self.trace) if s.agent == self.point.step.agent and s not in self.call)
        wrote = next(((s, c) for s in mine for c in self.cells if not s.in_handler and self.point.writes(s, c)), None)
        if self.broken and wrote and wrote[0].number not in say.named:
            told.append(f"{say.site(wrote[0])} writes {say.wrote(*wrote)}")
        return _sentence("; ".join(filter(None, told)))

    def _last_read(self, cell: Cell) -> str:
        """When who breaks the clause looked last at what nobody changed since, or only at other bits of its word."""
        since = max((step.number for step in self.point.turned(cell)), default=0)
        for step in reversed(self.point.lane_of(self.point.step)[:-1] if self.broken else self.trace):
            if step.number > since and self.point.saw(step, cell) is not None:
                return f"{self.say.cell(cell)} is last read in {self.say.site(step)} as {self.say.seen(step, cell)}"
            other = next((look for look in self.point.all_looks(step) if look.cell.at == cell.at), None)
            if step.number > since and other:
                return f"{self.say.site(step)} {self.say.look(other)}"
        return ""

    def _causes(self) -> str:
        """What decided the calls that made the subjects, and what B takes up, what they are."""
        took = [Cell(change.at) for change in self.point.step.changes if shared(change) and change.old]
        cells = [*self.point.latest()[:3], *took]
        wrote = [step for cell in cells if (step := self.point.last_write(cell)) and step.routine]
        calls: dict[int, list[TraceStep]] = {}
        for step in sorted(wrote, key=lambda step: step.number):
            call = [s for s in self.point.whole_call(step) if s.number <= step.number]
            calls[call[0].number] = call
        calls.pop(self.call[0].number, None)
        told: list[str] = []
        for _, call in sorted(calls.items(), reverse=True):
            told += [text for text in [self._tour(call, most=2, newest=True) if len(told) < 2 else ""] if text]
        return " ".join(reversed(told))

    def _between_instructions(self) -> str:
        """Where the guest goes on and should not: what it did before, and what decided that it was let."""
        if not any(isinstance(fact, facts.GuestDoes) for fact in self.point.step.facts):
            return ""
        lane = self.point.lane_of(self.point.step)
        lane = lane[: lane.index(self.point.step)]
        did = [(step, fact) for step in lane for fact in step.facts if isinstance(fact, facts.GuestDoes)]
        if not did:
            return ""
        step, fact = did[-1]
        told = [f"The guest's last instruction before is {self.say.step(step.number)} ({self.words.fact(fact)})."]
        between = [s for s in lane if s.number > step.number and s.routine and s.routine not in GUEST]
        calls = dict.fromkeys(self.point.whole_call(s)[0].number for s in between)
        tours = (
            self._tour([s for s in between if s in self.point.whole_call(self.point.steps[n])], 2, 3) for n in calls
        )
        return " ".join([*told, *[tour for tour in tours if tour][:2]])

    def _before(self) -> str:
        """What the call that breaks the clause did before; if none of it matters, the last things that it read."""
        before = [step for step in self.call if step.number < self.point.step.number]
        return self._tour(before, least=3) or self._tour(before, most=3, least=1)

    # What became of it

    def _messages(self) -> str:
        """What became of the interrupts that the slice, or anybody after the point, sent."""
        every, point = messages(self.trace), self.point.step
        if self.broken:
            return _sentence(
                "".join(map(self.say.message, [m for m in every if m.cpu == point.agent and m.taken][-1:]))
            )
        told = [m for m in every if m.sent in self.point.slice or m.sent > point.number][-2:]
        if told:
            return _sentence("; ".join(map(self.say.message, told)))
        later = (f for s in self.trace if s.number >= point.number for f in s.facts)
        rests = self._resting()
        mine = rests is not None and self.point.lane_of(rests) == self.point.lane_of(point)
        silent = self.cells and not mine and not any(isinstance(f, facts.Sends) for f in later)
        return f"No interrupt is sent from {self.say.name} on{self._stale()}." if silent else ""

    def _stale(self) -> str:
        """What the point's call had read before the point, and somebody had changed by the time that it was over."""
        call = self.point.whole_call(self.point.step)
        end = call[-1]
        for step in (s for s in call if s.number < self.point.step.number):
            for look in self.point.all_looks(step):
                cell = look.cell
                turned = [s for s in self.point.turned(cell) if step.number < s.number <= end.number]
                if not turned or turned[-1].agent == step.agent or cell in self.cells:
                    continue
                was, now = self.say.seen(step, cell), self.say.after(turned[-1], cell)
                if was != now:
                    over = f"when {end.routine} was over in {self.say.step(end.number)}"
                    return f": {self.say.step(step.number)} read {self.say.cell(cell)} = {was}, and it was {now} {over}"
        return ""

    def _news(self) -> str:
        """Who came to know of what the point's call left, one from the other, and what the last of them did then."""
        way = self.point.news()
        if len(way) < 2:
            return ""
        told: list[str] = []
        for edge in way[-3:]:
            reader = self.point.steps[edge.target]
            cell = Cell(edge.at, self.point.parts(edge.at, edge.mask)[0])
            told.append(f"{self.say.site(reader)} {self.say.look(Look(edge.target, cell, edge.value, (edge,)))}")
            self.say.told.add(edge.target)
            then = next((s for s in self.point.whole_call(reader) if s.number > reader.number), None)
            if edge is way[-1] and then and (does := self.say.does(then)):
                told.append(f"{self.say.step(then.number)} {does}")
        return _sentence("; ".join(told))

    # Where the vCPU rests

    def _rests(self) -> str:
        """How a vCPU that should have noticed came to be where it is at rest, and what was done there after."""
        step = self._resting()
        if step is None:
            return ""
        call = [s for s in self.point.whole_call(step) if s.number <= step.number]
        after = [s for s in self.point.lane_of(step) if s.number > step.number]
        off = (n for n, s in enumerate(after, 1) if any(isinstance(f, facts.SwitchesOut) for f in s.facts))
        told = "" if self.point.step in call else self._tour(call)
        return " ".join(filter(None, [told, self._afterwards(after[: next(off, len(after))])]))

    def _resting(self) -> TraceStep | None:
        """The last step that enters a guest, or puts a vCPU to sleep, of those that the finding is about, if any."""
        rests: list[tuple[TraceStep, str]] = []
        for step in self.trace:
            rests += [(step, fact.vcpu) for fact in step.facts if isinstance(fact, facts.Enters)]
            rests += [(step, c.at.removesuffix(".status")) for c in step.changes if c.new == "sleeping"]
        about = {subject.name for subject in self.found.subjects}
        mine = [step for step, vcpu in rests if vcpu in about] or [step for step, _ in rests]
        return mine[-1] if mine else None

    def _afterwards(self, lane: Sequence[TraceStep]) -> str:
        """What decided the switch to another thread, or what the guest did last."""
        told = self._tour(lane, most=2, least=3 + any(s.routine in GUEST for s in lane))
        acts = [f for f in lane[-1].facts if isinstance(f, facts.GuestDoes)] if lane else []
        if not acts or lane[-1].number in self.say.told | {self.point.step.number}:
            return told
        ends = f"{self.say.step(lane[-1].number)} is the last there ({self.words.fact(acts[0])})"
        return f"{told[:-1]}; {ends}." if told else f"{self.say.who(lane[-1])}: {ends}."

    def _switches(self) -> str:
        """Where threads left and entered CPUs."""
        told: dict[str, list[tuple[str, int]]] = {}
        for step in self.trace:
            for fact in step.facts if step is not self.point.step else ():
                match fact:
                    case facts.Preempts(thread=thread):
                        does = "is preempted"
                    case facts.Migrates(thread=thread, source=source, target=target):
                        does = f"moves from cpu{source} to cpu{target}"
                    case facts.SwitchesIn(thread=thread):
                        does = f"is back on {step.agent}"
                    case _:
                        continue
                told.setdefault(thread, []).append((does, step.number))
        moves = {
            thread: [f"{does} in {self.say.step(step)}" for does, step in moves[-4:]] for thread, moves in told.items()
        }
        return _sentence("; ".join(f"{thread} {', '.join(moved)}" for thread, moved in moves.items()))

    # What is left

    def _lost(self) -> str:
        """How what the finding is about came to be gone, if the point made it so."""
        ends = [c for c in self.point.latest() if len(self.point.turned(c)) > 1 and self.say.final(c) in ("0", "[]")]
        leaves = any(cell.turned(self.point.step) and cell not in ends for cell in self.cells)
        gone = [cell for cell in ends if cell.turned(self.point.step)][:1] if leaves else ends[:2]
        return _sentence("; ".join(map(self.say.path, gone)))

    def _in_vain(self) -> str:
        """The last call after the point that others than the vCPU made, that looked at the subjects and changed nothing."""
        rests = self._resting()
        lanes = [self.point.lane_of(step) for step in (rests, self.point.step) if step]
        for step in reversed(self.trace[self.point.step.number :]):
            if step.routine and not any(step in lane for lane in lanes) and any(self._looks(step)):
                call = self.point.whole_call(step)
                return "" if any(shared(c) for s in call for c in s.changes) else self._tour(call, most=2, over=True)
        return ""

    def _looks(self, step: TraceStep) -> Iterator[bool]:
        """At which subjects that have changed a step looks."""
        return (self.point.saw(step, cell) is not None for cell in self.cells if self.point.turned(cell))

    def _however(self) -> str:
        """Who looked last at what the point's call leaves to be noticed."""
        unseen: list[Cell] = []
        last: list[tuple[Cell, TraceStep, bool]] = []
        for cell in self._left():
            setter = self.point.turned(cell)[-1].number
            seen = [s for s in self.trace if s.number != setter and self.point.saw(s, cell) is not None]
            if seen and seen[-1].number > setter:
                same = self.say.seen(seen[-1], cell) == self.say.final(cell)
                last += [(cell, seen[-1], True)] * (same and seen[-1] is not self.point.step)
                continue
            unseen.append(cell)
            last += [(cell, step, False) for step in seen if step not in self.call][-1:]
        names = list(dict.fromkeys(self._name(cell, unseen) for cell in unseen))
        told = [f"nobody looks at {' or '.join(names[:3])} once it is set"] if names else []
        if self.point.untouched and not any(map(self.point.turned, self.cells)):
            told.append(f"nobody changes {' or '.join(map(self.say.cell, self.point.untouched[:2]))}")
        for cell, step, after in [(c, step, after) for c, step, after in last if not self.say.known(step, c)][
            : 2 - len(told)
        ]:
            name, where, saw = self.say.cell(cell), self.say.site(step), self.say.seen(step, cell)
            if after:
                told.append(f"the last to look at {name} is {where} and sees {saw}")
            else:
                told.append(f"the last look at {name} was {where} and saw {saw}")
        told += self._overwritten()
        return f"However, {'; '.join(told)}." if told else ""

    def _name(self, cell: Cell, cells: Sequence[Cell]) -> str:
        """Of many fields of a location that of the location."""
        return self.words.place(cell.at) if sum(other.at == cell.at for other in cells) > 2 else self.say.cell(cell)

    def _overwritten(self) -> list[str]:
        """What the point's call, or the handler of what it sent, left somewhere, and was written over unread."""
        sent = {step.number for step in self.call}
        taken = [self.point.steps[m.taken] for m in messages(self.trace) if m.sent in sent and m.taken]
        steps = [*self.point.call, *(s for step in taken for s in self.point.handled(step))]
        for at in dict.fromkeys(c.at for step in steps for c in step.changes if shared(c)):
            turns = self.point.turns[at]
            left = [turn for turn in turns if turn.step in {step.number for step in steps}][-1]
            over = next((turn for turn in turns if turn.step > left.step), None)
            if (
                over
                and left.new
                and all(at != place for s in self.trace[left.step : over.step] for place, _, _ in looks(s))
            ):
                place = self.words.place(at)
                return [f"{self.say.step(over.step)} writes over {place} as {self.say.step(left.step)} left it, unread"]
        return []

    def _left(self) -> list[Cell]:
        """Subjects, and what the point's call changed, that are not empty at rest; no locks."""
        cells = dict.fromkeys([*self.cells, *self._changed()])
        final = {cell: self.say.final(cell) for cell in cells if self.point.turned(cell) and _shared(cell.at)}
        return [
            cell for cell, value in final.items() if value not in ("0", "free", "[]") and not value.startswith("cpu")
        ]

    def _changed(self) -> list[Cell]:
        """What the point's call changes, but for what is its CPU's own."""
        return [
            Cell(c.at, part)
            for step in self.point.call
            for c in step.changes
            if not self.point.its_own(step, c.at)
            for part in self.point.parts(c.at, Turn(step.number, c.old, c.new).within(WORD))
        ]

    def _so(self) -> str:
        """What is left at rest."""
        if self.reason == LIVELOCK_REASON:
            return f"So after step {self.trace[-1].number}: {self.reason}."
        seen = [look.cell for look in self.point.looks()]
        cells = [
            c for c in dict.fromkeys([*self.cells, *self._changed(), *seen]) if self.point.turned(c) and _shared(c.at)
        ]
        told = [f"{self.say.cell(c)} = {self.say.final(c)}" for c in cells if self.say.final(c) != "free"][:4]
        told += [f"{c.at.removesuffix('.status')} sleeps" for c in self._last_changes() if c.new == "sleeping"]
        signals = [c for c in self._last_changes() if c.at.endswith((".latched", ".in_flight")) and c.new]
        told += [f"{name} is {new}" for change in signals for name, _, new in self.words.changed(change)]
        told += ["nothing is latched or in flight"] * (not signals)
        return f"So at rest {', '.join(told)}: no step that must happen is left{RECOVERY[self.recovery]}."

    def _last_changes(self) -> list[Change]:
        return list({change.at: change for step in self.trace for change in step.changes}.values())


def _shared(at: str) -> bool:
    """A location, not what the machine keeps of its own."""
    return "." in at and not at.endswith((".status", ".latched", ".in_flight", ".interrupts"))


def _sentence(text: str) -> str:
    return ("S" + text[1:] if text.startswith("step ") else text) + "." if text else ""
