"""Layers from Keras' arrays: kernels are (inputs, outputs), gates stand in columns.

An LSTM's gates are i, f, c, o there (c is what is called g here), a GRU's z, r, h.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import ModelError
from ..folding import Affine, fold
from ..layers import Activation, Dense, Embedding, Gru, Layer, Lstm
from ..qformat import FloatArray

NOTE = "kernels transposed; gates stand as i, f, c, o (c is g) in an LSTM, as z, r, h in a GRU"

EPSILON = 1e-3
"""What Keras' BatchNormalization adds to the variance unless told otherwise."""

_STANDARD_EPSILON = 1e-7
"""Least deviation of Keras' Normalization."""


def turned(kernel: FloatArray) -> FloatArray:
    """Return a kernel as (outputs, inputs)."""
    return np.ascontiguousarray(kernel.T)


def lstm(name: str, arrays: Sequence[FloatArray], **functions: Any) -> Lstm:
    """Return the LSTM of kernel (n, 4k), recurrent kernel (k, 4k) and, if given, bias (4k,)."""
    _check_matrices(name, arrays[:2])
    bias = arrays[2] if len(arrays) > 2 else np.zeros(arrays[1].shape[-1:])
    return Lstm(name, turned(arrays[0]), turned(arrays[1]), bias, **functions)


def gru(
    name: str, arrays: Sequence[FloatArray], reset_after: bool | None = None, **functions: Any
) -> Gru:
    """Return the GRU of kernel (n, 3k), recurrent kernel (k, 3k) and, if given, bias.

    The bias is (2, 3k), for inputs and state, if reset_after, else (3k,); reset_after None
    goes by that, and is on where there is no bias.
    """
    kernel, recurrent = arrays[:2]
    _check_matrices(name, (kernel, recurrent))
    columns = int(recurrent.shape[1])
    given = arrays[2] if len(arrays) > 2 else None
    if reset_after is None:
        reset_after = given is None or given.ndim == 2
    expected = (2, columns) if reset_after else (columns,)
    if given is None:
        given = np.zeros(expected)
    if given.shape != expected or columns % 3:
        raise ModelError(
            f"the bias of {name} is {given.shape}; expected {expected}, as its recurrent kernel "
            f"is {recurrent.shape} and reset_after is {'on' if reset_after else 'off'}"
        )
    k = columns // 3
    bias, inner = (given[0], given[1]) if reset_after else (given, np.zeros(columns))
    b = _rzn(bias)
    b[: 2 * k] += _rzn(inner)[: 2 * k]  # outside of r (...) both are summands of one sum
    return Gru(
        name,
        _rzn(turned(kernel)),
        _rzn(turned(recurrent)),
        b,
        np.array(inner[2 * k :]),
        reset_after,
        **functions,
    )


def dense(name: str, arrays: Sequence[FloatArray], activation: Activation = "linear") -> Dense:
    """Return the dense layer of kernel (n, m) and, if given, bias (m,)."""
    _check_matrices(name, arrays[:1])
    bias = arrays[1] if len(arrays) > 1 else np.zeros(arrays[0].shape[-1:])
    return Dense(name, turned(arrays[0]), bias, activation)


def embedding(name: str, table: FloatArray) -> Embedding:
    """Return the embedding of a table (entries, width)."""
    _check_matrices(name, (table,))
    return Embedding(name, table)


def batch_normalization(
    name: str,
    gamma: FloatArray | None,
    beta: FloatArray | None,
    mean: FloatArray,
    variance: FloatArray,
    epsilon: float = EPSILON,
) -> Affine:
    """Return (x - mean) / sqrt(variance + epsilon) * gamma + beta; all (n,)."""
    shapes = {a.shape for a in (gamma, beta, mean, variance) if a is not None}
    if len(shapes) != 1 or mean.ndim != 1:
        found = ", ".join(str(shape) for shape in sorted(shapes))
        raise ModelError(f"the arrays of {name} are {found}; expected vectors of one length")
    if not (variance + epsilon > 0).all():
        raise ModelError(f"the variance of {name} is negative; expected the square of a deviation")
    scale = (1.0 if gamma is None else gamma) / np.sqrt(variance + epsilon)
    return Affine(name, scale, (0.0 if beta is None else beta) - mean * scale)


def normalization(
    name: str, mean: FloatArray, variance: FloatArray, width: int | None, invert: bool = False
) -> Affine:
    """Return (x - mean) / sqrt(variance), or its inverse; (n,), or one number for `width`."""
    if width and mean.size == variance.size == 1:
        mean, variance = np.full(width, mean.ravel()), np.full(width, variance.ravel())
    mean, variance = np.squeeze(mean), np.squeeze(variance)
    mean, variance = np.atleast_1d(mean), np.atleast_1d(variance)
    if mean.shape != variance.shape or mean.ndim != 1 or (variance < 0).any():
        raise ModelError(
            f"mean and variance of {name} are {mean.shape} and {variance.shape}; expected "
            "vectors of one length, no variance below 0"
        )
    deviation = np.maximum(np.sqrt(variance), _STANDARD_EPSILON)
    if invert:
        return Affine(name, deviation, mean)
    return Affine.standardising(name, mean, deviation)


def activated(
    layers: Sequence[Layer | Affine], activation: Activation
) -> list[Layer | Affine] | None:
    """Return the layers with a function applied to what the last hands on.

    A linear dense layer takes it, or normalization, with the dense layer before if there is
    one; None if neither is at the end.
    """
    at = len(layers)
    while at and isinstance(layers[at - 1], Affine):
        at -= 1
    before = layers[at - 1] if at else None
    if isinstance(before, Dense) and before.activation == "linear":
        at -= 1
    folded = fold(layers[at:])
    if len(folded) != 1 or not isinstance(folded[0], Dense):
        return None
    return [*layers[:at], replace(folded[0], activation=activation)]


def _check_matrices(name: str, arrays: Sequence[FloatArray]) -> None:
    for array in arrays:
        if array.ndim != 2 or 0 in array.shape:
            raise ModelError(f"a kernel of {name} is {array.shape}; expected (inputs, outputs)")


def _rzn(rows: FloatArray) -> FloatArray:
    """Return rows in gate order z, r, h reordered to r, z, n; others are left for the checks."""
    if rows.ndim == 0 or rows.shape[0] % 3:
        return np.array(rows)
    gates = rows.reshape(3, rows.shape[0] // 3, *rows.shape[1:])
    return gates[[1, 0, 2]].reshape(rows.shape)
