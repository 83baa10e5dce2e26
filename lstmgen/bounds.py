"""The proof that no int32 accumulator overflows, row by row, from the integers alone (rule N3)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .qformat import FloatArray, IntArray
from .quantized import ADDEND_LIMIT, LOGIT_LIMIT, QuantizedNetwork
from .quantized_layers import (
    QuantizedBidirectional,
    QuantizedDense,
    QuantizedEmbedding,
    QuantizedGru,
    QuantizedLayer,
    QuantizedLstm,
    QuantizedPart,
    QuantizedRecurrent,
)

INT32_MAX = (1 << 31) - 1

@dataclass(frozen=True, eq=False)
class LayerBounds:
    """The bounds of one layer, an entry per row.

    bound: (rows,) the largest |accumulator| that any input in its format can cause, bias
        included.
    partial: (rows,) the largest |sum| before the shift of rule N3b, or that over h alone of a
        GRU's candidate (rule N14); 0 where there is none.
    clamped: (rows,) whether the pre-activation V could leave its limit, so that rule N4
        has to clamp; where False the clamp does nothing and the C omits it.
    partial_clamped: (rows,) the same for a GRU's sums over h alone.
    taken: the largest |x| that the bounds hold for, 0 where that is not asked.
    """

    layer: str
    bound: IntArray
    partial: IntArray
    clamped: NDArray[np.bool_]
    partial_clamped: NDArray[np.bool_]
    taken: int = 0

    @property
    def overflows(self) -> NDArray[np.bool_]:
        """(rows,) where a sum could leave int32."""
        return np.asarray(np.maximum(self.bound, self.partial) > INT32_MAX)

    @property
    def margin_bits(self) -> float:
        """How many bits the worst row keeps free below 2**31."""
        return float(self.row_margins.min())

    @property
    def row_margins(self) -> FloatArray:
        """(rows,) how many bits each row keeps free."""
        worst = np.maximum(np.maximum(self.bound, self.partial), 1)
        return np.asarray(31 - np.log2(worst), np.float64)

    def rule(self, row: int, part: QuantizedPart) -> str:
        """Return the rule of docs/numerics.md whose sum comes closest to 2**31 in a row."""
        apart = "N14" if isinstance(part, QuantizedGru) else "N3b"
        return apart if self.partial[row] > self.bound[row] else "N3"


def magnitude(layer: QuantizedLayer) -> int:
    """Return the largest |integer| that the layer hands on."""
    if isinstance(layer, QuantizedBidirectional):
        # Half of a sum, and a product of two, are no more than the larger of both.
        return max(hidden_magnitude(half) for half in layer.halves)
    if isinstance(layer, QuantizedEmbedding):
        return max(1, int(np.abs(layer.table).max()))
    if isinstance(layer, QuantizedRecurrent):
        return hidden_magnitude(layer)
    if layer.activation == "linear" or (layer.activation == "tanh" and layer.y.bits == 8):
        return -layer.y.lo
    return layer.y.hi


def hidden_magnitude(layer: QuantizedRecurrent) -> int:
    """Return the largest |h|: 32767 for 16 bits, since |o*tanh(c)| < 1; 128 for 8 bits and of
    a projection what its format holds."""
    if isinstance(layer, QuantizedLstm) and layer.projection is not None:
        return -layer.h.lo
    return layer.h.hi if layer.h.bits == 16 else -layer.h.lo


def row_bounds(
    layer: QuantizedPart, input_magnitude: int, skip_magnitude: int = 0
) -> LayerBounds:
    """Return the bounds of a layer whose inputs are at most `input_magnitude`.

    skip_magnitude: that of the network's own input, for a dense layer that adds it.
    """
    limit = argument_limit(layer)
    if isinstance(layer, QuantizedEmbedding):
        none = np.zeros(0, np.int64)
        return LayerBounds(layer.name, none, none, none.astype(bool), none.astype(bool), 1)
    if isinstance(layer, QuantizedGru):
        return _gru_bounds(layer, input_magnitude, limit)
    partial = np.zeros_like(layer.bias)
    if isinstance(layer, QuantizedLstm):
        from_x = np.abs(layer.wx).sum(1) * (input_magnitude << layer.x_shift)
        from_h = np.abs(layer.wh).sum(1) * hidden_magnitude(layer) + np.abs(layer.bias)
        mid = layer.mid_shift
        partial = np.where(mid > 0, from_h, 0)
        # A right shift rounds towards minus infinity: one more for the negative side.
        bound = from_x + (from_h >> np.clip(mid, 0, 62)) + (mid > 0)
    else:
        bound = np.abs(layer.w).sum(1) * input_magnitude + np.abs(layer.bias)
        if layer.skip is not None:
            bound = bound + np.abs(layer.skip).sum(1) * skip_magnitude
    clamped = clamp_needed(bound, layer.shift, limit)
    return LayerBounds(
        layer.name, bound, partial, clamped, np.zeros_like(clamped), input_magnitude
    )


def _gru_bounds(layer: QuantizedGru, input_magnitude: int, limit: IntArray) -> LayerBounds:
    """Return the bounds of rule N14: of the rows n, those of the sum over x, and over h apart."""
    k = layer.units
    bound = np.abs(layer.wx).sum(1) * (input_magnitude << layer.x_shift) + np.abs(layer.bias)
    from_h = np.abs(layer.wh).sum(1) * hidden_magnitude(layer)
    partial, shift_h = np.zeros_like(bound), np.zeros_like(bound)
    apart = np.zeros(3 * k, np.bool_)
    apart[2 * k :] = layer.reset_after
    bound = bound + np.where(apart, 0, from_h)
    if layer.reset_after:
        partial[2 * k :] = from_h[2 * k :] + np.abs(layer.bias_h)
        shift_h[2 * k :] = layer.shift_h
    return LayerBounds(
        layer.name,
        bound,
        partial,
        clamp_needed(bound, layer.shift, limit),
        clamp_needed(partial, shift_h, limit) & apart,
        input_magnitude,
    )


def clamp_needed(bound: IntArray, shift: IntArray, limit: IntArray) -> NDArray[np.bool_]:
    """Return where |accumulator| <= bound does not keep V = acc * 2**-shift within the limit."""
    right = bound >> np.clip(shift, 0, 62)
    # A right shift rounds towards minus infinity: one more for the negative side.
    right = right + (shift > 0)
    left = bound > (limit >> np.clip(-shift, 0, 62))
    return np.asarray(np.where(shift >= 0, right > limit, left))


def argument_limit(layer: QuantizedPart) -> IntArray:
    """Return (rows,) the magnitude to which rule N4 limits the layer's pre-activations."""
    if isinstance(layer, QuantizedEmbedding):
        return np.zeros(0, np.int64)
    limit = np.full(len(layer.bias), INT32_MAX)
    if isinstance(layer, QuantizedDense):
        if layer.activation == "softmax":
            limit[:] = LOGIT_LIMIT
    elif isinstance(layer, QuantizedGru):
        if layer.reset_after:
            limit[2 * layer.units :] = ADDEND_LIMIT
    elif layer.peephole is not None:
        limit[:] = ADDEND_LIMIT
        limit[2 * layer.units : 3 * layer.units] = INT32_MAX
    return limit


