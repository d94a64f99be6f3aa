"""Directed schedules: is there a run of a scenario that fits these constraints, and does any that fits break a clause?

z3 proposes an order of the named operations that satisfies every constraint. The machine, exploring every run of the
scenario within its bounds, either realizes that order or says how far any run gets with it; the part that no run has is
a fact that z3 is told, and it proposes another order. When it has none left, its unsat core says which constraints
exclude each other, and because of which facts. Both sides are complete: there are finitely many orders of finitely many
names, and each is decided by exploring all runs (counterexample-guided, as E. Clarke and others, CAV 2000, refine an
abstraction). What is reported was replayed: the schedule that is shown is one that the machine has run.

An unnumbered name is bound to the first occurrence that comes when it is its turn; if any occurrences fit, these do.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from conformance.adapters.registry import Implementation, resolve
from conformance.machine.build import in_machine
from conformance.machine.finding import Witness
from conformance.machine.machine import Machine
from conformance.ordering.directed import FITS, Directed, searched
from conformance.ordering.names import BadConstraint, Before, Constraint, Name, Reached, names, parse, unknown
from conformance.ordering.vocabulary import misspelt
from conformance.roles import environments
from conformance.roles.nearest import nearest
from conformance.roles.scenario import Scenario
from conformance.search.proof import shortest
from conformance.search.trace import trace
from conformance.verdict.clause import Clause, Counterexample, Status, Verdict
from conformance.verdict.explore import MOST_STATES, document
from conformance.verdict.suite import Suite, load_suite

MOST_ORDERS = 120


@dataclass(slots=True)
class Answer:
    """What became of the constraints in one scenario."""

    scenario: str
    fits: Counterexample | None = None
    """The least run that fits them, if any does."""
    verdicts: list[Verdict] = field(default_factory=list)
    """What runs that fit break, each with the least such run; guarantees first."""
    why_not: str = ""
    """Where none fits: what excludes it."""
    undecided: str = ""
    states: int = 0
    orders: int = 0
    """Orders of the named operations that were tried."""

    @property
    def violated(self) -> bool:
        return any(v.status is Status.VIOLATED for v in self.verdicts)


def order(
    implementation: Implementation,
    scenario: Scenario,
    suite: Suite,
    constraints: Sequence[Constraint],
    *,
    profile: str = "",
    most: int = MOST_STATES,
) -> Answer:
    """Decide the constraints in one scenario. Raises BadConstraint for a name that nothing in it has, Fault where the
    implementation misbehaves.
    """
    return _Question(implementation, scenario, suite, constraints, profile or implementation.profile, most).answer()


class _Question:
    def __init__(
        self,
        implementation: Implementation,
        scenario: Scenario,
        suite: Suite,
        constraints: Sequence[Constraint],
        profile: str,
        most: int,
    ) -> None:
        import z3

        self.implementation, self.scenario, self.suite = implementation, scenario, suite
        self.constraints, self.profile, self.most = constraints, profile, most
        self.never = tuple(c.name for c in constraints if isinstance(c, Reached) and c.never)
        self.named = tuple(
            dict.fromkeys(n for c in constraints if not (isinstance(c, Reached) and c.never) for n in names([c]))
        )
        self.z3: Any = z3
        self.context: Any = z3.Context()
        self.solver: Any = z3.SolverFor("QF_IDL", ctx=self.context)
        self.solver.set("random_seed", 0)
        self.told: dict[str, str] = {}
        """By the name of a tracked assertion: what it says."""
        self.done = Answer(scenario.name)

    def answer(self) -> Answer:
        self._assert_constraints()
        while self.done.orders < MOST_ORDERS:
            match self.solver.check():
                case self.z3.unsat:
                    if not self.done.fits:
                        self.done.why_not = self._core()
                    return self.done
                case self.z3.unknown:
                    self.done.undecided = f"z3 gave up: {self.solver.reason_unknown()}"
                    return self.done
            if not self._try(self._proposed()):
                return self.done
        self.done.undecided = f"more than {MOST_ORDERS} orders satisfy the constraints; give more of them"
        return self.done

    def _clock(self, name: Name) -> Any:
        return self.z3.Int(f"t{self.named.index(name)}", self.context)

    def _assert_constraints(self) -> None:
        clocks = [self._clock(name) for name in self.named]
        if len(clocks) > 1:
            self.solver.add(self.z3.Distinct(*clocks))
        for constraint in self.constraints:
            if isinstance(constraint, Before):
                self._track(self._clock(constraint.first) < self._clock(constraint.then), f"you ask for {constraint}")
        for name in self.never:
            self.told[f"never {name.text}"] = f"you ask for not reached {name.text}"

    def _track(self, formula: Any, told: str) -> None:
        tag = f"a{len(self.told)}"
        self.told[tag] = told
        self.solver.assert_and_track(formula, self.z3.Bool(tag, self.context))

    def _proposed(self) -> tuple[Name, ...]:
        model = self.solver.model()
        times = {name: model.eval(self._clock(name), model_completion=True).as_long() for name in self.named}
        return tuple(sorted(self.named, key=lambda name: (times[name], self.named.index(name))))

    def _try(self, chain: tuple[Name, ...]) -> bool:
        """Let the machine do it. False if that could not be decided."""
        self.done.orders += 1
        machine, explored = searched(self.implementation, self.scenario, self.suite, chain, self.never, self.most)
        self.done.states = max(self.done.states, explored.states)
        if self.done.orders == 1:
            self._check_names(machine)
        if not explored.complete:
            self.done.undecided = f"scenario {self.scenario.name} hit the bound of {explored.states:,} states"
            return False
        if FITS.clause not in explored.witnessed:
            self._learn(chain, machine)
            return True
        machine.assembly.recheck()
        broken = {*explored.breached, *explored.at_rest}
        found = shortest(machine, broken)
        if not self.done.fits and (least := shortest(machine, {FITS.clause}, kind=Witness).get(FITS.clause)):
            self.done.fits = Counterexample(
                scenario=self.scenario.name, switches=least.switches, steps=least.steps, at_rest=True, witness=True,
                reason="", architecture=self.scenario.architecture, trace=trace(machine, least),
            )  # fmt: skip
        known = {v.clause.id for v in self.done.verdicts}
        for clause in self.suite.clauses:
            if (
                clause.id in broken
                and clause.id in found
                and clause.id not in known
                and (status := self._status(clause))
            ):
                shown = document(machine, found[clause.id], self.implementation, self.profile)
                evidence = f"in runs that fit the constraints, of all runs of scenario {self.scenario.name}"
                self.done.verdicts.append(
                    Verdict(
                        clause=clause, implementation=self.implementation.name, profile=self.profile, status=status,
                        evidence=evidence, counterexample=shown,
                    )
                )  # fmt: skip
        self.done.verdicts.sort(key=lambda v: v.status is not Status.VIOLATED)
        self._exclude(chain)
        return True

    def _status(self, clause: Clause) -> Status | None:
        if clause.id in self.implementation.not_applicable or self.profile not in clause.profiles:
            return None
        if clause.waived.get(self.profile) or clause.modality == "MAY":
            return None
        return Status.VIOLATED if clause.kind == "guarantee" else Status.DEVIATES

    def _check_names(self, machine: Directed) -> None:
        labels = list(machine.labels())
        for name in (*self.named, *self.never):
            if not any(name.matches(label) for label in labels):
                raise BadConstraint(f"in scenario {self.scenario.name} {unknown(name, labels)}")

    def _learn(self, chain: tuple[Name, ...], machine: Directed) -> None:
        """The least part of the chain that no run has in this order, as a fact."""
        if self.never and not self._possible(()):
            self._track(self.z3.BoolVal(False, self.context), f"every run that comes to rest has {self._unwanted()}")
            return
        part = chain[: machine.furthest() + 1]
        for name in part[:-1]:
            shorter = tuple(n for n in part if n is not name)
            if len(shorter) > 1 and not self._possible(shorter):
                part = shorter
        because = ""
        if self.never and self._possible(part, ()):
            because = f" without {self._unwanted()}"
        told = f"in no run that comes to rest{because} {self._sequence(part)}"
        if len(part) == 1:
            self._track(self.z3.BoolVal(False, self.context), told)
        else:
            self._track(self.z3.Not(self._in_order(part)), told)

    def _unwanted(self) -> str:
        return " or ".join(name.text for name in self.never)

    def _possible(self, chain: tuple[Name, ...], never: tuple[Name, ...] | None = None) -> bool:
        never = self.never if never is None else never
        _, explored = searched(self.implementation, self.scenario, self.suite, chain, never, self.most)
        return FITS.clause in explored.witnessed or not explored.complete

    def _sequence(self, part: Sequence[Name]) -> str:
        if len(part) == 1:
            return f"is there {part[0].text}"
        return f"does {part[0].text} come before {', and that before '.join(n.text for n in part[1:])}"

    def _in_order(self, chain: Sequence[Name]) -> Any:
        return self.z3.And([self._clock(a) < self._clock(b) for a, b in itertools.pairwise(chain)])

    def _exclude(self, chain: tuple[Name, ...]) -> None:
        self.solver.add(self.z3.Not(self._in_order(chain)) if len(chain) > 1 else self.z3.BoolVal(False, self.context))

    def _core(self) -> str:
        core = sorted((str(tag) for tag in self.solver.unsat_core()), key=lambda tag: int(tag[1:]))
        asked = [self.told[tag] for tag in core]
        if any(" without " in fact or fact.startswith("every run ") for fact in asked):
            asked += [text for tag, text in self.told.items() if tag.startswith("never ")]
        return "; ".join(asked) + "."


def _misspelt(
    implementation: Implementation, scenario: Scenario, suite: Suite, constraints: Sequence[Constraint]
) -> str:
    """Why some name is none of this scenario's, known without a search; "" if each may be."""

    def first(machine: Machine) -> str:
        return next(filter(None, (misspelt(name, machine) for name in names(constraints))), "")

    return in_machine(implementation, scenario, suite, first)


