"""The proof that no int32 accumulator overflows, row by row, from the integers alone (rule N3)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import RangeError
from .qformat import MAX_FRAC, MIN_FRAC, IntArray, QFormat
from .quantized import (
    ADDEND_LIMIT,
    LOGIT_LIMIT,
    SOFTMAX_FRAC,
    TABLE_BITS,
    QuantizedBidirectional,
    QuantizedDense,
    QuantizedEmbedding,
    QuantizedGru,
    QuantizedLayer,
    QuantizedLstm,
    QuantizedNetwork,
    QuantizedPart,
    QuantizedRecurrent,
    Tables,
)

INT32_MAX = (1 << 31) - 1

_MAX_ROW_FRAC = 64
"""Most fraction bits of an accumulator, of either sign: two formats' together."""

MAX_RIGHT_SHIFT = 31
"""The largest shift of an int32 that C defines."""

MAX_MID_SHIFT = 15
"""The largest shift of rule N3b: h has so many fraction bits, and no more can be gained."""

_EXP2_ONE = 1 << 14
"""2**0 in the table of 2**x: with it the largest term of rule N10 is 2**20, no other is more,
and so the sum is no zero to divide by."""

MAX_CLASSES = 2047
"""Most classes of a softmax: its sum of terms of at most 2**20 fits int32 (rule N10)."""


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
    """

    layer: str
    bound: IntArray
    partial: IntArray
    clamped: NDArray[np.bool_]
    partial_clamped: NDArray[np.bool_]

    @property
    def overflows(self) -> NDArray[np.bool_]:
        """(rows,) where a sum could leave int32."""
        return np.asarray(np.maximum(self.bound, self.partial) > INT32_MAX)

    @property
    def margin_bits(self) -> float:
        """How many bits the worst row keeps free below 2**31."""
        worst = max(int(self.bound.max()), int(self.partial.max()), 1)
        return float(31 - np.log2(worst))


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
        return LayerBounds(layer.name, none, none, none.astype(bool), none.astype(bool))
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
    return LayerBounds(layer.name, bound, partial, clamped, np.zeros_like(clamped))


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


def check(q: QuantizedNetwork) -> None:
    """Raise RangeError unless every precondition of docs/numerics.md holds for `q`.

    A network that passes cannot overflow for any input in its format; an artefact from elsewhere is
    checked before anything is computed or generated from it.
    """
    problems = [*_table_problems(q.tables)]
    for part in q.parts:
        problems += _part_problems(part, q.tables)
    for layer in q.layers:
        if isinstance(layer, QuantizedBidirectional):
            problems += _bidirectional_problems(layer)
    if not problems:
        for bounds in bound_table(q):
            for row in np.flatnonzero(bounds.overflows)[:3]:
                reach = max(bounds.bound[row], bounds.partial[row])
                problems.append(
                    f"{bounds.layer} row {row}: accumulator can reach {reach}; "
                    "expected less than 2**31"
                )
    if problems:
        raise RangeError.of(f"{q.name}: {line}" for line in problems)


def _table_problems(tables: Tables) -> list[str]:
    problems = []
    if tables.bits not in TABLE_BITS:
        return [f"table bits {tables.bits}; expected {TABLE_BITS.start} to {TABLE_BITS.stop - 1}"]
    words = 1 << tables.bits
    for name, table, rows, lowest in (
        ("sigmoid", tables.sigmoid, words, 0),
        ("tanh", tables.tanh, words, -32767),
        ("exp2", tables.exp2, 32, _EXP2_ONE),
        *((name, table, words, 0) for name, table in tables.hard.items()),
    ):
        if table.shape != (rows, 2):
            problems.append(f"{name} table is {table.shape}; expected ({rows}, 2)")
            continue
        slope2, base = table[:, 0], table[:, 1]
        if slope2.min() < 0 or slope2.max() > 32767 or np.abs(base).max() > 32767:
            problems.append(f"{name} table holds words beyond 16 bits; expected slopes 0..32767")
            continue
        odd = np.arange(rows) & 1
        # y is monotone inside a segment, so its ends bound it (rule N5).
        for position in (np.where(odd, -32768, 0), np.where(odd, -1, 32767)):
            y = base + ((slope2 * (position + 1)) >> 16)
            if y.min() < lowest or y.max() > 32767:
                problems.append(
                    f"{name} table reaches {y.min()}..{y.max()}; expected {lowest}..32767"
                )
                break
        if name == "exp2" and base[0] != _EXP2_ONE:
            problems.append(f"exp2 table begins with {base[0]}; expected {_EXP2_ONE}, which is 2^0")
        if name != "exp2" and (slope2[0] or slope2[-1]):
            problems.append(f"{name} table: first and last slope are not 0; expected 0")
    return problems


MAX_PEEPHOLE_SHIFT = 13
"""The largest lp of rule N12: peephole weights below 2^14."""


def frac_span(tables: Tables) -> tuple[int, int]:
    """Return the least and the most fraction bits of what a cell or output function gives.

    At least so many that the product with a gate is still shifted right (rule N6).
    """
    return tables.bits - 3, 15


def argument_fracs(layer: QuantizedRecurrent, tables: Tables) -> IntArray:
    """Return the fraction bits of the pre-activations of a layer's rows."""
    rows = np.full(len(layer.bias), tables.sigmoid_frac)
    at = slice(2 * layer.units, 3 * layer.units)
    rows[at] = tables.sigmoid_frac if layer.cell == "sigmoid" else tables.tanh_frac
    return rows