def bound_table(q: QuantizedNetwork) -> tuple[LayerBounds, ...]:
    """Return the bounds of every layer with integers of its own (`q.parts`), in order."""
    table = []
    first = q.layers[0]
    reach = first.entries if isinstance(first, QuantizedEmbedding) else -q.x.lo
    own = reach
    for layer in q.layers:
        for part in layer.halves if isinstance(layer, QuantizedBidirectional) else (layer,):
            table.append(row_bounds(part, reach, own))
            if isinstance(part, QuantizedLstm) and part.projection is not None:
                table.append(row_bounds(part.projection, part.projection.x.hi))
        reach = magnitude(layer)
    return tuple(table)


def certificate(q: QuantizedNetwork) -> list[tuple[dict[str, Any], LayerBounds]]:
    """Return the bound table as JSON, a layer that has sums at a time, and as it is.

    reach: the |x|, |h| and |own input| that it holds for; by row the worst |sum| (partial: of a
    row's first sum where it has two), the bits that it leaves free and the rule that it is of.
    """
    found = []
    for part, bounds in zip(q.parts, bound_table(q), strict=True):
        if isinstance(part, QuantizedEmbedding):
            continue
        reach = {"x": bounds.taken}
        if isinstance(part, QuantizedRecurrent):
            reach["h"] = hidden_magnitude(part)
        elif part.skip is not None:
            reach["own"] = -q.x.lo
        margins = bounds.row_margins
        rows = [
            {
                "row": row,
                "bound": int(bounds.bound[row]),
                "margin_bits": round(float(margins[row]), 3),
                "rule": bounds.rule(row, part),
            }
            for row in range(len(margins))
        ]
        for row in np.flatnonzero(bounds.partial):
            rows[row]["partial"] = int(bounds.partial[row])
        found.append(({"name": part.name, "reach": reach, "rows": rows}, bounds))
    return found