def nameable(adapter: str, scenario: str) -> list[str]:
    """All that can be named in a scenario, as it can be written, in order. Raises AdapterError, BadConstraint, Fault."""
    suite, implementation = load_suite(), resolve(adapter)
    found = _known(suite, [scenario])[scenario]
    if not implementation.takes_part(found):
        raise BadConstraint(f"{implementation.name} fills {implementation.fills()}; it takes no part in {scenario}")
    machine, _ = searched(implementation, found, suite, (), (), MOST_STATES)
    return sorted({f"{did.agent}.{did.brief}" for did in machine.labels()})


def _known(suite: Suite, asked: Sequence[str]) -> dict[str, Scenario]:
    """Scenarios that are explored exhaustively, by name. Raises BadConstraint where one of those asked for is none."""
    known = {s.name: s for s in suite.scenarios if not s.samples}
    for name in asked:
        if name not in known:
            raise BadConstraint(f"no scenario is called {name!r}. {nearest(name, known)} All: intack list scenarios")
    return known


def schedules(adapter: str, *texts: str, scenarios: Sequence[str] = (), profile: str = "") -> list[Answer]:
    """The constraints in every scenario that is explored exhaustively and knows the names, or in those given.

    Left out are scenarios of an architecture that the implementation fills no role of, those it lacks something for, and
    unless they are given, those of hardware that the architecture does not allow.
    `adapter` is a SPEC as `intack run` takes it. Raises AdapterError, BadConstraint, Fault.
    """
    constraints = parse(texts)
    suite, implementation = load_suite(), resolve(adapter)
    known = _known(suite, scenarios)
    answers: list[Answer] = []
    missing: list[BadConstraint] = []
    for scenario in [known[name] for name in scenarios or known if scenarios or known[name].story]:
        if not implementation.takes_part(scenario):
            continue
        if not scenarios and set(scenario.facts) & environments().keys():
            continue
        if error := _misspelt(implementation, scenario, suite, constraints):
            missing.append(BadConstraint(f"in scenario {scenario.name} {error}"))
            continue
        try:
            answers.append(order(implementation, scenario, suite, constraints, profile=profile))
        except BadConstraint as error:
            missing.append(error)
    if not answers:
        where = f"of {', '.join(scenarios)}" if scenarios else "that is explored exhaustively"
        none = f"{implementation.name} fills {implementation.fills()}; it takes part in no scenario {where}"
        raise missing[0] if missing else BadConstraint(none)
    return answers
