"""What a user sees of a run while it goes on: what is broken, as it is found, and how far the run is."""

from __future__ import annotations

import sys
import textwrap
import time

from rich.console import Console
from rich.live import Live
from rich.text import Text

from conformance.roles.printable import printable
from conformance.verdict.events import BreachFound, Event, FunctionChecked, Progress, ScenarioExplored, ScheduleSought
from conformance.verdict.events import Waiting as Waits
from conformance.verdict.work import Check, Explore, Item

EVERY = 10.0
"""Seconds between two lines where the output is no terminal: nobody reads them as they come."""
WIDTH = 110


class Watch:
    """Writes to standard error: standard output is the report's."""

    def __init__(self) -> None:
        self.console = Console(file=sys.stderr, highlight=False)
        self.live = Live(console=self.console, auto_refresh=False, transient=True)
        self.seconds: dict[Item, float] = {}
        self.kept: set[Item] = set()
        self.said = time.monotonic()

    def __enter__(self) -> Watch:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def see(self, event: Event) -> None:
        match event:
            case BreachFound():
                self.say(Text(first_line(event), "bold red"))
            case ScenarioExplored() | FunctionChecked() | ScheduleSought():
                self.seconds[event.item] = event.seconds
                self.kept |= {event.item} if event.kept else set()
                self.go_on(event.progress)
            case Waits():
                self.go_on(event.progress)

    def go_on(self, progress: Progress) -> None:
        """On a terminal one line that changes, elsewhere a line now and then."""
        if self.console.is_terminal:
            self.live.update(Text(line(progress), "dim"), refresh=True)
        elif time.monotonic() - self.said > EVERY:
            self.say(Text(line(progress)))

    def say(self, text: Text) -> None:
        self.said = time.monotonic()
        self.console.print(text, soft_wrap=True)

    def slowest(self, count: int) -> str:
        """The items that took longest, and what all took together."""
        by_time = sorted(self.seconds.items(), key=lambda pair: -pair[1])[:count]
        rows = [f"{seconds:8.2f} s  {called(item)}{', kept' * (item in self.kept)}" for item, seconds in by_time]
        kept = f", {len(self.kept)} of them kept from earlier runs" * bool(self.kept)
        total = f"{sum(self.seconds.values()):8.2f} s  all {len(self.seconds)} together{kept}"
        return "\n".join(["Slowest:", *rows, total])


def first_line(event: BreachFound) -> str:
    """Of many to come: the schedule is still to be found."""
    told = printable(f"VIOLATED {event.clause.id} in {event.where}: {event.reason}")
    return textwrap.shorten(told, WIDTH, placeholder=" ...")


def line(progress: Progress) -> str:
    violated = f", {progress.violated} clause{'s' * (progress.violated != 1)} violated" * bool(progress.violated)
    return f"{progress.done} of {progress.of}{violated}, {progress.seconds:.0f} s, about {progress.to_go:.0f} s to go"


def called(item: Item) -> str:
    """An item of work, for people."""
    match item:
        case Explore(scenario=name):
            return f"scenario {printable(name)}"
        case Check(clause=clause):
            return f"clause {clause} as a function"
        case _:
            scenario, clause = getattr(item, "scenario", ""), getattr(item, "clause", "")
            return printable(f"least schedule of {clause} in {scenario}")
