"""The commands that rest on ordering constraints: `intack litmus`, `intack order`, `intack fences`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from conformance.adapters.registry import Implementation
    from conformance.litmus.axioms import Model
    from conformance.roles.scenario import Scenario
    from conformance.verdict.explore import Suite

UNDECIDED, BAD_INPUT = 2, 3

LITMUS_STATUS = """
Exit status: 0 every test that is supported was decided; 2 one stayed UNKNOWN; 3 a file cannot be read or is no litmus
test (the others are decided all the same).
"""


@click.command(epilog=LITMUS_STATUS)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--model", type=click.Choice(["tso", "armv8", "sc"]), help="Default: what the test's architecture has.")
@click.option("--witness", is_flag=True, help="Show an execution that satisfies the condition, as lanes.")
@click.option("--seconds", default=60.0, show_default=True, help="For each test; then it is UNKNOWN.")
def litmus(files: tuple[Path, ...], model: str | None, witness: bool, seconds: float) -> int:
    """Decide litmus tests in herd's format for X86, X86_64 and AArch64: a line a test.

    A directory stands for all *.litmus files in it.
    """
    from conformance.litmus import solve
    from conformance.litmus.observe import observe
    from conformance.litmus.parse import Damaged
    from conformance.litmus.witness import lanes

    if not _installed():
        raise click.UsageError(solve.INSTALL)
    status = 0
    for path in _files(files):
        try:
            seen = observe(path.read_text("utf-8-sig"), model, seconds=seconds, alone=witness)  # type: ignore[arg-type]
        except (Damaged, UnicodeDecodeError) as error:
            click.echo(f"{path} is no litmus test: {error}", err=True)
            status = BAD_INPUT
            continue
        except OSError as error:
            click.echo(f"cannot read {path}: {str(error.strerror).lower()}", err=True)
            status = BAD_INPUT
            continue
        click.echo(str(seen))
        if witness and seen.positive:
            click.echo(lanes(seen.positive, seen.model))
        if seen.verdict == "UNKNOWN":
            status = status or UNDECIDED
    return status


ORDER_STATUS = """
Exit status: 0 a schedule fits and none that fits violates anything; 1 one that fits does; 2 no schedule fits, or that
could not be decided; 3 bad usage.
"""


@click.command(epilog=ORDER_STATUS)
@click.argument("constraints", nargs=-1, required=True, metavar="CONSTRAINT...")
@click.option("-a", "--adapter", default="reference", metavar="SPEC", help="As in intack run. Default: reference.")
@click.option("--profile", default="", metavar="NAME", help="As in intack run.")
@click.option("--scenario", "scenarios", multiple=True, metavar="NAME", help="Only here. Repeatable. Default: all.")
def order(constraints: tuple[str, ...], adapter: str, profile: str, scenarios: tuple[str, ...]) -> int:
    """Is there a schedule that fits, and does any that fits break a clause?

    A CONSTRAINT is a chain such as "cpu1.reads mode < cpu0.mode := 1 < cpu0.enters", or "not reached cpu1.sends"; several
    may stand in one text after a semicolon. A name is a lane of the report, a dot, and how an operation begins there;
    #2 at its end is the second time.
    """
    from conformance.adapters.registry import AdapterError
    from conformance.adapters.source import Fault
    from conformance.litmus import solve
    from conformance.ordering.names import BadConstraint
    from conformance.ordering.order import schedules, told

    if not _installed():
        raise click.UsageError(solve.INSTALL)
    try:
        answers = schedules(adapter, *constraints, scenarios=scenarios, profile=profile)
    except (AdapterError, BadConstraint) as error:
        raise click.UsageError(str(error)) from None
    except Fault as fault:
        click.echo(f"{fault.status}: {fault}", err=True)
        return UNDECIDED
    click.echo(told(answers, color=sys.stdout.isatty()), nl=False)
    if any(answer.violated for answer in answers):
        return 1
    decided = any(answer.fits for answer in answers) and not any(answer.undecided for answer in answers)
    return 0 if decided else UNDECIDED


FENCES_STATUS = """
Exit status: 0 every site was judged; 2 the implementation misbehaved, or it could not be decided; 3 bad usage.
"""


@click.command(epilog=FENCES_STATUS)
@click.option("-a", "--adapter", default="reference", metavar="SPEC", help="As in intack run. Default: reference.")
@click.option("--scenario", "names", multiple=True, metavar="NAME", help="Repeatable. Default: see above.")
@click.option("--model", type=click.Choice(["tso", "armv8"]), help="Default: what the scenario's architecture has.")
@click.option("--axioms", is_flag=True, help="Decide by axioms for TSO too, not by store buffers.")
@click.option("--witness/--no-witness", default=True, help="Show what needs each needed one. Default: yes.")
def fences(adapter: str, names: tuple[str, ...], model: str | None, axioms: bool, witness: bool) -> int:
    """Which fences and locked prefixes does an implementation need?

    Each is taken away in turn. For x86-TSO what then changes is found by exploring scenarios with store buffers; for
    Armv8 z3 decides it, from the axioms, for what the agents do until they enter the guest or sleep.

    Of an implementation for both architectures each is reported. By default x86 is judged in the scenarios with store
    buffers, Arm in those where one injector meets one vCPU that nobody preempts, with and without WFI.
    """
    from conformance.adapters.registry import AdapterError, resolve
    from conformance.adapters.source import Fault
    from conformance.litmus import solve
    from conformance.litmus.values import Unsupported
    from conformance.ordering import axiomatic
    from conformance.ordering import fences as buffered
    from conformance.verdict.judge import load_suite

    if not _installed():
        raise click.UsageError(solve.INSTALL)
    suite = load_suite()
    texts: list[str] = []
    try:
        implementation = resolve(adapter)
        for architecture, scenarios in _scenarios(suite, implementation, names).items():
            where = [s.name for s in scenarios]
            native: Model = "armv8" if architecture == "arm" else "tso"
            chosen: Model = native if model is None else "armv8" if model == "armv8" else "tso"
            if axioms or chosen == "armv8" or architecture == "arm":  # store buffers are x86's
                judged = axiomatic.audit(implementation, suite, scenarios, chosen)
                texts.append(axiomatic.told(judged, where, chosen, witnesses=witness))
            else:
                texts.append(buffered.told(buffered.audit(implementation, suite, scenarios), where, witnesses=witness))
    except AdapterError as error:
        raise click.UsageError(str(error)) from None
    except (Fault, Unsupported, solve.Undecided) as error:
        click.echo(f"{error.status if isinstance(error, Fault) else 'UNKNOWN'}: {error}", err=True)
        return UNDECIDED
    click.echo("\n".join(texts), nl=False)
    return 0


def _scenarios(suite: Suite, implementation: Implementation, names: tuple[str, ...]) -> dict[str, list[Scenario]]:
    """By architecture: those named, or those that an audit judges whole."""
    from conformance.verdict.session import near

    own = implementation.architectures
    known = {s.name: s for s in suite.scenarios if not s.samples}
    for name in names:
        if name not in known:
            raise click.UsageError(
                f"no scenario is called {name!r}. {near(name, list(known))} All: intack list scenarios"
            )
        if known[name].architecture not in own:
            raise click.UsageError(
                f"{implementation.name} fills {implementation.fills()}; {name} is a scenario of {known[name].architecture}"
            )
    default: dict[object, Scenario] = {}
    for scenario in filter(_judged_whole, known.values()):
        default.setdefault(scenario.name if scenario.buffer else scenario.vcpus[0].program, scenario)
    chosen = [known[name] for name in names] or list(default.values())
    found = {a: [s for s in chosen if s.architecture == a] for a in own}
    return {architecture: scenarios for architecture, scenarios in found.items() if scenarios}


def _judged_whole(scenario: Scenario) -> bool:
    if scenario.architecture == "x86":
        return bool(scenario.buffer)
    quiet = not (scenario.devices or scenario.interrupts or scenario.facts or scenario.budget.preempt)
    programs = [vcpu.program for vcpu in scenario.vcpus]
    return quiet and len(scenario.threads) == 1 and programs in ([()], [(("wfi",),)])


def _files(given: tuple[Path, ...]) -> Iterator[Path]:
    for path in given:
        if path.is_dir():
            yield from sorted(path.rglob("*.litmus"))
        else:
            yield path


def _installed() -> bool:
    try:
        import z3  # noqa: F401
    except ImportError:
        return False
    return True
