"""What the templates of a layer print: its names, sizes, constants, shifts and bounds."""

from dataclasses import dataclass
from typing import ClassVar

from ..layers import Activation
from ..qformat import QFormat
from .kernels import Kernel
from .rescale import Rescale
from .values import Array, Value


@dataclass(frozen=True)
class Gate:
    """One gate of an LSTM: its place in the packed arrays, table and bound.

    mid: what rule N3b does to the sum over h; rescale: rule N4.
    """

    name: str
    column: int
    table: str
    mid: Rescale
    rescale: Rescale
    argument: QFormat
    bound: int


@dataclass(frozen=True)
class LstmView:
    """An LSTM layer. `x_factor` is 2^lx of rule N2; `hidden_limit` rule N7's min, if needed.

    kernel: what computes it in assembly, from `streams`, or None for C; why: of either.
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
    mid: Array | None
    h0: Array | None
    c0: Array | None
    x_factor: int
    gates: tuple[Gate, ...]
    hidden_rounding: int
    hidden_shift: int
    hidden_limit: int | None
    kernel: Kernel | None
    why: str
    streams: tuple[Array, ...]
    recurrent: ClassVar[bool] = True

    @property
    def stream(self) -> Array:
        """The first array that the kernel reads."""
        return self.streams[0]

    @property
    def c_field(self) -> str:
        """The member of the state that holds the cell words."""
        return f"{self.c_name}_c"

    @property
    def h_field(self) -> str:
        """The member of the state that holds the hidden state."""
        return f"{self.c_name}_h"

    @property
    def mid_shifted(self) -> bool:
        """Whether rule N3b acts on some gate."""
        return any(gate.mid.acts for gate in self.gates)

    @property
    def arrays(self) -> tuple[Array, ...]:
        """The constants, in the order the code reads them."""
        own = self.streams or (self.bias, self.wx, self.wh, self.shift, self.mid)
        return tuple(array for array in (*own, self.h0, self.c0) if array is not None)

    @property
    def template(self) -> str:
        """The template of the layer's part of the C file."""
        if self.kernel is None:
            return "lstm.c.j2"
        return f"isa/{self.kernel.template}" if self.kernel.in_c else "lstm_kernel.c.j2"

    @property
    def helpers(self) -> frozenset[str]:
        """The functions that the layer's C calls: none where a kernel takes its place."""
        if self.kernel:
            return self.kernel.helpers
        own = ("asr", "clamp", "interpolate", "activate", "cell")
        ways = [way for gate in self.gates for way in (gate.mid, gate.rescale)]
        return frozenset([*own, *(name for way in ways for name in way.helpers)])

    @property
    def summary(self) -> str:
        """What the layer is, in a few words."""
        return f"LSTM, {_count(self.inputs, 'input')}, {_count(self.units, 'unit')}"


@dataclass(frozen=True)
class DenseView:
    """A dense layer. `low` and `high` clamp V to y, None where the bound makes that needless.

    kernel: what computes its accumulators, from `streams`, or None for C; why: of either.
    """

    title: str
    c_name: str
    macro: str
    function: str
    activation: Activation
    inputs: int
    rows: int
    outputs: str
    x: Value
    y: Value
    w: Array
    bias: Array
    shift: Array | None
    rescale: Rescale
    argument: str
    low: int | None
    high: int | None
    table: str | None
    bound: int
    kernel: Kernel | None
    why: str
    streams: tuple[Array, ...]
    template: ClassVar[str] = "dense.c.j2"
    recurrent: ClassVar[bool] = False

    @property
    def stream(self) -> Array:
        """The first array that the kernel reads."""
        return self.streams[0]

    @property
    def sums_function(self) -> str:
        """The function of the kernel."""
        return self.function.removesuffix("_step") + "_sums"

    @property
    def sums(self) -> str:
        """The array that a kernel writes the accumulators to."""
        raw = self.y.format.storage_bits == 32
        return "y" if raw else "logit" if self.activation == "softmax" else "sums"

    @property
    def done_by_kernel(self) -> bool:
        """Whether the accumulators are the outputs, so that nothing is left to C."""
        return self.kernel is not None and self.sums == "y" and self.activation == "linear"

    @property
    def arrays(self) -> tuple[Array, ...]:
        """The constants, in the order the code reads them."""
        found = (*(self.streams or (self.bias, self.w)), self.shift)
        return tuple(array for array in found if array is not None)

    @property
    def helpers(self) -> frozenset[str]:
        """The functions that the layer's C calls."""
        own: tuple[str, ...] = ()
        if self.activation == "softmax":
            own = ("asr", "interpolate")
        elif self.table:
            own = ("asr", "clamp", "interpolate", "activate")
        elif self.high is not None:
            own = ("clamp",)
        return frozenset([*own, *self.rescale.helpers])

    @property
    def cast(self) -> str:
        """The cast from int32_t to y's type, where there is one."""
        return "" if self.y.format.storage_bits == 32 else f"({self.y.type})"

    @property
    def narrow_shift(self) -> int:
        """The shift from Q0.15 to y of 8 bits."""
        return 15 - self.y.frac

    @property
    def narrow_rounding(self) -> int:
        """Half a unit of y in Q0.15."""
        return 1 << (self.narrow_shift - 1)

    @property
    def summary(self) -> str:
        """What the layer is, in a few words."""
        outputs = _count(self.rows, "class", "classes" if self.rows > 1 else "class")
        if self.activation not in ("softmax", "argmax"):
            outputs = _count(self.rows, "output")
        return f"dense, {_count(self.inputs, 'input')}, {outputs}, {self.activation}"


LayerView = LstmView | DenseView


def _count(number: int, what: str, plural: str | None = None) -> str:
    return f"{number} {what if number == 1 else plural or what + 's'}"
