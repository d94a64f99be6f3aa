"""The native runtime on small C programs, and on Linux's posted_intr.c."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import descendants, left

from conformance.adapters import pipe
from conformance.adapters.native import NativeError, NativeProgram, NativeUnavailableError
from conformance.adapters.native.build import compiler_for
from conformance.adapters.pipe import PipeError
from conformance.adapters.protocol import WorldMessage
from conformance.adapters.registry import resolve
from conformance.automaton.assembly import assemble
from conformance.machine.machine import Machine
from conformance.roles.operations import (
    WORD,
    Answer,
    Assert,
    CpuId,
    Fence,
    Interrupts,
    ListOf,
    Load,
    Lock,
    Operation,
    Preemption,
    Relax,
    Result,
    Return,
    Rmw,
    SendIpi,
    Store,
    Unlock,
    Value,
    Wake,
)
from conformance.search.proof import prove
from conformance.verdict.explore import Explored, explore
from properties.suite import SUITE
from properties.x86.monitors import end_to_end
from properties.x86.scenarios import SCENARIOS
from reference.alternatives.x86.linux_posted_intr import HERE as LINUX
from reference.alternatives.x86.linux_posted_intr import (
    WITHOUT_SELF_IPI,
    LinuxPostedIntr,
    Replacements,
    implementation,
    kernel_files,
    replaced,
)

needs_compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")

SMALL = r"""
#include "intack.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mixed {
    uint64_t word;
    union {
        struct { uint16_t on : 1, sn : 1, rest : 14; uint8_t nv, unused; uint32_t ndst; };
        uint64_t control;
    };
    uint32_t low, high;
    uint8_t tail[16];
};
static struct mixed shared __attribute__((aligned(16))), private;
static long count, list, thing, lock, thread;
static volatile int flag;
static uint64_t pair[2];
static struct { uint32_t value, other[3]; } register_of[2];
static void *owner = &thing;

static void plain(void) { shared.word = shared.word + 1; shared.high = 7; }
static void byte(void) { shared.nv = shared.nv == 0xf1 ? 0xf2 : 0; }
static void bit_field(void) { shared.sn = 1; intack_return_bool(shared.on); }
static void copy_in(void) { private = shared; intack_return_integer(private.word + private.tail[15]); }
static void copy_out(void) { private.word = 1; private.ndst = 2; private.tail[0] = 3; shared = private; }
static void fill(void) { memset(shared.tail, 0xff, sizeof shared.tail); }
static void move(void) { memcpy(&shared.low, "abcdefgh", 8); }
static void both(void) { memset(pair, 1, sizeof pair); }
static void clear(void) { for (int i = 0; i < 16; i++) shared.tail[i] = 0; }
static void library(void) { sprintf((char *)shared.tail, "%d", 7); shared.word = 1; }
static void volatiles(void) { flag = flag + 1; }
static void last(void) { shared.word = 5; }

