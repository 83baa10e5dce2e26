"""Integers of any size in one stream of bytes: fields, each some columns of some rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...qformat import IntArray
from .words import round_up


@dataclass(frozen=True)
class Slot:
    """What a stream holds of a row.

    pieces: arrays and columns of them, side by side. size: bytes of an integer;
    row_bytes: from one row to the next.
    """

    pieces: tuple[tuple[str, range], ...]
    size: int
    row_bytes: int


@dataclass(frozen=True)
class Field:
    """A slot for each of some rows."""

    slot: Slot
    rows: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Bytes that it takes."""
        return self.slot.row_bytes * len(self.rows)


def column(array: str, at: int, size: int) -> Slot:
    """Return the slot of one column."""
    return Slot(((array, range(at, at + 1)),), size, size)


def turns(rows: Sequence[int], per_turn: int, slots: Sequence[Slot]) -> Iterator[Field]:
    """Yield the fields of rows that are summed `per_turn` at a time, all slots in each turn."""
    for begin in range(0, len(rows), per_turn):
        for slot in slots:
            yield Field(slot, tuple(rows[begin : begin + per_turn]))


def end(fields: Sequence[Field]) -> int:
    """Return the bytes of a stream of fields."""
    return sum(field.bytes for field in fields)


def padding(fields: Sequence[Field], multiple: int) -> list[Field]:
    """Return the field of zeros, if any, behind which the next one begins at a multiple."""
    missing = -end(fields) % multiple
    return [Field(Slot((), 1, missing), (0,))] if missing else []


def pack(fields: Sequence[Field], arrays: Mapping[str, IntArray], behind: int = 0) -> IntArray:
    """Return the fields as words, with at least `behind` bytes of zeros at the end.

    arrays: (rows, columns) by name.
    """
    stream = bytearray()
    for field in fields:
        for row in field.rows:
            begin = len(stream)
            for array, columns in field.slot.pieces:
                found = arrays[array][row, columns.start : columns.stop]
                stream += found.astype(f"<i{field.slot.size}").tobytes()
            stream += bytes(begin + field.slot.row_bytes - len(stream))
    stream += bytes(round_up(len(stream) + behind, 4) - len(stream))
    return np.frombuffer(bytes(stream), "<i4").astype(np.int64)


def unpack(
    fields: Sequence[Field], words: IntArray, shapes: Mapping[str, tuple[int, int]]
) -> dict[str, IntArray]:
    """Return the arrays, of the given shapes, that the words hold; 0 where no field is."""
    arrays = {name: np.zeros(shape, np.int64) for name, shape in shapes.items()}
    stream, at = words.astype("<i4").tobytes(), 0
    for field in fields:
        size = field.slot.size
        for row in field.rows:
            begin = at
            for array, columns in field.slot.pieces:
                found = np.frombuffer(stream, f"<i{size}", len(columns), begin)
                arrays[array][row, columns.start : columns.stop] = found
                begin += size * len(columns)
            at += field.slot.row_bytes
    return arrays
