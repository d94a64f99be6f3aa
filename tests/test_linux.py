"""The kernel's own source as an implementation: trees, functions cut out of them, patches, and what the suite says of them."""

from __future__ import annotations

import re
import shutil
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from kernel_lines import functions_named

from conformance.adapters.native import NativeError, NativeUnavailableError
from conformance.adapters.registry import AdapterError, resolve
from conformance.commands.main import cli
from conformance.roles.scenario import Scenario
from conformance.verdict import ingredients, kept
from conformance.verdict.explore import Explored, explore
from conformance.verdict.work import Done, Explore
from properties.suite import SUITE
from reference.linux import tree as trees
from reference.linux.patch import changed_lines, patched
from reference.linux.program import Cut, Edit, edited, taken
from reference.linux.slice import CFile
from reference.linux.tree import PACKAGES, Tree, tree_of
from reference.linux.x86 import HERE, parts_of
from reference.linux.x86.mends import MENDS, Mend
from reference.linux.x86.undone import UNDONE, Undone

SCENARIOS = {scenario.name: scenario for scenario in SUITE.scenarios}
OLD, NEW = "linux-source-6.1", "linux-source-6.12"
FULLY = pytest.mark.slow

SMALL = """\
#include <linux/types.h>
static DEFINE_PER_CPU(int, counter);

static inline int twice(int n)
{
\treturn 2 * n;
}

#ifdef CONFIG_SMP
int *pointer_to(struct list_head *head)
{
\tlist_for_each_entry(one, head, member) {
\t\tif (one)
\t\t\treturn &one->number;
\t}
\treturn NULL;
}
EXPORT_SYMBOL_GPL(pointer_to);
#endif

void __init either(void) { twice(1); }
#ifdef A
void both(void) { }
#else
void both(void) { twice(2); }
#endif
"""


def source(package: str) -> str:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    if not (PACKAGES / f"{package}.tar.xz").exists():
        pytest.skip(f"no kernel source is installed: apt-get install {package}")
    return package


def found(argument: str, scenario: Scenario) -> Explored:
    return explore(resolve(f"linux-x86:{argument}"), scenario, SUITE, profile="strict")


class TestTree:
    def test_the_release_is_what_the_makefile_says(self, tmp_path: Path) -> None:
        assert Tree(tmp_path).release == "unknown"
        (tmp_path / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 9\nEXTRAVERSION = -rc1\n")
        assert tree_of(str(tmp_path)).release == "6.12.9"

    def test_an_archive_is_unpacked_once_and_only_what_is_needed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        for name in ("Makefile", "virt/kvm/kvm_main.c", "sound/core.c"):
            (tmp_path / "linux" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "linux" / name).write_text(name)
        with tarfile.open(tmp_path / "linux.tar.xz", "w:xz") as archive:
            archive.add(tmp_path / "linux", "linux")
        tree = tree_of(str(tmp_path / "linux.tar.xz"))
        assert tree.read("virt/kvm/kvm_main.c") == "virt/kvm/kvm_main.c" and not tree.has("sound/core.c")
        monkeypatch.setattr(trees, "_unpack", lambda *_: pytest.fail("unpacked again"))
        assert tree_of(str(tmp_path / "linux.tar.xz")).root == tree.root
        monkeypatch.undo()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setattr(trees, "KEPT", (*trees.KEPT, "sound/"))
        assert tree_of(str(tmp_path / "linux.tar.xz")).has("sound/core.c")

    def test_what_is_no_tree_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "broken.tar.xz").write_text("no archive")
        with pytest.raises(NativeError, match=r"broken.tar.xz cannot be read .*Install it again"):
            tree_of(str(tmp_path / "broken.tar.xz"))
        with pytest.raises(NativeError, match="is no folder: name the top directory"):
            tree_of(str(tmp_path / "nowhere"))
        monkeypatch.setattr(trees, "PACKAGES", tmp_path)
        with pytest.raises(NativeUnavailableError, match=r"apt-get install linux-source-5\.4"):
            tree_of("linux-source-5.4")
        with pytest.raises(AdapterError, match=r"vmx/posted_intr.h is not readable \(No such file"):
            resolve(f"linux-x86:{tmp_path}")


