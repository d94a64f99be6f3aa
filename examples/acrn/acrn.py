"""ACRN's vlapic.c under the stub headers, as an adapter: its sender, and what it does before VM entry.

    git clone https://github.com/projectacrn/acrn-hypervisor; export ACRN_SOURCE=$PWD/acrn-hypervisor
    cd examples/acrn && intack run -a acrn:adapter

vlapic.c is BSD-3-Clause, and not here. `SEAMS` says what is written after ACRN, in harness.c.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from conformance.adapters.declared import world_of
from conformance.adapters.native import NativeError
from conformance.adapters.native.cache import hash_of
from conformance.adapters.registry import AdapterError, Implementation, MakeSource
from conformance.adapters.source import Source
from conformance.roles.role import BaseRole
from conformance.roles.x86 import PINV, Residency, RunLoop, Sender, Shared, World
from reference.linux.program import Cut, KernelProgram
from reference.linux.tree import Tree

HERE = Path(__file__).parent
VARIABLE = "ACRN_SOURCE"
"""Environment variable that names the top directory of ACRN's source."""

PARTS = (
    Cut(
        "hypervisor/arch/x86/guest/vlapic.c",
        (
            *("vlapic_set_tmr", "apicv_set_intr_ready", "apicv_trigger_pi_anv", "apicv_advanced_accept_intr"),
            *("vlapic_accept_intr", "apicv_advanced_inject_intr", "vlapic_inject_intr"),
        ),
        prelude="#include <hypervisor.h>\n",
        epilogue='#include "stub/exported.h"\n',
    ),
)
SEAMS = (
    "Seam: one round of vcpu_thread() with interrupts off from the look at ACRN_REQUEST_EVENT to VM entry, hlt_vmexit_handler(), "
    "wait_event(), signal_event() and vcpu_handle_pi_notification() are written after ACRN's; what locks guard in events is one store, "
    "and vlapic_has_pending_intr() is not asked before a sleep.",
    "Seam: a vCPU is pinned, and alone on its pCPU; APICv is advanced: virtual-interrupt delivery and posted interrupts are there.",
)


class Acrn(Sender, RunLoop, Residency):
    """What ACRN keeps in memory. Its routines are those of harness.c."""

    profile: ClassVar[str] = "generic"
    lacks: ClassVar[tuple[str, ...]] = ("migration", "shared-pcpu", "ipi-virtualization", "apicv-inhibited")
    vcpu_state: ClassVar = {"pending_req": Shared(0), "event": Shared(0), "pcpu": Shared(0)}
    handlers: ClassVar = {PINV: "notified"}


ROUTINES = ("deliver_interrupt", "vcpu_run", "leave_guest", "wait_event", "notified", "load", "put")


def adapter(argument: str = "") -> Implementation:
    """ACRN's vlapic.c, of the tree that ACRN_SOURCE names."""
    tree = argument or os.environ.get(VARIABLE, "")
    if not tree:
        raise AdapterError(f"acrn: {VARIABLE} names no source of ACRN (github.com/projectacrn/acrn-hypervisor)")
    program = KernelProgram(Tree(Path(tree).absolute()), HERE, PARTS, (HERE / "harness.c",))
    try:
        content = hash_of(program.build())
    except NativeError as error:
        raise AdapterError(f"acrn: {error}") from error

    def source(world: World) -> Source:
        return program.in_world(world_of(world))

    bases: tuple[type[BaseRole], ...] = (Sender, RunLoop, Residency)
    roles: dict[type[BaseRole], type[BaseRole]] = dict.fromkeys(bases, Acrn)
    replaces: dict[str, MakeSource] = dict.fromkeys(ROUTINES, source)
    return Implementation(
        "acrn",
        f"{__name__}:adapter",
        roles,
        Acrn.profile,
        {},
        Acrn.lacks,
        replaces=replaces,
        assumptions=SEAMS,
        content=content,
    )
