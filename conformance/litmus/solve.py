"""A litmus test decided by z3: is there an execution that the model allows, and that satisfies the condition?

For each combination of paths one problem in difference logic (QF_IDL), written as SMT-LIB text, which any solver reads
and which z3 reads three times as fast as its Python interface builds the same terms. Each event has two integer clocks:
`u` for coherence, `g` for the order the model keeps. An edge of the model is `(< g1 g2)`; what depends on a choice (who
reads from whom, which of two writes is first) hangs on a Bool. `axioms.forbidden`, which is no solver, checks every
execution that comes back.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, NamedTuple

from conformance.litmus.axioms import Execution, Model, bits, forbidden, hazards, kept, wholes
from conformance.litmus.condition import Condition, Held, Register, Term
from conformance.litmus.program import Combination, Outcome, Part, Program, joined
from conformance.litmus.thread import MemoryEvent
from conformance.litmus.values import Address, Concrete, Read, Unsupported, Value, mask, same

MOST_CASES = 4096


class Undecided(Exception):
    """The solver gave up; the message says why."""


@dataclass(frozen=True, slots=True)
class Found:
    """An execution that z3 found and `forbidden` passed."""

    combination: Combination
    execution: Execution
    returned: Mapping[Read, Concrete]


Alternatives = list[tuple[str, Concrete]]
"""What a term may be: (formula under which it is, value). Exclusive, and one of them holds."""


class Facet(NamedTuple):
    """A part of the final state: a register, a location that is in one piece (`part` is None), or a piece of one."""

    part: Part | None
    may_be: Alternatives

    def of(self, whole: Concrete) -> Concrete:
        """Its share of the value of the whole."""
        if self.part is None:
            return whole
        if not isinstance(whole, int):
            raise Unsupported(f"{self.part.at}, compared with a part of the address {whole}")
        return whole >> self.part.shift & mask(self.part.size)

    def fits(self, value: Concrete, whole: Concrete) -> bool:
        return same(value, whole) if self.part is None else value == self.of(whole)


class Encoding:
    """The problem of one combination of paths."""

    def __init__(self, combination: Combination, model: Model) -> None:
        self.combination = combination
        self.model: Model = model
        self.text: list[str] = []
        self.co: dict[tuple[Read, Read], str] = {}
        self.sources: dict[Read, list[MemoryEvent | None]] = {r.name: combination.sources(r) for r in combination.reads}
        self.domains: dict[Read, tuple[Concrete, ...]] = {}
        self.whole: list[list[list[MemoryEvent]]] = []
        """By thread and event: the pieces of its access;"""
        self.hazards: list[list[list[MemoryEvent]]] = []
        """and the earlier reads that overlap it."""
        self._domains()
        self._order()
        for order in combination.writes.values():
            self._coherence(order)
        for read in combination.reads:
            self._reads_from(read)
        self._values()

    def declare(self, name: str, sort: str = "Bool") -> str:
        self.text.append(f"(declare-const {name} {sort})")
        return name

    def require(self, formula: str) -> None:
        self.text.append(f"(assert {formula})")

    # Order

    def _order(self) -> None:
        """Clocks, and the edges that every execution of these paths has."""
        for path in self.combination.paths:
            last: dict[Address, MemoryEvent] = {}
            for event in path.events:
                if event.kind == "F" or event.at is None:
                    continue
                self.declare(_u(event), "Int")
                self.declare(_g(event), "Int")
                if before := last.get(event.at):
                    self.require(f"(< {_u(before)} {_u(event)})")
                last[event.at] = event
            order = kept(self.model, path.events)
            for event, after in zip(path.events, order, strict=True):
                implied = 0
                for later in path.events[event.index + 1 :]:
                    if after >> later.index & 1 and not implied >> later.index & 1:
                        self.require(f"(< {_g(event)} {_g(later)})")
                        implied |= order[later.index]
            whole = [[path.events[n] for n in bits(mask)] for mask in wholes(path.events)]
            before = hazards(path.events) if self.model == "armv8" else [0] * len(path.events)
            self.whole.append(whole)
            self.hazards.append([[path.events[n] for n in bits(mask)] for mask in before])

    def _observed(self, first: MemoryEvent, then: MemoryEvent, *, hazards: bool = False) -> str:
        """That one event is before another of another thread, and so before the whole of its access."""
        parts = [f"(< {_u(first)} {_u(then)})"]
        before = [first, *(self.hazards[first.thread][first.index] if hazards else ())]
        parts += [f"(< {_g(a)} {_g(b)})" for a in before for b in self.whole[then.thread][then.index]]
        return f"(and {' '.join(parts)})"

    def _coherence(self, writes: Sequence[MemoryEvent]) -> None:
        for n, a in enumerate(writes):
            for b in writes[n + 1 :]:
                if a.thread == b.thread:
                    self.co[a.name, b.name], self.co[b.name, a.name] = "true", "false"
                    continue
                name = self.declare(f"co{_n(a)}{_n(b)}")
                self.co[a.name, b.name], self.co[b.name, a.name] = name, f"(not {name})"
                self.require(f"(=> {name} {self._observed(a, b)})")
                self.require(f"(or {name} {self._observed(b, a)})")

    def _reads_from(self, read: MemoryEvent) -> None:
        assert read.at
        names = [self.declare(_rf(read, source)) for source in self.sources[read.name]]
        self.require(f"(or {' '.join(names)})")
        for n, name in enumerate(names):
            for other in names[n + 1 :]:
                self.require(f"(or (not {name}) (not {other}))")
        own = next(
            (w for w in self.combination.writes[read.at] if w.thread == read.thread and w.rmw == read.index), None
        )
        for name, source in zip(names, self.sources[read.name], strict=True):
            if source and source.thread != read.thread:
                self.require(f"(=> {name} {self._observed(source, read)})")
            for later in self.combination.writes[read.at]:
                if later is source:
                    continue
                before = self.co[source.name, later.name] if source else "true"
                if before == "false":
                    continue
                self._overwritten(read, name if before == "true" else f"(and {name} {before})", later, own)

    def _overwritten(self, read: MemoryEvent, when: str, later: MemoryEvent, own: MemoryEvent | None) -> None:
        """From-read: `read` sees a write that `later` overwrites."""
        if later.thread == read.thread:
            if later.index < read.index:
                self.require(f"(not {when})")
            return
        self.require(f"(=> {when} {self._observed(read, later, hazards=True)})")
        if own:
            self.require(f"(=> {when} {self.co[own.name, later.name]})")

    # Values

    def _domains(self) -> None:
        """What each read may return here: less than its location may ever hold, where its writes write constants."""
        for read in self.combination.reads:
            assert read.at
            values: dict[Concrete, None] = {}
            for source in self.sources[read.name]:
                written = source.value if source else None
                if written is None:
                    values[self.combination.program.initial(read)] = None
                elif not written.support:
                    values[written.constant] = None
                else:
                    values.update(dict.fromkeys(self.combination.program.memory.written[read.at]))
            self.domains[read.name] = tuple(values)

    def _values(self) -> None:
        """One Bool for each value that a read or write may have; only of those that something depends on."""
        for read in self.combination.reads:
            for k in range(len(self.domains[read.name])):
                self.declare(_v(read.name, k))
        for read in self.combination.reads:
            for k in range(len(self.domains[read.name])):
                for m in range(k):
                    self.require(f"(or (not {_v(read.name, k)}) (not {_v(read.name, m)}))")
            for source in self.sources[read.name]:
                rf = _rf(read, source)
                for when, value in self._written(read, source):
                    if value in self.domains[read.name]:
                        holds = _v(read.name, self.domains[read.name].index(value))
                        self.require(f"(=> {_all(rf, when)} {holds})")
                    else:
                        self.require(f"(not {_all(rf, when)})")
        for path in self.combination.paths:
            for value, wanted in path.conditions:
                for when, result in self.alternatives(value):
                    if result != wanted:
                        self.require(f"(not {when})")

    def _written(self, read: MemoryEvent, source: MemoryEvent | None) -> Alternatives:
        assert read.at
        if source is None or source.value is None:
            return [("true", self.combination.program.initial(read))]
        return self.alternatives(source.value)

    def alternatives(self, value: Value) -> Alternatives:
        if not value.support:
            return [("true", value.constant)]
        cases = 1
        for name in value.support:
            cases *= len(self.domains[name])
        if cases > MOST_CASES:
            raise Unsupported(f"a value with {cases} cases")
        found: Alternatives = []
        for returned, result in value.cases(self.domains):
            literals = [_v(n, self.domains[n].index(v)) for n, v in zip(value.support, returned, strict=True)]
            found.append((_all(*literals), result))
        return found

    # The question

    def facets(self, term: Term) -> list[Facet]:
        """What each piece of a term of the final state may be."""
        if isinstance(term, Register):
            value = self.combination.paths[term.thread].registers.get(term.name)
            return [Facet(None, self.alternatives(value) if value else [("true", 0)])]
        parts = self.combination.program.parts(term)
        return [Facet(part if len(parts) > 1 else None, self._part(part)) for part in parts]

    def _part(self, part: Part) -> Alternatives:
        writes = self.combination.writes.get(part.at, [])
        if not writes:
            return [("true", self.combination.program.test.initial(part.at, part.size))]
        found: Alternatives = []
        for last in writes:
            is_last = _all(*(self.co[w.name, last.name] for w in writes if w is not last))
            if is_last != "false" and last.value:
                found += [(_all(is_last, when), value) for when, value in self.alternatives(last.value)]
        return found

    def formula(self, condition: Condition) -> str:
        match condition.op:
            case "true":
                return "true"
            case "not":
                return f"(not {self.formula(condition.parts[0])})"
            case "and" | "or":
                return f"({condition.op} {' '.join(map(self.formula, condition.parts))})"
            case "=":
                return self._equal(condition)

    def _equal(self, condition: Condition) -> str:
        """Piece by piece with a number, and else value by value."""
        assert condition.left is not None
        program, right = self.combination.program, condition.right
        left = self.facets(program.whole(condition.left))
        if isinstance(right, Held):
            pairs = product(_joined(left), _joined(self.facets(program.whole(right.term))))
            return _any([_all(a, b) for (a, x), (b, y) in pairs if same(x, y)])
        return _all(*(_any([when for when, v in facet.may_be if facet.fits(v, right)]) for facet in left))


def _joined(facets: Sequence[Facet]) -> Alternatives:
    if len(facets) == 1:
        return facets[0].may_be
    if prod(len(facet.may_be) for facet in facets) > MOST_CASES:
        raise Unsupported(f"a location that may hold one of more than {MOST_CASES} values, compared with another")
    found: Alternatives = []
    for chosen in product(*(facet.may_be for facet in facets)):
        if (when := _all(*(formula for formula, _ in chosen))) != "false":
            values = [(value, facet.part) for (_, value), facet in zip(chosen, facets, strict=True) if facet.part]
            found.append((when, joined(values)))
    return found


def _n(event: MemoryEvent) -> str:
    return f"_{event.thread}_{event.index}"


def _u(event: MemoryEvent) -> str:
    return f"u{_n(event)}"


def _g(event: MemoryEvent) -> str:
    return f"g{_n(event)}"


def _v(read: Read, case: int) -> str:
    return f"v_{read[0]}_{read[1]}_{case}"


def _rf(read: MemoryEvent, source: MemoryEvent | None) -> str:
    return f"rf{_n(read)}{_n(source) if source else '_init'}"


def _all(*formulas: str) -> str:
    left = [f for f in dict.fromkeys(formulas) if f != "true"]
    if "false" in left:
        return "false"
    return left[0] if len(left) == 1 else f"(and {' '.join(left)})" if left else "true"


def _any(formulas: Sequence[str]) -> str:
    if "true" in formulas:
        return "true"
    return formulas[0] if len(formulas) == 1 else f"(or {' '.join(formulas)})" if formulas else "false"


class Solver:
    """Asks z3 about one program under one model; `seconds` is for the whole program.

    Seeds are fixed. With `alone` nothing asked before in this process is in z3's memory, so that it answers with the
    same execution again, not only with the same verdict; that costs some milliseconds.
    """

    def __init__(self, program: Program, model: Model, seconds: float = 60, alone: bool = False) -> None:
        import z3

        self.z3: Any = z3
        self.context: Any = z3.Context() if alone else z3.main_ctx()
        self.program = program
        self.model: Model = model
        self.until = time.monotonic() + seconds
        self.seconds = seconds

    def _check(self, solver: Any, *assumptions: Any) -> bool:
        left = self.until - time.monotonic()
        solver.set("timeout", max(1, int(left * 1000)))
        answer = solver.check(*assumptions) if left > 0 else self.z3.unknown
        if answer == self.z3.unknown:
            why = solver.reason_unknown() if left > 0 else "no time was left"
            raise Undecided(f"z3 gave up within {self.seconds:g} s: {why}")
        return answer == self.z3.sat

    def _asked(self, encoding: Encoding) -> tuple[Any, Any]:
        """A solver that holds the problem, and the Bool that says that the test's condition is satisfied."""
        test = self.program.test
        text = [*encoding.text, f"(declare-const C Bool)(assert (= C {encoding.formula(test.condition)}))"]
        if test.filtered:
            text.append(f"(assert {encoding.formula(test.filtered)})")
        solver = self.z3.SolverFor("QF_IDL", ctx=self.context)
        solver.set("random_seed", 0)
        solver.from_string("\n".join(text))
        return solver, self.z3.Bool("C", self.context)

    def _found(self, solver: Any, encoding: Encoding) -> Found:
        """The model as an execution, which must pass without z3."""
        model = solver.model()
        true = {d.name() for d in model.decls() if self.z3.is_true(model[d])}
        made = encoding.combination
        rf: dict[Read, Read | None] = {}
        for read in made.reads:
            source = next(s for s in encoding.sources[read.name] if _rf(read, s) in true)
            rf[read.name] = source.name if source else None
        co: dict[Address, tuple[Read, ...]] = {}
        for at, writes in made.writes.items():
            names = [w.name for w in writes]

            def earlier(name: Read, names: list[Read] = names) -> int:
                return sum(_is_true(encoding.co[other, name], true) for other in names if other != name)

            co[at] = tuple(sorted(names, key=earlier))
        execution = Execution([path.events for path in made.paths], rf, co)
        returned = made.returned(rf)
        wrong = (
            "its values fit no run"
            if returned is None or not made.taken(returned)
            else forbidden(execution, self.model)
        )
        if wrong or returned is None:
            raise AssertionError(f"{self.program.test.name}: z3's execution does not stand: {wrong}")
        return Found(made, execution, returned)

    def ask(self) -> tuple[Found | None, Found | None]:
        """An execution that satisfies the test's condition, and one that does not; None where there is none."""
        yes: Found | None = None
        no: Found | None = None
        for combination in self.program.combinations():
            if yes and no:
                break
            encoding = Encoding(combination, self.model)
            solver, asked = self._asked(encoding)
            for wanted in (True, False):
                if yes if wanted else no:
                    continue
                if not self._check(solver, asked if wanted else self.z3.Not(asked)):
                    continue
                found = self._found(solver, encoding)
                if found.combination.satisfies(found.execution, found.returned, self.program.test.condition) != wanted:
                    raise AssertionError(f"{self.program.test.name}: z3's execution answers another question")
                if wanted:
                    yes = found
                else:
                    no = found
        return yes, no

    def outcomes(self) -> Iterator[Outcome]:
        """Every outcome once."""
        return (outcome for outcome, _ in self.executions())

    def executions(self) -> Iterator[tuple[Outcome, Found]]:
        """Every outcome once, with an execution: each that is found is excluded from then on."""
        seen: list[Outcome] = []
        for combination in self.program.combinations():
            encoding = Encoding(combination, self.model)
            facets = [(n, facet) for n, term in enumerate(self.program.observed()) for facet in encoding.facets(term)]
            names = [self._named(encoding, n, facet) for n, (_, facet) in enumerate(facets)]
            solver, _ = self._asked(encoding)
            excluded = 0
            while True:
                for outcome in seen[excluded:]:
                    shows = [of.get(facet.of(outcome[n])) for (n, facet), of in zip(facets, names, strict=True)]
                    if None not in shows:
                        solver.add(self.z3.Not(self.z3.And([self.z3.Bool(name, self.context) for name in shows])))
                excluded = len(seen)
                if not self._check(solver):
                    break
                found = self._found(solver, encoding)
                seen.append(combination.outcome(found.execution, found.returned))
                yield seen[-1], found

    @staticmethod
    def _named(encoding: Encoding, n: int, facet: Facet) -> dict[Concrete, str]:
        """By the value of a facet: the Bool that says that it has it."""
        holds: dict[Concrete, list[str]] = {}
        for formula, value in facet.may_be:
            holds.setdefault(value, []).append(formula)
        made: dict[Concrete, str] = {}
        for value, formulas in holds.items():
            made[value] = encoding.declare(f"o_{n}_{len(made)}")
            encoding.require(f"(= {made[value]} {_any(formulas)})")
        return made


def _is_true(formula: str, true: set[str]) -> bool:
    if formula.startswith("(not "):
        return formula[5:-1] not in true
    return formula == "true" or formula in true
