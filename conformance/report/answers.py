"""Documents of the commands that answer one question each, for programs: versioned, with a schema, as the report is.

The schema is answers.schema.json beside this file; `python -m conformance.report.answers` prints it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from conformance.litmus.observe import Observation
from conformance.ordering.axiomatic import Audited as ByAxioms
from conformance.ordering.fences import Audited
from conformance.ordering.order import Answer
from conformance.roles.printable import printable_struct
from conformance.verdict.clause import Counterexample
from conformance.verdict.crowd import Counted


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """One clause that schedules that fit break."""

    clause: str
    status: str
    """VIOLATED, or DEVIATES."""
    counterexample: Counterexample


class Directed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the constraints in one scenario."""

    scenario: str
    fits: Counterexample | None
    """The least schedule that fits."""
    broken: tuple[Answered, ...]
    why_not: str
    undecided: str
    states: int


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Of `intack order`."""

    schema: Literal["intack.order/1"] = "intack.order/1"
    constraints: tuple[str, ...]
    answers: tuple[Directed, ...]


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """A fence or a locked operation, taken away."""

    site: str
    status: str
    breaks: tuple[str, ...] = ()
    """All clauses that break without it, in the scenario of the witness."""
    scenarios: tuple[str, ...] = ()
    """Where it was taken away."""
    witness: Counterexample | None = None


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """Two sites of which either may go, and not both."""

    sites: tuple[str, str]
    breaks: tuple[str, ...]
    witness: Counterexample


class Lacks(msgspec.Struct, frozen=True, kw_only=True):
    """Broken with every fence in its place."""

    breaks: tuple[str, ...]
    mends: tuple[str, ...]
    """A full fence in any of these places keeps it."""
    where: str
    """The scenario, or the window of one, in which that was found out."""
    witness: Counterexample | None = None
    """The least schedule, of store buffers."""


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """Of `intack fences`, for one architecture."""

    schema: Literal["intack.fences/1"] = "intack.fences/1"
    implementation: str
    model: str
    method: Literal["store buffers", "axioms"]
    depth: int
    """Stores that a buffer holds where the scenario does not say; 0 by axioms."""
    scenarios: tuple[str, ...]
    too_large: tuple[str, ...] = ()
    only_missing: tuple[str, ...] = ()
    """Of those too large the ones in which it was looked for what is missing, and nothing taken away."""
    missing: tuple[Lacks, ...] = ()
    sites: tuple[Site, ...]
    together: tuple[Pair, ...] = ()


class Litmus(msgspec.Struct, frozen=True, kw_only=True):
    """Of `intack litmus`: one file. A folder's are lines of such documents."""

    schema: Literal["intack.litmus/1"] = "intack.litmus/1"
    file: str
    name: str = ""
    model: str = ""
    verdict: str
    """Sometimes, Never, Always, UNKNOWN, unsupported; of a file that is none "damaged", and "failed" where the suite itself
    did.
    """
    reason: str = ""
    """Why there is none of the first three."""
    bound: str = ""
    """What was left out; empty where nothing was."""
    terms: tuple[str, ...] = ()
    """What a state consists of."""
    states: tuple[tuple[str, ...], ...] | None = None
    """All final states, where nothing else is asked."""


class Crowds(msgspec.Struct, frozen=True, kw_only=True):
    """Of `intack crowds`."""

    schema: Literal["intack.crowds/1"] = "intack.crowds/1"
    implementation: str
    scenarios: tuple[Counted, ...]


def order(constraints: Sequence[str], found: Sequence[Answer]) -> Order:
    made = [
        Directed(
            scenario=a.scenario,
            fits=a.fits,
            broken=tuple(
                Answered(clause=v.clause.id, status=v.status.value, counterexample=v.counterexample)
                for v in a.verdicts
                if v.counterexample
            ),
            why_not=a.why_not,
            undecided=a.undecided,
            states=a.states,
        )
        for a in found
    ]
    return Order(constraints=tuple(constraints), answers=tuple(made))


def fences(implementation: str, audited: Audited) -> Audit:
    """By store buffers."""
    return Audit(
        implementation=implementation,
        model="tso",
        method="store buffers",
        depth=audited.depth,
        scenarios=audited.scenarios,
        too_large=audited.too_large,
        only_missing=audited.only_missing,
        missing=tuple(
            Lacks(breaks=m.breaks, mends=tuple(map(str, m.mends)), where=m.witness.scenario, witness=m.witness)
            for m in audited.missing
        ),
        sites=tuple(
            Site(site=str(j.site), status=j.status, breaks=j.breaks, scenarios=j.looked, witness=j.witness)
            for j in audited.judged
        ),
        together=tuple(
            Pair(sites=(str(p.sites[0]), str(p.sites[1])), breaks=p.breaks, witness=p.witness) for p in audited.together
        ),
    )


def fences_by_axioms(implementation: str, audited: ByAxioms, scenarios: Sequence[str], model: str) -> Audit:
    """Executions that show it are not part of it."""
    return Audit(
        implementation=implementation,
        model=model,
        method="axioms",
        depth=0,
        scenarios=tuple(scenarios),
        missing=tuple(Lacks(breaks=m.breaks, mends=tuple(map(str, m.mends)), where=m.window) for m in audited.missing),
        sites=tuple(Site(site=str(j.site), status=j.status, breaks=j.breaks) for j in audited.judged),
    )


def litmus(file: str, seen: Observation) -> Litmus:
    states = None if seen.states is None else tuple(tuple(map(str, state)) for state in seen.states)
    return Litmus(
        file=file, name=seen.name, model=seen.model, verdict=seen.verdict, reason=seen.why, bound=seen.bound,
        terms=seen.terms, states=states,
    )  # fmt: skip


DOCUMENTS = (Order, Audit, Litmus, Crowds)


def text(document: msgspec.Struct) -> str:
    """On one line, what others wrote in it made printable."""
    return msgspec.json.encode(printable_struct(document)).decode() + "\n"


def schema() -> dict[str, Any]:
    schemas, components = msgspec.json.schema_components(DOCUMENTS, ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "intack.answers/1",
        "anyOf": list(schemas),
        "$defs": components,
    }


def schema_text() -> str:
    """The schema as committed."""
    return msgspec.json.format(msgspec.json.encode(schema()), indent=1).decode() + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")
