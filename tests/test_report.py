"""The report: lane tables, terminal text, JSON document; on hand-made, generated and real counterexamples."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from tiny_machine import promise
from tiny_reports import UNREAD, many, some_verdicts, verdict
from tiny_traces import (
    AGENTS,
    LOST,
    LOST_REASON,
    MODE,
    PIR,
    SLEEPER,
    SLEEPER_REASON,
    TWICE,
    TWICE_REASON,
    By,
    anything,
    counterexample,
    reads,
    trace,
)

from conformance.adapters.registry import of_class
from conformance.automaton.assembly import assemble
from conformance.machine.clause import Citation
from conformance.machine.machine import Machine
from conformance.machine.monitor import Look, Monitor
from conformance.report import document as documents
from conformance.report import formats, model, terminal
from conformance.report.edges import looks
from conformance.report.lanes import UNICODE, lane_table, plain, rows_table
from conformance.report.reason import why
from conformance.report.rows import Item, Row, rows, words_of
from conformance.roles.scenario import Device, Scenario, Thread, VcpuSetup
from conformance.roles.x86 import Cpu, Then
from conformance.search.proof import shortest
from conformance.search.trace import TraceStep
from conformance.search.words import Changed
from conformance.verdict.clause import Counterexample, Status, exit_status
from conformance.verdict.explore import document
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


# Lane tables

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
ANY_ROWS = st.lists(
    st.builds(
        Row,
        number=st.integers(1, 10**6),
        agent=st.sampled_from([*AGENTS, "wire0", "buffer0", "preempt cpu0", "spurious 0xf2 cpu0", "migrate vcpu0"]),
        items=st.lists(st.builds(Item, WORDS, WORDS, WORDS, WORDS), max_size=4).map(tuple),
        changes=st.lists(st.builds(Changed, WORDS, WORDS, WORDS), max_size=3).map(tuple),
        in_handler=st.booleans(),
        breaks=st.booleans(),
        touches=st.frozensets(WORDS, max_size=2),
    ),
    max_size=12,
)


@settings(deadline=None)
@given(ANY_ROWS, st.integers(60, 130))
def test_no_line_of_any_rows_is_too_wide(made: list[Row], width: int) -> None:
    for line in rows_table(made, width):
        assert len(line.plain) <= width
        assert line.plain.isascii()
        assert line.plain.isprintable()
    assert all(line.cell_len <= width for line in rows_table(made, width, UNICODE))


@settings(deadline=None)
@given(anything(), WORDS, st.integers(60, 130))
def test_no_line_of_any_trace_is_too_wide(steps: tuple[TraceStep, ...], why: str, width: int) -> None:
    found = counterexample(steps, why)
    assert all(len(line.plain) <= width for line in lane_table(found, "E2E-1", width=width))


def test_lane_table_at_rest() -> None:
    golden("lanes-at-rest.txt", plain(lane_table(counterexample(SLEEPER, SLEEPER_REASON), "E2E-10")) + "\n")


def test_lane_table_with_a_breaking_step() -> None:
    golden("lanes-step.txt", plain(lane_table(counterexample(TWICE, TWICE_REASON), "E2E-3")) + "\n")


def test_narrow_lane_table() -> None:
    agents = tuple(msgspec.structs.replace(s, agent=f"cpu{n % 9}") for n, s in enumerate(SLEEPER))
    crowded = (*SLEEPER, *(msgspec.structs.replace(s, number=s.number + 7) for s in agents))
    table = plain(lane_table(counterexample(crowded, SLEEPER_REASON), "E2E-10", width=72))
    golden("lanes-narrow.txt", table + "\n")
    assert "others" in plain(rows_table(rows(crowded, words_of(counterexample(crowded, ""))), 72))


def test_steps_that_the_reason_does_not_name_are_folded() -> None:
    idle = trace(*[By("cpu1", reads("spin", MODE, 0))] * 70)
    long = tuple(
        msgspec.structs.replace(step, number=n) for n, step in enumerate((*SLEEPER[:3], *idle, *SLEEPER[3:]), 1)
    )
    found = counterexample(long, SLEEPER_REASON)
    table = plain(lane_table(found, "E2E-1"))
    marked = {int(n) for n in re.findall(r"^ [*X] *(\d+) \|", table, re.M)}
    assert " ... 70 steps of spin on cpu1\n" in table
    assert marked == why(found).steps
    whole = plain(lane_table(found, "E2E-1", all_steps=True))
    assert "..." not in whole
    assert [int(n) for n in re.findall(r"^ [ *X] *(\d+) \|", whole, re.M)] == list(range(1, 78))
    assert {int(n) for n in re.findall(r"^ [*X] *(\d+) \|", whole, re.M)} == marked


def test_a_message_arrives_in_the_lane_of_its_cpu() -> None:
    table = plain(lane_table(counterexample(SLEEPER, SLEEPER_REASON), "E2E-10", all_steps=True)).splitlines()
    header = next(line for line in table if line.startswith(" step"))
    assert "wire0" not in header
    (arrival,) = [line for line in table if "arrives at cpu0" in line]
    assert arrival.index("0xf2 arrives") == header.index("cpu0")


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
    told = why(found).sentences
    assert told[0].startswith("Let B be step 6")
    assert not any("breaks it" in sentence for sentence in told)


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
    mine = of_class(cls, "mine", "mine")
    machine = Machine(assemble(mine, scenario), scenario, [NothingLeft()])
    found = shortest(machine, {"LEFT"})["LEFT"]
    return msgspec.structs.replace(
        document(machine, found, mine, "strict"),
        recovery="LOST",
        role="run_loop, filled by mine",
        replay="intack2.abc.123",
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
    told = " ".join(why(found).sentences)
    posted = next(step.number for step in found.trace for change in step.changes if change.at == PIR)
    entered = next(step.number for step in found.trace for change in step.changes if change.at == MODE)
    asked = next(s.number for s in found.trace if s.agent == "cpu1" and any(at == MODE for at, *_ in looks(s)))
    assert f"Let P be step {posted}, where deliver_interrupt on cpu1 sets PIR[200]" in told
    assert f"step {asked} reads mode = 0, before step {entered} makes it 1" in told
    assert "nobody looks at PIR[200] or ON once it is set" in told
    instead = [other.agent for step in found.trace if step.agent == "cpu0" for other in step.instead]
    assert "cpu1" in instead and "cpu0" not in instead, (
        "the other CPU could have gone on; its own step is no alternative"
    )
    assert found.breaks == ("LEFT",)
    table = lane_table(found, "LEFT")
    assert max(len(line.plain) for line in table) <= 110
    assert "deliver_interrupt: or PIR[200] 1, was 0" in plain(table)
    assert plain(table).endswith("X at rest, breaks LEFT: vector 200 waits in PIR and vcpu0 could take it")


def test_a_real_lost_wakeup() -> None:
    found = found_by(NoSelfIpi, BLOCKER)
    told = " ".join(why(found).sentences)
    assert "P reads NV = 0xf2, before step" in told
    sent = re.search(r"step (\d+) sends 0xf2 to cpu0", told)
    assert sent
    assert re.search(rf"Step \d+ takes 0xf2 of step {sent[1]} in root mode and changes nothing\.", told)
    assert "[irq] takes interrupt 0xf2" in plain(lane_table(found, "LEFT"))


# Terminal


def test_the_whole_report() -> None:
    text = terminal.text(
        documents.report(some_verdicts(), assumptions=["Entry drains the store buffer. " * 5]),
        assumptions=True,
        verbose=True,
    )
    golden("report.txt", text)
    assert max(map(len, text.splitlines())) <= 110


def test_by_default_a_clause_is_one_line() -> None:
    """Evidence by -v; what is undecided always says why. Assumptions and what is not checked are footnotes."""
    report = documents.report(some_verdicts(), assumptions=["Entry drains the store buffer."], left_out=["halt"])
    short, long = terminal.text(report), terminal.text(report, verbose=True, assumptions=True)
    for row in report.clauses:
        assert len(re.findall(rf"^  \S {row.id} .*", short, re.MULTILINE)) == 1
    assert "in 3 scenarios, 1,204 states" in long and "in 3 scenarios, 1,204 states" not in short
    assert "in 2 scenarios: its premise never became true" in short
    assert "Entry drains" in long and "Entry drains" not in short and "1 assumption: --assumptions" in short
    assert "needs a second page table" in long and "needs a second page table" not in short
    assert "1 scenario left out" in short and "Left out" in long
    assert "Hint" not in short and "KVM-1: vcpu0 is in its guest" in short.replace("at rest ", "")


def test_several_implementations_are_a_matrix() -> None:
    """A mark in each one's column, in the summary whose violations they are."""
    lines = terminal.text(many(2)).splitlines()
    head = lines[0]
    assert head.split() == ["mine", "other", "reference"]
    ends = [head.index(name) + len(name) for name in head.split()]
    (line,) = [line for line in lines if line.startswith("    E2E-1 ")]
    assert [line[end - 1] for end in ends] == ["X", "+", "+"] and len(line) <= 110
    assert "Violated: by mine E2E-0 LOST, E2E-1 LOST." in lines[-1]
    assert lines.count("implementation  mine, profile strict") == 2


