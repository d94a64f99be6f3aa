"""The story of a counterexample: happens-before edges of a trace, and the sentences made of them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from tiny_traces import (
    CONTROL,
    LOST,
    LOST_REASON,
    MEMORY,
    MODE,
    NV,
    ON,
    PIR,
    SLEEPER,
    SLEEPER_REASON,
    SN,
    TWICE,
    TWICE_REASON,
    V200,
    By,
    anything,
    consistent,
    counterexample,
    modifies,
    reads,
    sentences,
    trace,
    writes,
)

from conformance.machine import facts
from conformance.machine.finding import Subject
from conformance.report import edges
from conformance.report.reason import why
from conformance.report.rows import words_of
from conformance.roles.operations import WORD
from conformance.search.proof import LIVELOCK_REASON
from conformance.search.trace import Held, TraceStep
from conformance.search.words import show

# Edges


@pytest.mark.parametrize(
    ("read", "value", "at", "mask", "told"),
    [
        ((CONTROL, ON), 1, CONTROL, ON, 1),
        ((CONTROL, ON), 1, "vcpu1.pid.control", ON, None),
        ((CONTROL, WORD), 0xF20001, CONTROL, ON, 1),
        ((CONTROL, WORD), 0xF20001, CONTROL, NV, 0xF20000),
        ((CONTROL, ON | SN), 2, CONTROL, SN, 2),
        ((CONTROL, ON | SN), 2, CONTROL, NV, None),
        ((PIR, WORD), V200, PIR, V200, V200),
        ((PIR, 0xFFFFFFFF), V200, PIR, V200, V200),
        ((PIR, 0xFFFFFFFF << 32), 0, PIR, V200, None),
        (("cpu0.wakeup_list", WORD), ("vcpu0",), "cpu0.wakeup_list", WORD, ("vcpu0",)),
    ],
)
def test_a_wide_read_tells_of_its_parts(read: tuple[str, int], value: Held, at: str, mask: int, told: Held) -> None:
    (step,) = trace(By("cpu0", reads("r", read[0], value, read[1])))
    assert edges.saw(step, at, mask) == told


def test_reads_from_the_last_step_that_changed_it() -> None:
    assert edges.reads_from(SLEEPER) == [edges.Edge("reads", 3, 5, CONTROL, ON, ON)]
    assert edges.Edge("reads", 1, 2, PIR, V200, V200) in edges.reads_from(TWICE)


def test_a_read_of_bits_that_two_steps_left_is_from_both() -> None:
    wide = trace(
        By("cpu1", writes("a", CONTROL, ON, ON), ((CONTROL, 0, ON),)),
        By("cpu1", writes("a", CONTROL, SN, SN), ((CONTROL, ON, ON | SN),)),
        By("cpu0", reads("b", CONTROL, ON | SN)),
    )
    assert edges.reads_from(wide) == [
        edges.Edge("reads", 2, 3, CONTROL, SN, SN),
        edges.Edge("reads", 1, 3, CONTROL, ON, ON),
    ]


def test_a_value_that_does_not_fit_is_read_from_nowhere() -> None:
    forwarded = trace(
        By("cpu1", writes("b", MODE, 2), ((MODE, 0, 2),)),
        By("cpu0", writes("a", MODE, 1)),
        By("cpu0", reads("a", MODE, 1)),
        By("buffer0", facts.Drains(MODE, 1), ((MODE, 2, 1),)),
    )
    assert edges.edges(forwarded) == []


def test_overwritten_is_the_first_later_change_by_another_step() -> None:
    assert edges.overwritten(LOST) == [
        edges.Edge("overwritten", 1, 3, CONTROL, 0, ON),
        edges.Edge("overwritten", 4, 5, MODE, 0, 1),
    ]


def by_definition(steps: tuple[TraceStep, ...]) -> set[edges.Edge]:
    """One bit at a time: who left the bit that a step read, and who changes it next."""
    found: dict[tuple[str, int, int, str], int] = {}
    for step in steps:
        for fact in step.facts:
            if not isinstance(fact, facts.Reads | facts.Modifies):
                continue
            value = fact.value if isinstance(fact, facts.Reads) else fact.was
            assert isinstance(value, int)
            for bit in (1 << n for n in range(64) if fact.mask >> n & 1):
                flips = [s for s in steps for c in s.changes if c.at == fact.at and (int(c.old) ^ int(c.new)) & bit]  # type: ignore[arg-type]
                before = [s.number for s in flips if s.number < step.number]
                later = [s.number for s in flips if s.number >= step.number]
                if before:
                    key = ("reads", before[-1], step.number, fact.at)
                    found[key] = found.get(key, 0) | bit
                if later and later[0] != step.number:
                    key = ("overwritten", step.number, later[0], fact.at)
                    found[key] = found.get(key, 0) | bit
    values = {(s.number, f.at): f for s in steps for f in s.facts if isinstance(f, facts.Reads | facts.Modifies)}
    made: set[edges.Edge] = set()
    for (kind, source, target, at), bits in found.items():
        fact = values[target if kind == "reads" else source, at]
        value = fact.value if isinstance(fact, facts.Reads) else fact.was
        assert isinstance(value, int)
        made.add(edges.Edge(kind, source, target, at, value & bits, bits))  # type: ignore[arg-type]
    return made


@settings(deadline=None)
@given(consistent())
def test_edges_are_what_they_are_by_definition(steps: tuple[TraceStep, ...]) -> None:
    """Memory is sequentially consistent here, so every value fits."""
    assert set(edges.edges(steps)) == by_definition(steps)


def test_messages_from_sent_to_taken() -> None:
    assert edges.messages(SLEEPER) == [edges.Message(0xF2, "cpu0", sent=4, arrived=6, taken=7)]
    assert [e for e in edges.edges(SLEEPER) if e.kind == "message"] == [
        edges.Edge("message", 4, 6, "cpu0", 0xF2),
        edges.Edge("message", 6, 7, "cpu0", 0xF2),
    ]


def test_spurious_interrupts_are_no_messages_and_merged_ones_share_their_fate() -> None:
    merged = trace(
        By("spurious 0xf2 cpu0", facts.Strays(0xF2, 0), (("cpu0.latched", (), (0xF2,)),)),
        By("cpu1", facts.Sends(0xF2, 0, routine="a"), (("cpu0.in_flight", (), (0xF2,)),)),
        By("cpu1", facts.Sends(0xF1, 0, routine="a"), (("cpu0.in_flight", (0xF2,), (0xF1, 0xF2)),)),
        By("device", facts.Sends(0xF2, 0, routine="b")),
        By("wire0", facts.Arrives(0xF2, 0), (("cpu0.in_flight", (0xF1, 0xF2), (0xF1,)),)),
        By("cpu0!", facts.Takes(0xF2), (("cpu0.latched", (0xF2,), ()),)),
    )
    assert edges.messages(merged) == [
        edges.Message(0xF2, "cpu0", sent=2, arrived=5, taken=6),
        edges.Message(0xF1, "cpu0", sent=3),
        edges.Message(0xF2, "cpu0", sent=4, arrived=5, taken=6),
    ]


def test_a_wake_leads_to_the_switch_in() -> None:
    woken = trace(
        By("cpu1", facts.Wakes("vcpu0", True, routine="send"), (("vcpu0.status", "sleeping", "runnable"),)),
        By("cpu1", reads("send", MODE, 0)),
        By("cpu0", facts.SwitchesIn("vcpu0")),
    )
    assert edges.wakes(woken) == [edges.Edge("wakes", 1, 3, "vcpu0", "runnable")]


# Sentences


def test_why_a_wakeup_is_lost() -> None:
    assert sentences(LOST, LOST_REASON, "DELAYED") == (
        "Let P be step 2, where send on cpu1 sets PIR[200], between steps 1 and 5 of enter on cpu0.",
        "send on cpu1: step 3 sets ON; step 4 reads mode = 0, before step 5 makes it 1.",
        "No interrupt is sent from P on.",
        "enter on cpu0: step 1 reads ON = 0, before step 3 makes it 1; step 5 sets mode; step 6 enters vcpu0.",
        "However, nobody looks at PIR[200] or ON once it is set.",
        "So at rest PIR[200] = 1, ON = 1, mode = 1, nothing is latched or in flight: no step that must happen is left, "
        "and only an exit or tick, which nothing promises, mends it.",
    )


def test_why_a_notification_goes_to_the_wrong_vector() -> None:
    assert sentences(SLEEPER, SLEEPER_REASON, "LOST") == (
        "Let P be step 3, where post on device sets PIR[200] and ON, between steps 2 and 5 of put on cpu0.",
        "post on device: P reads NV = 0xf2, before step 5 makes it 0xf1; step 4 sends 0xf2 to cpu0.",
        "Step 7 takes 0xf2 of step 4 in root mode and changes nothing.",
        "block on cpu0: step 1 sleeps. put on cpu0: step 2 reads ON = 0, before P makes it 1; step 5 changes NV from 0xf2 to 0xf1.",
        "However, nobody looks at PIR[200] once it is set; the last to look at ON is step 5 (put on cpu0) and sees 1.",
        "So at rest PIR[200] = 1, ON = 1, NV = 0xf1, vcpu0 sleeps, nothing is latched or in flight: "
        "no step that must happen is left, and one more exit on every CPU does not mend it.",
    )


def test_why_a_step_breaks_a_clause() -> None:
    assert sentences(TWICE, TWICE_REASON) == (
        "Let B be step 6, where deliver on cpu0 delivers 200 to vcpu0.",
        "vIRR[200] becomes 0 in step 3, 1 in step 5, 0 in B (deliver on cpu0); "
        "PIR[200] becomes 1 in step 1, 0 in step 5 (harvest on cpu0).",
        "harvest on cpu0: step 5 sets vIRR[200] and clears PIR[200].",
        f"So B breaks it: {TWICE_REASON}.",
    )


def test_a_guest_that_goes_on_is_told_from_its_instruction_before() -> None:
    """And what the host read in between, that let it go on."""
    goes_on = trace(
        By("cpu0", facts.GuestDoes(("hlt",), routine="boundary")),
        By("cpu1", modifies("send", "or", CONTROL, ON, 0, ON), ((CONTROL, 0, ON),)),
        By("cpu0", reads("vcpu_halt", CONTROL, ON, ON, decides=True)),
        By("cpu0", facts.Enters("vcpu0", routine="enter")),
        By("cpu0", facts.GuestDoes(("sti",), routine="boundary")),
        breaks=5,
    )
    assert sentences(goes_on, "the guest executes sti after HLT") == (
        "Let B be step 5, where boundary on cpu0 executes sti for the guest.",
        "The guest's last instruction before is step 1 (guest: hlt). "
        "vcpu_halt on cpu0: step 3 reads ON = 1, as step 2 left it. enter on cpu0: step 4 enters vcpu0.",
        "So B breaks it: the guest executes sti after HLT.",
    )


def test_a_call_that_returns_early_is_where_the_story_begins() -> None:
    """Nobody sets the vector that was posted: its sender saw ON of another post, which the vCPU clears."""
    early = trace(
        By("cpu1", modifies("send", "or", CONTROL, ON, 0, ON), ((CONTROL, 0, ON),)),
        By("cpu2", modifies("send", "or", CONTROL, ON, ON, ON, decides=True, last=True)),
        By("cpu0", modifies("enter", "and", CONTROL, 0, ON, ON), ((CONTROL, ON, 0),)),
        By("cpu0", reads("enter", PIR, 0, V200)),
        By("cpu0", facts.Enters("vcpu0", routine="enter")),
    )
    assert sentences(early, "vector 200 was posted and never delivered", "LOST") == (
        "Let P be step 2, where send on cpu2 reads ON = 1, as step 1 left it and before step 3 makes it 0, and send is over.",
        "No interrupt is sent from P on.",
        "enter on cpu0: step 3 clears ON; step 5 enters vcpu0.",
        "However, nobody changes PIR[200] or vIRR[200].",
        "So at rest ON = 0, nothing is latched or in flight: no step that must happen is left, "
        "and one more exit on every CPU does not mend it.",
    )


def test_the_look_that_said_where_an_interrupt_goes_is_told_if_it_was_wrong_by_then() -> None:
    """However many looks come after it in the call, and decide more."""
    cpu, running = "vcpu0.cpu", "cpu0.running_vcpu"
    early = trace(
        By("cpu0", writes("put", running, 0), ((running, 1, 0),)),
        By("cpu2", reads("send", cpu, 0)),
        By("cpu2", modifies("send", "or", PIR, V200, 0, V200), ((PIR, 0, V200),)),
        By("cpu1", (writes("enter", cpu, 1), writes("enter", MODE, 1)), ((cpu, 0, 1), (MODE, 0, 1))),
        By("cpu1", (reads("enter", CONTROL, 0, ON, decides=True), facts.Enters("vcpu0", routine="enter"))),
        By("cpu2", modifies("send", "or", CONTROL, ON, 0, ON), ((CONTROL, 0, ON),)),
        By("cpu2", reads("send", MODE, 1, decides=True)),
        By("cpu2", reads("send", running, 0, decides=True)),
        By("cpu2", facts.Sends(0xF2, 0, routine="send"), (("cpu0.in_flight", (), (0xF2,)),)),
    )
    told = sentences(early, LOST_REASON, "DELAYED")
    assert any("step 2 reads cpu = 0, before step 4 makes it 1" in sentence for sentence in told), told


def test_a_look_before_the_post_is_told_if_nothing_was_sent_by_it_and_it_was_wrong_by_then() -> None:
    """Where the vCPU runs is read first, then it is posted to. Not so of a look that still held when the call was over."""
    early = trace(
        By("cpu1", reads("send", MODE, 0)),
        By("cpu1", reads("send", FLAG, 0)),
        By("cpu1", modifies("send", "or", PIR, V200, 0, V200), ((PIR, 0, V200),)),
        By("cpu0", writes("enter", MODE, 1), ((MODE, 0, 1),)),
        By("cpu0", (reads("enter", CONTROL, 0, ON, decides=True), facts.Enters("vcpu0", routine="enter"))),
        By("cpu1", modifies("send", "or", CONTROL, ON, 0, ON), ((CONTROL, 0, ON),)),
        By("cpu0", writes("leave", FLAG, 1), ((FLAG, 0, 1),)),
    )
    told = sentences(early, LOST_REASON, "DELAYED")
    assert "No interrupt is sent from P on: step 1 read mode = 0, and it was 1 when send was over in step 6." in told
    assert 1 in why(counterexample(early, LOST_REASON, "DELAYED")).steps


AT, FLAG, COPY = "cpu0.status_register", "vcpu0.flag", "vcpu0.copy"
"""Of no architecture: a register that hardware fills, what software keeps of it, and a copy."""


def test_news_are_followed_to_where_they_are_lost() -> None:
    """A device reads what is pending and says so in a register, which a thread copies, and acts by the wrong copy."""
    passed_on = trace(
        By("device", modifies("post", "or", PIR, V200, 0, V200), ((PIR, 0, V200),)),
        By("redistributor0", (reads("fill", PIR, V200, V200), writes("fill", AT, 1)), ((AT, 0, 1),)),
        By("cpu0", reads("wait", AT, 1, decides=True)),
        By("cpu0", writes("wait", FLAG, 1), ((FLAG, 0, 1),)),
        By("cpu0", reads("block", COPY, 0)),
        By("cpu0", facts.Schedules(True, routine="block"), (("vcpu0.status", "about to sleep", "sleeping"),)),
    )
    told = sentences(passed_on, SLEEPER_REASON, "LOST")
    assert (
        "Step 2 (fill on redistributor0) reads PIR[200] = 1, as P left it; step 3 (wait on cpu0) reads cpu0.status_register = 1, "
        "as step 2 left it; step 4 sets flag."
    ) in told


def test_what_is_written_over_unread_is_told() -> None:
    over = trace(
        By("cpu1", modifies("send", "or", PIR, V200, 0, V200), ((PIR, 0, V200),)),
        By("cpu1", writes("send", FLAG, 1), ((FLAG, 0, 1),)),
        By("cpu0", writes("wait", FLAG, 0), ((FLAG, 1, 0),)),
        By("cpu0", facts.Enters("vcpu0", routine="enter")),
    )
    told = sentences(over, LOST_REASON, "LOST")
    assert (
        "However, nobody looks at PIR[200] once it is set; step 3 writes over flag as step 2 left it, unread." in told
    )


def test_a_handler_in_the_middle_of_the_call_is_told() -> None:
    between = trace(
        By("cpu0", reads("look", MODE, 0)),
        By("cpu0!", (facts.Takes(0xF2), writes("handle", MODE, 1)), ((MODE, 0, 1),)),
        By("cpu0!", facts.Returns(routine="handle")),
        By("cpu0", writes("look", MODE, 0), ((MODE, 1, 0),)),
        breaks=4,
    )
    assert sentences(between, "mode is cleared, set while it was looked at", "", MODE)[0] == (
        "Let B be step 4, where look on cpu0 clears mode; its call began in step 1, and handle came in between, in steps 2 to 3."
    )


def test_what_the_breaking_agent_wrote_before_is_told() -> None:
    """It writes what is there already, which changes nothing; somebody else changes it then."""
    gone_on = trace(
        By("cpu1", writes("clear", MODE, 0)),
        By("cpu0", writes("fold", MODE, 1), ((MODE, 0, 1),)),
        By("cpu1", facts.Enters("vcpu1", routine="enter")),
        breaks=3,
    )
    told = sentences(gone_on, "vcpu1 goes on, and mode is 1", "", MODE)
    assert told[1] == "mode becomes 1 in step 2 (fold on cpu0); step 1 (clear on cpu1) writes mode := 0."


def test_a_value_that_was_written_again_is_read_from_there() -> None:
    again = trace(
        By("cpu0", writes("wait", FLAG, 0)),
        By("cpu1", modifies("send", "or", PIR, V200, 0, V200), ((PIR, 0, V200),)),
        By("cpu0", reads("block", FLAG, 0)),
        By("cpu0", facts.Schedules(True, routine="block"), (("vcpu0.status", "about to sleep", "sleeping"),)),
    )
    assert "block on cpu0: step 3 reads flag = 0, as step 1 left it; step 4 sleeps." in sentences(
        again, LOST_REASON, "LOST"
    )


BLIND = trace(
    By("cpu0", reads("enter", CONTROL, 0xF20000)),
    By("cpu0", writes("enter", MODE, 1), ((MODE, 0, 1),)),
    By("cpu0", facts.Enters("vcpu0", routine="enter")),
    breaks=3,
)


def test_why_a_step_comes_without_a_look() -> None:
    reason = "VM entry of vcpu0 without a look at ON since mode := IN"
    assert sentences(BLIND, reason, "", Subject(CONTROL, ON), MODE) == (
        'Let B be step 3, where enter on cpu0 does "enters vcpu0".',
        "mode becomes 1 in step 2 (enter on cpu0); ON is last read in step 1 (enter on cpu0) as 0.",
        "enter on cpu0: step 2 sets mode.",
        f"So B breaks it: {reason}.",
    )
    read = "enter on cpu0: step 1 reads control = 0xf20000; step 2 sets mode."
    assert sentences(BLIND, "vcpu0 goes too far", "", "vcpu0")[1] == read


def test_raw_names_in_a_reason_are_printed_as_rows_print_them() -> None:
    told = sentences(TWICE, f"the processor looks at {PIR} too late", "", PIR)
    assert told[-1] == "So B breaks it: the processor looks at PIR word 3 too late."


def test_a_store_buffer_is_named() -> None:
    hidden = trace(
        By("cpu0", writes("enter", MODE, 1)),
        By("cpu1", modifies("send", "or", PIR, V200, 0, V200), ((PIR, 0, V200),)),
        By("cpu1", reads("send", MODE, 0)),
        By("buffer0", facts.Drains(MODE, 1), ((MODE, 0, 1),)),
    )
    told = "send on cpu1: step 3 reads mode = 0, though step 1 had stored 1, which stays in cpu0's store buffer until step 4."
    assert told in sentences(hidden, LOST_REASON)


def test_context_switches_are_told() -> None:
    moved = trace(
        By("preempt cpu0", facts.Preempts("vcpu0"), (("cpu0.interrupts", 1, 0),)),
        By("device", modifies("post", "or", PIR, V200, 0, V200), ((PIR, 0, V200),)),
        By("migrate vcpu0", facts.Migrates("vcpu0", 0, 1)),
        By("cpu1", facts.SwitchesIn("vcpu0")),
    )
    told = "vcpu0 is preempted in step 1, moves from cpu0 to cpu1 in step 3, is back on cpu1 in step 4."
    assert told in sentences(moved, LOST_REASON, "LOST")


def test_a_lock_and_a_loop_are_no_lost_notification() -> None:
    locked = trace(By("cpu0", facts.Locks("cpu0.lock", routine="put"), (("cpu0.lock", "", "cpu0"),)))
    assert sentences(locked, "put on cpu0 waits for cpu0.lock, held by cpu0", "", "cpu0.lock", "cpu0") == (
        "Let P be step 1, where put on cpu0 changes cpu0.lock from free to cpu0.",
        "No interrupt is sent from P on.",
        "cpu0.lock becomes cpu0 in P (put on cpu0).",
        "So at rest cpu0.lock = cpu0, nothing is latched or in flight: no step that must happen is left.",
    )
    assert sentences(locked, LIVELOCK_REASON, "", "cpu0")[-1] == f"So after step 1: {LIVELOCK_REASON}."
    assert sentences((), LIVELOCK_REASON) == ()


def holds_before(steps: tuple[TraceStep, ...], number: int, at: str, mask: int) -> tuple[str, int]:
    """What a field holds before a step, as printed, and the step that last changed it."""
    wrote = [(c.new, s.number) for s in steps if s.number < number for c in s.changes
             if c.at == at and (int(c.old) ^ int(c.new)) & mask]  # fmt: skip  # type: ignore[arg-type]
    value, step = wrote[-1] if wrote else (0, 0)
    return show(value, mask), step


def named(text: str) -> set[int]:
    return {
        int(step)
        for found in re.findall(r"\bsteps? (\d+)(?: (?:and|to) (\d+))?", text, re.IGNORECASE)
        for step in found
        if step
    }


CLAUSE = re.compile(
    r"(?:^|[;:.] |, where \w+(?: in a handler)? on \w+ )step (\d+)(?: \(.*?\))? (.*?)(?=; |\.(?: |$))", re.IGNORECASE
)
READ = re.compile(r"reads (\S+) = (\w+)(?:, as step (\d+) left it)?(?:,| and)?(?: before step (\d+) makes it)?")


@settings(deadline=None)
@given(consistent())
def test_every_sentence_is_true(steps: tuple[TraceStep, ...]) -> None:
    found = counterexample(steps, LOST_REASON, "LOST", subjects=tuple(Subject(at) for at in MEMORY))
    told, words = why(found), words_of(found)
    text = " ".join(told.sentences)
    assert 1 <= len(told.sentences) <= 8
    point = re.match(r"Let ([BP]) be step (\d+)", text)
    assert point is not None
    text = re.sub(rf"\b{point[1]}\b", f"step {point[2]}", text)
    assert (
        {int(step) for step in re.findall(r"steps? (\d+)", text, re.IGNORECASE)}
        <= told.steps
        <= {s.number for s in steps}
    )
    fields = {words.place(at, mask): (at, mask) for at in MEMORY for mask in words.parts(at, 3)}
    fields |= {words.place(at, mask): (at, mask) for at in MEMORY for mask in (1, 2, 3, WORD)}

    def seen(step: str, name: str) -> str | None:
        value = edges.saw(steps[int(step) - 1], fields[name][0], fields[name][1] & 3)
        return None if value is None else show(value, fields[name][1])

    def left(step: str | int, name: str) -> tuple[str, int]:
        """What a field holds once a step is taken, and who last changed it."""
        return holds_before(steps, int(step) + 1, *fields[name])

    for reader, does in CLAUSE.findall(text):
        for name, value, source, target in READ.findall(does):
            assert seen(reader, name) in (value, None)
            assert not source or int(source) < int(reader)
            assert not target or int(reader) < int(target)
    for name, path in re.findall(r"(\S+) becomes ((?:\w+ in step \d+(?:, )?)+)", text):
        for value, step in re.findall(r"(\w+) in step (\d+)", path):
            assert left(step, name) == (value, int(step))
    for name, value, step in re.findall(r"(\S+) = (\w+) since step (\d+)", text):
        assert left(step, name) == (value, int(step))
        assert point[1] == "B" or left(len(steps), name)[1] == int(step)
    for writer, name, source in re.findall(r"step (\d+) writes over (\S+) as step (\d+) left it", text):
        between = steps[int(source) : int(writer)]
        assert not any(at == fields[name][0] for step in between for at, *_ in edges.looks(step))
    for reader, name, value, now, end in re.findall(
        r"step (\d+) read (\S+) = (\w+), and it was (\w+) when \S+ was over in step (\d+)", text
    ):
        assert seen(reader, name) in (value, None) and left(end, name)[0] == now != value
    for names in re.findall(r"nobody looks at (.*?) once it is set", text):
        for at, mask in map(fields.__getitem__, names.split(" or ")):
            last = holds_before(steps, len(steps) + 1, at, mask)[1]
            assert all(
                not mask & known for s in steps if s.number > last for place, known, _ in edges.looks(s) if place == at
            )
    for names in re.findall(r"nobody changes (.*?)(?:;|\.(?: |$))", text):
        assert not any(holds_before(steps, len(steps) + 1, *fields[name])[1] for name in names.split(" or "))
    if "So at rest" in text:
        for name, value in re.findall(r"(\S+) = (\w+)", told.sentences[-1]):
            assert left(len(steps), name)[0] == value


@settings(deadline=None)
@given(anything())
def test_a_reason_is_found_for_any_trace(steps: tuple[TraceStep, ...]) -> None:
    for recovery in ("LOST", ""):
        found = counterexample(steps, LOST_REASON, recovery)
        assert len(why(found).sentences) <= 9
