"""Kernels of dense layers for Cortex-M0: the sums of their rows, up to four at a time.

The weights have 16 bits. Two rows share a word where there are many (halves of
layout/lanes.py), and the values lie in a frame as words; the few of a small layer have words of
their own, and the values are loaded as they are multiplied. The template
templates/isa/armv6m_dense.S.j2 prints them.
"""

from dataclasses import dataclass
from typing import ClassVar

from ...bounds import LayerBounds
from ...qformat import IntArray
from ...quantized_layers import QuantizedDense
from ..layout import lanes
from .armv6m_cell import SUMS
from .armv6m_columns import Span, span_of
from .armv7m_frame import frame_size
from .armv7m_unit import SUMS as HIGH
from .armv7m_unit import Word
from .kernel import Choice, Effort, Kernel

TEMPLATE = "armv6m_dense.S.j2"

_HEAD = 12
"""Bytes of the frame's head: where sums go, where they end, and what is too much in them."""

_FEW_WEIGHTS = 128
"""Weights up to which each has a word of its own, which costs two bytes more."""

_FEW_COLUMNS: dict[Effort, int] = {"speed": 40, "balanced": 16}
"""Columns of such layers up to which they are unrolled."""

_COLUMNS = 16
"""Columns up to which those of other layers are unrolled."""

_PER_TURN: dict[Effort, int] = {"speed": 8, "balanced": 4}
"""Columns in a loop's turn."""

_FEW_SUMS = ("r3", "r12", "lr", "r7")
"""The sums of few rows: none of these has to be saved but r7, and lr, which is anyway."""

_FEW_STARTS = ("r3", "r4", "r5", "r7")
"""Where they start from and end, before and behind the columns."""

_FEW_ENDS = ("r12", "lr", "r7")
"""By rows, what says where a loop over columns ends: four rows leave no register for it."""


@dataclass(frozen=True)
class Rows:
    """Up to four rows: their sums before and behind the columns, and during these.

    lower: pairs (lower, upper) of sums whose words are shared.
    """

    sums: tuple[str, ...]
    high: tuple[str, ...]
    columns: Span
    lower: tuple[tuple[str, str], ...]


@dataclass(frozen=True, eq=False)
class DenseKernel(Kernel):
    """What the template prints where values lie in a frame.

    groups: of four rows, `group`, in a loop; rest: the rows behind them. excess: the power of
    two that the sum of the values is too much in the lower sums by.
    """

    few: ClassVar[bool] = False
    groups: int
    group: Rows | None
    rest: Rows | None
    head: int
    frame: int
    excess: int
    summed: bool


@dataclass(frozen=True, eq=False)
class FewKernel(Kernel):
    """What it prints for up to four rows.

    sums, starts: the rows' registers during the columns, and before and behind them. together:
    columns whose weights are loaded together. turns: of a loop over `per_turn` columns, up to
    `end`; rest: columns behind it.
    """

    few: ClassVar[bool] = True
    sums: tuple[str, ...]
    starts: tuple[str, ...]
    together: int
    turns: int
    per_turn: int
    end: str | None
    rest: int


def choose_dense(layer: QuantizedDense, bounds: LayerBounds, effort: Effort) -> Choice:
    """Return the kernel of a dense layer, whose sums are proved to fit int32."""
    del bounds  # modulo 2**32 any sum is exact
    if effort == "size":
        return Choice(None, "the least flash was asked for")
    n, rows = layer.inputs, layer.rows
    unrolled = n <= _FEW_COLUMNS[effort]
    loopable = unrolled or rows <= len(_FEW_ENDS)
    if rows <= len(_FEW_SUMS) and rows * n <= _FEW_WEIGHTS and loopable:
        return Choice(_few(layer, effort), "a few rows, a word for each weight")
    if rows == 1 and effort == "balanced":
        return Choice(None, "a kernel would not gain much on one row")
    if rows == 1:
        return Choice(_few(layer, effort), "one row, a word for each weight")
    per_turn = 0 if n <= _COLUMNS else _PER_TURN[effort]
    groups, left = divmod(rows, len(SUMS))
    kernel = DenseKernel(
        name="two weights a word",
        template=TEMPLATE,
        stream=lanes.dense_words(layer, paired=True),
        groups=groups,
        group=_rows(len(SUMS), n, per_turn) if groups else None,
        rest=_rows(left, n, per_turn) if left else None,
        head=_HEAD,
        frame=frame_size(_HEAD + 4 * n),
        excess=lanes.HALF_SHIFT,
        summed=rows > 1,
    )
    return Choice(kernel, "two weights a word, four rows at a time")


def _few(layer: QuantizedDense, effort: Effort) -> FewKernel:
    n, rows = layer.inputs, layer.rows
    per_turn = _PER_TURN[effort]
    turns = 0 if n <= _FEW_COLUMNS[effort] else n // per_turn
    return FewKernel(
        name="one weight a word",
        template=TEMPLATE,
        stream=lanes.dense_words(layer, paired=False),
        sums=_FEW_SUMS[:rows],
        starts=_FEW_STARTS[:rows],
        together=max(4 // rows, 1),
        turns=turns,
        per_turn=per_turn,
        end=_FEW_ENDS[rows - 1] if turns else None,
        rest=n - turns * per_turn,
    )


def _rows(count: int, columns: int, per_turn: int) -> Rows:
    sums, high = SUMS[:count], HIGH[:count]
    words = tuple(Word(high[at : at + 2]) for at in range(0, count, 2))
    lower = tuple((sums[at + 1], sums[at]) for at in range(0, count - 1, 2))
    return Rows(sums, high, span_of(words, columns, per_turn), lower)


def unpack_dense(
    kernel: DenseKernel | FewKernel, layer: QuantizedDense
) -> tuple[IntArray, IntArray]:
    """Return the weights (m, n) and biases (m,) that the kernel's stream holds."""
    return lanes.unpack_dense(kernel.stream, layer, paired=not kernel.few)
