"""Fixes of KVM's vGIC, each undone by an edit of the real source: the suite has to notice.

Beside each commit, or where the mistake was mended elsewhere, who did, what it mended, a scenario that shows it, and the clause
that is broken there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from conformance.adapters.native import NativeError
from conformance.roles.arm import EDGE, EDGE2, LPI
from conformance.roles.nearest import nearest
from conformance.roles.scenario import Budget, Device, Scenario, VcpuSetup
from reference.linux.arm64.mends import MENDS
from reference.linux.program import Edit


class Undone(NamedTuple):
    source: str
    """The commit, or whose mistake it was."""
    name: str
    about: str
    edit: Edit
    scenario: str | Scenario
    clause: str
    releases: tuple[str, ...] = ("6.1", "6.12")
    quick: bool = False
    """Tried whenever the tests are, in the smallest scenario: no exit, no sleep."""
    elsewhere: str = ""
    """Whose lines its schedule names, where those of the edited function do nothing that others notice any more."""


RUN, QUEUE, PRUNE = "kvm_arch_vcpu_ioctl_run", "vgic_queue_irq_unlock", "vgic_prune_ap_list"
POPULATE, FOLD = "vgic_v2_populate_lr", "vgic_v2_fold_lr_state"
REQUEST = "kvm_make_request(KVM_REQ_IRQ_PENDING, vcpu);"
WFI = "the priority mask is read before a WFI is decided"

RETARGET_THEN_EXIT = Scenario(
    name="retarget-then-exit",
    about="a guest gives its pending interrupt to another vCPU, which waits, and exits once more",
    architecture="arm",
    cpus=2,
    vcpus=(
        VcpuSetup(
            0,
            (
                ("mask",),
                *(("mmio", *w) for w in (("ispendr", EDGE, 1), ("itargetsr", EDGE, 1), ("isenabler", EDGE2, 1))),
            ),
        ),
        VcpuSetup(1, (("wfi",),)),
    ),
    vectors=(EDGE, EDGE2),
)

MOVED_BETWEEN_WAITS = Scenario(
    name="moved-between-waits",
    about="a virtual LPI for a vCPU that waits, moves, and waits for another one, GICv4.1",
    architecture="arm",
    cpus=2,
    vcpus=(VcpuSetup(0, (("wfi",), ("wfi",))),),
    devices=(
        *(Device(f"ITS-{n}", "vlpi", ("vcpu0", LPI + n)) for n in range(2)),
        *(Device(f"redistributor{cpu}", "redistributor", (cpu,)) for cpu in range(2)),
    ),
    vectors=(LPI, LPI + 1),
    budget=Budget(migrate=1),
    facts=("gicv4.1",),
)

UNDONE = (
    Undone(
        *("325f9c649c8a (2017)", "no-look", "a look at requests after mode := IN"),
        Edit(RUN, "kvm_vcpu_exit_request(vcpu, &ret)", "0"),
        *("vgic-edge", "VGIC-Q-1"),
        quick=True,
    ),
    Undone(
        *("325f9c649c8a (2017)", "no-request", "a request before the kick"),
        Edit(QUEUE, f"{REQUEST} kvm_vcpu_kick(vcpu); return true;", "kvm_vcpu_kick(vcpu); return true;"),
        *("vgic-edge", "VGIC-Q-1"),
    ),
    Undone(
        *("5eeaf10eec39 (2019)", "stale-mask", WFI),
        Edit("kvm_vcpu_wfi", "kvm_vgic_vmcr_sync(vcpu);", ""),
        *("vgic-mask-wfi", "VGIC-WFI-2", ("6.1",)),
    ),
    Undone(
        *("5eeaf10eec39 (2019)", "stale-mask-put", f"{WFI}, by put"),
        Edit("kvm_vcpu_wfi", "kvm_vgic_put(vcpu);", ""),
        *("vgic-mask-wfi", "VGIC-WFI-2", ("6.12",)),
    ),
    Undone(
        *("67b5b673ad4d (2018)", "pending-and-active", "a level is never pending and active at once"),
        Edit(POPULATE, "allow_pending = false; } }", "; } }"),
        *("vgic-level-resample", "VGIC-LVL-2"),
    ),
    Undone(
        *("16ca6a607d84 (2018)", "no-next-source", "one source of an SGI at a time, and its end brings the next"),
        Edit(POPULATE, "irq->pending_latch = true; val |= GICH_LR_EOI;", "irq->pending_latch = true;"),
        *("vgic-sgi", "VGIC-SGI-3"),
    ),
    Undone(
        *("vgic_queue_irq_unlock()", "no-recheck", "who dropped irq_lock asks again who has the interrupt"),
        Edit(QUEUE, "irq->vcpu || vcpu != vgic_target_oracle(irq)", "0"),
        *("vgic-sgi", "ASSERTION"),
    ),
    Undone(
        *("vgic_queue_irq_unlock()", "no-kick-if-listed", "what is listed already is kicked for, too"),
        Edit(QUEUE, "kvm_vcpu_kick(vcpu); }", "}"),
        *("vgic-two-edges", "VGIC-EDGE-1"),
    ),
    Undone(
        *("vgic_prune_ap_list()", "no-kick-of-target", "an interrupt that moves: its new target is kicked"),
        Edit(PRUNE, "target_vcpu_needs_kick = true;", ""),
        *(RETARGET_THEN_EXIT, "VGIC-RT-1"),
    ),
    Undone(
        *("vgic_prune_ap_list()", "stale-owner", "what leaves a list is nobody's any more"),
        Edit(PRUNE, "irq->vcpu = NULL;", ""),
        *("vgic-two-edges", "VGIC-EDGE-1"),
    ),
    Undone(
        *("vgic.c, on locking order", "interrupts-on", "a lock that handlers take, too, is taken with interrupts off"),
        Edit(
            "kvm_vgic_vcpu_pending_irq",
            "raw_spin_lock_irqsave(&vgic_cpu->ap_list_lock, flags);",
            "raw_spin_lock(&vgic_cpu->ap_list_lock); flags = 0;",
        ),
        *("vgic-handler", "DEADLOCK"),
    ),
    Undone(
        *("vgic_v2_fold_lr_state()", "stale-source", "an SGI that is active keeps its source over an exit"),
        Edit(FOLD, "irq->active_source = cpuid;", ";"),
        *("vgic-sgi", "VGIC-SGI-5"),
    ),
    Undone(
        *(
            "vgic_v2_fold_lr_state()",
            "edge-dropped",
            "an edge that was not acknowledged is pending again after the exit",
        ),
        Edit(FOLD, "irq->pending_latch = true;", ";"),
        *("vgic-edge", "VGIC-EDGE-1"),
        quick=True,
    ),
    Undone(
        *("vgic_v2_put()", "no-apr", "GICH_APR goes along"),
        Edit("vgic_v2_put", "cpu_if->vgic_apr =", "(void)"),
        *("vgic-shared-pcpu", "GICV2-PRI-4"),
    ),
    Undone(
        *("as FreeBSD's PR 2437", "no-eoi", "a level's end is to be told"),
        Edit(
            POPULATE,
            "if (irq->config == VGIC_CONFIG_LEVEL) { val |= GICH_LR_EOI;",
            "if (irq->config == VGIC_CONFIG_LEVEL) {",
        ),
        *("vgic-level-resample", "VGIC-LVL-2"),
    ),
    Undone(
        *("as libvmm's PR 257", "latch-stays", "the latch goes along into the list register"),
        Edit(POPULATE, "irq->pending_latch = false;", ";"),
        *("vgic-edge", "VGIC-EDGE-5"),
        quick=True,
    ),
    Undone(
        *("as libvmm's issue 56", "disabled-dropped", "what is disabled becomes pending"),
        Edit("vgic_validate_injection", "return level;", "return level && irq->enabled;"),
        *("vgic-disable", "VGIC-EN-2"),
        elsewhere="kvm_vgic_inject_irq",
    ),
    Undone(
        *("as libvmm's issue 56", "enable-queues-nothing", "enabling delivers what is pending"),
        Edit(
            "vgic_mmio_write_senable",
            "vgic_queue_irq_unlock(vcpu->kvm, irq, flags);",
            "raw_spin_unlock_irqrestore(&irq->irq_lock, flags);",
        ),
        *("vgic-disable", "VGIC-EN-2"),
    ),
    Undone(
        *("as bao's issue 371", "active-disabled", "an active interrupt stays, disabled or not"),
        Edit("vgic_target_oracle", "if (irq->active)", "if (irq->active && irq->enabled)"),
        *("vgic-disable-active", "VGIC-EN-3"),
    ),
    Undone(
        *("as hvisor's issue 282", "one-source", "an SGI has the source that sent it"),
        Edit("vgic_mmio_write_sgir", "irq->source |= 1U << source_vcpu->vcpu_id", "irq->source |= 1U"),
        *("vgic-sgi", "VGIC-SGI-1"),
    ),
    Undone(
        *("b321c31c9b7b (2023)", "resident-in-wfi", "a load on the way to sleep leaves the vPE off"),
        Edit("vgic_v4_load", "if (vcpu_get_flag(vcpu, IN_WFI))", "if (0)"),
        *("gicv4.1-wfi-preempt", "VGIC-WFI-2"),
    ),
    Undone(
        *("vgic_v4_load()", "no-vmovp", "the ITS hears of the pCPU before the vPE is resident there"),
        Edit("vgic_v4_load", "irq_set_affinity(vpe->irq, cpumask_of(smp_processor_id()))", "0"),
        *("gicv4.1-running", "GICV4-RES-4"),
    ),
    Undone(
        *("its_vpe_4_1_deschedule()", "no-doorbell", "on the way to sleep a doorbell is asked for"),
        Edit("its_vpe_4_1_deschedule", "GICR_VPENDBASER_4_1_DB", "0"),
        *("gicv4.1-wfi", "VGIC-WFI-2"),
    ),
    Undone(
        *("vgic_v4_put()", "doorbell-always", "who is preempted asks for none"),
        Edit("vgic_v4_put", "!!vcpu_get_flag(vcpu, IN_WFI)", "true"),
        *("gicv4.1-running", "GICV4-DB-1"),
    ),
    Undone(
        *("vgic_v4_doorbell_handler()", "doorbell-forgotten", "a doorbell says that something is pending"),
        Edit("vgic_v4_doorbell_handler", "pending_last = true;", "pending_last = false;"),
        *("gicv4.1-wfi", "VGIC-WFI-2"),
    ),
    Undone(
        *("vgic_v4_doorbell_handler()", "doorbell-kicks-nobody", "a doorbell wakes its vCPU"),
        Edit("vgic_v4_doorbell_handler", "kvm_vcpu_kick(vcpu);", ""),
        *("gicv4.1-wfi", "VGIC-WFI-2"),
    ),
    Undone(
        *("57e3cebd022f (2020)", "no-commit", "the guest is entered after the scan, where it can be seen"),
        Edit("vgic_v4_commit", "its_commit_vpe(vpe);", ";"),
        *("gicv4.1-wfi", "GICV4-RES-7"),
        elsewhere="kvm_vgic_flush_hwstate",
    ),
    Undone(
        *("df9ba95993b9 (2017)", "enabled-once", "a doorbell that was disabled twice is enabled twice"),
        Edit("its_make_vpe_non_resident", "while (db &&", "if (db &&"),
        *("gicv4-two-waits", "VGIC-WFI-2"),
    ),
    Undone(
        *("686121ebe6fc (2017)", "no-drain", "PendingLast is read after the drain"),
        Edit(
            "its_clear_vpend_valid",
            "gicr_write_vpendbaser(val, vlpi_base + GICR_VPENDBASER); val = read_vpend_dirty_clear(vlpi_base);",
            "gicr_write_vpendbaser(val, vlpi_base + GICR_VPENDBASER); "
            "val = gicr_read_vpendbaser(vlpi_base + GICR_VPENDBASER) & ~GICR_VPENDBASER_Dirty;",
        ),
        *("gicv4.1-wfi", "GICV4-RES-6"),
    ),
    Undone(
        *(
            "9c15eeb5362c (2023)",
            "no-resend",
            "a doorbell that rings while its handler runs elsewhere is taken afterwards",
        ),
        Edit("handle_fasteoi_irq", "if (irqd_needs_resend_when_in_progress(&desc->irq_data))", "if (0)"),
        *(MOVED_BETWEEN_WAITS, "VGIC-WFI-2", ("6.12",)),
    ),
)


def edits_of(name: str) -> Sequence[Edit]:
    """Of the undone fix, or mend, of this name. Raises NativeError."""
    known = {undone.name: (undone.edit,) for undone in UNDONE} | {mend.name: mend.edits for mend in MENDS}
    if name not in known:
        raise NativeError(f"no fix undone, and no mend, is called {name!r}. {nearest(name, known)}", "build")
    return known[name]
