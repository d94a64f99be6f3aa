"""Any number of callers against one vCPU, that is preempted, exits and halts any number of times on one pCPU, or does less on
two: each device and sender here stands for all of its like.
"""

from __future__ import annotations

from conformance.roles.scenario import Budget, DeviceInterrupt, Scenario, VcpuSetup
from conformance.roles.x86 import DEVICE, HIGH, LOW
from properties.x86.scenarios import HLT, device, sender

FREELY = Budget(preempt=1, exit=1, again=1, unlimited=True)
HALTS_FREELY = Budget(again=1, unlimited=True)

CROWDS: tuple[Scenario, ...] = (
    Scenario(
        name="any-devices",
        about="any number of devices post a vector, any number of times",
        architecture="x86",
        cpus=1,
        vcpus=(VcpuSetup(0, HLT),),
        devices=(device(HIGH),),
        vectors=(HIGH,),
        budget=FREELY,
    ),
    Scenario(
        name="any-devices-two-vectors",
        about="any number of devices post two vectors, any number of times",
        architecture="x86",
        cpus=1,
        vcpus=(VcpuSetup(0, HLT),),
        devices=(device(LOW, "device-low"), device(HIGH, "device-high")),
        vectors=(LOW, HIGH),
        budget=HALTS_FREELY,
    ),
    Scenario(
        name="any-devices-two-pcpus",
        about="any number of devices post a vector, any number of times, to a vCPU that runs on two pCPUs and never halts",
        architecture="x86",
        cpus=2,
        devices=(device(HIGH),),
        vectors=(HIGH,),
        budget=Budget(preempt=1, migrate=1, exit=1, unlimited=True),
    ),
    Scenario(
        name="any-devices-moved-asleep",
        about="any number of devices post a vector, any number of times, to a vCPU that halts once, and moves as it sleeps",
        architecture="x86",
        cpus=2,
        vcpus=(VcpuSetup(0, HLT),),
        devices=(device(HIGH),),
        vectors=(HIGH,),
        budget=Budget(migrate=1, unlimited=True),
    ),
    Scenario(
        name="any-senders",
        about="any number of software senders post a vector, any number of times",
        architecture="x86",
        cpus=2,
        vcpus=(VcpuSetup(0, HLT),),
        threads=(sender(HIGH, 1),),
        vectors=(HIGH,),
        budget=HALTS_FREELY,
    ),
    Scenario(
        name="any-senders-no-device",
        about="any number of software senders post a vector, any number of times; no device can post",
        architecture="x86",
        cpus=2,
        initial=(("vm.assigned", 0),),
        vcpus=(VcpuSetup(0, HLT),),
        threads=(sender(HIGH, 1),),
        vectors=(HIGH,),
        budget=HALTS_FREELY,
    ),
    Scenario(
        name="any-senders-and-devices",
        about="any number of software senders and devices post a vector, any number of times",
        architecture="x86",
        cpus=2,
        vcpus=(VcpuSetup(0, HLT),),
        devices=(device(HIGH),),
        threads=(sender(HIGH, 1),),
        vectors=(HIGH,),
        budget=HALTS_FREELY,
    ),
    Scenario(
        name="any-handlers",
        about="handlers on the vCPU's own pCPU post a vector, any number of times",
        architecture="x86",
        cpus=1,
        initial=(("vm.assigned", 0),),
        vcpus=(VcpuSetup(0, HLT),),
        interrupts=(DeviceInterrupt(DEVICE, 0, "deliver_interrupt", ("vcpu0", HIGH)),),
        vectors=(HIGH,),
        budget=Budget(preempt=1, exit=1, again=1, spurious=((DEVICE, 0),), unlimited=True),
    ),
)
