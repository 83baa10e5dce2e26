"""What has to hold for a quantized network before anything is computed or generated from it.

Every precondition of docs/numerics.md, from the integers alone; the bounds are one of them.
"""

import numpy as np

from .bounds import INT32_MAX, bound_table, hidden_magnitude
from .errors import RangeError
from .qformat import MAX_FRAC, MIN_FRAC, IntArray, QFormat
from .quantized import ADDEND_LIMIT, SOFTMAX_FRAC, TABLE_BITS, QuantizedNetwork, Tables
from .quantized_layers import (
    QuantizedBidirectional,
    QuantizedDense,
    QuantizedEmbedding,
    QuantizedGru,
    QuantizedLstm,
    QuantizedPart,
)

_MAX_ROW_FRAC = 64
"""Most fraction bits of an accumulator, of either sign: two formats' together."""

MAX_RIGHT_SHIFT = 31
"""The largest shift of an int32 that C defines."""

MAX_INPUT_SHIFT = 4
"""The largest lx of rule N2."""

MAX_MID_SHIFT = 15
"""The largest shift of rule N3b: h has so many fraction bits, and no more can be gained."""

MAX_PEEPHOLE_SHIFT = 13
"""The largest lp of rule N12: peephole weights below 2^14."""

_EXP2_ONE = 1 << 14
"""2**0 in the table of 2**x: with it the largest term of rule N10 is 2**20, no other is more,
and so the sum is no zero to divide by."""

MAX_CLASSES = 2047
"""Most classes of a softmax: its sum of terms of at most 2**20 fits int32 (rule N10)."""


def check(q: QuantizedNetwork) -> None:
    """Raise RangeError unless every precondition of docs/numerics.md holds for `q`.

    A network that passes cannot overflow for any input in its format; an artefact from elsewhere is
    checked before anything is computed or generated from it.
    """
    problems = [*_table_problems(q.tables)]
    for part in q.parts:
        problems += _part_problems(part, q.tables)
    names = [part.name for part in q.parts]
    twice = sorted({name for name in names if names.count(name) > 1})
    problems += [f"{name}: two layers have this name" for name in twice]
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
        if slope2.min() < 0 or slope2.max() > 32767 or base.min() < -32767 or base.max() > 32767:
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


def most_input_shift(x: QFormat) -> int:
    """Return the largest lx of rule N2: 0 of an input wider than a byte, which no kernel shifts."""
    return MAX_INPUT_SHIFT if x.storage_bits == 8 else 0


def frac_span(tables: Tables, function: str) -> tuple[int, int]:
    """Return the least and the most fraction bits of what a cell or output function gives.

    15 of a table; else at least so many that the product with a gate is still shifted right
    (rule N6).
    """
    return (tables.bits - 3, 15) if function in ("relu", "linear") else (15, 15)


def argument_fracs(rows: int, units: int, cell: str, tables: Tables) -> IntArray:
    """Return the fraction bits of the pre-activations of a recurrent layer's rows.

    cell: the function of the candidate, the third of the gates.
    """
    fracs = np.full(rows, tables.sigmoid_frac)
    if cell != "sigmoid":
        fracs[2 * units : 3 * units] = tables.tanh_frac
    return fracs


def _gru_problems(layer: QuantizedGru) -> list[str]:
    problems = []
    if layer.bias_h.min() < -INT32_MAX or layer.bias_h.max() > INT32_MAX:
        problems.append(f"{layer.name}.bias_h is beyond int32")
    if layer.shift_h.min() < -30 or layer.shift_h.max() > MAX_RIGHT_SHIFT:
        problems.append(f"{layer.name}.frac_h leads to shifts beyond -30..{MAX_RIGHT_SHIFT}")
    if layer.h.bits not in (8, 16) or layer.h.frac != layer.g_frac - 16 + layer.h.bits:
        problems.append(f"{layer.name}.h is {layer.h}; expected the candidate's format")
    return problems


def _bidirectional_problems(layer: QuantizedBidirectional) -> list[str]:
    f, b = layer.halves
    problems = []
    if any(half.direction != "forward" for half in layer.halves):
        problems.append(f"{layer.name}: a half has a direction of its own; expected forward")
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
        within("x_shift", np.array([layer.x_shift]), 0, most_input_shift(layer.x))
        within("g_frac", np.array([layer.g_frac]), *frac_span(tables, layer.cell))
        if layer.clip is not None:
            within("clip", np.array([layer.clip]), 1, ADDEND_LIMIT >> 1)
        if (layer.c0[layer.c0 != INT32_MAX] & 1).any():
            problems.append(f"{layer.name}.c0 holds odd words; expected twice the cell state")
        expected = argument_fracs(len(layer.bias), layer.units, layer.cell, tables)
        if not np.array_equal(layer.argument_frac, expected):
            problems.append(f"{layer.name}.argument_frac does not belong to the tables")
        if layer.gate != "sigmoid" and layer.gate not in tables.hard:
            problems.append(f"{layer.name}: no table of {layer.gate}")
        problems += _gru_problems(layer) if isinstance(layer, QuantizedGru) else []
    if isinstance(layer, QuantizedLstm):
        within("mid_shift", layer.mid_shift, 0, MAX_MID_SHIFT)
        within("y_frac", np.array([layer.y_frac]), *frac_span(tables, layer.output))
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
