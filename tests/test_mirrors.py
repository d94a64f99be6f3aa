"""What the reference mirrors: every routine says what, what differs stands in a table, the functions exist where their source
is at hand, and what is left out for the search alone changes nothing that is found.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import msgspec
import pytest

from conformance.adapters.registry import of_class, resolve
from conformance.roles.cpu import Cpu
from conformance.roles.location import Shared
from conformance.roles.mirrors import Original, mirrors, originals
from conformance.roles.x86 import Sender, Vcpu
from conformance.verdict.explore import Explored, explore
from properties.suite import SUITE
from reference.arm.vgic import LINUX as LINUX_6_19
from reference.arm.vgic import SINCE_6_1
from reference.linux.tree import PACKAGES, VARIABLE
from reference.page import differences, implementations, modules, page, routines
from reference.x86.kvm import LINUX as LINUX_6_1

PACKAGE = PACKAGES / "linux-source-6.1.tar.xz"
MODULES = [pytest.param(module, id=module.__name__) for module in modules()]
SCENARIOS = {s.name: s for s in SUITE.scenarios}


@pytest.mark.parametrize("module", MODULES)
def test_every_routine_says_what_it_mirrors(module: ModuleType) -> None:
    unsaid = [name for name, routine in routines(module).items() if not originals(routine)]
    assert not unsaid


@pytest.mark.parametrize("module", MODULES)
def test_a_difference_names_what_differs(module: ModuleType) -> None:
    written = set(vars(module)).union(*(vars(cls) for cls in implementations(module)))
    for difference in differences(module):
        assert difference.here in written
        assert all(text and not text.endswith(".") for text in difference)


def test_what_a_routine_mirrors_comes_in_order() -> None:
    one, two = Original("a work", "a.c"), Original("a manual")

    @mirrors(one, "f", "g")
    @mirrors(two, "1.2")
    def routine() -> None: ...

    assert originals(routine) == ((one, ("f", "g")), (two, ("1.2",)))
    assert (str(one), str(two)) == ("a work, a.c", "a manual")


def test_the_page_is_current() -> None:
    path = Path(__file__).parent.parent / "docs" / "reference.md"
    assert path.read_text() == page(), "python -m reference.page > docs/reference.md"


# Linux's functions


def named(work: str) -> Mapping[str, set[str]]:
    """The functions that routines say they mirror, by file."""
    found: dict[str, set[str]] = {}
    for module in modules():
        for routine in routines(module).values():
            for original, names in originals(routine):
                if original.work == work:
                    found.setdefault(original.file, set()).update(names)
    return found


@pytest.fixture(scope="module")
def linux(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The files of Linux 6.1 that are named, from a source tree or from Debian's package."""
    files = {*named(LINUX_6_1), *named(LINUX_6_19)}
    tree = os.environ.get(VARIABLE)
    if not tree:
        if not PACKAGE.exists() or not shutil.which("tar"):
            pytest.skip(f"no Linux source: neither {VARIABLE} names a tree nor can {PACKAGE} be unpacked")
        tree = str(tmp_path_factory.mktemp("linux"))
        inside = [f"{PACKAGE.name.removesuffix('.tar.xz')}/{name}" for name in sorted(files)]
        subprocess.run(["tar", "-xJf", PACKAGE, "-C", tree, "--strip-components=1", *inside], check=False)
    return {name: (Path(tree) / name).read_text() for name in files if (Path(tree) / name).exists()}


def defines(text: str, function: str) -> bool:
    """Whether a function or macro of that name is defined there: not only declared or called."""
    head = rf"^(?!\s)(?:[\w *]*[ *])?{function}\([^;{{]*\)\s*(?:__\w+\([^)]*\)\s*)*\{{"
    macro = rf"^#define {function}\(|^DEFINE_\w+\({function}\)"
    return bool(re.search(head, text, re.MULTILINE) or re.search(macro, text, re.MULTILINE))


def test_functions_of_linux_6_1_are_where_they_are_said_to_be(linux: Mapping[str, str]) -> None:
    assert not {f"{file}: {f}" for file, fs in named(LINUX_6_1).items() for f in fs if not defines(linux[file], f)}


def test_functions_of_arms_linux_are_in_6_1_or_said_to_be_newer(linux: Mapping[str, str]) -> None:
    missing = {f for file, fs in named(LINUX_6_19).items() for f in fs if not defines(linux[file], f)}
    assert missing == set(SINCE_6_1)
    for there in SINCE_6_1.values():
        for function in re.findall(r"(\w+)\(\)", there):
            assert any(defines(text, function) for text in linux.values()), function


# For the search alone


def found(spec: str, name: str, *facts: str) -> Explored:
    scenario = SCENARIOS[name]
    done = explore(resolve(spec), msgspec.structs.replace(scenario, facts=(*scenario.facts, *facts)), SUITE)
    assert not done.fault, done.fault
    return done


ABRIDGED = [
    ("reference", "one-sender"),
    ("reference", "one-device"),
    ("reference", "preempt-running"),
    ("reference", "no-device"),
    ("known-bad:B17", "one-sender"),
    ("known-bad:B22a", "one-device"),
    ("reference", "vgic-edge"),
    ("reference", "vgic-edge-wfi"),
    ("reference", "vgic-level"),
    ("known-bad:A16", "vgic-edge"),
    ("known-bad:V02", "vgic-edge"),
    ("known-bad:V26", "vgic-edge-wfi"),
    ("vgic-2012", "vgic-edge"),
    ("xen", "block-preempt"),
    ("bhyve", "one-sender"),
    ("bhyve", "masked-senders"),
]


@pytest.mark.parametrize(("spec", "name"), ABRIDGED)
def test_what_is_left_out_for_the_search_is_not_missed(spec: str, name: str) -> None:
    """The same clauses are broken, by counterexamples with as many switches, and the same are put to the test."""
    short, whole = found(spec, name), found(spec, name, "unabridged")
    assert short.states < whole.states
    assert set(short.witnessed) == set(whole.witnessed)
    assert _switches(short) == _switches(whole)


def _switches(explored: Explored) -> dict[str, int]:
    return {clause: broken.switches for clause, broken in explored.counterexamples.items()}


def test_what_no_guest_changes_is_constant() -> None:
    """As declared by the reference: GICD_CTLR. A change of it is refused."""
    implementation = of_class(Writes, "writes", "writes")
    assert not explore(implementation, SCENARIOS["save-restore"], SUITE).fault
    fault = explore(implementation, SCENARIOS["one-sender"], SUITE).fault
    assert "deliver_interrupt wrote vm.touched, which scenario one-sender holds constant" in str(fault)


class Writes(Sender):
    """A sender that writes what only a guest's `save_restore` may lead to a change of."""

    vm_state: ClassVar = {"touched": Shared(0, changed_by=(("save_restore",),))}

    def deliver_interrupt(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> None:
        cpu.test_and_set(vcpu.pid.bit(vector))
        cpu.store(self.world.vm.touched, 1)
