"""The values between two operators: the layers that made them, and what their axes are."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ..errors import ModelError
from ..folding import Affine, fold
from ..layers import Activation, Bidirectional, Dense, Gru, Layer, Lstm, Merge, recurrent_parts
from ..network import MAX_WEIGHTS, MAX_WIDTH
from ..qformat import FloatArray
from .onnx_axes import Axes, Axis, axis_of, size_of

Half = Literal["forward", "backward"]

Taken = Literal["state", "step", "first"]
"""A value out of a sequence: the last that a layer computed, the one at the last time step where
a backward layer has seen that step only, or the one at the first."""


@dataclass(frozen=True, eq=False)
class Signal:
    """Values that follow from the graph's input `source` by `layers`.

    features: the axis of the features, None until an operator tells; for a bidirectional layer
        (directions, features), which may lie apart.
    time, batch: the axes of both, None until a recurrent layer tells.
    half: the direction of a bidirectional layer, the last of `layers`, that this is.
    taken: which value of the sequence, None for all.
    flipped: the axis that runs backwards, () for none.
    scale, offset: what to apply before the features are known.
    """

    source: str
    axes: Axes
    layers: tuple[Layer | Affine, ...] = ()
    features: Axis | None = None
    time: Axis | None = None
    batch: Axis | None = None
    half: Half | None = None
    taken: Taken | None = None
    flipped: Axis = ()
    scale: float = 1.0
    offset: float = 0.0

    @property
    def recurrent(self) -> int | None:
        """The number of the last recurrent layer."""
        found = [at for at, layer in enumerate(self.layers) if _is_recurrent(layer)]
        return found[-1] if found else None

    @property
    def directions(self) -> Axis:
        """The axis of both directions, or () where there is none apart from the features."""
        last = self.layers[-1] if self.layers else None
        both = isinstance(last, Bidirectional) and last.merge == "concat" and self.half is None
        return self.features[:1] if both and self.features else ()

    def word(self, axis: Axis) -> str:
        """Return what to call an axis in a message."""
        known = {"time": self.time, "batch": self.batch, "features": self.features}
        for name, role in known.items():
            if axis and axis == role:
                return name
        return " x ".join(atom.name for atom in axis) or "1"

    def layout(self, axes: Axes | None = None) -> str:
        """Return the axes for a message, such as (batch, time, features)."""
        return f"({', '.join(self.word(axis) for axis in (self.axes if axes is None else axes))})"


@dataclass(frozen=True, eq=False)
class Stack:
    """Values of several layers along one axis, as torch's h_n; each has size 1 there."""

    axis: int
    parts: tuple[Signal, ...]


def width_of(features: Axis, label: str) -> int:
    """Return the number of features, where no weights tell it."""
    size = size_of(features)
    if size is None or size > MAX_WIDTH:
        found = "open" if size is None else size
        raise ModelError(
            f"{label}: the number of its features is {found}; expected 1 to {MAX_WIDTH}"
        )
    return size


def bound(signal: Signal, at: int, size: int | None, label: str) -> Signal:
    """Return the signal with axis `at` known as the features, `size` of them.

    A ModelError if they are elsewhere, or not as many.
    """
    axis = signal.axes[at]
    features = axis if signal.features is None else signal.features
    if axis != features:
        raise ModelError(
            f"{label}: axis {at} of its input is {signal.word(axis)}, of {signal.layout()}; "
            "expected the features there: a Transpose or Reshape is missing or wrong"
        )
    found = size_of(axis)
    if None not in (found, size) and found != size:
        raise ModelError(f"{label}: its input has {found} features; expected {size}")
    signal = settled(signal, label)
    if signal.features is not None:
        return signal
    layers = signal.layers
    if (signal.scale, signal.offset) != (1.0, 0.0):
        count = width_of(axis, label) if size is None else size
        scale, offset = np.full(count, signal.scale), np.full(count, signal.offset)
        layers = (Affine("scaling", scale, offset),)
    return replace(signal, features=axis, layers=layers, scale=1.0, offset=0.0)


def settled(signal: Signal, label: str) -> Signal:
    """Return the signal with what was taken of a recurrent layer written into that layer."""
    at = signal.recurrent
    if at is None:
        return signal
    layer = signal.layers[at]
    if signal.half is not None:
        assert isinstance(layer, Bidirectional)
        if signal.taken not in (None, "state"):
            raise ModelError(_wrong_end(label, layer.name))
        part = layer.forward if signal.half == "forward" else layer.backward
        way: Literal["forward", "reverse"] = "forward" if signal.half == "forward" else "reverse"
        only = replace(part, name=layer.name, direction=way)
        return replace(signal, layers=(*signal.layers[:at], only), half=None)
    if isinstance(layer, Bidirectional) and signal.taken in ("state", "step"):
        ends: Literal["state", "step"] = "state" if signal.taken == "state" else "step"
        if layer.ends != ends:
            layer = replace(layer, ends=ends)
            layers = (*signal.layers[:at], layer, *signal.layers[at + 1 :])
            return replace(signal, layers=layers)
    elif signal.taken not in (None, "state"):
        raise ModelError(_wrong_end(label, layer.name))
    return signal


