"""The proof that no int32 accumulator overflows, row by row, from the integers alone (rule N3)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import RangeError
from .qformat import MAX_FRAC, MIN_FRAC, IntArray, QFormat
from .quantized import (
    LOGIT_LIMIT,
    SOFTMAX_FRAC,
    TABLE_BITS,
    QuantizedDense,
    QuantizedLayer,
    QuantizedLstm,
    QuantizedNetwork,
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
    partial: (rows,) the largest |sum| before the shift of rule N3b; 0 where there is none.
    clamped: (rows,) whether the pre-activation V could leave its limit, so that rule N4
        has to clamp; where False the clamp does nothing and the C omits it.
    """

    layer: str
    bound: IntArray
    partial: IntArray
    clamped: NDArray[np.bool_]

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
    if isinstance(layer, QuantizedLstm):
        return hidden_magnitude(layer.h)
    if layer.activation == "linear" or (layer.activation == "tanh" and layer.y.bits == 8):
        return -layer.y.lo
    return layer.y.hi


def hidden_magnitude(h: QFormat) -> int:
    """Return the largest |h|: 32767 for 16 bits, since |o*tanh(c)| < 1; 128 for 8 bits."""
    return h.hi if h.bits == 16 else -h.lo


def row_bounds(
    layer: QuantizedLayer, input_magnitude: int, argument_limit: int = INT32_MAX
) -> LayerBounds:
    """Return the bounds of a layer whose inputs are at most `input_magnitude`."""
    partial = np.zeros_like(layer.bias)
    if isinstance(layer, QuantizedLstm):
        from_x = np.abs(layer.wx).sum(1) * (input_magnitude << layer.x_shift)
        from_h = np.abs(layer.wh).sum(1) * hidden_magnitude(layer.h) + np.abs(layer.bias)
        mid = layer.mid_shift
        partial = np.where(mid > 0, from_h, 0)
        # A right shift rounds towards minus infinity: one more for the negative side.
        bound = from_x + (from_h >> np.clip(mid, 0, 62)) + (mid > 0)
    else:
        bound = np.abs(layer.w).sum(1) * input_magnitude + np.abs(layer.bias)
    clamped = clamp_needed(bound, layer.shift, argument_limit)
    return LayerBounds(layer.name, bound, partial, clamped)


def clamp_needed(bound: IntArray, shift: IntArray, limit: int) -> NDArray[np.bool_]:
    """Return where |accumulator| <= bound does not keep V = acc * 2**-shift within the limit."""
    right = bound >> np.clip(shift, 0, 62)
    # A right shift rounds towards minus infinity: one more for the negative side.
    right = right + (shift > 0)
    left = bound > (limit >> np.clip(-shift, 0, 62))
    return np.asarray(np.where(shift >= 0, right > limit, left))


def argument_limit(layer: QuantizedLayer) -> int:
    """Return the magnitude to which rule N4 limits the layer's pre-activations."""
    softmax = isinstance(layer, QuantizedDense) and layer.activation == "softmax"
    return LOGIT_LIMIT if softmax else INT32_MAX


def bound_table(q: QuantizedNetwork) -> tuple[LayerBounds, ...]:
    """Return the bounds of every layer, in order."""
    table = []
    reach = -q.x.lo
    for layer in q.layers:
        table.append(row_bounds(layer, reach, argument_limit(layer)))
        reach = magnitude(layer)
    return tuple(table)


def check(q: QuantizedNetwork) -> None:
    """Raise RangeError unless every precondition of docs/numerics.md holds for `q`.

    A network that passes cannot overflow for any input in its format; an artefact from elsewhere is
    checked before anything is computed or generated from it.
    """
    problems = [*_table_problems(q.tables)]
    for layer in q.layers:
        problems += _layer_problems(layer, q.tables)
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


def _layer_problems(layer: QuantizedLayer, tables: Tables) -> list[str]:
    problems = []

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
    if isinstance(layer, QuantizedLstm):
        within("wx", layer.wx, -32767, 32767)
        within("wh", layer.wh, -32767, 32767)
        within("h0", layer.h0, -hidden_magnitude(layer.h), layer.h.hi)
        within("c0", layer.c0, -INT32_MAX - 1, INT32_MAX)
        within("x_shift", np.array([layer.x_shift]), 0, 4)
        within("mid_shift", layer.mid_shift, 0, MAX_MID_SHIFT)
        if layer.mid_shift.any() and layer.x_shift:
            problems.append(f"{layer.name}: x_shift and mid_shift; expected one of them to be 0")
        if layer.h not in (QFormat(16, 15), QFormat(8, 7)):
            problems.append(f"{layer.name}.h is {layer.h}; expected Q0.15 or Q0.7")
        argument = np.full(4 * layer.units, tables.sigmoid_frac)
        argument[2 * layer.units : 3 * layer.units] = tables.tanh_frac
        if not np.array_equal(layer.argument_frac, argument):
            problems.append(f"{layer.name}.argument_frac does not belong to the tables")
        if (layer.c0[layer.c0 != INT32_MAX] & 1).any():
            problems.append(f"{layer.name}.c0 holds odd words; expected twice the cell state")
    else:
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
