"""Linux's own posted_intr.c, operation by operation, and what the suite says of mistakes in it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from played import Memory, perform, play

from conformance.adapters.native import NativeUnavailableError, cache
from conformance.adapters.native.build import Build
from conformance.adapters.pipe import PipeError
from conformance.adapters.protocol import WorldMessage
from conformance.adapters.registry import resolve
from conformance.roles.operations import (
    Answer,
    Assert,
    Fence,
    Interrupts,
    ListOf,
    Load,
    Lock,
    Result,
    Return,
    Rmw,
    SendIpi,
    Store,
    Unlock,
    Wake,
)
from conformance.verdict.explore import Explored, explore
from properties.suite import SUITE
from reference.linux.program import Edit, KernelProgram
from reference.linux.tree import Tree, tree_of
from reference.linux.x86 import FLAGS, HERE, IPIV, parts_of
from reference.linux.x86.undone import edits_of

OLD, NEW = "linux-source-6.1", "linux-source-6.12"
SLOW = pytest.mark.slow
FILE = "arch/x86/kvm/vmx/posted_intr.c"


def tree(package: str) -> Tree:
    try:
        return tree_of(package)
    except NativeUnavailableError as missing:
        pytest.skip(str(missing))


def statement(call: str, function: str) -> str:
    """The statement of 6.1's posted_intr.c that calls this, in this function."""
    text = tree(OLD).read(FILE)
    start = re.search(rf"^[\w ]*\b{function}\(", text, re.MULTILINE)
    assert start
    found = re.compile(rf"^[ \t]*{call}\([^;]*;\n", re.MULTILINE).search(text, start.end())
    assert found
    return found.group()


def world(*facts: str) -> WorldMessage:
    return WorldMessage(("vcpu0", "vcpu1"), 3, facts=(IPIV, *facts))


def linux_program(package: str, edits: tuple[Edit, ...] = ()) -> KernelProgram:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    found = tree(package)
    return KernelProgram(found, HERE, parts_of(found), (HERE / "harness.c",), edits=edits, cflags=FLAGS, world=world())


def changed_tree(folder: Path, old: str, new: str) -> Path:
    """6.1 with this replaced in posted_intr.c: a tree that a fresh process finds, too."""
    found = tree(OLD)
    for name in ("Makefile", *(part.file for part in parts_of(found))):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(found.read(name))
    text = found.read(FILE)
    assert not old or text.count(old) == 1
    (folder / FILE).write_text(text.replace(old, new) if old else text)
    return folder


def explored(argument: str | Path, name: str) -> Explored:
    """What the suite finds in one scenario, with the kernel's file of this tree."""
    (scenario,) = (s for s in SUITE.scenarios if s.name == name)
    return explore(resolve(f"linux-posted-intr:{argument}"), scenario, SUITE)


@pytest.fixture(scope="module")
def linux() -> KernelProgram:
    return linux_program(OLD)


CONTROL = "vcpu0.pid.control"
ON, SN = 1, 2
NV = 0xFF << 16
PINV, WAKEUP = 0xF2 << 16, 0xF1 << 16
PIR = [Load(f"vcpu0.pid.pir[{i}]") for i in range(4)]


