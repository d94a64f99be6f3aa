"""Replay strings: one printable line that finds a counterexample again, and says what became of it when the code has
changed.

    intack2.<base64 of zlib of JSON>.<checksum>

It holds implementation, profile, clause, the scenario's name and hash (the scenario itself, where it is no story that every
catalogue has), and the schedule by what each step did first, so that it can be followed as far as it fits after the code
under test has changed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Sequence

import msgspec

from conformance.machine.facts import Happened
from conformance.machine.finding import Breach, Finding, Witness
from conformance.machine.machine import Machine
from conformance.machine.state import Outcome
from conformance.roles.scenario import Scenario
from conformance.search.proof import BreakingSchedule, walk

VERSION = "intack2"
LONGEST = 4 << 20
"""Bytes that a string may unpack to; schedules of some hundred steps take some ten thousand."""


class ReplayError(Exception):
    """The string cannot be replayed; the message says why and what to do."""


class Label(msgspec.Struct, frozen=True, omit_defaults=True):
    """What tells a step from the others that its agent could take: what it does first, and the branches it takes."""

    agent: str
    fact: Happened | None = None
    choice: tuple[int, ...] = ()


class Replay(msgspec.Struct, frozen=True, omit_defaults=True):
    implementation: str
    profile: str
    scenario: str
    clause: str
    catalogue: str
    steps: tuple[Label, ...]
    witness: bool = False
    """It shows what the clause allows, and breaks nothing."""
    own: Scenario | None = None
    """The scenario itself, where it is none that everybody has."""

    @property
    def kind(self) -> type[Finding]:
        return Witness if self.witness else Breach


def scenario_hash(scenario: Scenario) -> str:
    return hashlib.sha256(msgspec.json.encode(scenario)).hexdigest()[:8]


def label(agent: str, outcome: Outcome) -> Label:
    return Label(agent, outcome.notes[0].fact if outcome.notes else None, outcome.choice)


def encode(machine: Machine, found: BreakingSchedule, implementation: str, profile: str) -> str:
    steps = tuple(
        label(machine.agents[step[0]].name, outcome)
        for step, (_, outcome, _) in zip(found.schedule, walk(machine, found.schedule), strict=True)
    )
    hashed, witness = scenario_hash(machine.scenario), isinstance(found.finding, Witness)
    own = None if machine.scenario.story else machine.scenario
    replay = Replay(implementation, profile, machine.scenario.name, found.clause, hashed, steps, witness, own)
    body = base64.urlsafe_b64encode(zlib.compress(msgspec.json.encode(replay), 9)).decode().rstrip("=")
    return f"{VERSION}.{body}.{_checksum(body)}"


def _checksum(body: str) -> str:
    return f"{binascii.crc32(body.encode()):08x}"


def decode(string: str) -> Replay:
    """Raises ReplayError."""
    parts = string.strip().strip("'\"").split(".")
    if len(parts) != 3 or not parts[0].startswith("intack") or not string.isascii():
        raise ReplayError(
            f"this is no replay string: it must read {VERSION}.<letters>.<checksum>. Copy the whole line of the report."
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
        unpacking = zlib.decompressobj()
        raw = unpacking.decompress(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)), LONGEST)
        if unpacking.unconsumed_tail:
            raise ValueError(f"it unpacks to more than {LONGEST >> 20} MiB")
        return msgspec.json.decode(raw, type=Replay)
    except (ValueError, zlib.error, RecursionError, msgspec.MsgspecError) as error:
        raise ReplayError(f"this replay string is damaged: {error}. Copy the whole line of the report.") from error


def follow(machine: Machine, steps: Sequence[Label]) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """The schedule that takes the steps so labelled, as far as they fit."""
    state = machine.initial
    schedule: list[tuple[int, tuple[int, ...]]] = []
    by_name = {a.name: a for a in machine.agents}
    for wanted in steps:
        agent = by_name.get(wanted.agent)
        outcomes = agent.entry(state).outcomes if agent else ()
        outcome = next((o for o in outcomes if label(wanted.agent, o) == wanted), None)
        if agent is None or outcome is None:
            break
        schedule.append((agent.index, outcome.choice))
        state = state & outcome.keep | outcome.add
    return tuple(schedule)
