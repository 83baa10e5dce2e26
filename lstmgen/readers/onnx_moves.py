"""Operators that move, cut and join axes of values that follow from the graph's input."""

from dataclasses import replace
from typing import cast

import numpy as np

from ..errors import ModelError
from ..layers import Bidirectional, Dense
from .onnx_axes import Size, axis_of, position, regroup, shape_of, size_of, sizes_of
from .onnx_folding import integers, new_shape, of_range, parts, slices
from .onnx_node import Node, Value
from .onnx_signal import Signal, Stack, bound, halves, taken_at, width_of
from .onnx_stack import stacked, unstacked

END = (1 << 31) - 1
"""What exporters write for the end of an axis, or more."""


def identity(node: Node) -> list[Value]:
    """Identity, Dropout and the like: the first input."""
    value = node.inputs[0]
    return [value if isinstance(value, Stack) else node.signal()]


def cast_to(node: Node) -> list[Value]:
    """Cast, as long as it does not round the values of layers."""
    signal = node.signal()
    kind = node.integer("to")
    rounds = kind not in (1, 10, 11, 16)
    last = signal.layers[-1] if signal.layers else None
    index = isinstance(last, Dense) and last.activation == "argmax"
    computed = last is not None or (signal.scale, signal.offset) != (1.0, 0.0)
    if rounds and computed and not index:
        raise ModelError(f"{node.label}: rounds to integers; expected a Cast to floats")
    return [signal]


def dropout(node: Node) -> list[Value]:
    """Dropout, which does nothing once a network is trained."""
    if node.has(2) and bool(np.any(node.constant(2))):
        raise ModelError(f"{node.label}: is in training mode; export the model in eval mode")
    return [node.signal()]


def transpose(node: Node) -> list[Value]:
    """Transpose: axes in another order."""
    signal = node.signal()
    rank = len(signal.axes)
    order = node.integers("perm", list(range(rank))[::-1])
    if sorted(order) != list(range(rank)):
        raise ModelError(f"{node.label}: perm is {order[:8]}; expected each of {rank} axes once")
    return [replace(signal, axes=tuple(signal.axes[at] for at in order))]


def squeeze(node: Node) -> list[Value]:
    """Squeeze: axes of size 1 left out."""
    signal = node.signal()
    rank = len(signal.axes)
    given = node.axes()
    chosen = {position(at, rank) for at in given or ()}
    if given is None:
        chosen = {at for at, axis in enumerate(signal.axes) if not axis}
    for at in chosen:
        if signal.axes[at]:
            raise ModelError(
                f"{node.label}: leaves out axis {at}, {signal.word(signal.axes[at])}, of "
                f"{signal.layout()}; expected an axis of size 1"
            )
    kept = tuple(axis for at, axis in enumerate(signal.axes) if at not in chosen)
    return [replace(signal, axes=kept)]


def unsqueeze(node: Node) -> list[Value]:
    """Unsqueeze: new axes of size 1."""
    signal = node.signal()
    given = node.axes() or []
    rank = len(signal.axes) + len(given)
    new = {position(at, rank) for at in given}
    if len(new) != len(given) or rank > 8:
        raise ModelError(f"{node.label}: axes {given[:8]}; expected different ones, of at most 8")
    old = iter(signal.axes)
    return [replace(signal, axes=tuple(() if at in new else next(old) for at in range(rank)))]


def reshape(node: Node) -> list[Value]:
    """Reshape and Flatten: axes merged and split, in their order."""
    value = node.inputs[0]
    if isinstance(value, Stack) and node.type == "Reshape":
        return [unstacked(value, node)]
    signal = node.signal()
    if node.type == "Flatten":
        at = node.integer("axis", 1)
        at = at if at == len(signal.axes) else position(at, len(signal.axes))
        groups = (signal.axes[:at], signal.axes[at:])
        return [replace(signal, axes=tuple(sum(group, ()) for group in groups))]
    target = new_shape(node, sizes_of(signal.axes))
    try:
        return [replace(signal, axes=regroup(signal.axes, target, not signal.layers))]
    except ValueError as error:
        shown = ", ".join("open" if isinstance(size, Size) else str(size) for size in target[:8])
        raise ModelError(
            f"{node.label}: cannot be followed from {signal.layout()} to ({shown}): {error}"
        ) from None


def shape(node: Node) -> list[Value]:
    """Shape: sizes as far as they are known."""
    return [of_range(node, shape_of(node.signal().axes))]


def expand(node: Node) -> list[Value]:
    """Expand, where it does nothing."""
    signal = node.signal()
    target = node.constant(1).ravel().tolist()[:16]
    known = shape_of(signal.axes).tolist()
    padded = [1] * (len(known) - len(target)) + target
    if len(padded) != len(known) or any(
        size not in (1, old) for size, old in zip(padded, known, strict=True)
    ):
        raise ModelError(f"{node.label}: repeats the network's values, which is not supported")
    return [signal]


