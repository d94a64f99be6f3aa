"""A mutant: an implementation with one change to one line, made between it and the machine.

    machine ── asks ──> mutant ── walks ──> the automaton of the unchanged routine ── asks only what is new ──> code

The automaton of the unchanged code is shared by all mutants of a scenario, so that a mutant costs no more than its own
exploration.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from conformance.adapters.registry import Implementation
from conformance.automaton.assembly import Assembly
from conformance.automaton.unfold import Node, Unfolding
from conformance.mutation.operators import (
    OPERATORS,
    UNTOUCHABLE,
    Context,
    Course,
    History,
    after,
    ends_region,
    go_on,
    history,
)
from conformance.mutation.site import CALL, Site, Sites
from conformance.ordering.weaken import before
from conformance.roles import operations as ops
from conformance.verdict.ingredients import hashed


class Mutant(NamedTuple):
    """`variant` says which of the things an operator can do is done, "" if there is one."""

    site: Site
    operator: str
    variant: str = ""

    def __str__(self) -> str:
        return f"{self.site}: {self.operator}{' ' * bool(self.variant)}{self.variant}"


@dataclass(frozen=True)
class Whole:
    """An unchanged assembly that a scenario has been explored with, and what is known of it."""

    assembly: Assembly
    sites: Sites
    context: Context

    def nodes(self, routines: Collection[str]) -> dict[Site, list[Node]]:
        """The sites that these routines have been seen to reach."""
        reached = self.sites.nodes(self.assembly.unfoldings())
        kept = {site: [n for n in nodes if n.routine in routines] for site, nodes in reached.items()}
        return {site: nodes for site, nodes in kept.items() if nodes}

    def mutants(self, nodes: dict[Site, list[Node]]) -> Iterator[Mutant]:
        """Every change to these sites, in a fixed order."""
        for site, found in nodes.items():
            if site.kind == CALL:
                yield Mutant(site, "left out")
                continue
            for operator, (_, variants, _) in OPERATORS.items():
                possible = dict.fromkeys(v for node in found for v in variants(node, self.context))
                if operator == "first only" and not _comes_again(found, self.sites):
                    continue
                yield from (Mutant(site, operator, variant) for variant in sorted(possible))

    def changed(self, mutant: Mutant) -> Assembly:
        """The assembly with the mutant in it. Raises nothing: where the site is not reached, nothing is changed."""
        wrapped: dict[int, Unfolding] = {}
        for unfolding in self.assembly.unfoldings():
            wrapped[id(unfolding)] = Unfolding(_Changed(unfolding, mutant, self))
        return replace(self.assembly, routines={r: wrapped[id(u)] for r, u in self.assembly.routines.items()})


def whole(assembly: Assembly, cpus: int) -> Whole:
    """What is known of an assembly that has been explored."""
    answers: dict[tuple[str, int], set[ops.Result]] = {}
    for unfolding in assembly.unfoldings():
        for node in unfolding.nodes():
            if isinstance(node.answer, ops.Load | ops.Rmw):
                answers.setdefault((node.answer.at, node.answer.mask), set()).update(node.edges)
    seen = {
        key: tuple(sorted(known, key=lambda r: (str(type(r)), len(str(r)), str(r)))) for key, known in answers.items()
    }
    known = {history(node): after(node) for unfolding in assembly.unfoldings() for node in unfolding.nodes()}
    written = frozenset(at for at, shared in assembly.locations.items() if not shared.constant)
    context = Context(seen, frozenset(assembly.locations), written, cpus, tuple(sorted(assembly.handlers)), known)
    return Whole(assembly, Sites(), context)


def _comes_again(nodes: list[Node], sites: Sites) -> bool:
    """Whether one call comes to the site more than once, at different locations: a loop."""
    for node in nodes:
        at = getattr(node.answer, "at", "")
        for earlier in before(node):
            if sites[earlier][0] == sites[node][0] and getattr(earlier.answer, "at", "") != at:
                return True
    return False


def own(implementation: Implementation, assembly: Assembly) -> set[str]:
    """The routines of the roles that the implementation fills."""
    filled = implementation.filled(assembly.architecture.name)
    return {routine for routine in assembly.routines if assembly.role_of.get(routine) in filled}


def said(assemblies: Iterable[Assembly]) -> str:
    """A hash of all that was answered so far."""
    return hashed(*(u.asked for assembly in assemblies for u in assembly.unfoldings()))[:16]


class _Changed:
    """The source of the mutant's routines. A call is walked from its begin, along its results; on from the last question, if
    this one follows it.
    """

    def __init__(self, unfolding: Unfolding, mutant: Mutant, whole: Whole) -> None:
        self._unfolding, self._mutant, self._whole = unfolding, mutant, whole
        self._operate = OPERATORS[mutant.operator][2]
        self._last: History = "", (), ()
        self._course_of_last: Course | None = None

    def next(self, routine: str, args: tuple[ops.Result, ...], results: tuple[ops.Result, ...]) -> ops.Answer:
        follows = bool(results) and self._last == (routine, args, results[:-1])
        course = self._course_of_last if follows else None
        self._last, self._course_of_last = (routine, args, results), None
        try:
            if course is not None:
                asked = course.send(results[-1])
            else:
                course = self._course(self._unfolding.root(routine, args))
                asked = next(course)
                for result in results:
                    asked = course.send(result)
        except StopIteration as ended:
            return ended.value
        self._course_of_last = course
        return asked

    def fresh(self) -> _Changed:
        return _Changed(Unfolding(self._unfolding.source.fresh()), self._mutant, self._whole)

    def _course(self, node: Node) -> Course:
        context, sites, mutant = self._whole.context.in_call(), self._whole.sites, self._mutant
        while not isinstance(node.answer, ops.Return):
            operation = node.answer
            if operation in context.pairs:
                context.pairs.remove(operation)  # type: ignore[arg-type]
                node = node.child(None)
                continue
            if mutant.site in sites[node] and not self._kept(node):
                context.met += 1
                goes = yield from self._operate(node, context, mutant.variant)
            else:
                goes = yield from go_on(node)
            if ends_region(operation):
                yield from self._late(context)
            if isinstance(goes, ops.Return):
                return goes
            node = goes
        yield from self._late(context)
        return node.answer

    def _kept(self, node: Node) -> bool:
        """Of a call that is left out, what the routine cannot go on without is done all the same."""
        return self._mutant.site.kind == CALL and isinstance(node.answer, UNTOUCHABLE)

    def _late(self, context: Context) -> Course:
        late, context.later = context.later, []
        for operation in late:  # noqa: UP028 (a list cannot be sent results)
            yield operation
        return ops.Return()
