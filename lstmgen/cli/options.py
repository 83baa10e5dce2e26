"""Options that several commands share, and what they stand for."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

import click

from .. import artefact
from ..codegen import EFFORTS
from ..codegen.ctext import MAX_NAME
from ..dataset import load_calibration
from ..errors import ModelError, OutputError
from ..layers import Activation, Ends
from ..network import Network, Outputs
from ..output import read_folder
from ..quantized import PRECISIONS, Precision, QuantizedNetwork
from ..quantizer import ROUNDINGS, Rounding, quantize
from ..readers import CONVENTIONS, ReadOptions, read_model
from ..readers.options import BRANCHES, DENSE_ACTIVATIONS, HEADS, Branch, Head

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_PRECISION: Precision = "w8a16"


class _Pair(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.2
    """Two values in one word, such as LO:HI or NAME=VALUE."""

    def __init__(self, name: str, separator: str) -> None:
        self.name, self.separator = name, separator

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, str]:
        if isinstance(value, tuple):
            return cast(tuple[str, str], value)
        left, found, right = value.partition(self.separator)
        if not (left and found and right):
            self.fail(f"{value!r} is not of the form {self.name}", param, ctx)
        return left, right


class _Range(_Pair):
    """An interval LO:HI of real numbers."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        lo, hi = super().convert(value, param, ctx)
        try:
            return float(lo), float(hi)
        except ValueError:
            self.fail(f"{value!r} is not of the form {self.name}, two numbers", param, ctx)


def model_options(command: Command) -> Command:
    """Add what a model file may leave open, and how it is to be quantized."""
    for option in reversed((
        click.option(
            "--head", type=click.Choice(HEADS), help="Activation of the last dense layer."
        ),
        click.option(
            "--activation", "activations", multiple=True, type=_Pair("NAME=ACTIVATION", "="),
            help=f"Activation of a dense layer: {', '.join(DENSE_ACTIVATIONS)}; repeatable.",
        ),
        click.option(
            "--outputs", type=click.Choice(["last", "sequence"]),
            help="Whether to hand on the last time step or all of them.",
        ),
        click.option(
            "--ends", type=click.Choice(get_args(Ends)),
            help="Last value of a bidirectional layer: both last states, or the last step's.",
        ),
        click.option(
            "--order", metavar="NAME,...",
            help="Modules in the order of their calls, where a file has another or none.",
        ),
        click.option("--input-range", type=_Range("LO:HI", ":"), help="Range of the inputs."),
        click.option(
            "--convention", type=click.Choice(list(CONVENTIONS)),
            help="How to read a file that fits more than one convention.",
        ),
        click.option(
            "--branch", type=click.Choice(BRANCHES),
            help="The branch of ONNX's If where the input decides.",
        ),
        click.option(
            "--state-row", type=click.IntRange(min=0),
            help="The sequence whose initial states to take, of an ONNX file for a batch.",
        ),
        click.option(
            "--cell-clip", type=click.FloatRange(min=0), metavar="LIMIT",
            help="Limit of the cell states of all LSTM layers, 0 for none.",
        ),
    )):
        command = option(command)
    return command


def quantize_options(command: Command) -> Command:
    """Add the options of `model_options` and those of quantization."""
    return _quantize_options(command, several=False)


def sweep_options(command: Command) -> Command:
    """Add the same options, --precision repeatable: see `sweep`."""
    return _quantize_options(command, several=True)


def target_options(command: Command) -> Command:
    """Add the targets to compile for and how to compile."""
    command = click.option(
        "-O", "level", type=click.Choice(["0", "1", "2", "3", "s"]), default="2",
        show_default=True, help="Optimization by the compiler.",
    )(command)
    return click.option(
        "--target", "targets", multiple=True, metavar="TARGET",
        help="Name, or path of a TOML file; repeatable.",
    )(command)