def gather(node: Node) -> list[Value]:
    """Gather of one index along an axis: a step, a direction, a layer's state."""
    value = node.inputs[0]
    index = node.constant(1)
    if index.size != 1 or index.ndim > 1:
        raise ModelError(f"{node.label}: takes {index.size} indices; expected one")
    (chosen,) = integers(index)
    if isinstance(value, Stack):
        at = position(node.integer("axis", 0), len(value.parts[0].axes))
        if at != value.axis:
            return [node.signal()]  # which names what is wrong
        signal = value.parts[position(chosen, len(value.parts))]
    else:
        signal = node.signal()
        at = position(node.integer("axis", 0), len(signal.axes))
        signal = _part(signal, at, chosen, chosen + 1 if chosen != -1 else None, node)
    if index.ndim == 0:
        signal = replace(signal, axes=signal.axes[:at] + signal.axes[at + 1 :])
    return [signal]


def cut(node: Node) -> list[Value]:
    """Slice: a step, a direction, some features, layers' states, or time reversed."""
    value = node.inputs[0]
    if isinstance(value, Stack):
        chosen = slices(node, len(value.parts[0].axes))
        if len(chosen) != 1 or chosen[0][0] != value.axis:
            return [node.signal()]
        return [stacked(value.parts[chosen[0][1]], value.axis, node)]
    signal = node.signal()
    for at, part in slices(node, len(signal.axes)):
        axis = signal.axes[at]
        if part.step == -1 and part.start in (-1, (size_of(axis) or 0) - 1) and part.stop is None:
            signal = _flipped(signal, at, node)
        elif part.step != 1:
            raise ModelError(
                f"{node.label}: takes each {part.step}th of {signal.word(axis)}, "
                "which is not supported"
            )
        else:
            stop = None if part.stop is not None and part.stop >= END else part.stop
            signal = _part(signal, at, part.start, stop, node)
    return [signal]


def split(node: Node) -> list[Value]:
    """Split: parts along an axis."""
    signal = node.signal()
    at = position(node.integer("axis", 0), len(signal.axes))
    found: list[Value] = []
    start = 0
    for size in parts(node, size_of(signal.axes[at])):
        found.append(_part(signal, at, start, start + size, node))
        start += size
    return found


def reverse_sequence(node: Node) -> list[Value]:
    """ReverseSequence over all steps."""
    signal = node.signal()
    at = position(node.integer("time_axis", 0), len(signal.axes))
    known = shape_of(signal.axes)[at]
    if any(length != known for length in node.constant(1).ravel().tolist()[: 1 << 12]):
        raise ModelError(f"{node.label}: reverses a part of the steps; expected all of them")
    return [_flipped(signal, at, node)]


def _part(signal: Signal, at: int, start: int | None, stop: int | None, node: Node) -> Signal:
    """Return elements start to stop of an axis, which stays."""
    axis = signal.axes[at]
    size = size_of(axis)
    if size is None:
        if start in (0, None) and stop is None:
            return signal
        first, last, count = (start, stop) == (0, 1), (start, stop) == (-1, None), 1
        low, high = 0, 0
    else:
        low, high, _ = slice(start, stop).indices(size)
        if (low, high) == (0, size):
            return signal
        count = high - low
        first, last = (low, high) == (0, 1), (low, high) == (size - 1, size)
    short = signal.axes[:at], signal.axes[at + 1 :]
    if axis == signal.time:
        if not (first or last):
            raise ModelError(
                f"{node.label}: takes a part of the time steps; expected the last one, or all"
            )
        taken = taken_at(signal, last, node.label)
        return replace(taken, axes=(*short[0], (), *short[1]))
    if axis == signal.directions and count == 1:
        return halves(signal)[low]
    if axis == signal.features and signal.directions:
        layer = cast(Bidirectional, signal.layers[-1])
        k = layer.forward.width
        if (low, high) in ((0, k), (k, 2 * k)):
            return halves(signal)[low // k]
    if signal.features is None and not signal.layers and count == 1 and at < len(signal.axes) - 1:
        source = f"{signal.source}[{start}]"
        return replace(signal, source=source, axes=(*short[0], (), *short[1]))
    if size is None or count < 1 or axis not in (signal.features, signal.axes[-1]):
        raise ModelError(
            f"{node.label}: takes a part of axis {at}, {signal.word(axis)}, of "
            f"{signal.layout()}; expected the last time step, or some features"
        )
    signal = bound(signal, at, size, node.label)
    features = axis_of("some features", count)
    S = np.eye(width_of(axis, node.label))[low:high]
    chosen = Dense(f"part{len(signal.layers)}", S, np.zeros(count))
    return replace(
        signal, axes=(*short[0], features, *short[1]), features=features,
        layers=(*signal.layers, chosen),
    )


def _flipped(signal: Signal, at: int, node: Node) -> Signal:
    axis = signal.axes[at]
    if not axis:
        return signal
    known = signal.time if signal.time is not None else signal.flipped or axis
    if axis != known or signal.taken is not None:
        raise ModelError(
            f"{node.label}: reverses {signal.word(axis)}; expected the time steps to be reversed"
        )
    return replace(signal, flipped=() if signal.flipped else axis)
