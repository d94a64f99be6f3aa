"""What a sequential clause is here: cases that Hypothesis draws, and a body that runs routines alone and judges.

    PIP_7 = PROCESSING.alone.must("PIP-7", "RVI becomes the larger of ...", SDM("29.6, step 6"))

    @function(CHECKS, PIP_7, "processor", states(), choices)
    def rvi(subject, state, choices): ...

The same implementation gets the same cases in every process, and a broken clause shrinks to the same smallest one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, NoReturn, Protocol, TypeAlias, TypeVar

from hypothesis import HealthCheck, Phase, given, reject, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisDeprecationWarning, Unsatisfiable, UnsatisfiedAssumption
from msgspec import structs

from conformance.adapters.registry import Implementation
from conformance.adapters.source import Fault
from conformance.automaton.alone import Alone, Memory, run_alone
from conformance.automaton.assembly import Assembled, Assembly, assemble
from conformance.automaton.unfold import Unfolding
from conformance.machine.clause import Clause
from conformance.roles import architectures
from conformance.roles import operations as ops
from conformance.roles.scenario import Scenario
from conformance.verdict.suite import Checked

VCPU = "vcpu0"
EXAMPLES, SEARCHES = 300, 5
MOST_OPERATIONS = 4_000
"""In all cases of a clause that are run again on changed code."""

EMPTY: Mapping[str, ops.Value] = {}

QUIET = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),  # pyright: ignore[reportArgumentType]
    report_multiple_bugs=False,
    print_blob=False,
)


class BrokenError(AssertionError):
    """The clause does not hold: the state before, what is due, and what came out."""


class UnjudgedError(Exception):
    """Nothing can be said; `status` is the verdict."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class GeneratedState(Protocol):
    """The architectural state of one vCPU and what runs it, as the manual speaks of it."""

    def memory(self) -> dict[str, ops.Value]: ...

    @staticmethod
    def of(memory: Mapping[str, ops.Value]) -> Any: ...

    def shown(self, *names: str) -> str: ...


S = TypeVar("S", bound=GeneratedState)


@dataclass(frozen=True)
class Ran(Generic[S]):
    """One routine of the hardware, run alone on one state."""

    call: str
    before: S
    after: S
    alone: Alone

    def must(self, due: S, *names: str) -> None:
        """Raise BrokenError unless the named fields came out as they are due."""
        wrong = [n for n in names if getattr(self.after, n) != getattr(due, n)]
        if wrong:
            self.broken(f"due is {due.shown(*wrong)}; found {self.after.shown(*wrong)}")

    def broken(self, how: str) -> NoReturn:
        raise BrokenError(f"{self.call} on {self.before}: {how}")


@dataclass
class Subject:
    """An implementation, assembled once for each set of facts."""

    implementation: Implementation
    architecture: str
    notes: set[str] = field(default_factory=set)
    """What the evidence says beside the count."""
    made: dict[tuple[Any, ...], Assembled] = field(default_factory=dict)

    def assembly(
        self, facts: tuple[str, ...] = (), cpus: int = 3, vcpus: int = 1, vectors: tuple[int, ...] = ()
    ) -> Assembly:
        """`vectors`: those of the architecture's example, if none are given."""
        kind = (facts, cpus, vcpus, vectors)
        if kind not in self.made:
            example = architectures()[self.architecture].example
            alike, vectors = example.vcpus[:1] * vcpus, vectors or example.vectors
            scenario = structs.replace(example, name="alone", cpus=cpus, vcpus=alike, vectors=vectors, facts=facts)
            self.made[kind] = Assembled(scenario, self.assembled(scenario))
        return self.made[kind].assembly

    def assembled(self, scenario: Scenario) -> Assembly:
        return assemble(self.implementation, scenario)

    def lacks(self, what: str) -> bool:
        return what in self.implementation.lacks

    def run(
        self,
        state: S,
        routine: str,
        *args: ops.Result,
        choices: Iterable[int] = (),
        facts: tuple[str, ...] = (),
        between: Callable[[int, Memory], None] | None = None,
        also: Mapping[str, ops.Value] = EMPTY,
    ) -> Ran[S]:
        """A routine of the hardware for this vCPU, to its end or its VM exit. `also` is memory beside the state."""
        memory = {**state.memory(), **also}
        assembly = self.assembly(facts)
        alone = run_alone(assembly, routine, (VCPU, *args), memory, choices, interrupts=False, between=between)
        ran = Ran(called(routine, *args) + chosen(alone), state, type(state).of(alone.memory), alone)
        if alone.ended not in ("returned", "exited"):
            ran.broken(f"it does not end, but is {alone.ended}")
        return ran

    def recheck(self) -> None:
        """Ask every question again. Raises Fault NONDETERMINISTIC."""
        for unfolding in {id(u): u for m in self.made.values() for u in m.assembly.routines.values()}.values():
            if unfolding.questions:
                unfolding.recheck()


