"""Results that are kept: nothing is found out twice, nothing is believed once anything that it rests on has changed."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import msgspec
import pytest
import tiny_suite

from conformance.adapters.registry import Implementation, resolve
from conformance.automaton import determinism
from conformance.automaton.assembly import recorded
from conformance.verdict import ingredients, kept, store
from conformance.verdict.events import ScenarioExplored
from conformance.verdict.explore import Explored
from conformance.verdict.judge import Judge
from conformance.verdict.run import Run
from conformance.verdict.store import Store
from conformance.verdict.suite import Suite
from conformance.verdict.work import Check, Explore, Item, Least, Work
from properties.suite import SUITE
from reference.x86.kvm import Kvm

RESTORE, HALT, POST = Explore(scenario="save-restore"), Explore(scenario="halt-closed"), Explore(scenario="one-sender")
ALONE = Check(clause="PID-9")
LEAST = Least(scenario="one-sender", clause="E2E-11")
RIGHT, WRONG = "reference.x86.kvm:Kvm", "reference.known_bad.x86.harvest:InterruptsOnAfterMode"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where results are kept here."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(ingredients, "LOADED", float("inf"))  # whoever edits the suite while its tests run
    return tmp_path / "cache" / "intack" / "results"


Write = Callable[..., str]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a module with a class Mine, and answers its SPEC; again, and it is another one."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a file that changes twice in a second

    def write(text: str, module: str = "mine") -> str:
        (tmp_path / f"{module}.py").write_text(text)
        for name in ("mine", module):
            sys.modules.pop(name, None)
        if determinism._running:  # it has loaded what was there before
            determinism._running.end()
        return f"{module}:Mine"

    return write


def work(of: str | Implementation, suite: Suite = SUITE, profile: str = "kvm") -> Work:
    return kept.work(resolve(of) if isinstance(of, str) else of, profile, suite)


def reused(of: str | Implementation, *items: Item, suite: Suite = SUITE, profile: str = "kvm") -> list[bool]:
    """Of each item whether it was known. What is known is what would be found."""
    does = work(of, suite, profile)
    done = [does.done(item) for item in items]
    anew = Work(does.implementation, profile, suite)
    for item, one in zip(items, done, strict=True):
        if one.kept:
            assert msgspec.json.encode(one.result) == msgspec.json.encode(anew.do(item))
    return [one.kept for one in done]


def mine(base: str, body: str = "    pass", before: str = "") -> str:
    module, _, cls = base.partition(":")
    return f"from {module} import {cls}\n{before}\nclass Mine({cls}):\n{body}\n"


def saving(first: str, before: str = "") -> str:
    """Does something more where the save-restore scenario, and no other one here, asks for a routine."""
    body = f"    def save_restore(self, cpu, vcpu, *args):\n        {first}\n        return super().save_restore(cpu, vcpu, *args)"
    return mine(RIGHT, body, before)


# Reused


@pytest.mark.parametrize("spec", ["reference", "known-bad:B17"])
def test_what_ships_with_the_suite_is_known_by_its_code(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    items = (HALT, POST, ALONE, LEAST)
    assert reused(spec, *items) == [False] * 4
    assert reused(spec, *items) == [True] * 4
    monkeypatch.setattr("conformance.verdict.kept.Again", None)  # nobody is asked
    assert [work(spec).done(item).kept for item in items] == [True] * 4


def test_what_does_not_is_asked_again(written: Write) -> None:
    spec = written(mine(WRONG))
    assert reused(spec, HALT, POST, ALONE, LEAST) == [False] * 4
    assert reused(spec, HALT, POST, ALONE, LEAST) == [True] * 4
    spec = written(mine(WRONG, '    """Documented, which makes no difference."""'))
    assert reused(spec, HALT, POST, ALONE, LEAST) == [True] * 4


def test_only_where_a_changed_routine_takes_part_is_explored_anew(written: Write) -> None:
    """Which scenarios those are, their automata tell."""
    items = [Explore(scenario=name) for name in (*tiny_suite.SCENARIOS, "one-sender")]
    reused(written(mine(RIGHT)), *items)
    spec = written(saving("cpu.fence()"))
    found = dict(zip(items, reused(spec, *items), strict=True))
    takes_part = {}
    for item in items:
        with recorded() as made:
            Work(resolve(spec), "kvm", SUITE).do(item)
        takes_part[item] = any(
            q[0] == "save_restore" for a in made for u in a.assembly.unfoldings() for q, _ in u.asked
        )
    assert set(takes_part.values()) == {True, False}
    assert found == {item: not took for item, took in takes_part.items()}


def test_a_routine_of_the_reference_that_has_changed_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own code is no ingredient of the others' results: whoever works on the reference gains, too."""
    spec = "known-bad:B17"
    assert reused(spec, HALT, POST) == [False, False]
    source = ingredients.source
    monkeypatch.setattr(ingredients, "source", lambda package: source(package) + "changed" * (package == "reference"))
    assert reused(spec, HALT, POST) == [True, True]
    with monkeypatch.context() as nobody:
        nobody.setattr("conformance.verdict.kept.Again", None)  # is asked a second time
        assert [work(spec).done(item).kept for item in (HALT, POST)] == [True, True]
    monkeypatch.setattr(ingredients, "source", lambda package: source(package) + "again" * (package == "reference"))
    cls = resolve(spec).roles[next(iter(resolve(spec).roles))]
    monkeypatch.setattr(cls, "deliver_interrupt", lambda self, cpu, vcpu, vector: cpu.fence())
    assert reused(spec, HALT, POST) == [True, False]


