"""Linux's own vGIC, unmodified, behind all software roles of Arm: injector, distributor, run loop and residency, on a GICv2.

    whole: vgic.c, vgic-v2.c, vgic-mmio.c, vgic-mmio-v2.c and their headers   cut: arm.c's run loop, kvm_main.c's kicks

`SEAMS` says what is not the kernel's. 6.1 and 6.12; vgic-v3.c, vgic-v4.c and vgic-its.c are not taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from conformance.adapters.declared import world_of
from conformance.adapters.kernel import Kernel
from conformance.adapters.native import NativeError
from conformance.adapters.native.cache import hash_of
from conformance.adapters.native.once import asked_once
from conformance.adapters.registry import AdapterError, Implementation, MakeSource
from conformance.roles.arm import (
    KICK,
    MAINTENANCE,
    VMCR_RESET,
    Distributor,
    Injector,
    Residency,
    RunLoop,
    Shared,
)
from conformance.roles.role import BaseRole
from reference.linux.arm64.undone import edits_of
from reference.linux.program import Cut, KernelProgram, Part, Whole, taken
from reference.linux.tree import Tree, tree_of, unpatched

HERE = Path(__file__).parent

VGIC = "arch/arm64/kvm/vgic/"
RUN_LOOP = "arch/arm64/kvm/arm.c"
HEADER = "include/kvm/arm_vgic.h"

PARTS: tuple[Part, ...] = (
    *(Whole(VGIC + name) for name in ("vgic.c", "vgic-v2.c", "vgic-mmio.c", "vgic-mmio-v2.c", "vgic.h", "vgic-mmio.h")),
    *(Whole(f"include/{name}") for name in ("kvm/arm_vgic.h", "kvm/iodev.h")),
    *(Whole(f"include/linux/irqchip/{name}.h") for name in ("arm-gic", "arm-gic-common", "arm-vgic-info")),
    Cut(
        "include/linux/kvm_host.h",
        (
            *("__kvm_make_request", "kvm_make_request", "kvm_check_request", "kvm_clear_request"),
            *("kvm_vcpu_exiting_guest_mode", "__kvm_vcpu_wake_up"),
        ),
        into="kvm_inline.h",
        prelude="",
    ),
    Cut(
        RUN_LOOP,
        (
            *(
                "kvm_arch_vcpu_ioctl_run",
                "check_vcpu_requests",
                "kvm_vcpu_exit_request",
                "kvm_vcpu_sleep",
                "kvm_vcpu_wfi",
            ),
            *("kvm_arm_halt_guest", "kvm_arm_resume_guest", "kvm_arch_vcpu_runnable", "kvm_arch_vcpu_should_kick"),
        ),
        prelude='#include "units/arm.h"\n',
    ),
    Cut(
        "virt/kvm/kvm_main.c",
        (
            *(
                "kvm_vcpu_kick",
                "kvm_vcpu_wake_up",
                "kvm_vcpu_block",
                "kvm_vcpu_check_block",
                "kvm_make_all_cpus_request",
            ),
            *("kvm_make_vcpu_request", "kvm_kick_many_cpus", "kvm_request_needs_ipi"),
        ),
        prelude='#include "units/kvm_main.h"\n',
    ),
)

SEAMS = (
    "Seam: kvm_arch_vcpu_ioctl_run() and kvm_vcpu_wfi() are run whole for each part of them, with what the other parts do left "
    "out; kvm_vcpu_block() is, too, for each round. What handle_exit() leads to is written after the kernel's.",
    "Seam: what kvm_sched_in/out() and kvm_arch_vcpu_load/put() do beside kvm_vgic_load/put() and vcpu->cpu is left out; a wake-up "
    "wakes who has announced its sleep, without rcuwait's own steps.",
    "Seam: an IPI that is waited for (smp_call_function_many()) is a flag that the kick's handler clears; config_lock is a "
    "spinning lock.",
    "Seam: list_add_tail(), list_del() and list_sort() read and write a list whole; GICH is a register per CPU, GICH_ELRSR "
    "follows from the list registers.",
    "Seam: what vgic-init.c leaves is set up by hand: a GICv2, both groups of VMCR on, every interrupt enabled.",
    "Seam: irqfd's resampler lowers the line when it is told of an end, by kvm_vgic_inject_irq().",
    "Seam: no GICv3, no GICv4, no LPIs, no interrupt that is mapped to a physical one, no access by userspace.",
)
"""What stands between the kernel's functions, and is not the kernel's."""


class LinuxVgic(Injector, Distributor, RunLoop, Residency):
    """What the kernel's vgic keeps in memory. Its routines are the kernel's."""

    profile: ClassVar[str] = "kvm"
    lacks: ClassVar = ("gicv4", "gicv4.1")
    not_applicable: ClassVar = {
        **dict.fromkeys(("VGIC-SUM-1", "VGIC-SUM-3"), "keeps no summary bit"),
        "GICV2-LR-9": "no scenario maps an interrupt to a physical one",
    }
    irq_state: ClassVar = {
        "irq_lock": Shared(lock=True),
        "enabled": Shared(1, guarded_by="irq_lock"),
        "line": Shared(0, guarded_by="irq_lock"),
        "latch": Shared(0, guarded_by="irq_lock"),
        "active": Shared(0, guarded_by="irq_lock"),
        "source": Shared(0, guarded_by="irq_lock"),
        "active_source": Shared(0, guarded_by="irq_lock"),
        "target": Shared(("vcpu0",), guarded_by="irq_lock"),
        "targets": Shared(0, guarded_by="irq_lock"),
        "owner": Shared((), guarded_by="irq_lock"),
    }
    vcpu_state: ClassVar = {
        "ap_list_lock": Shared(lock=True),
        "ap_list": Shared((), guarded_by="ap_list_lock", read_freely=True),  # list_empty() looks without the lock
        "requests": Shared(0),
        "mode": Shared(0),
        "cpu": Shared(0),
        "paused": Shared(0),
        "in_wfi": Shared(0, private_to="*"),
        "hcr_sw": Shared(1, private_to="*"),
        "vmcr_sw": Shared(VMCR_RESET),
        "apr_sw": Shared(0, private_to="*"),
        "used_lrs": Shared(0, private_to="*"),
        **{f"lr_sw[{n}]": Shared(0, private_to="*") for n in range(4)},
    }
    cpu_state: ClassVar = {"ipi_pending": Shared(0)}
    vm_state: ClassVar = {
        "enabled": Shared(1, changed_by=(("mmio", "ctlr"),)),
        "config_lock": Shared(lock=True),
    }
    handlers: ClassVar = {KICK: "reschedule_ipi", MAINTENANCE: "maintenance_interrupt"}


ROUTINES = (
    *("inject", "distributor", "device_quiet", "load", "put"),
    *("vcpu_run", "vcpu_enter_guest", "leave_guest", "vcpu_wfi", "vcpu_block", "vcpu_block_again", "vcpu_unblock"),
    *("reschedule_ipi", "maintenance_interrupt"),
)


def release(tree: Tree) -> Iterator[str]:
    """What differs between releases, by what is in them, as flags of the compiler."""
    header = tree.read(HEADER)
    if re.search(r"kvm_vgic_inject_irq\(struct kvm \*kvm, int cpuid", header):
        yield "-DINJECT_BY_NUMBER"
    if re.search(r"struct vgic_irq \*private_irqs;", header):
        yield "-DPRIVATE_IRQS_APART"
    if "atomic_inc(&vcpu->arch.pause)" in tree.read(RUN_LOOP):
        yield "-DPAUSE_COUNTS"


def adapter(argument: str) -> Implementation:
    """Linux's own vGIC for Arm. After a colon: the tree; +FILE: a patch to it; ~NAME: a fix of it undone, or a mend."""
    return implementation(argument)


