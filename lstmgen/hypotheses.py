"""What may have been read wrong in a network: each mistake undone, for `diagnosis` to try."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import permutations
from typing import get_args

import numpy as np

from .layers import (
    Bidirectional,
    Dense,
    Direction,
    Embedding,
    Ends,
    GateFunction,
    Gru,
    Layer,
    Lstm,
    Merge,
    Recurrent,
    parts_of,
)
from .network import Network, Outputs
from .qformat import FloatArray
from .weights import reordered

Part = Recurrent | Dense
Change = tuple[str, Callable[[], Part]]
"""What is true instead, with {} for the layer's name, and the layer as it then is."""

_HEADS = {"linear": "none", "softmax": "softmax", "sigmoid": "sigmoid", "argmax": "argmax"}
_KINDS = ((Lstm, "LSTM"), (Gru, "GRU"), (Dense, "dense"))
_BIASES = (("no bias", 0.0), ("twice the bias", 2.0), ("half the bias", 0.5))


@dataclass(frozen=True)
class Hypothesis:
    """A network as it would be without a mistake; made when it is tried.

    what: what is true instead; flag: the option of the command line that says so, if any.
    turned_x, turned_y: whether the inputs, or the outputs, are taken from the last to the first.
    whole: whether sequences must be tried to their end.
    """

    what: str
    make: Callable[[], Network]
    flag: str | None = None
    turned_x: bool = False
    turned_y: bool = False
    whole: bool = False


def hypotheses(network: Network) -> Iterator[Hypothesis]:
    """Yield what may have been read wrong, the likeliest and the cheapest to mend first."""
    yield from _of_outputs(network)
    yield from _of_time(network)
    yield from _of_both_ways(network)
    yield from _of_parts(network)


def pairs(network: Network) -> Iterator[Hypothesis]:
    """Yield what may be wrong besides a head that the file did not state."""
    for head in _of_outputs(network):
        if head.flag is None or not head.flag.startswith("--head"):
            continue
        other = head.make()
        for kind in (_of_both_ways, _of_time, _of_parts):
            for one in kind(other):
                flag = " ".join(known for known in (head.flag, one.flag) if known)
                yield replace(one, what=f"{head.what}, and {one.what}", flag=flag)


def _of_outputs(network: Network) -> Iterator[Hypothesis]:
    other: Outputs = "last" if network.outputs == "sequence" else "sequence"
    make = partial(replace, network, outputs=other)
    yield Hypothesis(f"outputs is {other}", make, f"--outputs {other}", whole=True)
    last = network.layers[-1]
    for layer in network.layers[::-1]:
        if not isinstance(layer, Dense):
            continue
        known = _HEADS if layer is last else {}
        for activation in dict.fromkeys([*known, "linear", "sigmoid", "tanh", "relu"]):
            if activation != layer.activation:
                flag = f"--activation {layer.name}={activation}"
                if activation in known:
                    flag = f"--head {known[activation]}"
                what = f"{layer.name} has the activation {activation}, not {layer.activation}"
                yield Hypothesis(what, partial(_with, network, layer, activation=activation), flag)
    if isinstance(last, Dense) and not isinstance(network.layers[0], Embedding):
        skip = np.eye(last.W.shape[0], network.inputs) if last.skip is None else None
        verb = "is not" if skip is None else "is"
        what = f"the network's input {verb} added to what {last.name} gives"
        yield Hypothesis(what, partial(_with, network, last, skip=skip))


def _of_time(network: Network) -> Iterator[Hypothesis]:
    same, runs = partial(replace, network), "from the last step to the first"
    yield Hypothesis(f"the inputs run {runs}", same, turned_x=True, whole=True)
    if network.outputs == "sequence":
        yield Hypothesis(f"the outputs run {runs}", same, turned_y=True, whole=True)
        what = f"inputs and outputs run {runs}"
        yield Hypothesis(what, same, turned_x=True, turned_y=True, whole=True)
    for layer in network.layers:
        for direction in get_args(Direction) if isinstance(layer, Lstm | Gru) else ():
            if isinstance(layer, Lstm | Gru) and direction != layer.direction:
                make = partial(_with, network, layer, direction=direction)
                what = f"the direction of {layer.name} is {direction}, not {layer.direction}"
                yield Hypothesis(what, make, whole=True)


def _of_both_ways(network: Network) -> Iterator[Hypothesis]:
    for layer in network.layers:
        if not isinstance(layer, Bidirectional):
            continue
        ends = next(end for end in get_args(Ends) if end != layer.ends)
        what = f"{layer.name} ends with {ends}, not {layer.ends}"
        yield Hypothesis(what, partial(_with, network, layer, ends=ends), f"--ends {ends}")
        for merge in get_args(Merge):
            if merge != layer.merge:
                what = f"the merge mode of {layer.name} is {merge}, not {layer.merge}"
                yield Hypothesis(what, partial(_with, network, layer, merge=merge))
        made = partial(_with, network, layer, forward=layer.backward, backward=layer.forward)
        yield Hypothesis(f"the halves of {layer.name} change places", made)


