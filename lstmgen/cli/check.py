"""`lstmgen check`: whether a generated folder is still what would be generated."""

from pathlib import Path

import click

from ..output import drift


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def check(folder: Path) -> None:
    """Exit with 1, naming each file that drifted, if FOLDER was edited or made by another version.

    The comparison is to the byte; it needs nothing but the folder. A proof in its report has to
    be one, and of the files that it holds.
    """
    problems, proof = drift(folder)
    for line in problems:
        click.echo(line)
    if problems:
        raise SystemExit(1)
    click.echo(f"{folder}: no drift, {proof}")