class TestSlice:
    def test_functions_come_whole_with_their_lines(self) -> None:
        cut = CFile("small.c", SMALL).cut(["pointer_to", "twice"])
        assert cut.startswith(
            '#line 4 "small.c"\nstatic inline int twice(int n);\n#line 10 "small.c"\nint *pointer_to('
        )
        assert cut.endswith("return NULL;\n}\n") and "EXPORT_SYMBOL" not in cut

    @pytest.mark.parametrize(("name", "why"), [("absent", "absent is not in it"), ("both", "both is defined 2 times")])
    def test_what_cannot_be_cut_is_told_by_name(self, name: str, why: str) -> None:
        with pytest.raises(NativeError, match=f"small.c: {why}"):
            CFile("small.c", SMALL).cut([name])

    def test_assembly_that_touches_memory_is_told_by_function_and_line(self) -> None:
        text = (
            SMALL
            + """
static void barrier_only(void) { asm volatile("" ::: "memory"); }
static void in_registers(int n) { asm("bsf %1,%0" : "=r"(n) : "r"(n)); }
static void locked(long *at)
{
\tasm volatile("lock incl %0" : "+m"(*at));
}
static void hidden(long at) { asm volatile("lock incl (%0)" : : "r"(at) : "memory"); }
"""
        )
        at = text[: text.index("\tasm volatile(")].count("\n") + 1
        file = CFile("small.c", text)
        assert file.unseen() == [f"small.c:{at}: locked", f"small.c:{at + 2}: hidden"]
        assert file.unseen(["barrier_only", "in_registers", "hidden"]) == [f"small.c:{at + 2}: hidden"]

    def test_an_edit_leaves_the_lines_after_it_where_they_are(self) -> None:
        file = edited(CFile("small.c", SMALL), Edit("pointer_to", "if (one) return &one->number;", "continue;"))
        assert "continue;" in file.text and file.text.count("\n") == SMALL.count("\n")
        with pytest.raises(NativeError, match=r"occurs 0 times in small\.c: twice"):
            edited(file, Edit("twice", "3 *", ""))

    @pytest.mark.parametrize("package", [NEW, pytest.param(OLD, marks=FULLY)])
    def test_no_function_of_the_files_is_cut_short(self, package: str) -> None:
        tree = tree_of(source(package))
        for part in parts_of(tree):
            for name, functions in CFile(part.file, tree.read(part.file)).functions.items():
                for function in functions:
                    code = re.sub(
                        r'/\*.*?\*/|//[^\n]*|"(\\.|[^"\\])*"|\'(\\.|[^\'\\])*\'', "", function.text, flags=re.DOTALL
                    )
                    assert code.endswith("}") and code.count("{") == code.count("}"), (part.file, name)


class TestPatch:
    PATCH = "--- a/small.c\n+++ b/small.c\n@@ -{at},3 +{at},3 @@\n {{\n-\treturn 2 * n;\n+\treturn n + n;\n }}\n"

    @pytest.mark.parametrize("at", [5, 25])
    def test_it_fits_where_its_lines_are(self, tmp_path: Path, at: int) -> None:
        (tmp_path / "a.patch").write_text(self.PATCH.format(at=at))
        (new,) = patched(tmp_path / "a.patch", lambda file: SMALL).values()
        assert new == SMALL.replace("2 * n", "n + n") and changed_lines(SMALL, new) == {6}

    def test_of_a_deletion_it_is_the_line_after_it(self) -> None:
        assert changed_lines("a\nb\nc\n", "a\nc\n") == {2}

    def test_one_that_does_not_fit_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "a.patch").write_text(self.PATCH.format(at=5).replace("2 * n", "3 * n"))
        with pytest.raises(NativeError, match=r"does not fit this tree: small.c has nowhere .* line 5"):
            patched(tmp_path / "a.patch", lambda file: SMALL)
        (tmp_path / "b.patch").write_text("hello\n")
        with pytest.raises(NativeError, match="is no patch"):
            patched(tmp_path / "b.patch", lambda file: SMALL)


