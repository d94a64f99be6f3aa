"""A litmus test as the models see it: every path of every thread, and the candidate executions they combine to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations, product

from conformance.ordering import aarch64, x86
from conformance.ordering.axioms import Execution, Model, forbidden
from conformance.ordering.condition import Condition, Register, Term
from conformance.ordering.litmus import Test
from conformance.ordering.thread import Event, Path, Step, Written, paths
from conformance.ordering.values import Address, Concrete, Read, Unsupported

MOST_PATHS = 20_000

Outcome = tuple[Concrete, ...]
"""The values of the observed terms, in their order."""


def architecture_model(arch: str) -> Model:
    return "armv8" if arch == "AArch64" else "tso"


@dataclass(frozen=True, slots=True)
class Program:
    test: Test
    paths: Sequence[Sequence[Path]]
    """By thread."""
    written: Written
    """Every value that a location may hold, the initial one included."""

    @property
    def events(self) -> int:
        """Of the longest execution."""
        return sum(max((len(p.events) for p in of), default=0) for of in self.paths)

    def initial(self, at: Address) -> Concrete:
        return self.test.memory.get(at, 0)

    def observed(self) -> tuple[Term, ...]:
        """The terms that the question is about, registers by their whole names, in order of mention."""
        return tuple(dict.fromkeys(self.whole(term) for term in self.test.condition.terms()))

    def whole(self, term: Term) -> Term:
        if isinstance(term, Register):
            return Register(term.thread, _register(self.test, term.name))
        return term

    def combinations(self) -> Iterator[Combination]:
        for chosen in product(*self.paths):
            yield Combination(self, chosen)


@dataclass(slots=True)
class Combination:
    """One path for each thread: events are known, only `rf` and `co` are open."""

    program: Program
    paths: Sequence[Path]
    reads: list[Event] = field(init=False)
    writes: dict[Address, list[Event]] = field(init=False)

    def __post_init__(self) -> None:
        memory = [event for path in self.paths for event in path.events if event.kind != "F"]
        self.reads = [event for event in memory if event.kind == "R"]
        self.writes = {}
        for event in memory:
            assert event.at
            self.writes.setdefault(event.at, [])
            if event.kind == "W":
                self.writes[event.at].append(event)

    def event(self, name: Read) -> Event:
        return self.paths[name[0]].events[name[1]]

    def sources(self, read: Event) -> list[Event | None]:
        """The writes that coherence lets a read of its own thread's past see; None is the initial value."""
        assert read.at
        mine = [w for w in self.writes[read.at] if w.thread == read.thread and w.index < read.index]
        others = [w for w in self.writes[read.at] if w.thread != read.thread]
        return [mine[-1] if mine else None, *others]

    def returned(self, rf: Mapping[Read, Read | None]) -> dict[Read, Concrete] | None:
        """What each read returns, or None if some value would come from nowhere."""
        values: dict[Read, Concrete] = {}
        waiting = dict(rf)
        while waiting:
            before = len(waiting)
            for read, source in list(waiting.items()):
                written = self.event(source).value if source else None
                at = self.event(read).at
                assert at
                if written is None:
                    values[read] = self.program.initial(at)
                elif all(name in values for name in written.support):
                    values[read] = written.given(values)
                else:
                    continue
                del waiting[read]
            if len(waiting) == before:
                return None
        return values

    def taken(self, returned: Mapping[Read, Concrete]) -> bool:
        return all(value.given(returned) == wanted for path in self.paths for value, wanted in path.conditions)

    def final(self, execution: Execution, returned: Mapping[Read, Concrete], term: Term) -> Concrete:
        term = self.program.whole(term)
        if isinstance(term, Register):
            value = self.paths[term.thread].registers.get(term.name)
            return value.given(returned) if value else 0
        order = execution.co.get(term, ())
        last = self.event(order[-1]).value if order else None
        return last.given(returned) if last else self.program.initial(term)

    def outcome(self, execution: Execution, returned: Mapping[Read, Concrete]) -> Outcome:
        return tuple(self.final(execution, returned, term) for term in self.program.observed())

    def satisfies(self, execution: Execution, returned: Mapping[Read, Concrete], condition: Condition | None) -> bool:
        return condition is None or condition.holds(lambda term: self.final(execution, returned, term))

    def executions(self) -> Iterator[tuple[Execution, dict[Read, Concrete]]]:
        """Every candidate whose values fit, allowed or not."""
        threads = [path.events for path in self.paths]
        for chosen in product(*(self.sources(read) for read in self.reads)):
            rf = {r.name: (w.name if w else None) for r, w in zip(self.reads, chosen, strict=True)}
            returned = self.returned(rf)
            if returned is None or not self.taken(returned):
                continue
            orders = [[o for o in permutations(of) if _in_program_order(o)] for of in self.writes.values()]
            for order in product(*orders):
                co = {at: tuple(w.name for w in o) for at, o in zip(self.writes, order, strict=True)}
                yield Execution(threads, rf, co), returned