class TestLinux:
    def test_load_on_the_same_cpu_clears_sn_and_looks_at_pir(self, linux: KernelProgram) -> None:
        memory: Memory = {CONTROL: PINV | SN, "vcpu0.pid.pir[2]": 4}
        assert play(linux, "load", "vcpu0", 0, memory=memory) == [
            Load(CONTROL, NV),
            Load("vcpu0.cpu"),
            Rmw(CONTROL, "and", 0, SN),
            *PIR[:3],
            Rmw(CONTROL, "or", ON, ON),
            Store("vcpu0.cpu", 0),
            Return(),
        ]

    def test_load_on_the_same_cpu_without_sn_changes_nothing(self, linux: KernelProgram) -> None:
        assert play(linux, "load", "vcpu0", 0, memory={CONTROL: PINV}) == [
            Load(CONTROL, NV),
            Load("vcpu0.cpu"),
            Rmw(CONTROL, "and", 0, SN),
            Store("vcpu0.cpu", 0),
            Return(),
        ]

    def test_load_after_blocking_leaves_the_list_of_the_previous_cpu(self, linux: KernelProgram) -> None:
        memory: Memory = {CONTROL: WAKEUP, "cpu0.wakeup_list": ("vcpu1", "vcpu0")}
        assert play(linux, "load", "vcpu0", 2, memory=memory) == [
            Load(CONTROL, NV),
            Interrupts(False),
            Load(CONTROL, NV),
            Load("vcpu0.cpu"),
            Lock("cpu0.wakeup_lock"),
            ListOf("vcpu0", ("cpu0.wakeup_list", "cpu1.wakeup_list", "cpu2.wakeup_list")),
            Load("cpu0.wakeup_list"),
            Store("cpu0.wakeup_list", ("vcpu1",)),
            Load("vcpu0.cpu"),
            Unlock("cpu0.wakeup_lock"),
            Load(CONTROL, order="relaxed"),
            Rmw(CONTROL, "cas", PINV | 2 << 32, expect=WAKEUP),
            Interrupts(True),
            *PIR,
            Store("vcpu0.cpu", 2),
            Return(),
        ]

    def test_interrupts_that_were_off_stay_off(self, linux: KernelProgram) -> None:
        results = (WAKEUP, False, WAKEUP, 0, None, 0, ("vcpu0",), None, 0, None, WAKEUP, WAKEUP)
        assert linux.next("load", ("vcpu0", 0), results) == PIR[0]

    def test_every_operation_has_a_line_of_the_kernel(self, linux: KernelProgram) -> None:
        text = linux.tree.read(FILE).splitlines()
        results: tuple[Result, ...] = ()
        named: list[str] = []
        for due in self.PUT:
            assert linux.next("put", ("vcpu0", False), results) == due
            file, _, line = linux.site("put", ("vcpu0", False), results).partition(":")
            assert file == "posted_intr.c"
            named.append(text[int(line) - 1])
            results = (*results, perform(self.blocking(), due))
        locks = [line for line, due in zip(named, self.PUT, strict=True) if isinstance(due, Lock | Unlock)]
        assert ["raw_spin_lock(" in locks[0], "raw_spin_unlock(" in locks[1]] == [True, True]
        assert all("list_add_tail(" in named[n] for n in (6, 7))

    def test_put_preempted_only_sets_sn(self, linux: KernelProgram) -> None:
        assert play(linux, "put", "vcpu0", True, memory={CONTROL: PINV}) == [
            Load("vcpu0.blocking", order="relaxed"),
            Rmw(CONTROL, "or", SN, SN),
            Return(),
        ]

    def test_put_blocking_with_the_guests_interrupts_closed_does_nothing(self, linux: KernelProgram) -> None:
        assert play(linux, "put", "vcpu0", False, memory={CONTROL: PINV, "vcpu0.blocking": 1}) == [
            Load("vcpu0.blocking", order="relaxed"),
            Load("vcpu0.rflags_if"),
            Return(),
        ]

    # Joins the list of its CPU, then changes NV; a post that comes in between makes the compare-exchange lose, and
    # the value published at last has ON: its notification went to the old vector, so a self-IPI stands in for it.
    PUT = (
        Load("vcpu0.blocking", order="relaxed"),
        Load("vcpu0.rflags_if"),
        Interrupts(False),
        Load("vcpu0.cpu"),
        Lock("cpu1.wakeup_lock"),
        Load("vcpu0.cpu"),
        Load("cpu1.wakeup_list"),
        ListOf("vcpu0", ("cpu0.wakeup_list", "cpu1.wakeup_list", "cpu2.wakeup_list")),
        Store("cpu1.wakeup_list", ("vcpu1", "vcpu0")),
        Load("vcpu0.cpu"),
        Unlock("cpu1.wakeup_lock"),
        Load(CONTROL, 0xFF),
        Load(CONTROL, order="relaxed"),
        Rmw(CONTROL, "cas", WAKEUP, expect=PINV),
    )
    RETRY = Rmw(CONTROL, "cas", WAKEUP | ON, expect=PINV | ON)

    def blocking(self) -> Memory:
        return {
            CONTROL: PINV,
            "vcpu0.blocking": 1,
            "vcpu0.rflags_if": 1,
            "vcpu0.cpu": 1,
            "cpu1.wakeup_list": ("vcpu1",),
        }

    def post(self, answer: Answer, memory: Memory) -> None:
        if answer == self.PUT[-1]:
            memory[CONTROL] = PINV | ON

    def test_put_blocking(self, linux: KernelProgram) -> None:
        answers = play(linux, "put", "vcpu0", False, memory=self.blocking())
        assert answers == [*self.PUT, Interrupts(True), Return()]

    def test_put_blocking_while_an_interrupt_is_posted(self, linux: KernelProgram) -> None:
        answers = play(linux, "put", "vcpu0", False, memory=self.blocking(), before=self.post)
        assert answers == [*self.PUT, self.RETRY, SendIpi(0xF1), Interrupts(True), Return()]

    def test_without_the_self_ipi(self) -> None:
        mutant = linux_program(OLD, edits_of("d76fb40637fc"))
        answers = play(mutant, "put", "vcpu0", False, memory=self.blocking(), before=self.post)
        assert answers == [*self.PUT, self.RETRY, Interrupts(True), Return()]

    def test_wakeup_handler_wakes_who_waits_and_has_on(self, linux: KernelProgram) -> None:
        memory: Memory = {
            "cpu2.wakeup_list": ("vcpu1", "vcpu0"),
            "vcpu0.pid.control": WAKEUP | ON,
            "vcpu0.blocking": 1,
        }
        assert play(linux, "wakeup_handler", 2, memory=memory) == [
            Lock("cpu2.wakeup_lock"),
            Load("cpu2.wakeup_list"),
            Load("vcpu1.pid.control", ON),
            Load("vcpu0.pid.control", ON),
            Fence(),
            Load("vcpu0.blocking", order="relaxed"),
            Wake("vcpu0"),
            Unlock("cpu2.wakeup_lock"),
            Return(),
        ]

    @pytest.mark.parametrize(
        ("control", "pir", "pending", "looked"),
        [(ON, 0, True, 0), (0, 1, False, 0), (SN, 0, False, 4), (SN, 1, True, 1)],
    )
    def test_has_pending(self, linux: KernelProgram, control: int, pir: int, pending: bool, looked: int) -> None:
        answers = play(linux, "has_pending", "vcpu0", memory={CONTROL: control, "vcpu0.pid.pir[0]": pir})
        assert answers[-1] == Return(value=pending)
        assert [answer for answer in answers if answer in PIR] == PIR[:looked]

    @SLOW
    @pytest.mark.parametrize("package", [OLD, NEW])
    @pytest.mark.parametrize("edit", ["", "~d76fb40637fc"])
    def test_the_suite_finds_what_the_self_ipi_is_for(self, package: str, edit: str) -> None:
        found = explored(f"{tree(package).root}{edit}", "block-preempt")
        assert found.complete and ("E2E-1" in found.counterexamples) == bool(edit)

    @pytest.mark.parametrize(
        ("what", "clause", "reason"),
        [
            pytest.param("a node joins twice", "ASSERTION", "list_add corruption: vcpu0 is on a list", marks=SLOW),
            pytest.param("a node never leaves", "ASSERTION", "list_add corruption: vcpu0 is on a list", marks=SLOW),
            pytest.param("a node never joins", "ASSERTION", "list_del corruption: vcpu0 is on no list", marks=SLOW),
            pytest.param("a WARN", "ASSERTION", "WARN: PI descriptor SN field", marks=SLOW),
            ("a lock is missing", "RACE", "load read cpu0.wakeup_list without holding cpu0.wakeup_lock"),
            pytest.param(
                "a wrong lock", "RACE", "load read cpu0.wakeup_list without holding cpu0.wakeup_lock", marks=SLOW
            ),
        ],
    )
    def test_what_the_kernel_would_say_of_itself_is_a_violation(
        self, tmp_path: Path, what: str, clause: str, reason: str
    ) -> None:
        joins = statement("list_add_tail", "pi_enable_wakeup_handler")
        leaves = statement("list_del", "vmx_vcpu_pi_load")
        lock, unlock = (statement(f"raw_spin_{how}lock", "vmx_vcpu_pi_load") for how in ("", "un"))
        change = {
            "a node joins twice": (joins, joins + joins),
            "a node never leaves": (leaves, ""),
            "a node never joins": (joins, ""),
            "a WARN": ("WARN(pi_desc->sn, ", "WARN(pi_desc->on, "),
            "a lock is missing": (lock + leaves + unlock, leaves),
            "a wrong lock": (lock + leaves + unlock, (lock + leaves + unlock).replace("vcpu->cpu", "cpu")),
        }
        found = explored(changed_tree(tmp_path, *change[what]), "block-preempt")
        assert found.complete and not found.fault
        assert reason in found.counterexamples[clause].reason
        *_, last = found.counterexamples[clause].trace
        assert last.breaks and any(fact.site.startswith("posted_intr.c:") for fact in last.facts)

    @SLOW
    @pytest.mark.parametrize("scenario", ["spin", "two-vcpus"])
    def test_whether_anything_is_pending_is_asked_of_the_kernel(self, tmp_path: Path, scenario: str) -> None:
        """A vCPU that spins asks so of the others: a has_pending that harvests is seen."""
        harvests = ("return pi_test_on(pi_desc) ||", "return pi_test_and_clear_on(pi_desc) ||")
        found = explored(changed_tree(tmp_path, *harvests), scenario)
        assert "E2E-1" in found.counterexamples and not found.fault
        assert any(step.routine == "directed_yield" for step in found.counterexamples["E2E-1"].trace)

    @SLOW
    def test_a_retry_with_a_stale_value_is_a_livelock(self, tmp_path: Path) -> None:
        """As found out: the compare-exchange is tried for ever with what was read before a device posted."""
        stale = "u64 stale = *pold; if (!try_cmpxchg64(&pi_desc->control, &stale, new))"
        changed = changed_tree(tmp_path, "if (!try_cmpxchg64(&pi_desc->control, pold, new))", stale)
        found = explored(changed, "block-preempt")
        assert not found.fault and found.complete
        *_, reads, posts = found.counterexamples["LIVELOCK"].trace
        (control,) = (c for c in posts.changes if c.at == "vcpu0.pid.control")
        assert reads.routine == "put" and (int(str(control.old)) & 1, int(str(control.new)) & 1) == (0, 1)

    def test_it_is_the_residency_alone_and_the_rest_the_references(self, linux: KernelProgram) -> None:
        alone = resolve(f"linux-posted-intr:{linux.tree.root}")
        assert alone.name == "linux-posted-intr" and set(alone.filled("x86")) == {"residency"}
        assert set(alone.replaces) == {"load", "put", "wakeup_handler", "has_pending", "directed_yield"}

    def test_xapic_puts_the_id_into_bits_15_to_8(self, linux: KernelProgram) -> None:
        answers = play(linux.in_world(world("xapic")), "load", "vcpu0", 2, memory={CONTROL: PINV})
        assert Rmw(CONTROL, "cas", PINV | 2 << 40, expect=PINV) in answers

    def test_a_cpu_that_there_is_not_ends_the_call_as_an_oops_does(self, linux: KernelProgram) -> None:
        said = Assert("there is no CPU 3: the scenario has 3")
        put = (1, 1, True, 3)
        assert linux.next("put", ("vcpu0", False), put) == said
        assert linux.next("put", ("vcpu0", False), (*put, None)) == Return()

    @pytest.mark.parametrize(
        ("routine", "args", "results", "message"),
        [
            ("load", ("nobody", 3), (), "no object has the name nobody"),
        ],
    )
    def test_what_cannot_be(
        self, linux: KernelProgram, routine: str, args: tuple[Result, ...], results: tuple[Result, ...], message: str
    ) -> None:
        with pytest.raises(PipeError, match=message):
            linux.next(routine, args, results)


def test_a_header_that_is_changed_where_it_lies_is_another_program(tmp_path: Path) -> None:
    """The wrong PASS that a kept program gave once: its key has what the compiler reads, not where that lies."""

    def key(found: Tree) -> str:
        with cache.scratch() as folder:
            made = KernelProgram(found, HERE, parts_of(found), (HERE / "harness.c",), cflags=FLAGS)
            sources, flags = made.prepare(Path(folder))
            return Build(sources, flags, "").key(Path(folder))

    changed, header = Tree(changed_tree(tmp_path, "", "")), "arch/x86/kvm/vmx/posted_intr.h"
    before = key(changed)
    text = changed.read(header)
    assert text.count("POSTED_INTR_SN  1") == 1 and key(changed) == before
    (tmp_path / header).write_text(text.replace("POSTED_INTR_SN  1", "POSTED_INTR_SN  9"))
    assert key(changed) != before
