"""What a name could be made of, known before anything is searched: a misspelt name is refused at once.

Whether what is named ever happens, only a search can tell.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from conformance.machine.machine import Machine
from conformance.ordering.names import Name, plain
from conformance.roles.operations import WORD
from conformance.search.words import Words

FIXED = (
    "reads cmpxchg done lost it was swap or and xor add fence interrupts stay on off preemption sends to itself locks "
    "unlocks about sleep stays awake sleeps does not woken wakes spins enters fails its assertion takes interrupt "
    "acknowledges in the guest delivers exits returns is cpu back preempted moves from arrives at way spurious store "
    "buffer drains free word"
)
"""What `Words` says of any architecture."""
MOST_NAMED = 1024
"""Interrupts whose names are looked at: what has words in it is among the first."""
OPEN = re.compile(r"fails its assertion|exits: |guest: ")
"""Behind these stands what an implementation or a program is free to say."""


def misspelt(name: Name, machine: Machine) -> str:
    """Why nothing in this machine can have the name; "" if something may."""
    lanes = {agent.name for agent in machine.agents}
    routines = machine.assembly.routines.keys()
    if name.who not in lanes and name.who not in routines:
        return f"nothing is called {name.text}. {_instead(name.who, lanes | routines)}The lanes are {', '.join(sorted(lanes))}"
    known = {*FIXED.split(), *_words(machine)}
    closed = OPEN.split(name.words)[0]
    for word in _tokens(closed):
        if word not in known:
            return (
                f"nothing is called {name.text}: no operation there has {word!r} in its name. {_instead(word, known)}"
            )
    return ""


def _instead(word: str, known: set[str]) -> str:
    close = difflib.get_close_matches(word, sorted(known), n=3, cutoff=0.6)
    return f"Did you mean {', or '.join(close)}? " if close else ""


def _words(machine: Machine) -> Iterator[str]:
    """Of locations and their fields, interrupts, agents and CPUs."""
    architecture = machine.assembly.architecture
    words = Words(architecture)
    for at in machine.assembly.locations:
        yield from _tokens(at)
        word = architecture.word(at)
        for mask in (WORD, *word.fields.values(), *(1 << bit for bit in range(64) if word.bits)):
            yield from _tokens(words.place(at, mask))
    for text in (
        architecture.in_host,
        *architecture.host_interrupts.values(),
        *map(architecture.guest_interrupt, range(MOST_NAMED)),
        *machine.threads,
        *machine.devices,
        *(f"cpu{c}" for c in range(len(machine.cpus))),
    ):
        yield from _tokens(text)


def _tokens(text: str) -> list[str]:
    """Words as they stand in a name: numbers and signs left out."""
    return re.findall(r"(?<!\w)[a-z]\w*", plain(text))
