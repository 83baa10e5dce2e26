"""What arrays cannot tell: the user's word for it, the defaults, and the notes on both."""

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, cast, get_args

from ..folding import Affine, fit_problems, fold
from ..layers import Activation, Bidirectional, Dense, Ends, Layer, Lstm
from ..network import Network, Outputs
from ..weights import build_network

Head = Literal["none", "softmax", "argmax", "sigmoid"]
HEADS: tuple[str, ...] = get_args(Head)

Branch = Literal["then", "else"]
BRANCHES: tuple[str, ...] = get_args(Branch)

DENSE_ACTIVATIONS = ("relu", "tanh", "sigmoid", "linear")

CONVENTIONS = {
    "schema": "lstmgen's own schema",
    "state-dict": "a PyTorch state dict (weight_ih_l0, ...)",
    "keras": "Keras weights in order (arr_0, arr_1, ...)",
    "plain": "plain names (W0, R0, b0, ..., dense_W)",
    "plain-keras": "plain names in Keras' orientation (lstm0_W, lstm0_R, ..., dense_W)",
}
"""The conventions of model.npz by the name that `ReadOptions.convention` takes."""


@dataclass(frozen=True)
class ReadOptions:
    """The user's word on what a model file leaves open; it overrides what the file says.

    head: the activation of the last layer, which must be dense; "none" is linear.
    activations: by name of a dense layer: relu, tanh, sigmoid or linear.
    outputs: whether the network hands on the last time step or the whole sequence.
    input_range: the (lowest, highest) input.
    convention: a key of CONVENTIONS, for files that fit more than one.
    branch: the branch of each ONNX If whose condition is not constant.
    state_row: the sequence of a batch whose initial states to take, where an ONNX file has
        different ones.
    ends: what a bidirectional layer hands on as its last value.
    order: names of modules in the order in which they follow one another, where a file does not
        keep it; those not named are left out.
    cell_clip: the limit of the cell states of all LSTM layers; 0 for none.
    """

    head: Head | None = None
    activations: Mapping[str, Activation] = field(default_factory=dict)
    outputs: Outputs | None = None
    input_range: tuple[float, float] | None = None
    convention: str | None = None
    branch: Branch | None = None
    state_row: int | None = None
    ends: Ends | None = None
    order: tuple[str, ...] = ()
    cell_clip: float | None = None


@dataclass(frozen=True)
class Draft:
    """A network as far as the arrays of a file tell it.

    source: the file, for messages; name: the network's name.
    layers: in order, with normalization yet to be folded in; a dense layer's activation is the
        file's word or the default.
    stored: whether the file states the activations and the outputs.
    outputs, input_range: the file's word, or None.
    problems: what is wrong with the arrays, a line each.
    takes: which of the options "ends" and "order" the reader heeded, as the file leaves them open.
    """

    source: str
    name: str
    layers: tuple[Layer | Affine, ...]
    stored: bool = False
    outputs: Outputs | None = None
    input_range: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    takes: frozenset[str] = frozenset()


def network_name(path: str | os.PathLike[str]) -> str:
    """Return a network's name made of its file's, if that is printable and not too long."""
    stem = Path(path).stem.removesuffix(".weights")
    return stem if stem.isprintable() and 0 < len(stem) <= 64 else "model"


def complete(draft: Draft, options: ReadOptions) -> Network:
    """Return the draft with options and defaults filled in, or report all that is wrong."""
    problems = [*draft.problems, *_option_problems(draft, options)]
    if not draft.layers and not problems:
        problems.append(f"{draft.source} holds no layers; expected at least one LSTM layer")
    last = draft.layers[-1] if draft.layers else None
    layers = [_activated(layer, layer is last, options) for layer in draft.layers]
    if not problems:
        problems += [f"{draft.source}: {line}" for line in fit_problems(layers)]
    folded = [_clipped(layer, options.cell_clip) for layer in fold(layers)]
    if isinstance(last, Affine) and options.head is not None and isinstance(folded[-1], Dense):
        folded[-1] = replace(folded[-1], activation=_of_head(options.head))
    return build_network(
        folded,
        problems,
        draft.source,
        outputs=options.outputs or draft.outputs or "last",
        input_range=options.input_range or draft.input_range,
        name=draft.name,
        notes=(*draft.notes, *_notes(draft, layers, options)),
    )


