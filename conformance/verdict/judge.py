"""From explorations to verdicts, one clause at a time.

Explorations are shared: between the clauses of a process, and between processes through a directory of result files,
each guarded by a file lock. Whoever comes first explores; whoever finds a scenario taken explores another one first and
waits last. A lock dies with its holder. So any number of workers gives the same verdicts, and each scenario is explored
once.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

import msgspec
from hypothesis.errors import NoSuchExample

from conformance.adapters.registry import Implementation
from conformance.machine.build import in_machine
from conformance.machine.finding import Witness
from conformance.machine.machine import Machine
from conformance.machine.rules import ALWAYS
from conformance.roles import environments
from conformance.roles.scenario import Scenario, many
from conformance.search.proof import shortest
from conformance.search.sampling import shrink
from conformance.verdict.clause import Clause, Counterexample, Status, Verdict
from conformance.verdict.explore import Explored, document, explore
from conformance.verdict.suite import Checked, Suite


def catalogue_hash(suite: Suite) -> str:
    """Eight hex digits that change with any clause or scenario."""
    return hashlib.sha256(msgspec.json.encode((suite.clauses, suite.scenarios))).hexdigest()[:8]


class Judge:
    """Judges one implementation under one profile. `shared` is a directory that all processes of a run agree on."""

    def __init__(
        self,
        implementation: Implementation,
        profile: str,
        suite: Suite,
        shared: Path,
        pulse: Callable[[str, int], None] | None = None,
        environment: Collection[str] = (),
    ) -> None:
        self.environment = environment
        self.implementation, self.profile, self.suite, self.shared, self.pulse = (
            implementation,
            profile,
            suite,
            shared,
            pulse,
        )
        self.known: dict[str, Explored] = {}
        self.watchers: dict[str, list[Scenario]] = {}
        for scenario in suite.scenarios:
            if not self._applies(scenario):
                continue
            for clause in {*ALWAYS, *(c.id for m in suite.monitors(scenario) for c in (*m.clauses, *m.witnesses))}:
                self.watchers.setdefault(clause, []).append(scenario)

    def _applies(self, scenario: Scenario) -> bool:
        """Whether the implementation can take part in a scenario at all."""
        asked_for = set(scenario.facts) & environments().keys() <= set(self.environment)
        return asked_for and self.implementation.takes_part(scenario)

    def _needs(self, clause: Clause) -> str:
        """The environment, not asked for, without which nothing puts the clause to the test."""
        for scenario in self.suite.scenarios:
            needs = set(scenario.facts) & environments().keys() - set(self.environment)
            if needs and any(clause in (*m.clauses, *m.witnesses) for m in self.suite.monitors(scenario)):
                return min(needs)
        return ""

    # Explorations

    def explored(self, scenarios: Iterable[Scenario]) -> list[Explored]:
        """The explorations of these scenarios, in their order, each done by whoever gets to it first."""
        wanted = list(scenarios)
        taken = [s for s in wanted if s.name not in self.known and not self._explore(s, wait=False)]
        for scenario in taken:
            self._explore(scenario, wait=True)
        return [self.known[s.name] for s in wanted]

    def _explore(self, scenario: Scenario, wait: bool) -> bool:
        """Fetch or make one result. False if another process is at it and `wait` is not set."""
        result = self.shared / f"{scenario.name}.json"
        with (self.shared / f"{scenario.name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                return False
            if result.exists():
                self.known[scenario.name] = msgspec.json.decode(result.read_bytes(), type=Explored)
            else:
                pulse = self.pulse and (lambda states: self.pulse and self.pulse(scenario.name, states))
                found = explore(self.implementation, scenario, self.suite, pulse=pulse or None, profile=self.profile)
                result.write_bytes(msgspec.json.encode(found))
                self.known[scenario.name] = found
        return True

    # Verdicts

    def verdict(self, clause: Clause) -> Verdict:
        status, evidence, counterexample = self._judge(clause)
        return Verdict(
            clause=clause,
            implementation=self.implementation.name,
            profile=self.profile,
            status=status,
            evidence=evidence,
            counterexample=counterexample,
        )

    def _judge(self, clause: Clause) -> tuple[Status, str, Counterexample | None]:
        if reason := self.implementation.not_applicable.get(clause.id):
            return Status.NOT_APPLICABLE, f"declared by the implementation: {reason}", None
        if self.profile not in clause.profiles:
            return Status.NOT_APPLICABLE, f"profile {self.profile} does not judge it", None
        if waiver := clause.waived.get(self.profile):
            return Status.NOT_APPLICABLE, f"waived in profile {self.profile}: {waiver}", None
        if clause.check == "not-checked":
            return Status.NOT_CHECKED, clause.reason, None
        if clause.check == "sequential":
            return self._judge_function(clause, self.suite.sequential(clause.id, self.implementation))
        scenarios = self.watchers.get(clause.id, [])
        if not scenarios and (needs := self._needs(clause)):
            return Status.NOT_CHECKED, f"it takes --environment {needs}: {environments()[needs]}", None
        if not scenarios:
            return Status.NOT_APPLICABLE, "no scenario that this implementation can take part in concerns it", None
        results = self.explored(scenarios)
        return self._judge_witness(clause, results) if clause.modality == "MAY" else self._judge_rule(clause, results)

    def _judge_function(self, clause: Clause, checked: Checked) -> tuple[Status, str, Counterexample | None]:
        if checked.fault:
            return Status(checked.fault_status), checked.fault, None
        if not checked.counterexample:
            return Status.HELD, checked.evidence, None
        status = Status.VIOLATED if clause.kind == "guarantee" else Status.DEVIATES
        found = Counterexample(
            scenario="one routine alone",
            switches=0,
            steps=1,
            at_rest=False,
            reason=checked.counterexample,
            replay=f"intack run -a {self.implementation.spec} --clause {clause.id}",
        )
        return status, checked.evidence, found

    def _judge_rule(self, clause: Clause, results: list[Explored]) -> tuple[Status, str, Counterexample | None]:
        breaking = [r for r in results if clause.id in r.counterexamples]
        if breaking:
            broken = [r.counterexamples[clause.id] for r in breaking if not r.samples]
            least = min(broken, key=lambda c: (c.switches, c.steps)) if broken else self._shrunk(clause, breaking[0])
            where = f"in {len(breaking)} of {len(results)} scenarios; least in {least.scenario}: {self._bounds(least.scenario)}"
            if clause.kind == "guarantee":
                return Status.VIOLATED, where, least
            failing = sorted(
                {
                    c.id
                    for c in self.suite.clauses
                    if self._guaranteed(c) and any(c.id in r.counterexamples for r in results)
                }
            )
            means = (
                f"guarantees that fail too: {', '.join(failing)}"
                if failing
                else "no guarantee fails within these bounds"
            )
            return Status.DEVIATES, f"{where}; {means}", least
        if undecided := self._undecided(results):
            return undecided
        if clause.id in ALWAYS:
            return Status.HELD, self._exhaustively(results), None
        if any(clause.id in r.witnessed for r in results):
            exercised = [r for r in results if clause.id in r.witnessed or r.samples]
            return Status.HELD, self._exhaustively(exercised), None
        premise = f"its premise{f' ({clause.premise})' * bool(clause.premise)} never became true"
        habit = ", and a discipline is one design's habit: nothing is undecided" * (clause.kind == "discipline")
        return Status.NOT_EXERCISED, f"in {named(results)}: {premise}{habit}", None

    def _guaranteed(self, clause: Clause) -> bool:
        applies = clause.id not in self.implementation.not_applicable and self.profile in clause.profiles
        return applies and clause.kind == "guarantee" and not clause.waived.get(self.profile)

    def _judge_witness(self, clause: Clause, results: list[Explored]) -> tuple[Status, str, Counterexample | None]:
        seen = [r for r in results if clause.id in r.witnessed]
        if not seen:
            if undecided := self._undecided(results):
                return undecided
            return Status.NEVER_OBSERVED, f"allowed, and never seen: {self._exhaustively(results)}", None
        smallest = min(seen, key=lambda r: (r.states, r.scenario))
        witness = self._witness(clause, self._scenario(smallest.scenario))
        return (
            Status.OBSERVED,
            f"allowed, and seen in {len(seen)} of {len(results)} scenarios, first in {smallest.scenario}",
            witness,
        )

    def _shrunk(self, clause: Clause, sampled: Explored) -> Counterexample:
        """What no exhausted scenario breaks, but a sampled schedule does."""

        def least(machine: Machine) -> Counterexample:
            try:
                return document(machine, shrink(machine, clause.id), self.implementation, self.profile)
            except NoSuchExample:  # too rare to be drawn again within the limits: what was found stands, unshrunk
                return sampled.counterexamples[clause.id]

        return in_machine(self.implementation, self._scenario(sampled.scenario), self.suite, least)

    def _scenario(self, name: str) -> Scenario:
        return next(s for s in self.suite.scenarios if s.name == name)

    def _witness(self, clause: Clause, scenario: Scenario) -> Counterexample | None:

        def least(machine: Machine) -> Counterexample | None:
            found = shortest(machine, {clause.id}, most=200_000, kind=Witness).get(clause.id)
            return found and document(machine, found, self.implementation, self.profile)

        return in_machine(self.implementation, scenario, self.suite, least)

    def _undecided(self, results: list[Explored]) -> tuple[Status, str, None] | None:
        for result in results:
            if result.fault:
                return Status(result.fault_status), f"scenario {result.scenario}: {result.fault}", None
        for result in results:
            if not result.complete:
                return (
                    Status.UNKNOWN,
                    f"scenario {result.scenario} hit the bound of {result.states} states; nothing broken so far",
                    None,
                )
        return None

    def _bounds(self, scenario: str) -> str:
        return self._scenario(scenario).bounds()

    def _exhaustively(self, results: list[Explored]) -> str:
        """The bounds of a proof over several scenarios, in one sentence."""
        drawn = "; ".join(_drawn(r) for r in results if r.samples)
        results = [r for r in results if not r.samples]
        if not results:
            return drawn
        scenarios = [s for s in self.suite.scenarios if any(r.scenario == s.name for r in results)]
        optional = {
            name
            for s in scenarios
            for name, n in (("preemption", s.budget.preempt), ("migration", s.budget.migrate), ("exit", s.budget.exit),
                            ("spurious interrupt", len(s.budget.spurious)))
            if n
        }  # fmt: skip
        return (
            f"exhaustively in {named(results)}, {sum(r.states for r in results):,} states: at most "
            f"{many(max(len(s.vcpus) for s in scenarios), 'vCPU')}, {many(max(s.cpus for s in scenarios), 'pCPU')}, "
            f"{many(max(s.agents for s in scenarios), 'other agent')}, "
            f"{many(max(len(s.vectors) for s in scenarios), 'interrupt')}, "
            f"{'one each of ' * bool(optional)}{', '.join(sorted(optional)) or 'no optional steps'}"
            f"{'; with store buffers' * any(s.buffer for s in scenarios)}{'; ' * bool(drawn)}{drawn}"
        )


FEW = 3
"""Scenarios that a sentence names."""


def named(results: Sequence[Explored]) -> str:
    """How many scenarios, and which; of many the first."""
    names = [r.scenario for r in results]
    first = names if len(names) <= FEW + 1 else [*names[:FEW], f"{len(names) - FEW} more"]
    listed = f"{', '.join(first[:-1])} and {first[-1]}" if len(first) > 1 else "".join(first)
    return f"{many(len(names), 'scenario')} ({listed})"


def _drawn(sampled: Explored) -> str:
    """What stands for a proof where there is none."""
    predicted = f" and {sampled.predicted} that these predict" * bool(sampled.predicted)
    undecided = f" ({sampled.undecided} questions undecided: the solver gave up)" * bool(sampled.undecided)
    return f"{sampled.samples} sampled schedules of {sampled.scenario}{predicted}{undecided}"
