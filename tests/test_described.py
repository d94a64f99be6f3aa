"""Native programs described by a file: routines and locations found by their names, lines shown, mistakes named."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from conformance.adapters import protocol
from conformance.adapters.native.debuginfo import DebugInfo, DebugInfoError
from conformance.adapters.native.described import DescribedProgram, described
from conformance.adapters.pipe import PipeError
from conformance.adapters.registry import AdapterError, resolve
from conformance.commands.main import cli
from conformance.report.lanes import lane_table, plain
from conformance.roles.operations import (
    Choose,
    CpuId,
    EnterGuest,
    Fence,
    FinishBlock,
    Load,
    Lock,
    PrepareToBlock,
    Result,
    Return,
    Rmw,
    Schedule,
    Store,
    Unlock,
    Wake,
)
from conformance.verdict.explore import explore
from properties.suite import SUITE

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")

SOURCE = r"""
#include <intack.h>
#include <stdatomic.h>

struct descriptor {
    uint64_t pir[4];
    union {
        struct { uint16_t on : 1, sn : 1, rest : 14; uint8_t nv, unused; uint32_t ndst; };
        uint64_t bits;
    } state;
};
struct vcpu {
    const char *label;
    struct descriptor pid;
    _Atomic uint32_t cpu;
    uint64_t mode;
    uint8_t flags[16];
};
struct { struct vcpu vcpus[2]; uint64_t assigned; } machine;
struct { char wakeup_lock, wakeup_list; } cpus[3];
static long posts, hidden[4];
enum kind { PLAIN, URGENT = 7 };

