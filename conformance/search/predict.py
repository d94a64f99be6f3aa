"""Prediction: from one run, other runs that its events allow, and the clauses that they break.

An order of some events of a run is feasible if each agent takes its events in program order and each event reads the
values that it has read: the maximal causal model of the run (J. Huang, P. Meredith, G. Rosu, Maximal Sound Predictive
Race Detection with Control Flow Abstraction, PLDI 2014). For each race of the run z3 is asked for such an order of all
events with the race the other way round; and where it has none, because the race changes a value, for one of the events
up to the later one of the race, which then comes first and may read something new (J. Huang, Stateless Model Checking
Concurrent Programs with Maximal Causality Reduction, PLDI 2015). Ours differs in what is a variable: every cell of the
state, by its measured footprint, so locks, messages and control need no rules of their own; and in that nothing is
concluded from the constraints. The machine runs the order, goes on from there to rest, and is judged as in any
run; what it does not follow is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from conformance.machine.machine import Machine
from conformance.search.causality import Occurrence, Race, broken_by, events, races, unwatched
from conformance.search.results import Step
from conformance.search.sampling import Chooser, SampledRun, run_to_rest

EACH = 24
"""Races that are asked about from one given run."""
MOST = 400
"""And in all: beyond that a question costs more than it finds, and drawing goes on alone."""
EFFORT = 2_000_000
"""z3's own measure of work for one question, which no clock disturbs."""


_CLOCK = re.compile(r"\(define-fun (\w+) \(\) Int\s+(\(- )?(\d+)")


class Prediction(NamedTuple):
    race: Race
    order: tuple[int, ...]
    """Numbers of events of the run it came from, as far as each reads what it has read; then comes `race.then`."""
    origin: SampledRun
    """The run it came from: the one that was given, or one predicted from it that breaks nothing."""
    run: SampledRun
    """What the machine made of it."""


class Predictor:
    """Predicts from the runs of one machine. A race is asked about once: two steps, each having seen what it saw."""

    def __init__(self, machine: Machine, most: int = MOST) -> None:
        self.machine, self.most = machine, most
        self.bare = unwatched(machine)
        self.asked: set[tuple[Occurrence, Occurrence]] = set()
        self.known: set[tuple[Step, ...]] = set()
        """Schedules that have been run."""
        self.replayed = 0
        self.dropped = 0
        """Orders after which the machine cannot take the step that comes first now."""
        self.undecided = 0
        """Questions that z3 gave up."""

    def predictions(self, run: SampledRun) -> Iterator[Prediction]:
        """Other runs, each once; first those of the run that is given, then those of the predicted ones that break
        nothing. None from a run that did not come to rest.
        """
        self.known.add(run.schedule)
        most = min(self.most, len(self.asked) + EACH)
        origins = [run]
        for origin in origins:
            if not origin.rested or len(self.asked) >= most:
                continue
            for found in self._from(origin, most):
                yield found
                if not found.run.broken:
                    origins.append(found.run)

    def _from(self, origin: SampledRun, most: int) -> Iterator[Prediction]:
        """From this run alone, until `most` races have been asked about."""
        happened = events(self.bare, origin.schedule)
        orders: Orders | None = None
        for race in races(happened):
            key = (happened[race.first], happened[race.then])
            if key in self.asked:
                continue
            if len(self.asked) >= most:
                return
            self.asked.add(key)
            orders = orders or Orders(self.bare, happened)
            order = orders.reversed(race)
            self.undecided += orders.gave_up
            if order is None:
                continue
            wrong = broken_by(self.bare.initial, happened, order)
            assert wrong is None, f"z3 proposed an order in which event {order[wrong]} reads what it did not read"
            yield from self._replayed(origin, happened, race, order)

    def _replayed(
        self, origin: SampledRun, happened: Sequence[Occurrence], race: Race, order: tuple[int, ...]
    ) -> Iterator[Prediction]:
        """What the machine makes of an order, with each way to go on from there."""
        begin = order if race.then in order else (*order, race.then)
        left = [n for n in range(len(happened)) if n not in set(begin)]
        held = happened[race.first].agent
        for rest in (left, sorted(left, key=lambda n: happened[n].agent == held))[: 1 + bool(left)]:
            steps = tuple(happened[n].step for n in (*begin, *rest))
            run = run_to_rest(self.machine, _follow(self.machine, steps))
            if run.schedule[: len(begin)] != steps[: len(begin)]:
                self.dropped += 1
                return
            if run.schedule not in self.known:
                self.known.add(run.schedule)
                self.replayed += 1
                yield Prediction(race, order, origin, run)


def _follow(machine: Machine, steps: Sequence[Step]) -> Chooser:
    """Take these steps; one that cannot be taken with this choice is taken with the first, or passed over."""
    moving = yield None
    for index, choice in steps:
        outcomes = dict(moving).get(index)
        if outcomes:
            moving = yield index, next((o for o in outcomes if o.choice == choice), outcomes[0])
    while True:
        index, outcomes = next((i, o) for i, o in moving if machine.agents[i].obligatory)
        moving = yield index, outcomes[0]


