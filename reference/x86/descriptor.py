"""The Posted-Interrupt Descriptor to the bit, and what VM entry checks before a processor may use one.

Intel SDM vol. 3C, 29.6 with table 29-1, and 26.2.1.1 (VM-execution control fields); bits 319:257 as in VT-d and in
Linux 6.1, struct pi_desc.

    byte 0                                32        34   35   36          40                         63
         ├── PIR: v is bit v%8 of v/8 ────┼─────────┼────┼────┼───────────┼──────────────────────────┤
                                           │         NV   0    NDST        0
                                           └ bit 0 ON, bit 1 SN, the others 0
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from conformance.roles.mirrors import Original, mirrors

SDM = Original("Intel SDM vol. 3C")

SIZE = ALIGNMENT = 64
NAMED = (1 << 258) - 1 | 0xFF << 272 | 0xFFFFFFFF << 288
"""The bits that have a name. The others are 0."""

NEEDS = {
    "process-posted-interrupts": ("virtual-interrupt-delivery", "acknowledge-interrupt-on-exit"),
    "virtual-interrupt-delivery": ("external-interrupt-exiting", "tpr-shadow"),
}
"""Controls that may be 1 only together with others."""


@dataclass(frozen=True)
class DescriptorImage:
    """A descriptor by its fields. `pir` is a 256-bit integer: vector v is bit v."""

    pir: int = 0
    on: bool = False
    sn: bool = False
    nv: int = 0
    ndst: int = 0


@mirrors(SDM, "table 29-1")
def encode(descriptor: DescriptorImage) -> bytes:
    """The 64 bytes as they lie in memory. Raises ValueError for a field that does not fit."""
    for name, width in (("pir", 256), ("nv", 8), ("ndst", 32)):
        if getattr(descriptor, name) not in range(1 << width):
            raise ValueError(f"{name} is {getattr(descriptor, name):#x}, which {width} bits do not hold")
    control = descriptor.on | descriptor.sn << 1 | descriptor.nv << 16 | descriptor.ndst << 32
    return (descriptor.pir | control << 256).to_bytes(SIZE, "little")


@mirrors(SDM, "table 29-1")
def decode(raw: bytes) -> DescriptorImage:
    """The fields of 64 bytes. Raises ValueError if there are not 64, or if a bit without a name is set."""
    if len(raw) != SIZE:
        raise ValueError(f"a descriptor has {SIZE} bytes, not {len(raw)}")
    bits = int.from_bytes(raw, "little")
    if strange := bits & ~NAMED:
        raise ValueError(f"bit {strange.bit_length() - 1} of the descriptor is reserved and set")
    control = bits >> 256
    return DescriptorImage(
        bits & ((1 << 256) - 1), bool(control & 1), bool(control & 2), control >> 16 & 0xFF, control >> 32 & 0xFFFFFFFF
    )


@mirrors(SDM, "26.2.1.1")
def check_vm_entry(address: int, notification_vector: int, controls: Collection[str]) -> tuple[str, ...]:
    """Why VM entry fails, each reason in words; empty if it goes on. `controls` names those that are 1."""
    failed = [
        f"{control} is 1 and {needed} is 0"
        for control, needs in NEEDS.items()
        for needed in needs
        if control in controls and needed not in controls
    ]
    if "process-posted-interrupts" in controls:
        if notification_vector >> 8:
            failed.append(f"notification vector {notification_vector:#x}: bits 15:8 are not 0")
        if address % ALIGNMENT:
            failed.append(f"descriptor address {address:#x}: bits 5:0 are not 0")
    return tuple(failed)
