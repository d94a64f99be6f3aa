"""The page on scenarios says what a file can hold: every key, instruction and fact, and an example for each architecture."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from conformance.adapters.registry import resolve
from conformance.commands.main import cli
from conformance.machine.build import in_machine
from conformance.roles import architectures
from conformance.roles.scenario import Budget, Device, DeviceInterrupt, Scenario, Thread, VcpuSetup
from conformance.search.proof import prove
from conformance.verdict import own_scenarios
from conformance.verdict.suite import guarantees
from properties.suite import SUITE

PAGE = (Path(__file__).parent.parent / "docs" / "scenarios.md").read_text()
FORMAT = PAGE[PAGE.index("## The file format") :]
EXAMPLES = re.findall(r"```toml\n(.*?)```", FORMAT, re.DOTALL)
OURS = {"story"}
"""What a file does not say."""


@pytest.mark.parametrize("part", [Scenario, VcpuSetup, Thread, Device, DeviceInterrupt, Budget])
def test_every_key_is_told_of(part: type[msgspec.Struct]) -> None:
    keys = {field.encode_name for field in msgspec.structs.fields(part)} - OURS
    assert {key for key in keys if f"`{key}`" not in FORMAT} == set()


def test_every_key_of_a_scenario_has_a_row_of_its_own() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", FORMAT[: FORMAT.index("### x86")], re.MULTILINE)
    assert set(rows) == {field.encode_name for field in msgspec.structs.fields(Scenario)} - OURS


@pytest.mark.parametrize("architecture", ["x86", "arm", "nested"])
def test_every_instruction_and_fact_of_an_architecture_is_told_of(architecture: str) -> None:
    section = re.split(r"^### ", FORMAT, flags=re.MULTILINE)
    (text,) = [part for part in section if part.lower().startswith(architecture)]
    known = architectures()[architecture]
    told = {" ".join(i.split()) for cell in re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE) for i in cell.split(", ")}
    instructions = {" ".join((name, *operands)) for name, operands in known.instructions.items()}
    assert {word.strip("`") for word in told} == instructions | set(known.facts)
    assert all(f"| `{fact}` | {means} |" in text for fact, means in known.facts.items())


@pytest.mark.parametrize("example", EXAMPLES, ids=["x86", "arm", "nested"])
def test_an_example_runs_and_the_reference_breaks_nothing_there(example: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(example)
    (scenario,) = own_scenarios.read(path)
    reference = resolve("reference")
    found = in_machine(reference, scenario, SUITE, prove)
    assert found.complete
    assert not {*found.breached, *found.at_rest} & guarantees(SUITE, reference)


TINY = """
[[scenario]]
name = "tiny"
architecture = "x86"
cpus = 2
vectors = [100]
threads = [{name = "sender", routine = "deliver_interrupt", args = ["vcpu0", 100], cpu = 1}]
"""


def test_what_a_file_does_not_put_to_the_test_is_no_failure(tmp_path: Path) -> None:
    """Asked for by name it is: then something was to be decided."""
    path = tmp_path / "mine.toml"
    path.write_text(TINY)
    run = ["run", "--scenario-file", str(path), "-n", "1"]
    told = CliRunner().invoke(cli, run, standalone_mode=False)
    assert (told.return_value, "NOT EXERCISED" in told.output) == (0, False), told.output
    asked = CliRunner().invoke(cli, [*run, "--clause", "KVM-PI-18"], standalone_mode=False)
    assert (asked.return_value, "NOT EXERCISED" in asked.output) == (2, True), asked.output
