"""Documents for programs of the commands that answer one question: each fits the schema, which is as committed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

import conformance.report
from conformance.commands.main import cli
from conformance.report.answers import schema_text

SCHEMA = Path(next(iter(conformance.report.__path__))) / "answers.schema.json"


def documents(*arguments: str) -> list[dict[str, Any]]:
    done = CliRunner().invoke(cli, [*arguments, "--json"], standalone_mode=False)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    for document in found:
        jsonschema.validate(document, json.loads(SCHEMA.read_text()))
    return found


def test_the_schema_is_current() -> None:
    assert SCHEMA.read_text() == schema_text(), (
        "python -m conformance.report.answers > conformance/report/answers.schema.json"
    )


def test_order() -> None:
    line = "cpu0.reads ON = 0 < cpu1.or PIR < cpu1.reads mode = 0 < cpu0.mode := 1"
    (found,) = documents("order", "-a", "known-bad:B18", "-s", "one-sender", line)
    assert found["schema"] == "intack.order/1"
    assert found["constraints"] == [line]
    (answer,) = found["answers"]
    assert "E2E-11" in {one["clause"] for one in answer["broken"]}
    assert answer["fits"]["scenario"] == "one-sender"
    (none,) = documents("order", "-s", "one-sender", "cpu1.or ON < cpu1.or PIR")
    assert none["answers"][0]["fits"] is None
    assert none["answers"][0]["why_not"].startswith("you ask for cpu1.or ON < cpu1.or PIR; in no run")


def test_fences() -> None:
    (found,) = documents("fences", "-a", "kvm-vtd-only", "--scenario", "tso-block")
    assert found["schema"] == "intack.fences/1"
    assert (found["method"], found["depth"], found["scenarios"]) == ("store buffers", 2, ["tso-block"])
    assert {site["status"] for site in found["sites"]} & {"needed", "not needed"}


def test_litmus(tmp_path: Path) -> None:
    (tmp_path / "a.litmus").write_text("X86_64 a\n{ x=0; }\nexists ((")
    (tmp_path / "b.litmus").write_bytes(Path("tests/litmus/x86/SB.litmus").read_bytes())
    damaged, decided = documents("litmus", str(tmp_path))
    assert damaged["verdict"] == "damaged"
    assert damaged["reason"]
    assert (decided["schema"], decided["name"], decided["verdict"]) == ("intack.litmus/1", "SB", "Sometimes")


@pytest.mark.parametrize(("spec", "callers"), [("known-bad:B24", {1}), ("reference", set())])
def test_crowds(spec: str, callers: set[int]) -> None:
    (found,) = documents("crowds", "-a", spec, "-s", "any-handlers")
    (one,) = found["scenarios"]
    assert found["schema"] == "intack.crowds/1"
    assert set(one["callers"].values()) == callers
    assert one["broken"].keys() == one["callers"].keys()
    assert "E2E-11" in one["clauses"]
