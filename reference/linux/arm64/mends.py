"""Ways to mend what docs/findings/2.md, 5.md and 9.md tell of, as edits of the real source: which are enough, the suite says."""

from __future__ import annotations

from typing import NamedTuple

from reference.linux.program import Edit


class Mend(NamedTuple):
    name: str
    about: str
    edits: tuple[Edit, ...]
    clause: str
    enough: tuple[str, ...]
    """The scenarios in which nothing is broken then."""
    not_enough: tuple[str, ...] = ()
    releases: tuple[str, ...] = ("6.1", "6.12")


RUN, FLUSH, QUEUE = "kvm_arch_vcpu_ioctl_run", "vgic_flush_lr_state", "vgic_queue_irq_unlock"

FLUSH_AFTER_LOOK = (
    Edit(RUN, "kvm_vgic_flush_hwstate(vcpu);", ""),
    Edit(RUN, "kvm_arm_setup_debug(vcpu);", "kvm_vgic_flush_hwstate(vcpu); kvm_arm_setup_debug(vcpu);"),
)
OUT_AFTER_SYNC = (
    Edit(RUN, "vcpu->mode = OUTSIDE_GUEST_MODE; vcpu->stat.exits++;", "vcpu->stat.exits++;"),
    Edit(
        RUN,
        "kvm_arch_vcpu_ctxsync_fp(vcpu);",
        "smp_store_release(&vcpu->mode, OUTSIDE_GUEST_MODE); kvm_arch_vcpu_ctxsync_fp(vcpu);",
    ),
)
ASK = "kvm_make_request(KVM_REQ_IRQ_PENDING, {0}); kvm_vcpu_kick({0});"
KICK_OLD = Edit(
    "vgic_mmio_write_target",
    "raw_spin_unlock_irqrestore(&irq->irq_lock, flags);",
    "struct kvm_vcpu *had = irq->vcpu == irq->target_vcpu ? NULL : irq->vcpu; "
    "raw_spin_unlock_irqrestore(&irq->irq_lock, flags); if (had) { " + ASK.format("had") + " }",
)
KICK_OWNER = Edit(QUEUE, "if (irq->vcpu || !vcpu) {", "if (irq->vcpu || !vcpu) { if (vcpu) vcpu = irq->vcpu;")
COME_OUT_AGAIN = Edit(
    FLUSH,
    "raw_spin_unlock(&irq->irq_lock); if (count == kvm_vgic_global_state.nr_lr)",
    "{ struct kvm_vcpu *whose = vgic_target_oracle(irq); "
    "if (whose && whose != vcpu) kvm_make_request(KVM_REQ_IRQ_PENDING, vcpu); } "
    "raw_spin_unlock(&irq->irq_lock); if (count == kvm_vgic_global_state.nr_lr)",
)
CROWD = "vgic-overflow"
RETARGETS = ("vgic-retarget", "vgic-retarget-level", "vgic-retarget-active")

MENDS = (
    Mend(
        "flush-after-look",
        "the list registers are filled after the look at requests that follows mode := IN",
        *(FLUSH_AFTER_LOOK, "VGIC-ACT-1", ("vgic-deactivate",)),
        releases=("6.12",),
    ),
    Mend(
        "flush-after-look-only",
        "the same in 6.1, where mode is OUTSIDE before the list registers are read",
        *(FLUSH_AFTER_LOOK, "VGIC-ACT-1", (), ("vgic-deactivate",), ("6.1",)),
    ),
    Mend(
        "out-after-sync",
        "mode is OUTSIDE after the list registers are read, as in 6.12",
        *(OUT_AFTER_SYNC, "VGIC-ACT-1", (), ("vgic-deactivate",), ("6.1",)),
    ),
    Mend(
        "flush-after-look-out-after-sync",
        "both",
        *((*FLUSH_AFTER_LOOK, *OUT_AFTER_SYNC), "VGIC-ACT-1", ("vgic-deactivate",), (), ("6.1",)),
    ),
    Mend(
        "in-before-flush",
        "mode := IN before the list registers are filled, the look at requests after it as it is",
        (
            Edit(RUN, "smp_store_mb(vcpu->mode, IN_GUEST_MODE); if", "if"),
            Edit(
                RUN,
                "kvm_vgic_flush_hwstate(vcpu);",
                "smp_store_mb(vcpu->mode, IN_GUEST_MODE); kvm_vgic_flush_hwstate(vcpu);",
            ),
        ),
        *("VGIC-ACT-1", (), ("vgic-deactivate",)),
    ),
    Mend("kick-old", "a retarget kicks who has the interrupt", (KICK_OLD,), "VGIC-RT-1", (), RETARGETS[:2]),
    Mend(
        "kick-owner",
        "a queued interrupt's owner is kicked, not its target",
        *((KICK_OWNER,), "VGIC-RT-1", (), RETARGETS[:2]),
    ),
    Mend(
        "come-out-again",
        "a flush that passes over another vCPU's interrupt makes a request of its own vCPU",
        *((COME_OUT_AGAIN,), "VGIC-RT-1", RETARGETS[:2], RETARGETS[2:]),
    ),
    Mend(
        "come-out-again-kick-owner",
        "both of the last",
        *((COME_OUT_AGAIN, KICK_OWNER), "VGIC-RT-1", RETARGETS),
    ),
    Mend(
        "no-underflow",
        "no UIE with one list register",
        (
            Edit(
                FLUSH, "vgic_set_underflow(vcpu);", "{ if (kvm_vgic_global_state.nr_lr > 1) vgic_set_underflow(vcpu); }"
            ),
        ),
        *("VGIC-OVF-1", (), (CROWD,)),
    ),
    Mend(
        "none-pending",
        "NPIE instead of UIE with one list register",
        (
            Edit(
                "vgic_v2_set_underflow",
                "GICH_HCR_UIE",
                "(kvm_vgic_global_state.nr_lr > 1 ? GICH_HCR_UIE : GICH_HCR_NPIE)",
            ),
            Edit("vgic_v2_fold_lr_state", "~GICH_HCR_UIE", "~(GICH_HCR_UIE | GICH_HCR_NPIE)"),
        ),
        *("VGIC-OVF-2", (), (CROWD,)),
    ),
)