@pytest.fixture(scope="module")
def helper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A patch to 6.12 that moves the wake-up into a function of its own, and one that leaves it out."""
    text = tree_of(source(NEW)).read("arch/x86/kvm/vmx/vmx.c")
    (line,) = (n for n, one in enumerate(text.splitlines(), 1) if one == "\tkvm_vcpu_wake_up(vcpu);")
    head = text[: text.index("static inline void kvm_vcpu_trigger_posted_interrupt")].count("\n") + 1
    folder = tmp_path_factory.mktemp("patches")
    old = text.splitlines()
    for name, body in (("moved", "\tkvm_vcpu_wake_up(v);"), ("lost", "")):
        added = ["static void wake_it(struct kvm_vcpu *v)", "{", body, "}"]
        hunks = [f"@@ -{head},1 +{head},5 @@", *(f"+{one}" for one in added), f" {old[head - 1]}"]
        hunks += [f"@@ -{line},1 +{line + 4},1 @@", f"-{old[line - 1]}", "+\twake_it(vcpu);"]
        lines = ["--- a/arch/x86/kvm/vmx/vmx.c", "+++ b/arch/x86/kvm/vmx/vmx.c", *hunks]
        (folder / f"{name}.patch").write_text("\n".join(lines) + "\n")
    return folder


class TestX86:
    @pytest.mark.parametrize("package", [NEW, pytest.param(OLD, marks=FULLY)])
    @pytest.mark.parametrize("scenario", ["no-device", pytest.param("unassign", marks=FULLY)])
    def test_a_vcpu_sleeps_on_a_posted_vector(self, package: str, scenario: str) -> None:
        explored = found(source(package), SCENARIOS[scenario])
        assert "E2E-10" in explored.counterexamples and explored.complete
        sites = {fact.site for step in explored.counterexamples["E2E-10"].trace for fact in step.facts}
        files = {site.partition(":")[0] for site in sites if site}
        assert {"vmx.c", "posted_intr.c", "kvm_main.c"} <= files and not any("posted_intr.h" in file for file in files)

    @FULLY
    @pytest.mark.parametrize("package", [OLD, NEW])
    def test_with_ipi_virtualization_it_does_not(self, package: str) -> None:
        explored = found(source(package), SCENARIOS["ipi-virtualization"])
        assert explored.complete and not explored.counterexamples and not explored.fault

    @pytest.mark.parametrize(
        "undone",
        [pytest.param(u, id=u.commits, marks=() if u.quick else FULLY) for u in UNDONE],
    )
    def test_an_undone_fix_is_found(self, undone: Undone) -> None:
        argument = f"{source(NEW)}~{undone.name}"
        if not undone.scenario:
            asked = ["run", "-a", f"linux-x86:{argument}", "--profile", "kvm", "-n0", "--no-cache", "-q"]
            told = CliRunner().invoke(cli, [*asked, *(f"--clause={c}" for c in undone.clauses)])
            assert "1 DEVIATES" in told.output, told.output
            return
        explored = found(argument, SCENARIOS[undone.scenario])
        broken = explored.counterexamples.keys() & set(undone.clauses)
        assert broken and not explored.fault
        tree = tree_of(NEW)
        named = functions_named(tree, parts_of(tree), explored.counterexamples[min(broken)].trace)
        assert named & {edit.function for edit in undone.edits} or undone.elsewhere in named

    @FULLY
    @pytest.mark.parametrize("package", [OLD, NEW])
    @pytest.mark.parametrize("undone", [pytest.param(u, id=u.commits) for u in UNDONE if u.scenario])
    def test_where_it_is_not_undone_nothing_of_it_is_found(self, undone: Undone, package: str) -> None:
        if package == OLD and undone.since != "6.1":
            pytest.skip("6.1 does not have the fix: see docs/findings.md")
        explored = found(source(package), SCENARIOS[undone.scenario])
        inhibited = {"E2E-1", "KVM-ENT-7", "KVM-ENT-10", "KVM-ENT-11"}  # number 8 of docs/findings.md
        known = inhibited if package == OLD and "inhibited" in undone.scenario else set[str]()
        assert not explored.fault and not (explored.counterexamples.keys() & set(undone.clauses)) - known

    @FULLY
    @pytest.mark.parametrize("package", [OLD, NEW])
    @pytest.mark.parametrize("mend", MENDS, ids=lambda mend: mend.name)
    def test_which_mends_are_enough(self, mend: Mend, package: str) -> None:
        for scenario in ("no-device", "unassign"):
            explored = found(f"{source(package)}~{mend.name}", SCENARIOS[scenario])
            assert explored.complete and not explored.fault
            assert ("E2E-10" not in explored.counterexamples) is (scenario in mend.enough)

    def test_an_edit_that_there_is_not_is_told(self) -> None:
        with pytest.raises(AdapterError, match="no edit is called nothing-such; there are d76fb40637fc"):
            resolve(f"linux-x86:{source(NEW)}~nothing-such")

    def test_a_function_that_a_patch_adds_is_cut_too(self, helper: Path) -> None:
        explored = found(f"{NEW}+{helper / 'moved.patch'}", SCENARIOS["on-the-target"])
        assert explored.complete and not explored.fault and not explored.counterexamples

    def test_what_a_patch_changes_is_told_and_nothing_else(self, helper: Path) -> None:
        asked = ["linux", NEW, "--arch=x86", "-n0", "--scenario=on-the-target", "--patch", str(helper / "lost.patch")]
        told = CliRunner().invoke(cli, asked)
        assert told.exit_code == 0 and "kvm_vcpu_trigger_posted_interrupt" in told.output
        assert re.search(r"E2E-10 +HELD -> VIOLATED", told.output) and "KVM-ENT-1 " not in told.output

    def test_what_is_known_of_the_tree_counts_for_the_patched_one(
        self, helper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A patch that changes no answer: nothing is explored again, neither of the tree nor with the patch."""
        tree = str(tree_of(source(NEW)).root)  # in the user's cache
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setenv("INTACK_NO_CACHE", "")
        asked = ["linux", tree, "--arch=x86", "-n0", "--scenario=one-device", "--clause=E2E-*"]
        CliRunner().invoke(cli, asked)
        monkeypatch.setattr("conformance.verdict.work.explore", lambda *_, **__: pytest.fail("explored again"))
        told = CliRunner().invoke(cli, [*asked, "--patch", str(helper / "moved.patch")])
        assert told.exit_code == 0 and "No difference." in told.output, told.output

    def test_what_was_found_out_by_asking_is_not_asked_again(
        self, helper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The patched tree, once it is known to say the same, is known by what it was built of."""
        monkeypatch.setattr(ingredients, "LOADED", float("inf"))
        tree = str(tree_of(source(NEW)).root)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

        def done(spec: str) -> Done:
            implementation = resolve(spec)
            return kept.work(implementation, "strict", SUITE).done(Explore(scenario="one-device"))

        first = done(f"linux-x86:{tree}")
        second = done(f"linux-x86:{tree}+{helper / 'moved.patch'}")
        assert (first.kept, second.kept) == (False, True) and second.result == first.result
        monkeypatch.setattr("conformance.automaton.asked.Again.same", lambda *_, **__: pytest.fail("asked again"))
        assert done(f"linux-x86:{tree}+{helper / 'moved.patch'}").kept

    def test_an_edit_goes_with_the_tree(self) -> None:
        kernel = taken("linux-x86", f"{source(NEW)}~c112b5f50232", "", parts_of)
        assert kernel.spec == f"linux-x86:{NEW}~c112b5f50232" and kernel.release.startswith("6.12.")

    def test_a_patch_to_other_files_is_nothing_to_judge(self, tmp_path: Path) -> None:
        (tmp_path / "a.patch").write_text(
            "--- a/kernel/exit.c\n+++ b/kernel/exit.c\n@@ -1,1 +1,1 @@\n-// SPDX\n+// other\n"
        )
        kernel = taken(
            "linux-x86", self.small(tmp_path), str(tmp_path / "a.patch"), lambda tree: (Cut("virt/a.c", ()),)
        )
        assert kernel.elsewhere == ("kernel/exit.c",) and not kernel.lines

    def small(self, folder: Path) -> str:
        (folder / "kernel").mkdir()
        (folder / "kernel/exit.c").write_text("// SPDX\n")
        (folder / "virt").mkdir()
        (folder / "virt/a.c").write_text("")
        return str(folder)

    def test_what_cannot_be_compiled_is_told_by_name(self, tmp_path: Path) -> None:
        tree = tree_of(source(NEW))
        (tmp_path / "a.patch").write_text(
            "--- a/kernel/exit.c\n+++ b/kernel/exit.c\n@@ -1,1 +1,1 @@\n-\tif (task)\n+\tif (task->flags)\n"
        )
        with pytest.raises(AdapterError, match=r"kernel/exit.c:\d+:\d+: error: .*task_struct") as told:
            resolve(f"linux-x86:{tree.root}+{tmp_path / 'a.patch'}")
        assert re.search(
            r"Linux 6.12[\d.]* and the stub headers .*\n.*: In function .rcuwait_wake_up.:", str(told.value)
        )

    def test_no_line_of_the_kernel_is_in_the_project(self) -> None:
        tree = tree_of(source(NEW))
        theirs = {line.strip() for part in parts_of(tree) for line in tree.read(part.file).splitlines()}
        ours = [line.strip() for path in HERE.parent.rglob("*.[hc]") for line in path.read_text().splitlines()]
        names = re.compile(r"[\w *]+\([\w ,*]*\);?")  # a prototype, or a call: names and types only
        assert not {line for line in ours if len(line) > 40 and not names.fullmatch(line)} & theirs