def called(routine: str, *args: ops.Result, vcpu: str = VCPU) -> str:
    return f"{routine}({', '.join((vcpu, *(f'{a:#x}' if type(a) is int else str(a) for a in args)))})"


def chosen(alone: Alone) -> str:
    """Choices other than the first option."""
    taken = [
        a.operation.options[a.result]
        for a in alone.asked
        if isinstance(a.operation, ops.Choose) and isinstance(a.result, int) and a.result
    ]
    return f" choosing {', '.join(taken)}" if taken else ""


Body: TypeAlias = Callable[..., None]


@dataclass(frozen=True)
class Property:
    """The check of one clause. Called with an implementation it answers the evidence.

    Raises BrokenError, UnjudgedError, or the implementation's Fault.
    """

    clause: Clause
    roles: tuple[str, ...]
    """Whose routines run; who fills them is in the evidence."""
    cases: st.SearchStrategy[tuple[Any, ...]]
    body: Body
    needs: tuple[str, ...] = ()
    """What an implementation may declare to lack; the clause does not apply then."""

    def __call__(self, implementation: Implementation) -> str:
        for need in self.needs:
            if need in implementation.lacks:
                raise UnjudgedError("NOT APPLICABLE", f"the implementation declares that it lacks {need}")
        own = implementation.filled(self.clause.architecture)
        for role in self.roles:
            whole = architectures()[self.clause.architecture].roles[role].goes_with
            if whole in own and role not in own:
                raise UnjudgedError(
                    "NOT APPLICABLE", f"the implementation fills {whole}, and not {role}, which goes with it"
                )
        subject = Subject(implementation, self.clause.architecture)
        try:
            held = self.search(subject)
        except BrokenError as first:
            raise min((first, *self.search_again(subject)), key=lambda error: (len(str(error)), str(error))) from None
        subject.recheck()
        return self.evidence(subject, held)

    def cases_for(self, implementation: Implementation) -> DrawnCases | None:
        """The cases, if all hold and nothing misbehaves."""
        kept: list[tuple[Any, ...]] = []

        def body(subject: Subject, *case: Any) -> None:
            self.body(subject, *case)
            kept.append(case)

        subject = Subject(implementation, self.clause.architecture)
        try:
            replace(self, body=body).search(subject)
            return DrawnCases(self.body, subject, _telling(self.body, subject, kept))
        except (BrokenError, UnjudgedError, Fault):
            return None

    def search_again(self, subject: Subject) -> Iterator[BrokenError]:
        """What other searches shrink to: no small change leads from one of their ends to another."""
        for attempt in range(1, SEARCHES):
            try:
                self.search(subject, attempt)
            except BrokenError as broken:
                yield broken
            except (Fault, UnjudgedError):
                pass

    def search(self, subject: Subject, attempt: int = 0) -> str:
        """What held, in words. A fault ends the search at once: the case that caused it may be slow to meet again."""
        met, held, broken, fault = 0, 0, False, None

        @seed(f"{self.clause.id} {attempt}")
        @QUIET
        @given(self.cases)
        def holds(case: tuple[Any, ...]) -> None:
            nonlocal met, held, broken, fault
            if fault is not None:
                return
            met += 1
            try:
                self.body(subject, *case)
            except BrokenError:
                broken = True
                raise
            except Fault as error:
                if broken:
                    reject()
                fault = error
                raise
            held += 1

        try:
            holds()
        except Unsatisfiable:
            raise UnjudgedError("NOT EXERCISED", "no generated case made its premise true") from None
        except Exception:
            if fault is not None:
                raise fault from None
            raise
        return f"all {held} cases" if held == met < EXAMPLES else f"{held} generated cases"

    def evidence(self, subject: Subject, held: str) -> str:
        filled = subject.assembly().filled_by
        own = subject.implementation.filled(self.clause.architecture)
        others = [f"{role} to {filled[role]}" for role in self.roles if role not in own]
        left = [f"{subject.implementation.name} leaves {' and '.join(others)}"] if others else []
        return "; ".join((f"one routine alone, {held}", *left, *sorted(subject.notes)))


