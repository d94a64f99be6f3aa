"""Traces of a few steps, written by hand or drawn: facts of agents over a few locations of x86."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec
from hypothesis import strategies as st

from conformance.machine import facts
from conformance.machine.facts import Happened
from conformance.machine.finding import Subject, about
from conformance.report.reason import why
from conformance.roles.operations import WORD
from conformance.search.trace import Change, Held, TraceStep
from conformance.verdict.clause import Counterexample

CONTROL, PIR, VIRR, MODE = "vcpu0.pid.control", "vcpu0.pid.pir[3]", "vcpu0.virr[3]", "vcpu0.mode"
ON, SN, NV = 1, 2, 0xFF << 16
V200 = 1 << 200 % 64


def reads(routine: str, at: str, value: Held, mask: int = WORD, **more: Any) -> facts.Reads:
    assert not isinstance(value, str)
    return facts.Reads(at, value, mask, routine=routine, **more)  # type: ignore[arg-type]


def writes(routine: str, at: str, value: int, mask: int = WORD) -> facts.Writes:
    return facts.Writes(at, value, mask, routine=routine)


def modifies(
    routine: str, how: Any, at: str, value: int, was: int, mask: int = WORD, expect: int = 0, **more: Any
) -> facts.Modifies:
    return facts.Modifies(at, how, value, was, mask, expect, routine=routine, **more)


class By(NamedTuple):
    """A step: who took it ("!" at the end: in its handler), what it did, and (location, old, new) of what changed."""

    agent: str
    did: tuple[Happened, ...] | Happened = ()
    changed: tuple[tuple[str, Held, Held], ...] = ()


def trace(*steps: By, breaks: int = 0) -> tuple[TraceStep, ...]:
    return tuple(
        TraceStep(
            number=number,
            agent=agent.rstrip("!"),
            in_handler=agent[-1] == "!",
            facts=did if isinstance(did, tuple) else (did,),
            changes=tuple(Change(*change) for change in changed),
            breaks=number == breaks,
        )
        for number, (agent, did, changed) in enumerate(steps, 1)
    )


POSTS = By("cpu1", modifies("send", "or", PIR, V200, 0, V200), ((PIR, 0, V200),))
"""Vector 200, into PIR."""


LOST = trace(
    By("cpu0", (reads("enter", CONTROL, 0, ON), writes("enter", "vcpu0.rvi", 0))),
    POSTS,
    By("cpu1", modifies("send", "or", CONTROL, ON, 0, ON), ((CONTROL, 0, ON),)),
    By("cpu1", reads("send", MODE, 0, decides=True), (("sender.status", "runnable", "done"),)),
    By("cpu0", (writes("enter", MODE, 1), facts.Fences(routine="enter")), ((MODE, 0, 1),)),
    By("cpu0", facts.Enters("vcpu0", routine="enter")),
)
LOST_REASON = "at rest vcpu0 is in its guest on cpu0, while vector 200 waits in PIR and could be taken"

WORD_BEFORE, WORD_AFTER = 0xF20000, 0xF10001
SLEEPER = trace(
    By("cpu0", facts.Schedules(True, routine="block"), (("vcpu0.status", "about to sleep", "sleeping"), ("cpu0.interrupts", 1, 0))),
    By("cpu0", reads("put", CONTROL, WORD_BEFORE)),
    By(
        "device",
        (modifies("post", "or", PIR, V200, 0, V200), reads("post", CONTROL, WORD_BEFORE & NV, NV, decides=True),
         modifies("post", "or", CONTROL, ON, 0, ON)),
        ((PIR, 0, V200), (CONTROL, WORD_BEFORE, WORD_BEFORE | ON)),
    ),
    By("device", facts.Sends(0xF2, 0, routine="post"), (("cpu0.in_flight", (), (0xF2,)),)),
    By(
        "cpu0",
        (modifies("put", "cas", CONTROL, WORD_AFTER, WORD_BEFORE | ON, WORD, WORD_BEFORE | ON), facts.SwitchesOut("vcpu0")),
        ((CONTROL, WORD_BEFORE | ON, WORD_AFTER), ("cpu0.interrupts", 0, 1)),
    ),
    By("wire0", facts.Arrives(0xF2, 0), (("cpu0.in_flight", (0xF2,), ()), ("cpu0.latched", (), (0xF2,)))),
    By("cpu0!", facts.Takes(0xF2), (("cpu0.latched", (0xF2,), ()),)),
)  # fmt: skip
SLEEPER_REASON = "at rest vcpu0 sleeps, while vector 200 waits in PIR and could be taken"

TWICE = trace(
    POSTS,
    By("cpu0", (reads("harvest", PIR, V200), modifies("harvest", "or", VIRR, V200, 0)), ((VIRR, 0, V200),)),
    By("cpu0", (writes("deliver", VIRR, 0), facts.Delivers("vcpu0", 200)), ((VIRR, V200, 0),)),
    By("cpu1", modifies("send", "and", CONTROL, 0, 0, ON)),
    By(
        "cpu0",
        (modifies("harvest", "swap", PIR, 0, V200), modifies("harvest", "or", VIRR, V200, 0)),
        ((PIR, V200, 0), (VIRR, 0, V200)),
    ),
    By("cpu0", (writes("deliver", VIRR, 0), facts.Delivers("vcpu0", 200)), ((VIRR, V200, 0),)),
    breaks=6,
)
TWICE_REASON = "vector 200 is delivered to vcpu0 more often than it was posted"
VECTOR = about(Subject(PIR, V200), Subject(VIRR, V200), "vcpu0")


def counterexample(
    steps: tuple[TraceStep, ...],
    reason: str,
    recovery: Literal["DELAYED", "LOST", ""] = "",
    subjects: tuple[Subject, ...] = VECTOR,
    **more: Any,
) -> Counterexample:
    return Counterexample(
        scenario="hand-made",
        switches=2,
        steps=len(steps),
        at_rest=not any(step.breaks for step in steps),
        recovery=recovery,
        reason=reason,
        subjects=subjects,
        architecture="x86",
        trace=steps,
        **more,
    )


def sentences(
    steps: tuple[TraceStep, ...], reason: str, recovery: Literal["DELAYED", "LOST", ""] = "", *subjects: Subject | str
) -> tuple[str, ...]:
    found = counterexample(steps, reason, recovery, about(*subjects) if subjects else VECTOR)
    return why(found).sentences


# Drawn

AGENTS = ("cpu0", "cpu1", "device")
MEMORY = (PIR, CONTROL, MODE, "cpu0.list")


@st.composite
def consistent(draw: st.DrawFn) -> tuple[TraceStep, ...]:
    """Agents that read and write a sequentially consistent memory, under masks of one or two bits."""
    memory = dict.fromkeys(MEMORY, 0)
    made: list[By] = []
    for _ in range(draw(st.integers(1, 12))):
        agent, at = draw(st.sampled_from(AGENTS)), draw(st.sampled_from(MEMORY))
        routine, mask = draw(st.sampled_from(["send", "enter"])), draw(st.sampled_from([1, 2, 3]))
        old, value = memory[at], draw(st.integers(0, 3))
        match draw(st.sampled_from(["reads", "writes", "swaps"])):
            case "reads":
                did: Happened = reads(routine, at, old & mask, mask, decides=draw(st.booleans()))
            case "writes":
                did = writes(routine, at, value & mask, mask)
                memory[at] = old & ~mask | value & mask
            case _:
                did = modifies(routine, "swap", at, value & mask, old & mask, mask)
                memory[at] = old & ~mask | value & mask
        made.append(By(agent, did, ((at, old, memory[at]),) if old != memory[at] else ()))
    return trace(*made, breaks=len(made) if draw(st.booleans()) else 0)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = st.sampled_from([*MEMORY, "vcpu1.pid.control", "cpu0.lr[0]", "irq41.latch", "a", "", "x.y"])
WORDS = st.one_of(st.sampled_from([0, 1, 2, WORD]), st.integers(0, WORD))
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "what": TEXT,
    "at": NAMES,
    "value": WORDS,
    "was": WORDS,
    "mask": WORDS.filter(bool),
    "expect": WORDS,
    "how": st.sampled_from(["swap", "or", "and", "xor", "add", "cas"]),
    "kind": st.sampled_from(["full", "load", "store", "acquire", "release"]),
    "vector": st.sampled_from([0, 0xF2, 1024, 8192]),
    "to": st.sampled_from([None, 0, 1]),
    "cpu": st.integers(0, 1),
    "source": st.integers(0, 1),
    "target": st.integers(0, 1),
    "thread": st.sampled_from(["vcpu0", "sender1"]),
    "vcpu": st.sampled_from(["vcpu0", "vcpu1"]),
    "reason": st.sampled_from([("hlt",), ("interrupt", 0xF2)]),
    "action": st.sampled_from([("hlt",), ("write_tpr", 0x50)]),
    "routine": st.one_of(st.just(""), TEXT),
    "site": st.one_of(st.just(""), TEXT),
}


def any_fact(cls: type[facts.Fact]) -> st.SearchStrategy[Any]:
    """Any of a kind."""
    made = {f.name: FIELDS.get(f.name, st.booleans()) for f in msgspec.structs.fields(cls)}
    if cls in (facts.Reads, facts.Writes, facts.Drains):
        made["value"] = st.one_of(WORDS, st.lists(TEXT, max_size=2).map(tuple))
    if cls is facts.Drains:
        made["value"] = st.one_of(made["value"], st.just(""))
    if cls is facts.SetsInterrupts:
        made["was"] = st.booleans()
    return st.builds(cls, **made)


KINDS: tuple[type[facts.Fact], ...] = tuple(facts.Fact.__subclasses__())
FACTS = st.sampled_from(KINDS).flatmap(any_fact)
OWN = st.sampled_from(["cpu0.latched", "cpu1.in_flight"])
VECTORS = st.lists(st.sampled_from([0xF2, 0xF1]), max_size=2).map(tuple)
CHANGES = st.one_of(
    st.builds(Change, NAMES, WORDS, WORDS),
    st.builds(Change, NAMES, st.lists(TEXT, max_size=2).map(tuple), st.lists(TEXT, max_size=2).map(tuple)),
    st.builds(Change, NAMES, TEXT, TEXT),
    st.builds(Change, OWN, VECTORS, VECTORS),
    st.builds(Change, st.just("vcpu0.status"), *[st.sampled_from(["runnable", "sleeping", "done"])] * 2),
)


@st.composite
def anything(draw: st.DrawFn) -> tuple[TraceStep, ...]:
    """Steps that make no sense."""
    agents = st.sampled_from(
        [*AGENTS, "wire0", "wire1", "buffer0", "preempt cpu0", "spurious 0xf2 cpu0", "migrate vcpu0"]
    )
    does = st.tuples(agents, st.lists(FACTS, max_size=3), st.lists(CHANGES, max_size=3), st.booleans(), st.booleans())
    return tuple(
        TraceStep(number=n, agent=agent, in_handler=handler, facts=tuple(did), changes=tuple(changes), breaks=breaks)
        for n, (agent, did, changes, handler, breaks) in enumerate(draw(st.lists(does, max_size=12)), 1)
    )
