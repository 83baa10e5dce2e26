"""What a Helium kernel does with the columns of one array: blocks and scalars, their registers."""

from dataclasses import dataclass

from ...qformat import IntArray
from ...quantized_layers import QuantizedLstm
from ..layout.fields import Slot
from ..layout.words import round_up


@dataclass(frozen=True)
class Block:
    """Columns in one vector register.

    offset: bytes from the array's first column; near: whether a load reaches that far.
    columns: of the array, fewer than the part's lanes in its last block. borrowed: columns of
    h in the lanes behind, all of them, or 0: then these are zero.
    """

    register: str
    offset: int
    near: bool
    columns: int
    borrowed: int


@dataclass(frozen=True)
class Scalar:
    """A column that is multiplied as a scalar."""

    register: str
    offset: int


@dataclass(frozen=True)
class Loop:
    """A loop over all columns of a part, under tail predication.

    back: bytes that its last turn passes the row's weights by.
    """

    columns: int
    back: int


@dataclass(frozen=True)
class Pointer:
    """A register that begins at an offset of the stream, in bytes."""

    register: str
    offset: int


@dataclass(frozen=True)
class Part:
    """How an array of values is multiplied by its weights.

    array: of weights. pointer, stream: registers of the values' address and of the weights'.
    lanes: columns of a block.
    first: the column that the first block begins with, behind those that another part has.
    streamed: full blocks that are read in each turn, in a loop if `looped`; held: the others.
    weights: register that weights go through. shift: to the left, aligns the values with h
    (rule N2); late: it is made with the sums. align: of rows of weights. loop: instead of blocks.
    """

    array: str
    pointer: str
    stream: str
    value_bytes: int
    weight_bytes: int
    lanes: int
    first: int
    streamed: tuple[Block, ...]
    held: tuple[Block, ...]
    looped: bool
    scalars: tuple[Scalar, ...]
    weights: str
    shift: int
    late: bool
    align: int
    loop: Loop | None = None

    @property
    def bits(self) -> int:
        """Bits of a lane."""
        return 128 // self.lanes

    @property
    def load(self) -> str:
        """The suffix of the load of values."""
        return self._suffix(self.value_bytes)

    @property
    def weight_load(self) -> str:
        """The suffix of the load of weights."""
        return self._suffix(self.weight_bytes)

    @property
    def block_bytes(self) -> int:
        """Bytes of a full block of values."""
        return self.lanes * self.value_bytes

    @property
    def weight_block_bytes(self) -> int:
        """Bytes of a full block of weights."""
        return self.lanes * self.weight_bytes

    @property
    def walks(self) -> bool:
        """Whether streamed blocks are read through a pointer of their own."""
        return self.looped or any(not block.near for block in self.streamed)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks, by column."""
        return self.streamed + self.held

    @property
    def slots(self) -> tuple[Slot, ...]:
        """What the stream holds of a row for the part."""
        if self.loop:
            return (self._slot(((self.array, range(self.loop.columns)),)),)
        slots, column = [], self.first
        for block in self.blocks:
            own = (self.array, range(column, column + block.columns))
            lent = (("wh", range(block.borrowed)),) if block.borrowed else ()
            slots.append(self._slot((own, *lent)))
            column += block.columns
        return tuple(slots)

    @property
    def scalar_slots(self) -> tuple[Slot, ...]:
        """What the stream holds of a row for the scalars."""
        columns = [scalar.offset // self.value_bytes for scalar in self.scalars]
        size = self.weight_bytes
        return tuple(Slot(((self.array, range(c, c + 1)),), size, size) for c in columns)

    @property
    def overrun(self) -> int:
        """Bytes that the load of a short row reads of what follows it."""
        if not self.held:
            return 0
        return self.weight_block_bytes - self.row_bytes(self.held[-1])

    def row_bytes(self, block: Block) -> int:
        """Return the bytes from one row's weights to the next."""
        return round_up((block.columns + block.borrowed) * self.weight_bytes, self.align)

    def _slot(self, pieces: tuple[tuple[str, range], ...]) -> Slot:
        columns = sum(len(columns) for _, columns in pieces)
        return Slot(pieces, self.weight_bytes, round_up(columns * self.weight_bytes, self.align))

    def _suffix(self, size: int) -> str:
        return "h.u16" if size == 2 else "b.u8" if self.lanes == 16 else "b.s16"


def arrays(layer: QuantizedLstm) -> dict[str, IntArray]:
    """Return what the streams of LSTM layers hold, (rows, columns) by name."""
    return {
        "wx": layer.wx,
        "wh": layer.wh,
        "bias": layer.bias[:, None],
        "mid": layer.mid_shift[:, None],
        # VSHL shifts to the left where positive.
        "shift": -layer.shift[:, None],
    }