@dataclass
class ChangedSubject(Subject):
    """An implementation with something put between it and whoever asks."""

    change: Callable[[Assembly], Assembly] = lambda assembly: assembly
    unchanged: Mapping[Scenario, Assembly] = field(default_factory=dict)

    def assembled(self, scenario: Scenario) -> Assembly:
        return self.change(self.unchanged[scenario])


class _Walked:
    """A source that answers from an automaton that is known already."""

    def __init__(self, known: Unfolding) -> None:
        self.known = known

    def next(self, routine: str, args: tuple[ops.Result, ...], results: tuple[ops.Result, ...]) -> ops.Answer:
        node = self.known.root(routine, args)
        for result in results:
            node = node.child(result)
        return node.answer

    def fresh(self) -> _Walked:
        return self


def _telling(body: Body, subject: Subject, cases: Sequence[tuple[Any, ...]]) -> tuple[tuple[Any, ...], ...]:
    """Of cases in which the implementation does the same the first; and so many, evenly picked, as ask for
    `MOST_OPERATIONS`.
    """
    distinct: dict[str, tuple[int, tuple[Any, ...]]] = {}
    for case in cases:
        walked: list[Unfolding] = []

        def change(assembly: Assembly, walked: list[Unfolding] = walked) -> Assembly:
            anew = {id(u): Unfolding(_Walked(u)) for u in assembly.unfoldings()}
            walked += anew.values()
            return replace(assembly, routines={r: anew[id(u)] for r, u in assembly.routines.items()})

        DrawnCases(body, subject, (case,)).broken(change)
        path = repr([u.asked for u in walked])
        distinct.setdefault(path, (sum(u.questions for u in walked), case))
    asked = sum(questions for questions, _ in distinct.values())
    every = 1 + asked // MOST_OPERATIONS
    return tuple(case for _, case in distinct.values())[::every]


@dataclass(frozen=True)
class DrawnCases:
    """Cases in which a clause holds, as Hypothesis has drawn them."""

    body: Body
    subject: Subject
    cases: tuple[tuple[Any, ...], ...]

    @property
    def assembled(self) -> tuple[Assembled, ...]:
        return tuple(self.subject.made.values())

    def broken(self, change: Callable[[Assembly], Assembly]) -> str:
        unchanged = {made.scenario: made.assembly for made in self.assembled}
        subject = self.subject
        changed = ChangedSubject(subject.implementation, subject.architecture, change=change, unchanged=unchanged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HypothesisDeprecationWarning)  # assume() is called outside a search here
            for case in self.cases:
                try:
                    self.body(changed, *case)
                except BrokenError as broken:
                    return str(broken)
                except (UnjudgedError, UnsatisfiedAssumption):
                    pass
        return ""


def function(
    checks: MutableMapping[str, Property],
    clause: Clause,
    roles: str,
    *cases: st.SearchStrategy[Any],
    needs: tuple[str, ...] = (),
) -> Callable[[Body], Property]:
    """Put the body, as the check of the clause, into `checks`. A case is one value of each strategy."""

    def made(body: Body) -> Property:
        checks[clause.id] = Property(clause, tuple(roles.split()), st.tuples(*cases), body, needs)
        return checks[clause.id]

    return made


def check(clause: str, implementation: Implementation, checks: Mapping[str, Property]) -> Checked:
    """Check one clause of `checks`. Raises nothing for what the implementation does."""
    try:
        return Checked(evidence=checks[clause](implementation))
    except BrokenError as broken:
        return Checked(evidence="the smallest case that Hypothesis found", counterexample=str(broken))
    except Fault as fault:
        return Checked(evidence="", fault=str(fault), fault_status=fault.status)
    except UnjudgedError as unjudged:
        return Checked(evidence="", fault=str(unjudged), fault_status=unjudged.status)
