"""Linux's own vgic, unmodified, behind Arm's roles: injector, distributor, run loop and residency, on a GICv2.

    kernel source ── vgic.c, vgic-v2.c, vgic-mmio.c, vgic-mmio-v2.c and their headers ──┐
    stub/ (stands in for the kernel's other headers), harness.c ────────────────────────┴── NativeProgram

None of the kernel's text is here: it is read where it is installed, at build time. `SEAMS` says what is not the kernel's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from conformance.adapters import protocol
from conformance.adapters.declared import world_of
from conformance.adapters.native import NativeError, NativeProgram
from conformance.adapters.registry import AdapterError, Implementation
from conformance.adapters.source import Source
from conformance.roles.arm import (
    KICK,
    MAINTENANCE,
    VMCR_RESET,
    Distributor,
    Injector,
    Residency,
    RunLoop,
    Shared,
    World,
)
from conformance.roles.role import BaseRole

HERE = Path(__file__).parent

VGIC = "arch/arm64/kvm/vgic"
SOURCES = ("vgic.c", "vgic-v2.c", "vgic-mmio.c", "vgic-mmio-v2.c")
PRIVATE = ("vgic.h", "vgic-mmio.h")
"""Headers beside the sources."""
PUBLIC = (
    "kvm/arm_vgic.h",
    "kvm/iodev.h",
    "linux/irqchip/arm-gic.h",
    "linux/irqchip/arm-gic-common.h",
    "linux/irqchip/arm-vgic-info.h",
)
"""Headers of the kernel's include/ that are taken as they are; every other is the stub."""
RUN_LOOP = "arch/arm64/kvm/arm.c"

SEAMS = (
    "kvm_arch_vcpu_ioctl_run(), check_vcpu_requests(), kvm_vcpu_wfi(), kvm_vcpu_sleep(): the order of their calls, by hand, "
    "and whether mode := OUTSIDE_GUEST_MODE comes before the vGIC is synchronized, by what the tree's arm.c says",
    "kvm_make_request(), kvm_vcpu_kick(), kvm_make_all_cpus_request(): as kvm_main.c does, by hand",
    "list_add_tail(), list_del(), list_sort(), list_empty(): on a list that is read and written whole",
    "spinlocks, the interrupt flag and the mutex config_lock: the machine's",
    "vgic-init.c: what it leaves, by hand; every interrupt begins enabled",
    "GICH_ELRSR0: computed from the list registers",
    "irqfd's resampler: it lowers the line when it is told",
)

Replacements = Sequence[tuple[str, str]]


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
        "ap_list": Shared(()),
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
    *("vcpu_run", "vcpu_enter_guest", "leave_guest", "vcpu_sleep", "vcpu_wfi", "vcpu_block", "vcpu_unblock"),
    *("reschedule_ipi", "maintenance_interrupt"),
)


class VgicProgram(NativeProgram):
    """ROUTINES, of the kernel source in the folder `tree`. `replacements` are done in the sources before they are compiled."""

    glue = (HERE,)

    def __init__(
        self,
        tree: Path | str,
        *,
        replacements: Replacements = (),
        compiler: str = "",
        world: protocol.WorldMessage | None = None,
    ) -> None:
        flags = ("-std=gnu11", "-fno-strict-aliasing", "-w", "-Werror=implicit-function-declaration")
        super().__init__((HERE / "harness.c", HERE / "absent.c"), cflags=flags, compiler=compiler, world=world)
        self.tree = Path(tree)
        self.replacements = tuple(replacements)

    def prepare(self, folder: Path) -> tuple[Sequence[Path], Sequence[str]]:
        """Copies the kernel's files to where their includes find the stub, not their neighbours."""
        texts = replaced({name: self.text(f"{VGIC}/{name}") for name in (*SOURCES, *PRIVATE)}, self.replacements)
        texts |= {f"include/{name}": self.text(f"include/{name}") for name in PUBLIC}
        stub = '#include "vgic_kernel.h"\n'
        made = {f"include/{name}": stub for text in texts.values() for name in _included(text)}
        made |= {"trace.h": "#define trace_vgic_update_irq_pending(...) ((void)0)\n"}
        made |= {"include/linux/kvm_host.h": '#include "vgic_kvm.h"\n'}
        for name, text in {**made, **texts}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        sources = (*self.sources, *(folder / name for name in SOURCES))
        return sources, (*self.cflags, f"-I{folder}/include", f"-I{folder}", f"-I{HERE / 'stub'}", *self.release(texts))

    def release(self, texts: Mapping[str, str]) -> Iterator[str]:
        """What differs between releases, by what is in them."""
        if re.search(r"kvm_vgic_inject_irq\(struct kvm \*kvm, int cpuid", texts["include/kvm/arm_vgic.h"]):
            yield "-DINJECT_BY_NUMBER"
        if "vmcr_sync(struct kvm_vcpu" in texts["include/kvm/arm_vgic.h"]:
            yield "-DVMCR_SYNC"
        if re.search(r"struct vgic_irq \*private_irqs;", texts["include/kvm/arm_vgic.h"]):
            yield "-DPRIVATE_IRQS_APART"
        if not re.search(r"smp_store_release\(&vcpu->mode, OUTSIDE_GUEST_MODE\)", self.text(RUN_LOOP)):
            yield "-DOUT_BEFORE_SYNC"

    def text(self, name: str) -> str:
        try:
            return (self.tree / name).read_text()
        except OSError as error:
            raise NativeError(
                f"{self.tree / name} is not readable ({error.strerror}): name the top directory of a Linux source tree",
                "build",
            ) from None


def replaced(files: Mapping[str, str], replacements: Replacements) -> dict[str, str]:
    """The files with each old text, which must occur once in all of them, replaced by the new one."""
    changed = dict(files)
    for old, new in replacements:
        found = {name: text.count(old) for name, text in changed.items() if old in text}
        if sum(found.values()) != 1:
            counts = ", ".join(f"{count} times in {name}" for name, count in found.items()) or "nowhere"
            raise NativeError(
                f"the replacement of {old!r} by {new!r} does not fit: the text occurs {counts}, not once", "build"
            )
        changed = {name: text.replace(old, new) for name, text in changed.items()}
    return changed


def _included(text: str) -> Iterator[str]:
    yield from re.findall(r"^\s*#\s*include\s*<(.+?)>", text, re.MULTILINE)


def adapter(argument: str) -> Implementation:
    """Linux's own vgic of arm64: linux-vgic:TREE, the top directory of a kernel source tree."""
    return implementation(argument)


def implementation(tree: Path | str, *, replacements: Replacements = (), name: str = "linux-vgic") -> Implementation:
    program = VgicProgram(tree, replacements=replacements)
    try:
        program.build()
    except NativeError as error:
        raise AdapterError(f"{name}: {error}") from error

    def source(world: World) -> Source:
        return program.in_world(world_of(world))

    bases: tuple[type[BaseRole], ...] = (Injector, Distributor, RunLoop, Residency)
    roles: dict[type[BaseRole], type[BaseRole]] = dict.fromkeys(bases, LinuxVgic)
    return Implementation(
        name,
        f"{name}:{tree}",
        roles,
        LinuxVgic.profile,
        LinuxVgic.not_applicable,
        LinuxVgic.lacks,
        replaces=dict.fromkeys(ROUTINES, source),
    )