def take(tree: str, patch: str) -> Kernel:
    return taken("linux-arm64", tree, patch, lambda _: PARTS)


def implementation(argument: str = "") -> Implementation:
    tree, tilde, edit = argument.partition("~")
    name = "linux-arm64"
    spec = f"{name}:{argument}" if argument else name
    try:
        found = tree_of(tree)
        harness = (HERE / "harness.c", HERE / "absent.c")
        flags = ("-w", *release(found))
        edits = edits_of(edit) if tilde else ()
        program = KernelProgram(found, HERE, PARTS, harness, edits=edits, cflags=flags)
        content = hash_of(program.build())
    except NativeError as error:
        raise AdapterError(f"{spec}: {error}") from error

    source = asked_once(program, lambda world: program.told(world_of(world)))
    bases: tuple[type[BaseRole], ...] = (Injector, Distributor, RunLoop, Residency)
    roles: dict[type[BaseRole], type[BaseRole]] = dict.fromkeys(bases, LinuxVgic)
    replaces: dict[str, MakeSource] = dict.fromkeys(ROUTINES, source)
    declared = (LinuxVgic.profile, LinuxVgic.not_applicable, LinuxVgic.lacks)
    base = f"{name}:{unpatched(tree)}" if found.patched or tilde else ""
    return Implementation(
        name, spec, roles, *declared, replaces=replaces, assumptions=SEAMS, content=content, base=base
    )
