"""A vCPU's life without races: one call after another, each to its end, as posters and the scheduler would make them.

    load ── posts ── put(preempted) ── load ── posts ── ... ── runs, halts, sleeps ── put ── posts ── load

Nothing is assumed of the implementation but its roles: it goes to sleep by its own run loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, NoReturn, TypeAlias

from hypothesis import strategies as st

from conformance.automaton.alone import Alone, run_alone
from conformance.automaton.assembly import Assembly
from conformance.roles.operations import Result, Value
from properties.function import BrokenError, Subject, called
from properties.x86.sequential.state import VCPU, flag, one_of, vector

HARDWARE = ("post", "virtual_ipi")
POSTERS = (*HARDWARE, "deliver_interrupt")
FOLLOWED = 40
"""Calls of the run loop from its start to its sleep, at most."""

Posts: TypeAlias = tuple[tuple[str, int], ...]
"""Who posts, and which vector."""


class Round(NamedTuple):
    """Loaded on `cpu`, posted to, and put: preempted, unless it sleeps."""

    cpu: int
    posts: Posts


class Story(NamedTuple):
    rounds: tuple[Round, ...]
    sleeps: int
    """Whether the last round ends asleep. If something keeps the vCPU awake it is preempted instead."""
    meanwhile: Posts
    """What comes before the last load."""
    last: int


posts: st.SearchStrategy[Posts] = st.lists(st.tuples(one_of(POSTERS), vector), max_size=2).map(tuple)


def stories(cpu: st.SearchStrategy[int], sleeps: st.SearchStrategy[int] = flag) -> st.SearchStrategy[Story]:
    rounds = st.lists(st.builds(Round, cpu, posts), min_size=1, max_size=3).map(tuple)
    return st.builds(Story, rounds, sleeps, posts, cpu)


class Life:
    """The calls made so far, and the memory they left. `routine` is the last one, `cpu` where the vCPU was loaded. With several
    vCPUs `vcpu` says whose call is next.
    """

    def __init__(self, subject: Subject, facts: tuple[str, ...] = (), cpus: int = 3, vcpus: int = 1) -> None:
        self.assembly, self.cpus = subject.assembly(facts, cpus, vcpus), cpus
        self.memory: Mapping[str, Value] = {}
        self.calls: list[str] = []
        self.routine, self.cpu, self.vcpu = "", 0, VCPU

    def lived(self, story: Story) -> Iterator[Alone]:
        """Every call of the story, as it is made."""
        for n, (cpu, before) in enumerate(story.rounds):
            yield self.load(cpu)
            yield from self.posted(before)
            last = n == len(story.rounds) - 1
            asleep = self.sleep() if last and story.sleeps else None
            if asleep:
                yield asleep
            yield self.put(preempted=not asleep)
        yield from self.posted(story.meanwhile)
        yield self.load(story.last)

    def load(self, cpu: int) -> Alone:
        self.cpu = cpu % self.cpus
        return self.call("load", self.cpu)

    def put(self, preempted: bool) -> Alone:
        return self.call("put", preempted, interrupts=False)

    def posted(self, posts: Posts) -> Iterator[Alone]:
        elsewhere = (self.cpu + 1) % self.cpus
        for poster, posted in posts:
            yield self.call(poster, *arguments(poster, posted), cpu=elsewhere, follow=FOLLOWED)

    def sleep(self) -> Alone | None:
        """Enter the guest, halt, and sleep; None, and nothing has happened, if it stays awake."""
        alone = self.run("vcpu_run", exits=[("hlt",)], follow=FOLLOWED)
        slept = alone.ended == "asleep"
        return self.came("vcpu_run", f"{called('vcpu_run', vcpu=self.vcpu)} to its sleep", alone) if slept else None

    def enter(self) -> Alone | None:
        """Enter the guest and stay there; None, and nothing has happened, if it does not."""
        alone = self.run("vcpu_run", follow=FOLLOWED)
        entered = alone.ended == "in guest"
        return self.came("vcpu_run", f"{called('vcpu_run', vcpu=self.vcpu)} to its guest", alone) if entered else None

    def call(self, routine: str, *args: Result, **more: Any) -> Alone:
        return self.came(routine, called(routine, *args, vcpu=self.vcpu), self.run(routine, *args, **more))

    def run(self, routine: str, *args: Result, **more: Any) -> Alone:
        return run_alone(self.assembly, routine, (self.vcpu, *args), self.memory, **{"cpu": self.cpu, **more})

    def came(self, routine: str, call: str, alone: Alone) -> Alone:
        self.memory, self.routine = alone.memory, routine
        self.calls.append(call)
        return alone

    def broken(self, how: str) -> NoReturn:
        raise BrokenError(f"{', '.join(self.calls)}: {how}")


def arguments(poster: str, vector: int) -> tuple[Result, ...]:
    """What a poster is called with after the vCPU; no device's entry is urgent here."""
    return (vector, False) if poster == "post" else (vector,)


def post(assembly: Assembly, poster: str, vector: int, memory: Mapping[str, Value]) -> Alone:
    """One post, from a CPU that runs no vCPU."""
    return run_alone(assembly, poster, (VCPU, *arguments(poster, vector)), memory, cpu=1, follow=FOLLOWED)