def test_quietly_it_is_one_line() -> None:
    file = io.StringIO()
    terminal.show(documents.report(some_verdicts()), Console(file=file), quiet=True)
    assert file.getvalue() == terminal.summary(documents.report(some_verdicts())) + "\n"


@pytest.mark.parametrize("width", [60, 80, 100, 132, 200])
def test_tables_are_as_wide_as_the_terminal_and_no_wider(width: int) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=width)
    with console.capture() as capture:
        terminal.show(documents.report(some_verdicts()), console)
    lines = [line for line in ANSI.sub("", capture.get()).splitlines() if not line.startswith("Replay ")]
    assert max(map(len, lines)) <= width
    assert any(" MUST " in line for line in lines) and any("+" in line or "\u2713" in line for line in lines)
    assert any(line.startswith(" step \u2502 cpu0") for line in lines) == (width >= 100)


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
    assert "Violated: VTD-5 (suspicion)." in terminal.summary(documents.report([found]))
    for own in ("reference", "known-bad:B17"):
        ours = msgspec.structs.replace(found, implementation=own)
        assert "suspicion" not in terminal.block_text(ours) + terminal.summary(documents.report([ours]))
    read = verdict(Status.VIOLATED, "VTD-5")
    assert "suspicion" not in terminal.block_text(read)
    assert not verdict(Status.DEVIATES, "VTD-5", sources=UNREAD).suspicion
    assert [row.suspicion for row in documents.report([found, read]).clauses] == [UNREAD, ()]