def test_a_run_is_the_same_to_the_byte(written: Write) -> None:
    """Whatever was known, and in however many processes. A second run finds out nothing."""
    spec = written(mine(RIGHT, "    def purge(self, cpu, vcpu):\n        pass"))

    def run(keeps: bool, workers: int) -> tuple[bytes, set[bool]]:
        implementation = resolve(spec)
        does = kept.work(implementation, "kvm", tiny_suite.SUITE) if keeps else None
        judge = Judge(implementation, "kvm", tiny_suite.SUITE, work=does)
        events = list(Run(judge, tiny_suite.SUITE.clauses, workers).events())
        return msgspec.json.encode(events[-1]), {e.kept for e in events if hasattr(e, "kept")}  # type: ignore[attr-defined]

    plain, none = run(keeps=False, workers=0)
    assert none == {False}
    assert run(keeps=True, workers=2) == (plain, {False})
    assert run(keeps=True, workers=2) == (plain, {True})
    assert run(keeps=True, workers=0) == (plain, {True})


# Ingredients


def test_a_module_that_it_imports(written: Write) -> None:
    written("FENCES = 1", "helper")
    spec = written(saving("for _ in range(helper.FENCES): cpu.fence()", "import helper"))
    assert reused(spec, RESTORE, HALT) == [False, False]
    assert reused(spec, RESTORE, HALT) == [True, True]
    written("FENCES = 2", "helper")
    assert reused(spec, RESTORE, HALT) == [False, True]


