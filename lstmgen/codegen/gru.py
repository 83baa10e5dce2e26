"""What the template of a GRU layer prints."""

from dataclasses import dataclass
from typing import ClassVar

from .kernels import Kernel
from .layers import DenseView, EmbeddingView, Gate, LstmView, count_of
from .rescale import Rescale
from .values import Array, Value


@dataclass(frozen=True)
class GruView:
    """A GRU layer; its gates are r, z and n.

    apart: whether the sum over h of n is multiplied by r, not h itself (reset_after); then it
    has `bias_h`, and `inner` is its rule N4, with `shift_h` by row.
    product_shift: the k of rule N6; hidden_shift, hidden_limit: from the state to h.
    """

    title: str
    c_name: str
    macro: str
    function: str
    inputs: int
    units: int
    x: Value
    h: Value
    c: Value
    wx: Array
    wh: Array
    bias: Array
    shift: Array | None
    bias_h: Array | None
    shift_h: Array | None
    h0: Array | None
    c0: Array | None
    x_factor: int
    gates: tuple[Gate, ...]
    inner: Rescale
    inner_bound: int
    product_shift: int
    hidden_shift: int
    hidden_limit: int
    kernel: ClassVar[Kernel | None] = None
    why: ClassVar[str] = "GRU layers have no kernels of their own"
    template: ClassVar[str] = "gru.c.j2"
    recurrent: ClassVar[bool] = True
    projection: ClassVar[DenseView | None] = None

    @property
    def apart(self) -> bool:
        """Whether r multiplies the sum over h."""
        return self.bias_h is not None

    @property
    def width(self) -> int:
        """The number of values of h."""
        return self.units

    @property
    def h_count(self) -> str:
        """The same as a macro."""
        return f"{self.macro}_UNITS"

    @property
    def c_field(self) -> str:
        """The member of the state that holds the state words."""
        return f"{self.c_name}_c"

    @property
    def h_field(self) -> str:
        """The member of the state that holds the hidden state."""
        return f"{self.c_name}_h"

    @property
    def hidden_rounding(self) -> int:
        """Half a unit of h."""
        return 1 << (self.hidden_shift - 1)

    @property
    def arrays(self) -> tuple[Array, ...]:
        """The constants, in the order the code reads them."""
        own = (self.bias, self.bias_h, self.wx, self.wh, self.shift, self.shift_h)
        return tuple(array for array in (*own, self.h0, self.c0) if array is not None)

    @property
    def helpers(self) -> frozenset[str]:
        """The functions that the layer's C calls."""
        own = ["asr", "clamp", "cell_at", "cell_word", *(("share",) if self.apart else ())]
        for gate in self.gates:
            own += [*gate.function.helpers, *gate.rescale.helpers]
        return frozenset([*own, *self.inner.helpers])

    @property
    def summary(self) -> str:
        """What the layer is, in a few words."""
        how = "" if self.apart else ", reset before the product"
        return f"GRU, {count_of(self.inputs, 'input')}, {count_of(self.units, 'unit')}{how}"


RecurrentView = LstmView | GruView
LayerView = RecurrentView | DenseView | EmbeddingView