def _gru_problems(layer: QuantizedGru) -> list[str]:
    problems = []
    if np.abs(layer.bias_h).max() > INT32_MAX:
        problems.append(f"{layer.name}.bias_h is beyond int32")
    if layer.shift_h.min() < -30 or layer.shift_h.max() > MAX_RIGHT_SHIFT:
        problems.append(f"{layer.name}.frac_h leads to shifts beyond -30..{MAX_RIGHT_SHIFT}")
    if layer.h.bits not in (8, 16) or layer.h.frac != layer.g_frac - 16 + layer.h.bits:
        problems.append(f"{layer.name}.h is {layer.h}; expected the candidate's format")
    return problems


def _bidirectional_problems(layer: QuantizedBidirectional) -> list[str]:
    f, b = layer.halves
    problems = []
    if f.x != b.x or f.h != b.h or f.inputs != b.inputs:
        problems.append(f"{layer.name}: its halves differ in what they take or hand on")
    if layer.merge != "concat" and f.width != b.width:
        problems.append(f"{layer.name}: {f.width} and {b.width} values to {layer.merge}")
    if layer.y != merged_format(layer.merge, f.h):
        problems.append(f"{layer.name}.y is {layer.y}; expected that of the merged values")
    return problems


def merged_format(merge: str, h: QFormat) -> QFormat:
    """Return the format of both directions' values as one (rule N15)."""
    frac = {"sum": h.frac - 1, "multiply": 2 * h.frac - (h.bits - 1)}.get(merge, h.frac)
    return QFormat(h.bits, frac)


def _part_problems(layer: QuantizedPart, tables: Tables) -> list[str]:
    if isinstance(layer, QuantizedEmbedding):
        span = layer.table.min(), layer.table.max()
        inside = layer.y.lo <= span[0] and span[1] <= layer.y.hi
        return [] if inside else [f"{layer.name}.table spans {span}; expected {layer.y.bits} bits"]
    problems: list[str] = []

    def within(name: str, array: IntArray, lo: int, hi: int) -> None:
        if array.size and (array.min() < lo or array.max() > hi):
            problems.append(
                f"{layer.name}.{name} spans {array.min()}..{array.max()}; expected {lo}..{hi}"
            )

    within("x.frac", np.array([layer.x.frac]), MIN_FRAC, MAX_FRAC)
    within("y.frac", np.array([layer.y.frac]), MIN_FRAC, MAX_FRAC)
    within("frac", layer.frac, -_MAX_ROW_FRAC, _MAX_ROW_FRAC)
    within("bias", layer.bias, -INT32_MAX, INT32_MAX)
    within("shift", layer.shift, -30, MAX_RIGHT_SHIFT)
    if isinstance(layer, QuantizedLstm | QuantizedGru):
        within("wx", layer.wx, -32767, 32767)
        within("wh", layer.wh, -32767, 32767)
        within("h0", layer.h0, -hidden_magnitude(layer), layer.h.hi)
        within("c0", layer.c0, -INT32_MAX - 1, INT32_MAX)
        within("x_shift", np.array([layer.x_shift]), 0, 4)
        within("g_frac", np.array([layer.g_frac]), *frac_span(tables))
        if layer.clip is not None:
            within("clip", np.array([layer.clip]), 1, ADDEND_LIMIT >> 1)
        if (layer.c0[layer.c0 != INT32_MAX] & 1).any():
            problems.append(f"{layer.name}.c0 holds odd words; expected twice the cell state")
        if not np.array_equal(layer.argument_frac, argument_fracs(layer, tables)):
            problems.append(f"{layer.name}.argument_frac does not belong to the tables")
        if layer.gate != "sigmoid" and layer.gate not in tables.hard:
            problems.append(f"{layer.name}: no table of {layer.gate}")
        problems += _gru_problems(layer) if isinstance(layer, QuantizedGru) else []
    if isinstance(layer, QuantizedLstm):
        within("mid_shift", layer.mid_shift, 0, MAX_MID_SHIFT)
        within("y_frac", np.array([layer.y_frac]), *frac_span(tables))
        if layer.mid_shift.any() and layer.x_shift:
            problems.append(f"{layer.name}: x_shift and mid_shift; expected one of them to be 0")
        if layer.cell_limit is not None:
            within("cell_limit", np.array([layer.cell_limit]), 1, (1 << 30) - 1)
        if layer.peephole is not None:
            within("peephole", layer.peephole, -32767, 32767)
            within("peephole_shift", np.array([layer.peephole_shift]), 0, MAX_PEEPHOLE_SHIFT)
        if layer.projection is None:
            if layer.h.bits not in (8, 16) or layer.h.frac != layer.y_frac - 16 + layer.h.bits:
                problems.append(f"{layer.name}.h is {layer.h}; expected Q0.15 or Q0.7")
        elif (layer.projection.x, layer.projection.y) != (QFormat(16, layer.y_frac), layer.h):
            problems.append(f"{layer.name}: its projection does not lead to {layer.h}")
    elif isinstance(layer, QuantizedDense):
        if layer.skip is not None:
            within("skip", layer.skip, -32767, 32767)
        within("w", layer.w, -32767, 32767)
        table_frac = {
            "sigmoid": tables.sigmoid_frac,
            "tanh": tables.tanh_frac,
            "softmax": SOFTMAX_FRAC,
        }.get(layer.activation)
        if table_frac is not None and (layer.argument_frac != table_frac).any():
            problems.append(f"{layer.name}.argument_frac does not belong to the tables")
        if layer.activation == "softmax" and layer.rows > MAX_CLASSES:
            problems.append(
                f"{layer.name}: softmax over {layer.rows} classes; expected at most {MAX_CLASSES}"
            )
    return problems
