"""The report: lane tables, reasons, terminal text, JSON document; on hand-made, generated and real counterexamples."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from tiny_machine import promise

from conformance.adapters.registry import of_class
from conformance.automaton.assembly import assemble
from conformance.machine.clause import Citation, Clause
from conformance.machine.machine import Machine
from conformance.machine.monitor import Look, Monitor
from conformance.report import document, edges, reason, terminal
from conformance.report.lanes import UNICODE, lane_table, plain
from conformance.roles.scenario import Device, Scenario, Thread, VcpuSetup
from conformance.roles.x86 import Cpu, Then
from conformance.search import trace
from conformance.search.proof import LIVELOCK_REASON, shortest
from conformance.verdict.clause import Counterexample, Row, Status, Verdict, exit_status
from reference.x86.kvm import IN, WAKEUP, Kvm
from reference.x86.kvm import Vcpu as KvmVcpu

GOLDEN = Path(__file__).parent / "golden"
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def golden(name: str, text: str) -> None:
    """Compare with tests/golden; INTACK_GOLDEN=write writes it instead."""
    path = GOLDEN / name
    if os.environ.get("INTACK_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text(), f"{path} differs; if that is meant, run again with INTACK_GOLDEN=write"


# Hand-made rows


def rows(*steps: tuple[str, str, dict[str, str], dict[str, tuple[str, str]]], breaks: int = 0) -> tuple[Row, ...]:
    """(agent, texts separated by " / ", reads, changes); an agent that ends in ! is in its handler."""
    made: list[Row] = []
    for number, (agent, texts, reads, changes) in enumerate(steps, 1):
        first = texts.split(" / ")[0].split(": ")
        routine = first[0] if len(first) > 1 and first[0].isidentifier() else ""
        told = tuple(texts.split(" / "))
        made.append(Row(number, agent.rstrip("!"), agent[-1] == "!", told, changes, routine, reads, number == breaks))
    return tuple(made)


LOST = rows(
    ("cpu0", "enter: reads vcpu0.ON = 0 / enter: vcpu0.rvi := 0", {"vcpu0.ON": "0"}, {}),
    ("cpu1", "send: or vcpu0.PIR[200] 1, was 0", {"vcpu0.PIR[200]": "0"}, {"vcpu0.PIR[200]": ("0", "1")}),
    ("cpu1", "send: or vcpu0.ON 1, was 0", {"vcpu0.ON": "0"}, {"vcpu0.ON": ("0", "1")}),
    ("cpu1", "send: reads vcpu0.mode = 0", {"vcpu0.mode": "0"}, {"sender": ("runnable", "done")}),
    ("cpu0", "enter: vcpu0.mode := 1 / enter: fence", {}, {"vcpu0.mode": ("0", "1")}),
    ("cpu0", "enter: enters vcpu0", {}, {}),
)
LOST_REASON = "at rest vcpu0 is in its guest on cpu0, while vector 200 waits in PIR and could be taken"

SLEEPER = rows(
    ("cpu0", "block: sleeps", {}, {"vcpu0": ("about to sleep", "sleeping"), "cpu0 IF": ("1", "0")}),
    ("cpu0", "put: reads vcpu0.control = 0xf20000", {"vcpu0.control": "0xf20000"}, {}),
    (
        "device",
        "post: or vcpu0.PIR[200] 1, was 0 / post: reads vcpu0.NV = 0xf2 / post: or vcpu0.ON 1, was 0",
        {"vcpu0.PIR[200]": "0", "vcpu0.NV": "0xf2", "vcpu0.ON": "0"},
        {"vcpu0.PIR[200]": ("0", "1"), "vcpu0.ON": ("0", "1")},
    ),
    ("device", "post: sends 0xf2 to cpu0", {}, {"cpu0 in flight": ("none", "0xf2")}),
    (
        "cpu0",
        "put: cmpxchg vcpu0.control 0xf20001 -> 0xf10001: done",
        {"vcpu0.control": "0xf20001"},
        {"vcpu0.NV": ("0xf2", "0xf1"), "cpu0 IF": ("0", "1")},
    ),
    ("wire0", "0xf2 arrives at cpu0", {}, {"cpu0 in flight": ("0xf2", "none"), "cpu0 latched": ("none", "0xf2")}),
    ("cpu0!", "takes interrupt 0xf2 in root mode", {}, {"cpu0 latched": ("0xf2", "none")}),
)
SLEEPER_REASON = "at rest vcpu0 sleeps, while vector 200 waits in PIR and could be taken"

TWICE = rows(
    ("cpu1", "send: or vcpu0.PIR[200] 1, was 0", {"vcpu0.PIR[200]": "0"}, {"vcpu0.PIR[200]": ("0", "1")}),
    (
        "cpu0",
        "harvest: reads vcpu0.PIR word 3 = 0x100 / harvest: or vcpu0.virr[3] 0x100, was 0",
        {"vcpu0.PIR word 3": "0x100", "vcpu0.virr[3]": "0"},
        {"vcpu0.virr[3]": ("0", "0x100")},
    ),
    ("cpu0", "deliver: vcpu0.virr[3] := 0 / delivers 200 to vcpu0", {}, {"vcpu0.virr[3]": ("0x100", "0")}),
    ("cpu1", "send: and vcpu0.ON 0, was 0", {"vcpu0.ON": "0"}, {}),
    (
        "cpu0",
        "harvest: swap vcpu0.PIR word 3 0, was 0x100 / harvest: or vcpu0.virr[3] 0x100, was 0",
        {"vcpu0.PIR word 3": "0x100", "vcpu0.virr[3]": "0"},
        {"vcpu0.PIR[200]": ("1", "0"), "vcpu0.virr[3]": ("0", "0x100")},
    ),
    ("cpu0", "deliver: vcpu0.virr[3] := 0 / delivers 200 to vcpu0", {}, {"vcpu0.virr[3]": ("0x100", "0")}),
    breaks=6,
)
TWICE_REASON = "vector 200 is delivered to vcpu0 more often than it was posted"


def counterexample(
    made: tuple[Row, ...], why: str, recovery: Literal["DELAYED", "LOST", ""] = "", **more: Any
) -> Counterexample:
    at_rest = not any(row.breaks for row in made)
    told = reason.why(made, why, recovery)
    return Counterexample(
        scenario="hand-made",
        switches=2,
        steps=len(made),
        at_rest=at_rest,
        recovery=recovery,
        reason=why,
        why=told,
        rows=made,
        **more,
    )


# Edges


@pytest.mark.parametrize(
    ("read", "value", "name", "told"),
    [
        ("vcpu0.ON", "1", "vcpu0.ON", "1"),
        ("vcpu0.ON", "1", "vcpu1.ON", None),
        ("vcpu0.control", "0xf20001", "vcpu0.ON", "1"),
        ("vcpu0.control", "0xf20001", "vcpu0.NV", "0xf2"),
        ("vcpu0.ON+SN", "2", "vcpu0.SN", "1"),
        ("vcpu0.ON+SN", "2", "vcpu0.NV", None),
        ("vcpu0.SN+NV", "0x790001", "vcpu0.NV", "0xf2"),
        ("vcpu0.PIR word 3", "0x100", "vcpu0.PIR[200]", "1"),
        ("vcpu0.PIR word 3", "0x100", "vcpu0.PIR[201]", "0"),
        ("vcpu0.PIR word 1", "0x100", "vcpu0.PIR[200]", None),
        ("vcpu0.PIR[223:192]", "0x100", "vcpu0.PIR[200]", "1"),
        ("vcpu0.PIR[255:224]", "0", "vcpu0.PIR[200]", None),
        ("cpu0.wakeup_list", "[vcpu0]", "cpu0.wakeup_list", "[vcpu0]"),
        ("vcpu0.control", "damaged", "vcpu0.ON", None),
    ],
)
def test_a_wide_read_tells_of_its_parts(read: str, value: str, name: str, told: str | None) -> None:
    assert edges.part(read, value, name) == told


def test_reads_from_the_last_row_that_changed_it() -> None:
    assert edges.reads_from(SLEEPER) == [
        edges.Edge("reads", 3, 5, "vcpu0.ON", "1"),
    ]
    assert edges.Edge("reads", 1, 2, "vcpu0.PIR[200]", "1") in edges.reads_from(TWICE)


def test_a_value_that_does_not_fit_is_read_from_nowhere() -> None:
    forwarded = rows(
        ("cpu1", "b: vcpu0.mode := 2", {}, {"vcpu0.mode": ("0", "2")}),
        ("cpu0", "a: vcpu0.mode := 1", {}, {}),
        ("cpu0", "a: reads vcpu0.mode = 1", {"vcpu0.mode": "1"}, {}),
        ("buffer0", "store buffer drains: vcpu0.mode := 1", {}, {"vcpu0.mode": ("2", "1")}),
    )
    assert edges.edges(forwarded) == []


def test_overwritten_is_the_first_later_change_by_another_row() -> None:
    assert edges.overwritten(LOST) == [
        edges.Edge("overwritten", 1, 3, "vcpu0.ON", "0"),
        edges.Edge("overwritten", 4, 5, "vcpu0.mode", "0"),
    ]


def test_messages_from_sent_to_taken() -> None:
    assert edges.messages(SLEEPER) == [edges.Message("0xf2", "cpu0", sent=4, arrived=6, taken=7)]
    assert [e for e in edges.edges(SLEEPER) if e.kind == "message"] == [
        edges.Edge("message", 4, 6, "cpu0", "0xf2"),
        edges.Edge("message", 6, 7, "cpu0", "0xf2"),
    ]


def test_spurious_interrupts_are_no_messages_and_merged_ones_share_their_fate() -> None:
    merged = rows(
        ("spurious 0xf2 cpu0", "spurious 0xf2 at cpu0", {}, {"cpu0 latched": ("none", "0xf2")}),
        ("cpu1", "a: sends 0xf2 to cpu0", {}, {"cpu0 in flight": ("none", "0xf2")}),
        ("cpu1", "a: sends 0xf1 to cpu0", {}, {"cpu0 in flight": ("0xf2", "0xf1 0xf2")}),
        ("device", "b: sends 0xf2 to cpu0", {}, {}),
        ("wire0", "0xf2 arrives at cpu0", {}, {"cpu0 in flight": ("0xf1 0xf2", "0xf1")}),
        ("cpu0!", "takes interrupt 0xf2 in root mode", {}, {"cpu0 latched": ("0xf2", "none")}),
    )
    assert edges.messages(merged) == [
        edges.Message("0xf2", "cpu0", sent=2, arrived=5, taken=6),
        edges.Message("0xf1", "cpu0", sent=3),
        edges.Message("0xf2", "cpu0", sent=4, arrived=5, taken=6),
    ]


def test_a_wake_leads_to_the_switch_in() -> None:
    woken = rows(
        ("cpu1", "send: wakes vcpu0", {}, {"vcpu0": ("sleeping", "runnable")}),
        ("cpu1", "send: reads vcpu0.mode = 0", {"vcpu0.mode": "0"}, {}),
        ("cpu0", "vcpu0 is back on the CPU", {}, {}),
    )
    assert edges.wakes(woken) == [edges.Edge("wakes", 1, 3, "vcpu0", "runnable")]


# Reasons


def test_why_a_wakeup_is_lost() -> None:
    assert reason.why(LOST, LOST_REASON, "DELAYED") == (
        "Let P be step 2, where send on cpu1 sets PIR[200], between steps 1 and 5 of enter on cpu0.",
        "Step 4 reads mode = 0, before step 5 makes it 1.",
        "No interrupt is sent from P on.",
        "However, nobody looks at PIR[200] or ON once it is set; "
        "the last look at ON was step 1 (enter on cpu0) and saw 0.",
        "So at rest PIR[200] = 1, ON = 1, mode = 1, nothing is latched or in flight: no step that must happen is left, "
        "and only an exit or tick, which nothing promises, mends it.",
    )


def test_why_a_notification_goes_to_the_wrong_vector() -> None:
    assert reason.why(SLEEPER, SLEEPER_REASON, "LOST") == (
        "Let P be step 3, where post on device sets PIR[200] and ON, between steps 2 and 5 of put on cpu0.",
        "P reads NV = 0xf2, before step 5 makes it 0xf1.",
        "Step 4 sends 0xf2 to cpu0; step 7 takes it in root mode and changes nothing.",
        "However, nobody looks at PIR[200] once it is set; the last to look at ON is step 5 (put on cpu0) and sees 1.",
        "So at rest PIR[200] = 1, ON = 1, NV = 0xf1, vcpu0 sleeps, nothing is latched or in flight: "
        "no step that must happen is left, and one more exit on every CPU does not mend it.",
    )


def test_why_a_step_breaks_a_clause() -> None:
    assert reason.why(TWICE, TWICE_REASON) == (
        "Let B be step 6, where deliver on cpu0 delivers 200 to vcpu0.",
        "PIR[200] becomes 1 in step 1, 0 in step 5; "
        "bit 8 of virr[3] becomes 1 in step 2, 0 in step 3, 1 in step 5, 0 in B.",
        f"So B breaks it: {TWICE_REASON}.",
    )


def test_why_a_step_comes_without_a_look() -> None:
    blind = rows(
        ("cpu0", "enter: reads vcpu0.control = 0xf20000", {"vcpu0.control": "0xf20000"}, {}),
        ("cpu0", "enter: vcpu0.mode := 1", {}, {"vcpu0.mode": ("0", "1")}),
        ("cpu0", "enter: enters vcpu0", {}, {}),
        breaks=3,
    )
    assert reason.why(blind, "VM entry of vcpu0 without a look at ON since mode := IN") == (
        'Let B be step 3, where enter on cpu0 does "enters vcpu0".',
        "mode becomes 1 in step 2; ON is last read in step 1 (enter on cpu0) as 0.",
        "So B breaks it: VM entry of vcpu0 without a look at ON since mode := IN.",
    )
    assert reason.why(blind, "vcpu0 goes too far")[1] == "cpu0 last reads control = 0xf20000 in step 1."


def test_raw_names_in_a_reason_are_printed_as_rows_print_them() -> None:
    told = reason.why(TWICE, "the processor looks at vcpu0.pid.pir[3] too late")
    assert told[-1] == "So B breaks it: the processor looks at PIR word 3 too late."


def test_a_store_buffer_is_named() -> None:
    hidden = rows(
        ("cpu0", "enter: vcpu0.mode := 1", {}, {}),
        ("cpu1", "send: or vcpu0.PIR[200] 1, was 0", {"vcpu0.PIR[200]": "0"}, {"vcpu0.PIR[200]": ("0", "1")}),
        ("cpu1", "send: reads vcpu0.mode = 0", {"vcpu0.mode": "0"}, {}),
        ("buffer0", "store buffer drains: vcpu0.mode := 1", {}, {"vcpu0.mode": ("0", "1")}),
    )
    told = "Step 3 reads mode = 0, though step 1 had stored 1, which stays in cpu0's store buffer until step 4."
    assert told in reason.why(hidden, LOST_REASON)


def test_context_switches_are_told() -> None:
    moved = rows(
        ("preempt cpu0", "vcpu0 is preempted", {}, {"cpu0 IF": ("1", "0")}),
        ("device", "post: or vcpu0.PIR[200] 1, was 0", {"vcpu0.PIR[200]": "0"}, {"vcpu0.PIR[200]": ("0", "1")}),
        ("migrate vcpu0", "vcpu0 moves from cpu0 to cpu1", {}, {}),
        ("cpu1", "vcpu0 is back on the CPU", {}, {}),
    )
    told = "vcpu0 is preempted in step 1, moves from cpu0 to cpu1 in step 3, is back on cpu1 in step 4."
    assert told in reason.why(moved, LOST_REASON)


def test_a_lock_and_a_loop_are_no_lost_notification() -> None:
    locked = rows(("cpu0", "put: locks cpu0.lock", {}, {"cpu0.lock": ("free", "cpu0")}))
    assert reason.why(locked, "put on cpu0 waits for cpu0.lock, held by cpu0") == (
        "Let P be step 1, where put on cpu0 changes cpu0.lock from free to cpu0.",
        "No interrupt is sent from P on.",
        "So at rest cpu0.lock = cpu0, nothing is latched or in flight: no step that must happen is left.",
    )
    assert reason.why(locked, LIVELOCK_REASON)[-1] == f"So after step 1: {LIVELOCK_REASON}."
    assert reason.why((), LIVELOCK_REASON) == ()


NAMES = ("vcpu0.PIR[200]", "vcpu0.ON", "vcpu0.SN", "vcpu0.mode", "cpu0.list")
AGENTS = ("cpu0", "cpu1", "device")


@st.composite
def consistent(draw: st.DrawFn) -> tuple[Row, ...]:
    """Rows of agents that read and write a sequentially consistent memory."""
    memory = dict.fromkeys(NAMES, "0")
    made: list[Row] = []
    for number in range(1, draw(st.integers(1, 12)) + 1):
        agent, name = draw(st.sampled_from(AGENTS)), draw(st.sampled_from(NAMES))
        routine = draw(st.sampled_from(["send", "enter"]))
        how, old = draw(st.sampled_from(["reads", ":=", "swap"])), memory[name]
        new = old if how == "reads" else draw(st.sampled_from("01"))
        memory[name] = new
        text = f"{name} := {new}" if how == ":=" else f"{how} {name} = {old}"
        reads = {} if how == ":=" else {name: old}
        made.append(
            Row(number, agent, False, (f"{routine}: {text}",), {name: (old, new)} if old != new else {}, routine, reads)
        )
    if draw(st.booleans()):
        made[-1] = msgspec.structs.replace(made[-1], breaks=True)
    return tuple(made)


def holds_before(made: tuple[Row, ...], step: int, name: str) -> tuple[str, int]:
    """What a location holds before a step, and the step that wrote it."""
    wrote = [(r.changes[name][1], r.number) for r in made if name in r.changes and r.number < step]
    return wrote[-1] if wrote else ("0", 0)


@settings(deadline=None)
@given(consistent())
def test_every_sentence_is_true(made: tuple[Row, ...]) -> None:
    told = reason.why(made, LOST_REASON)
    text = " ".join(told)
    assert 1 <= len(told) <= 5
    point = re.match(r"Let ([BP]) be step (\d+)", text)
    assert point is not None
    text = re.sub(rf"\b{point[1]}\b", f"step {point[2]}", text).replace("Step", "step")
    full = {name.removeprefix("vcpu0."): name for name in NAMES} | {name: name for name in NAMES}
    assert all(1 <= int(step) <= len(made) for step in re.findall(r"step (\d+)", text))
    for reader, name, value, rest in re.findall(r"step (\d+) reads (\S+) = (\w+), ((?:[^;.]|\.\w)*)", text):
        name = full[name]
        assert made[int(reader) - 1].reads[name] == value
        for writer in re.findall(r"as step (\d+) left it", rest):
            assert holds_before(made, int(reader), name) == (value, int(writer))
        for writer, new in re.findall(r"before step (\d+) makes it (\w+)", rest):
            assert int(reader) < int(writer)
            assert made[int(writer) - 1].changes[name] == (value, new)
            assert holds_before(made, int(writer), name)[0] == value
    for names in re.findall(r"nobody looks at (.*?) once it is set", text):
        for name in map(full.__getitem__, names.split(" or ")):
            last = holds_before(made, len(made) + 1, name)[1]
            assert all(name not in row.reads for row in made if row.number > last)
    for name, step, value in re.findall(
        r"last (?:look at|to look at) (\S+) (?:was|is) step (\d+).*? (?:saw|sees) (\w+)", text
    ):
        assert made[int(step) - 1].reads[full[name]] == value
        if f"last to look at {name} is" in text:
            assert all(full[name] not in row.reads for row in made if row.number > int(step))
    if "So at rest" in text:
        for name, value in re.findall(r"(\S+) = (\w+)", told[-1]):
            assert holds_before(made, len(made) + 1, full[name])[0] == value


# Lane tables

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
ANY_ROWS = st.lists(
    st.builds(
        Row,
        number=st.integers(1, 10**6),
        agent=st.sampled_from(
            [*AGENTS, "wire0", "wire1", "buffer0", "preempt cpu0", "spurious 0xf2 cpu0", "migrate vcpu0"]
        ),
        in_handler=st.booleans(),
        texts=st.lists(WORDS, max_size=4).map(tuple),
        changes=st.dictionaries(WORDS, st.tuples(WORDS, WORDS), max_size=3),
        routine=WORDS,
        reads=st.dictionaries(WORDS, WORDS, max_size=2),
        breaks=st.booleans(),
    ),
    max_size=12,
)


@settings(deadline=None)
@given(ANY_ROWS, WORDS, st.integers(60, 130), st.booleans())
def test_no_line_is_too_wide(made: list[Row], why: str, width: int, at_rest: bool) -> None:
    found = Counterexample(scenario="s", switches=1, steps=1, at_rest=at_rest, reason=why, rows=tuple(made))
    for line in lane_table(found, "E2E-1", width=width):
        assert len(line.plain) <= width
        assert line.plain.isascii()
        assert line.plain.isprintable()
    assert all(line.cell_len <= width for line in lane_table(found, "E2E-1", width=width, glyphs=UNICODE))


@settings(deadline=None)
@given(ANY_ROWS, WORDS)
def test_a_reason_is_found_for_any_rows(made: list[Row], why: str) -> None:
    numbered = [msgspec.structs.replace(row, number=n) for n, row in enumerate(made, 1)]
    assert len(reason.why(numbered, why)) <= 5


def test_lane_table_at_rest() -> None:
    golden("lanes-at-rest.txt", plain(lane_table(counterexample(SLEEPER, SLEEPER_REASON), "E2E-10")) + "\n")


def test_lane_table_with_a_breaking_step() -> None:
    golden("lanes-step.txt", plain(lane_table(counterexample(TWICE, TWICE_REASON), "E2E-3")) + "\n")


def test_narrow_lane_table() -> None:
    agents = tuple(msgspec.structs.replace(r, agent=f"cpu{n % 9}") for n, r in enumerate(SLEEPER))
    crowded = (*SLEEPER, *(msgspec.structs.replace(r, number=r.number + 7) for r in agents))
    table = plain(lane_table(counterexample(crowded, SLEEPER_REASON), "E2E-10", width=72))
    golden("lanes-narrow.txt", table + "\n")
    assert "others" in table


def test_a_long_schedule_shows_what_matters() -> None:
    idle = [("cpu1", "spin: reads vcpu0.mode = 0", {"vcpu0.mode": "0"}, {})] * 70
    long = tuple(
        msgspec.structs.replace(row, number=n) for n, row in enumerate((*SLEEPER[:3], *rows(*idle), *SLEEPER[3:]), 1)
    )
    found = counterexample(long, SLEEPER_REASON)
    table = plain(lane_table(found, "E2E-1"))
    assert [line.split()[1] for line in table.splitlines() if line.startswith(" ... ")] == ["1", "14"]
    assert [int(n) for n in re.findall(r"^ +(\d+) \|", table, re.M)] == [2, 3, *range(18, 78)]


def test_a_terminal_gets_lines_and_colours() -> None:
    found = counterexample(TWICE, TWICE_REASON)
    fancy = lane_table(found, "E2E-3", glyphs=UNICODE)
    assert "PIR[200] 0→1" in plain(fancy)
    assert "✗ step 6 breaks E2E-3" in plain(fancy)
    styles = {str(span.style) for line in fancy for span in line.spans}
    assert {"bold red", "cyan", "dim"} <= styles


def test_a_witness_shows_its_clause() -> None:
    found = counterexample(TWICE, "", witness=True)
    assert "X step 6 shows E2E-4\n" in plain(lane_table(found, "E2E-4")) + "\n"
    assert found.why[0].startswith("Let B be step 6")
    assert not any("breaks it" in sentence for sentence in found.why)


def test_private_reads_are_folded_and_shared_ones_kept() -> None:
    table = plain(lane_table(counterexample(SLEEPER, SLEEPER_REASON), "E2E-10"))
    assert "reads NV = 0xf2" in table
    assert "rvi" not in plain(lane_table(counterexample(LOST, LOST_REASON), "E2E-1"))


# A real counterexample


class EarlyHarvest(Kvm):
    """Harvests before it says that it is in the guest: what is posted in between is announced to nobody."""

    def vcpu_enter_guest(self, cpu: Cpu, vcpu: KvmVcpu) -> Any:
        cpu.preempt_disable()
        self.sync_pir_to_irr(cpu, vcpu)
        cpu.irq_disable()
        cpu.store(vcpu.mode, IN)
        cpu.fence()
        return Then("leave_guest", vcpu, *cpu.enter_guest(vcpu))


class NoSelfIpi(Kvm):
    """Forgets that an outstanding notification went to the old vector."""

    def enable_wakeup_handler(self, cpu: Cpu, vcpu: KvmVcpu) -> None:
        flag = cpu.irq_disable()
        self.join_wakeup_list(cpu, vcpu)
        self.update_control(cpu, vcpu, nv=WAKEUP)
        cpu.irq_restore(flag)


LEFT = promise("LEFT")


class NothingLeft(Monitor):
    """At rest no vector waits in PIR."""

    clauses = (LEFT,)
    name = "nothing left"

    def at_rest(self, memory: Any, look: Look) -> None:
        if look.value("vcpu0.pid.pir[3]"):
            look.breach(LEFT, "at rest vector 200 waits in PIR and vcpu0 could take it", "vcpu0.pid.pir[3]")


def found_by(cls: type[Kvm], scenario: Scenario) -> Counterexample:
    machine = Machine(assemble(of_class(cls, "mine", "mine"), scenario), scenario, [NothingLeft()])
    found = shortest(machine, {"LEFT"})["LEFT"]
    made = trace.rows(machine, found)
    return Counterexample(
        scenario=scenario.name,
        switches=found.switches,
        steps=found.steps,
        at_rest=found.at_rest,
        recovery="LOST",
        reason=found.reason,
        why=reason.why(made, found.reason, "LOST"),
        role="run_loop, filled by mine",
        rows=made,
        replay="intack1.abc.123",
    )


SENDER = Scenario(
    name="sender",
    about="",
    architecture="x86",
    cpus=2,
    threads=(Thread("sender", "deliver_interrupt", ("vcpu0", 200), 1),),
    vectors=(200,),
)
BLOCKER = Scenario(
    name="blocker",
    about="",
    architecture="x86",
    cpus=1,
    vcpus=(VcpuSetup(0, (("hlt",),)),),
    devices=(Device("device", "post", ("vcpu0", 200, False)),),
    vectors=(200,),
)


def test_a_real_lost_notification() -> None:
    found = found_by(EarlyHarvest, SENDER)
    told = " ".join(found.why)
    posted = next(row.number for row in found.rows if "vcpu0.PIR[200]" in row.changes)
    entered = next(row.number for row in found.rows if "vcpu0.mode" in row.changes)
    asked = next(row.number for row in found.rows if row.agent == "cpu1" and "vcpu0.mode" in row.reads)
    assert f"Let P be step {posted}, where deliver_interrupt on cpu1 sets PIR[200]" in told
    assert f"Step {asked} reads mode = 0, before step {entered} makes it 1." in told
    assert "nobody looks at PIR[200] or ON once it is set" in told
    table = lane_table(found, "LEFT")
    assert max(len(line.plain) for line in table) <= 110
    assert "deliver_interrupt: or PIR[200] 1, was 0" in plain(table)
    assert plain(table).endswith("X at rest, breaks LEFT: vector 200 waits in PIR and vcpu0 could take it")


def test_a_real_lost_wakeup() -> None:
    found = found_by(NoSelfIpi, BLOCKER)
    told = " ".join(found.why)
    assert "P reads NV = 0xf2, before step" in told
    assert re.search(r"Step \d+ sends 0xf2 to cpu0; step \d+ takes it in root mode and changes nothing\.", told)
    assert "[irq] takes interrupt 0xf2" in plain(lane_table(found, "LEFT"))


# Terminal


UNREAD = (Citation("a manual", "section 9", read=False),)


def clause(name: str = "E2E-1", **more: Any) -> Clause:
    fields: dict[str, Any] = {
        "id": name,
        "section": "End to end",
        "architecture": "x86",
        "kind": "guarantee",
        "modality": "MUST",
        "role": "guest-visible",
        "statement": "Every posted vector that the guest can take is delivered.",
        "authority": "architecture",
        "sources": (Citation("a manual", "section 7"),),
        "profiles": ("strict",),
        "check": "interleaving",
        "observe": "",
    }
    return Clause(**{**fields, **more})


def verdict(status: Status, name: str = "E2E-1", evidence: str = "exhaustively", **more: Any) -> Verdict:
    found = more.pop("counterexample", None)
    about = clause(name, **more)
    return Verdict(
        clause=about, implementation="mine", profile="strict", status=status, evidence=evidence, counterexample=found
    )


def some_verdicts() -> list[Verdict]:
    lost = counterexample(SLEEPER, SLEEPER_REASON, "LOST", role="residency, filled by mine", replay="intack1.abc.123")
    late = counterexample(LOST, LOST_REASON, "DELAYED", replay="intack1.it's.456")
    alone = Counterexample(
        scenario="one routine alone",
        switches=0,
        steps=1,
        at_rest=False,
        reason="highest() answers 0 for PIR = 1",
        replay="intack run -a mine --clause PID-2",
    )
    return [
        verdict(Status.HELD, "PID-1", "exhaustively in 3 scenarios, 1,204 states", section="Descriptor"),
        verdict(Status.VIOLATED, "PID-2", "one of 200 cases", section="Descriptor", counterexample=alone),
        verdict(Status.NOT_CHECKED, "PID-3", "needs a second page table", section="Descriptor"),
        verdict(Status.VIOLATED, "E2E-1", "in 2 of 9 scenarios", counterexample=lost),
        verdict(Status.DEVIATES, "KVM-1", "no guarantee fails", counterexample=late, kind="discipline", sources=UNREAD),
        verdict(Status.NOT_CHECKED, "E2E-9", "needs a second page table"),
        verdict(Status.NOT_EXERCISED, "E2E-7", "in 2 scenarios: its premise never became true"),
        verdict(Status.OBSERVED, "E2E-4", "allowed, and seen", modality="MAY"),
    ]


def test_the_whole_report() -> None:
    text = terminal.text(some_verdicts(), assumptions=["Entry drains the store buffer. " * 5])
    golden("report.txt", text)
    assert max(map(len, text.splitlines())) <= 110


def test_the_first_line_says_lost_or_delayed() -> None:
    blocks = [terminal.block_text(v).splitlines() for v in some_verdicts() if v.counterexample]
    assert blocks[0][0].startswith("VIOLATED  PID-2  MUST  ")
    assert blocks[1][0].startswith("VIOLATED (LOST)  E2E-1  MUST  ")
    assert blocks[2][0].startswith("DEVIATES (DELAYED)  KVM-1  MUST  ")
    assert any("alone it fails nothing" in line for line in blocks[2])
    assert any("section 9 (not read)" in line for line in blocks[2])
    assert not any("not read" in line for line in blocks[1])


def test_against_a_third_party_an_unread_source_is_a_suspicion() -> None:
    """And says what to look up; of the reference and what is wrong on purpose it is a violation like others."""
    found = verdict(Status.VIOLATED, "VTD-5", sources=(*UNREAD, Citation("a kernel", "a comment")))
    told = " ".join(terminal.block_text(found).split())
    assert "suspicion nobody has read what this clause rests on. Against mine it is a suspicion and no more" in told
    assert "look up a manual, section 9 source a manual, section 9 (not read) a kernel, a comment" in told
    assert "Violated: VTD-5 (suspicion)." in terminal.summary([found])
    for own in ("reference", "known-bad:B17"):
        ours = msgspec.structs.replace(found, implementation=own)
        assert "suspicion" not in terminal.block_text(ours) + terminal.summary([ours])
    read = verdict(Status.VIOLATED, "VTD-5")
    assert "suspicion" not in terminal.block_text(read)
    assert not verdict(Status.DEVIATES, "VTD-5", sources=UNREAD).suspicion
    assert [row.suspicion for row in document.report([found, read]).clauses] == [UNREAD, ()]


def test_replay_lines_survive_copying() -> None:
    long = "intack1." + "x" * 300 + ".0123"
    found = counterexample(LOST, LOST_REASON, replay=long)
    assert (
        f"Replay  intack replay {long}"
        in terminal.block_text(verdict(Status.VIOLATED, counterexample=found)).splitlines()
    )
    console = Console(file=io.StringIO(), force_terminal=True, width=70)
    with console.capture() as capture:
        terminal.show([verdict(Status.VIOLATED, counterexample=found)], console)
    assert f"intack replay {long}" in ANSI.sub("", capture.get())
    text = terminal.text(some_verdicts())
    assert "Replay  intack run -a mine --clause PID-2" in text
    assert "Replay  intack replay 'intack1.it'\"'\"'s.456'" in text


def test_only_a_terminal_gets_colours() -> None:
    verdicts = some_verdicts()
    file = io.StringIO()
    terminal.show(verdicts, Console(file=file))
    assert file.getvalue() == terminal.text(verdicts)
    assert terminal.text(verdicts).isascii()
    coloured = terminal.text(verdicts, color=True)
    assert ANSI.search(coloured)
    assert "│" in coloured
    assert max(map(len, ANSI.sub("", coloured).splitlines())) <= 110


@given(st.lists(st.sampled_from(Status)))
def test_the_summary_never_contradicts_the_exit_status(statuses: list[Status]) -> None:
    verdicts = [verdict(s, f"C-{n}") for n, s in enumerate(statuses)]
    status, text = exit_status(verdicts), terminal.summary(verdicts)
    assert f"(exit status {status})" in text
    counts = {name: int(n) for n, name in re.findall(r"\b(\d+) ([A-Z][A-Z ]*[A-Z])", text)}
    assert counts == {s.value: statuses.count(s) for s in set(statuses)}
    assert (status == 1) == text.startswith("FAIL") == (counts.get("VIOLATED", 0) > 0)
    assert ("nothing violated" in text) == (status != 1)
    assert text.startswith("PASS") == (
        status == 0 and bool(set(statuses) - {Status.NOT_CHECKED, Status.NOT_APPLICABLE})
    )


# JSON


def test_a_document_comes_back_as_it_was(tmp_path: Path) -> None:
    made = document.report(some_verdicts(), bounds={"core": "2 posts"}, catalogue="abcd", assumptions=["none"])
    path = tmp_path / "report.json"
    document.write(path, made)
    assert document.read(path) == made
    assert list(tmp_path.iterdir()) == [path]
    raw = msgspec.json.decode(path.read_bytes())
    assert raw["schema"] == "intack.report/2"
    assert raw["run"]["exit_status"] == 1
    row = raw["clauses"][3]
    assert {
        "id",
        "kind",
        "architecture",
        "modality",
        "implementation",
        "status",
        "evidence",
        "section",
        "sources",
        "authority",
        "suspicion",
    } <= row.keys()
    assert (row["status"], row["verified"]) == ("VIOLATED", True)
    assert {"replay", "steps", "switches", "rows", "why", "recovery"} <= row["counterexample"].keys()
    assert row["counterexample"]["steps"] == len(SLEEPER)
    assert row["counterexample"]["rows"][2]["changes"]["vcpu0.ON"] == ["0", "1"]


def test_the_committed_schema_is_current() -> None:
    path = Path(document.__file__).with_name("report.schema.json")
    told = f"{path} is stale: python -m conformance.report.document > {path.name}"
    assert path.read_text() == document.schema_text(), told


@pytest.mark.parametrize("where", ["missing/report.json", "."])
def test_an_unwritable_path_is_named(tmp_path: Path, where: str) -> None:
    with pytest.raises(
        document.ReportError, match=r"cannot write the report to .*: .*\. Name a file in a directory that"
    ):
        document.write(tmp_path / where, document.report([]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "is no whole intack report"),
        ("[]", "is no whole intack report"),
        ('{"schema": "intack.report/2"}', "is no whole intack report: .*missing required field"),
        ('{"schema": "intack.report/1"}', "follows the schema 'intack.report/1'"),
    ],
)
def test_a_damaged_document_is_refused(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(content)
    with pytest.raises(document.ReportError, match=told):
        document.read(path)
    with pytest.raises(document.ReportError, match="no such file"):
        document.read(tmp_path / "other.json")
