"""Kernels of dense layers for Helium: the sums of all rows, some rows in a turn."""

from dataclasses import dataclass

from ...bounds import LayerBounds
from ...qformat import IntArray
from ...quantized_layers import QuantizedDense
from ..layout import fields
from ..layout.fields import Field, column
from .kernel import Choice, Effort, Kernel
from .mve_columns import dense_part
from .mve_parts import Part

_SUMS = ("r2", "r4", "r6", "r8", "r10", "r12")
"""Registers of a turn's sums, beside x in r0, and lr for a loop."""

_ALL_SUMS = ("r0", *_SUMS, "lr")
"""Those of more rows, beside x in r7 and r11 for a loop."""

_UNROLLED: dict[Effort, int] = {"speed": 32, "balanced": 7}
"""Blocks of a turn that are unrolled at most; up to 7 stay in registers."""

_FEW_WEIGHTS = 3
"""With so few C needs fewer instructions than a call does."""


@dataclass(frozen=True, eq=False)
class HeliumDense(Kernel):
    """What the template prints for a dense layer.

    sums: the registers of a turn's rows; rest: of those behind the turns; counter: of the turns.
    """

    fields: tuple[Field, ...]
    part: Part
    sums: tuple[str, ...]
    turns: int
    rest: tuple[str, ...]
    counter: str

    @property
    def saved(self) -> str | None:
        """The registers to restore beside lr, an odd number of them; None for not even lr."""
        if len(self.sums) > 1 or self.part.walks:
            return "r3-r11"
        return "r3" if self.turns > 1 else None

    @property
    def saves_vectors(self) -> bool:
        """Whether vectors have to be restored, d8 to d15."""
        return self.part.weights != "q3"


def choose_dense(layer: QuantizedDense, bounds: LayerBounds, effort: Effort) -> Choice:
    """Return the kernel of a dense layer, whose sums are proved to fit int32."""
    del bounds  # modulo 2**32 any sum is exact
    if effort == "size":
        return Choice(None, "the least flash was asked for")
    if layer.w.size <= _FEW_WEIGHTS:
        return Choice(None, "so few weights are not worth a call")
    m = layer.rows
    part = dense_part(layer, "r0", _UNROLLED[effort])
    per_turn = _rows_per_turn(m, part, effort)
    many = per_turn > len(_SUMS)
    sums = _ALL_SUMS if many else _SUMS
    if many:
        part = dense_part(layer, "r7", _UNROLLED[effort])
    slots = (column("bias", 0, 4), *part.slots)
    found = tuple(fields.turns(range(m), per_turn, slots))
    kernel = HeliumDense(
        name=f"Helium, int{part.bits}",
        template="mve_dense.S.j2",
        stream=fields.pack(found, _arrays(layer), part.overrun),
        fields=found,
        part=part,
        sums=sums[:per_turn],
        turns=m // per_turn,
        rest=sums[: m % per_turn],
        counter="r11" if many or part.looped else "lr",
    )
    return Choice(kernel, f"{per_turn} rows at a time" if per_turn > 1 else "row by row")


def _rows_per_turn(m: int, part: Part, effort: Effort) -> int:
    if effort == "balanced":
        # Blocks that stay in registers are worth no code for more rows.
        return max(r for r in (1, 2, 3, 4) if m % r == 0) if part.streamed else 1
    most = 4 if part.looped else len(_ALL_SUMS)
    turns = -(-m // most)
    return -(-m // turns)


def _arrays(layer: QuantizedDense) -> dict[str, IntArray]:
    return {"w": layer.w, "bias": layer.bias[:, None]}


def unpack_dense(kernel: HeliumDense, layer: QuantizedDense) -> tuple[IntArray, IntArray]:
    """Return the weights (m, n) and biases (m,) that the stream holds."""
    shapes = {name: array.shape for name, array in _arrays(layer).items()}
    arrays = fields.unpack(kernel.fields, kernel.stream, shapes)
    return arrays["w"], arrays["bias"][:, 0]
