"""A barrier that is missing is named: what is broken first, between which accesses, and what would do."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner
from weak_barriers import (
    ArmEntryWithout,
    ArmKicksPlainly,
    ArmNotifiesPlainly,
    ArmSleepWithout,
    BlocksPlainly,
    EntryInTwo,
    EntryWithout,
    HarvestsPlainly,
    KicksPlainly,
    LoadsPlainly,
    PostsPlainly,
    SleepWithout,
)

from conformance.adapters.registry import of_class
from conformance.commands.main import cli
from conformance.ordering import axiomatic
from conformance.ordering.fences import audit
from conformance.roles.role import BaseRole
from properties.suite import SUITE

slow = pytest.mark.slow


def scenarios(name: str) -> list:
    return [s for s in SUITE.scenarios if s.name == name]


@pytest.mark.parametrize(
    ("weak", "scenario", "breaks", "would_do"),
    [
        pytest.param(
            EntryWithout, "tso-running", "E2E-1, E2E-11, E2E-14",
            "vcpu_enter_guest: a full fence after writing vcpu0.mode, before reading vcpu0.ON",
            marks=slow,
        ),
        pytest.param(
            EntryInTwo, "tso-running", "E2E-1, E2E-11, E2E-14",
            "vcpu_enter_guest: a full fence after writing vcpu0.mode, before going on to look_and_enter",
            marks=slow,
        ),
        pytest.param(
            SleepWithout, "tso-block", "E2E-1, E2E-10, E2E-14, KVM-SND-7",
            "block_once: a full fence after announcing a sleep, before reading vcpu0.ON",
            marks=slow,
        ),
        pytest.param(
            PostsPlainly, "tso-running", "E2E-1, E2E-11, E2E-14",
            "deliver_interrupt: a full fence after writing vcpu0.ON, before reading vcpu0.blocking or vcpu0.cpu or vcpu0.mode",
            marks=slow,
        ),
        pytest.param(
            KicksPlainly, "tso-inhibited", "E2E-1, E2E-10, E2E-14, KVM-ENT-11, KVM-SND-7",
            "deliver_interrupt: a full fence after writing vcpu0.requests, before reading vcpu0.blocking",
            marks=slow,
        ),
        pytest.param(
            HarvestsPlainly, "two-posts", "E2E-1, E2E-11",
            "vcpu_enter_guest: a full fence after writing vcpu0.ON, before reading vcpu0.PIR word 1",
            marks=slow,
        ),
        pytest.param(
            BlocksPlainly, "one-device", "E2E-1, E2E-10",
            "put: a full fence after writing vcpu0.NV, before reading vcpu0.ON",
            marks=slow,
        ),
        pytest.param(
            LoadsPlainly, "preempt-running", "E2E-1, E2E-11, E2E-13, KVM-PI-2",
            "load: a full fence after writing vcpu0.SN, before reading vcpu0.PIR word 3",
            marks=slow,
        ),
    ],
)  # fmt: skip
def test_with_store_buffers(weak: type[BaseRole], scenario: str, breaks: str, would_do: str) -> None:
    """In the smallest scenario of those that show it."""
    found = audit(of_class(weak, "weak", "weak"), SUITE, scenarios(scenario))
    (missing,) = found.missing
    assert ", ".join(missing.breaks) == breaks
    assert [str(gap).startswith(would_do) for gap in missing.mends] == [True]
    assert missing.clause in missing.breaks and missing.witness.trace


def test_a_story_is_looked_at_however_few_states_sites_are_given() -> None:
    found = audit(of_class(PostsPlainly, "weak", "weak"), SUITE, scenarios("tso-running"), most=10)
    assert found.too_large == ("tso-running",) and not found.judged
    (missing,) = found.missing
    assert missing.breaks == ("E2E-1", "E2E-11", "E2E-14")


def test_the_command_begins_with_it_and_its_document_says_the_same() -> None:
    command = ["fences", "-a", f"{__name__}:PostsPlainly", "--scenario", "tso-running", "--no-witness"]
    told = CliRunner().invoke(cli, command, standalone_mode=False).output
    assert told.startswith(
        "E2E-1, E2E-11, E2E-14: broken as it is, by store buffers alone (tso-running).\n  Would keep it: "
    )
    assert re.search(r"Store buffers of 2 stores", told)
    document = json.loads(CliRunner().invoke(cli, [*command, "--json"], standalone_mode=False).output)
    (missing,) = document["missing"]
    assert missing["breaks"] == ["E2E-1", "E2E-11", "E2E-14"] and missing["where"] == "tso-running"
    assert [gap.replace("vcpu0.", "") in told for gap in missing["mends"]] == [True]
    assert document["depth"] == 2


@slow
@pytest.mark.parametrize(
    ("weak", "scenario", "breaks", "would_do"),
    [
        (
            ArmEntryWithout, "vgic-edge", ("VGIC-EDGE-1", "VGIC-Q-1"),
            "vcpu_enter_guest: a full fence after writing vcpu0.mode, before reading vcpu0.requests",
        ),
        (
            ArmNotifiesPlainly, "vgic-edge", ("VGIC-EDGE-1", "VGIC-Q-1"),
            "inject: a full fence after writing vcpu0.requests, before reading",
        ),
    ],
)  # fmt: skip
def test_by_armv8s_axioms(weak: type[BaseRole], scenario: str, breaks: tuple[str, ...], would_do: str) -> None:
    found = axiomatic.audit(of_class(weak, "weak", "weak"), SUITE, scenarios(scenario), "armv8")
    (missing,) = found.missing
    assert missing.breaks == breaks
    assert any(str(gap).startswith(would_do) for gap in missing.mends)
    assert missing.window.startswith(scenario)


@slow
@pytest.mark.parametrize("weak", [ArmKicksPlainly, ArmSleepWithout])
def test_what_something_else_orders_is_not_missing(weak: type[BaseRole]) -> None:
    """To wake a thread is a full barrier before the look at mode. And who sleeps takes the lock of the list behind the
    announcement, which the injector has taken before it wakes.
    """
    found = axiomatic.audit(of_class(weak, "weak", "weak"), SUITE, scenarios("vgic-edge-wfi"), "armv8")
    assert not found.missing
