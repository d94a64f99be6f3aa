"""Linux's own vGIC: what the suite says of it as it is, and that it finds fixes undone in the real source.

`UNDONE` holds no text of the kernel's but the expressions that are changed.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from conformance.adapters.native import NativeUnavailableError
from conformance.adapters.registry import resolve
from conformance.roles.arm import EDGE, EDGE2
from conformance.roles.scenario import Scenario, VcpuSetup
from conformance.verdict.explore import Explored, explore
from properties.arm.scenarios import register
from properties.suite import SUITE
from reference.linux.arm64 import PARTS
from reference.linux.slice import CFile
from reference.linux.tree import Tree, tree_of

RELEASES = ("6.1", "6.12")
RUN = "arch/arm64/kvm/arm.c"
VGIC, V2, MMIO, MMIO_V2 = (f"arch/arm64/kvm/vgic/vgic{name}.c" for name in ("", "-v2", "-mmio", "-mmio-v2"))


class Undone(NamedTuple):
    """`old`, where it stands the `nth` time in the function, becomes `new`; and where that is found, as what."""

    what: str
    file: str
    function: str
    old: str
    new: str
    scenario: str
    clause: str
    nth: int = 1


UNDONE = (
    Undone(
        "325f9c649c8a (2017): a look at requests after mode := IN",
        *(RUN, "kvm_arch_vcpu_ioctl_run", "kvm_vcpu_exit_request(vcpu, &ret)", "0", "vgic-edge", "VGIC-Q-1"),
    ),
    Undone(
        "who dropped irq_lock asks again who has the interrupt (vgic_queue_irq_unlock's comment)",
        *(VGIC, "vgic_queue_irq_unlock", "irq->vcpu || vcpu != vgic_target_oracle(irq)", "0", "vgic-sgi", "ASSERTION"),
    ),
    Undone(
        "325f9c649c8a (2017): a request before the kick",
        *(VGIC, "vgic_queue_irq_unlock", "kvm_make_request(KVM_REQ_IRQ_PENDING, vcpu);", ""),
        *("vgic-edge", "VGIC-Q-1", 2),
    ),
    Undone(
        "what is listed already is kicked for, too (vgic_queue_irq_unlock's comment)",
        *(VGIC, "vgic_queue_irq_unlock", "kvm_vcpu_kick(vcpu);", "", "vgic-two-edges", "VGIC-EDGE-1"),
    ),
    Undone(
        "67b5b673ad4d (2018): a level is never pending and active at once",
        *(V2, "vgic_v2_populate_lr", "allow_pending = false;", ";", "vgic-level-resample", "VGIC-LVL-2", 3),
    ),
    Undone(
        "16ca6a607d84 (2018): one source of an SGI at a time, and its end brings the next",
        *(V2, "vgic_v2_populate_lr", "val |= GICH_LR_EOI;", "", "vgic-sgi", "VGIC-SGI-3", 3),
    ),
    Undone(
        "an SGI that is active keeps its source over an exit",
        *(V2, "vgic_v2_fold_lr_state", "irq->active_source = cpuid;", ";", "vgic-sgi", "VGIC-SGI-5"),
    ),
    Undone(
        "an interrupt that moves: its new target is kicked",
        *(VGIC, "vgic_prune_ap_list", "target_vcpu_needs_kick = true;", "", "retarget-then-exit", "VGIC-RT-1"),
    ),
    Undone(
        "what leaves a list is nobody's any more",
        *(VGIC, "vgic_prune_ap_list", "irq->vcpu = NULL;", "", "vgic-two-edges", "VGIC-EDGE-1"),
    ),
    Undone(
        "an edge that was not acknowledged is pending again after the exit",
        *(V2, "vgic_v2_fold_lr_state", "irq->pending_latch = true;", ";", "vgic-edge", "VGIC-EDGE-1"),
    ),
    Undone(
        "a lock that handlers take, too, is taken with interrupts off",
        *(VGIC, "kvm_vgic_vcpu_pending_irq", "raw_spin_lock_irqsave(&vgic_cpu->ap_list_lock, flags);"),
        *("raw_spin_lock(&vgic_cpu->ap_list_lock); flags = 0;", "vgic-handler", "DEADLOCK"),
    ),
    Undone(
        "GICH_APR goes along",
        *(V2, "vgic_v2_put", "cpu_if->vgic_apr =", "(void)", "vgic-shared-pcpu", "GICV2-PRI-4"),
    ),
    Undone(
        "as FreeBSD's PR 2437: a level's end is to be told",
        *(V2, "vgic_v2_populate_lr", "val |= GICH_LR_EOI;", "", "vgic-level-resample", "VGIC-LVL-2", 2),
    ),
    Undone(
        "as libvmm's PR 257: the latch goes along into the list register",
        *(V2, "vgic_v2_populate_lr", "irq->pending_latch = false;", ";", "vgic-edge", "VGIC-EDGE-5"),
    ),
    Undone(
        "as libvmm's issue 56: what is disabled becomes pending",
        *(VGIC, "vgic_validate_injection", "return level;", "return level && irq->enabled;"),
        *("vgic-disable", "VGIC-EN-2"),
    ),
    Undone(
        "as libvmm's issue 56: enabling delivers what is pending",
        *(MMIO, "vgic_mmio_write_senable", "vgic_queue_irq_unlock(vcpu->kvm, irq, flags);"),
        *("raw_spin_unlock_irqrestore(&irq->irq_lock, flags);", "vgic-disable", "VGIC-EN-2"),
    ),
    Undone(
        "as bao's issue 371: an active interrupt stays, disabled or not",
        *(VGIC, "vgic_target_oracle", "if (irq->active)", "if (irq->active && irq->enabled)"),
        *("vgic-disable-active", "VGIC-EN-3"),
    ),
    Undone(
        "as hvisor's issue 282: an SGI has the source that sent it",
        *(MMIO_V2, "vgic_mmio_write_sgir", "1U << source_vcpu->vcpu_id", "1U", "vgic-sgi", "VGIC-SGI-1", 3),
    ),
)
STALE_VMCR = {
    release: Undone(
        "5eeaf10eec39 (2019): the priority mask is read before a WFI is decided",
        *(RUN, "kvm_vcpu_wfi", call, "", "vgic-mask-wfi", "VGIC-WFI-2"),
    )
    for release, call in (("6.1", "kvm_vgic_vmcr_sync(vcpu);"), ("6.12", "kvm_vgic_put(vcpu);"))
}


@pytest.fixture(params=RELEASES)
def tree(request: pytest.FixtureRequest) -> Tree:
    return source(request.param)


def source(release: str) -> Tree:
    try:
        return tree_of(f"linux-source-{release}")
    except NativeUnavailableError as missing:
        pytest.skip(str(missing))


RETARGET_THEN_EXIT = Scenario(
    name="retarget-then-exit",
    about="a guest gives its pending interrupt to another vCPU, which waits, and exits once more",
    architecture="arm",
    cpus=2,
    vcpus=(
        VcpuSetup(
            0,
            (("mask",), *(register(*w) for w in (("ispendr", EDGE), ("itargetsr", EDGE), ("isenabler", EDGE2)))),
        ),
        VcpuSetup(1, (("wfi",),)),
    ),
    vectors=(EDGE, EDGE2),
)


def explored(folder: Path, name: str, *, shorten: bool = True) -> Explored:
    (scenario,) = (s for s in (*SUITE.scenarios, RETARGET_THEN_EXIT) if s.name == name)
    found = explore(resolve(f"linux-arm64:{folder}"), scenario, SUITE, profile="strict", shorten=shorten)
    assert not found.fault, found.fault
    return found


def undo(tree: Tree, undone: Undone, folder: Path) -> Path:
    """What is taken of the tree, with this changed."""
    for file in {part.file for part in PARTS}:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tree.root / file, folder / file)
    text = tree.read(undone.file)
    (function,) = CFile(undone.file, text).functions[undone.function]
    pieces = function.text.split(undone.old)
    assert len(pieces) > undone.nth, f"{undone.function} has {undone.old!r} only {len(pieces) - 1} times"
    changed = undone.old.join(pieces[: undone.nth]) + undone.new + undone.old.join(pieces[undone.nth :])
    (folder / undone.file).write_text(text.replace(function.text, changed, 1))
    return folder


def test_an_edge_is_delivered(tree: Tree) -> None:
    """Nothing is broken, discipline or guarantee."""
    found = explored(tree.root, "vgic-edge")
    assert found.complete and not found.counterexamples


@pytest.mark.parametrize("undone", UNDONE[:1], ids=lambda undone: undone.what)
def test_a_fix_undone_is_found_with_lines_of_the_kernel(undone: Undone, tmp_path: Path) -> None:
    found = explored(undo(source("6.1"), undone, tmp_path), undone.scenario)
    told = msgspec.json.encode(found.counterexamples[undone.clause]).decode()
    files = {site.partition(":")[0] for site in re.findall(r'"site":"([^"]+)"', told)}
    assert Path(undone.file).name in {Path(file).name for file in files}


@pytest.mark.slow
@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("undone", [*UNDONE, None], ids=lambda undone: undone.what if undone else "5eeaf10eec39")
def test_every_fix_undone_is_found(undone: Undone | None, release: str, tmp_path: Path) -> None:
    undone = undone or STALE_VMCR[release]
    found = explored(undo(source(release), undone, tmp_path), undone.scenario, shorten=False)
    assert undone.clause in found.counterexamples


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({undone.scenario for undone in (*UNDONE, *STALE_VMCR.values())}))
def test_and_nothing_is_found_there_while_it_stands(name: str, tree: Tree) -> None:
    assert not explored(tree.root, name, shorten=False).counterexamples


KNOWN = {
    "vgic-deactivate": {"VGIC-ACT-1"},
    "vgic-distributor-off-wfi": {"VGIC-EN-5"},
    "vgic-retarget": {"VGIC-RT-1"},
    "vgic-latch": {"VGIC-LVL-5"},
    "vgic-overflow": {"VGIC-OVF-2"},
}
"""What docs/findings says of the source as it is."""


@pytest.mark.slow
@pytest.mark.parametrize("name", KNOWN)
def test_what_the_source_as_it_is_breaks(name: str, tree: Tree) -> None:
    assert KNOWN[name] <= set(explored(tree.root, name, shorten=False).counterexamples)
