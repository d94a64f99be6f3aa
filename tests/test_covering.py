"""The scenarios that nobody picked: what meets in their rows, and that the pinned ones are those that would be chosen."""

from __future__ import annotations

from functools import cache
from itertools import combinations

import pytest

from conformance.adapters.registry import of_class
from conformance.machine.build import in_machine
from conformance.roles.arm import Cpu, Pcpu, Vcpu, lr_word
from conformance.roles.role import BaseRole
from conformance.search.proof import prove
from properties.arm.grammar import ARM
from properties.covering import Grammar, Row, choose, covered, rows
from properties.nested.grammar import NESTED
from properties.suite import SUITE
from properties.x86.grammar import X86
from reference.arm.kvm import KvmArm
from reference.arm.virtual_interface import IDLE, ReferenceVirtualInterface

EACH = {grammar.architecture: grammar for grammar in (X86, NESTED, ARM)}
GRAMMARS = pytest.mark.parametrize("grammar", [*EACH.values()], ids=lambda g: g.architecture)


@cache
def sensible(architecture: str) -> list[Row]:
    """A second or two each."""
    return EACH[architecture].rows()


@GRAMMARS
def test_the_pinned_rows_are_those_that_would_be_chosen(grammar: Grammar) -> None:
    assert set(rows(grammar)) == set(choose(grammar)), "python -m properties.rows"


@GRAMMARS
def test_any_two_options_meet_that_go_together(grammar: Grammar) -> None:
    """By another way than `choose`: each pair that is in no pinned row is in none that makes sense."""
    met = {pair for row in rows(grammar) for pair in grammar.meetings(row)}
    assert not {pair for row in sensible(grammar.architecture) for pair in grammar.meetings(row)} - met


@GRAMMARS
def test_every_pinned_row_is_a_scenario_of_its_own(grammar: Grammar) -> None:
    scenarios, states = covered(grammar)
    assert len({s.name for s in scenarios}) == len(scenarios) == len(states) == len(rows(grammar))
    assert all(s.architecture == grammar.architecture and s.about for s in scenarios)
    assert all(n > 0 for n in states.values()), "python -m properties.golden --write"


@GRAMMARS
def test_no_two_rows_that_make_sense_have_one_name(grammar: Grammar) -> None:
    made = sensible(grammar.architecture)
    assert len({grammar.name(row) for row in made}) == len(made)


@GRAMMARS
def test_every_option_is_in_a_row(grammar: Grammar) -> None:
    for factor, options in zip(grammar.factors, zip(*rows(grammar), strict=True), strict=True):
        assert set(options) == set(grammar.factors[factor]), factor


@GRAMMARS
def test_what_is_chosen_is_predicted_to_be_small(grammar: Grammar) -> None:
    assert all(grammar.states(row) <= grammar.most for row in rows(grammar))


SMALL = Grammar(
    "small",
    {
        f: dict.fromkeys(options, X86.factors["vectors"]["apart"])
        for f, options in (("a", "pq"), ("b", "rs"), ("c", "tu"))
    },
    lambda name, about, row: X86.build(name, about, X86_ROW) if row[:2] != ("q", "s") else None,
    least=1,
)
X86_ROW: Row = tuple(next(iter(options)) for options in X86.factors.values())


def test_a_covering_set_of_three_factors_by_hand() -> None:
    """Four rows cover all pairs of three factors of two options; that q and s never meet leaves eleven pairs to cover."""
    chosen = choose(SMALL)
    assert len(chosen) <= 5
    assert ("q", "s") not in {row[:2] for row in chosen}
    assert len({pair for row in chosen for pair in SMALL.meetings(row)}) == 11


def test_what_is_around_an_x86_scenario_meets() -> None:
    """APICv inhibited and store buffers, store buffers and no device: they were options of one factor once."""
    met = {pair for row in rows(X86) for pair in combinations(row, 2)}
    assert {
        ("inhibited", "buffered"),
        ("inhibited", "polling"),
        ("no-device", "buffered"),
        ("xapic", "buffered"),
    } <= met


def test_devices_that_come_and_go_meet_what_becomes_of_apicv_on_x86() -> None:
    """So do handlers that nest and EOIs that exit, which were options of one factor once, and transfers and preemptions."""
    met = {pair for row in rows(X86) for pair in combinations(row, 2)}
    assert {
        *((apicv, platform) for apicv in ("inhibited", "toggled") for platform in ("assigns", "unassigns")),
        ("eoi-exit", "nest"),
        ("restored", "preempt"),
        ("reset", "preempt"),
    } <= met


class NeverTellsWhatEndedOutside(KvmArm):
    """The device of a level that ended in no list register goes on waiting to be told."""

    def fold_outside(self, cpu: Cpu, vcpu: Vcpu, inside: set[int], ended: int) -> None:
        for intid in (int(i) for i in cpu.load(vcpu.ap_list)):
            if ended and intid not in inside and cpu.load(self.world.irq(vcpu, intid).active):
                self.fold_lr(cpu, vcpu, lr_word(intid, 0))
                ended -= 1


class KeepsOnePriority(KvmArm):
    """Of several active priorities only the highest survives a preemption."""

    def put(self, cpu: Cpu, vcpu: Vcpu, preempted: bool) -> None:
        super().put(cpu, vcpu, preempted)
        cpu.store(vcpu.apr_sw, cpu.load(vcpu.apr_sw) & -cpu.load(vcpu.apr_sw))


class RunsAtTheLowest(ReferenceVirtualInterface):
    """The running priority is that of the outermost handler."""

    def running_priority(self, cpu: Cpu, here: Pcpu) -> int:
        return cpu.load(here.apr).bit_length() - 1 if cpu.load(here.apr) else IDLE


@pytest.mark.parametrize(
    ("wrong", "options", "clause"),
    [
        (NeverTellsWhatEndedOutside, ("one-register", "resampled"), "VGIC-LVL-2"),
        (KeepsOnePriority, ("nested", "exit+preempt"), "GICV2-PRI-4"),
        pytest.param(RunsAtTheLowest, ("nested-twice",), "GICV2-PRI-8", marks=pytest.mark.slow),
    ],
)
def test_three_that_every_earlier_scenario_missed(wrong: type[BaseRole], options: tuple[str, ...], clause: str) -> None:
    """They take three options: a level, one list register and a device that waits; handlers that nest, and a preemption."""
    implementation = of_class(wrong, wrong.__name__, f"{__name__}:{wrong.__name__}")
    able = [scenario for scenario in covered(ARM)[0] if set(options) <= set(scenario.name.split("/"))]
    assert any(clause in in_machine(implementation, scenario, SUITE, prove).breached for scenario in able)
