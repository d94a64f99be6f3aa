"""The command line: a file here for each command."""

from __future__ import annotations

import os
import sys
import traceback

import click

from conformance import __version__
from conformance.commands.crowds import crowds
from conformance.commands.diff import diff
from conformance.commands.explain import explain
from conformance.commands.export import export
from conformance.commands.fences import fences
from conformance.commands.hunt import hunt
from conformance.commands.linux import linux
from conformance.commands.listing import list_
from conformance.commands.litmus import litmus
from conformance.commands.mutate import mutate
from conformance.commands.order import order
from conformance.commands.plugging import build, new, smoke
from conformance.commands.replay import replay
from conformance.commands.report import report
from conformance.commands.run import run
from conformance.commands.scan import scan
from conformance.commands.show import show
from conformance.commands.status import BAD_USAGE, FAILED, INTERRUPTED, STATUS
from conformance.commands.streams import UnwritableError, open_streams
from conformance.commands.supervised import supervised
from conformance.roles.printable import printable_lines


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=STATUS)
@click.version_option(__version__, prog_name="intack")
def cli() -> None:
    """Does an implementation of virtual-interrupt delivery keep what the manuals promise?"""


for command in (
    run,
    report,
    diff,
    explain,
    hunt,
    replay,
    scan,
    list_,
    linux,
    show,
    export,
    new,
    build,
    smoke,
    litmus,
    order,
    fences,
    crowds,
    mutate,
):
    cli.add_command(command)


def main() -> None:
    """Entry point of the command."""
    open_streams()
    sys.exit(supervised(_command))


def _command() -> int:
    """Does what the command line says. Never raises."""
    try:
        _check_directory()
        status = cli.main(standalone_mode=False) or 0
        sys.stdout.flush()
    except click.ClickException as error:
        object.__setattr__(error, "message", printable_lines(error.message))  # final for who reads it
        error.show()
        status = BAD_USAGE
    except UnwritableError as error:
        click.echo(printable_lines(str(error)), err=True)
        status = FAILED
    except (click.Abort, KeyboardInterrupt):
        status = INTERRUPTED
    except BaseException:
        click.echo(printable_lines(traceback.format_exc().rstrip()), err=True)
        status = FAILED
    return status


def _check_directory() -> None:
    try:
        os.getcwd()
    except FileNotFoundError:
        raise click.UsageError("the working directory is not there any more. Change to another one.") from None