void post(struct vcpu *v, unsigned vector, _Bool urgent) { v->pid.pir[vector / 64] |= 1ull << vector % 64; posts += urgent; }
long plain(struct vcpu *v) { return -5 - (long)v->pid.state.nv; }
_Bool on(struct vcpu *v) { return v->pid.state.on; }
signed char small(signed char x) { return x + (signed char)intack_integer_argument(1); }
enum kind kind(enum kind k) { return k == URGENT ? PLAIN : URGENT; }
int named(const char *what, int many) { return what[0] == 'h' ? many : -many; }
void where(struct vcpu *v) { v->cpu = intack_cpu_id() + 1; machine.assigned = 1; }
void label(struct vcpu *v) { intack_return_bool(v->label == 0); }
void hide(struct vcpu *v)
{
    (void)v;
    hidden[2] = 1;
}
int seek(struct vcpu *v) { (void)v; return (int)hidden[2]; }
void crash(struct vcpu *v)
{
    if (v->mode)
        *(volatile int *)4 = 1;
}
void deep(struct vcpu *v) { volatile char big[1 << 12]; big[0] = 0; if (!v->mode) deep(v); big[1] = 1; }
void hang(struct vcpu *v)
{
    v->mode = 1;
    for (volatile int local = 0;; local++)
        ;
}
void tuple(struct vcpu *v)
{
    struct intack_tuple reason = intack_enter_guest(v);
    intack_then("leave");
    intack_then_object(v);
    for (size_t i = 0; i < reason.length; i++)
        intack_then_item(reason.item[i]);
    if (intack_arguments() > 1 && intack_tuple_argument(1).length)
        intack_return_tuple(&reason);
}
void block(struct vcpu *v)
{
    intack_prepare_to_block();
    intack_load_fence();
    if (intack_choose(2, "sleep", "stay") == 0)
        intack_schedule();
    intack_finish_block();
    intack_store_fence();
    intack_wake(v);
    intack_lock(&cpus[1].wakeup_lock);
    intack_unlock(&cpus[1].wakeup_lock);
}
void world(void)
{
    intack_return_integer(intack_vcpus() * 1000 + intack_cpus() * 100 + intack_vectors() * 10 + intack_fact("xapic"));
}
double real(double x) { return x; }
"""

DESCRIPTION = """
sources = ["program.c"]
private = ["posts"]
[routines]
{routines}
[objects]
vcpu = "machine.vcpus"
cpu = "cpus"
vm = "machine"
[members]
"pid.control" = "pid.state"
"visr[0]" = "flags[8]:8"
"""
ROUTINES = (
    "post", "plain", "on", "small", "kind", "named", "where", "label", "hide",
    "seek", "crash", "deep", "hang", "tuple", "block", "world",
)  # fmt: skip
PARTS: dict[str, protocol.LocationKind] = {
    **{f"vcpu{n}.pid.pir[{w}]": "word" for n in range(2) for w in range(4)},
    **{f"vcpu{n}.{short}": "word" for n in range(2) for short in ("pid.control", "cpu", "mode", "visr[0]", "virr[0]")},
    **{f"cpu{n}.wakeup_lock": "lock" for n in range(2)},
    **{f"cpu{n}.wakeup_list": "list" for n in range(2)},
    "vm.assigned": "word",
}
WORLD = protocol.WorldMessage(("vcpu0", "vcpu1"), 2, (200,), ("xapic",), PARTS)
OWN = protocol.WorldMessage(("vcpu0",), 1, (), (), {**PARTS, "vcpu0.own": "word"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("described")
    (path / "program.c").write_text(SOURCE)
    (path / "program.toml").write_text(DESCRIPTION.format(routines="\n".join(f'{r} = "{r}"' for r in ROUTINES)))
    return path


@pytest.fixture(scope="module")
def program(folder: Path) -> DescribedProgram:
    made = described(str(folder / "program.toml"))
    made.world = WORLD
    return made


class TestLocations:
    def test_they_are_named_as_the_role_names_them(self, program: DescribedProgram) -> None:
        rows = {name: (kind, size) for kind, _, size, name, _ in program.layout() if kind != "routine"}
        assert rows["vcpu1.pid.pir[3]"] == ("word", 8)
        assert rows["vcpu1.cpu"] == ("word", 4)
        assert rows["vcpu0.visr[0]"] == ("word", 8)
        assert rows["cpu1.wakeup_lock"][0] == "lock" and rows["cpu0.wakeup_list"][0] == "list"
        assert "vcpu0.virr[0]" not in rows, "the program has no such member, and need not"

    def test_accesses(self, program: DescribedProgram) -> None:
        assert program.next("post", ("vcpu1", 200, True), ()) == Load("vcpu1.pid.pir[3]")
        assert program.next("post", ("vcpu1", 200, True), (1,)) == Store("vcpu1.pid.pir[3]", 0x101)
        assert program.next("plain", ("vcpu0",), ()) == Load("vcpu0.pid.control", 0xFF << 16)
        assert program.next("where", ("vcpu1",), ()) == CpuId()
        assert program.next("where", ("vcpu1",), (2,)) == Store("vcpu1.cpu", 3, 0xFFFFFFFF, "seq_cst")
        assert program.next("where", ("vcpu1",), (2, None)) == Store("vm.assigned", 1)

    def test_members_that_are_no_location_are_private(self, program: DescribedProgram) -> None:
        assert program.next("label", ("vcpu0",), ()) == Return(value=True)

    def test_where_each_operation_is_asked_for(self, program: DescribedProgram) -> None:
        program.next("post", ("vcpu0", 1, False), ())
        line = next(n for n, text in enumerate(SOURCE.splitlines(), 1) if "void post" in text)
        assert program.site("post", ("vcpu0", 1, False), ()) == f"program.c:{line}"

    def test_the_scenario_is_known_in_c(self, program: DescribedProgram) -> None:
        assert program.next("world", (), ()) == Return(value=2211)


class TestFunctions:
    @pytest.mark.parametrize(
        ("routine", "args", "results", "value"),
        [
            ("plain", ("vcpu0",), (3 << 16,), -8),
            ("on", ("vcpu0",), (1,), True),
            ("small", (-100, -100), (), 56),
            ("kind", (7,), (), 0),
            ("named", ("hlt", 3), (), 3),
            ("named", ("other", 3), (), -3),
        ],
    )
    def test_arguments_and_results_are_of_the_types_it_declares(
        self, program: DescribedProgram, routine: str, args: tuple[Result, ...], results: tuple[Result, ...], value: int
    ) -> None:
        answer = program.next(routine, args, results)
        assert answer == Return(value=value) and type(answer.value) is type(value)  # type: ignore[union-attr]

    def test_tuples(self, program: DescribedProgram) -> None:
        assert program.next("tuple", ("vcpu0",), ()) == EnterGuest("vcpu0")
        assert program.next("tuple", ("vcpu0",), (("eoi", 200),)) == Return(("leave", "vcpu0", "eoi", 200))
        asked = program.next("tuple", ("vcpu0", (1,)), (("hlt",),))
        assert asked == Return(("leave", "vcpu0", "hlt"), ("hlt",))

    def test_blocking_choosing_waking(self, program: DescribedProgram) -> None:
        results: tuple[Result, ...] = (None, None, 0, None, None, None, True, None, None)
        asked = [program.next("block", ("vcpu1",), results[:n]) for n in range(len(results) + 1)]
        assert asked == [
            PrepareToBlock(), Fence("load"), Choose(("sleep", "stay")), Schedule(), FinishBlock(), Fence("store"),
            Wake("vcpu1"), Lock("cpu1.wakeup_lock"), Unlock("cpu1.wakeup_lock"), Return(),
        ]  # fmt: skip
        assert program.next("block", ("vcpu1",), (None, None, 1)) == FinishBlock()

    def test_a_float_is_not_passed(self, folder: Path) -> None:
        with pytest.raises(DebugInfoError, match="real takes or returns something else than integers"):
            described(str(folder / "program.toml")).debug.function("real")


def line_of(text: str) -> str:
    return f"program.c:{next(n for n, line in enumerate(SOURCE.splitlines(), 1) if text in line)}"


class TestFaults:
    def test_undeclared_memory_that_two_calls_share_is_named(self, program: DescribedProgram) -> None:
        own = program.fresh()
        assert own.next("seek", ("vcpu0",), ()) == Return(value=0)
        told = (
            rf"hidden\[2\] is not shared, but outlives the call: hide writes it at {line_of('hidden[2] = 1')}, "
            rf"and seek reads it at {line_of('int seek')}"
        )
        with pytest.raises(PipeError, match=told) as error:
            own.next("hide", ("vcpu0",), ())
        assert error.value.kind == "undeclared"
        with pytest.raises(PipeError, match=told):
            own.next("seek", ("vcpu0",), ())

    def test_statistics_may_be_left(self, program: DescribedProgram) -> None:
        for n in range(3):
            assert program.next("post", ("vcpu0", n, True), (0, None)) == Return()

    def test_a_crash_names_signal_routine_and_line(self, program: DescribedProgram) -> None:
        told = rf"signal 11 .* at {line_of('*(volatile int *)4')}, after its operation at {line_of('if (v->mode)')}.*crash\('vcpu0'\) "
        with pytest.raises(PipeError, match=told) as error:
            program.next("crash", ("vcpu0",), (1,))
        assert error.value.status == "CRASH"

    def test_endless_recursion_is_a_crash_too(self, program: DescribedProgram) -> None:
        with pytest.raises(PipeError, match=rf"signal 11 .* at {line_of('void deep')}") as error:
            program.next("deep", ("vcpu0",), (0,) * 4000)
        assert error.value.status == "CRASH"

    def test_a_run_that_computes_for_ever_names_the_line(self, program: DescribedProgram) -> None:
        hasty = program.fresh()
        hasty.step_seconds = 0.3
        with pytest.raises(PipeError, match=r"no answer within 300 ms.* at program.c:\d+") as error:
            hasty.next("hang", ("vcpu0",), (None,))
        assert error.value.status == "TIMEOUT"

    def test_more_vcpus_than_the_program_has(self, program: DescribedProgram) -> None:
        world = protocol.WorldMessage(("vcpu0", "vcpu1", "vcpu2"), 1, (), (), {**PARTS, "vcpu2.mode": "word"})
        with pytest.raises(PipeError, match=r"vcpus has no \[2\]; it has 2 elements"):
            program.in_world(world).next("plain", ("vcpu2",), ())


GLUED = r"""
#include "glue.h"
struct { uint64_t mode; char wakeup_lock; } cpus[2];
static void twice(void *lock)
{
    take(lock);
    put_in_line(lock);
}
void both(void *cpu)
{
    (void)cpu;
    twice(&cpus[0].wakeup_lock);
    spoil(cpu);
    remember();
}
"""
GLUE = r"""
#include <intack.h>
static __attribute__((noinline)) void take(void *lock) { intack_lock(lock); }
static inline __attribute__((always_inline)) void put_in_line(void *lock) { intack_unlock(lock); }
static __attribute__((noinline)) void spoil(void *at) { if (*(volatile uint64_t *)at) *(volatile int *)8 = 1; }
static inline int remember(void) { { static int counter; return counter++; } }
"""
GLUED_TOML = """
sources = ["glued.c"]
glue = ["glue.h"]
[routines]
both = "both"
[objects]
cpu = "cpus"
"""


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
class TestGlue:
    """What stands between the code and the suite has no lines of its own; what was called from the code has the code's."""

    @pytest.fixture
    def glued(self, compiler: str, tmp_path: Path) -> DescribedProgram:
        if shutil.which(compiler) is None:
            pytest.skip(f"{compiler} is not installed")
        (tmp_path / "glued.c").write_text(GLUED)
        (tmp_path / "glue.h").write_text(GLUE)
        (tmp_path / "glued.toml").write_text(f'compiler = "{compiler}"\n' + GLUED_TOML)
        made = described(str(tmp_path / "glued.toml"))
        places: dict[str, protocol.LocationKind] = {"mode": "word", "wakeup_lock": "lock"}
        parts: dict[str, protocol.LocationKind] = {
            f"cpu{n}.{short}": kind for n in range(2) for short, kind in places.items()
        }
        made.world = protocol.WorldMessage((), 2, (), (), parts)
        return made

    def line(self, text: str) -> str:
        return f"glued.c:{next(n for n, line in enumerate(GLUED.splitlines(), 1) if text in line)}"

    def test_an_operation(self, glued: DescribedProgram) -> None:
        for results, text in (((), "take(lock)"), ((None,), "put_in_line(lock)"), ((None, None), "spoil(cpu)")):
            glued.next("both", ("cpu0",), results)
            assert glued.site("both", ("cpu0",), results) == self.line(text)

    def test_a_crash(self, glued: DescribedProgram) -> None:
        with pytest.raises(PipeError, match=f"signal 11.* at {self.line('spoil(cpu)')}"):
            glued.next("both", ("cpu0",), (None, None, 1))

    def test_a_static_of_a_function_has_a_name(self, glued: DescribedProgram, tmp_path: Path) -> None:
        name = "remember::counter" if glued.compiler == "gcc" else "counter"  # clang forgets whose it was
        told = f"{name} is not shared, .* writes it at {self.line('remember()')}"
        with pytest.raises(PipeError, match=told):
            glued.next("both", ("cpu0",), (None, None, 0))
        file = tmp_path / "glued.toml"
        file.write_text(f'private = ["{name}"]\n' + file.read_text())
        assert described(str(file)).in_world(glued.world).next("both", ("cpu0",), (None, None, 0)) == Return()


