"""From the sums of a unit's gates to its new state on Cortex-M0: rules N4 to N7."""

from dataclasses import dataclass

import numpy as np

from ...bounds import INT32_MAX, LayerBounds
from ...qformat import IntArray
from ...quantized import Tables
from ...quantized_layers import QuantizedLstm
from ..layout import lanes
from .lanes import OPERATIONS, Shift, directions, varies

SUMS = ("r4", "r5", "r6", "r7")
"""The registers of the gates' sums, and of what becomes of them."""


@dataclass(frozen=True)
class GateStep:
    """How V becomes an index of the table of lines, with V plus half of the table's range.

    folded: whether the bias has that half already. checked: whether V can lie beyond the
    table.
    """

    folded: bool
    checked: bool


@dataclass(frozen=True)
class Shifts:
    """The shifts of a unit's four sums.

    words: what a unit's stream holds for them, (k, 0 to 4). packed: whether one word holds
    all that are read, in its bytes.
    """

    gates: tuple[Shift, ...]
    words: IntArray
    packed: bool

    @property
    def read(self) -> tuple[Shift, ...]:
        """Those whose distances are read."""
        return tuple(shift for shift in self.gates if shift.distance is None)


def shifts_of(distances: IntArray, packed: bool) -> Shifts:
    """Return the shifts by (4, k) distances, to the left where they are negative.

    A gate whose units agree has its distance in the code.
    """
    towards = directions(distances)
    gates, words = [], []
    for g, name in enumerate("ifgo"):
        row = np.abs(distances[g])
        known = not varies(row[None])
        distance = int(row[0]) if known else None
        gates.append(Shift(name, SUMS[g], OPERATIONS[towards[g]], distance))
        if not known:
            words.append(row)
    packed = packed and len(words) > 1
    read = np.array(words, np.int64).reshape(len(words), distances.shape[1])
    held = lanes.packed_words(read) if packed else read.T
    return Shifts(tuple(gates), held, packed)


def origin(tables: Tables) -> int:
    """Return half of the range of a table's V."""
    return 1 << (tables.bits + 14)


def folded(layer: QuantizedLstm, bounds: LayerBounds, tables: Tables) -> IntArray:
    """Return (4, k) additions to the biases that move V by half of the table, or zeros.

    Zeros for a gate of which a row's accumulator would leave int32, or V after a left shift;
    and where rule N3b is between the bias and V.
    """
    shift = layer.shift.reshape(4, layer.units)
    if layer.mid_shift.any():
        return np.zeros_like(shift)
    move = origin(tables)
    added = np.where(shift >= 0, move << np.maximum(shift, 0), move >> np.maximum(-shift, 0))
    exact = (added >> np.maximum(shift, 0)) << np.maximum(-shift, 0) == move
    most = (bounds.bound.reshape(4, layer.units) + added) << np.maximum(-shift, 0)
    usable = (exact & (most <= INT32_MAX)).all(1)
    return np.asarray(np.where(usable[:, None], added, 0), np.int64)


def gate_steps(
    layer: QuantizedLstm, bounds: LayerBounds, tables: Tables, moved: IntArray
) -> dict[str, GateStep] | None:
    """Return the steps by the gates' names, None where V plus half of the range leaves int32."""
    shift = layer.shift.reshape(4, layer.units)
    bound = bounds.bound.reshape(4, layer.units)
    # A right shift rounds towards minus infinity: one more for the negative side.
    most = ((bound >> np.maximum(shift, 0)) + 1) << np.maximum(-shift, 0)
    if (most + origin(tables)).max() > INT32_MAX:
        return None
    checked = np.asarray((most >= origin(tables)).any(1))
    return {
        name: GateStep(bool(moved[g].any()), bool(checked[g])) for g, name in enumerate("ifgo")
    }