def sweep(options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the values of `sweep_options` for each precision as those of `quantize_options`."""
    for precision in options["precision"] or (None,):
        yield {**options, "precision": precision}


def _quantize_options(command: Command, several: bool) -> Command:
    for option in reversed((
        click.option(
            "--precision", type=click.Choice(PRECISIONS), multiple=several,
            help=f"Widths of weights and activations.  [default: {DEFAULT_PRECISION}]",
        ),
        click.option(
            "--calibration", type=click.Path(path_type=Path), metavar="FILE",
            help="Typical inputs: .npy (B, T, n), or .npz with x_calib or x.",
        ),
        click.option(
            "--rounding", type=click.Choice(ROUNDINGS), default=None,
            help="Rounding of weights: by what it does to sums, or each to nearest.  "
            "[default: auto, the best on held-back calibration data]",
        ),
        click.option(
            "--common-input", is_flag=True, default=None,
            help="One format for all features of the input, even if others would be better.",
        ),
        click.option(
            "--table-bits", type=click.IntRange(6, 11),
            help="2^N words per activation table instead of the precision's own.",
        ),
        click.option(
            "--width", multiple=True, type=_Pair("LAYER.W=BITS", "="),
            help="8 or 16 bits for a layer's weights: .W those of its input, .U of the hidden "
            "state, .P a projection; layers as inspect names them; repeatable.",
        ),
        click.option(
            "--input-bits", type=click.IntRange(8, 16),
            help="Width of the network's input instead of the precision's own.",
        ),
    )):
        command = option(command)
    return model_options(command)


effort_option = click.option(
    "--optimize", "effort", type=click.Choice(EFFORTS), default="speed", show_default=True,
    help="What unrolling in a target's kernels is worth.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def output_option(what: str, required: bool = False) -> Callable[[Command], Command]:
    """Return the option -o/--output for `what`."""
    return click.option(
        "-o", "--output", type=click.Path(path_type=Path), required=required, help=what
    )


@dataclass(frozen=True)
class Source:
    """What a command was given: a quantized network, and its float origin where known.

    stem: a name for output made from the file's. name: the C name of a generated folder.
    """

    q: QuantizedNetwork
    network: Network | None
    stem: str
    name: str | None = None


def read_network(model: Path, options: dict[str, Any]) -> Network:
    """Read a float model by the values of `model_options`."""
    return read_model(
        model,
        ReadOptions(
            head=cast("Head | None", options.get("head")),
            activations=cast(dict[str, Activation], dict(options.get("activations") or ())),
            outputs=cast("Outputs | None", options.get("outputs")),
            input_range=options.get("input_range"),
            convention=options.get("convention"),
            branch=cast("Branch | None", options.get("branch")),
            state_row=options.get("state_row"),
            ends=cast("Ends | None", options.get("ends")),
            order=tuple(options["order"].split(",")) if options.get("order") else (),
            cell_clip=options.get("cell_clip"),
        ),
    )


def load_source(model: Path, options: dict[str, Any]) -> Source:
    """Return the quantized network of a model file, an artefact or a generated folder.

    A model file is quantized by the values of `quantize_options`; for the others, which
    are quantized, such options are a ModelError.
    """
    if model.is_dir():
        refuse_options(model, options)
        q, name, _ = read_folder(model)
        return Source(q, None, name, name)
    if artefact.is_artefact(model):
        refuse_options(model, options)
        return Source(artefact.load(model), None, _stem(model))
    network = read_network(model, options)
    calibration = options.get("calibration")
    q = quantize(
        network,
        options.get("precision") or DEFAULT_PRECISION,
        None if calibration is None else load_calibration(calibration, network.inputs),
        options.get("table_bits"),
        rounding=cast("Rounding", options.get("rounding") or "auto"),
        common_input=bool(options.get("common_input")),
        widths=_once(options.get("width") or ()),
        input_bits=options.get("input_bits"),
    )
    q = replace(q, notes=(*q.notes, _origin(model, calibration)))
    return Source(q, network, _stem(model))


def _origin(*files: Path | None) -> str:
    """Return a note of the files that a network was made of, by name and SHA-256."""
    told = []
    for file in files:
        if file is not None:
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            name = file.name if file.name.isprintable() else ascii(file.name)
            told.append(f"{name} (SHA-256 {digest})")
    return f"made of {', '.join(told)}"


def _once(widths: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return --width's values by name; raises ModelError for a name with two of them."""
    names = [name for name, _ in widths]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ModelError.of(f"--width {name} is given more than once" for name in twice)
    return dict(widths)


def c_name(source: Source, name: str | None) -> str:
    """Return the user's C name, or one made of the network's or the file's name."""
    if name is not None:
        return name
    known = source.q.name if source.q.name != "model" else source.stem
    made = re.sub(r"[\W_]+", "_", known, flags=re.ASCII).strip("_").lower()
    made = made[:MAX_NAME].rstrip("_")
    return made if made and not made[0].isdigit() else f"lstm_{made}".rstrip("_")


def _stem(model: Path) -> str:
    return model.name.split(".")[0] or "model"


def refuse_options(model: Path, options: dict[str, Any]) -> None:
    """Raise ModelError if any option is given that would need the float model."""
    given = sorted(
        f"--{key.replace('_', '-')}" for key, value in options.items()
        if value is not None and value != ()
    )
    if given:
        raise ModelError(
            f"{model} is quantized already: {', '.join(given)} cannot change it; "
            "give the float model instead"
        )


def refuse_overwriting(
    file: Path, ours: Callable[[Path], bool] = lambda file: False, option: str = "--output"
) -> None:
    """Raise OutputError if `file` exists and is not one of ours; --force gets past it."""
    if file.exists() and not ours(file):
        raise OutputError(f"{file} exists; choose another {option}, or --force to overwrite it")


def refuse_input_as_output(output: Path, *inputs: Path | None, option: str = "--output") -> None:
    """Raise OutputError if the output is one of the inputs, or no regular file."""
    if not output.exists():
        return
    if not output.is_file():
        raise OutputError(f"{output} is not a regular file; choose another {option}")
    if any(path is not None and path.exists() and output.samefile(path) for path in inputs):
        raise OutputError(f"{output} is read by this command; choose another {option}")
