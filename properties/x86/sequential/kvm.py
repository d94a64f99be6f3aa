"""KVM's own habits that one routine shows: the path without APICv, load, put, and the question of what is pending."""

from __future__ import annotations

from hypothesis import assume
from hypothesis import strategies as st

from conformance.automaton.alone import Alone, run_alone
from conformance.automaton.meaning import may_change
from conformance.roles import operations as ops
from conformance.roles.x86 import PINV
from properties.function import BrokenError, Property, Subject, UnjudgedError, called, function
from properties.x86.catalogue import KERNEL, KVM_LIST, KVM_RESIDENCY, KVM_SENDER, LINUX, POSTED_INTR, VMX
from properties.x86.sequential.life import Life, Posts, posts
from properties.x86.sequential.state import CONTROL, VCPU, Below, State, descriptors, number, one_of, vector

CHECKS: dict[str, Property] = {}

INHIBITED = "apicv-inhibited"
REQUESTS = f"{VCPU}.requests"
ON, SN = 1, 2


KVM_SND_10 = KVM_SENDER.alone.must(
    "KVM-SND-10",
    "If APICv is not active for the target, the interrupt goes into vIRR directly, with an event request and a kick.",
    LINUX(f"{VMX} vmx_deliver_interrupt"),
    premise="APICv inhibited",
    observe="A delivery to such a vCPU leaves the descriptor alone, sets the vIRR bit, then the request, then kicks.",
)


@function(CHECKS, KVM_SND_10, "sender", one_of(("out", "in guest", "asleep")), vector, Below(3), needs=(INHIBITED,))
def falls_back_to_virr(subject: Subject, where: str, vector: int, cpu: int) -> None:
    """vIRR, then the request, then the kick: an interrupt message to the pCPU it runs on, or a wake."""
    life = Life(subject, (INHIBITED,))
    if REQUESTS not in life.assembly.locations:
        raise UnjudgedError("NOT CHECKED", f"what holds an event request is not known: there is no {REQUESTS}")
    life.load(cpu)
    if where == "in guest":
        assume(life.enter())
    elif where == "asleep":
        assume(life.sleep() and life.put(preempted=False))
    before = life.memory
    alone = life.call("deliver_interrupt", vector, cpu=(cpu + 1) % 3, asleep=(VCPU,) if where == "asleep" else ())
    if alone.changes_of(f"{VCPU}.pid."):
        life.broken("with APICv inhibited the descriptor is left alone; it was changed")
    virr = first(alone, f"{VCPU}.virr[{vector // 64}]", 1 << vector % 64)
    if virr is None:
        life.broken(f"with APICv inhibited vIRR[{vector:#x}] is set; it was not")
    request = first(alone, REQUESTS, ops.WORD & ~number(before[REQUESTS]))
    if request is None or request < virr:
        life.broken(f"an event is requested after vIRR is set; it was {'not' if request is None else 'before'}")
    kick = kicked(alone, cpu if where == "in guest" else None)
    if where != "out" and (kick is None or kick < request):
        life.broken(f"the vCPU, {where}, is kicked after that; it was {'not' if kick is None else 'before'}")


def first(alone: Alone, at: str, bits: int) -> int | None:
    """The first step that set any of the bits there."""
    return next((c.by.step for c in alone.changes_of(at) if number(c.new) & ~number(c.old) & bits), None)


def kicked(alone: Alone, cpu: int | None) -> int | None:
    """The first step that sent an interrupt message to `cpu` or, without one, woke the vCPU."""
    for asked in alone.asked:
        match asked.operation:
            case ops.SendIpi(to=to) if cpu is not None and to == cpu:
                return asked.step
            case ops.Wake(thread=thread) if cpu is None and thread == VCPU:
                return asked.step
            case _:
                pass
    return None


KVM_PI_3 = KVM_RESIDENCY.alone.must(
    "KVM-PI-3",
    "A load on the same pCPU whose NV is already the notification vector only tests and clears SN.",
    LINUX(f"{POSTED_INTR} vmx_vcpu_pi_load"),
    observe="The operations of such a load, and the same descriptor afterwards as in KVM-PI-2.",
)


@function(CHECKS, KVM_PI_3, "residency", st.lists(Below(3), max_size=2), Below(3), posts)
def load_where_it_was(subject: Subject, before: list[int], cpu: int, posts: Posts) -> None:
    """It may set ON too, which is KVM-PI-4's business."""
    life = Life(subject)
    for each in (*before, cpu):
        life.load(each)
        life.put(preempted=True)
    for _ in life.posted(posts):
        pass
    state = State.of({**State().memory(), **life.memory})
    assume(state.nv == PINV and state.ndst == cpu)
    alone = life.load(cpu)
    for asked in alone.asked:
        op = asked.operation
        if isinstance(op, ops.Store | ops.Rmw) and op.at == CONTROL and may_change(op) & ~(ON | SN):
            how = "store" if isinstance(op, ops.Store) else f"locked {op.how}"
            life.broken(f"due is that only SN is cleared, and ON set; a {how} may change the bits {may_change(op):#x}")
    control = number(alone.memory[CONTROL])
    due = state.control() & ~SN
    if control | ON != due | ON:
        life.broken(f"due is the control word {due:#x}, with or without ON; found {control:#x}")


