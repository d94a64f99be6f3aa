"""KVM's own posted-interrupt code for VMX: posted_intr.c whole, and functions cut out of vmx.c, lapic.c, x86.c and others.

It fills the sender, the run loop and the residency; the reference's KVM does what no cut function does (SEAMS).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from conformance.adapters.declared import world_of
from conformance.adapters.kernel import Kernel
from conformance.adapters.native import NativeError
from conformance.adapters.native.cache import hash_of
from conformance.adapters.native.once import asked_once
from conformance.adapters.protocol import WorldMessage
from conformance.adapters.registry import AdapterError, Implementation, MakeSource, routines_of
from conformance.roles.role import BaseRole
from conformance.roles.x86 import IpiVirtualization, Residency, RunLoop, Sender, StateTransfer, World
from reference.linux.program import Cut, KernelProgram, Part, Whole, taken
from reference.linux.tree import Tree, tree_of, unpatched
from reference.linux.x86.undone import edits_of
from reference.x86.kvm import Kvm

HERE = Path(__file__).parent
FLAGS = ("-DCONFIG_X86=1", "-DCONFIG_X86_64=1", "-DCONFIG_SMP=1", "-DCONFIG_KVM_SMM=1")

KVM = "arch/x86/kvm/"
IPIV = "ipi-virtualization"
INLINE = "kvm_inline.h"

NATIVE = (
    *("deliver_interrupt", "load", "put", "wakeup_handler", "has_pending", "directed_yield"),
    *("vcpu_enter_guest", "reenter_guest", "vcpu_halt", "vcpu_block", "block_once", "unblocked"),
)
"""Routines that the program answers."""


SEAMS = (
    "Seam: vcpu_enter_guest() is written after the kernel's as far as it orders interrupts off, mode, the harvest, the look at "
    "requests and VM entry; so is its fast path. What injects an interrupt with APICv inhibited is the reference's.",
    "Seam: kvm_vcpu_halt() is one poll by kvm_vcpu_check_block(), at any time, then kvm_vcpu_block(); a wake-up ends the routine "
    "in schedule(), and the next begins at the loop's head, which keeps nothing from one round to the next.",
    "Seam: what kvm_sched_in/out(), kvm_arch_vcpu_load/put() and vmx_vcpu_load/put() do beside the posted-interrupt hooks, "
    "kvm_running_vcpu and vcpu->cpu is left out: no guest state, timers or requests.",
    "Seam: events other than an interrupt (NMI, SMI, INIT, exceptions, timers, signals, Xen, Hyper-V, nested) there are none; "
    "PPR is the processor's; RVI is all of GUEST_INTR_STATUS.",
    "Seam: no device interrupt is routed: irq_set_vcpu_affinity() is never called. IPI virtualization is in use where the "
    "scenario uses it, and nowhere else.",
    "Seam: saving, restoring and resetting the local APIC, assigning a device and inhibiting APICv are the reference's.",
)
"""What stands between the kernel's functions, and is not the kernel's."""


def parts_of(tree: Tree) -> tuple[Part, ...]:
    """What is taken of a tree, by what is in it."""
    asm = "arch/x86/include/asm/posted_intr.h"  # since 6.11
    return (
        *((Whole(asm),) if tree.has(asm) else ()),
        Whole(KVM + "vmx/posted_intr.h"),
        Whole(KVM + "vmx/posted_intr.c"),
        Cut(
            "include/linux/kvm_host.h",
            (
                *("__kvm_make_request", "kvm_make_request", "kvm_check_request", "kvm_clear_request"),
                *("kvm_request_pending", "kvm_vcpu_exiting_guest_mode", "kvm_arch_vcpu_get_wait"),
                *("__kvm_vcpu_wake_up", "kvm_vcpu_is_blocking"),
            ),
            into=INLINE,
            prelude="",
        ),
        Cut(
            KVM + "lapic.h",
            ("kvm_lapic_set_vector", "kvm_lapic_set_irr", "kvm_vcpu_apicv_active"),
            into=INLINE,
            prelude="",
        ),
        Cut(
            KVM + "vmx/vmx.c",
            (
                *("vmx_deliver_interrupt", "vmx_deliver_posted_interrupt", "vmx_deliver_nested_posted_interrupt"),
                *("kvm_vcpu_trigger_posted_interrupt", "vmx_sync_pir_to_irr", "vmx_set_rvi"),
            ),
            prelude='#include "vmx.h"\n',
            epilogue='#include "units/vmx.h"\n',
        ),
        Cut(
            KVM + "lapic.c",
            (
                *(
                    "__kvm_apic_update_irr",
                    "kvm_apic_update_irr",
                    "kvm_lapic_find_highest_irr",
                    "apic_find_highest_irr",
                ),
                *("apic_search_irr", "find_highest_vector", "kvm_apic_has_interrupt", "apic_has_interrupt_for_ppr"),
            ),
            prelude='#include "units/lapic.h"\n',
        ),
        Cut(
            KVM + "x86.c",
            (
                *("kvm_arch_vcpu_runnable", "kvm_vcpu_running", "kvm_vcpu_has_events", "kvm_arch_interrupt_allowed"),
                *("kvm_arch_vcpu_should_kick", "kvm_arch_has_assigned_device", "kvm_vcpu_exit_request"),
            ),
            prelude='#include "units/x86.h"\n',
            epilogue='#include "units/x86_exported.h"\n',
        ),
        Cut(KVM + "irq.c", ("kvm_cpu_has_interrupt",), prelude='#include "units/irq.h"\n'),
        Cut(
            "virt/kvm/kvm_main.c",
            ("kvm_vcpu_block", "kvm_vcpu_check_block", "kvm_vcpu_wake_up", "kvm_vcpu_kick"),
            prelude='#include "units/kvm_main.h"\n',
            epilogue='#include "units/kvm_main_exported.h"\n',
        ),
        Cut("kernel/exit.c", ("rcuwait_wake_up",)),
    )


class LinuxX86(Kvm):
    """Linux's own functions. What they do not do is as the reference's KVM has it."""


def adapter(argument: str) -> Implementation:
    """Linux's own code for posted interrupts. After a colon: the tree; +FILE: a patch to it; ~NAME: a fix of it undone, or a mend."""
    return implementation(argument)


