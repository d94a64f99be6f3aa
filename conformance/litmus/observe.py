"""From the text of a litmus test to its Observation: Sometimes, Never or Always, as herd says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from conformance.litmus.axioms import Model
from conformance.litmus.parse import parse
from conformance.litmus.program import architecture_model, build
from conformance.litmus.solve import Found, Solver, Undecided
from conformance.litmus.values import Unsupported


@dataclass(frozen=True, slots=True)
class Observation:
    """`verdict` is about the body of the condition, whatever its quantifier. `why` says why there is none."""

    name: str
    verdict: Literal["Sometimes", "Never", "Always", "unsupported", "UNKNOWN"]
    model: Model
    why: str = ""
    positive: Found | None = None
    """An execution that satisfies the condition's body, if there is one."""
    negative: Found | None = None

    def __str__(self) -> str:
        return f"{self.name} {self.verdict}" + (f": {self.why}" if self.why else "")


def observe(text: str, model: Model | None = None, *, seconds: float = 60, alone: bool = False) -> Observation:
    """Decide a litmus test under a model, by default its architecture's. Raises `litmus.Damaged`."""
    name, chosen = _name(text), model or "tso"
    try:
        test = parse(text)
        name, chosen = test.name, model or architecture_model(test.arch)
        yes, no = Solver(build(test), chosen, seconds, alone).ask()
    except Unsupported as error:
        return Observation(name, "unsupported", chosen, str(error))
    except Undecided as error:
        return Observation(name, "UNKNOWN", chosen, str(error))
    return Observation(name, "Sometimes" if yes and no else "Always" if yes else "Never", chosen, "", yes, no)


def _name(text: str) -> str:
    return " ".join(text.split("\n", 1)[0].split()[1:]) or "?"
