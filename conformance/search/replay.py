"""Replay strings: one printable line that finds a counterexample again, and says what became of it when the code has
changed.

    intack1.<base64 of zlib of JSON>.<checksum>

It holds implementation, profile, scenario, clause, a hash of the scenario and catalogue, and the schedule as (agent,
label) pairs, so that it can be followed as far as it fits after the code under test has changed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Sequence

import msgspec

from conformance.machine.finding import Breach, Finding, Witness
from conformance.machine.machine import Machine
from conformance.machine.state import Outcome
from conformance.roles.scenario import Scenario
from conformance.search.proof import BreakingSchedule, walk
from conformance.search.trace import describe

VERSION = "intack1"


class ReplayError(Exception):
    """The string cannot be replayed; the message says why and what to do."""


class Replay(msgspec.Struct, frozen=True):
    implementation: str
    profile: str
    scenario: str
    clause: str
    catalogue: str
    steps: tuple[tuple[str, str], ...]
    """(agent, label) of each step."""
    witness: bool = False
    """It shows what the clause allows, and breaks nothing."""

    @property
    def kind(self) -> type[Finding]:
        return Witness if self.witness else Breach


def scenario_hash(scenario: Scenario) -> str:
    return hashlib.sha256(msgspec.json.encode(scenario)).hexdigest()[:8]


def label(outcome: Outcome) -> str:
    """What a step is called: its first account, and its choices."""
    text = describe(outcome.notes[0]) if outcome.notes else ""
    return text + "".join(f" /{c}" for c in outcome.choice)


def encode(machine: Machine, found: BreakingSchedule, implementation: str, profile: str) -> str:
    steps = tuple(
        (machine.agents[step[0]].name, label(outcome))
        for step, (_, outcome, _) in zip(found.schedule, walk(machine, found.schedule), strict=True)
    )
    hashed, witness = scenario_hash(machine.scenario), isinstance(found.finding, Witness)
    replay = Replay(implementation, profile, machine.scenario.name, found.clause, hashed, steps, witness)
    body = base64.urlsafe_b64encode(zlib.compress(msgspec.json.encode(replay), 9)).decode().rstrip("=")
    return f"{VERSION}.{body}.{_checksum(body)}"


def _checksum(body: str) -> str:
    return f"{binascii.crc32(body.encode()):08x}"


def decode(string: str) -> Replay:
    """Raises ReplayError."""
    parts = string.strip().strip("'\"").split(".")
    if len(parts) != 3 or not parts[0].startswith("intack"):
        raise ReplayError(
            "this is no replay string: it must read intack1.<letters>.<checksum>. Copy the whole line of the report."
        )
    version, body, checksum = parts
    if version != VERSION:
        raise ReplayError(
            f"this replay string is of version {version}; this suite reads {VERSION}. Run the clause again to get a new one."
        )
    if checksum != _checksum(body):
        raise ReplayError(
            "this replay string is damaged: its checksum does not fit. Copy the whole line of the report."
        )
    try:
        raw = zlib.decompress(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return msgspec.json.decode(raw, type=Replay)
    except (ValueError, zlib.error, msgspec.MsgspecError) as error:
        raise ReplayError(f"this replay string is damaged: {error}. Copy the whole line of the report.") from error


def follow(machine: Machine, steps: Sequence[tuple[str, str]]) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """The schedule that takes these labels, as far as they fit."""
    state = machine.initial
    schedule: list[tuple[int, tuple[int, ...]]] = []
    by_name = {a.name: a for a in machine.agents}
    for name, wanted in steps:
        agent = by_name.get(name)
        outcomes = agent.entry(state).outcomes if agent else ()
        outcome = next((o for o in outcomes if label(o) == wanted), None)
        if agent is None or outcome is None:
            break
        schedule.append((agent.index, outcome.choice))
        state = state & outcome.keep | outcome.add
    return tuple(schedule)
