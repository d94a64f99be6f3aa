"""A litmus test as the models see it: every path of every thread, and the candidate executions they combine to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, permutations, product
from math import prod
from typing import NamedTuple

from conformance.litmus import aarch64, x86
from conformance.litmus.axioms import Execution, Model, forbidden
from conformance.litmus.condition import Condition, Register, Term
from conformance.litmus.parse import LitmusTest
from conformance.litmus.thread import MOST_CASES, Line, Memory, MemoryEvent, Path, Step, paths
from conformance.litmus.values import Address, Concrete, Read, Unsupported

MOST_PATHS = 20_000
MOST_VALUES = 64
MOST_WORK = 300_000
"""Of the reads of one piece of memory, its writes, and those again that may overwrite what is read."""

Outcome = tuple[Concrete, ...]
"""The values of the observed terms, in their order."""


def architecture_model(arch: str) -> Model:
    return "armv8" if arch == "AArch64" else "tso"


class Part(NamedTuple):
    """Some bytes of a location in the final state."""

    at: Address
    size: int
    shift: int


@dataclass(frozen=True, slots=True)
class Program:
    test: LitmusTest
    paths: Sequence[Sequence[Path]]
    """By thread."""
    memory: Memory

    @property
    def events(self) -> int:
        """Of the longest execution."""
        return sum(max((len(p.events) for p in of), default=0) for of in self.paths)

    def initial(self, event: MemoryEvent) -> Concrete:
        """What the piece of memory that an event accesses holds at first."""
        assert event.at
        return self.test.initial(event.at, event.size)

    def observed(self) -> tuple[Term, ...]:
        """The terms that the question is about, registers by their whole names, in order of mention."""
        terms = (*self.test.condition.terms(), *self.test.listed)
        return tuple(dict.fromkeys(self.whole(term) for term in terms))

    def whole(self, term: Term) -> Term:
        if isinstance(term, Register):
            return Register(term.thread, _register(self.test, term.name))
        return term

    def parts(self, at: Address) -> list[Part]:
        """The pieces of a location of the final state, lowest byte first."""
        end = at.offset + self.memory.size(at)
        cuts = sorted({at.offset, end, *(c for c in self.memory.cuts.get(at.symbol, ()) if at.offset < c < end)})
        return [Part(at._replace(offset=a), b - a, 8 * (a - at.offset)) for a, b in pairwise(cuts)]

    def combinations(self) -> Iterator[Combination]:
        for chosen in product(*self.paths):
            yield Combination(self, chosen)


@dataclass(slots=True)
class Combination:
    """One path for each thread: events are known, only `rf` and `co` are open."""

    program: Program
    paths: Sequence[Path]
    reads: list[MemoryEvent] = field(init=False)
    writes: dict[Address, list[MemoryEvent]] = field(init=False)

    def __post_init__(self) -> None:
        memory = [event for path in self.paths for event in path.events if event.kind != "F"]
        self.reads = [event for event in memory if event.kind == "R"]
        self.writes = {}
        for event in memory:
            assert event.at
            self.writes.setdefault(event.at, [])
            if event.kind == "W":
                self.writes[event.at].append(event)
        reads = Counter(read.at for read in self.reads)
        for at, writes in self.writes.items():
            if (1 + reads[at]) * len(writes) ** 2 > MOST_WORK:
                raise Unsupported(f"{reads[at]} reads and {len(writes)} writes of {at}")

    def event(self, name: Read) -> MemoryEvent:
        return self.paths[name[0]].events[name[1]]

    def sources(self, read: MemoryEvent) -> list[MemoryEvent | None]:
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
                if written is None:
                    values[read] = self.program.initial(self.event(read))
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
        found: list[tuple[Concrete, Part]] = []
        for part in self.program.parts(term):
            order = execution.co.get(part.at, ())
            last = self.event(order[-1]).value if order else None
            found.append((last.given(returned) if last else self.program.test.initial(part.at, part.size), part))
        return joined(found)

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


def _in_program_order(order: Sequence[MemoryEvent]) -> bool:
    return all(a.thread != b.thread or a.index < b.index for n, a in enumerate(order) for b in order[n + 1 :])


def joined(parts: Sequence[tuple[Concrete, Part]]) -> Concrete:
    """The value of a location from those of its pieces. Raises Unsupported where one is a part of an address."""
    if len(parts) == 1:
        return parts[0][0]
    word = 0
    for value, part in parts:
        if not isinstance(value, int):
            raise Unsupported(f"{part.at} holds the address {value}, and is part of a location")
        word |= value << part.shift
    return word


def build(test: LitmusTest) -> Program:
    """Run every thread until memory is in no more pieces, and no piece can hold a further value. Raises Unsupported.

    The models order a read before what depends on it, so a value comes to be by a chain of writes in which none stands
    twice; with each value the sets of writes are kept by which it can come to be, and so the rounds come to an end.
    """
    step = aarch64.step if test.arch == "AArch64" else x86.step
    start: list[dict[str, Concrete]] = [{} for _ in test.threads]
    for register, value in test.registers.items():
        start[register.thread][_register(test, register.name)] = value
    for term in (*test.condition.terms(), *test.listed):
        if isinstance(term, Register):
            _register(test, term.name)
    memory = Memory(test)
    while True:
        cuts = {symbol: frozenset(of) for symbol, of in memory.cuts.items()}
        made = _run(memory, step, start)
        for term in (*test.condition.terms(), *test.listed):
            if isinstance(term, Address):
                memory.pieces(term, memory.size(term))
        if cuts == memory.cuts:
            return Program(test, made, memory)


def _run(memory: Memory, step: Step, start: Sequence[Mapping[str, Concrete]]) -> list[list[Path]]:
    """All paths of all threads; if memory turns out to be in more pieces on the way, only some."""
    origins: Origins = {}
    memory.written = {}
    pieces = sum(map(len, memory.cuts.values()))
    while True:
        made = [_bounded(n, memory, step, start[n]) for n in range(len(memory.test.threads))]
        if pieces != sum(map(len, memory.cuts.values())) or not _grow(origins, made, memory.test):
            return made
        memory.written = {at: tuple(values) for at, values in origins.items()}


def _bounded(number: int, memory: Memory, step: Step, start: Mapping[str, Concrete]) -> list[Path]:
    made: list[Path] = []
    for path in paths(number, memory, step, start):
        made.append(path)
        if len(made) > MOST_PATHS:
            raise Unsupported(f"thread {number} has more than {MOST_PATHS} paths")
    return made


Origin = tuple[int, Line]
Origins = dict[Address, dict[Concrete, list[frozenset[Origin]]]]
"""By piece of memory and value: the least sets of writes, as (thread, line), that can bring it about."""


def _grow(origins: Origins, made: Sequence[Sequence[Path]], test: LitmusTest) -> bool:
    """Add every value that some path may write when reads return what is known; whether any was added."""
    grew = False
    for path in (path for of in made for path in of):
        for event in path.events:
            if event.at and event.at not in origins:
                origins[event.at] = {test.initial(event.at, event.size): [frozenset()]}
                grew = True
        reads = {e.name: e.at for e in path.events if e.kind == "R" and e.at}
        for event in path.events:
            if event.kind == "W" and event.at and event.value:
                support = [_pairs(origins[reads[name]]) for name in event.value.support]
                if prod(map(len, support)) > MOST_CASES:
                    raise Unsupported(f"{event.text}: more than {MOST_CASES} ways to a value")
                for chosen in product(*support):
                    used = frozenset[Origin]().union(*(writes for _, writes in chosen))
                    if (event.thread, event.line) not in used:
                        value = event.value.of(*(v for v, _ in chosen))
                        grew |= _add(origins[event.at], value, used | {(event.thread, event.line)}, event.at)
    return grew


def _pairs(values: Mapping[Concrete, list[frozenset[Origin]]]) -> list[tuple[Concrete, frozenset[Origin]]]:
    return [(value, writes) for value, sets in values.items() for writes in sets]


def _add(
    values: dict[Concrete, list[frozenset[Origin]]], value: Concrete, writes: frozenset[Origin], at: Address
) -> bool:
    sets = values.setdefault(value, [])
    if any(known <= writes for known in sets):
        return False
    sets[:] = [known for known in sets if not writes <= known] + [writes]
    if len(values) > MOST_VALUES:
        raise Unsupported(f"{at} may hold more than {MOST_VALUES} values")
    return True


def _register(test: LitmusTest, name: str) -> str:
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
