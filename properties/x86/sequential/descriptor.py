"""The Posted-Interrupt Descriptor: what the routines do to its raw bits, and what VM entry checks.

The raw bits are those of the locations: pid.pir[w] is the 64-bit word at byte 8*w, pid.control the one at byte 32.
Bytes 40 to 63 have no location of the suite's, so nobody can write them without declaring one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hypothesis import assume
from hypothesis import strategies as st

from conformance.automaton.alone import run_alone
from conformance.roles.operations import Value
from conformance.roles.x86 import CONTROLS, PINV
from properties.function import BrokenError, Property, Subject, called, function
from properties.x86.catalogue import (
    BOCHS,
    ILLUMOS,
    KVM_UNIT_TESTS,
    LINUX,
    POSTED_DESCRIPTOR,
    POSTED_INTR,
    SDM,
    VTD,
    XEN,
)
from properties.x86.sequential.life import FOLLOWED, HARDWARE, POSTERS, Life, Story, arguments, post, stories
from properties.x86.sequential.processing import in_guest
from properties.x86.sequential.state import (
    CONTROL,
    DESCRIPTOR,
    LEGAL,
    PIR,
    VCPU,
    Below,
    State,
    choices,
    descriptors,
    number,
    one_of,
    shown,
    vector,
)

CHECKS: dict[str, Property] = {}

ALL_OF_PIR = (1 << 256) - 1
BESIDE_SN, BESIDE_NV = 0xFFFC, 0xFF << 24
"""Of the control word: bits 271:258, and byte 35."""

MANY_CPUS, FEW_CPUS = 260, 3
"""More than an 8-bit APIC id can name, and as many as code compiled for a fixed number has."""
MODES = ("x2apic", "xapic")
cpu_number = one_of((0, 1, 2, 3, *range(MANY_CPUS)))


def raw(memory: Mapping[str, Value]) -> int:
    """The descriptor as 320 bits."""
    return sum(number(memory[at]) << 64 * n for n, at in enumerate(DESCRIPTOR))


def bits(changed: int) -> str:
    """Which bits are set, by byte and bit."""
    return ", ".join(f"byte {n // 8} bit {n % 8}" for n in range(changed.bit_length()) if changed >> n & 1) or "none"


# VM entry


def must_accept(subject: Subject, due: bool, address: int, notification_vector: int, controls: tuple[str, ...]) -> None:
    args = (VCPU, address, notification_vector, *controls)
    found = bool(run_alone(subject.assembly(), "check_controls", args, {}).answer.value)
    if found != due:
        raise BrokenError(
            f"VM entry with the descriptor at {address:#x}, notification vector {notification_vector:#x} and "
            f"{'all controls' if controls == CONTROLS else ', '.join(controls) or 'no control'} set: "
            f"due is that it {'goes on' if due else 'fails'}; it {'goes on' if found else 'fails'}"
        )


PID_1 = POSTED_DESCRIPTOR.alone.must(
    "PID-1",
    "A posted-interrupt descriptor is 64 bytes, aligned to 64 bytes. VM entry fails if any of bits 5:0 of its "
    "address is set.",
    SDM("26.2.1.1 and 29.6"),
    KVM_UNIT_TESTS("x86/vmx_tests.c test_posted_intr, with its fix b1414c5f: 64 bytes, not 4 KiB"),
    observe="The VM-entry check refuses every address with a bit of 5:0 set and accepts the others.",
)


@function(CHECKS, PID_1, "vm_entry_checks", Below(1 << 30), one_of((0, 0, 0, *range(64))))
def aligned_to_64_bytes(subject: Subject, line: int, offset: int) -> None:
    """Addresses of 36 bits: no processor with these controls has fewer."""
    must_accept(subject, offset == 0, 64 * line + offset, PINV, CONTROLS)


PID_9 = POSTED_DESCRIPTOR.alone.must(
    "PID-9",
    "The notification vector in the VMCS is 8 bits wide in a field of 16: VM entry fails if any of bits 15:8 is set.",
    SDM("26.2.1.1"),
    KVM_UNIT_TESTS("x86/vmx_tests.c test_posted_intr"),
    observe="The VM-entry check accepts 0 to 255 and refuses every larger value of the field.",
)


@function(CHECKS, PID_9, "vm_entry_checks", one_of((0, 0, *(1 << n for n in range(8)), *range(256))), Below(256))
def eight_bits_of_vector(subject: Subject, high: int, low: int) -> None:
    must_accept(subject, high == 0, 0x8000, high << 8 | low, CONTROLS)


PID_10 = POSTED_DESCRIPTOR.alone.must(
    "PID-10",
    "Posted-interrupt processing may be enabled only with virtual-interrupt delivery and "
    "acknowledge-interrupt-on-exit; virtual-interrupt delivery in turn needs external-interrupt exiting and the "
    "TPR shadow. VM entry fails otherwise.",
    SDM("26.2.1.1"),
    BOCHS("cpu/vmx.cc, VM-entry control checks"),
    XEN("cf6b3ccf28 (2015)", "the entry failed for lack of it"),
    observe="Over all settings of the five controls, the VM-entry check accepts exactly the allowed ones.",
)


@function(CHECKS, PID_10, "vm_entry_checks", Below(1 << len(CONTROLS)))
def controls_that_go_together(subject: Subject, mask: int) -> None:
    on = tuple(name for n, name in enumerate(CONTROLS) if mask >> n & 1)
    posting, delivery, acknowledges, exiting, shadow = (name in on for name in CONTROLS)
    due = (not posting or (delivery and acknowledges)) and (not delivery or (exiting and shadow))
    must_accept(subject, due, 0x8000, PINV, on)


# The layout


PID_2 = POSTED_DESCRIPTOR.alone.must(
    "PID-2",
    "Bits 255:0 are the PIR: vector v is bit v, that is bit v%8 of byte v/8.",
    SDM("29.6, table 29-1"),
    LINUX("arch/x86/kvm/vmx/posted_intr.h struct pi_desc"),
    observe=(
        "Setting vector v in an empty descriptor changes exactly that raw bit, for each v, and the processor takes that bit for v. A "
        "post of 0 to 15, which are no vectors of interrupts, may set nothing, and software is not asked to make one."
    ),
)


@function(CHECKS, PID_2, "processor iommu sender", one_of((*LEGAL, *range(LEGAL[0]))))
def vector_is_bit(subject: Subject, vector: int) -> None:
    """A post by hardware sets the vector's raw bit and no other; software may post elsewhere, but sets no other either.
    The processor takes that raw bit for this vector.
    """
    legal = vector in LEGAL
    for poster in POSTERS if legal else HARDWARE:
        alone = post(subject.assembly(), poster, vector, State().memory())
        found = raw(alone.memory) & ALL_OF_PIR
        if found != 1 << vector and (found or (legal and poster in HARDWARE)):
            call = called(poster, *arguments(poster, vector))
            raise BrokenError(f"{call} into an empty descriptor: due is {bits(1 << vector)}; set are {bits(found)}")
    ran = subject.run(State(), "acknowledge", PINV, also={PIR[vector // 64]: 1 << vector % 64})
    if ran.after.virr != {vector}:
        ran.broken(f"with {bits(1 << vector)} of PIR set due is {shown(frozenset({vector}))} in vIRR; "
                   f"found {shown(ran.after.virr)}")  # fmt: skip


PID_3 = POSTED_DESCRIPTOR.alone.must(
    "PID-3",
    "ON (outstanding notification) is bit 256: bit 0 of byte 32.",
    SDM("29.6, table 29-1"),
    LINUX("arch/x86/kvm/vmx/posted_intr.h struct pi_desc"),
    observe="What a post or a processing changes of raw bytes 32 to 39 is bit 0 of byte 32. When they must, VTD-2 and PIP-2 say.",
)


@function(CHECKS, PID_3, "processor iommu sender", descriptors(), vector, one_of((*POSTERS, "acknowledge")), choices)
def on_is_bit_256(subject: Subject, state: State, vector: int, routine: str, taken: tuple[int, ...]) -> None:
    """A post may set it, the processing may clear it, and neither changes anything else of the control word."""
    processing = routine == "acknowledge"
    args = (PINV,) if processing else arguments(routine, vector)
    memory = state.memory()
    alone = run_alone(subject.assembly(), routine, (VCPU, *args), memory, taken, cpu=1, follow=FOLLOWED)
    before, after = number(memory[CONTROL]), number(alone.memory[CONTROL])
    if after not in (before, before & ~1 if processing else before | 1):
        due = f"only byte 32 bit 0 of the bytes from 32 on is its to {'clear' if processing else 'set'}"
        raise BrokenError(f"{called(routine, *args)} on {state}: {due}; changed are {bits((before ^ after) << 256)}")


PID_4 = POSTED_DESCRIPTOR.alone.must(
    "PID-4",
    "SN (suppress notification) is bit 257: bit 1 of byte 32. Bits 271:258 are reserved and stay 0.",
    VTD("9.11"),
    LINUX("arch/x86/kvm/vmx/posted_intr.h struct pi_desc"),
    role="iommu",
    observe="No routine ever sets bits 271:258. That bit 1 is SN is seen in what a post does (VTD-2, VTD-3).",
)


@function(CHECKS, PID_4, "residency sender iommu", stories(Below(3)))
def bits_beside_sn_stay_0(subject: Subject, story: Story) -> None:
    life = Life(subject)
    for alone in life.lived(story):
        if wrong := number(alone.memory[CONTROL]) & BESIDE_SN:
            life.broken(f"due is 0 in bits 271:258 of the descriptor; set are {bits(wrong << 256)}")


PID_5 = POSTED_DESCRIPTOR.alone.must(
    "PID-5",
    "NV (notification vector) is bits 279:272: byte 34. Byte 35 is reserved and stays 0.",
    VTD("9.11"),
    LINUX("arch/x86/kvm/vmx/posted_intr.h struct pi_desc"),
    role="iommu",
    observe="Byte 35 is 0 whatever software does, and what hardware notifies with is byte 34.",
)


@function(CHECKS, PID_5, "residency iommu", stories(Below(3)), descriptors(on=0, sn=0), vector)
def nv_is_byte_34(subject: Subject, story: Story, state: State, vector: int) -> None:
    """Byte 35 stays 0 whatever software does, and byte 34 is the vector that hardware notifies with."""
    life = Life(subject)
    for alone in life.lived(story):
        if wrong := number(alone.memory[CONTROL]) & BESIDE_NV:
            life.broken(f"due is 0 in byte 35 of the descriptor; set are {bits(wrong << 256)}")
    for poster in HARDWARE:
        sent = post(subject.assembly(), poster, vector, state.memory()).sent
        if any(message.vector != state.nv for message in sent):
            call = called(poster, *arguments(poster, vector))
            due = f"due is the notification vector {state.nv:#x}, byte 34"
            raise BrokenError(f"{call} on {state}: {due}; sent is {sent[0].vector:#x}")


PID_6 = POSTED_DESCRIPTOR.alone.must(
    "PID-6",
    "NDST (notification destination) is bits 319:288: bytes 36 to 39. In x2APIC mode it holds the 32-bit APIC id; "
    "in xAPIC mode the 8-bit id lies in NDST[15:8] and the rest is 0.",
    VTD("9.11"),
    LINUX(f"{POSTED_INTR} vmx_vcpu_pi_load"),
    XEN("PI_xAPIC_NDST_MASK"),
    role="residency",
    premise="device posting or IPI virtualization",
    observe="After a load the raw bytes 36 to 39 are the pCPU's id as each APIC mode wants it.",
)


@function(
    CHECKS,
    PID_6,
    "residency iommu",
    stories(cpu_number, st.just(0)),
    one_of(MODES),
    vector,
    needs=("device-posting",),
)
def ndst_is_bytes_36_to_39(subject: Subject, story: Story, mode: str, vector: int) -> None:
    """After each load NDST is the pCPU's id in the form of the APIC mode, and a device's notification goes there.

    No load follows a sleep: a vCPU that blocked may keep the NDST of its wakeup list's pCPU for a while (Linux to
    5.16).
    """
    xapic = mode == "xapic"
    assume(not (xapic and subject.lacks("xapic")))
    cpus = FEW_CPUS if subject.implementation.replaces else 255 if xapic else MANY_CPUS
    subject.notes.add(f"{cpus} pCPUs in {mode} mode")
    life = Life(subject, ("xapic",) if xapic else (), cpus)
    for alone in life.lived(story):
        if life.routine != "load":
            continue
        control = number(alone.memory[CONTROL])
        due = life.cpu << 8 if xapic else life.cpu
        if control >> 32 != due:
            life.broken(f"in {mode} mode {due:#x} is due in bytes 36 to 39; found {control >> 32:#x}")
        sent = post(life.assembly, "post", vector, {**alone.memory, CONTROL: control & ~3}).sent
        if any(message.to != life.cpu for message in sent):
            life.broken(f"in {mode} mode the notification of {called('post', vector, False)} is due at APIC id "
                        f"{life.cpu:#x}; it goes to {sent[0].to:#x}")  # fmt: skip


PID_7 = POSTED_DESCRIPTOR.alone.must(
    "PID-7",
    "Posted-interrupt processing uses PIR and ON only: SN, NV and NDST are for the IOMMU and IPI virtualization "
    "and do not change what it does. Nobody writes bits 511:320.",
    SDM("29.6, table 29-1"),
    VTD("9.11", "reserved bits"),
    LINUX("arch/x86/kvm/vmx/posted_intr.h struct pi_desc"),
    ILLUMOS("ce6a7649078a", "moved private bits out of the descriptor"),
    observe=(
        "Processing gives the same vIRR, RVI, PIR and ON whatever the other bits are, and leaves them alone; no "
        "routine writes beyond bit 319."
    ),
)


@function(CHECKS, PID_7, "processor", in_guest(), choices, stories(Below(3)))
def processing_uses_pir_and_on(subject: Subject, state: State, taken: tuple[int, ...], story: Story) -> None:
    """What SN, NV and NDST hold changes nothing else, and they stay; nobody writes beyond bit 319."""
    ran = subject.run(state, "acknowledge", PINV, choices=taken)
    plain = subject.run(replace(state, sn=0, nv=0, ndst=0), "acknowledge", PINV, choices=taken)
    ran.must(state, "sn", "nv", "ndst")
    ran.must(plain.after, "pir", "on", "virr", "visr", "rvi", "svi", "vppr", "recognized")
    for alone in (ran.alone, *Life(subject).lived(story)):
        for change in alone.changes_of(f"{VCPU}.pid."):
            if change.at not in DESCRIPTOR:
                raise BrokenError(f"{change.by.routine} writes {change.at}, which is beyond bit 319 of the descriptor")