@pytest.mark.parametrize("reads", ["os.environ['FENCES']", "pathlib.Path(os.environ['A_FILE']).read_text()"])
def test_what_it_reads_elsewhere(reads: str, written: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = written(saving(f"for _ in range(int({reads})): cpu.fence()", "import os, pathlib"))
    monkeypatch.setenv("A_FILE", str(tmp_path / "a-file"))
    found = []
    for fences in "1121":
        (tmp_path / "a-file").write_text(fences)
        monkeypatch.setenv("FENCES", fences)
        found += reused(spec, RESTORE)
    assert found == [False, True, False, False]


def test_a_scenario() -> None:
    class Changed(tiny_suite.TinySuite):
        scenarios = tuple(
            msgspec.structs.replace(s, cpus=s.cpus + 1) if s.name == HALT.scenario else s
            for s in tiny_suite.SUITE.scenarios
        )

    assert reused(RIGHT, RESTORE, HALT, suite=tiny_suite.SUITE) == [False, False]
    assert reused(RIGHT, RESTORE, HALT, suite=Changed()) == [True, False]


def test_a_profile() -> None:
    assert reused(RIGHT, HALT) + reused(RIGHT, HALT, profile="strict") + reused(RIGHT, HALT) == [False, False, True]


@pytest.mark.parametrize(
    "change",
    [
        {"lacks": ("xapic",)},
        {"not_applicable": {"PID-9": "it is not mine"}},
        {"profile": "strict"},
        {"name": "another", "spec": "another"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_it_declares(change: dict[str, object]) -> None:
    implementation = resolve(RIGHT)
    assert reused(implementation, HALT, ALONE) == [False, False]
    assert reused(dataclasses.replace(implementation, **change), HALT, ALONE) == [False, False]  # type: ignore[arg-type]
    assert reused(implementation, HALT, ALONE) == [True, True]


@pytest.mark.parametrize(
    "body",
    [
        "    vcpu_state = {**Kvm.vcpu_state, 'mine': Shared()}",
        "    cpu_state = {**Kvm.cpu_state, 'mine': Shared(7)}",
        "    handlers = {**Kvm.handlers, 0x77: 'wakeup_handler'}",
    ],
)
def test_state_and_handlers(body: str, written: Write) -> None:
    before = "from conformance.roles.location import Shared"
    assert reused(written(mine(RIGHT, before=before)), HALT) == [False]
    assert reused(written(mine(RIGHT, body, before=before)), HALT) == [False]
    assert reused(written(mine(RIGHT, before=before)), HALT) == [True]


@pytest.mark.parametrize("package", ["conformance", "properties"])
def test_the_machinery_and_the_suite(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Monitors, clauses and the catalogue are code of `properties`."""
    assert reused(RIGHT, HALT, ALONE) == [False, False]
    source = ingredients.source
    monkeypatch.setattr(ingredients, "source", lambda name: source(name) + "changed" * (name == package))
    assert reused(RIGHT, HALT, ALONE) == [False, False]


@pytest.mark.parametrize("library", ingredients.LIBRARIES)
def test_libraries(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, version = ingredients.machinery(), ingredients.importlib.metadata.version
    monkeypatch.setattr("importlib.metadata.version", lambda name: version(name) + ".1" * (name == library))
    assert ingredients.machinery() != before


def test_python(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ingredients.machinery()
    monkeypatch.setattr(sys, "version", "3.99")
    assert ingredients.machinery() != before


def test_every_file_of_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changed, added, renamed, removed; of whatever kind, however deep."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "a_package" / "deep" / "__pycache__").mkdir(parents=True)
    seen = []

    def write(name: str, text: str) -> None:
        (tmp_path / "a_package" / name).write_text(text)
        seen.append(ingredients.source.__wrapped__("a_package"))

    write("__init__.py", "")
    write("deep/header.h", "1")
    write("deep/header.h", "2")
    (tmp_path / "a_package" / "deep" / "header.h").rename(tmp_path / "a_package" / "deep" / "other.h")
    write("__init__.py", "# more")
    write("__init__.py", "")
    assert len(set(seen)) == len(seen)
    write("deep/__pycache__/header.pyc", "3")
    assert seen[-1] == seen[-2]


def test_what_has_changed_since_it_was_loaded(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows what of it runs: nothing is known then, and nothing kept."""
    assert reused(RIGHT, HALT) == [False]
    monkeypatch.setattr(ingredients, "LOADED", 0.0)
    assert reused(RIGHT, HALT, RESTORE) == [False, False]
    assert len(list(cache.iterdir())) == 1


def test_what_changes_in_the_course_of_a_run(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    does = work(RIGHT)
    monkeypatch.setattr(ingredients, "LOADED", 0.0)
    does.do(HALT)
    assert not cache.exists()


# Programs

NODE, GCC = (pytest.mark.skipif(not shutil.which(tool), reason=f"{tool} is not installed") for tool in ("node", "gcc"))
EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def native(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example in C, with its vectors in a header."""
    monkeypatch.setattr("conformance.adapters.native.cache._own", None)
    text = (EXAMPLES / "c" / "posted.c").read_text()
    (vectors,) = [line for line in text.splitlines(keepends=True) if line.startswith("enum { PINV")]
    (tmp_path / "posted.c").write_text(text.replace(vectors, '#include "vectors.h"\n'))
    (tmp_path / "vectors.h").write_text(vectors)
    shutil.copy(EXAMPLES / "c" / "posted.toml", tmp_path)
    return tmp_path


@GCC
def test_a_native_header(native: Path) -> None:
    spec = f"native:{native / 'posted.toml'}"
    assert reused(spec, POST, LEAST) == [False, False]
    assert reused(spec, POST, LEAST) == [True, True]
    header = native / "vectors.h"
    header.write_text(header.read_text().replace("PINV = 0xf2", "PINV = 0xf3"))
    assert reused(spec, POST, LEAST) == [False, False]


@GCC
def test_a_line_that_moves_is_another_place_in_a_schedule(native: Path) -> None:
    """And makes no other difference: only what tells places is found out again."""
    code = native / "posted.c"
    code.write_text(code.read_text().replace("intack_send_ipi(WAKEUP, INTACK_SELF)", "(void)0"))
    spec = f"native:{native / 'posted.toml'}"
    broken = Explore(scenario="one-device")
    result = work(spec).do(broken)
    assert isinstance(result, Explored) and result.counterexamples
    least = Least(scenario="one-device", clause=min(result.counterexamples))
    assert reused(spec, broken, least) == [True, False]
    assert reused(spec, least) == [True]
    code.write_text("\n" + code.read_text())
    assert reused(spec, broken, least) == [True, False]


@NODE
def test_a_program_behind_a_pipe(tmp_path: Path) -> None:
    program = tmp_path / "posted.mjs"
    text = (EXAMPLES / "pipe" / "posted.mjs").read_text()
    program.write_text(text)
    spec = f"exec:node {program}"
    assert reused(spec, HALT, POST) == [False, False]
    assert reused(spec, HALT, POST) == [True, True]
    assert text.count("0xf2") == 1
    program.write_text(text.replace("0xf2", "0xf3"))
    assert reused(spec, POST) == [False]


# What is no function


def counting(most: int) -> str:
    """Asked often enough, it does something else."""
    return saving(f"CALLS[0] += 1; cpu.fence() if CALLS[0] <= {most} else cpu.irq_disable()", "CALLS = [0]")


@pytest.mark.parametrize("most", [1, 5])
def test_one_that_contradicts_itself_is_found_all_the_same(most: int, written: Write) -> None:
    """Though its first answers are what they were when it did not."""
    steady = counting(1_000_000)
    assert reused(written(steady), RESTORE) == [False]
    assert reused(written(steady), RESTORE) == [True]
    for _ in range(2):
        done = work(written(counting(most))).done(RESTORE)
        assert not done.kept
        assert isinstance(done.result, Explored) and done.result.fault_status == "NONDETERMINISTIC"


def test_one_that_remembers_nothing_before_the_second_look(written: Write) -> None:
    """So many questions are asked in all that the first time round nothing shows."""
    with recorded() as made:
        Work(resolve(written(counting(1_000_000))), "kvm", SUITE).do(RESTORE)
    asked = sum(q[0] == "save_restore" for a in made for u in a.assembly.unfoldings() for q, _ in u.asked)
    assert reused(written(counting(1_000_000)), RESTORE) == [False]
    assert not work(written(counting(asked))).done(RESTORE).kept


def test_what_holds_in_this_process_alone(written: Write) -> None:
    """What was found broken is asked about in a fresh process, too."""
    text = mine(
        WRONG,
        "    def deliver_interrupt(self, cpu, vcpu, vector):\n%s        super().deliver_interrupt(cpu, vcpu, vector)",
    )
    assert reused(written(text % ""), POST) == [False]
    spec = written(
        "import os, sys\n"
        + text % "        if 'conformance.verdict.kept' not in sys.modules:\n            cpu.fence()\n"
    )
    done = work(spec).done(POST)
    assert not done.kept
    assert isinstance(done.result, Explored) and done.result.fault_status == "NONDETERMINISTIC"


@pytest.mark.parametrize(
    "does", ["raise ValueError", "while True: pass", "cpu.store(vcpu.requests, random.getrandbits(60))"]
)
def test_what_may_end_otherwise_the_next_time_is_not_kept(
    does: str, written: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conformance.adapters.python.SECONDS_A_QUESTION", 0.2)
    spec = written(saving(does, "import random"))
    least = Least(scenario=RESTORE.scenario, clause=tiny_suite.HELD)
    for _ in range(2):
        anew = work(spec)
        result = anew.do(RESTORE)
        assert isinstance(result, Explored) and result.fault_status in kept.CHANCE
        assert not any(anew.done(item).kept for item in (RESTORE, least))


class Dies(Kvm):
    """Takes its whole process along, in one scenario."""

    def save_restore(self, *_: object) -> None:  # type: ignore[override]
        os._exit(9)


def test_what_dies_is_not_kept_and_takes_nothing_along() -> None:
    suite, spec = tiny_suite.SUITE, f"{__name__}:{Dies.__name__}"
    for known in (set(), {"reset", "halt-closed"}):
        judge = Judge(resolve(spec), "kvm", suite, work=work(spec, suite))
        events = [e for e in Run(judge, suite.clauses, 2).events() if isinstance(e, ScenarioExplored)]
        assert {e.result.scenario for e in events if e.result.fault} == {"save-restore"}
        assert {e.result.scenario for e in events if e.kept} == known


# The two front ends


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """An environment with a suite that may be changed: the tiny one, copied."""
    shutil.copy(tiny_suite.__file__, tmp_path / "tiny_suite.py")
    environment = {**os.environ, **tiny_suite.installed(tmp_path / "installed")}
    del environment["INTACK_NO_CACHE"]
    return {**environment, "PYTHONPATH": f"{tmp_path}{os.pathsep}{environment['PYTHONPATH']}"}


@pytest.mark.slow
def test_the_command(tmp_path: Path, cache: Path, installed: dict[str, str]) -> None:
    """The same report to the byte, whatever is known; --durations tells what is."""

    def run(*options: str, **environment: str) -> tuple[str, bytes, bool]:
        command = [sys.executable, "-m", "conformance", "run", "-a", WRONG, "--durations", "99", *options]
        done = subprocess.run(
            [*command, "--report", "report.json"],
            cwd=tmp_path,
            env={**installed, **environment},
            capture_output=True,
            text=True,
        )
        assert "Traceback" not in done.stderr
        (total,) = [line for line in done.stderr.splitlines() if " together" in line]
        return done.stdout, (tmp_path / "report.json").read_bytes(), "kept from earlier runs" in total

    plain = run("--no-cache")
    assert not cache.exists()
    assert not plain[2]
    first, second = run(), run("-n", "0")
    assert first == plain
    assert second == (*plain[:2], True)
    assert run("--no-cache") == run(INTACK_NO_CACHE="1") == plain
    suite = tmp_path / "tiny_suite.py"
    suite.write_text(suite.read_text() + "# a monitor might be here\n")
    assert run() == plain
    assert run() == second


@pytest.mark.slow
def test_the_plugin(tmp_path: Path, cache: Path, installed: dict[str, str]) -> None:
    """Nothing is found out, and so nothing written, a second time."""

    def run(*options: str) -> set[tuple[str, int]]:
        command = [sys.executable, "-m", "pytest", "-q", "--pyargs", "properties", "-p", "no:cacheprovider", *options]
        done = subprocess.run(command, cwd=tmp_path, env=installed, capture_output=True, text=True)
        assert "3 passed" in done.stdout, done.stdout + done.stderr
        return {(path.name, path.stat().st_ino) for path in cache.iterdir()} if cache.exists() else set()

    assert not run("--intack-no-cache")
    found = run("-n", "2")
    assert found
    assert run("-n", "2") == found
    for path in cache.iterdir():
        path.unlink()
    assert run("-n", "0")


# The store


@pytest.fixture
def one(cache: Path) -> Path:
    """The file of the one result that is kept, which is that of HALT."""
    work(RIGHT).do(HALT)
    (path,) = cache.iterdir()
    return path


@pytest.mark.parametrize("keeps", [0.0, 0.5, 0.99])
def test_a_damaged_record_is_replaced(one: Path, keeps: float) -> None:
    whole = one.read_bytes()
    one.write_bytes(whole[: int(len(whole) * keeps)])
    assert reused(RIGHT, HALT) + reused(RIGHT, HALT) == [False, True]


def test_no_bit_of_a_record_can_change_unnoticed(one: Path) -> None:
    whole = one.read_bytes()
    for n in range(0, len(whole), max(1, len(whole) // 40)):
        one.write_bytes(whole[:n] + bytes([whole[n] ^ 4]) + whole[n + 1 :])
        found = Store(one.parent).load(one.name)
        assert found is None or found == Store(one.parent).load(one.name)
        if found is not None:
            one.write_bytes(whole)
            assert found == Store(one.parent).load(one.name)


@pytest.mark.parametrize("content", [b"", b"null", b"{}", b'{"result":{},"code":"","asked":[]}', b"\xff\xfe", b"[[[["])
def test_garbage_is_no_record(one: Path, content: bytes) -> None:
    Store(one.parent).save(one.name, content)
    assert reused(RIGHT, HALT) + reused(RIGHT, HALT) == [False, True]


def test_a_folder_where_a_record_should_be(one: Path) -> None:
    one.unlink()
    one.mkdir()
    assert reused(RIGHT, HALT) == [False]


def test_without_a_cache_that_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert reused(RIGHT, HALT) + reused(RIGHT, HALT) == [False, False]


def test_what_was_used_longest_ago_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept_here = Store(tmp_path)
    for n, name in enumerate("abcd"):
        kept_here.save(name, os.urandom(1000))
        os.utime(tmp_path / name, (n, n))
    left = tmp_path / f"{store.HALF_WRITTEN}left"
    left.write_bytes(b"half of")
    os.utime(left, (5, 5))
    assert kept_here.load("a")  # now
    monkeypatch.setattr(store, "MOST_BYTES", 3000)
    kept_here.trim()
    assert {path.name for path in tmp_path.iterdir()} == {"a", "d"}


def _save(folder: Path, n: int) -> None:
    for _ in range(50):
        Store(folder).save("key", bytes([n]) * 100_000)
        found = Store(folder).load("key")
        assert found is not None and len(found) == 100_000 and len(set(found)) == 1


def test_two_at_once(tmp_path: Path) -> None:
    """Each sees a whole record, of its own or the other's."""
    both = [get_context("fork").Process(target=_save, args=(tmp_path, n)) for n in (1, 2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
