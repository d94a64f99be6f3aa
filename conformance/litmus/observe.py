"""From the text of a litmus test to its Observation: Sometimes, Never or Always, as herd says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from conformance.litmus.axioms import Model
from conformance.litmus.parse import parse
from conformance.litmus.program import Outcome, architecture_model, build
from conformance.litmus.solve import Found, Solver, Undecided
from conformance.litmus.thread import MOST_ROUNDS
from conformance.litmus.values import Unsupported


@dataclass(frozen=True, slots=True)
class Observation:
    """`verdict` is about the body of the condition, whatever its quantifier. `why` says why there is none."""

    name: str
    verdict: Literal["Sometimes", "Never", "Always", "unsupported", "UNKNOWN"]
    model: Model
    why: str = ""
    quantifier: str = ""
    """exists, ~exists, forall; empty where nothing is asked."""
    bound: str = ""
    """What was left out, in a few words; empty where nothing was."""
    positive: Found | None = None
    """An execution that satisfies the condition's body, if there is one."""
    negative: Found | None = None
    terms: tuple[str, ...] = ()
    """What a state consists of."""
    states: tuple[Outcome, ...] | None = None
    """All final states, where they were asked for or are the question."""

    def __str__(self) -> str:
        left_out = f" ({self.bound})" if self.bound else ""
        return f"{self.name} {self.verdict}{left_out}" + (f": {self.why}" if self.why else "")


def observe(
    text: str, model: Model | None = None, *, seconds: float = 60, alone: bool = False, states: bool = False
) -> Observation:
    """Decide a litmus test under a model, by default its architecture's. Raises `litmus.Damaged`."""
    name, chosen = _name(text), model or "tso"
    try:
        test = parse(text)
        name, chosen = test.name, model or architecture_model(test.arch)
        program = build(test)
        solver = Solver(program, chosen, seconds, alone)
        yes, no = solver.ask()
        found = tuple(sorted(solver.outcomes(), key=str)) if states or not test.quantifier else None
    except Unsupported as error:
        return Observation(name, "unsupported", chosen, str(error))
    except Undecided as error:
        return Observation(name, "UNKNOWN", chosen, str(error))
    bound = f"with at most {MOST_ROUNDS} jumps back to a label" if program.memory.endless else ""
    if bound and not yes and not no:
        return Observation(name, "UNKNOWN", chosen, f"no execution ends {bound}")
    return Observation(
        name, "Sometimes" if yes and no else "Always" if yes else "Never", chosen, "", test.quantifier, bound, yes, no,
        tuple(map(str, program.observed())), found,
    )  # fmt: skip


def _name(text: str) -> str:
    return " ".join(text.split("\n", 1)[0].split()[1:]) or "?"