static void orders(void)
{
    __atomic_store_n(&shared.word, __atomic_load_n(&shared.word, __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
    __atomic_store_n(&shared.low, __atomic_load_n(&shared.high, __ATOMIC_RELAXED), __ATOMIC_SEQ_CST);
}
static void fetches(void)
{
    uint64_t sum = __atomic_fetch_add(&shared.word, 1, __ATOMIC_SEQ_CST);
    sum += __atomic_fetch_sub(&shared.high, 1, __ATOMIC_RELAXED);
    sum += __atomic_fetch_or(&shared.nv, 0x10, __ATOMIC_ACQUIRE);
    sum += __atomic_fetch_and(&shared.nv, 0x0f, __ATOMIC_RELEASE);
    sum += __atomic_fetch_xor(&shared.nv, 0xff, __ATOMIC_ACQ_REL);
    sum += __atomic_exchange_n(&shared.high, 9, __ATOMIC_SEQ_CST);
    intack_return_integer(sum);
}
static void nand(void) { intack_return_integer(__atomic_fetch_nand(&shared.nv, 3, __ATOMIC_SEQ_CST)); }
static void increment(void)
{
    uint32_t old = __atomic_load_n(&shared.high, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&shared.high, &old, old + 1, true, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
        ;
    intack_return_integer(old);
}
static void fences(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    flag; /* neighbouring fences may be merged */
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    flag;
    __atomic_thread_fence(__ATOMIC_RELEASE);
    flag;
    __atomic_thread_fence(__ATOMIC_ACQ_REL);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}
static void wide(void)
{
    unsigned __int128 old = 0;
    __atomic_compare_exchange_n((unsigned __int128 *)&shared, &old, 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static void calls(void)
{
    bool old = intack_interrupts(false);
    shared.word = intack_cpu_id();
    intack_preemption(false);
    intack_send_ipi(0xf2, 3);
    intack_send_ipi(0xf1, INTACK_SELF);
    intack_lock(&lock);
    struct intack_list names = intack_list_load(&list);
    names.item[names.length++] = intack_object_argument(0);
    intack_list_store(&list, &names);
    intack_unlock(&lock);
    intack_fence();
    old = intack_wake(&thread) == old;
    intack_relax();
    intack_return_bool(old);
    intack_then("calls");
    intack_then_object(&shared);
    intack_then_integer(intack_integer_argument(1));
}
static void asserts(void)
{
    shared.word = 1;
    intack_assert_failed("WARN: \"%s\"", "odd");
    intack_assert_held(&lock);
    intack_assert_interrupts(false);
    const void *lists[] = {&list};
    if (intack_list_of(&thing, 1, lists) < 0)
        intack_oops("BUG at %d", 7);
    shared.word = 2;
}
static void bits(void)
{
    uint64_t local = 6;
    local += intack_load(&shared.control, 1) + intack_rmw(&shared.control, INTACK_AND, 0, 2);
    intack_return_integer(local + intack_rmw(&local, INTACK_OR, 8, 12) + intack_load(&local, 8));
}
static void scattered(void)
{
    uint32_t low = register_of[0].value, high = __atomic_exchange_n(&register_of[1].value, 7, __ATOMIC_SEQ_CST);
    register_of[1].value = low + 1;
    register_of[1].other[0] = high;
    intack_rmw(&register_of[1], INTACK_OR, 8, 8);
    intack_return_integer(low + high + intack_load(&register_of[0], 4));
}
static void beyond(void) { intack_load(&register_of[1], 1ull << 32); }
static void pointers(void)
{
    void *was = owner;
    owner = was ? NULL : &thread;
    intack_return_bool(was == &thing);
}
static void stray_pointer(void) { owner = &count; }
static void statics(void) { intack_return_integer(++count); }
static void address(void) { intack_return_integer((uint64_t)&shared); }
static void prints(void) { puts("on the way"); if (shared.word) abort(); }
static void crash(void) { if (shared.word == 1) *(volatile int *)8 = 1; }
static void leave(void) { exit(3); }
static void hang(void) { for (;;) __asm__ volatile(""); }
static void give_up(void) { shared.low = 1; intack_fail("cannot \"%s\"", "go on"); }

/* The same code on private memory, whose words are given and returned: an oracle for the hooks. */
static void work(struct mixed *m)
{
    m->on = m->nv >> 3;
    m->ndst += m->low;
    m->rest ^= 5;
    memmove(m->tail + 1, m->tail, 7);
    m->high = __atomic_fetch_add(&m->low, m->tail[2], __ATOMIC_RELAXED);
    __atomic_fetch_nand(&m->tail[3], (uint8_t)m->high, __ATOMIC_SEQ_CST);
    struct mixed turned = *m;
    turned.word = ~turned.control;
    turned.sn = !turned.on;
    *m = turned;
    for (int i = 0; i < 16; i++)
        m->tail[i] += i;
    m->unused++;
}
static void work_shared(void) { work(&shared); }
static void work_private(void)
{
    uint64_t words[5];
    for (int i = 0; i < 5; i++)
        words[i] = (uint64_t)intack_integer_argument(i + 1);
    memcpy(&private, words, sizeof private);
    work(&private);
    memcpy(words, &private, sizeof private);
    intack_return_integer(words[intack_integer_argument(0)]);
}

void intack_setup(void)
{
    intack_share(&shared, sizeof shared, "s");
    intack_share(&flag, sizeof flag, "flag");
    intack_share(&pair[1], 8, "second");
    intack_share(&pair[0], 8, "first");
    intack_share_part(&register_of[0].value, 4, 0, "wide");
    intack_share_part(&register_of[1].value, 4, 32, "wide");
    intack_share_pointer(&owner, "owner");
    intack_share_list(&list, "list%d", 0);
    intack_name(&shared, "shared");
    intack_name(&thing, "thing");
    intack_name(&thread, "thread");
    intack_share_lock(&lock, "lock");
    intack_private(&count, sizeof count);
    intack_private(&private, sizeof private);
    intack_private(&register_of[1].other, sizeof register_of[1].other);
#define ROUTINE(name) intack_routine(#name, name);
    ROUTINE(plain) ROUTINE(byte) ROUTINE(bit_field) ROUTINE(copy_in) ROUTINE(copy_out) ROUTINE(fill) ROUTINE(move)
    ROUTINE(both) ROUTINE(clear) ROUTINE(scattered) ROUTINE(beyond) ROUTINE(pointers) ROUTINE(stray_pointer)
    ROUTINE(volatiles) ROUTINE(library) ROUTINE(last) ROUTINE(orders) ROUTINE(fetches) ROUTINE(nand) ROUTINE(increment)
    ROUTINE(fences) ROUTINE(wide) ROUTINE(calls) ROUTINE(bits) ROUTINE(statics) ROUTINE(address) ROUTINE(prints)
    ROUTINE(asserts) ROUTINE(crash) ROUTINE(leave) ROUTINE(hang) ROUTINE(give_up) ROUTINE(work_shared) ROUTINE(work_private)
}
"""

LOW, HIGH = 0xFFFFFFFF, 0xFFFFFFFF << 32
NV = 0xFF << 16
Memory = dict[str, Value]


def perform(memory: Memory, operation: Operation) -> Result:
    """What a lone CPU would see."""
    match operation:
        case Load(at, mask):
            value = memory.get(at, 0)
            return value & mask if isinstance(value, int) else value
        case Store(at, value, mask):
            old = memory.get(at, 0)
            memory[at] = old & ~mask | value if isinstance(value, int) and isinstance(old, int) else value
        case Rmw(at, how, value, mask, expect):
            old = memory.get(at, 0)
            assert isinstance(old, int)
            assert not (value | expect) & ~mask
            new = {
                "swap": value,
                "or": old | value,
                "and": old & value,
                "xor": old ^ value,
                "add": old + value,
                "cas": value if old & mask == expect else old,
            }[how]
            memory[at] = old & ~mask | new & mask
            return old & mask
        case Interrupts() | Wake():
            return True
        case CpuId():
            return 2
        case ListOf(name, lists):
            return next((n for n, at in enumerate(lists) if name in memory.get(at, ())), -1)  # type: ignore[operator]
        case _:
            pass
    return None


def play(
    program: NativeProgram,
    routine: str,
    *args: Result,
    memory: Memory | None = None,
    before: Callable[[Answer, Memory], None] = lambda answer, memory: None,
) -> list[Answer]:
    """All that the routine asks for when it runs alone; `before` may come between."""
    memory = {} if memory is None else memory
    answers: list[Answer] = []
    results: tuple[Result, ...] = ()
    while not answers or not isinstance(answers[-1], Return):
        answers.append(program.next(routine, args, results))
        before(answers[-1], memory)
        results = (*results, perform(memory, answers[-1]) if isinstance(answers[-1], Operation) else None)
    return answers


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("native") / "small.c"
    path.write_text(SMALL)
    return path


@pytest.fixture(scope="module", params=["gcc", "clang"])
def small(source: Path, request: pytest.FixtureRequest) -> Iterator[NativeProgram]:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    program = NativeProgram([source], compiler=request.param, cflags=["-mcx16"])  # for an atomic of 16 bytes
    yield program
    program.close()


@needs_compiler
class TestMemory:
    def test_plain_accesses_and_a_store_whose_value_is_known_only_afterwards(self, small: NativeProgram) -> None:
        assert play(small, "plain", memory={"s[0]": 41}) == [
            Load("s[0]"),
            Store("s[0]", 42),
            Store("s[2]", 7 << 32, HIGH),
            Return(),
        ]

    def test_a_store_right_before_the_end(self, small: NativeProgram) -> None:
        assert play(small, "last") == [Store("s[0]", 5), Return()]

    def test_a_byte_of_a_word(self, small: NativeProgram) -> None:
        assert play(small, "byte", memory={"s[1]": 0x00F10003}) == [
            Load("s[1]", NV),
            Store("s[1]", 0xF20000, NV),
            Return(),
        ]

    def test_a_bit_field_is_written_with_its_neighbours(self, small: NativeProgram) -> None:
        answers = play(small, "bit_field", memory={"s[1]": 0xF10009})
        assert answers[:2] == [Load("s[1]", 0xFFFF), Store("s[1]", 0x0B, 0xFFFF)]
        assert answers[-1] == Return(value=True)

    def test_a_struct_is_copied_word_by_word(self, small: NativeProgram) -> None:
        words = [Load(f"s[{i}]") for i in range(5)]
        assert play(small, "copy_in", memory={"s[0]": 1, "s[4]": 2 << 56}) == [*words, Return(value=3)]
        written = [1, 2 << 32, 0, 3, 0]
        assert play(small, "copy_out") == [*(Store(f"s[{i}]", value) for i, value in enumerate(written)), Return()]

    def test_words_come_by_address_not_as_they_were_declared(self, small: NativeProgram) -> None:
        one = int.from_bytes(bytes([1] * 8), "little")
        assert play(small, "both") == [Store("first", one), Store("second", one), Return()]

    def test_library_functions_and_loops_like_them(self, small: NativeProgram) -> None:
        assert play(small, "fill") == [Store("s[3]", WORD), Store("s[4]", WORD), Return()]
        assert play(small, "move") == [Store("s[2]", int.from_bytes(b"abcdefgh", "little")), Return()]
        stored = [answer.mask for answer in play(small, "clear") if isinstance(answer, Store)]
        assert sum(stored) == WORD + WORD

    def test_volatile_accesses_are_relaxed_ones(self, small: NativeProgram) -> None:
        assert play(small, "volatiles") == [Load("flag", LOW, "relaxed"), Store("flag", 1, LOW, "relaxed"), Return()]

    def test_a_location_may_lie_scattered(self, small: NativeProgram) -> None:
        memory: Memory = {"wide": 2 << 32 | 5}
        assert play(small, "scattered", memory=memory) == [
            Load("wide", LOW),
            Rmw("wide", "swap", 7 << 32, HIGH),
            Store("wide", 6 << 32, HIGH),
            Rmw("wide", "or", 8 << 32, 8 << 32),
            Load("wide", 4),
            Return(value=5 + 2 + 4),
        ]
        assert memory == {"wide": 14 << 32 | 5}
        with pytest.raises(PipeError, match="needs the address where a shared 64-bit word begins"):
            play(small, "beyond")

    def test_a_pointer_is_the_name_of_what_it_points_to(self, small: NativeProgram) -> None:
        def played(owner: tuple[str, ...]) -> list[Answer]:
            return play(small, "pointers", memory={"owner": owner})

        assert played(("thing",)) == [Load("owner"), Store("owner", ()), Return(value=True)]
        assert played(()) == [Load("owner"), Store("owner", ("thread",)), Return(value=False)]
        with pytest.raises(PipeError, match=r"stored in the pointer owner: no object that has a name is there"):
            play(small, "stray_pointer")

    def test_a_write_that_no_hook_has_seen(self, small: NativeProgram) -> None:
        with pytest.raises(PipeError, match=r"s\[3\] was written by code without a hook"):
            play(small, "library")

    @given(words=st.lists(st.integers(0, WORD), min_size=5, max_size=5))
    @settings(max_examples=25, deadline=None)
    def test_shared_memory_ends_as_private_memory_does(self, small: NativeProgram, words: list[int]) -> None:
        memory: Memory = {f"s[{i}]": word for i, word in enumerate(words)}
        play(small, "work_shared", memory=memory)
        for i in range(5):
            (answer,) = play(small, "work_private", i, *words)
            assert isinstance(answer, Return)
            assert memory[f"s[{i}]"] == answer.value

    @pytest.mark.parametrize("level", ["-O0", "-O1", "-O3", "-Os"])
    def test_it_is_so_at_every_level_of_optimisation(self, source: Path, level: str) -> None:
        program = NativeProgram([source], cflags=[level])
        words = [0x0123456789ABCDEF, WORD, 0x8000000100000002, 0x1122334455667788, 0x99AABBCCDDEEFF00]
        memory: Memory = {f"s[{i}]": word for i, word in enumerate(words)}
        play(program, "work_shared", memory=memory)
        for i in range(5):
            assert play(program, "work_private", i, *words) == [Return(value=memory[f"s[{i}]"])]


@needs_compiler
class TestAtomics:
    def test_orders(self, small: NativeProgram) -> None:
        assert play(small, "orders", memory={"s[0]": 3, "s[2]": 4 << 32}) == [
            Load("s[0]", WORD, "acquire"),
            Store("s[0]", 3, WORD, "release"),
            Load("s[2]", HIGH, "relaxed"),
            Store("s[2]", 4, LOW, "seq_cst"),
            Return(),
        ]

    def test_read_modify_write_of_a_part_of_a_word(self, small: NativeProgram) -> None:
        assert play(small, "fetches", memory={"s[0]": 1, "s[1]": 0x02 << 16, "s[2]": 4 << 32 | 8}) == [
            Rmw("s[0]", "add", 1),
            Rmw("s[2]", "add", HIGH, HIGH, order="relaxed"),
            Rmw("s[1]", "or", 0x10 << 16, NV, order="acquire"),
            Rmw("s[1]", "and", 0x0F << 16, NV, order="release"),
            Rmw("s[1]", "xor", 0xFF << 16, NV, order="acq_rel"),
            Rmw("s[2]", "swap", 9 << 32, HIGH),
            Return(value=1 + 4 + 2 + 0x12 + 0x02 + 3),
        ]

    def test_a_compare_exchange_loop_that_loses_once(self, small: NativeProgram) -> None:
        def interfere(answer: Answer, memory: Memory) -> None:
            if answer == Rmw("s[2]", "cas", 6 << 32, HIGH, 5 << 32):
                memory["s[2]"] = 8 << 32 | 1

        assert play(small, "increment", memory={"s[2]": 5 << 32 | 1}, before=interfere) == [
            Load("s[2]", HIGH, "relaxed"),
            Rmw("s[2]", "cas", 6 << 32, HIGH, 5 << 32),
            Rmw("s[2]", "cas", 9 << 32, HIGH, 8 << 32),
            Return(value=8),
        ]

    def test_nand_is_a_loop(self, small: NativeProgram) -> None:
        assert play(small, "nand", memory={"s[1]": 2 << 16}) == [
            Load("s[1]", NV, "relaxed"),
            Rmw("s[1]", "cas", 0xFD << 16, NV, 2 << 16),
            Return(value=2),
        ]

    def test_fences(self, small: NativeProgram) -> None:
        kinds = [answer.kind for answer in play(small, "fences") if isinstance(answer, Fence)]
        assert kinds == ["full", "acquire", "release", "acquire", "release"]

    def test_an_atomic_wider_than_a_location_is_refused(self, small: NativeProgram) -> None:
        with pytest.raises(PipeError, match="beyond one 64-bit location"):
            small.next("wide", (), ())


@needs_compiler
class TestCalls:
    def test_what_no_compiler_sees(self, small: NativeProgram) -> None:
        assert play(small, "calls", "thing", -5, memory={"list0": ("shared",)}) == [
            Interrupts(False),
            CpuId(),
            Store("s[0]", 2),
            Preemption(False),
            SendIpi(0xF2, 3),
            SendIpi(0xF1),
            Lock("lock"),
            Load("list0"),
            Store("list0", ("shared", "thing")),
            Unlock("lock"),
            Fence(),
            Wake("thread"),
            Relax(),
            Return(("calls", "shared", -5), True),
        ]

    def test_assertions(self, small: NativeProgram) -> None:
        asked = [
            Store("s[0]", 1),
            Assert('WARN: "odd"'),
            Assert("lock held", held="lock"),
            Assert("interrupts off", interrupts=False),
            ListOf("thing", ("list0",)),
        ]
        assert play(small, "asserts", memory={"list0": ("thing",)}) == [*asked, Store("s[0]", 2), Return()]
        assert play(small, "asserts") == [*asked, Assert("BUG at 7"), Return()]

    def test_instructions_on_some_bits_only(self, small: NativeProgram) -> None:
        assert play(small, "bits", memory={"s[1]": 0xFF}) == [
            Load("s[1]", 1),
            Rmw("s[1]", "and", 0, 2),
            Return(value=9 + 8 + 8),
        ]

    def test_static_data_are_clean_and_addresses_constant(self, small: NativeProgram) -> None:
        assert [small.next("statics", (), ()) for _ in range(2)] == [Return(value=1)] * 2
        assert small.next("address", (), ()) == small.fresh().next("address", (), ())


@needs_compiler
class TestContainment:
    def test_a_crash_costs_nothing(self, small: NativeProgram) -> None:
        with pytest.raises(PipeError, match=r"signal 11 .*crash\(\) after the results \(1,\)") as error:
            small.next("crash", (), (1,))
        assert (error.value.kind, error.value.status, error.value.routine) == ("crash", "CRASH", "crash")
        assert error.value.what.startswith("the native program failed: it crashed with signal 11")
        assert re.fullmatch(r"small.c:\d+", error.value.at) and error.value.at in error.value.what
        assert small.next("crash", (), (2,)) == Return()

    def test_what_it_printed_is_shown(self, small: NativeProgram) -> None:
        with pytest.raises(PipeError, match=r"signal 6(.|\n)*on the way"):
            small.next("prints", (), (1,))
        assert small.next("prints", (), (0,)) == Return()

    def test_its_own_exit(self, small: NativeProgram) -> None:
        with pytest.raises(PipeError, match="exit status 3"):
            small.next("leave", (), ())

    def test_an_endless_loop(self, small: NativeProgram) -> None:
        hasty = small.fresh()
        hasty.step_seconds = 0.3
        before = signal.signal(signal.SIGALRM, signal.SIG_IGN)  # which a program inherits
        try:
            with pytest.raises(PipeError, match=r"no answer within 300 ms.* at small.c:\d+.*hang\(\)") as error:
                hasty.next("hang", (), ())
        finally:
            signal.signal(signal.SIGALRM, before)
        assert (error.value.kind, error.value.status) == ("timeout", "TIMEOUT")
        assert hasty.next("last", (), ()) == Store("s[0]", 5)

    def test_the_program_gives_up(self, small: NativeProgram) -> None:
        assert small.next("give_up", (), ()) == Store("s[2]", 1, LOW)
        with pytest.raises(PipeError, match='cannot "go on"') as error:
            small.next("give_up", (), (None,))
        assert error.value.kind == "refused"

    @pytest.mark.parametrize(
        ("routine", "args", "results", "message"),
        [
            ("nothing", (), (), "no routine of this name; it has plain, byte"),
            ("calls", (), (True, 2, None, None, None, None, None, ()), "argument 0 is missing"),
            ("calls", (1,), (True, 2, None, None, None, None, None, ()), "argument 0 is not a name"),
            ("calls", ("nobody",), (True, 2, None, None, None, None, None, ()), "no object has the name nobody"),
            ("plain", (), (None,), "result 0 is None, but the operation it answers is .*load"),
            ("plain", (), (1, 1), "result 1 is an integer, but the operation it answers is .*store"),
            ("byte", (), (1,), "bits outside of the mask 0xff0000"),
            ("last", (), (None, None), "returns after 1 operations, but there are more results"),
            ("plain", (), (1 << 64,), "does not fit into 64 bits"),
            ("calls", ("two words",), (), "printable ASCII without spaces"),
        ],
    )
    def test_a_question_that_makes_no_sense(
        self, small: NativeProgram, routine: str, args: tuple[Result, ...], results: tuple[Result, ...], message: str
    ) -> None:
        with pytest.raises(PipeError, match=message):
            small.next(routine, args, results)

    def test_the_program_is_killed_from_outside(self, small: NativeProgram) -> None:
        program = small.fresh()
        program.next("last", (), ())
        assert program._program
        process = program._program.process
        process.kill()
        process.wait()
        assert program.next("last", (), ()) == Store("s[0]", 5)
        process = program._program.process
        program.close()
        assert process.returncode is not None

    def test_the_thread_that_started_it_ends(self, small: NativeProgram) -> None:
        program = small.fresh()
        for _ in range(10):
            thread = threading.Thread(target=program.next, args=("last", (), ()))
            thread.start()
            thread.join()
            assert program.next("last", (), ()) == Store("s[0]", 5)

    def test_a_fork_has_a_program_of_its_own(self, small: NativeProgram) -> None:
        small.next("last", (), ())
        child = os.fork()
        if child == 0:
            os._exit(0 if small.next("last", (), ()) == Store("s[0]", 5) else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert small.next("last", (), ()) == Store("s[0]", 5)

    def test_no_process_outlives_the_runner(self, source: Path, tmp_path: Path) -> None:
        script = tmp_path / "runner.py"
        script.write_text(
            "import sys\n"
            "from conformance.adapters.native import NativeProgram\n"
            f"program = NativeProgram([{str(source)!r}], step_seconds=60)\n"
            "program.next('last', (), ())\n"
            "print(program._program.process.pid, flush=True)\n"
            "program.next('hang', (), ())\n"
        )
        path = os.pathsep.join(sys.path)
        environment = {**os.environ, "PYTHONPATH": path}
        runner = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment)
        assert runner.stdout
        guard = int(runner.stdout.readline())
        while len(before := [guard, *descendants(guard)]) < 3:  # guard, fork server, and the run that hangs
            time.sleep(0.02)
        runner.kill()
        runner.communicate()
        assert not left(before)


ENTRY_POINTS = {
    *(f"__tsan_{how}{n}" for how in ("read", "write", "volatile_read", "volatile_write") for n in (1, 2, 4, 8, 16)),
    *(f"__tsan_read_write{n}" for n in (1, 2, 4, 8, 16)),
    *(
        f"__tsan_unaligned_{how}{n}"
        for how in ("read", "write", "read_write", "volatile_read", "volatile_write")
        for n in (2, 4, 8, 16)
    ),
    *(
        f"__tsan_atomic{bits}_{how}"
        for bits in (8, 16, 32, 64, 128)
        for how in (
            *(
                "load",
                "store",
                "exchange",
                "fetch_add",
                "fetch_sub",
                "fetch_and",
                "fetch_or",
                "fetch_xor",
                "fetch_nand",
            ),
            *("compare_exchange_strong", "compare_exchange_weak", "compare_exchange_val"),
        )
    ),
    *(f"__tsan_atomic_{where}_fence" for where in ("thread", "signal")),
    *(
        f"__tsan_{how}"
        for how in ("memcpy", "memmove", "memset", "read_range", "write_range", "vptr_read", "vptr_update")
    ),
    *(f"__tsan_{how}" for how in ("init", "func_entry", "func_exit", "ignore_thread_begin", "ignore_thread_end")),
}
"""What gcc (gcc/sanitizer.def) and clang (lib/Transforms/Instrumentation/ThreadSanitizer.cpp) may call."""


CXX = r"""
#include <algorithm>
#include <atomic>
#include <cstring>
#include <intack.h>
#include <memory>
#include <stdexcept>

struct Word { virtual ~Word() = default; virtual uint64_t read() = 0; };
static struct Shared { std::atomic<uint64_t> a; uint64_t b; std::atomic<uint8_t> small[8]; } shared;
struct A : Word { uint64_t read() override { return shared.a.load(std::memory_order_acquire); } };
struct B : Word { uint64_t read() override { return shared.b; } };

static std::unique_ptr<Word> choose(bool a) { if (a) return std::make_unique<A>(); return std::make_unique<B>(); }
static void dispatch() { intack_return_integer(choose(intack_bool_argument(0))->read()); }
static void copies() { uint64_t b = 7; std::memcpy(&shared.b, &b, sizeof b); shared.small[3]++; }
static void throws()
{
    try {
        if (shared.b) throw std::runtime_error("b");
        intack_return_integer(0);
    } catch (const std::exception &error) {
        shared.a.store(1, std::memory_order_release);
        intack_return_integer(static_cast<uint64_t>(error.what()[0]));
    }
}
void intack_setup()
{
    intack_share(&shared, sizeof shared, "s");
    intack_routine("dispatch", dispatch);
    intack_routine("copies", copies);
    intack_routine("throws", throws);
}
"""


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_cxx(compiler: str, tmp_path: Path) -> None:
    """Virtual calls, memcpy, atomics of one byte, exceptions."""
    if shutil.which({"gcc": "g++", "clang": "clang++"}[compiler]) is None:
        pytest.skip("no C++ compiler of this make is installed")
    (tmp_path / "small.cc").write_text(CXX)
    program = NativeProgram([tmp_path / "small.cc"], compiler=compiler)
    memory: Memory = {"s[0]": 4, "s[1]": 5}
    assert play(program, "dispatch", True, memory=memory) == [Load("s[0]", order="acquire"), Return(value=4)]
    assert play(program, "dispatch", False, memory=memory) == [Load("s[1]"), Return(value=5)]
    assert play(program, "copies", memory=memory) == [
        Store("s[1]", 7),
        Rmw("s[2]", "add", 1 << 24, 0xFF << 24),
        Return(),
    ]
    assert play(program, "throws", memory=memory) == [
        Load("s[1]"),
        Store("s[0]", 1, order="release"),
        Return(value=ord("b")),
    ]


class TestBuild:
    @needs_compiler
    def test_the_runtime_has_every_entry_point(self, small: NativeProgram) -> None:
        symbols = subprocess.run(["nm", str(small.build())], capture_output=True, text=True, check=True).stdout
        assert {line.split()[-1] for line in symbols.splitlines()} >= ENTRY_POINTS

    def test_no_compiler(self, source: Path) -> None:
        with pytest.raises(NativeUnavailableError, match=r"'no-such-compiler' cannot be started.*apt-get install gcc"):
            NativeProgram([source], compiler="no-such-compiler").build()

    @needs_compiler
    def test_the_compiler_says_why(self, tmp_path: Path) -> None:
        wrong = tmp_path / "wrong.c"
        wrong.write_text("void intack_setup(void) { undeclared(; }\n")
        with pytest.raises(NativeError, match=r"(?s)could not compile .*wrong.c: gcc .*wrong.c:1:\d+: error") as error:
            NativeProgram([wrong]).build()
        assert error.value.kind == "build"

    @needs_compiler
    def test_the_first_error_is_shown_however_much_follows(self, tmp_path: Path) -> None:
        wrong = tmp_path / "wrong.c"
        noise = "".join(f"int unused_{n}(void) {{ int never_used_{n}; return 0; }}\n" for n in range(100))
        wrong.write_text(f"{noise}int first_error = undeclared;\n" + "int more = undeclared_too;\n" * 200)
        with pytest.raises(NativeError, match=r"wrong.c:101:\d+: error: .*undeclared") as error:
            NativeProgram([wrong], cflags=["-Wall"]).build()
        assert len(str(error.value)) < 10_000

    @needs_compiler
    def test_the_linker_says_why(self, tmp_path: Path) -> None:
        lacking = tmp_path / "lacking.c"
        lacking.write_text("void elsewhere(void); void intack_setup(void) { elsewhere(); }\n")
        with pytest.raises(NativeError, match=r"(?s)could not link.*elsewhere"):
            NativeProgram([lacking]).build()

    @needs_compiler
    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ('intack_share(&word, 8, "a b");', "must have only printable characters"),
            ('intack_share(&word, 8, "a"); intack_share((char *)&word + 4, 8, "b");', "b overlaps an object"),
            ("__builtin_trap();", "when greeted, .*ended by signal"),
            ("intack_relax();", "an operation outside of a routine"),
        ],
    )
    def test_a_wrong_set_up(self, tmp_path: Path, body: str, message: str) -> None:
        wrong = tmp_path / "setup.c"
        wrong.write_text(f'#include "intack.h"\nstatic uint64_t word;\nvoid intack_setup(void) {{ {body} }}\n')
        with pytest.raises(PipeError, match=message):
            NativeProgram([wrong]).next("anything", (), ())

    @needs_compiler
    def test_it_is_built_again_only_when_something_it_is_made_of_changes(self, tmp_path: Path) -> None:
        header, source = tmp_path / "value.h", tmp_path / "value.c"
        header.write_text("#define VALUE 1\n")
        source.write_text(
            '#include "intack.h"\n#include "value.h"\nstatic void value(void) { intack_return_integer(VALUE); }\n'
            'void intack_setup(void) { intack_routine("value", value); }\n'
        )
        first = NativeProgram([source])
        assert first.next("value", (), ()) == Return(value=1)
        made = first.build().stat().st_mtime_ns
        assert NativeProgram([source]).build().stat().st_mtime_ns == made
        header.write_text("#define VALUE 2\n")
        assert NativeProgram([source]).next("value", (), ()) == Return(value=2)


VALUE_C = """
#include "intack.h"
#include <value.h>
static void value(void) { intack_return_integer(VALUE); }
void intack_setup(void) { intack_routine("value", value); }
"""


class MadeHeader(NativeProgram):
    """A program whose header is made first, in the folder that it is built in."""

    text = "#define VALUE 1"

    def prepare(self, folder: Path) -> tuple[Sequence[Path], Sequence[str]]:
        (folder / "value.h").write_text(self.text)
        return self.sources, [f"-I{folder}"]


@needs_compiler
class TestNeverStale:
    """The same call after something that the compiler read has changed: the new program answers, not the kept one."""

    def value(self, source: Path, cflags: Sequence[str], **options: Any) -> object:
        answer = NativeProgram([source], cflags=cflags, **options).next("value", (), ())
        assert isinstance(answer, Return)
        return answer.value

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        for number, name in enumerate(("first", "second")):
            (tmp_path / name).mkdir()
            (tmp_path / name / "value.h").write_text(f"#define VALUE {number}\n")
        (tmp_path / "value.c").write_text(VALUE_C)
        return tmp_path / "value.c"

    def test_a_header_made_where_it_is_built(self, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert MadeHeader([source]).next("value", (), ()) == Return(value=1)
        monkeypatch.setattr(MadeHeader, "text", "#define VALUE 2")
        assert MadeHeader([source]).next("value", (), ()) == Return(value=2)

    @pytest.mark.parametrize("option", ["-I", "-isystem"])
    def test_a_header_of_the_system_too(self, source: Path, option: str) -> None:
        flags = [f"{option}{source.parent / 'first'}"]
        assert self.value(source, flags) == 0
        (source.parent / "first" / "value.h").write_text("#define VALUE 7\n")
        assert self.value(source, flags) == 7

    def test_a_header_that_was_not_there_before(self, source: Path) -> None:
        flags = [f"-I{source.parent / 'first'}", f"-I{source.parent / 'second'}"]
        (source.parent / "first" / "value.h").unlink()
        assert self.value(source, flags) == 1
        (source.parent / "first" / "value.h").write_text("#define VALUE 0\n")
        assert self.value(source, flags) == 0

    def test_relative_flags_from_another_folder(self, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for number, name in enumerate(("first", "second")):
            monkeypatch.chdir(source.parent / name)
            assert self.value(source, ["-I."]) == number

    def test_relative_flags_are_relative_to_the_folder_that_is_named(self, source: Path) -> None:
        for number, name in enumerate(("first", "second")):
            assert self.value(source, ["-I."], folder=source.parent / name) == number

    def test_a_search_path_in_the_environment(self, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for number, name in enumerate(("first", "second")):
            monkeypatch.setenv("CPATH", str(source.parent / name))
            assert self.value(source, []) == number

    def test_a_file_of_options(self, source: Path) -> None:
        options = source.parent / "options"
        for number, name in enumerate(("first", "second")):
            options.write_text(f"-I{source.parent / name}")
            assert self.value(source, [f"@{options}"]) == number

    def test_what_the_assembler_includes(self, source: Path) -> None:
        blob = source.parent / "blob"
        source.write_text(
            f"""__asm__("blob: .incbin \\"{blob}\\""); extern char blob[]; """ + VALUE_C.replace("VALUE", "*blob")
        )
        for text in "ab":
            blob.write_text(text)
            assert self.value(source, [f"-I{source.parent / 'first'}"]) == ord(text)

    def test_the_compiler_itself(self, source: Path) -> None:
        compiler = source.parent / "mine-gcc"
        for value in (3, 4):
            compiler.write_text(f'#!/bin/sh\nexec gcc -DVALUE={value} "$@"\n')
            compiler.chmod(0o755)
            (source.parent / "first" / "value.h").write_text("")
            assert self.value(source, [f"-I{source.parent / 'first'}"], compiler=str(compiler)) == value

    def test_a_library_that_was_linked(self, source: Path) -> None:
        library = source.parent / "libvalue.a"
        text = VALUE_C.replace("VALUE", "of_library()").replace("<value.h>", '"intack.h"\nint of_library(void);')
        source.write_text(text)
        for value in (5, 6):
            (source.parent / "of.c").write_text(f"int of_library(void) {{ return {value}; }}")
            subprocess.run("gcc -c of.c && rm -f libvalue.a && ar rc libvalue.a of.o", shell=True, cwd=library.parent)
            assert NativeProgram([source, library]).next("value", (), ()) == Return(value=value)

    def test_what_rust_includes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        if shutil.which(compiler_for(".rs", "")) is None:
            pytest.skip("rustc is not installed")
        source = tmp_path / "value.rs"
        source.write_text(
            'extern "C" { fn intack_return_integer(v: u64); fn intack_routine(n: *const u8, f: extern "C" fn()); }\n'
            'extern "C" fn value() { unsafe { intack_return_integer(include!("number") + env!("MORE").len() as u64) } }\n'
            '#[no_mangle] pub extern "C" fn intack_setup() { unsafe { intack_routine(b"value\\0".as_ptr(), value) } }\n'
        )
        for number, more in ((1, ""), (2, ""), (2, "x")):
            (tmp_path / "number").write_text(f"{number}u64")
            monkeypatch.setenv("MORE", more)
            assert self.value(source, []) == number + len(more)


# Linux


def statement(call: str, function: str) -> str:
    """The statement of posted_intr.c that calls this, in this function."""
    text = kernel_files()["posted_intr.c"]
    start = re.search(rf"^[\w ]*\b{function}\(", text, re.MULTILINE)
    assert start
    found = re.compile(rf"^[ \t]*{call}\([^;]*;\n", re.MULTILINE).search(text, start.end())
    assert found
    return found.group()


def linux_world(*facts: str) -> WorldMessage:
    return WorldMessage(("vcpu0", "vcpu1"), 3, facts=facts)


def linux_program(replacements: Replacements = (), facts: tuple[str, ...] = ()) -> LinuxPostedIntr:
    try:
        program = LinuxPostedIntr(replacements=replacements, world=linux_world(*facts))
        program.build()
    except NativeUnavailableError as missing:
        pytest.skip(str(missing))
    return program


def changed_tree(tree: Path, *replacements: tuple[str, str]) -> Path:
    """A source tree with these replacements done: one that a fresh process finds, too."""
    folder = tree / "arch/x86/kvm/vmx"
    folder.mkdir(parents=True)
    for name, text in replaced(kernel_files(), replacements).items():
        (folder / name).write_text(text)
    return tree


def explored(tree: Path, name: str) -> Explored:
    """What the suite finds in one scenario, with the kernel's file of this tree."""
    (scenario,) = (s for s in SUITE.scenarios if s.name == name)
    return explore(resolve(f"linux-posted-intr:{tree}"), scenario, SUITE)


@pytest.fixture(scope="module")
def linux() -> LinuxPostedIntr:
    return linux_program()


CONTROL = "vcpu0.pid.control"
ON, SN = 1, 2
PINV, WAKEUP = 0xF2 << 16, 0xF1 << 16
PIR = [Load(f"vcpu0.pid.pir[{i}]") for i in range(4)]


class TestLinux:
    def test_load_on_the_same_cpu_clears_sn_and_looks_at_pir(self, linux: LinuxPostedIntr) -> None:
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

    def test_load_on_the_same_cpu_without_sn_changes_nothing(self, linux: LinuxPostedIntr) -> None:
        assert play(linux, "load", "vcpu0", 0, memory={CONTROL: PINV}) == [
            Load(CONTROL, NV),
            Load("vcpu0.cpu"),
            Rmw(CONTROL, "and", 0, SN),
            Store("vcpu0.cpu", 0),
            Return(),
        ]

    def test_load_after_blocking_leaves_the_list_of_the_previous_cpu(self, linux: LinuxPostedIntr) -> None:
        memory: Memory = {CONTROL: WAKEUP, "cpu0.wakeup_list": ("vcpu1", "vcpu0")}
        assert play(linux, "load", "vcpu0", 2, memory=memory) == [
            Load(CONTROL, NV),
            Interrupts(False),
            Load(CONTROL, NV),
            Load("vcpu0.cpu"),
            Lock("cpu0.wakeup_lock"),
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

    def test_interrupts_that_were_off_stay_off(self, linux: LinuxPostedIntr) -> None:
        results = (WAKEUP, False, WAKEUP, 0, None, ("vcpu0",), None, 0, None, WAKEUP, WAKEUP)
        assert linux.next("load", ("vcpu0", 0), results) == PIR[0]

    def test_every_operation_has_a_line_of_the_kernel(self, linux: LinuxPostedIntr) -> None:
        text = kernel_files()["posted_intr.c"].splitlines()
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

    def test_put_preempted_only_sets_sn(self, linux: LinuxPostedIntr) -> None:
        assert play(linux, "put", "vcpu0", True, memory={CONTROL: PINV}) == [
            Load("vcpu0.blocking", order="relaxed"),
            Rmw(CONTROL, "or", SN, SN),
            Return(),
        ]

    def test_put_blocking_with_the_guests_interrupts_closed_does_nothing(self, linux: LinuxPostedIntr) -> None:
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

    def test_put_blocking(self, linux: LinuxPostedIntr) -> None:
        answers = play(linux, "put", "vcpu0", False, memory=self.blocking())
        assert answers == [*self.PUT, Interrupts(True), Return()]

    def test_put_blocking_while_an_interrupt_is_posted(self, linux: LinuxPostedIntr) -> None:
        answers = play(linux, "put", "vcpu0", False, memory=self.blocking(), before=self.post)
        assert answers == [*self.PUT, self.RETRY, SendIpi(0xF1), Interrupts(True), Return()]

    def test_without_the_self_ipi(self) -> None:
        mutant = linux_program(replacements=WITHOUT_SELF_IPI)
        answers = play(mutant, "put", "vcpu0", False, memory=self.blocking(), before=self.post)
        assert answers == [*self.PUT, self.RETRY, Interrupts(True), Return()]

    def test_wakeup_handler_wakes_who_waits_and_has_on(self, linux: LinuxPostedIntr) -> None:
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
    def test_has_pending(self, linux: LinuxPostedIntr, control: int, pir: int, pending: bool, looked: int) -> None:
        answers = play(linux, "has_pending", "vcpu0", memory={CONTROL: control, "vcpu0.pid.pir[0]": pir})
        assert answers[-1] == Return(value=pending)
        assert [answer for answer in answers if answer in PIR] == PIR[:looked]

    def test_the_suite_finds_what_the_self_ipi_is_for(self, linux: LinuxPostedIntr) -> None:
        (scenario,) = (s for s in SCENARIOS if s.name == "block-preempt")
        found: list[set[str]] = []
        for replacements in ((), WITHOUT_SELF_IPI):
            assembly = assemble(implementation(linux.tree, replacements=replacements), scenario)
            explored = prove(Machine(assembly, scenario, list(end_to_end.monitors(scenario))))
            assert explored.complete
            found.append({*explored.breached, *explored.at_rest})
        assert not found[0]
        assert "E2E-1" in found[1]

    @pytest.mark.parametrize(
        ("what", "clause", "reason"),
        [
            ("a node joins twice", "ASSERTION", "list_add corruption: vcpu0 is on a list"),
            ("a node never leaves", "ASSERTION", "list_add corruption: vcpu0 is on a list"),
            ("a node never joins", "ASSERTION", "list_del corruption: vcpu0 is on no list"),
            ("a WARN", "ASSERTION", "WARN: PI descriptor SN field"),
            ("a lock is missing", "RACE", "load read cpu0.wakeup_list without holding cpu0.wakeup_lock"),
            ("a wrong lock", "RACE", "load read cpu0.wakeup_list without holding cpu0.wakeup_lock"),
        ],
    )
    def test_what_the_kernel_would_say_of_itself_is_a_violation(
        self, linux: LinuxPostedIntr, tmp_path: Path, what: str, clause: str, reason: str
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
        found = explored(changed_tree(tmp_path, change[what]), "block-preempt")
        assert found.complete and not found.fault
        assert reason in found.counterexamples[clause].reason
        *_, last = found.counterexamples[clause].trace
        assert last.breaks and any(fact.site.startswith("posted_intr.c:") for fact in last.facts)

    @pytest.mark.parametrize("scenario", ["spin", "two-vcpus"])
    def test_whether_anything_is_pending_is_asked_of_the_kernel(
        self, linux: LinuxPostedIntr, tmp_path: Path, scenario: str
    ) -> None:
        """A vCPU that spins asks so of the others: a has_pending that harvests is seen."""
        harvests = ("return pi_test_on(pi_desc) ||", "return pi_test_and_clear_on(pi_desc) ||")
        found = explored(changed_tree(tmp_path, harvests), scenario)
        assert "E2E-1" in found.counterexamples and not found.fault
        assert any(step.routine == "directed_yield" for step in found.counterexamples["E2E-1"].trace)

    def test_a_retry_with_a_stale_value_is_a_livelock(self, linux: LinuxPostedIntr, tmp_path: Path) -> None:
        """As found out: the compare-exchange is tried for ever with what was read before a device posted."""
        stale = "u64 stale = *pold; if (!try_cmpxchg64(&pi_desc->control, &stale, new))"
        tree = changed_tree(tmp_path, ("if (!try_cmpxchg64(&pi_desc->control, pold, new))", stale))
        found = explored(tree, "block-preempt")
        assert not found.fault and found.complete
        *_, reads, posts = found.counterexamples["LIVELOCK"].trace
        (control,) = (c for c in posts.changes if c.at == "vcpu0.pid.control")
        assert reads.routine == "put" and (int(str(control.old)) & 1, int(str(control.new)) & 1) == (0, 1)

    def test_the_program_speaks_the_protocol_by_itself(self, linux: LinuxPostedIntr) -> None:
        (scenario,) = (s for s in SCENARIOS if s.name == "block-preempt")
        plugged = pipe.adapter(str(linux.build()))
        assert set(plugged.filled("x86")) == {"residency"}
        sources = [implementation(linux.tree), plugged]
        first, second = (prove(Machine(assemble(i, scenario), scenario, ())) for i in sources)
        assert (first.states, first.transitions) == (second.states, second.transitions)

    def test_xapic_puts_the_id_into_bits_15_to_8(self) -> None:
        answers = play(linux_program(facts=("xapic",)), "load", "vcpu0", 2, memory={CONTROL: PINV})
        assert Rmw(CONTROL, "cas", PINV | 2 << 40, expect=PINV) in answers

    def test_a_cpu_that_there_is_not_ends_the_call_as_an_oops_does(self, linux: LinuxPostedIntr) -> None:
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
        self, linux: LinuxPostedIntr, routine: str, args: tuple[Result, ...], results: tuple[Result, ...], message: str
    ) -> None:
        with pytest.raises(PipeError, match=message):
            linux.next(routine, args, results)

    def test_a_change_of_its_header_is_noticed(self, linux: LinuxPostedIntr) -> None:
        swapped = linux_program(replacements=[("POSTED_INTR_SN  1", "POSTED_INTR_SN  9")])
        assert Rmw(CONTROL, "or", 1 << 9, 1 << 9) in play(swapped, "put", "vcpu0", True, memory={CONTROL: PINV})

    @pytest.mark.parametrize("replacements", [(("not in it", ""),), (("pi_desc", ""),), (*WITHOUT_SELF_IPI,) * 2])
    def test_a_replacement_that_does_not_fit(self, linux: LinuxPostedIntr, replacements: Replacements) -> None:
        with pytest.raises(NativeError, match="does not fit this Linux source"):
            LinuxPostedIntr(replacements=replacements).build()

    def test_a_tree_without_the_source(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(NativeError, match="name the top directory of a Linux"):
            kernel_files(tmp_path)
        monkeypatch.setenv("INTACK_LINUX_SOURCE", str(tmp_path / "elsewhere"))
        with pytest.raises(NativeError, match="elsewhere/arch/x86/kvm/vmx is not readable"):
            kernel_files()

    def test_no_source_at_all(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("INTACK_LINUX_SOURCE", raising=False)
        monkeypatch.setattr("reference.alternatives.x86.linux_posted_intr.PACKAGE", tmp_path / "none.tar.xz")
        with pytest.raises(NativeUnavailableError, match="apt-get install linux-source"):
            kernel_files()

    def test_a_tree_is_as_good_as_the_package(self, linux: LinuxPostedIntr, tmp_path: Path) -> None:
        folder = tmp_path / "arch/x86/kvm/vmx"
        folder.mkdir(parents=True)
        for name, text in kernel_files().items():
            (folder / name).write_text(text)
        (folder / "vmx.h").write_text("#error the headers beside the source are not for us\n")
        program = LinuxPostedIntr(tmp_path, world=linux_world())
        assert program.next("load", ("vcpu0", 0), ()) == linux.next("load", ("vcpu0", 0), ())

    def test_the_unpacked_files_are_kept(
        self, linux: LinuxPostedIntr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from reference.alternatives.x86 import linux_posted_intr as module

        monkeypatch.delenv("INTACK_LINUX_SOURCE", raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setattr(module, "_unpack", lambda: dict.fromkeys(module.FILES, "text"))
        if not module.PACKAGE.exists():
            pytest.skip("linux-source-6.1 is not installed")
        first = kernel_files()
        monkeypatch.setattr(module, "_unpack", lambda: pytest.fail("unpacked again"))
        assert kernel_files() == first == dict.fromkeys(module.FILES, "text")
        assert len(list((tmp_path / "intack").iterdir())) == 1

    def test_no_line_of_the_kernel_is_in_the_project(self, linux: LinuxPostedIntr) -> None:
        theirs = {line.strip() for text in kernel_files().values() for line in text.splitlines()}
        ours = [line.strip() for path in LINUX.rglob("*.[hc]") for line in path.read_text().splitlines()]
        assert not {line for line in ours if len(line) > 30} & theirs
