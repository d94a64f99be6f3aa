"""The commands of those who plug an implementation in: `intack new`, `intack build`, `intack smoke`."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from conformance.automaton.assembly import assemble

UNDECIDED = 2


@click.command()
@click.argument("name", type=click.Path(path_type=Path))
@click.option("--lang", "language", type=click.Choice(["python", "c", "c++", "rust", "pipe"]), required=True)
@click.option("--role", default="", metavar="ROLE", help="Which role it fills. Default: who posts; on x86 sender.")
@click.option(
    "--arch", default="", metavar="NAME", help="Of which architecture. Default: the one that has such a role; x86."
)
def new(name: Path, language: str, role: str, arch: str) -> None:
    """Write a folder NAME with an implementation to begin with, how it is built, and a README.

    What passes: in python every role of every architecture, in c every role of x86 and arm, in c++, rust and pipe x86's
    sender, in pipe arm's injector. Other roles begin as routines that say that they are not written yet.
    """
    from conformance.commands.scaffold import SPECS, ScaffoldError, create, role_of

    try:
        made = create(name, language, *role_of(role, arch))
    except (ScaffoldError, OSError) as error:
        raise click.UsageError(str(error)) from None
    for path in made:
        click.echo(path)
    camel = "".join(part.capitalize() for part in name.name.split("_"))
    spec = SPECS[language].format(name=name.name, camel=camel)
    click.echo(f"Next: cd {name} && intack smoke -a {spec} && intack run -a {spec}")


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Put the program here, too.")
def build(file: str, output: Path | None) -> None:
    """Compile and link the native program that FILE (TOML) describes, and say what was found in it.

    FILE has sources, [routines] (routine = function) and [objects] (vcpu, cpu, vm = variable); see
    conformance/adapters/native/described.py for the rest.
    """
    from conformance.adapters.native.described import DescribedProgram, adapter
    from conformance.adapters.pipe import PipeError
    from conformance.adapters.registry import AdapterError
    from conformance.roles import architectures

    try:
        implementation = adapter(file)
        (architecture,) = implementation.architectures
        assembly = assemble(implementation, architectures()[architecture].example)
        program = assembly.routines[next(iter(implementation.replaces))].source
        assert isinstance(program, DescribedProgram)
        rows = program.layout()
    except (AdapterError, PipeError) as error:
        raise click.UsageError(str(error)) from None
    made = program.build()
    if output:
        shutil.copy2(made, output)
    click.echo(f"{output or made}: fills {implementation.fills()}")
    for kind, address, size, name, types in rows:
        what = program.debug.name_of(address) if kind != "routine" else program.debug.line(address + 1)
        bytes_ = f", {size} byte{'s' * (size != 1)}" if kind == "word" else ""
        click.echo(f"  {kind:8} {name:24} {what}{bytes_}{f' ({types})' if types else ''}")


@click.command()
@click.option("-a", "--adapter", metavar="SPEC", required=True, help="As for intack run.")
def smoke(adapter: str) -> int:
    """Say in two seconds whether an implementation answers: each routine's first step, and whether it answers twice the
    same. Exit status 0 if all is well, 2 if not.
    """
    from conformance.adapters.registry import AdapterError, resolve
    from conformance.adapters.source import Fault
    from conformance.commands.smoke import smoke as try_out
    from conformance.roles.printable import printable, printable_lines
    from conformance.roles.registered import RegistrationError
    from conformance.verdict.declarations import check_declared
    from conformance.verdict.suite import load_suite

    try:
        implementation = resolve(adapter)
        check_declared(implementation, load_suite())
        found = try_out(implementation)
    except (AdapterError, RegistrationError) as error:
        raise click.UsageError(str(error)) from None
    except Fault as fault:
        click.echo(printable_lines(f"{fault.status}: {fault}"))
        return UNDECIDED
    click.echo(f"{implementation.name} fills {implementation.fills()}; profile {implementation.profile}")
    width = max((len(t.call) for t in found.tried), default=0)
    columns = shutil.get_terminal_size().columns
    for tried in found.tried:
        told = f"  {tried.call:{width}}  {tried.first or 'no answer'}{'; ' * bool(tried.ended)}{tried.ended}"
        click.echo(printable(told))
        if tried.fault:
            margin = " " * min(width + 4, columns // 3)
            click.echo(click.wrap_text(printable_lines(tried.fault), columns, margin, margin, preserve_paragraphs=True))
    same = found.differs or f"{found.questions} questions, asked again in another process: the same answers"
    click.echo(
        printable_lines(same) if not any(t.fault for t in found.tried) or found.differs else "Not all of it works."
    )
    return 0 if found.works else UNDECIDED
