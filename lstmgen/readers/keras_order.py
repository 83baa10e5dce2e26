"""The order of layers of which only widths are known."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ..errors import ModelError
from ..folding import Affine
from ..layers import Bidirectional, Dense, Embedding, Gru, Layer, Lstm

_BUDGET = 20_000
"""Partial orders that are tried."""


@dataclass(frozen=True, eq=False)
class Block:
    """The layers that one layer of Keras stands for."""

    name: str
    layers: tuple[Layer | Affine, ...]

    @property
    def recurrent(self) -> bool:
        """Whether it is an LSTM, a GRU or a pair of them."""
        return isinstance(self.layers[0], Lstm | Gru | Bidirectional)

    @property
    def inputs(self) -> int:
        """The width it takes."""
        first = self.layers[0]
        return int(first.scale.size) if isinstance(first, Affine) else _inputs(first)

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths it may hand on: a bidirectional layer's halves side by side, or as one."""
        last = self.layers[-1]
        if isinstance(last, Affine):
            return (int(last.scale.size),)
        if isinstance(last, Bidirectional):
            return last.width, last.forward.width
        return (last.W.shape[0] if isinstance(last, Dense) else last.width,)

    def merged(self, following: "Block | None", notes: list[str]) -> tuple[Layer | Affine, ...]:
        """Return the layers, a bidirectional one merged as the block behind it needs."""
        layer = self.layers[-1]
        if not isinstance(layer, Bidirectional):
            return self.layers
        if following is None or following.inputs == layer.width:
            notes.append(f"{layer.name}: bidirectional; its halves are taken to lie side by side")
            return self.layers
        notes.append(
            f"{layer.name}: bidirectional; by its width its halves are one, taken to be their sum "
            "(average and multiply look the same)"
        )
        return (*self.layers[:-1], replace(layer, merge="sum"))


def _inputs(layer: Layer) -> int:
    """Return the inputs of a layer whose arrays may have any shape."""
    matrix = layer.forward.W if isinstance(layer, Bidirectional) else getattr(layer, "W", None)
    if isinstance(layer, Embedding) or matrix is None:
        return -1
    return int(matrix.shape[-1]) if matrix.ndim else 0


def chained(blocks: Mapping[str, Sequence[Block]], notes: list[str]) -> list[Block]:
    """Return the blocks in the one order in which their widths chain.

    blocks: by class, in order within the class. Dense layers are put behind recurrent ones
    where widths leave that open; a note says so. ModelError if more than one order remains.
    """
    search = _Search(list(blocks.values()))
    usual = search.orders(dense_last=True)
    if len(usual) == 1 and not search.spent:
        if len(search.orders(dense_last=False)) > 1:
            names = ", ".join(block.name for block in usual[0])
            notes.append(f"order of layers not stored; dense layers taken to be last: {names}")
        return usual[0]
    found = usual or search.orders(dense_last=False)
    if len(found) == 1 and not search.spent:
        return found[0]
    if len(found) > 1:
        first, second = (", ".join(block.name for block in order) for order in found[:2])
        raise ModelError(
            "the order of layers is not stored, and by their widths it may be "
            f"{first} or {second}; save the whole model (model.save('model.keras'))"
        )
    shown = ", ".join(
        f"{block.name} {block.inputs} -> {' or '.join(str(w) for w in block.widths)}"
        for each in blocks.values()
        for block in each
    )
    raise ModelError(
        f"the order of layers is not stored, and in no order that was tried their widths fit: "
        f"{shown[:400] or 'no layers'}; save the whole model (model.save('model.keras'))"
    )


class _Search:
    def __init__(self, blocks: Sequence[Sequence[Block]]) -> None:
        self._blocks = blocks
        self._budget = _BUDGET
        self._dense_last = False
        self.spent = False  # whether orders are left that were not tried

    def orders(self, dense_last: bool) -> list[list[Block]]:
        """Return up to two orders in which the widths chain."""
        self._budget, self._dense_last, self.spent = _BUDGET, dense_last, False
        found: list[list[Block]] = []
        for order in self._from([0] * len(self._blocks), None, []):
            found.append(order)
            if len(found) == 2:
                break
        return found

    def _from(
        self, at: list[int], widths: tuple[int, ...] | None, before: list[Block]
    ) -> Iterator[list[Block]]:
        self._budget -= 1
        if self._budget < 0:
            self.spent = True
            return
        left = [(kind, each[n]) for kind, (each, n) in enumerate(zip(self._blocks, at, strict=True))
                if n < len(each)]  # fmt: skip
        if not left:
            yield list(before)
        waiting = any(block.recurrent for _, block in left)
        for kind, block in left:
            if widths is not None and block.inputs not in widths:
                continue
            if isinstance(block.layers[0], Dense) and waiting and self._dense_last:
                continue
            following = [n + (number == kind) for number, n in enumerate(at)]
            yield from self._from(following, block.widths, [*before, block])
