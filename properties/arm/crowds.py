"""Any number of injectors, of devices behind an ITS, and of handlers that inject, against one vCPU on one pCPU, which waits any
number of times.
"""

from __future__ import annotations

from conformance.roles.arm import DEVICE, EDGE, LPI
from conformance.roles.scenario import Budget, DeviceInterrupt, Scenario, VcpuSetup
from properties.arm.scenarios import WFI, injector, its, redistributors

FREELY = Budget(preempt=1, exit=1, again=1, unlimited=True)

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
        about="any number of injectors make an edge, any number of times",
        architecture="arm",
        cpus=2,
        vcpus=(VcpuSetup(0, WFI),),
        threads=(injector(EDGE, 1),),
        vectors=(EDGE,),
        budget=Budget(again=1, unlimited=True),
    ),
    Scenario(
        name="any-injecting-handlers",
        about="handlers on the vCPU's own pCPU make an edge, any number of times",
        architecture="arm",
        cpus=1,
        vcpus=(VcpuSetup(0, WFI),),
        interrupts=(DeviceInterrupt(DEVICE, 0, "inject", ("vcpu0", EDGE, 1)),),
        vectors=(EDGE,),
        budget=Budget(preempt=1, exit=1, again=1, spurious=((DEVICE, 0),), unlimited=True),
        facts=("injects-from-handler",),
    ),
)
