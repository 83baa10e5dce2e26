"""`lstmgen targets`: what can be built for, and whether its tools are here."""

import json

import click

from ..target import Target, list_targets, load_target
from ..toolchain import missing_tools
from .options import json_option


@click.command()
@json_option
def targets(as_json: bool) -> None:
    """A target is a TOML file; give the path of one of your own to --target."""
    known = [load_target(name) for name in list_targets()]
    if as_json:
        click.echo(json.dumps({"targets": [_describe(target) for target in known]}, indent=1))
        return
    for target in known:
        click.echo(f"{target.name:<12} {target.description}")
        click.echo(f"{'':<12} {_tools(target)}")


def _describe(target: Target) -> dict[str, object]:
    return {
        "name": target.name,
        "description": target.description,
        "core": target.core,
        "isa": target.isa,
        "runs": target.runs,
        "missing": {name: list(packages) for name, packages in missing_tools(target).items()},
    }


def _tools(target: Target) -> str:
    missing = missing_tools(target)
    if not missing:
        return "tools present"
    packages = sorted({package for names in missing.values() for package in names})
    return f"missing {', '.join(missing)}: apt-get install {' '.join(packages)}"
