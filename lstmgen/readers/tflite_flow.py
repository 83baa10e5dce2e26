"""What flows through a .tflite graph: layers so far, and which axis of the tensor is what.

Axes are written as texts of the letters B (sequences), T (time steps) and F (features): "" is
an axis of length 1 that stands for nothing, "BT" one into which two were merged.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..folding import Affine
from ..layers import Bidirectional, Layer, Lstm


class FlowError(Exception):
    """An operator does what a chain of layers cannot express; the message says what."""


@dataclass(frozen=True, eq=False)
class Flow:
    """The values of a tensor: those of the network's input taken through `layers`.

    axes: what each axis of the tensor is; None for an input whose rank is not 3.
    batch, steps, width: lengths of the axes B, T and F, -1 for open.
    backwards: whether the tensor runs from the last step of the layers' values to the first.
    taken: whether it holds the last step alone.
    """

    layers: tuple[Layer | Affine, ...]
    axes: tuple[str, ...] | None
    batch: int
    steps: int
    width: int
    backwards: bool = False
    taken: bool = False

    def plain(self, axes: Sequence[str] | None = None) -> tuple[str, ...]:
        """Return the axes (or those given), with B left out where there is one sequence."""
        found = self.axes if axes is None else axes
        return tuple(a.replace("B", "") if self.batch == 1 else a for a in found or ())

    def role(self, axis: int) -> str:
        """Return what an axis, which may be counted from the end, is."""
        found = self.plain()
        if not -len(found) <= axis < len(found):
            raise FlowError(f"axis {axis} of a tensor with {len(found)} axes")
        return found[axis]

    def features_last(self) -> None:
        """Raise a FlowError unless the last axis is that of the features."""
        if self.role(-1) != "F":
            raise FlowError(
                "takes several time steps, or none of the features, as its inputs; expected the "
                "features of one time step (a Flatten of the whole sequence is not supported)"
            )

    def with_layer(self, layer: Layer | Affine, width: int) -> "Flow":
        """Return the flow behind one more layer."""
        return replace(self, layers=(*self.layers, layer), width=width)

    def with_last(self, layer: Layer | Affine) -> "Flow":
        """Return the flow with another last layer."""
        return replace(self, layers=(*self.layers[:-1], layer))

    def reshaped(self, shape: tuple[int, ...]) -> "Flow":
        """Return the flow in another shape: axes merged, parted, dropped or put in."""
        if self.axes is None:
            if len(shape) != 3:
                return self
            return replace(
                self, axes=("B", "T", "F"), batch=shape[0], steps=shape[1], width=shape[2]
            )
        flat = "".join(self.axes)
        fitting = [
            parts for parts in _partings(flat, len(shape))
            if all(self._fits(part, n) for part, n in zip(parts, shape, strict=True))
        ]
        if not fitting:
            raise FlowError(
                f"a new shape {shape} that mixes axes; expected axes of one length put in or "
                "dropped, or those of sequences and time steps merged"
            )
        # Best with the features alone, then with the least merged.
        best = min(fitting, key=lambda parts: ("F" not in parts, sum(len(p) > 1 for p in parts)))
        return replace(self, axes=best)

    def _fits(self, part: str, length: int) -> bool:
        lengths = [{"B": self.batch, "T": self.steps, "F": self.width}[letter] for letter in part]
        open_ = -1 in lengths
        return open_ if length < 0 else open_ or math.prod(lengths) == length

    def transposed(self, order: Sequence[int]) -> "Flow":
        """Return the flow with its axes in another order."""
        axes = self.axes or ()
        if sorted(order) != list(range(len(axes))) or not axes:
            raise FlowError(f"an order {list(order)} of {len(axes)} axes")
        return replace(self, axes=tuple(axes[n] for n in order))

    def turned(self, axis: int) -> "Flow":
        """Return the flow reversed along an axis."""
        role = self.role(axis)
        if not role:
            return self
        if role != "T":
            raise FlowError(f"reverses axis {axis}; expected the axis of time steps")
        at = self._recurrent()
        layer = None if at is None else self.layers[at]
        if isinstance(layer, Lstm) and layer.direction != "forward":
            other = replace(
                layer, direction="reverse" if layer.direction == "flipped" else "flipped"
            )
            return self._with(at, other)
        return replace(self, backwards=not self.backwards)

    def without(self, axis: int) -> "Flow":
        """Return the flow with an axis dropped of which one value was taken."""
        axes = list(self.axes or ())
        del axes[axis]
        return replace(self, axes=tuple(axes))

    def step(self, axis: int, index: int, length: int) -> "Flow":
        """Return the flow of one step along an axis, kept with length 1; index < 0 from the end."""
        role = self.role(axis)
        ends = {name for name, at in (("first", 0), ("last", -1)) if index == at}
        if length > 0:
            ends |= {name for name, at in (("first", -length), ("last", length - 1)) if index == at}
        axes = list(self.axes or ())
        axes[axis] = ""
        if not role and ends:
            return replace(self, axes=tuple(axes))
        if role != "T":
            raise FlowError(f"takes index {index} of axis {axis}; expected the last time step")
        at = self._recurrent()
        if at is None:
            raise FlowError("takes one time step of the input; expected an LSTM before it")
        if self.backwards:
            ends = {{"first": "last", "last": "first"}[end] for end in ends}
        layer = self.layers[at]
        kept = replace(self, axes=tuple(axes), backwards=False, taken=True)
        if isinstance(layer, Bidirectional) and "last" in ends:
            return kept._with(at, replace(layer, ends="step"))
        wanted = "first" if isinstance(layer, Lstm) and layer.direction == "reverse" else "last"
        if isinstance(layer, Bidirectional) or wanted not in ends:
            raise FlowError(
                f"takes time step {index} of {length if length >= 0 else 'all'}; expected the "
                "step that the LSTM computes last"
            )
        return kept

    def beside(self, other: "Flow") -> tuple[Lstm, Lstm, bool]:
        """Return the forward and the backward layer of two flows over the same values, and
        whether this flow is the forward one."""
        ours, theirs = self.layers, other.layers
        same = len(ours) == len(theirs) > 0 and all(
            a is b for a, b in zip(ours[:-1], theirs[:-1], strict=True)
        )
        if not same or not isinstance(ours[-1], Lstm) or not isinstance(theirs[-1], Lstm):
            raise FlowError(
                "joins two branches that are not the directions of one bidirectional LSTM"
            )
        swapped = ours[-1].direction != "forward"
        forward, backward = (theirs[-1], ours[-1]) if swapped else (ours[-1], theirs[-1])
        if forward.direction != "forward" or backward.direction == "forward":
            raise FlowError("joins two LSTMs of one direction; expected forward and backward")
        if self.taken != other.taken or self.backwards or other.backwards:
            raise FlowError("joins outputs of different time steps")
        if not self.taken and backward.direction == "flipped":
            raise FlowError(
                "joins the backward LSTM's outputs in the order computed with the forward one's; "
                "expected REVERSE_V2 behind the backward one"
            )
        return forward, replace(backward, direction="forward"), not swapped

    def _recurrent(self) -> int | None:
        """Return the place of the last recurrent layer."""
        places = (n for n, la in enumerate(self.layers) if isinstance(la, Lstm | Bidirectional))
        return max(places, default=None)

    def _with(self, at: int | None, layer: Layer) -> "Flow":
        layers = list(self.layers)
        layers[at or 0] = layer
        return replace(self, layers=tuple(layers))


def _partings(flat: str, parts: int) -> Iterator[tuple[str, ...]]:
    """Yield all ways to part a text into so many runs, empty ones among them."""
    if parts == 0:
        if not flat:
            yield ()
        return
    for length in range(len(flat) + 1):
        for rest in _partings(flat[length:], parts - 1):
            yield (flat[:length], *rest)


def named(layers: Sequence[Layer | Affine]) -> tuple[Layer | Affine, ...]:
    """Return the layers with names as Keras gives them: lstm, lstm_1, dense, ..."""
    counts: dict[str, int] = {}
    result: list[Layer | Affine] = []
    for layer in layers:
        kind = type(layer).__name__.lower() if not isinstance(layer, Affine) else "normalization"
        number = counts.get(kind, 0)
        counts[kind] = number + 1
        name = f"{kind}_{number}" if number else kind
        if isinstance(layer, Bidirectional):
            forward = replace(layer.forward, name=f"{name}_forward")
            backward = replace(layer.backward, name=f"{name}_backward")
            layer = replace(layer, forward=forward, backward=backward)
        result.append(replace(layer, name=name))
    return tuple(result)