def test_replay_lines_survive_copying() -> None:
    long = "intack2." + "x" * 300 + ".0123"
    found = counterexample(LOST, LOST_REASON, replay=long)
    assert (
        f"Replay  intack replay {long}"
        in terminal.block_text(verdict(Status.VIOLATED, counterexample=found)).splitlines()
    )
    console = Console(file=io.StringIO(), force_terminal=True, width=70)
    with console.capture() as capture:
        terminal.show(documents.report([verdict(Status.VIOLATED, counterexample=found)]), console)
    assert f"intack replay {long}" in ANSI.sub("", capture.get())
    text = terminal.text(documents.report(some_verdicts()), verbose=True)
    assert "Replay  intack run -a mine --clause PID-2" in text
    assert "Replay  intack replay 'intack2.it'\"'\"'s.456'" in text


def test_only_a_terminal_gets_colours() -> None:
    verdicts = documents.report(some_verdicts())
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
    status, text = exit_status(verdicts), terminal.summary(documents.report(verdicts))
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
    made = documents.report(some_verdicts(), bounds={"core": "2 posts"}, catalogue="abcd", assumptions=["none"])
    path = tmp_path / "report.json"
    formats.write(path, made)
    assert documents.read(path) == made
    assert list(tmp_path.iterdir()) == [path]
    raw = msgspec.json.decode(path.read_bytes())
    assert raw["schema"] == "intack.report/3"
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
    path = Path(documents.__file__).with_name("report.schema.json")
    told = f"{path} is stale: python -m conformance.report.model > {path.name}"
    assert path.read_text() == model.schema_text(), told


@pytest.mark.parametrize("where", ["missing/report.json", "."])
def test_an_unwritable_path_is_named(tmp_path: Path, where: str) -> None:
    with pytest.raises(
        documents.ReportError, match=r"cannot write the report to .*: .*\. Name a file in a directory that"
    ):
        formats.write(tmp_path / where, documents.report([]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "is no whole intack report"),
        ("[]", "is no whole intack report"),
        ('{"schema": "intack.report/3"}', "is no whole intack report: .*missing required field"),
        ('{"schema": "intack.report/2"}', "follows the schema 'intack.report/2'"),
    ],
)
def test_a_damaged_document_is_refused(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(content)
    with pytest.raises(documents.ReportError, match=told):
        documents.read(path)
    with pytest.raises(documents.ReportError, match="no such file"):
        documents.read(tmp_path / "other.json")


@pytest.mark.parametrize(
    ("was", "now", "told"),
    [
        ('"number": 2', '"number": 1', "the steps that break E2E-1 are not numbered from 1"),
        ('"implementation": "mine"', '"implementation": "yours"', "is of yours, which was not run"),
        ('"named": [\n', '"named": [\n 99,\n', "the reason names steps that E2E-1 does not have"),
        ('"status": "HELD"', '"status": "VIOLATED"', "PID-1 is VIOLATED, and nothing shows it"),
        ('"sites": []', '"sites": ["a.c:1", "", "", "", ""]', "have more places in the code than operations"),
    ],
)
def test_a_document_that_contradicts_itself_is_refused(tmp_path: Path, was: str, now: str, told: str) -> None:
    path = tmp_path / "report.json"
    text = formats.json(documents.report(some_verdicts()))
    assert was in text
    path.write_text(text.replace(was, now))
    with pytest.raises(documents.ReportError, match=told):
        documents.read(path)
