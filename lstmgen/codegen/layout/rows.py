"""Rows of a dense layer in groups: biases first, then the weights column by column. For RISC-V."""

from collections.abc import Sequence

import numpy as np

from ...qformat import IntArray
from ...quantized_layers import QuantizedDense
from .words import round_up


def row_words(layer: QuantizedDense, groups: Sequence[int], size: int) -> IntArray:
    """Return the words of groups of so many rows, their weights in `size` bytes."""
    found, first = [], 0
    for count in groups:
        rows = slice(first, first + count)
        weights = layer.w[rows].T.astype(f"<i{size}").ravel()
        padded = np.zeros(round_up(weights.size, 4 // size), weights.dtype)
        padded[: weights.size] = weights
        found += [layer.bias[rows], padded.view("<i4").astype(np.int64)]
        first += count
    return np.concatenate(found)


def unpack_rows(
    words: IntArray, groups: Sequence[int], size: int, layer: QuantizedDense
) -> tuple[IntArray, IntArray]:
    """Return the weights (m, n) and biases (m,) of such words."""
    weights, biases = [], []
    for count in groups:
        taken = count * layer.inputs
        end = count + round_up(taken, 4 // size) * size // 4
        narrow = words[count:end].astype("<i4").view(f"<i{size}")[:taken]
        biases.append(words[:count])
        weights.append(narrow.reshape(layer.inputs, count).T.astype(np.int64))
        words = words[end:]
    return np.concatenate(weights), np.concatenate(biases)
