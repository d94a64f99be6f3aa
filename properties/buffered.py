"""Every story with store buffers, too, where that is affordable: what a buffer hides needs no story of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from conformance.roles.scenario import Scenario

DEPTH = 2
MOST_STATES = 40_000
"""Of the story without buffers."""


def twins(stories: Iterable[Scenario], states: Mapping[str, int], most: int = MOST_STATES) -> tuple[Scenario, ...]:
    """Of each story of at most `most` states, unless it has buffers or is sampled. They are no stories: a violation that happens
    without buffers is shown without.
    """
    return tuple(
        replace(
            story,
            name=f"{story.name}/buffered",
            about=f"as {story.name}, every CPU with a store buffer",
            buffer=DEPTH,
            story=False,
        )
        for story in stories
        if not story.buffer and not story.samples and states.get(story.name, 0) <= most
    )
