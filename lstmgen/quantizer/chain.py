"""The layers of a network, quantized one after the other."""

from dataclasses import replace

import numpy as np

from ..bounds import magnitude
from ..errors import ModelError
from ..layers import Bidirectional, Dense, Embedding, Gru, Layer, Recurrent
from ..network import Network
from ..preconditions import merged_format
from ..qformat import MIN_FRAC, FloatArray, QFormat, max_frac
from ..quantized import MAX_ENTRIES, Precision
from ..quantized_layers import (
    QuantizedBidirectional,
    QuantizedEmbedding,
    QuantizedLayer,
    QuantizedRecurrent,
)
from .calibrate import MAX_PEAK, MIN_PEAK, Ranges
from .dense import DensePlace, quantize_dense
from .formats import Formats, common_formats, formats_of
from .gru import quantize_gru
from .lstm import LstmPlace, quantize_lstm
from .modes import MODES, Mode
from .recipe import Recipe
from .refine import PASSES, Refiner
from .tables import load_tables
from .widths import Widths


def input_bits(network: Network, mode: Mode, recipe: Recipe) -> int:
    """Return the width of the network's input."""
    own = mode.hidden if isinstance(network.layers[0], Dense) else mode.input
    return recipe.input_bits or own


class Chain:
    """The layers of a network, quantized one after the other, each for what the one below
    hands on."""

    def __init__(
        self,
        network: Network,
        precision: Precision,
        bits: int,
        ranges: Ranges,
        recipe: Recipe,
        widths: Widths,
        calibration: FloatArray | None,
    ) -> None:
        self.network, self.ranges, self.recipe = network, ranges, recipe
        self.widths = widths
        self.mode = MODES[precision]
        hard = {part.gate for part in network.recurrent} - {"sigmoid"}
        self.tables = load_tables(bits, tuple(sorted(hard)))
        self.done: list[QuantizedLayer] = []
        self.refiner: Refiner | None = None
        if recipe.compensated and calibration is not None:
            data = np.asarray(calibration, np.float64)
            known = precision, self.tables, data, recipe, widths
            self.refiner = Refiner(ranges.floats, *known)

    def layers(self) -> list[QuantizedLayer]:
        """Return the quantized layers."""
        x = own = self._input()
        reach, below = -x.lo, ""
        for at, layer in enumerate(self.network.layers):
            above = self.network.layers[at + 1] if at + 1 < len(self.network.layers) else None
            quantized: QuantizedLayer
            if isinstance(layer, Embedding):
                quantized = self._embedding(layer, above)
            elif isinstance(layer, Dense):
                y = _dense_format(layer, above, self.mode, self.ranges, x.step * reach)
                width = self.widths.mode(self.mode, layer.name).dense_weights
                place = DensePlace(x, reach, y, own, -own.lo, width)
                quantized = plain = quantize_dense(layer, place, self.tables)
                if self.refiner is not None:
                    taken = self.refiner.taken([*self.done, plain], below, layer.name)
                    quantized = self.refiner.dense(layer, plain, place, taken)
            elif isinstance(layer, Bidirectional):
                quantized = self._bidirectional(layer, x, reach, below)
            else:
                formats = formats_of(layer, self.mode, self.tables, self.ranges)
                quantized = self._recurrent(layer, x, reach, below, formats)
                if self.refiner is not None:
                    quantized = self._refined(self.refiner, layer, quantized, reach, below)
            self.done.append(quantized)
            x, reach, below = quantized.y, magnitude(quantized), layer.name
        return self.done

    def _input(self) -> QFormat:
        """Return the format of the network's input."""
        width = input_bits(self.network, self.mode, self.recipe)
        frac = max_frac(self.ranges.input, width) - self.recipe.guard_bits
        return QFormat(width, max(frac, MIN_FRAC))

    def _recurrent(
        self, layer: Recurrent, x: QFormat, reach: int, below: str, formats: Formats
    ) -> QuantizedRecurrent:
        squares = self.ranges.square(below), self.ranges.square(layer.name)
        place = LstmPlace(x, reach, *squares, formats)
        mode = self.widths.mode(self.mode, layer.name)
        if isinstance(layer, Gru):
            return quantize_gru(layer, mode, self.tables, place)
        return quantize_lstm(layer, mode, self.tables, place, self.recipe.mid_shift)

    def _bidirectional(
        self, layer: Bidirectional, x: QFormat, reach: int, below: str
    ) -> QuantizedBidirectional:
        both = common_formats(layer, self.mode, self.tables, self.ranges)
        forward, backward = (
            self._recurrent(half, x, reach, below, formats)
            for half, formats in zip(layer.halves, both, strict=True)
        )
        y = merged_format(layer.merge, both[0].h)
        ways = layer.merge, layer.ends
        made = QuantizedBidirectional(layer.name, forward, backward, *ways, y)
        for _ in range(PASSES if self.refiner is not None else 0):
            assert self.refiner is not None
            refined, layers = self.refiner.recurrent, [*self.done, made]
            for_f, for_b = (
                self.refiner.taken(layers, below, half.name) for half in layer.halves
            )
            made = replace(
                made,
                forward=refined(layer.forward, forward, reach, for_f, "forward"),
                backward=refined(layer.backward, backward, reach, for_b, "reverse"),
            )
        return made

    def _refined(
        self,
        refiner: Refiner,
        layer: Recurrent,
        start: QuantizedRecurrent,
        reach: int,
        below: str,
    ) -> QuantizedRecurrent:
        quantized = start
        for _ in range(PASSES):
            taken = refiner.taken([*self.done, quantized], below, layer.name)
            quantized = refiner.recurrent(layer, start, reach, taken, layer.direction)
        return quantized

    def _embedding(self, layer: Embedding, above: Layer | None) -> QuantizedEmbedding:
        if layer.entries > MAX_ENTRIES:
            raise ModelError(
                f"{layer.name}: {layer.entries} entries; expected at most {MAX_ENTRIES}"
            )
        bits = self.mode.hidden if isinstance(above, Dense) else self.mode.input
        peak = float(np.abs(layer.table).max())
        y = QFormat(bits, max_frac(min(max(peak, MIN_PEAK), MAX_PEAK), bits))
        return QuantizedEmbedding(layer.name, y, y.to_raw(layer.table))


def _dense_format(
    layer: Dense, above: Layer | None, mode: Mode, ranges: Ranges, reach: float
) -> QFormat | None:
    """Return the format a dense layer hands on; None for raw accumulators at the end.

    reach: the largest real |input| of the layer.
    """
    if above is None:
        return QFormat(16, 15) if layer.activation in ("sigmoid", "tanh", "softmax") else None
    if layer.activation in ("sigmoid", "tanh"):
        return QFormat(mode.hidden, mode.hidden - 1)
    bits = mode.hidden if isinstance(above, Dense) else mode.input
    peak = ranges.layers.get(layer.name, 0.0)
    if peak < MIN_PEAK:
        # Not measured, or never but 0. The worst that the weights allow: nothing saturates,
        # at the cost of resolution.
        with np.errstate(over="ignore"):
            peak = float((abs(layer.W).sum(1) * reach + abs(layer.b)).max())
    if not peak <= MAX_PEAK:  # NaN, too: infinity minus itself in the float run
        raise ModelError(
            f"{layer.name}: its results reach {peak:.3g}; expected at most 2^31: "
            "rescale its weights, or give --calibration"
        )
    return QFormat(bits, max_frac(peak, bits))
