"""Arm's reference software in situations that no scenario of the suite has, a few hundred states each."""

from __future__ import annotations

import pytest

from conformance.adapters.registry import resolve
from conformance.machine.build import in_machine
from conformance.roles.arm import DEVICE, EDGE, EDGE3
from conformance.roles.scenario import Action, Budget, DeviceInterrupt, Scenario, VcpuSetup
from conformance.search.proof import prove
from properties.arm.scenarios import EOI_MODE_1, WFI, register
from properties.suite import SUITE

MASKED_WFI = (("write_pmr", 0), *WFI)
PENDS, CLEARS, DISABLES, ENABLES, ACTIVATES, DEACTIVATES = (
    register(name, EDGE) for name in ("ispendr", "icpendr", "icenabler", "isenabler", "isactiver", "icactiver")
)
OFF, ON = register("ctlr", 0, 0), register("ctlr", 0, 1)
TAKES = register("itargetsr", EDGE, 1)


def broken(scenario: Scenario) -> list[str]:
    """The clauses that the reference breaks."""
    found = in_machine(resolve("reference"), scenario, SUITE, prove)
    assert found.complete
    return sorted({*found.breached, *found.at_rest})


@pytest.mark.parametrize("waits", [(), WFI, MASKED_WFI], ids=["runs", "waits", "waits-masked"])
@pytest.mark.parametrize(
    "writes",
    [
        (PENDS, DISABLES, TAKES, ENABLES),
        (PENDS, CLEARS, TAKES, PENDS),
        (PENDS, OFF, TAKES, ON),
        (ACTIVATES, PENDS, TAKES, DEACTIVATES),
    ],
    ids=["disabled", "cleared", "off", "active"],
)
def test_what_is_retargeted_while_it_is_nobodys_moves_when_it_is_somebodys(
    writes: tuple[Action, ...], waits: tuple[Action, ...]
) -> None:
    """It is still on the old target's list, and that vCPU may look at its list once more, and run or sleep on."""
    scenario = Scenario(
        name="retarget",
        about="a vCPU takes over what another one, on the same pCPU, still has on its list",
        architecture="arm",
        cpus=1,
        vcpus=(VcpuSetup(0, waits), VcpuSetup(0, writes)),
        vectors=(EDGE,),
        loaded=False,
    )
    assert broken(scenario) == []


def test_of_two_writes_that_cross_nobody_says_which_was_the_last() -> None:
    """One vCPU gives an interrupt away, the other gives it back while that write still kicks."""
    scenario = Scenario(
        name="retarget-back",
        about="an interrupt is given away and given back at once",
        architecture="arm",
        cpus=2,
        vcpus=(VcpuSetup(0, (TAKES,)), VcpuSetup(1, (PENDS, register("itargetsr", EDGE, 0)))),
        vectors=(EDGE,),
    )
    assert broken(scenario) == []


@pytest.mark.slow
def test_what_is_deactivated_by_a_trapped_write_moves_to_its_target() -> None:
    """It ended in no list register, after the exit that looks for what is another's."""
    scenario = Scenario(
        name="deactivate-outside",
        about="an interrupt is pushed out of the list register while it is active, and given away before its end traps",
        architecture="arm",
        cpus=1,
        vcpus=(VcpuSetup(0, (*EOI_MODE_1, PENDS)), VcpuSetup(0, (*EOI_MODE_1, TAKES, PENDS, *WFI))),
        loaded=False,
        budget=Budget(preempt=1),
        interrupts=(DeviceInterrupt(DEVICE, 0, "inject", ("vcpu0", EDGE3, 1)),),
        vectors=(EDGE, EDGE3),
        initial=(("vcpu0.pstate_i", 1), ("vcpu1.pstate_i", 1)),
        facts=("eoi-mode-1", "one-list-register", "handlers-nest", "injects-from-handler"),
    )
    assert broken(scenario) == []
