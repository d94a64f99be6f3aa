"""Linux's own vGIC, unmodified, behind all software roles of Arm: injector, distributor, run loop and residency.

    on a GICv2       whole: vgic.c, vgic-v2.c, vgic-mmio.c, vgic-mmio-v2.c   cut: arm.c's run loop, kvm_main.c's kicks
    with GICv4 too   whole: vgic-v4.c, irq-gic-v4.c   cut: vgic-v3.c, vgic-v3-sr.c, irq-gic-v3-its.c, kernel/irq

The scenario says which host it is. `SEAMS` says what is not the kernel's. 6.1 and 6.12; a GICv3's distributor and vgic-its.c
are not taken.
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
    DOORBELL,
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
from conformance.roles.scenario import Scenario
from reference.linux.arm64.undone import edits_of
from reference.linux.program import Cut, KernelProgram, Part, Whole, taken
from reference.linux.tree import Tree, tree_of, unpatched

HERE = Path(__file__).parent

VGIC = "arch/arm64/kvm/vgic/"
RUN_LOOP = "arch/arm64/kvm/arm.c"
HEADER = "include/kvm/arm_vgic.h"

GICV4: tuple[Part, ...] = (
    Whole(VGIC + "vgic-v4.c"),
    Whole("drivers/irqchip/irq-gic-v4.c"),
    *(Whole(f"include/linux/irqchip/{name}.h") for name in ("arm-gic-v3", "arm-gic-v4")),
    Cut(
        VGIC + "vgic-mmio-v3.c",
        ("vgic_has_its", "vgic_supports_direct_msis"),
        prelude='#include <linux/kvm_host.h>\n#include "vgic.h"\n',
    ),
    Cut(
        VGIC + "vgic-v3.c",
        (
            *("vgic_v3_set_underflow", "lr_signals_eoi_mi", "vgic_v3_fold_lr_state", "vgic_v3_populate_lr"),
            *("vgic_v3_clear_lr", "vgic_v3_set_vmcr", "vgic_v3_get_vmcr", "vgic_v3_load", "vgic_v3_put"),
        ),
        prelude='#include "units/vgic-v3.h"\n',
    ),
    Cut(
        "arch/arm64/kvm/hyp/vgic-v3-sr.c",
        (
            *("__gic_v3_get_lr", "__gic_v3_set_lr", "__vgic_v3_read_ap0rn", "__vgic_v3_read_ap1rn"),
            *("__vgic_v3_write_ap0rn", "__vgic_v3_write_ap1rn", "__vgic_v3_read_vmcr", "__vgic_v3_write_vmcr"),
            *("__vgic_v3_save_state", "__vgic_v3_restore_state", "__vgic_v3_save_aprs", "__vgic_v3_restore_aprs"),
            *("__vgic_v3_activate_traps", "__vgic_v3_deactivate_traps"),
        ),
        prelude='#include "units/vgic-v3-sr.h"\n',
    ),
    Cut(
        "drivers/irqchip/irq-gic-v3-its.c",
        (
            *("vpe_to_cpuid_lock", "vpe_to_cpuid_unlock", "read_vpend_dirty_clear", "its_clear_vpend_valid"),
            *("its_vpe_set_affinity", "its_wait_vpt_parse_complete", "its_vpe_schedule", "its_vpe_deschedule"),
            *("its_vpe_set_vcpu_affinity", "its_vpe_send_inv", "its_vpe_mask_irq", "its_vpe_unmask_irq"),
            *("its_vpe_set_irqchip_state", "its_vpe_retrigger", "its_vpe_4_1_schedule", "its_vpe_4_1_deschedule"),
            "its_vpe_4_1_set_vcpu_affinity",
        ),
        prelude='#include "units/its.h"\n',
        epilogue='#include "units/its_exported.h"\n',
    ),
    Cut(
        "kernel/irq/manage.c",
        (
            *("irq_set_vcpu_affinity", "irq_set_irqchip_state", "__disable_irq", "__disable_irq_nosync"),
            *("disable_irq_nosync", "__enable_irq", "enable_irq"),
        ),
        prelude='#include "units/irq.h"\n',
    ),
    Cut(
        "kernel/irq/chip.c",
        (
            *("irq_state_clr_disabled", "irq_state_clr_masked", "irq_enable", "irq_disable", "__irq_disable"),
            *("mask_irq", "unmask_irq"),
            *("irq_may_run", "cond_unmask_eoi_irq", "handle_fasteoi_irq"),
        ),
        prelude='#include "units/irq.h"\n',
    ),
    Cut("kernel/irq/handle.c", ("handle_irq_event",), prelude='#include "units/irq.h"\n'),
    Cut("kernel/irq/resend.c", ("try_retrigger", "check_irq_resend"), prelude='#include "units/irq.h"\n'),
)
"""Of GICv4, and of the GICv3 that a host with it is."""

PARTS: tuple[Part, ...] = (
    *(Whole(VGIC + name) for name in ("vgic.c", "vgic-v2.c", "vgic-mmio.c", "vgic-mmio-v2.c", "vgic.h", "vgic-mmio.h")),
    *(Whole(f"include/{name}") for name in ("kvm/arm_vgic.h", "kvm/iodev.h")),
    *(Whole(f"include/linux/irqchip/{name}.h") for name in ("arm-gic", "arm-gic-common", "arm-vgic-info")),
    *GICV4,
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
    "Seam: what vgic-init.c leaves is set up by hand: a GICv2, or with GICv4 a GICv3 whose guest has one (ICC_SRE.SRE=1); both "
    "groups of VMCR on, every interrupt enabled.",
    "Seam: irqfd's resampler lowers the line when it is told of an end, by kvm_vgic_inject_irq().",
    "Seam: with GICv4 the host runs at EL2 (VHE); ICH registers are GICH's in their other shape, AP0R0 and AP1R0 one register.",
    "Seam: vPEs are mapped, their virtual LPIs too, by hand (vgic_v4_init() is run); one ITS, whose VMOVP is done at once, and "
    "GICR_SETLPIR and CLRLPIR for GICv4.0's doorbells. A wait for Dirty has no end; the flags IDAI and VGRPnEN are left out.",
    "Seam: a doorbell's flow is handle_fasteoi_irq(); irq_set_affinity(), irq_startup() and handle_irq_event_percpu() are written "
    "after the kernel's, and the resend tasklet is another doorbell.",
    "Seam: a doorbell of GICv4.0 that arrives while it is masked waits, and what CLRLPIR takes back comes no more until the vPE "
    "is off again.",
    "Seam: no GICv3 without GICv4, none of its distributor, no virtual ITS, no virtual SGIs, no LPIs in software, no other "
    "interrupt that is mapped to a physical one, no access by userspace.",
)
"""What stands between the kernel's functions, and is not the kernel's."""


DISABLED, MASKED = 1, 2
"""Of a doorbell's descriptor: IRQD_IRQ_DISABLED and IRQD_IRQ_MASKED in stub/linux/irq.h."""