def take(tree: str, patch: str) -> Kernel:
    return taken("linux-x86", tree, patch, parts_of)


def implementation(argument: str = "", facts: tuple[str, ...] = ()) -> Implementation:
    """`facts` are told to the program in every scenario."""
    tree, tilde, edit = argument.partition("~")
    name = "linux-x86"
    spec = f"{name}:{argument}" if argument else name
    try:
        found = tree_of(tree)
        edits = edits_of(edit) if tilde else ()
        program = KernelProgram(found, HERE, parts_of(found), (HERE / "harness.c",), edits=edits, cflags=FLAGS)
        content = hash_of(program.build())
    except NativeError as error:
        raise AdapterError(f"{spec}: {error}") from error

    def told(world: World) -> WorldMessage:
        ipiv = (IPIV,) if world.scenario.calls & set(routines_of(IpiVirtualization)) else ()
        message = world_of(world)
        return program.told(msgspec.structs.replace(message, facts=(*message.facts, *facts, *ipiv)))

    source = asked_once(program, told)
    replaces: dict[str, MakeSource] = dict.fromkeys(NATIVE, source)
    roles: Mapping[type[BaseRole], type[BaseRole]] = dict.fromkeys(
        (Sender, RunLoop, Residency, StateTransfer), LinuxX86
    )
    base = f"{name}:{unpatched(tree)}" if found.patched or tilde else ""
    built = Implementation(name, spec, roles, Kvm.profile, replaces=replaces, assumptions=SEAMS)
    return replace(built, base=base, content=content)