def _in_program_order(order: Sequence[Event]) -> bool:
    return all(a.thread != b.thread or a.index < b.index for n, a in enumerate(order) for b in order[n + 1 :])


def build(test: Test) -> Program:
    """Run every thread until no location can hold a further value. Raises Unsupported.

    A value computed from reads needs a chain of writes, each in another event: the models order a read before what
    depends on it, so as many rounds as there are writes are enough.
    """
    step = aarch64.step if test.arch == "AArch64" else x86.step
    start: list[dict[str, Concrete]] = [{} for _ in test.threads]
    for register, value in test.registers.items():
        if register.thread < len(start):
            start[register.thread][_register(test, register.name)] = value
    for term in test.condition.terms():
        if isinstance(term, Register):
            _register(test, term.name)
    written: dict[Address, tuple[Concrete, ...]] = {at: (value,) for at, value in test.memory.items()}
    rounds = 0
    while True:
        made = [_bounded(n, test, written, step, start[n]) for n in range(len(test.threads))]
        grown = _grown(written, made)
        rounds += 1
        most = sum(max((sum(e.kind == "W" for e in p.events) for p in of), default=0) for of in made)
        if grown == written or rounds > most + 1:
            return Program(test, made, grown)
        written = grown


def _bounded(number: int, test: Test, written: Written, step: Step, start: Mapping[str, Concrete]) -> list[Path]:
    made: list[Path] = []
    for path in paths(number, test, written, step, start):
        made.append(path)
        if len(made) > MOST_PATHS:
            raise Unsupported(f"thread {number} has more than {MOST_PATHS} paths")
    return made


def _grown(written: Written, made: Sequence[Sequence[Path]]) -> dict[Address, tuple[Concrete, ...]]:
    """With every value that some path may write when reads return what is written so far."""
    holds: dict[Address, dict[Concrete, None]] = {at: dict.fromkeys(values) for at, values in written.items()}
    for path in (path for of in made for path in of):
        returns = {e.name: written.get(e.at, (0,)) for e in path.events if e.kind == "R" and e.at}
        for event in path.events:
            if event.at and event.at not in holds:
                holds[event.at] = {0: None}
            if event.kind == "W" and event.at and event.value:
                for _, value in event.value.cases(returns):
                    holds[event.at][value] = None
                    if len(holds[event.at]) > 64:
                        raise Unsupported(f"{event.at} may hold more than 64 values")
    return {at: tuple(values) for at, values in holds.items()}


def _register(test: Test, name: str) -> str:
    return (aarch64 if test.arch == "AArch64" else x86).register(name)


def enumerate_outcomes(program: Program, model: Model) -> set[Outcome]:
    """The outcomes of all allowed executions, one candidate after the other: the oracle for small tests."""
    found: set[Outcome] = set()
    for combination in program.combinations():
        for execution, returned in combination.executions():
            outcome = combination.outcome(execution, returned)
            fits = combination.satisfies(execution, returned, program.test.filtered)
            if fits and outcome not in found and not forbidden(execution, model):
                found.add(outcome)
    return found
