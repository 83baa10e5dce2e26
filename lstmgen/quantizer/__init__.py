"""From a float network to integers: formats, rounding and the overflow proof."""

from collections.abc import Iterator

import numpy as np

from ..bounds import check, magnitude
from ..errors import ModelError
from ..layers import Bidirectional, Dense, Embedding, Gru, Layer, Lstm
from ..network import Network
from ..qformat import FloatArray, QFormat, max_frac
from ..quantized import (
    PRECISIONS,
    TABLE_BITS,
    Precision,
    QuantizedLayer,
    QuantizedNetwork,
)
from .calibrate import MAX_PEAK, MIN_PEAK, Ranges, measure
from .dense import DensePlace, quantize_dense
from .lstm import LstmPlace, quantize_lstm
from .modes import MODES, Mode
from .tables import load_tables

__all__ = ["MODES", "quantize"]


def quantize(
    network: Network,
    precision: Precision = "w8a16",
    calibration: FloatArray | None = None,
    table_bits: int | None = None,
    mid_shift: bool | None = None,
) -> QuantizedNetwork:
    """Quantize `network` by docs/numerics.md and prove that nothing overflows.

    calibration: (B, T, n) typical inputs, from which the formats of the input and of
        dense results are taken; without it safe assumptions, stated in the notes.
    table_bits: 2**table_bits words per activation table instead of the precision's own.
    mid_shift: whether sums over the hidden state get a format of their own (rule N3b); None:
        in the layers where that promises to be worth its instructions.
    Raises ModelError for calibration data that does not fit, and for weights so large that
    no format holds them.
    """
    if precision not in PRECISIONS:
        raise ModelError(f"precision {precision!r}; expected one of {', '.join(PRECISIONS)}")
    mode = MODES[precision]
    bits = mode.table if table_bits is None else table_bits
    if bits not in TABLE_BITS:
        raise ModelError(
            f"table bits {bits}; expected {TABLE_BITS.start} to {TABLE_BITS.stop - 1}"
        )
    problems = [line for layer in network.layers for line in _refusals(layer)]
    if problems:
        raise ModelError.of(problems)
    tables = load_tables(bits)
    ranges = measure(network, calibration)
    layers: list[QuantizedLayer] = []
    x = QFormat(mode.input if isinstance(network.layers[0], Lstm) else mode.hidden, 0)
    x = QFormat(x.bits, max_frac(ranges.input, x.bits))
    reach, below = -x.lo, ""
    for at, layer in enumerate(network.layers):
        quantized: QuantizedLayer
        assert isinstance(layer, Lstm | Dense)  # the others have been refused
        if isinstance(layer, Lstm):
            place = LstmPlace(x, reach, ranges.square(below), ranges.square(layer.name))
            quantized = quantize_lstm(layer, mode, tables, place, mid_shift)
        else:
            above = network.layers[at + 1] if at + 1 < len(network.layers) else None
            assert not isinstance(above, Gru | Bidirectional | Embedding)
            y = _dense_format(layer, above, mode, ranges, x.step * reach)
            quantized = quantize_dense(layer, DensePlace(x, reach, y), tables)
        layers.append(quantized)
        x, reach, below = quantized.y, magnitude(quantized), layer.name
    q = QuantizedNetwork(
        name=network.name,
        precision=precision,
        outputs=network.outputs,
        tables=tables,
        layers=tuple(layers),
        notes=(*network.notes, ranges.note),
        calibrated=ranges.measured,
    )
    check(q)
    return q


def _dense_format(
    layer: Dense, above: Lstm | Dense | None, mode: Mode, ranges: Ranges, reach: float
) -> QFormat | None:
    """Return the format a dense layer hands on; None for raw accumulators at the end.

    reach: the largest real |input| of the layer.
    """
    if above is None:
        return QFormat(16, 15) if layer.activation in ("sigmoid", "tanh", "softmax") else None
    if layer.activation in ("sigmoid", "tanh"):
        return QFormat(mode.hidden, mode.hidden - 1)
    bits = mode.input if isinstance(above, Lstm) else mode.hidden
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


def _refusals(layer: Layer) -> Iterator[str]:
    """Yield what of a layer has no integers yet."""
    if isinstance(layer, Gru | Bidirectional | Embedding):
        yield f"{layer.name}: a {type(layer).__name__} layer cannot be quantized yet"
    elif isinstance(layer, Dense):
        if layer.skip is not None:
            yield f"{layer.name}: skip cannot be quantized yet"
    else:
        plain = Lstm(layer.name, layer.W, layer.U, layer.b)
        for key in (
            "peephole", "projection", "gate", "cell", "output", "clip", "cell_clip", "direction"
        ):
            if getattr(layer, key) is not getattr(plain, key):
                yield f"{layer.name}: {key} {getattr(layer, key)} cannot be quantized yet"
