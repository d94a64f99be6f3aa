"""Any number of injectors, and of devices behind an ITS, against one vCPU on one pCPU, which waits, and is preempted
and exits where it says so, any number of times."""

from __future__ import annotations

from conformance.roles.arm import EDGE, LPI
from conformance.roles.scenario import Budget, Scenario, VcpuSetup
from properties.arm.scenarios import WFI, injector, its, redistributors

FREELY = Budget(preempt=1, exit=1, again=1, unlimited=True)
WAITS_FREELY = Budget(again=1, unlimited=True)

CROWDS: tuple[Scenario, ...] = (
    Scenario(
        name="any-virtual-lpis",
        about="any number of devices make a virtual LPI pending, any number of times, GICv4.1",
        architecture="arm",
        cpus=1,
        vcpus=(VcpuSetup(0, WFI),),
        devices=(its(), *redistributors()),
        vectors=(LPI,),
        budget=FREELY,
        facts=("gicv4.1",),
    ),
    Scenario(
        name="any-virtual-lpis-4.0",
        about="any number of devices make a virtual LPI pending, any number of times, GICv4.0",
        architecture="arm",
        cpus=1,
        vcpus=(VcpuSetup(0, WFI),),
        devices=(its(), *redistributors()),
        vectors=(LPI,),
        budget=FREELY,
        facts=("gicv4",),
    ),
    Scenario(
        name="any-injectors",
        about="any number of injectors make an edge, any number of times; the first is followed",
        architecture="arm",
        cpus=3,
        vcpus=(VcpuSetup(0, WFI),),
        threads=(injector(EDGE, 1), injector(EDGE, 2)),
        vectors=(EDGE,),
        budget=WAITS_FREELY,
    ),
)
