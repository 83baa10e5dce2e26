"""The command line: parses, calls, prints; decides nothing.

Exit status 0: done; 1: a check failed; 2: bad usage or bad input. Data goes to stdout,
messages to stderr, and a user's mistake never shows a traceback.
"""

import importlib
import math
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from inspect import cleandoc
from typing import Any

import click

from .. import __version__
from ..errors import LstmgenError

# Commands are imported when they are called, so that --help answers at once.
_COMMANDS = {
    "inspect": "Show the network that a model file holds.",
    "quantize": "Quantize a model and write the integer artefact.",
    "build": "Write the C of a model.",
    "emulate": "Run a model bit-exactly on arrays of inputs.",
    "verify": "Compare the C with the emulator on real targets.",
    "prove": "Prove the C free of undefined behaviour, by Frama-C.",
    "bench": "Count instructions, flash, RAM and stack on real targets.",
    "report": "Measure the accuracy against the float model.",
    "check": "Regenerate a folder and report what drifted.",
    "targets": "List the targets and whether their tools are present.",
}


class _Commands(click.Group):
    """A group whose commands live in modules of their own name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f".{cmd_name}", __name__)
        command: click.Command = getattr(module, cmd_name)
        details = cleandoc(command.help or "")
        command.help = f"{_COMMANDS[cmd_name]}\n\n{details}"
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        with _in_one_line():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        with _in_one_line(ctx):
            return super().invoke(ctx)


@contextmanager
def _in_one_line(group: click.Context | None = None) -> Iterator[None]:
    """Exit with 2 and a line for each mistake of the user, bad usage too."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "lstmgen"
        if error.ctx is None and group is not None:  # of an option without its value
            command += f" {group.invoked_subcommand}"
        message = " ".join(error.format_message().split()).rstrip(".")
        click.echo(f"{command}: {message} (see {command} --help)", err=True)
        raise SystemExit(2) from None
    except LstmgenError as error:
        print_error(error)
        raise SystemExit(2) from None


@click.group("lstmgen", cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lstmgen")
@click.option("-q", "--quiet", is_flag=True, help="Print results and errors, no notes.")
@click.option("-v", "--verbose", is_flag=True, help="Print all notes, not only assumptions.")
@click.pass_context
def main(ctx: click.Context, quiet: bool, verbose: bool) -> None:
    """Turn a trained LSTM network into quantized, bit-exact C for microcontrollers."""
    ctx.obj = {"quiet": quiet, "verbose": verbose}


def print_error(error: LstmgenError) -> None:
    """Print an error to stderr, each line under the tool's name."""
    for line in str(error).splitlines():
        click.echo(f"lstmgen: {line}", err=True)


class Failures:
    """Errors of single targets in a command that goes on with the next one."""

    def __init__(self) -> None:
        self.seen = False

    @contextmanager
    def caught(self, target: str) -> Iterator[None]:
        """Print a LstmgenError of this target instead of raising it."""
        try:
            yield
        except LstmgenError as error:
            self.seen = True
            print_error(LstmgenError(f"{target}: {error}"))

    def end(self) -> None:
        """Exit with 2 if there was an error."""
        if self.seen:
            raise SystemExit(2)


def note(text: str) -> None:
    """Print a message to stderr, unless --quiet."""
    if not click.get_current_context().find_root().obj["quiet"]:
        click.echo(text, err=True)


def show_notes(notes: Iterable[str]) -> None:
    """Print the notes of a model to stderr: those that name a flag, with --verbose all."""
    everything = click.get_current_context().find_root().obj["verbose"]
    for line in notes:
        if everything or "--" in line or "calibration" in line:
            note(f"- {line}")


def decibel(sqnr: float) -> str:
    """Return an SQNR for people, as `report.Accuracy` tells it."""
    if math.isinf(sqnr):
        return "exact" if sqnr > 0 else "no signal, only noise"
    return f"{sqnr:.2f} dB"


if __name__ == "__main__":
    sys.exit(main())
