"""Scenarios that make no sense are refused by name, before anything runs; those of the suites all make sense."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from conformance.commands.main import cli
from conformance.roles import architectures
from conformance.roles.arm import EDGE, LPI, SGI
from conformance.roles.scenario import Budget, Device, DeviceInterrupt, Scenario, VcpuSetup
from conformance.roles.sensible import refusals
from conformance.roles.x86 import PINV
from conformance.verdict import own_scenarios
from conformance.verdict.own_scenarios import ScenarioError
from properties.suite import SUITE

BY_NAME = {s.name: s for s in SUITE.scenarios}
CORE, SAVE, EDGES = BY_NAME["core"], BY_NAME["save-restore"], BY_NAME["vgic-edge"]
SENDER = CORE.threads[0]


def why(scenario: Scenario) -> list[str]:
    return refusals(scenario, architectures()[scenario.architecture])


@pytest.mark.parametrize("scenario", SUITE.scenarios, ids=lambda s: s.name)
def test_all_of_the_suite_make_sense(scenario: Scenario) -> None:
    assert not why(scenario)


@pytest.mark.parametrize(
    ("scenario", "reason"),
    [
        (replace(CORE, cpus=0), "cpus is 0"),
        (replace(CORE, vcpus=()), "there is no vCPU"),
        (replace(CORE, vcpus=(VcpuSetup(0), VcpuSetup(0))), "vcpu1 and vcpu0 are both loaded on cpu0"),
        (replace(CORE, threads=(replace(SENDER, cpu=0),)), "thread sender1 is on cpu0, where vcpu0 runs"),
        (replace(CORE, threads=(SENDER, replace(SENDER, name="again"))), "threads sender1 and again are both on cpu1"),
        (replace(CORE, threads=(replace(SENDER, cpu=7),)), "there is no cpu7: 2 CPUs, from cpu0"),
        (replace(CORE, budget=Budget(spurious=((PINV, -1),))), "there is no cpu-1"),
        (replace(CORE, threads=(replace(SENDER, name="device"),)), "two agents are called device"),
        (replace(CORE, devices=(replace(CORE.devices[0], after="sender"),)), "no thread or device is called so. Did you mean sender1?"),
        (replace(CORE, threads=(replace(SENDER, after="sender1"),)), "sender1 comes after itself"),
        (replace(CORE, buffer=99), "buffer is 99"),
        (replace(CORE, budget=Budget(exit=-1)), "budget.exit is -1"),
        (replace(CORE, vectors=(100, 100, 200)), "twice in vectors"),
        (replace(CORE, facts=("x-apic",)), "'x-apic' is no fact of x86. Did you mean xapic?"),
        (replace(CORE, vcpus=(VcpuSetup(0, (("htl",),)),)), "vcpu0's program has 'htl'. Did you mean hlt?"),
        (replace(CORE, vcpus=(VcpuSetup(0, (("write_tpr",),)),)), "and it reads write_tpr VALUE"),
        (replace(CORE, vcpus=(VcpuSetup(0, ((),)),)), "vcpu0's program has ''"),
        (replace(CORE, devices=(Device("d", "psot", ("vcpu0", 200, False)),)), "Did you mean post?"),
        (replace(CORE, devices=(Device("d", "post", ("vcpu0", 200)),)), "it takes vcpu, vector, urgent"),
        (replace(CORE, threads=(replace(SENDER, args=("vcpu3", 100)),)), "for 'vcpu3': the scenario has vcpu0"),
        (replace(CORE, threads=(replace(SENDER, args=("vcpu0", 101)),)), "with 101, which is not in vectors"),
        (replace(CORE, vectors=(5, 100, 200)), "5 is no vector of an interrupt"),
        (
            replace(CORE, interrupts=(DeviceInterrupt(PINV, 0, "deliver_interrupt", ("vcpu0", 200)),)),
            "the handler of 0xf2: the vector is the host's own",
        ),
        (
            replace(CORE, interrupts=(DeviceInterrupt(0x60, 0, "deliver_interrupt", ("vcpu0", 200)),) * 2),
            "interrupt 0x60 comes twice to cpu0",
        ),
        (replace(CORE, initial=(("vm.assigned", 0),)), "device posts, and no device is assigned"),
        (replace(CORE, facts=("apicv-inhibited",), vcpus=(VcpuSetup(0, (("self_ipi", 100),)),)), "which is not modelled"),
        (replace(CORE, vcpus=(VcpuSetup(0, (("self_ipi", 77),)),)), "vcpu0 sends itself 77"),
        (replace(CORE, vcpus=(VcpuSetup(0, (("write_tpr", 256),)),)), "TPR, which has 8 bits"),
        (replace(SAVE, vcpus=(VcpuSetup(0, (("reset", 200, 200),)),)), "vectors of the scenario that differ"),
        (replace(SAVE, vcpus=(VcpuSetup(0, (("reset", 0, 200),)),)), "only TIMER may be 0"),
        (replace(EDGES, vectors=(EDGE, LPI)), "virtual LPIs take the fact gicv4"),
        (replace(EDGES, facts=("gicv4", "gicv4.1")), "two machines"),
        (replace(EDGES, facts=("gicv4",)), "cpu0 has no redistributor: whoever takes a vPE off there waits for ever"),
        (replace(EDGES, vectors=(EDGE, 5000)), "5000 is no interrupt"),
        (replace(EDGES, vcpus=(VcpuSetup(0, (("mmio", "ispender", EDGE, 1),)),)), "Did you mean ispendr"),
        (replace(EDGES, vcpus=(VcpuSetup(0, (("mmio", "itargetsr", EDGE, 1),)),)), "and there are 1 vCPUs"),
        (replace(EDGES, vcpus=(VcpuSetup(0, (("mmio", "sgir", EDGE, 1),)),)), "which is no SGI"),
        (replace(EDGES, vcpus=(VcpuSetup(0, (("mmio", "spendsgir", EDGE, 1),)),)), "spendsgir for 41, which is no SGI"),
        (replace(EDGES, vectors=(EDGE, SGI), vcpus=(VcpuSetup(0, (("mmio", "cpendsgir", SGI, 2),)),)), "cpendsgir for sources 2"),
        (replace(EDGES, devices=(Device("its", "vlpi", ("vcpu0", EDGE)),)), "its takes the fact gicv4"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)  # fmt: skip
def test_what_makes_no_sense_is_refused_by_name(scenario: Scenario, reason: str) -> None:
    (said,) = why(scenario)[:1]
    assert reason in said


def test_a_device_may_post_after_one_that_posts_after_the_assignment() -> None:
    assign = BY_NAME["assign"]
    later = replace(assign.devices[0], name="later", after="device")
    assert not why(replace(assign, devices=(*assign.devices, later)))
    assert why(replace(assign, devices=(replace(assign.devices[0], after=""), later)))


@pytest.mark.parametrize(
    "name", ["core", "inhibited-closed", "urgent", "vgic-sgi", "gicv4.1-shared-pcpu", "on-the-target"]
)
def test_a_scenario_printed_is_a_file_that_gives_it_back(name: str, tmp_path: Path) -> None:
    printed = CliRunner().invoke(cli, ["show", "scenario", name], standalone_mode=False)
    path = tmp_path / "own.toml"
    path.write_text(printed.output)
    assert own_scenarios.read(path) == (replace(BY_NAME[name], story=False, audited=False),) or BY_NAME[name].audited


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("scenario = 3", "holds no tables [[scenario]]"),
        ("[[scenario]", "is no TOML"),
        ("[[scenario]]\nnam = 'x'", "a scenario has no 'nam'. Did you mean name?"),
        ("[[scenario]]\nname = 'x'\ncpus = 'two'\narchitecture = 'x86'", "Expected `int`, got `str` - at `$.cpus`"),
        (
            "[[scenario]]\nname = 'x'\ncpus = 1\narchitecture = 'x68'",
            "no architecture is called 'x68'. Did you mean x86?",
        ),
        ("[[scenario]]\nname = 'x'\ncpus = 1\narchitecture = 'x86'\ninitial = [['vm.asigned', 0]]", "vm.assigned"),
        ("[[scenario]]\nname = 'x'\ncpus = 0\narchitecture = 'x86'", "scenario 1: cpus is 0"),
    ],
)
def test_a_file_that_is_wrong_is_refused(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(ScenarioError) as refused:
        own_scenarios.read(path)
    assert reason in str(refused.value) and str(path) in str(refused.value)


def test_a_name_that_is_taken_is_refused() -> None:
    with pytest.raises(ScenarioError, match="another scenario called 'core'"):
        own_scenarios.joined(SUITE, [CORE])
