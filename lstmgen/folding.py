"""Normalization and standardisation, folded into the weights of the layer beside them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from .layers import Bidirectional, Dense, Embedding, Gru, Layer, Lstm
from .qformat import FloatArray

Weighted = TypeVar("Weighted", bound=Dense | Lstm | Gru)


@dataclass(frozen=True, eq=False)
class Affine:
    """y = scale * x + offset for each of n features: batch normalization after training.

    scale, offset: (n,).
    """

    name: str
    scale: FloatArray
    offset: FloatArray

    @classmethod
    def standardising(cls, name: str, mean: FloatArray, deviation: FloatArray) -> "Affine":
        """Return (x - mean) / deviation."""
        return cls(name, 1.0 / deviation, -mean / deviation)

    def moved(self, weights: FloatArray) -> FloatArray:
        """Return (rows,) what the offset adds to sums by `weights` (rows, n).

        Added from left to right, so that it is the same to the last bit on any machine.
        """
        total = np.zeros(len(weights))
        for column, offset in zip(weights.T, self.offset, strict=True):
            total += column * offset
        return total


def fold(layers: Iterable[Layer | Affine]) -> list[Layer]:
    """Return the layers with every Affine folded into the one behind it.

    At the end it goes into a linear dense layer before it, or becomes a dense layer itself.
    What does not fit (see `fit_problems`) is left out.
    """
    found: list[Layer] = []
    waiting: Affine | None = None
    for layer in layers:
        if isinstance(layer, Affine):
            waiting = layer if waiting is None else _joined(waiting, layer)
        elif waiting is not None:
            found.append(_behind(waiting, layer))
            waiting = None
        else:
            found.append(layer)
    if waiting is not None:
        last = found[-1] if found else None
        if isinstance(last, Dense) and last.activation == "linear" and _fits(waiting, last.b):
            found[-1] = _into(last, waiting)
        else:
            found.append(Dense(waiting.name, np.diag(waiting.scale), waiting.offset))
    return found


def fit_problems(layers: Sequence[Layer | Affine]) -> Iterator[str]:
    """Yield a line for each Affine that `fold` could not fold, by the layers beside it."""
    for at, affine in enumerate(layers):
        if not isinstance(affine, Affine):
            continue
        below, above = layers[at - 1] if at else None, layers[at + 1 : at + 2]
        beside = above[0] if above else below
        if isinstance(beside, Embedding) and above:
            yield f"{affine.name}: in front of {beside.name}; an embedding takes integers only"
        elif beside is not None and not _is_broken(beside):
            width = _width(beside, before=bool(above))
            if width != len(affine.scale):
                yield (
                    f"{affine.name} normalizes {len(affine.scale)} values; "
                    f"expected {width}, the width of {beside.name}"
                )


def _is_broken(layer: Layer | Affine) -> bool:
    return not isinstance(layer, Affine) and any(True for _ in layer.shape_problems())


def _width(layer: Layer | Affine, before: bool) -> int:
    """Return how many values there are before a layer, or behind it."""
    if isinstance(layer, Affine):
        return len(layer.scale)
    return layer.inputs if before else layer.width


def _joined(first: Affine, second: Affine) -> Affine:
    if first.scale.shape != second.scale.shape:
        return first
    offset = second.scale * first.offset + second.offset
    return Affine(first.name, second.scale * first.scale, offset)


def _behind(affine: Affine, layer: Layer) -> Layer:
    """Return `layer` for inputs that `affine` has not been applied to."""
    if isinstance(layer, Bidirectional):
        forward, backward = (_weighted(affine, half) for half in layer.halves)
        return replace(layer, forward=forward, backward=backward)
    if isinstance(layer, Dense | Lstm | Gru):
        return _weighted(affine, layer)
    return layer


def _weighted(affine: Affine, layer: Weighted) -> Weighted:
    if layer.W.ndim != 2 or layer.W.shape[1:] != affine.scale.shape:
        return layer
    if layer.b.shape != layer.W.shape[:1]:
        return layer
    return replace(layer, W=layer.W * affine.scale, b=layer.b + affine.moved(layer.W))


def _into(layer: Dense, affine: Affine) -> Dense:
    scale = affine.scale[:, None]
    skip = None if layer.skip is None else scale * layer.skip
    return replace(
        layer, W=scale * layer.W, b=affine.scale * layer.b + affine.offset, skip=skip
    )


def _fits(affine: Affine, b: FloatArray) -> bool:
    return affine.scale.shape == b.shape