def _option_problems(draft: Draft, options: ReadOptions) -> Iterator[str]:
    dense = [layer.name for layer in draft.layers if isinstance(layer, Dense)]
    others = [layer.name for layer in draft.layers if not isinstance(layer, Dense)]
    known = f"dense layers here: {', '.join(dense) or 'none'}"
    for name, activation in options.activations.items():
        if activation not in DENSE_ACTIVATIONS:
            yield (
                f"--activation {name}={activation}: {activation!a} is unknown; "
                f"expected one of {', '.join(DENSE_ACTIVATIONS)}"
            )
        if name in dense or draft.problems:
            continue  # where layers could not be read, not all names are known
        what = "is no dense layer" if name in others else "names no layer"
        yield f"{draft.source}: --activation {name}={activation}: {name!a} {what}; {known}"
    if options.order and "order" not in draft.takes:
        yield f"{draft.source}: --order does not apply: the file states the order of its layers"
    if options.ends is not None and options.ends not in get_args(Ends):
        yield f"--ends {options.ends}: unknown; expected one of {', '.join(get_args(Ends))}"
    elif options.ends is not None and "ends" not in draft.takes:
        yield (
            f"{draft.source}: --ends {options.ends} does not apply: there is no bidirectional "
            "layer whose last values the file leaves open"
        )
    if options.cell_clip is not None and not 0 <= options.cell_clip < math.inf:
        yield f"--cell-clip {options.cell_clip}: expected a finite number, 0 for no limit"
    if options.head is None:
        return
    if options.head not in HEADS:
        yield f"--head {options.head}: unknown; expected one of {', '.join(HEADS)}"
        return
    if draft.problems or not draft.layers:
        return
    last = draft.layers[-1]
    if not isinstance(last, Dense):
        if options.head != "none" and not isinstance(last, Affine):
            what = "LSTM" if isinstance(last, Lstm) else type(last).__name__
            yield (
                f"{draft.source}: --head {options.head} needs a dense layer at the end; "
                f"the last layer is the {what} {last.name}"
            )
    elif options.activations.get(last.name, _of_head(options.head)) != _of_head(options.head):
        yield (
            f"{draft.source}: --head {options.head} and --activation "
            f"{last.name}={options.activations[last.name]} both set the last layer; give one"
        )


def _of_head(head: Head) -> Activation:
    return "linear" if head == "none" else head


def _activated(
    layer: Layer | Affine, is_last: bool, options: ReadOptions
) -> Layer | Affine:
    if not isinstance(layer, Dense):
        return layer
    if is_last and options.head is not None:
        return replace(layer, activation=_of_head(options.head))
    return replace(layer, activation=options.activations.get(layer.name, layer.activation))


def _clipped(layer: Layer, limit: float | None) -> Layer:
    """Return the layer with the user's limit of cell states."""
    if limit is None:
        return layer
    if isinstance(layer, Bidirectional):
        forward, backward = (
            replace(half, cell_clip=limit or None) if isinstance(half, Lstm) else half
            for half in layer.halves
        )
        return replace(layer, forward=forward, backward=backward)
    return replace(layer, cell_clip=limit or None) if isinstance(layer, Lstm) else layer


def _notes(
    draft: Draft, layers: list[Layer | Affine], options: ReadOptions
) -> Iterator[str]:
    for before, layer in zip(draft.layers, layers, strict=True):
        if isinstance(before, Dense):
            yield _activation_note(draft, before, cast(Dense, layer), options)
    if options.head is not None and layers and isinstance(layers[-1], Affine):
        yield f"{layers[-1].name}: activation {_of_head(options.head)} behind it (set by --head)"
    if options.outputs:
        yield f"outputs {options.outputs} (set by --outputs)"
    elif draft.outputs:
        yield f"outputs {draft.outputs} (from the file)"
    else:
        yield (
            "outputs last: the values after the last time step "
            "(not stored in the file; set it with --outputs sequence)"
        )
    if options.cell_clip is not None:
        yield f"cell states limited to {options.cell_clip:g}, 0 for no limit (set by --cell-clip)"
    bounds = options.input_range or draft.input_range
    if bounds is None:
        yield "input range unknown (not stored in the file; set it with --input-range LO:HI)"
    else:
        whence = "set by --input-range" if options.input_range else "from the file"
        yield f"input range {bounds[0]:g}:{bounds[1]:g} ({whence})"


def _activation_note(draft: Draft, before: Dense, layer: Dense, options: ReadOptions) -> str:
    is_last = before is draft.layers[-1]
    found = f"{layer.name}: activation {layer.activation}"
    if is_last and options.head is not None:
        return f"{found} (set by --head)"
    if layer.name in options.activations:
        return f"{found} (set by --activation)"
    if draft.stored:
        return f"{found} (from the file)"
    other = "linear" if layer.activation == "relu" else "relu"
    flag = f"--activation {layer.name}={other}"
    if not is_last:
        return f"{found} (not stored in the file; set it with {flag})"
    return (
        f"head none: {found} (not stored in the file; "
        f"set it with --head softmax, argmax or sigmoid, or with {flag})"
    )