class TestDescription:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (("sources", "source"), "unknown field `source`"),
            (('["program.c"]', "3"), "it does not describe a program: Expected `array`"),
            (("[routines]", "[routines"), "it does not describe a program"),
            (('["program.c"]', '["missing.c"]'), "there is no source .*missing.c"),
            (('post = "post"', 'post = "pots"'), "there is no function pots: did you mean post?"),
            (('"cpus"', '"cpu"'), "no global variable 'cpu'.*there are: .*cpus"),
            (
                ('vcpu = "machine.vcpus"', 'vcpus = "machine.vcpus"'),
                r"\[objects\] has vcpus; there are vcpu, cpu, vm, irq",
            ),
            (
                ('"pid.state"', '"pid.stat"'),
                "the location pid.control of a vcpu should be its member pid.stat: .*state",
            ),
            (("[members]", "[state.vcpu]\nown = 1\n[members]"), "the location own of a vcpu should be its member own"),
        ],
    )
    def test_mistakes_are_named(self, folder: Path, change: tuple[str, str], message: str) -> None:
        text = (folder / "program.toml").read_text()
        assert change[0] in text
        wrong = folder / "wrong.toml"
        wrong.write_text(text.replace(*change, 1))
        with pytest.raises((AdapterError, PipeError), match=message):
            described(str(wrong)).in_world(OWN).next("world", (), ())

    def test_objects_and_a_command_that_makes_them(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "program.c").write_text(SOURCE)
        text = (folder / "program.toml").read_text().replace("program.c", "made.o")
        (tmp_path / "made.toml").write_text('command = "gcc -O1 $INTACK_CFLAGS -c program.c -o made.o"\n' + text)
        program = described(str(tmp_path / "made.toml")).in_world(WORLD)
        assert program.next("post", ("vcpu1", 200, True), ()) == Load("vcpu1.pid.pir[3]")
        (tmp_path / "made.toml").write_text('command = "exit 3"\n' + text)
        with pytest.raises(PipeError, match="the command failed: exit 3"):
            described(str(tmp_path / "made.toml")).build()

    def test_flags_are_relative_to_the_file_as_sources_are(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "include").mkdir()
        (tmp_path / "include" / "more.h").write_text("")
        (tmp_path / "program.c").write_text("#include <more.h>\n" + SOURCE)
        text = (folder / "program.toml").read_text()
        (tmp_path / "program.toml").write_text('cflags = ["-Iinclude"]\n' + text)
        program = described(str(tmp_path / "program.toml")).in_world(WORLD)
        assert program.next("post", ("vcpu1", 200, True), ()) == Load("vcpu1.pid.pir[3]")

    def test_there_is_no_such_file(self) -> None:
        with pytest.raises(AdapterError, match="cannot read it: No such file"):
            resolve("native:no-such.toml")

    def test_a_program_without_debug_information(self, folder: Path, tmp_path: Path) -> None:
        bare = tmp_path / "bare"
        shutil.copy(described(str(folder / "program.toml")).build(), bare)
        subprocess.run(["strip", "-g", str(bare)], check=True)
        with pytest.raises(DebugInfoError, match="no global variable 'machine' with debug information"):
            DebugInfo(bare).object("machine")


