"""`intack fences`: the worth of each fence and locked prefix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from conformance.adapters.registry import Implementation
    from conformance.litmus.axioms import Model
    from conformance.roles.scenario import Scenario
    from conformance.verdict.suite import Suite

UNDECIDED = 2
FEW_STATES = 1_500

STATUS = """
Exit status: 0 every site was judged; 2 the implementation misbehaved, or it could not be decided; 3 bad usage.
"""


@click.command(epilog=STATUS)
@click.option("-a", "--adapter", default="reference", metavar="SPEC", help="As in intack run. Default: reference.")
@click.option("--scenario", "names", multiple=True, metavar="NAME", help="Repeatable. Default: see above.")
@click.option("--states", default=FEW_STATES, show_default=True, help="Leave out larger scenarios that are not named.")
@click.option("--model", type=click.Choice(["tso", "armv8"]), help="Default: what the scenario's architecture has.")
@click.option("--axioms", is_flag=True, help="Decide by axioms for TSO too, not by store buffers.")
@click.option("--witness/--no-witness", default=True, help="Show what needs each needed one. Default: yes.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="A document for each architecture, a line each, for programs: docs/reports.md.",
)
def fences(
    adapter: str, names: tuple[str, ...], states: int, model: str | None, axioms: bool, witness: bool, as_json: bool
) -> int:
    """Which fences and locked prefixes does an implementation need?

    Each is taken away in turn. For x86-TSO what then changes is found by exploring scenarios with store buffers; for
    Armv8 z3 decides it, from the axioms, for what the agents do until they enter the guest or sleep. What store buffers
    break with every fence in its place is told first, with the fence that is missing.

    Each architecture of which the implementation fills a role is reported. By default an architecture with TSO is judged
    in all its scenarios that have at most --states states with store buffers, smallest first, each site until it is
    needed; one with Armv8's model where one agent meets one vCPU that nobody preempts.
    """
    from conformance.adapters.registry import AdapterError, resolve
    from conformance.adapters.source import Fault
    from conformance.litmus.solve import Undecided
    from conformance.litmus.values import Unsupported
    from conformance.ordering import axiomatic
    from conformance.ordering import fences as buffered
    from conformance.report import answers as documents
    from conformance.report import ordering as report
    from conformance.roles import architectures
    from conformance.verdict.suite import load_suite

    suite = load_suite()
    texts: list[str] = []
    try:
        implementation = resolve(adapter)
        for architecture, scenarios in _scenarios(suite, implementation, names).items():
            own: Model = architectures()[architecture].memory
            chosen: Model = own if model is None else "armv8" if model == "armv8" else "tso"
            if axioms or chosen == "armv8" or own == "armv8":  # store buffers are TSO's
                audited = [s for s in scenarios if names or s.audited]
                found = axiomatic.audit(implementation, suite, audited, chosen)
                where = [s.name for s in audited]
                if as_json:
                    texts.append(documents.text(documents.fences_by_axioms(implementation.name, found, where, chosen)))
                else:
                    texts.append(report.fences_by_axioms(found, where, chosen, witnesses=witness))
            else:
                most = buffered.MOST_STATES if names else states
                found = buffered.audit(implementation, suite, scenarios, most)
                if as_json:
                    texts.append(documents.text(documents.fences(implementation.name, found)))
                else:
                    texts.append(report.fences(found, witnesses=witness))
    except AdapterError as error:
        raise click.UsageError(str(error)) from None
    except (Fault, Unsupported, Undecided) as error:
        click.echo(f"{error.status if isinstance(error, Fault) else 'UNKNOWN'}: {error}", err=True)
        return UNDECIDED
    click.echo(("" if as_json else "\n").join(texts), nl=False)
    return 0


def _scenarios(suite: Suite, implementation: Implementation, names: tuple[str, ...]) -> dict[str, list[Scenario]]:
    """By architecture: those named, or all."""
    from conformance.roles.nearest import nearest

    own = implementation.architectures
    known = {s.name: s for s in suite.scenarios if not s.samples}
    for name in names:
        if name not in known:
            raise click.UsageError(f"no scenario is called {name!r}. {nearest(name, known)} All: intack list scenarios")
        if known[name].architecture not in own:
            raise click.UsageError(
                f"{implementation.name} fills {implementation.fills()}; {name} is a scenario of {known[name].architecture}"
            )
    chosen = [known[name] for name in names] or list(known.values())
    found = {a: [s for s in chosen if s.architecture == a] for a in own}
    return {architecture: scenarios for architecture, scenarios in found.items() if scenarios}
