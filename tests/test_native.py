"""The native runtime on small C programs."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from played import Memory, play
from processes import descendants, left

from conformance.adapters.native import NativeError, NativeProgram, NativeUnavailableError, cache
from conformance.adapters.native.build import Build, compiler_for
from conformance.adapters.pipe import PipeError
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
    Preemption,
    Relax,
    Result,
    Return,
    Rmw,
    SendIpi,
    Store,
    Unlock,
    Wake,
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
            ("__builtin_trap();", "ended by signal.*when greeted"),
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

    def test_only_the_source_that_changed_is_compiled_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cache, "_own", tmp_path / "kept")
        (tmp_path / "kept").mkdir()
        compiled: list[str] = []
        real = Build.compiled
        monkeypatch.setattr(Build, "compiled", lambda *args: compiled.append(args[2].name) or real(*args))
        value, setup = tmp_path / "value.c", tmp_path / "setup.c"
        setup.write_text(
            '#include "intack.h"\nunsigned number(void);\nstatic void value(void) { intack_return_integer(number()); }\n'
            'void intack_setup(void) { intack_routine("value", value); }\n'
        )
        for number, again in ((1, {"runtime.c", "value.c", "setup.c"}), (2, {"value.c"}), (1, set[str]())):
            value.write_text(f"unsigned number(void) {{ return {number}; }}\n")
            compiled.clear()
            program = NativeProgram([setup, value])
            assert program.next("value", (), ()) == Return(value=number)
            assert set(compiled) == again
            shutil.rmtree(program.build().parent)  # what is left are the objects
            program.close()

    def test_an_object_that_was_damaged_is_made_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cache, "_own", tmp_path / "kept")
        (tmp_path / "kept").mkdir()
        (tmp_path / "value.c").write_text(VALUE_C.replace("<value.h>", '"value.h"'))
        (tmp_path / "value.h").write_text("#define VALUE 7\n")
        shutil.rmtree(NativeProgram([tmp_path / "value.c"]).build().parent)
        for kept in (tmp_path / "kept").glob("object-*/program"):
            kept.write_bytes(kept.read_bytes()[:100])
        assert NativeProgram([tmp_path / "value.c"]).next("value", (), ()) == Return(value=7)


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
