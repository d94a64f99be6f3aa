"""`intack export`: a scenario with an implementation, as another tool's input."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

import click

if TYPE_CHECKING:
    from conformance.machine.machine import Machine


@click.command(epilog="Exit status: 0 it is written; 3 bad usage; 4 the suite itself failed.")
@click.option("--promela", is_flag=True, required=True, help="As Promela, for Spin. How to run it stands at its top.")
@click.option("-a", "--adapter", default="reference", metavar="SPEC", help="As for run. Default: reference.")
@click.option("--scenario", required=True, metavar="NAME", help="One of intack list scenarios.")
@click.option("-o", "--output", default="-", type=click.File("w", lazy=True), metavar="FILE", help="Default: stdout.")
def export(promela: bool, adapter: str, scenario: str, output: IO[str]) -> None:
    """Write a scenario and the closed automata of an implementation in it for another model checker."""
    from conformance.verdict.session import BadInput

    try:
        text = as_promela(adapter, scenario)
    except BadInput as error:
        raise click.UsageError(str(error)) from None
    output.write(text)


def as_promela(spec: str, name: str) -> str:
    """Promela of the scenario called `name` with the implementation that `spec` names. Raises BadInput."""
    from conformance.adapters.registry import AdapterError, resolve
    from conformance.adapters.source import Fault
    from conformance.machine.build import in_machine
    from conformance.roles.nearest import nearest
    from conformance.search.promela import TooLarge, promela
    from conformance.verdict.explore import MOST_STATES
    from conformance.verdict.session import BadInput
    from conformance.verdict.suite import load_suite

    suite = load_suite()
    scenarios = {s.name: s for s in suite.scenarios}
    scenario = scenarios.get(name)
    if scenario is None:
        raise BadInput(f"no scenario is called {name!r}. {nearest(name, scenarios)} All of them: intack list scenarios")
    if scenario.samples:
        raise BadInput(
            f"scenario {name} is sampled, being too large to be exhausted: only what is exhausted is exported"
        )

    def written(machine: Machine) -> str:
        text = promela(machine, f"{name}, {scenario.about}; {spec}; {scenario.bounds()}", MOST_STATES)
        machine.assembly.recheck()
        return text

    try:
        return in_machine(resolve(spec), scenario, suite, written)
    except AdapterError as error:
        raise BadInput(str(error)) from None
    except TooLarge as error:
        raise BadInput(f"{spec} in scenario {name} has {error}: choose a smaller scenario") from None
    except Fault as fault:
        raise BadInput(
            f"{spec} in scenario {name} has no closed automaton, for its exploration ends with {fault.status}: {fault}. "
            f"See intack run -a {spec}"
        ) from None
