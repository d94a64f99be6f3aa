"""`intack export`: a scenario with an implementation, as another tool's input."""

from __future__ import annotations

from conformance.adapters.registry import AdapterError, resolve
from conformance.adapters.source import Fault
from conformance.machine.build import in_machine
from conformance.machine.machine import Machine
from conformance.search.promela import TooLarge, promela
from conformance.verdict.explore import MOST_STATES
from conformance.verdict.session import BadInput, near
from conformance.verdict.suite import load_suite


def as_promela(spec: str, name: str) -> str:
    """Promela of the scenario called `name` with the implementation that `spec` names. Raises BadInput."""
    suite = load_suite()
    scenarios = {s.name: s for s in suite.scenarios}
    scenario = scenarios.get(name)
    if scenario is None:
        raise BadInput(
            f"no scenario is called {name!r}. {near(name, list(scenarios))} All of them: intack list scenarios"
        )
    if scenario.samples:
        raise BadInput(
            f"scenario {name} is sampled, being too large to be exhausted: only what is exhausted is exported"
        )

    def export(machine: Machine) -> str:
        text = promela(machine, f"{name}, {scenario.about}; {spec}; {scenario.bounds()}", MOST_STATES)
        machine.assembly.recheck()
        return text

    try:
        return in_machine(resolve(spec), scenario, suite, export)
    except AdapterError as error:
        raise BadInput(str(error)) from None
    except TooLarge as error:
        raise BadInput(f"{spec} in scenario {name} has {error}: choose a smaller scenario") from None
    except Fault as fault:
        raise BadInput(
            f"{spec} in scenario {name} has no closed automaton, for its exploration ends with {fault.status}: {fault}. "
            f"See intack run -a {spec}"
        ) from None
