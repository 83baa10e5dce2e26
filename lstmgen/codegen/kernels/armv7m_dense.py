"""Kernels of dense layers for Cortex-M3: the sums of their rows, four at a time.

The weights have 16 bits. Two rows share a word where there are many (halves of
layout/lanes.py), and the values lie in a frame as words; the few of a small layer have words of
their own, and the values are loaded as they are multiplied. The template
templates/isa/armv7m_dense.S.j2 prints them.
"""

from dataclasses import dataclass

from ...bounds import LayerBounds
from ...qformat import IntArray
from ...quantized_layers import QuantizedDense
from ..layout import lanes
from .armv7m_frame import Copy, Load, X, copy, frame_size, loads
from .armv7m_unit import SUMS, Columns, Word
from .kernel import Choice, Effort, Kernel

TEMPLATE = "armv7m_dense.S.j2"

_HEAD = 12
"""Bytes of the frame's head: where sums go, where they end, and what is too much in them."""

_FEW_WEIGHTS = 128
"""Weights up to which each has a word of its own, which costs two bytes more."""

_FEW_COLUMNS: dict[Effort, int] = {"speed": 40, "balanced": 16}
"""Columns of such layers, which are always unrolled."""

_COLUMNS = 16
"""Columns up to which those of other layers are unrolled."""

_PER_TURN: dict[Effort, int] = {"speed": 4, "balanced": 1}
"""Groups of four columns in a loop's turn."""

_VALUES = ("r2", "r3", "r11", "r12")
"""Registers of values: r11 is no sum where four are needed."""


@dataclass(frozen=True)
class Rows:
    """Up to four rows: where their sums are, and the columns of their values in the frame.

    lower: pairs (lower, upper) of sums whose words are shared.
    """

    sums: tuple[str, ...]
    columns: Columns
    lower: tuple[tuple[str, str], ...]


@dataclass(frozen=True, eq=False)
class DenseKernel(Kernel):
    """What the template prints where values lie in a frame.

    groups: of four rows, `group`, in a loop; rest: the rows behind them.
    """

    copy: Copy
    groups: int
    group: Rows | None
    rest: Rows | None
    head: int
    frame: int
    excess: int
    few: bool = False


@dataclass(frozen=True, eq=False)
class FewKernel(Kernel):
    """What it prints for up to four rows of few columns: the values' loads, by groups."""

    words: tuple[Word, ...]
    sums: tuple[str, ...]
    loads: tuple[tuple[Load, ...], ...]
    few: bool = True


def choose_dense(layer: QuantizedDense, bounds: LayerBounds, effort: Effort) -> Choice:
    """Return the kernel of a dense layer, whose sums are proved to fit int32."""
    del bounds  # modulo 2**32 any sum is exact
    if effort == "size":
        return Choice(None, "the least flash was asked for")
    n, rows = layer.inputs, layer.rows
    if rows <= len(SUMS) and n <= _FEW_COLUMNS[effort] and rows * n <= _FEW_WEIGHTS:
        return Choice(_few(layer), "a few rows, a word for each weight")
    if effort == "balanced" and rows == 1:
        return Choice(None, "a kernel would not gain much on one row")
    per_turn = 0 if n <= _COLUMNS else _PER_TURN[effort]
    groups, left = divmod(rows, len(SUMS))
    kernel = DenseKernel(
        name="two weights a word",
        template=TEMPLATE,
        stream=lanes.dense_words(layer, paired=True),
        copy=copy(X, layer.x, n, 0, "r3" if rows > 1 else None),
        groups=groups,
        group=_rows(len(SUMS), n, per_turn) if groups else None,
        rest=_rows(left, n, per_turn) if left else None,
        head=_HEAD,
        frame=frame_size(_HEAD + 4 * n),
        excess=lanes.HALF_SHIFT,
    )
    return Choice(kernel, "two weights a word, four rows at a time")


def _few(layer: QuantizedDense) -> FewKernel:
    sums = SUMS[: layer.rows]
    step = len(_VALUES) // layer.rows
    groups = [range(at, min(at + step, layer.inputs)) for at in range(0, layer.inputs, step)]
    return FewKernel(
        name="one weight a word",
        template=TEMPLATE,
        stream=lanes.dense_words(layer, paired=False),
        words=tuple(Word((register,)) for register in sums),
        sums=sums,
        loads=tuple(loads(layer.x, "lr", group, _VALUES[: len(group)]) for group in groups),
    )


def _rows(count: int, columns: int, per_turn: int) -> Rows:
    sums = SUMS[:count]
    words = tuple(Word(sums[at : at + 2]) for at in range(0, count, 2))
    lower = tuple((word.sums[1], word.sums[0]) for word in words if len(word.sums) == 2)
    return Rows(sums, Columns.of(words, _HEAD, columns, per_turn), lower)


def unpack_dense(
    kernel: DenseKernel | FewKernel, layer: QuantizedDense
) -> tuple[IntArray, IntArray]:
    """Return the weights (m, n) and biases (m,) that the kernel's stream holds."""
    return lanes.unpack_dense(kernel.stream, layer, paired=not kernel.few)
