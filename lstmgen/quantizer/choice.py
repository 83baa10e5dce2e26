"""The choice among recipes by calibration data that the weights were not rounded by."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .. import reference
from ..emulator import Emulator
from ..errors import ModelError
from ..layers import Dense, Embedding
from ..network import Network
from ..qformat import FloatArray, IntArray
from ..quantized import QuantizedNetwork
from .recipe import Recipe

MARGIN_DB = 0.2
"""How much better a variation has to be on held-back data to be taken."""

WIDE_INPUT_DB = 3.0
"""The same of an input wider than the hidden state in a recurrent layer, which on some cores costs
the layer's fastest kernel, on AVR any."""

ROUNDS = 2
"""How often all variations of the best recipe are tried."""

MOST_VALUES = 1 << 20
"""Most values, time steps times widths of layers, of a fold: the choice takes seconds."""

Maker = Callable[[Recipe, FloatArray], QuantizedNetwork]
"""Quantizes the network by a recipe, on the calibration data given."""


@dataclass(frozen=True)
class Chosen:
    """The recipe, and the SQNR in dB on held-back data of it and of rounding to nearest."""

    recipe: Recipe
    decibel: float
    nearest: float


def wide_inputs(network: Network, precision: str) -> tuple[int, ...]:
    """Return the widths of the network's input that are tried beside the precision's own."""
    first = network.layers[0]
    if precision != "q7" or isinstance(first, Embedding):
        return ()
    return (16,) if isinstance(first, Dense) else (10, 12)


def choose(
    network: Network,
    precision: str,
    calibration: FloatArray,
    make: Maker,
    start: Recipe,
    wide: tuple[int, ...] = (),
) -> Chosen:
    """Return the best recipe that single changes of `start` lead to, never worse than nearest.

    Each is made on one half of the sequences and judged on the other, and the other way round.
    calibration: (B, T, n) with B >= 2. wide: widths of the input to try.
    """
    folds = _folds(network, calibration)
    expected = [reference.run(network, held) for _, held in folds]
    known: dict[Recipe, float] = {}

    def score(recipe: Recipe) -> float:
        if recipe not in known:
            try:
                pairs = zip(folds, expected, strict=True)
                values = [_sqnr(network, make(recipe, own), held, y) for (own, held), y in pairs]
                known[recipe] = sum(values) / len(values)
            except ModelError:
                # Half of the data may be too little, silence for one.
                known[recipe] = -math.inf
        return known[recipe]

    def worth(recipe: Recipe) -> float:
        """Return the score less what an input in another storage than h has to gain."""
        costs = recipe.input_bits in wide and not isinstance(network.layers[0], Dense)
        return score(recipe) - (WIDE_INPUT_DB - MARGIN_DB if costs else 0.0)

    nearest = replace(start, compensated=False, refit_dense=False)
    best = start
    for _ in range(ROUNDS):
        before = best
        for other in best.variations(precision, wide):
            if worth(other) > worth(best) + MARGIN_DB:
                best = other
        if best == before:
            break
    if score(nearest) > worth(best):
        best = nearest
    return Chosen(best, score(best), score(nearest))


def _folds(network: Network, x: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
    """Return both ways to split the sequences in what rounds and what judges."""
    width = network.inputs + sum(layer.width for layer in network.layers)
    most = max(1, MOST_VALUES // (x.shape[1] * width))
    halves = x[::2], x[1::2]
    one, other = (half[:: -(-len(half) // most)] for half in halves)
    return [(one, other), (other, one)]


def _sqnr(
    network: Network, q: QuantizedNetwork, x: FloatArray, expected: reference.Trace
) -> float:
    """Return the SQNR in dB of the outputs; of an argmax that of the last recurrent layer."""
    raw: IntArray = q.x.to_raw(x)
    emulator = Emulator(q, batch=len(x))
    if network.activation == "argmax":
        name, fmt = q.recurrent[-1].name, q.recurrent[-1].h
        got, wanted = fmt.to_real(emulator.trace(raw)[name]), expected.layers[name]
    else:
        got, wanted = q.y.to_real(emulator.run(raw)), expected.y
    noise = float(np.sum((got - wanted) ** 2))
    signal = float(np.sum(wanted**2))
    if not signal or not math.isfinite(signal):
        return 0.0
    return 200.0 if not noise else 10 * math.log10(signal / noise)