class TestCommands:
    def test_build_says_what_is_where(self, tmp_path: Path) -> None:
        example = Path(__file__).parent.parent / "examples" / "c" / "posted.toml"
        done = CliRunner().invoke(cli, ["build", str(example), "-o", str(tmp_path / "program")])
        assert done.exit_code == 0, done.output
        assert (tmp_path / "program").stat().st_mode & 0o100
        lines = [" ".join(line.split()) for line in done.output.splitlines()]
        assert "word vcpu0.pid.control vcpus[0].pid.control, 8 bytes" in lines
        assert any(line.startswith("routine put posted.c:") and line.endswith("(v p b)") for line in lines)
        failed = CliRunner().invoke(cli, ["build", str(Path(__file__))])
        assert failed.exit_code and "does not describe a program" in failed.output


def test_a_counterexample_shows_lines(tmp_path: Path) -> None:
    example = Path(__file__).parent.parent / "examples" / "c"
    text = (example / "posted.c").read_text()
    (tmp_path / "posted.c").write_text(text.replace("if (test_and_set(&v->pid.control, ON))", "if (0)"))
    shutil.copy(example / "posted.toml", tmp_path)
    (scenario,) = (s for s in SUITE.scenarios if s.name == "one-sender")
    found = explore(resolve(f"native:{tmp_path}/posted.toml"), scenario, SUITE).counterexamples["E2E-11"]
    table = plain(lane_table(found, "E2E-11"))
    lines = text.splitlines()
    posts = next(n for n, line in enumerate(lines, 1) if "return atomic_fetch_or(word, bit)" in line)
    assert f"or PIR[200] 1, was 0 @posted.c:{posts}" in table
    assert Rmw("x", "or", 1).how in table
    told = plain(
        lane_table(found, "E2E-11", source={f"posted.c:{posts}": "return atomic_fetch_or(word, bit) & bit; " * 3})
    )
    assert told.count("atomic_fetch_or(word,") == 1, "the first time, and cut"
