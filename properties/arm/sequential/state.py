"""The state of one virtual CPU interface as the manual speaks of it, and how Hypothesis draws one.

The words are put together and taken apart here by the bit positions of IHI 0048B, chapter 5, a second time: nothing of
conformance.roles.arm is used for it. States that the architecture leaves UNPREDICTABLE are not drawn: two list registers
of one VirtualID, INTIDs 1020 to 1023, a linked interrupt that is an SGI, pending and active while linked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from hypothesis import strategies as st

from conformance.roles.operations import Value
from properties.function import VCPU
from properties.x86.sequential.state import FLAG, Below, number, one_of

INVALID, PENDING, ACTIVE, PENDING_AND_ACTIVE = range(4)
STATES = ("invalid", "pending", "active", "pending and active")
CPU = "cpu0"


@dataclass(frozen=True)
class Lr:
    """A list register. `priority` has 5 bits; `physical` is the linked interrupt (HW=1), then `source` and `eoi` are not
    there.
    """

    state: int = INVALID
    intid: int = 0
    priority: int = 0
    group: int = 0
    source: int = 0
    eoi: int = 0
    physical: int | None = None

    def word(self) -> int:
        own = self.source << 10 | self.eoi << 19 if self.physical is None else 1 << 31 | self.physical << 10
        return self.intid | self.priority << 23 | self.state << 28 | self.group << 30 | own

    @staticmethod
    def of(word: int) -> Lr:
        linked = word >> 31
        return Lr(
            state=word >> 28 & 3,
            intid=word & 0x3FF,
            priority=word >> 23 & 0x1F,
            group=word >> 30 & 1,
            source=0 if linked else word >> 10 & 7,
            eoi=0 if linked else word >> 19 & 1,
            physical=word >> 10 & 0x3FF if linked else None,
        )

    @property
    def told(self) -> int:
        """What reading GICV_IAR answers for it: bits 12:10 are the source of an SGI."""
        return self.intid | (self.source << 10 if self.intid < 16 else 0)

    def __str__(self) -> str:
        text = f"{STATES[self.state]} {self.intid}"
        text += f" of vcpu{self.source}" if self.source else ""
        text += f" priority {self.priority:#x}" if self.priority else ""
        text += " group 1" if self.group else ""
        text += " EOI" if self.eoi else ""
        return text + (f" HW {self.physical}" if self.physical is not None else "")


@dataclass(frozen=True)
class State:
    """Two list registers, the fields of HCR and VMCR, the priorities whose bit in APR is set, PSTATE.I, and which
    physical interrupts are active: SPIs, and this CPU's PPIs.
    """

    lrs: tuple[Lr, ...] = (Lr(), Lr())
    en: int = 0
    uie: int = 0
    lrenpie: int = 0
    npie: int = 0
    vgrp0eie: int = 0
    vgrp0die: int = 0
    vgrp1eie: int = 0
    vgrp1die: int = 0
    eoi_count: int = 0
    enable0: int = 0
    enable1: int = 0
    ack_ctl: int = 0
    fiq_en: int = 0
    cbpr: int = 0
    eoi_mode: int = 0
    abpr: int = 0
    bpr: int = 0
    pmr: int = 0
    apr: frozenset[int] = frozenset()
    physical_active: frozenset[int] = frozenset()
    pstate_i: int = 0
    halted: int = 0

    def memory(self) -> dict[str, Value]:
        """The locations that hold this state."""
        return {
            f"{CPU}.hcr": sum(getattr(self, name) << bit for name, (bit, _) in HCR.items()),
            f"{CPU}.vmcr": sum(getattr(self, name) << bit for name, (bit, _) in VMCR.items()),
            f"{CPU}.apr": sum(1 << p for p in self.apr),
            f"{CPU}.physical_active": sum(1 << p for p in self.physical_active if p < 32),
            "vm.physical_active": sum(1 << p for p in self.physical_active if p >= 32),
            f"{VCPU}.pstate_i": self.pstate_i,
            f"{VCPU}.halted": self.halted,
            **{f"{CPU}.lr[{n}]": lr.word() for n, lr in enumerate(self.lrs)},
        }

    @staticmethod
    def of(memory: Mapping[str, Value]) -> State:
        """The state that these locations hold."""
        hcr, vmcr = number(memory[f"{CPU}.hcr"]), number(memory[f"{CPU}.vmcr"])
        parts: dict[str, Any] = {n: hcr >> bit & (1 << width) - 1 for n, (bit, width) in HCR.items()}
        parts |= {n: vmcr >> bit & (1 << width) - 1 for n, (bit, width) in VMCR.items()}
        return State(
            lrs=tuple(Lr.of(number(memory[f"{CPU}.lr[{n}]"])) for n in range(2)),
            apr=bits(number(memory[f"{CPU}.apr"])),
            physical_active=bits(number(memory[f"{CPU}.physical_active"]) | number(memory["vm.physical_active"])),
            pstate_i=number(memory[f"{VCPU}.pstate_i"]),
            halted=number(memory[f"{VCPU}.halted"]),
            **parts,
        )

    def __str__(self) -> str:
        """What is not 0."""
        return self.shown(*(f.name for f in fields(self) if getattr(self, f.name))) or "a state of zeros"

    def shown(self, *names: str) -> str:
        return ", ".join(f"{title(name)}={_shown(getattr(self, name))}" for name in names)

    def with_lr(self, n: int, **changes: Any) -> State:
        """The same but for one list register."""
        lr = replace(self.lrs[n], **changes)
        return replace(self, lrs=tuple(lr if m == n else other for m, other in enumerate(self.lrs)))


HCR = {
    "en": (0, 1),
    "uie": (1, 1),
    "lrenpie": (2, 1),
    "npie": (3, 1),
    "vgrp0eie": (4, 1),
    "vgrp0die": (5, 1),
    "vgrp1eie": (6, 1),
    "vgrp1die": (7, 1),
    "eoi_count": (27, 5),
}
VMCR = {
    "enable0": (0, 1),
    "enable1": (1, 1),
    "ack_ctl": (2, 1),
    "fiq_en": (3, 1),
    "cbpr": (4, 1),
    "eoi_mode": (9, 1),
    "abpr": (18, 3),
    "bpr": (21, 3),
    "pmr": (27, 5),
}
"""Lowest bit and width of each field."""
TITLES = {
    "lrs": "LRs",
    "en": "HCR.En",
    "eoi_count": "HCR.EOICount",
    "enable0": "VMCR.VMGrp0En",
    "enable1": "VMCR.VMGrp1En",
    "ack_ctl": "VMCR.VMAckCtl",
    "fiq_en": "VMCR.VMFIQEn",
    "cbpr": "VMCR.VMCBPR",
    "eoi_mode": "VMCR.VEM",
    "abpr": "VMCR.VMABP",
    "bpr": "VMCR.VMBP",
    "pmr": "VMCR.VMPriMask",
    "apr": "APR",
    "physical_active": "active physical interrupts",
    "pstate_i": "PSTATE.I",
}


def title(name: str) -> str:
    return TITLES.get(name) or (f"HCR.{name.upper()}" if name in HCR else name)


def bits(word: int) -> frozenset[int]:
    return frozenset(n for n in range(word.bit_length()) if word >> n & 1)


def _shown(value: Any) -> str:
    if isinstance(value, frozenset):
        return "{" + ", ".join(f"{v:#x}" for v in sorted(value)) + "}"
    if isinstance(value, tuple):
        return "[" + "; ".join(map(str, value)) + "]"
    return str(value) if value in (0, 1) else f"{value:#x}"


# Drawing

PRIORITIES = (0, 1, 3, 4, 7, 8, 0x10, 0x1E, 0x1F)
INTIDS = (3, 0, 15, 16, 27, 31, 32, 40, 0x200, 1019)
FOREIGN = (5, 30, 41, 1000)
"""In no list register."""
LINKED = (16, 27, 40, 63, 0x210)
"""Physical interrupts. The last has a 1 where an interrupt that is not linked has LR.EOI, and its activity no location."""
NUMBERS = {"eoi_count": 32, "abpr": 8, "bpr": 8, "pmr": 32}
"""How many values the registers have that are more than a flag."""
FLAGS = [name for name in (*HCR, *VMCR) if name not in NUMBERS]


@st.composite
def list_registers(draw: st.DrawFn, *legal: int) -> tuple[Lr, ...]:
    """Two of different VirtualIDs, each in one of the states."""
    first = draw(Below(len(INTIDS)))
    second = (first + 1 + draw(Below(len(INTIDS) - 1))) % len(INTIDS)
    priorities = [PRIORITIES[draw(Below(len(PRIORITIES)))] for _ in range(2)]
    made: list[Lr] = []
    for n, intid in enumerate((INTIDS[first], INTIDS[second])):
        state = legal[draw(Below(len(legal)))]
        linked = intid >= 16 and state != PENDING_AND_ACTIVE and draw(FLAG)
        made.append(
            Lr(
                state=state,
                intid=intid,
                priority=priorities[n if draw(FLAG) else 0],
                group=int(draw(FLAG)),
                source=0 if intid >= 16 else draw(Below(8)),
                eoi=0 if linked else int(draw(FLAG)),
                physical=LINKED[(draw(Below(len(LINKED) - 1)) + n) % len(LINKED)] if linked else None,
            )
        )
    if made[0].physical is not None and made[0].physical == made[1].physical:
        made[1] = replace(made[1], physical=None)
    return tuple(made)


@st.composite
def states(draw: st.DrawFn, legal: tuple[int, ...] = (0, 1, 2, 3), **given: Any) -> State:
    """Any state, but for what is `given`: values or strategies. List registers are in one of the `legal` states."""
    parts: dict[str, Any] = {name: int(draw(FLAG)) for name in FLAGS if name not in given}
    parts |= {name: draw(Below(n)) for name, n in NUMBERS.items() if name not in given}
    if "lrs" not in given:
        parts["lrs"] = draw(list_registers(*legal))
    if "apr" not in given:
        parts["apr"] = frozenset(p for p in PRIORITIES[3:] if draw(QUARTER) == 3)
    if "physical_active" not in given:
        parts["physical_active"] = frozenset(p for p in LINKED[:-1] if draw(FLAG))
    parts |= {n: draw(v) if isinstance(v, st.SearchStrategy) else v for n, v in given.items()}
    return State(**parts)


QUARTER = Below(4)
flag = FLAG.map(int)
which = Below(2)
"""One of the two list registers."""
foreign = one_of(FOREIGN)
choices = st.tuples(Below(2))
"""What is taken where the hardware is free."""

OPEN = {"en": 1, "enable0": 1, "enable1": 1, "fiq_en": 0, "pmr": 0x1F, "apr": frozenset[int](), "pstate_i": 0}
"""Nothing holds a pending interrupt back, but for one of priority 1FH."""
EOIMODE0, EOIMODE1 = {"eoi_mode": 0}, {"eoi_mode": 1}
EOI, DIR = "end_of_interrupt", "deactivate"