class Orders:
    """The feasible orders of one run, as constraints in difference logic: a clock `t` for each event, and `cut`. What is
    before the cut reads what it has read; `r<event>_<cell>` says that event does, of that cell.
    """

    def __init__(self, bare: Machine, happened: Sequence[Occurrence]) -> None:
        import z3

        self.z3: Any = z3
        self.run = happened
        self.context: Any = z3.Context()
        self.solver: Any = z3.SimpleSolver(ctx=self.context)
        self.solver.set("arith.solver", 3)  # difference logic; half the time that it takes by the name QF_IDL
        self.solver.set("random_seed", 0)
        self.solver.set("rlimit", EFFORT)
        self.gave_up = False
        """Whether z3 gave up on the last race."""
        self.text = ["(declare-const cut Int)", *(f"(declare-const t{n} Int)" for n in range(len(happened)))]
        self.last: dict[int, int] = {}
        """By agent: its last event."""
        for n, event in enumerate(happened):
            if event.agent in self.last:
                self._require(f"(< t{self.last[event.agent]} t{n})")
            self.last[event.agent] = n
        self.constrained: dict[int, dict[int, str]] = {n: {} for n in range(len(happened))}
        """By event, by the mask of a cell that others write: the name of the constraint."""
        self.initial = bare.initial
        self.cells = {cell.mask: number for number, cell in enumerate(bare.layout.cells.values()) if cell.mask}
        for mask, number in self.cells.items():
            self._reads_of(number, mask, self.initial & mask)
        for n, names in self.constrained.items():
            if names:
                self._require(f"(=> (< t{n} cut) (and {' '.join(names.values())}))")
        self.solver.from_string("\n".join(self.text))

    def _require(self, formula: str) -> None:
        self.text.append(f"(assert {formula})")

    def _reads_of(self, number: int, mask: int, initial: int) -> None:
        """Each read of one cell: some write of what it saw comes before it, and none of anything else in between."""
        writes = [(n, e.agent, e.add & mask) for n, e in enumerate(self.run) if e.writes & mask]
        for n, event in enumerate(self.run):
            others = [w for w in writes if w[1] != event.agent]
            if not event.reads & mask or not others:
                continue
            seen = event.seen & mask
            own = [w for w in writes if w[1] == event.agent and w[0] < n]
            wrong = [f"t{m}" for m, _, value in others if value != seen]
            overwritten = next((f"t{m}" for m, _, value in reversed(own) if value != seen), "")
            sources = [f"t{m}" for m, _, value in others if value == seen]
            ways: list[str] = []
            if own and own[-1][2] == seen:
                ways.append(_undisturbed(f"t{own[-1][0]}", f"t{n}", wrong))
            elif not own and seen == initial:
                ways.append(" ".join(["and true", *(f"(< t{n} {w})" for w in wrong)]))
            for source in sources:
                mine = [overwritten] if overwritten else []
                ways.append(f"and (< {source} t{n}) ({_undisturbed(source, f't{n}', [*wrong, *mine])})")
            name = f"r{n}_{number}"
            self.text.append(f"(declare-const {name} Bool)")
            self._require(f"(=> {name} (or false {' '.join(f'({way})' for way in ways)}))")
            self.constrained[n][mask] = name

    def reversed(self, race: Race) -> tuple[int, ...] | None:
        """Numbers of events up to the one that came later and now comes first: all of them if all can keep what they read,
        else those before it. None if there is no such order, or z3 gives up.
        """
        first, then = self._clock(race.first), self._clock(race.then)
        cut = self.z3.Int("cut", self.context)
        self.gave_up = False
        if self._may_keep(race.then, race.first):
            whole = self._solve(then < first, *(self._clock(n) < cut for n in self.last.values()))
            if whole is not None:
                return whole
        needs = [name for mask, name in self.constrained[race.then].items() if mask & self.run[race.then].needs]
        return self._solve(then < first, cut == then, *(self.z3.Bool(name, self.context) for name in needs))

    def _may_keep(self, reader: int, writer: int) -> bool:
        """Whether an event can read what it has read without this write: nothing that it read is from there alone."""
        read, mine = self.run[reader], self.run[writer]
        for mask, number in self.cells.items():
            if not mask & read.reads & mine.writes or (mine.add ^ read.seen) & mask:
                continue
            value = read.seen & mask
            others = any(e.writes & mask and e.add & mask == value for n, e in enumerate(self.run) if n != writer)
            if not others and value != self.initial & mask:
                return False
        return True

    def _clock(self, number: int) -> Any:
        return self.z3.Int(f"t{number}", self.context)

    def _solve(self, *wanted: Any) -> tuple[int, ...] | None:
        self.solver.push()
        self.solver.add(*wanted)
        found = self.solver.check()
        order = self._order() if found == self.z3.sat else None
        self.gave_up |= found == self.z3.unknown
        self.solver.pop()
        return order

    def _order(self) -> tuple[int, ...]:
        """What is before the cut. Read from the model as text: asking for each clock takes longer than solving."""
        shown = _CLOCK.findall(self.solver.model().sexpr())
        times = {name: int(digits) * (-1 if minus else 1) for name, minus, digits in shown}
        timed = sorted((times.get(f"t{n}", 0), n) for n in range(len(self.run)))  # not shown: any time does
        return tuple(n for time, n in timed if time < times["cut"])


def _undisturbed(source: str, read: str, wrong: Sequence[str]) -> str:
    """No write of anything else between the two."""
    return " ".join(["and true", *(f"(or (< {w} {source}) (< {read} {w}))" for w in wrong)])
