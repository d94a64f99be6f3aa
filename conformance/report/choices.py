"""What could have been done at a step, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from conformance.roles import architectures
from conformance.roles.architecture import PLAIN
from conformance.search.replay import Replay
from conformance.search.words import Words
from conformance.verdict.choices import Choice
from conformance.verdict.suite import Suite

LEADS = {
    "can": "{clause} can still {verb} after it",
    "cannot": "{clause} cannot {verb} after it, whatever follows",
    "unknown": "what follows is too much to look at",
}


def told(recorded: Replay, choices: Sequence[Choice], step: int, suite: Suite) -> Iterator[str]:
    scenario = recorded.own or next(s for s in suite.scenarios if s.name == recorded.scenario)
    words = Words(architectures().get(scenario.architecture, PLAIN))
    verb = "be shown" if recorded.witness else "break"
    width = max(len(choice.agent) for choice in choices)
    yield f"At step {step} of {len(recorded.steps)} in scenario {scenario.name} these were possible (* was taken):"
    for choice in choices:
        routine = next((fact.routine for fact in choice.facts if fact.routine), "")
        does = "; ".join(map(words.fact, choice.facts)) or "nothing that others notice"
        does = f"{routine}: {does}" if routine else does
        leads = LEADS[choice.leads].format(clause=recorded.clause, verb=verb)
        yield f"  {'*' if choice.taken else ' '} {choice.agent:<{width}}  {does}"
        yield f"    {'':<{width}}    {leads}"