def taken_at(signal: Signal, last: bool, label: str) -> Signal:
    """Return the values at the last or at the first time step, of a sequence."""
    at = signal.recurrent
    if at is None:
        raise ModelError(f"{label}: takes a step of the sequence before any recurrent layer")
    last ^= bool(signal.flipped)
    layer = signal.layers[at]
    if isinstance(layer, Bidirectional) and signal.half is None:
        return replace(signal, taken="step" if last else "first")
    if isinstance(layer, Lstm | Gru):
        forward = layer.direction == "forward"
    else:
        forward = signal.half == "forward"
    taken: Taken = "state" if forward == last else "step" if last else "first"
    if taken != "state" and signal.half is None:
        raise ModelError(_wrong_end(label, layer.name))
    return replace(signal, taken=taken)


def _wrong_end(label: str, name: str) -> str:
    return (
        f"{label}: takes a step of {name} where that layer has seen one step only; expected its "
        "last value: step -1 of a forward layer, step 0 of a reverse one, or Y_h"
    )


def halves(signal: Signal) -> tuple[Signal, Signal]:
    """Return both directions of a bidirectional layer's values, `directions` being ()."""
    assert signal.features is not None
    axes = tuple(tuple(a for a in axis if a not in signal.directions) for axis in signal.axes)
    signal = replace(signal, axes=axes, features=signal.features[1:])
    taken = {"forward": signal.taken, "backward": signal.taken}
    if signal.taken == "step":
        taken["forward"] = "state"
    elif signal.taken == "first":
        taken["backward"] = "state"
    return (
        replace(signal, half="forward", taken=taken["forward"]),
        replace(signal, half="backward", taken=taken["backward"]),
    )


def joined(forward: Signal, backward: Signal, label: str) -> Signal | None:
    """Return both directions of one layer as one signal without an axis of the directions;
    None if they are not that."""
    if forward.layers is not backward.layers or forward.half != "forward":
        return None
    if backward.half != "backward" or forward.axes != backward.axes:
        return None
    if forward.flipped != backward.flipped:
        return None
    ends = (forward.taken, backward.taken)
    if ends not in ((None, None), ("state", "state"), ("state", "step")):
        raise ModelError(_wrong_end(label, forward.layers[-1].name))
    return replace(forward, half=None, taken=backward.taken)


def concatenated(forward: Signal, backward: Signal, axis: int, label: str) -> Signal | None:
    """Return both directions along an axis, of size 1 or of the features; None if they are not."""
    both = joined(forward, backward, label)
    if both is None or both.features is None or both.axes[axis] not in ((), both.features):
        return None
    directions = axis_of("directions", 2)
    axes = list(both.axes)
    axes[axis] = directions + axes[axis]
    return replace(both, axes=tuple(axes), features=directions + both.features)


def merged(forward: Signal, backward: Signal, way: Merge, label: str) -> Signal | None:
    """Return both directions merged value by value; None if they are not of one layer."""
    both = joined(forward, backward, label)
    if both is None:
        return None
    layer = both.layers[-1]
    assert isinstance(layer, Bidirectional)
    return replace(both, layers=(*both.layers[:-1], replace(layer, merge=way)))


def scaled(
    signal: Signal, scale: FloatArray, offset: FloatArray, name: str, label: str
) -> Signal:
    """Return scale * signal + offset; both (1,) or one for each feature."""
    if signal.features is None:
        return replace(
            signal, scale=signal.scale * scale[0], offset=signal.offset * scale[0] + offset[0]
        )
    signal = settled(signal, label)
    last = signal.layers[-1] if signal.layers else None
    halved = len(scale) == 1 and scale[0] == 0.5 and not offset.any()
    if halved and isinstance(last, Bidirectional) and last.merge == "sum":
        return replace(signal, layers=(*signal.layers[:-1], replace(last, merge="average")))
    count = last.width if isinstance(last, Lstm | Gru | Bidirectional) else None
    if isinstance(last, Dense):
        count = last.W.shape[0]
    elif isinstance(last, Affine):
        count = len(last.scale)
    count = width_of(signal.features or (), label) if count is None else count
    affine = Affine(name, _filled(scale, count), _filled(offset, count))
    if isinstance(last, Dense) and last.activation == "linear":
        return replace(signal, layers=(*signal.layers[:-1], *fold([last, affine])))
    return replace(signal, layers=(*signal.layers, affine))


def _filled(values: FloatArray, count: int) -> FloatArray:
    return np.full(count, values[0]) if len(values) == 1 else values


def activated(signal: Signal, activation: Activation, name: str, label: str) -> Signal:
    """Return activation(signal), of a dense layer: the last one, or one of the identity."""
    signal = settled(signal, label)
    layers = list(signal.layers)
    if layers and isinstance(layers[-1], Affine):
        layers[-1:] = fold(layers[-1:])
    last = layers[-1] if layers else None
    if isinstance(last, Dense) and (
        last.activation == "linear" or (last.activation, activation) == ("softmax", "argmax")
    ):
        layers[-1] = replace(last, activation=activation)
        return replace(signal, layers=tuple(layers))
    count = width_of(signal.features or (), label)
    if count * (count + 1) > MAX_WEIGHTS // 4:
        raise ModelError(
            f"{label}: {activation} of {count} features that no dense layer computes needs one of "
            f"{count} x {count} weights; expected at most {MAX_WEIGHTS // 4}"
        )
    layers.append(Dense(name, np.eye(count), np.zeros(count), activation))
    return replace(signal, layers=tuple(layers))


def _is_recurrent(layer: Layer | Affine) -> bool:
    return not isinstance(layer, Affine) and bool(recurrent_parts(layer))