class LinuxVgic(Injector, Distributor, RunLoop, Residency):
    """What the kernel's vgic keeps in memory. Its routines are the kernel's."""

    profile: ClassVar[str] = "kvm"
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
        "resident": Shared(0, private_to="*"),
        "ready": Shared(0, private_to="*"),
        "vpe_lock": Shared(lock=True),
        "pending_last": Shared(0),
        "col_idx": Shared(0xFF, guarded_by="vpe_lock", read_freely=True),  # told to the ITS at the first load
        "doorbell_lock": Shared(lock=True),
        "doorbell_state": Shared(DISABLED | MASKED, guarded_by="doorbell_lock", read_freely=True),
        "doorbell_state_4_1": Shared(0, guarded_by="doorbell_lock", read_freely=True),
        "doorbell_istate": Shared(0, guarded_by="doorbell_lock"),
        "doorbell_depth": Shared(1, guarded_by="doorbell_lock"),
        "doorbell_lpi": Shared(0),  # hardware's: see gicv4.c
    }
    cpu_state: ClassVar = {"ipi_pending": Shared(0)}
    vm_state: ClassVar = {
        "enabled": Shared(1, changed_by=(("mmio", "ctlr"),)),
        "config_lock": Shared(lock=True),
    }
    handlers: ClassVar = {
        KICK: "reschedule_ipi",
        MAINTENANCE: "maintenance_interrupt",
        DOORBELL: "doorbell_of_vcpu0",
        DOORBELL + 1: "doorbell_of_vcpu1",
    }


class LinuxArm64(Implementation):
    """A machine with GICv4 is a GICv3 for its guest, and of the distributors a GICv2's alone is taken."""

    def takes_part(self, scenario: Scenario) -> bool:
        gicv4 = {"gicv4", "gicv4.1"} & set(scenario.facts)
        writes = any(step[0] == "mmio" for vcpu in scenario.vcpus for step in vcpu.program)
        return super().takes_part(scenario) and not (gicv4 and writes)


ROUTINES = (
    *("inject", "distributor", "device_quiet", "load", "put"),
    *("vcpu_run", "vcpu_enter_guest", "leave_guest", "vcpu_wfi", "vcpu_block", "vcpu_block_again", "vcpu_unblock"),
    *("reschedule_ipi", "maintenance_interrupt", "doorbell_of_vcpu0", "doorbell_of_vcpu1"),
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
        harness = (HERE / "harness.c", HERE / "gicv4.c", HERE / "absent.c")
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
    base = f"{name}:{unpatched(tree)}" if found.patched or tilde else ""
    return LinuxArm64(
        name,
        spec,
        roles,
        LinuxVgic.profile,
        LinuxVgic.not_applicable,
        replaces=replaces,
        assumptions=SEAMS,
        content=content,
        base=base,
    )
