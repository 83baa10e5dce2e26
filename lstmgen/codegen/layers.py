"""What the templates of a layer print: its names, sizes, constants, shifts and bounds."""

from dataclasses import dataclass
from typing import ClassVar

from ..layers import Activation
from ..qformat import QFormat
from .kernels import Kernel
from .rescale import Rescale
from .values import Array, Value


@dataclass(frozen=True)
class Function:
    """What a gate, a candidate or a cell state goes through.

    table: of rule N5, or None for rule N11: a shift, and `low` as the least value.
    halved: whether the argument has one fraction bit more than the table takes.
    """

    table: str | None
    shift: int = 0
    low: int = 0
    halved: bool = False

    @property
    def helpers(self) -> tuple[str, ...]:
        """The C functions it calls."""
        if self.table is None:
            return ("asr", "clamp", "linear")
        return ("asr", "clamp", "interpolate", "activate")


@dataclass(frozen=True)
class Gate:
    """One gate of an LSTM: its place in the packed arrays, table and bound.

    function: what makes it of its pre-activation; mid: what rule N3b does to the sum over h;
    rescale: rule N4. clip: limit of the pre-activation behind that (rule N11); peephole: the
    row of its peephole weights (rule N12).
    """

    name: str
    column: int
    function: Function
    mid: Rescale
    rescale: Rescale
    argument: QFormat
    bound: int
    clip: int | None = None
    peephole: int | None = None

    @property
    def table(self) -> str:
        """The table of its function, which has one."""
        assert self.function.table is not None
        return self.function.table


@dataclass(frozen=True)
class LstmView:
    """An LSTM layer. `x_factor` is 2^lx of rule N2; `hidden_limit` rule N7's min, if needed.

    output: the function of the cell state. product_shift: of rule N6, where it is not the
    model's; cell_limit: rule N11's. peephole: the weights of rule N12, peephole_shift its lp.
    projection: of rule N13.
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
    output: Function
    product_shift: int | None
    cell_limit: int | None
    peephole: Array | None
    peephole_shift: int
    g_frac: int
    projection: "DenseView | None"
    kernel: Kernel | None
    why: str
    streams: tuple[Array, ...]
    recurrent: ClassVar[bool] = True

    @property
    def width(self) -> int:
        """The number of values of h."""
        return self.units if self.projection is None else self.projection.rows

    @property
    def h_count(self) -> str:
        """The same as a macro."""
        return f"{self.macro}_{'UNITS' if self.projection is None else 'OUTPUTS'}"

    @property
    def plain_gates(self) -> bool:
        """Whether rule N5 gives all gates."""
        return all(gate.function.table is not None for gate in self.gates)

    @property
    def output_name(self) -> str:
        """What the cell state becomes, for a name in C."""
        table = self.output.table
        return "output" if table is None else f"{table.rpartition('_')[2]}_c"

    @property
    def late_gates(self) -> tuple[Gate, ...]:
        """The gates that wait for the new cell state, which their peepholes look at."""
        return () if self.peephole is None else self.gates[3:]

    @property
    def early_gates(self) -> tuple[Gate, ...]:
        """The others."""
        return self.gates if self.peephole is None else self.gates[:3]

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
        own = self.streams or (
            self.bias, self.wx, self.wh, self.shift, self.mid, self.peephole
        )
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
        own = ["asr", "cell_word", *self.output.helpers]
        own.append("cell" if self.product_shift is None else "cell_at")
        own += ["peephole", "clamp", "asr"] if self.peephole is not None else []
        limits = (self.cell_limit, *(gate.clip for gate in self.gates))
        own += ["clamp"] if any(limit is not None for limit in limits) else []
        for gate in self.gates:
            own += [*gate.function.helpers, *gate.mid.helpers, *gate.rescale.helpers]
        return frozenset(own)

    @property
    def summary(self) -> str:
        """What the layer is, in a few words."""
        text = f"LSTM, {count_of(self.inputs, 'input')}, {count_of(self.units, 'unit')}"
        text += "" if self.peephole is None else ", peepholes"
        return text if self.projection is None else f"{text}, projected to {self.width}"


@dataclass(frozen=True)
class DenseView:
    """A dense layer. `low` and `high` clamp V to y, None where the bound makes that needless.

    skip: weights of the network's own input, whose format is skip_x, if it adds that.

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
    skip: Array | None
    skip_x: Value | None
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
        found = (*(self.streams or (self.bias, self.w, self.skip)), self.shift)
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
        outputs = count_of(self.rows, "class", "classes" if self.rows > 1 else "class")
        if self.activation not in ("softmax", "argmax"):
            outputs = count_of(self.rows, "output")
        return f"dense, {count_of(self.inputs, 'input')}, {outputs}, {self.activation}"


@dataclass(frozen=True)
class EmbeddingView:
    """A table from which the input takes a row."""

    title: str
    c_name: str
    macro: str
    function: str
    x: Value
    y: Value
    entries: int
    rows: int
    table: Array
    template: ClassVar[str] = "embedding.c.j2"
    recurrent: ClassVar[bool] = False
    inputs: ClassVar[int] = 1
    kernel: ClassVar[Kernel | None] = None
    why: ClassVar[str] = "a table has nothing to compute"
    helpers: ClassVar[frozenset[str]] = frozenset()

    @property
    def arrays(self) -> tuple[Array, ...]:
        """The constants."""
        return (self.table,)

    @property
    def summary(self) -> str:
        """What the layer is, in a few words."""
        return f"embedding, {count_of(self.entries, 'row')} of {count_of(self.rows, 'value')}"


def count_of(number: int, what: str, plural: str | None = None) -> str:
    """Return a number of things in words: `1 unit`, `2 units`."""
    return f"{number} {what if number == 1 else plural or what + 's'}"
