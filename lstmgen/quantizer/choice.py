"""The choice among recipes by calibration data that the weights were not rounded by."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .. import reference
from ..emulator import Emulator
from ..errors import LstmgenError
from ..network import Network
from ..qformat import FloatArray, IntArray
from ..quantized import QuantizedNetwork
from .recipe import Offers, Recipe

MARGIN_DB = 0.2
"""How much better a variation has to be on held-back data to be taken."""

MOST_RECIPES = 32
"""Most recipes that are tried."""

MOST_VALUES = 1 << 20
"""Most values, time steps times widths of layers, of a fold: the choice takes seconds."""

_SATURATING = ("argmax", "softmax", "sigmoid")

Maker = Callable[[Recipe, FloatArray], QuantizedNetwork]
"""Quantizes the network by a recipe, on the calibration data given."""


@dataclass(frozen=True)
class Chosen:
    """The recipe; the SQNR in dB on held-back data (`_sqnr`) of it and of rounding to nearest."""

    recipe: Recipe
    decibel: float
    nearest: float

    @property
    def held(self) -> bool:
        """Whether the recipe found formats that hold the network."""
        return self.decibel > -math.inf


def choose(
    network: Network, calibration: FloatArray, make: Maker, start: Recipe, offers: Offers
) -> Chosen:
    """Return the recipe that single changes for the better lead to, never worse than nearest.

    The first change that helps is taken, and the search goes on from there. Each recipe is made
    on one half of the sequences and judged on the other, and the other way round.
    calibration: (B, T, n) with B T >= 2. offers: what there is to choose from.
    """
    folds = _folds(network, calibration)
    # Weights of any size come here: what no format can hold is refused where it is quantized.
    with np.errstate(over="ignore", invalid="ignore"):
        expected = [reference.run(network, held) for _, held in folds]
    known: dict[Recipe, float] = {}

    def score(recipe: Recipe) -> float:
        if recipe not in known:
            try:
                pairs = zip(folds, expected, strict=True)
                values = [_sqnr(network, make(recipe, own), held, y) for (own, held), y in pairs]
                known[recipe] = _joined(values)
            except LstmgenError:
                # Half of the data may be too little, silence for one.
                known[recipe] = -math.inf
        return known[recipe]

    def worth(recipe: Recipe) -> float:
        return score(recipe) - offers.price(recipe)

    nearest = replace(start, compensated=False, firm=False, refit_dense=False)
    best = start
    better: Recipe | None = start
    while better is not None:
        best = better
        tried = (r for r in best.variations(offers) if r in known or len(known) < MOST_RECIPES)
        better = next((r for r in tried if worth(r) > worth(best) + MARGIN_DB), None)
    if score(nearest) > worth(best):
        best = nearest
    return Chosen(best, score(best), score(nearest))


def _joined(decibels: Sequence[float]) -> float:
    """Return the SQNR in dB of the mean noise: one bad fold weighs more than one that is good."""
    noise = [10 ** (-value / 10) for value in decibels]
    return -10 * math.log10(sum(noise) / len(noise))


def _folds(network: Network, x: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
    """Return both ways to split the sequences in what rounds and what judges."""
    if len(x) == 1:
        # One long recording: its halves in time.
        x = x[0, : x.shape[1] // 2 * 2].reshape(2, -1, x.shape[2])
    width = network.inputs + sum(layer.width for layer in network.layers)
    most = max(1, MOST_VALUES // (x.shape[1] * width))
    halves = x[::2], x[1::2]
    one, other = (half[:: -(-len(half) // most)] for half in halves)
    return [(one, other), (other, one)]


def _sqnr(
    network: Network, q: QuantizedNetwork, x: FloatArray, expected: reference.Trace
) -> float:
    """Return the SQNR in dB by which recipes are compared: of the outputs.

    Of an argmax it is that of the last recurrent layer, of a softmax or sigmoid the mean of both:
    saturated outputs hang on the few undecided sequences, which are others in use.
    """
    raw: IntArray = q.to_raw(x)
    emulator = Emulator(q, batch=len(x))
    found = []
    if network.activation in _SATURATING:
        name, fmt = q.recurrent[-1].name, q.recurrent[-1].h
        found.append(_decibel(fmt.to_real(emulator.trace(raw)[name]), expected.layers[name]))
        emulator.reset(len(x))
    if network.activation != "argmax":
        found.append(_decibel(q.y.to_real(emulator.run(raw)), expected.y))
    return sum(found) / len(found)


def _decibel(got: FloatArray, wanted: FloatArray) -> float:
    noise = float(np.sum((got - wanted) ** 2))
    signal = float(np.sum(wanted**2))
    if not signal or not math.isfinite(signal):
        return 0.0
    return 200.0 if not noise else 10 * math.log10(signal / noise)
