"""The scenarios of the x86 suite: data, each small enough to be exhausted. `GOLDEN` pins the reference's state counts.

CPUs 0 and up host vCPU threads; a software sender has a CPU of its own. HIGH and LOW lie in different words of the PIR.
"""

from __future__ import annotations

from conformance.engine.scenario import Budget, Device, DeviceInterrupt, Scenario, Thread, Vcpu
from conformance.roles.x86 import DEVICE, HIGH, LOW, PINV, WAKEUP

HLT = (("hlt",),)


def sender(vector: int, cpu: int, vcpu: str = "vcpu0") -> Thread:
    return Thread(f"sender{cpu}", "deliver_interrupt", (vcpu, vector), cpu)


def device(vector: int, name: str = "device", vcpu: str = "vcpu0", urgent: bool = False, after: str = "") -> Device:
    return Device(name, "post", (vcpu, vector, urgent), after)


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        name="core",
        about="a software sender and a device post against a vCPU that enters, halts and is woken",
        cpus=2,
        vcpus=(Vcpu(0, HLT),),
        threads=(sender(LOW, 1),),
        devices=(device(HIGH),),
        vectors=(LOW, HIGH),
    ),
    Scenario(
        name="running",
        about="a software sender and a device post against a vCPU that stays in its guest but for one exit; order of posts is watched",
        cpus=2,
        threads=(sender(LOW, 1),),
        devices=(device(HIGH),),
        vectors=(LOW, HIGH),
        budget=Budget(exit=1),
        facts=("post-order",),
    ),
    Scenario(
        name="two-senders",
        about="two software senders post the same vector to a vCPU that halts, with one exit",
        cpus=3,
        vcpus=(Vcpu(0, HLT),),
        threads=(sender(LOW, 1), sender(LOW, 2)),
        vectors=(LOW,),
        budget=Budget(exit=1),
    ),
    Scenario(
        name="block-preempt",
        about="a device posts to a vCPU that halts and may be preempted on the way, on the pCPU it blocks on or another",
        cpus=2,
        vcpus=(Vcpu(0, HLT),),
        devices=(device(HIGH),),
        vectors=(HIGH,),
        budget=Budget(preempt=1, migrate=1),
    ),
    Scenario(
        name="block-preempt-software",
        about="a software sender posts to a vCPU that halts and may be preempted and moved on the way",
        cpus=3,
        vcpus=(Vcpu(0, HLT),),
        threads=(sender(HIGH, 2),),
        vectors=(HIGH,),
        budget=Budget(preempt=1, migrate=1),
    ),
    Scenario(
        name="preempt-running",
        about="a device posts to a vCPU that runs, exits, is preempted and comes back, here or on another pCPU",
        cpus=2,
        devices=(device(HIGH),),
        vectors=(HIGH,),
        budget=Budget(preempt=1, migrate=1, exit=1),
    ),
    Scenario(
        name="two-posts",
        about="a device posts two vectors one after the other's notification, to a vCPU that exits once",
        cpus=1,
        devices=(device(LOW, "device-low"), device(HIGH, "device-high")),
        vectors=(LOW, HIGH),
        budget=Budget(exit=1, spurious=((PINV, 0),)),
        facts=("eoi-exit",),
        initial=(("vcpu0.eoi_exit[3]", 1 << HIGH % 64),),
    ),
    Scenario(
        name="masked",
        about="a vCPU with a high task priority lowers it after vectors of both classes were posted",
        cpus=2,
        vcpus=(Vcpu(0, (("write_tpr", 0x80), ("cli",), ("sti",), ("write_tpr", 0x10))),),
        threads=(sender(LOW, 1),),
        devices=(device(HIGH),),
        vectors=(LOW, HIGH),
    ),
    Scenario(
        name="masked-for-good",
        about="a vCPU with a high task priority keeps it: what is masked stays pending, what is not is delivered",
        cpus=2,
        vcpus=(Vcpu(0, (("write_tpr", 0x80), ("hlt",))),),
        threads=(sender(LOW, 1),),
        devices=(device(HIGH),),
        vectors=(LOW, HIGH),
    ),
    Scenario(
        name="halt-closed",
        about="a device posts to a vCPU that halts with interrupts closed: it sleeps, and is not kept busy",
        cpus=1,
        vcpus=(Vcpu(0, (("cli",), ("hlt",))),),
        devices=(device(HIGH),),
        vectors=(HIGH,),
    ),
    Scenario(
        name="halt-polling",
        about="a device posts to a vCPU that polls before it blocks",
        cpus=1,
        vcpus=(Vcpu(0, HLT),),
        devices=(device(HIGH),),
        vectors=(HIGH,),
        facts=("halt-polling",),
        budget=Budget(spurious=((WAKEUP, 0),)),
    ),
    Scenario(
        name="on-the-target",
        about="a device's hard-interrupt handler on the vCPU's own pCPU posts to it, as it runs, halts or blocks",
        cpus=1,
        vcpus=(Vcpu(0, HLT),),
        interrupts=(DeviceInterrupt(DEVICE, 0, "deliver_interrupt", ("vcpu0", HIGH)),),
        vectors=(HIGH,),
        budget=Budget(exit=1),
    ),
    Scenario(
        name="self-ipi",
        about="a guest sends itself IPIs: virtualized, handled at an exit, and on the fast path that re-enters at once",
        cpus=1,
        vcpus=(Vcpu(0, (("self_ipi", LOW), ("fastpath_ipi", HIGH))),),
        devices=(device(LOW),),
        vectors=(LOW, HIGH),
    ),
    Scenario(
        name="ipi-virtualization",
        about="another processor posts with IPI virtualization, a device posts too, to a vCPU that halts and may be preempted",
        cpus=1,
        vcpus=(Vcpu(0, HLT),),
        devices=(Device("ipi", "virtual_ipi", ("vcpu0", LOW)), device(HIGH)),
        vectors=(LOW, HIGH),
        budget=Budget(preempt=1),
    ),
    Scenario(
        name="urgent",
        about="an urgent and a plain device post to a vCPU that may be preempted",
        cpus=1,
        devices=(device(HIGH, "urgent", urgent=True), device(LOW, "plain")),
        vectors=(LOW, HIGH),
        budget=Budget(preempt=1, exit=1),
    ),
    Scenario(
        name="xapic",
        about="as block-preempt, with xAPIC destinations",
        cpus=2,
        vcpus=(Vcpu(0, HLT),),
        devices=(device(HIGH),),
        vectors=(HIGH,),
        budget=Budget(preempt=1, migrate=1),
        facts=("xapic",),
    ),
    Scenario(
        name="apicv-inhibited",
        about="a software sender and a device post to a vCPU whose APICv is inhibited",
        cpus=2,
        threads=(sender(LOW, 1),),
        devices=(device(HIGH),),
        vectors=(LOW, HIGH),
        budget=Budget(exit=1),
        facts=("apicv-inhibited",),
    ),
    Scenario(
        name="save-restore",
        about="the host posts to its own vCPU, saves its local APIC and restores it",
        cpus=1,
        vcpus=(Vcpu(0, (("save_restore", HIGH),)),),
        vectors=(HIGH,),
    ),
    Scenario(
        name="reset",
        about="a vCPU with a posted vector is given a fresh local APIC whose timer has expired",
        cpus=1,
        vcpus=(Vcpu(0, (("reset", HIGH, LOW),)),),
        vectors=(LOW, HIGH),
    ),
    Scenario(
        name="assign",
        about="a vCPU may block before the first device is assigned; then the device posts",
        cpus=2,
        vcpus=(Vcpu(0, HLT),),
        threads=(Thread("assign", "assign_device", ("vcpu0",), 1),),
        devices=(device(HIGH, after="assign"),),
        vectors=(HIGH,),
        facts=("assignment-changes",),
        initial=(("vm.assigned", 0),),
        budget=Budget(migrate=1),
    ),
    Scenario(
        name="unassign",
        about="the last device goes while a vCPU may block; a software sender posts",
        cpus=3,
        vcpus=(Vcpu(0, HLT),),
        threads=(Thread("unassign", "unassign_device", ("vcpu0",), 1), sender(HIGH, 2)),
        vectors=(HIGH,),
        facts=("assignment-changes",),
        budget=Budget(preempt=1),
    ),
    Scenario(
        name="inhibit-toggles",
        about="the VM is asked to inhibit APICv while a vCPU halts, may move and is woken by a device's post",
        cpus=3,
        vcpus=(Vcpu(0, HLT),),
        threads=(Thread("inhibit", "inhibit_apicv", ("vcpu0",), 2),),
        devices=(device(HIGH),),
        vectors=(HIGH,),
        facts=("inhibit-toggles",),
        budget=Budget(migrate=1),
    ),
    Scenario(
        name="two-vcpus",
        about="two vCPUs on two pCPUs, a device post to each, one of them halting",
        cpus=2,
        vcpus=(Vcpu(0, HLT), Vcpu(1)),
        devices=(device(HIGH, "device0"), device(LOW, "device1", "vcpu1")),
        vectors=(LOW, HIGH),
        budget=Budget(spurious=((PINV, 1),)),
    ),
    Scenario(
        name="tso-running",
        about="as running with one sender, every CPU with a store buffer",
        cpus=2,
        threads=(sender(LOW, 1),),
        vectors=(LOW,),
        buffer=2,
        budget=Budget(exit=1),
    ),
    Scenario(
        name="tso-block",
        about="a software sender posts to a vCPU that halts, every CPU with a store buffer",
        cpus=2,
        vcpus=(Vcpu(0, HLT),),
        threads=(sender(LOW, 1),),
        vectors=(LOW,),
        buffer=2,
    ),
)

GOLDEN: dict[str, int] = {}
"""States of each scenario with the reference, every monitor attached."""
