"""The manual once more: what the virtual CPU interface makes of a state.

Written from IHI 0048B, chapter 5 and 3.3 (numbers from memory), in terms of 8-bit priorities as the manual has them;
independent of the executable specification, which is judged by it like anything else.
"""

from __future__ import annotations

from dataclasses import replace

from properties.arm.sequential.state import ACTIVE, INVALID, PENDING, PENDING_AND_ACTIVE, Lr, State

SPURIOUS, OF_GROUP_1 = 1023, 1022


def priority(lr: Lr) -> int:
    """Five bits are implemented: bits 7:3."""
    return 8 * lr.priority


def group_priority(s: State, lr: Lr) -> int:
    """With a binary point of b, bits 7:b+1 for group 0, by ABPR bits 7:b for group 1. The least values are 2 and 3."""
    lowest_bit = max(s.abpr, 3) if lr.group and not s.cbpr else max(s.bpr, 2) + 1
    return priority(lr) - priority(lr) % 2**lowest_bit


def running_priority(s: State) -> int:
    """The active priority that is numerically lowest. 100H stands for none, below every priority there is."""
    return 8 * min(s.apr) if s.apr else 0x100


def highest_pending(s: State) -> frozenset[int]:
    """List registers that hold the pending interrupt of highest priority among enabled groups."""
    pending = [n for n, lr in enumerate(s.lrs) if lr.state == PENDING and (s.enable1 if lr.group else s.enable0)]
    best = min((priority(s.lrs[n]) for n in pending), default=None)
    return frozenset(n for n in pending if priority(s.lrs[n]) == best)


def offered(s: State) -> frozenset[int]:
    """Those of them that assert the virtual IRQ."""
    return frozenset(
        n
        for n in highest_pending(s)
        if s.en
        and priority(s.lrs[n]) < 8 * s.pmr
        and group_priority(s, s.lrs[n]) < running_priority(s)
        and not (s.fiq_en and s.lrs[n].group == 0)
    )


def acknowledge(s: State, n: int) -> State:
    """The guest takes the interrupt and reads IAR, which answers `n`'s."""
    level = group_priority(s, s.lrs[n]) // 8
    return replace(s.with_lr(n, state=ACTIVE), apr=s.apr | {level}, pstate_i=1, halted=0)


def sees(s: State, lr: Lr, aliased: bool) -> bool:
    """Whether IAR and HPPIR, or aliased AIAR and AHPPIR, tell of a pending interrupt of this group."""
    return lr.group == 1 if aliased else lr.group == 0 or s.ack_ctl == 1


def reads(s: State, aliased: bool) -> dict[int, int]:
    """What a read of HPPIR (AHPPIR) may answer: one of these, each with the list register that it is for."""
    other = SPURIOUS if aliased else OF_GROUP_1
    return {s.lrs[n].told if sees(s, s.lrs[n], aliased) else other: n for n in sorted(highest_pending(s))}


def reads_and_acknowledges(s: State, aliased: bool) -> dict[int, State]:
    """What a read of IAR (AIAR) may answer, each with what becomes of the state. PSTATE.I is not its doing.

    Whether it is 1022 or 1023 for what AckCtl=0 keeps from IAR, and the running priority from the guest, is open.
    """
    ways: dict[int, State] = {}
    for told, n in reads(s, aliased).items():
        enough = group_priority(s, s.lrs[n]) < running_priority(s)
        if enough and sees(s, s.lrs[n], aliased):
            ways[told] = replace(acknowledge(s, n), pstate_i=s.pstate_i, halted=s.halted)
        else:
            ways |= {SPURIOUS: s} if not enough else {}
            ways |= {told: s} if not sees(s, s.lrs[n], aliased) else {}
    return ways or {SPURIOUS: s}


def drop_priority(s: State) -> State:
    return replace(s, apr=s.apr - {min(s.apr)}) if s.apr else s


def deactivate(s: State, told: int, counts: bool = True) -> State:
    for n, lr in enumerate(s.lrs):
        if lr.intid == told % 1024 and lr.state in (ACTIVE, PENDING_AND_ACTIVE):
            left = PENDING if lr.state == PENDING_AND_ACTIVE else INVALID
            gone = {lr.physical} if lr.physical is not None else set[int]()
            return replace(s.with_lr(n, state=left), physical_active=s.physical_active - gone)
    return replace(s, eoi_count=(s.eoi_count + 1) % 32) if counts else s


def end_of_interrupt(s: State, told: int) -> State:
    """EOIR; with EOImode=0 the handler returns after it and PSTATE.I is clear again."""
    dropped = drop_priority(s)
    return dropped if s.eoi_mode else replace(deactivate(dropped, told, counts=bool(s.apr)), pstate_i=0)


def directed_deactivate(s: State, told: int) -> State:
    return replace(deactivate(s, told), pstate_i=0)


def eisr(s: State) -> int:
    return sum(2**n for n, lr in enumerate(s.lrs) if lr.state == INVALID and lr.eoi)


def elrsr(s: State) -> int:
    return sum(2**n for n, lr in enumerate(s.lrs) if lr.state == INVALID and not lr.eoi)


def misr(s: State) -> dict[str, bool]:
    """Each cause by its name in GICH_MISR, lowest bit first."""
    return {
        "EOI": eisr(s) != 0,
        "U": bool(s.uie) and len([lr for lr in s.lrs if lr.state != INVALID]) < 2,
        "LRENP": bool(s.lrenpie and s.eoi_count),
        "NP": bool(s.npie) and not any(lr.state == PENDING for lr in s.lrs),
        "VGrp0E": bool(s.vgrp0eie and s.enable0),
        "VGrp0D": bool(s.vgrp0die and not s.enable0),
        "VGrp1E": bool(s.vgrp1eie and s.enable1),
        "VGrp1D": bool(s.vgrp1die and not s.enable1),
    }


def maintenance(s: State) -> bool:
    return bool(s.en) and any(misr(s).values())
