"""From a float network to integers: formats, rounding and the overflow proof."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..bounds import magnitude
from ..errors import ModelError
from ..layers import Bidirectional, Dense, Embedding, Gru, Layer, Recurrent
from ..network import Network
from ..preconditions import check, merged_format
from ..qformat import MIN_FRAC, FloatArray, QFormat, max_frac
from ..quantized import MAX_ENTRIES, PRECISIONS, TABLE_BITS, Precision, QuantizedNetwork
from ..quantized_layers import (
    QuantizedBidirectional,
    QuantizedEmbedding,
    QuantizedLayer,
    QuantizedRecurrent,
)
from .calibrate import MAX_PEAK, MIN_PEAK, Ranges, measure
from .choice import choose, wide_inputs
from .dense import DensePlace, quantize_dense
from .formats import Formats, common_formats, formats_of
from .gru import quantize_gru
from .lstm import LstmPlace, quantize_lstm
from .modes import MODES, Mode
from .recipe import ROUNDINGS, Recipe, Rounding
from .refine import PASSES, Refiner
from .tables import load_tables
from .widths import Widths

__all__ = ["MODES", "ROUNDINGS", "Rounding", "quantize"]

def quantize(
    network: Network,
    precision: Precision = "w8a16",
    calibration: FloatArray | None = None,
    table_bits: int | None = None,
    mid_shift: bool | None = None,
    rounding: Rounding = "auto",
    widths: Mapping[str, int | str] | None = None,
    input_bits: int | None = None,
) -> QuantizedNetwork:
    """Quantize `network` by docs/numerics.md and prove that nothing overflows.

    calibration: (B, T, n) typical inputs, from which the formats of the input and of
        dense results are taken, and by which weights are rounded; without it safe
        assumptions and rounding to nearest, stated in the notes.
    table_bits: 2**table_bits words per activation table instead of the precision's own.
    mid_shift: whether sums over the hidden state get a format of their own (rule N3b); None:
        in the layers where that promises to be worth its instructions.
    rounding: "nearest", "compensated" (errors of a row's weights make up for each other), or
        "auto": what of both and of further choices is best on held-back calibration data.
    widths: bits, 8 or 16, of single layers' weights, such as {"lstm0.U": 16, "head.W": 8}.
    input_bits: of the network's input, 8 to 16; None: the precision's, or in q7 by "auto".
    Raises ModelError for calibration data that does not fit, for weights so large that no
    format holds them, and for widths of what is no layer.
    """
    if precision not in PRECISIONS:
        raise ModelError(f"precision {precision!r}; expected one of {', '.join(PRECISIONS)}")
    if rounding not in ROUNDINGS:
        raise ModelError(f"rounding {rounding!r}; expected one of {', '.join(ROUNDINGS)}")
    mode = MODES[precision]
    bits = mode.table if table_bits is None else table_bits
    if bits not in TABLE_BITS:
        raise ModelError(
            f"table bits {bits}; expected {TABLE_BITS.start} to {TABLE_BITS.stop - 1}"
        )
    chosen_widths = Widths.of(network, widths or {}, input_bits)
    ranges = measure(network, calibration)

    def make(recipe: Recipe, data: FloatArray) -> QuantizedNetwork:
        own = measure(network, data)
        return _quantized(network, precision, bits, own, recipe, chosen_widths, data)

    start = Recipe(mid_shift=mid_shift, input_bits=input_bits)
    # First, as it refuses what no rounding can hold.
    q = _quantized(network, precision, bits, ranges, start, chosen_widths, calibration)
    if calibration is None:
        note = "no calibration data: weights are rounded to nearest"
        return replace(q, notes=(*q.notes, note))
    if rounding == "nearest":
        return q
    recipe = replace(start, compensated=True, refit_dense=True)
    note = f"rounding {recipe}"
    data = np.asarray(calibration, np.float64)
    if rounding == "auto" and len(data) > 1:
        wide = wide_inputs(network, precision) if input_bits is None else ()
        chosen = choose(network, precision, data, make, recipe, wide)
        recipe = chosen.recipe
        note = (
            f"rounding {recipe}: {chosen.decibel:.1f} dB on held-back calibration data, "
            f"to nearest {chosen.nearest:.1f} dB"
        )
    q = _quantized(network, precision, bits, ranges, recipe, chosen_widths, calibration)
    return replace(q, notes=(*q.notes, note))


def _quantized(
    network: Network,
    precision: Precision,
    bits: int,
    ranges: Ranges,
    recipe: Recipe,
    widths: Widths,
    calibration: FloatArray | None,
) -> QuantizedNetwork:
    own = widths.with_input(network, MODES[precision], recipe.input_bits)
    chain = _Chain(network, precision, bits, ranges, recipe, own, calibration)
    q = QuantizedNetwork(
        name=network.name,
        precision=precision,
        outputs=network.outputs,
        tables=chain.tables,
        layers=tuple(chain.layers()),
        notes=(*network.notes, ranges.note, *widths.notes(network, own)),
        calibrated=ranges.measured,
    )
    check(q)
    return q


class _Chain:
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
            self.refiner = Refiner(network, precision, self.tables, data, recipe, widths)

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
        width = self.mode.input
        if isinstance(self.network.layers[0], Dense):
            width = self.mode.hidden
        width = self.widths.input or width
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