def _of_parts(network: Network) -> Iterator[Hypothesis]:
    """Yield what may be wrong with all layers of a kind alike, and with one of them."""
    parts = [part for layer in network.layers for part in parts_of(layer)]
    for kind, called in _KINDS:
        known = {p.name: dict(_changes(p)) for p in parts if isinstance(p, kind)}
        for text in dict.fromkeys(text for changes in known.values() for text in changes):
            names = [name for name, changes in known.items() if text in changes]
            groups = [[name] for name in names]
            for group in [names, *groups] if len(names) > 1 else groups:
                where = group[0] if len(group) == 1 else f"all {called} layers"
                made = {name: known[name][text] for name in group}
                yield Hypothesis(text.format(where), partial(_replaced, network, made))


def _changes(part: Part | Embedding) -> Iterator[Change]:
    if isinstance(part, Lstm | Gru):
        yield from _orders(part)
        yield from _biases(part)
        yield from _lstm_changes(part) if isinstance(part, Lstm) else _gru_changes(part)
        yield from _choices(part)
        yield from _transposed(part)
    elif isinstance(part, Dense):
        yield from _biases(part)
        if part.W.shape[0] == part.W.shape[1]:
            yield "the weights of {} are transposed", partial(replace, part, W=part.W.T)


def _orders(part: Recurrent) -> Iterator[Change]:
    for order in permutations(part.gates):
        if order != part.gates:
            found, instead = ", ".join(part.gates), ", ".join(order)
            turn = partial(reordered, order="".join(order), wanted="".join(part.gates))
            yield (
                f"the gates of {{}} come in the order {instead}, not {found}",
                partial(_rows, part, turn),
            )


def _biases(part: Part) -> Iterator[Change]:
    for text, factor in _BIASES:
        inner = {"b_u": factor * part.b_u} if isinstance(part, Gru) else {}
        yield f"{{}} has {text}", partial(replace, part, b=factor * part.b, **inner)


def _lstm_changes(part: Lstm) -> Iterator[Change]:
    for text, step in (("larger", 1.0), ("smaller", -1.0)):
        b = part.b + step * (np.arange(len(part.b)) // part.units == 1)
        yield f"the forget bias of {{}} is {text} by 1", partial(replace, part, b=b)
    if part.cell_clip is not None:
        yield "the cells of {} are not limited", partial(replace, part, cell_clip=None)
    if part.h0 is not None or part.c0 is not None:
        yield "the initial state of {} is zero", partial(replace, part, h0=None, c0=None)


def _gru_changes(part: Gru) -> Iterator[Change]:
    k, zeros = part.units, np.zeros(part.units)
    if part.reset_after:
        b = np.concatenate([part.b[: 2 * k], part.b[2 * k :] + part.b_u])
        before = partial(replace, part, reset_after=False, b=b, b_u=zeros)
        yield "{} resets before its matrix product", before
        yield "{} has no bias inside its reset", partial(replace, part, b_u=zeros)
    else:
        yield "{} resets after its matrix product", partial(replace, part, reset_after=True)
    sign = np.where(np.arange(3 * k) // k == 1, -1.0, 1.0)
    made = partial(_rows, part, lambda rows: (rows.T * sign).T)
    yield "the update gate z of {} is the new value's share, not the old one's", made
    if part.h0 is not None:
        yield "the initial state of {} is zero", partial(replace, part, h0=None)


def _choices(part: Recurrent) -> Iterator[Change]:
    for gate in get_args(GateFunction):
        if gate != part.gate:
            yield f"the gates of {{}} are {gate}, not {part.gate}", partial(
                replace, part, gate=gate
            )
    if part.clip is not None:
        yield "the sums of {} are not limited", partial(replace, part, clip=None)


def _transposed(part: Recurrent) -> Iterator[Change]:
    square = {key: getattr(part, key) for key in ("U", "W")}
    square = {key: array for key, array in square.items() if array.shape[1] == part.units}
    blocks = {key: partial(_blocks, array, len(part.gates)) for key, array in square.items()}
    for key, block in blocks.items():
        yield f"each gate's matrix {{}}.{key} is transposed", partial(_made, part, {key: block})
    if len(blocks) > 1:
        yield "each gate's matrices U and W of {} are transposed", partial(_made, part, blocks)
    if part.W.shape[0] == part.W.shape[1]:
        yield "{}.W is transposed", partial(replace, part, W=part.W.T)


def _blocks(array: FloatArray, gates: int) -> FloatArray:
    return np.concatenate([block.T for block in np.split(array, gates)])


def _made(part: Part, arrays: Mapping[str, Callable[[], FloatArray]]) -> Part:
    return replace(part, **{key: make() for key, make in arrays.items()})  # type: ignore[arg-type]


def _rows(part: Recurrent, change: Callable[[FloatArray], FloatArray]) -> Part:
    return replace(part, W=change(part.W), U=change(part.U), b=change(part.b))


def _with(network: Network, layer: Layer, **changes: object) -> Network:
    layers = (
        replace(one, **changes) if one is layer else one  # type: ignore[arg-type]
        for one in network.layers
    )
    return replace(network, layers=tuple(layers))


def _replaced(network: Network, made: dict[str, Callable[[], Part]]) -> Network:
    """Return the network with other layers, or halves, in place of those of the names."""

    def other(layer: Layer) -> Layer:
        if isinstance(layer, Bidirectional):
            halves = [made[half.name]() if half.name in made else half for half in layer.halves]
            return replace(layer, forward=halves[0], backward=halves[1])  # type: ignore[arg-type]
        return made[layer.name]() if layer.name in made else layer

    return replace(network, layers=tuple(other(layer) for layer in network.layers))
