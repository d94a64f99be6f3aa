"""From what was found out to verdicts, one clause at a time.

How a clause is judged is a generator: it asks for items of work, is sent their results, and ends with the verdict. Who
does the work, in which order and where, is not its business: `verdict` does it here and now; a run hands it out to
processes, and goes on with other clauses in between.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import msgspec

from conformance.adapters.registry import Implementation
from conformance.machine.rules import ALWAYS
from conformance.roles import environments
from conformance.roles.scenario import Scenario
from conformance.verdict.clause import UNDECIDED, Breakdown, Clause, Counterexample, Extent, Status, Verdict
from conformance.verdict.evidence import counted, exhaustively, extent, named
from conformance.verdict.explore import FAILURES, Explored, without_schedule
from conformance.verdict.share import Share
from conformance.verdict.suite import Checked, Suite
from conformance.verdict.work import Check, Explore, Item, Least, Result, Shrink, Work

Judging: TypeAlias = Generator[tuple[Item, ...], Any, Verdict]
"""Yields items, is sent their results in the same order."""

FEW = 5
"""Scenarios that are no stories, in which a least counterexample is looked for."""


class Ruling(NamedTuple):
    """What is said of a clause."""

    status: Status
    evidence: str
    counterexample: Counterexample | None = None
    extent: Extent | None = None
    breakdown: Breakdown | None = None


Rules: TypeAlias = Generator[tuple[Item, ...], Any, Ruling]


def concluded(judging: Judging, do: Callable[[tuple[Item, ...]], tuple[Result, ...]]) -> Verdict:
    """The verdict, after all work that it takes."""
    results: tuple[Result, ...] | None = None
    while True:
        try:
            items = judging.send(results)
        except StopIteration as judged:
            return judged.value
        results = do(items)


def broken_by(result: Result, clause: Clause, item: Item) -> Counterexample | None:
    """A counterexample to the clause, if the result of the item holds one: not the least."""
    match item, result:
        case Explore(), Explored(counterexamples=found):
            return found.get(clause.id)
        case Check(clause=clause.id), Checked(counterexample=reason) if reason:
            where = "one routine alone"
            return Counterexample(scenario=where, switches=0, steps=1, at_rest=False, reason=reason)
        case _:
            return None


class Judge:
    """Judges one implementation under one profile."""

    def __init__(
        self,
        implementation: Implementation,
        profile: str,
        suite: Suite,
        environment: Collection[str] = (),
        scenarios: Collection[str] | None = None,
        work: Work | None = None,
        *,
        partial: bool = False,
    ) -> None:
        """By these scenarios alone, if they are given; `partial`: they are not meant to put every clause to the test."""
        self.implementation, self.profile, self.suite, self.environment = implementation, profile, suite, environment
        self.scenarios, self.partial = scenarios, partial
        self.work = work or Work(implementation, profile, suite)
        self.known: dict[Item, Result] = {}
        """What `verdict` has found out so far."""
        self.shares = {name: Share(implementation, name, suite) for name in implementation.architectures}
        self.watchers: dict[str, list[Scenario]] = {}
        self.left_out: dict[str, list[str]] = {}
        """By clause: scenarios that would put it to the test, in which none of the implementation's routines runs."""
        self.torn: dict[str, list[Scenario]] = {}
        """By clause: scenarios that would put it to the test, which call a role that has to be the implementation's, too."""
        for scenario in suite.scenarios:
            watching = {*ALWAYS, *(c.id for m in suite.monitors(scenario) for c in (*m.clauses, *m.witnesses))}
            if not self._asked(scenario):
                continue
            if not implementation.takes_part(scenario):
                for clause in watching if implementation.torn(scenario) else ():
                    self.torn.setdefault(clause, []).append(scenario)
                continue
            has_share = self._has_share(scenario.architecture, scenario.name)
            for clause in watching:
                if has_share:
                    self.watchers.setdefault(clause, []).append(scenario)
                else:
                    self.left_out.setdefault(clause, []).append(scenario.name)

    def _asked(self, scenario: Scenario) -> bool:
        """Whether it is among those to judge by, and nothing widens the environment more than was asked for."""
        asked_for = self.scenarios is None or scenario.name in self.scenarios
        return asked_for and set(scenario.facts) & environments().keys() <= set(self.environment)

    def _has_share(self, architecture: str, name: str) -> bool:
        return architecture in self.shares and self.shares[architecture].has(name)

    def _needs(self, clause: Clause) -> str:
        """The environment, not asked for, without which nothing puts the clause to the test."""
        for scenario in self.suite.scenarios:
            needs = set(scenario.facts) & environments().keys() - set(self.environment)
            if needs and any(clause in (*m.clauses, *m.witnesses) for m in self.suite.monitors(scenario)):
                return min(needs)
        return ""

    # Verdicts

    def verdict(self, clause: Clause) -> Verdict:
        """Find out here and now what is not known yet."""
        return concluded(self.judging(clause), self._do)

    def _do(self, items: tuple[Item, ...]) -> tuple[Result, ...]:
        self.known |= {item: self.work.do(item) for item in items if item not in self.known}
        return tuple(self.known[item] for item in items)

    def judging(self, clause: Clause) -> Judging:
        found = yield from self._judge(clause)
        return self._verdict(clause, found)

    def _verdict(self, clause: Clause, found: Ruling) -> Verdict:
        return Verdict(
            clause=clause,
            implementation=self.implementation.name,
            profile=self.profile,
            status=found.status,
            evidence=found.evidence,
            counterexample=found.counterexample,
            extent=found.extent,
            breakdown=found.breakdown,
        )

    def judging_by(self, clause: Clause, result: Explored | Checked) -> Judging:
        """By one result alone, in which the clause is broken."""
        if isinstance(result, Checked):
            return self._verdict(clause, self._judge_function(clause, result))
        found = yield from self._judge_rule(clause, [result])
        return self._verdict(clause, found)

    def cut_short(self, clause: Clause, item: Item, result: Explored | Checked) -> Verdict:
        """Of a guarantee that the result breaks, where there was no time to look for the least schedule."""
        found = broken_by(result, clause, item)
        assert found is not None
        told = f"in {found.scenario}, before the run was interrupted"
        again = f"intack run -a {self.implementation.spec} --clause {clause.id}"
        again += f" --scenario {found.scenario}" if isinstance(item, Explore) else ""
        found = msgspec.structs.replace(without_schedule(found, "the run was interrupted"), replay=again)
        return self._verdict(clause, Ruling(Status.VIOLATED, told, found))

    def _judge(self, clause: Clause) -> Rules:
        if reason := self.implementation.not_applicable.get(clause.id):
            return Ruling(Status.NOT_APPLICABLE, f"declared by the implementation: {reason}")
        if self.profile not in clause.profiles:
            return Ruling(Status.NOT_APPLICABLE, f"profile {self.profile} does not judge it")
        if waiver := clause.waived.get(self.profile):
            return Ruling(Status.NOT_APPLICABLE, f"waived in profile {self.profile}: {waiver}")
        if clause.check == "not-checked":
            return Ruling(Status.NOT_CHECKED, clause.reason)
        if clause.check == "sequential" and not self._has_share(clause.architecture, clause.id):
            return Ruling(Status.NOT_APPLICABLE, self._not_its_own("this takes"))
        if clause.check == "sequential":
            (checked,) = yield (Check(clause=clause.id),)
            return self._judge_function(clause, checked)
        scenarios = self.watchers.get(clause.id, [])
        if not scenarios and (needs := self._needs(clause)):
            return Ruling(Status.NOT_CHECKED, f"it takes --environment {needs}: {environments()[needs]}")
        if not scenarios and (left_out := self.left_out.get(clause.id)):
            return Ruling(Status.NOT_APPLICABLE, self._not_its_own(f"run in {counted(left_out)}"))
        if not scenarios:
            return Ruling(Status.NOT_APPLICABLE, "no scenario that this implementation can take part in concerns it")
        results = yield tuple(Explore(scenario=s.name) for s in scenarios)
        if clause.modality == "MAY":
            return (yield from self._judge_witness(clause, results))
        return (yield from self._judge_rule(clause, results))

    def _judge_function(self, clause: Clause, checked: Checked) -> Ruling:
        if checked.fault:
            status, what = Status(checked.fault_status), checked.fault.partition("\n")[0]
            if status not in UNDECIDED:
                return Ruling(status, checked.fault)
            return _broken_down(Breakdown(status=status, what=what, told=checked.fault))
        found = broken_by(checked, clause, Check(clause=clause.id))
        if found is None:
            return Ruling(Status.HELD, checked.evidence)
        status = Status.VIOLATED if clause.kind == "guarantee" else Status.DEVIATES
        again = f"intack run -a {self.implementation.spec} --clause {clause.id}"
        return Ruling(status, checked.evidence, msgspec.structs.replace(found, replay=again))

    def put_to_the_test(self, clause: Clause) -> bool:
        """Whether any of the scenarios does."""
        return clause.id in self.watchers or clause.id in self.left_out

    def without_a_share(self, clauses: Iterable[Clause]) -> list[str]:
        """The scenarios that were left out of the judgement of these clauses."""
        names = {name for clause in clauses for name in self.left_out.get(clause.id, ())}
        return [scenario.name for scenario in self.suite.scenarios if scenario.name in names]

    def _not_its_own(self, where: str) -> str:
        return f"the reference's: {self.implementation.name} brings none of the routines that {where}"

    def _judge_rule(self, clause: Clause, everywhere: Sequence[Explored]) -> Rules:
        results = self._ended(clause, everywhere)
        breaking = [r for r in results if clause.id in r.counterexamples]
        if breaking:
            rests_on = self._extent(results, len(breaking))
            least = yield from self._least(clause, breaking)
            where = f"in {len(breaking)} of {len(results)} scenarios; least in {least.scenario}: {self._bounds(least.scenario)}"
            if clause.kind == "guarantee":
                return Ruling(Status.VIOLATED, where, least, rests_on)
            failing = sorted(
                c.id
                for c in self.suite.clauses
                if self.guaranteed(c) and any(c.id in r.counterexamples for r in everywhere)
            )
            means = (
                f"guarantees that fail too: {', '.join(failing)}"
                if failing
                else "no guarantee fails within these bounds"
            )
            return Ruling(Status.DEVIATES, f"{where}; {means}", least, rests_on)
        if undecided := (yield from self._undecided(results)):
            return undecided
        if clause.id in ALWAYS:
            return self._held(results)
        if any(clause.id in r.witnessed for r in results):
            exercised = [r for r in results if clause.id in r.witnessed or r.samples]
            return self._held(exercised)
        premise = f"its premise{f' ({clause.premise})' * bool(clause.premise)} never became true"
        if left_out := self.left_out.get(clause.id):
            others = f"{counted(left_out)}, where none of its routines runs, would be the reference's"
            return Ruling(Status.NOT_APPLICABLE, f"in {named(results)} {premise}; {others}")
        if torn := self.torn.get(clause.id):
            missing = dict(pair for scenario in torn for pair in self.implementation.torn(scenario).items())
            roles, own = (" and ".join(sorted(names)) for names in (missing, {*missing.values()}))
            others = f"{counted([s.name for s in torn])} it may, but they take a {roles} of its own beside its {own}"
            return Ruling(Status.NOT_APPLICABLE, f"in {named(results)} {premise}; in {others}")
        if self.partial:
            return Ruling(
                Status.NOT_APPLICABLE, f"in {named(results)}: {premise}, and other scenarios were not asked for"
            )
        habit = ", and a discipline is one design's habit: nothing is undecided" * (clause.kind == "discipline")
        return Ruling(Status.NOT_EXERCISED, f"in {named(results)}: {premise}{habit}")

    def _ended(self, clause: Clause, results: Sequence[Explored]) -> Sequence[Explored]:
        """Less those without budgets that come to no end, where they do not break it: the story stands for itself."""
        known = self.work.scenarios
        return [
            r
            for r in results
            if r.complete
            or clause.id in r.counterexamples
            or not known[r.scenario].budget.unlimited
            or r.fault_status not in ("", "UNKNOWN")
        ]

    def guaranteed(self, clause: Clause) -> bool:
        """Whether the implementation violates something if it breaks the clause."""
        applies = clause.id not in self.implementation.not_applicable and self.profile in clause.profiles
        return applies and clause.kind == "guarantee" and not clause.waived.get(self.profile)

    def _least(self, clause: Clause, breaking: Sequence[Explored]) -> Generator[tuple[Item, ...], Any, Counterexample]:
        """The least counterexample of all stories; of the smallest scenarios if it happens in none. Of equal ones that of the
        first in the catalogue's order.

        The smallest are searched first; in the others only what is less than the least so far is looked for.
        """
        least: Counterexample | None = None
        at = 0
        exhausted = sorted((r.states, n, r.scenario) for n, r in enumerate(breaking) if not r.samples)
        first = next((r for r in breaking if not r.samples), breaking[0])
        stories = [e for e in exhausted if self.work.scenarios[e[2]].story]
        for _, n, scenario in stories or exhausted[:FEW]:
            below = None if least is None else (least.switches, least.steps + (n < at))
            (found,) = yield (Least(scenario=scenario, clause=clause.id, below=below),)
            if found is not None:
                least, at = found, n
        if not exhausted:
            (least,) = yield (Shrink(scenario=first.scenario, clause=clause.id),)
        if least is None and exhausted:
            return without_schedule(first.counterexamples[clause.id])
        return least or first.counterexamples[clause.id]

    def _judge_witness(self, clause: Clause, results: Sequence[Explored]) -> Rules:
        results = self._ended(clause, results)
        seen = [r for r in results if clause.id in r.witnessed]
        if not seen:
            if undecided := (yield from self._undecided(results)):
                return undecided
            told = f"allowed, and never seen: {exhaustively(results, self.work.scenarios)}"
            return Ruling(Status.NEVER_OBSERVED, told, extent=self._extent(results))
        smallest = min(seen, key=lambda r: (not self.work.scenarios[r.scenario].story, r.states, r.scenario))
        (witness,) = yield (Least(scenario=smallest.scenario, clause=clause.id, witness=True),)
        where = f"allowed, and seen in {len(seen)} of {len(results)} scenarios, first in {smallest.scenario}"
        return Ruling(Status.OBSERVED, where, witness, self._extent(results, len(seen)))

    def _undecided(self, results: Sequence[Explored]) -> Generator[tuple[Item, ...], Any, Ruling | None]:
        for result in results:
            if result.fault:
                schedule = None
                if result.fault_status in FAILURES and not self.work.scenarios[result.scenario].samples:
                    (schedule,) = yield (Least(scenario=result.scenario, clause=result.fault_status),)
                return _broken_down(
                    Breakdown(
                        status=Status(result.fault_status),
                        what=result.fault_what or result.fault.partition("\n")[0],
                        told=result.fault,
                        at=result.fault_at,
                        scenario=result.scenario,
                        schedule=schedule,
                    )
                )
        for result in results:
            if not result.complete:
                bound = f"the bound of {result.states} states; nothing broken so far"
                return Ruling(Status.UNKNOWN, f"scenario {result.scenario} hit {bound}")
        return None

    def _held(self, results: Sequence[Explored]) -> Ruling:
        return Ruling(Status.HELD, exhaustively(results, self.work.scenarios), extent=self._extent(results))

    def _extent(self, results: Sequence[Explored], found_in: int = 0) -> Extent:
        return extent(results, self.work.scenarios, found_in)

    def _bounds(self, scenario: str) -> str:
        return self.work.scenarios[scenario].bounds()


def _broken_down(why: Breakdown) -> Ruling:
    return Ruling(why.status, f"scenario {why.scenario}: {why.told}" if why.scenario else why.told, breakdown=why)