PUT_RULES = {(1, 0, 0): "SN only if preempted", (1, 1, 1): "SN unless the wakeup vector is set"}
"""SN after a put that was preempted, left for userspace, or blocks with guest interrupts closed: two rules."""


KVM_PI_10 = KVM_RESIDENCY.alone.must(
    "KVM-PI-10",
    "Any other put sets SN in newer kernels (preempted, blocking with guest interrupts closed, or leaving for "
    "userspace); until 6.15 a put sets SN only if the vCPU was preempted.",
    KERNEL("6737557442e5"),
    LINUX(f"{POSTED_INTR} vmx_vcpu_pi_put"),
    premise="device posting or IPI virtualization",
    observe="SN after a put, for each reason to put: one of the two rules throughout.",
)


@function(CHECKS, KVM_PI_10, "residency", st.lists(Below(3), max_size=1), Below(3), needs=("device-posting",))
def put_sets_sn(subject: Subject, before: list[int], cpu: int) -> None:
    """No declaration says which rule an implementation follows: it must follow one of the two throughout."""
    found: list[int] = []
    for reason in ("preempted", "userspace", "closed"):
        life = Life(subject)
        for each in before:
            life.load(each)
            life.put(preempted=True)
        life.load(cpu)
        if reason == "closed":
            life.memory = {**life.memory, f"{VCPU}.rflags_if": 0}
            assume(life.sleep())
        life.put(preempted=reason == "preempted")
        found.append(number(life.memory[CONTROL]) >> 1 & 1)
    preempted, userspace, closed = found
    rule = PUT_RULES.get((preempted, userspace, closed))
    if rule is None:
        raise BrokenError(
            f"on pCPU {cpu} put leaves SN={preempted} if preempted, {userspace} if leaving for userspace, "
            f"{closed} if blocking with guest interrupts closed; due is 1, 0, 0 (until Linux 6.15) or 1, 1, 1 (since)"
        )
    subject.notes.add(f"put rule: {rule}")


KVM_PI_20 = KVM_RESIDENCY.alone.must(
    "KVM-PI-20",
    "Whether another vCPU has something pending is ON, or SN together with a non-empty PIR: under SN a device "
    "posts without setting ON.",
    LINUX(f"{POSTED_INTR} pi_has_pending_interrupt"),
    KVM_LIST("J. Martins, 6 Nov 2019, patch 1 of 3, Message-ID 20191106175602.4515-2"),
    observe="The answer over all ON, SN and PIR empty or not.",
)


@function(CHECKS, KVM_PI_20, "residency", descriptors())
def something_is_pending(subject: Subject, state: State) -> None:
    assembly = subject.assembly()
    if "has_pending" not in assembly.routines:
        raise UnjudgedError("NOT CHECKED", "the implementation offers no routine has_pending(vcpu) to ask")
    due = bool(state.on or (state.sn and state.pir))
    found = bool(run_alone(assembly, "has_pending", (VCPU,), state.memory()).answer.value)
    if found != due:
        raise BrokenError(f"{called('has_pending')} on {state}: due is {due}; the answer is {found}")


KVM_PI_22 = KVM_RESIDENCY.alone.must(
    "KVM-PI-22",
    "A new descriptor has the notification vector in NV and SN=1, because the vCPU is loaded nowhere.",
    LINUX(f"{VMX} __vmx_vcpu_reset"),
    observe="NV and SN of a fresh descriptor.",
)


@function(CHECKS, KVM_PI_22, "residency", st.just(0))
def fresh_descriptor(subject: Subject, _: int) -> None:
    """What an implementation declares for the control word; the suite's own initial value is not its doing."""
    declared = [cls for cls in subject.implementation.roles.values() if "pid.control" in cls.vcpu_state]
    state = State.of({**State().memory(), CONTROL: subject.assembly().locations[CONTROL].initial})
    if not declared:
        raise UnjudgedError("NOT CHECKED", "the implementation declares no descriptor of its own: it has the suite's")
    if (state.nv, state.sn) != (PINV, 1):
        raise BrokenError(f"a fresh descriptor has {state.shown('nv', 'sn')}; due is NV={PINV:#x}, SN=1")
