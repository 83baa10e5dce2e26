"""The order of a network's modules, which its arrays only hint at.

A state dict keeps the order in which modules were made, safetensors not even that. The widths
tell the rest: an order has to chain, each module taking what the one before it hands on.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..folding import Affine
from ..layers import Embedding, Layer
from ..network import MAX_LAYERS

MAX_TRIALS = 20_000
"""Steps of the search for orders; beyond that it has to be given."""


@dataclass(frozen=True, eq=False)
class Part:
    """What a module becomes: its layers and a note on each.

    embedding: its second reading, of a matrix without bias. normalizes: whether it is
    normalization.
    """

    name: str
    layers: tuple[Layer | Affine, ...]
    notes: tuple[str, ...]
    embedding: Embedding | None = None
    normalizes: bool = False

    @property
    def inputs(self) -> int:
        """The number of inputs."""
        first = self.layers[0]
        return len(first.scale) if isinstance(first, Affine) else first.inputs

    @property
    def width(self) -> int:
        """The number of values handed on."""
        last = self.layers[-1]
        return len(last.scale) if isinstance(last, Affine) else last.width

    def embedded(self) -> "Part":
        """Return the part read as an embedding."""
        assert self.embedding is not None
        note = f"{self.name}: Embedding of {self.embedding.entries} rows"
        return Part(self.name, (self.embedding,), (note,))


def arrange(
    parts: list[Part],
    source: str,
    wanted: Sequence[str],
    ordered: bool,
    problems: list[str],
    notes: list[str],
) -> list[Part]:
    """Return the parts in order, one of them perhaps read as an embedding.

    wanted: the order by names that the user gave, or empty. ordered: whether the order of
    `parts` is better than none.
    """
    layers = [layer for part in parts for layer in part.layers if not isinstance(layer, Affine)]
    unsound = any(line for layer in layers for line in layer.shape_problems())
    if unsound or not 0 < len(parts) <= MAX_LAYERS:
        return parts  # for the network's own checks to name
    if wanted:
        parts = sorted(parts, key=lambda part: wanted.index(part.name))
        return next((found for found in _readings(parts) if _chains(found)), parts)
    found, sure = _orders(parts, by_numbers=False)
    kept = next((got for got in _readings(parts) if _chains(got)), None) if ordered else None
    if kept is not None:
        if len(found) > 1:
            notes.append(
                f"order of modules {_names(kept, ', ')}: as in the file "
                f"(another also fits; set it with --order {_names(kept)})"
            )
        return kept
    only = why = "the only one in which their widths fit"
    if len(found) > 1:
        by_numbers, sure = _orders(parts, by_numbers=True)
        if len(by_numbers) == 1 and sure:
            found, why = by_numbers, "by their widths and the numbers in their names"
    if len(found) == 1 and sure:
        if why != only or _names(found[0]) != _names(parts):
            notes.append(
                f"order of modules {_names(found[0], ', ')}: {why} "
                f"(set another with --order {_names(found[0])})"
            )
        return found[0]
    if len(found) > 1:
        problems.append(
            f"{source}: its modules fit in several orders, such as {_names(found[0])} or "
            f"{_names(found[1])}; say which with --order {_names(found[0])}"
        )
    elif not sure:
        problems.append(
            f"{source}: its {len(parts)} modules are too many to find their order by widths; "
            "say it with --order"
        )
    elif not ordered:
        widths = ", ".join(f"{part.name} {part.inputs} -> {part.width}" for part in parts)
        problems.append(
            f"{source}: in no order do the widths of its modules fit: {widths}; "
            "name those that belong to the network with --order"
        )
    return parts


def _names(parts: Sequence[Part], separator: str = ",") -> str:
    return separator.join(part.name for part in parts)


def _readings(parts: list[Part]) -> Iterator[list[Part]]:
    """Yield the parts with a matrix called emb... as an embedding, with none, with another."""
    choices = [at for at, part in enumerate(parts) if part.embedding is not None]
    called = [at for at in choices if "emb" in parts[at].name.rpartition(".")[2].lower()]
    others = [at for at in choices if at not in called]
    for choice in (*called, None, *others):
        yield [part.embedded() if at == choice else part for at, part in enumerate(parts)]


def _chains(parts: Sequence[Part]) -> bool:
    return all(
        not isinstance(part.layers[0], Embedding) and part.inputs == below.width
        for below, part in pairwise(parts)
    )


def _orders(parts: list[Part], by_numbers: bool) -> tuple[list[list[Part]], bool]:
    """Return an order in which the widths chain, two if there are more, or none.

    Orders of the first reading that has any, and whether the search came to its end. by_numbers:
    only those in which names that differ in their numbers alone, such as fc1 and fc2, follow one
    another as the numbers do.
    """
    trials = [0]
    found: list[list[Part]] = []
    for reading in _readings(parts):
        allowed = _follows if by_numbers else lambda part, rest: True
        starts = _starts(reading)
        for at, part in enumerate(reading):
            others = reading[:at] + reading[at + 1 :]
            if _intake(part) in starts and allowed(part, others):
                _extend([part], others, allowed, found, trials)
        if found:
            break
    return found[:2], trials[0] <= MAX_TRIALS or len(found) > 1


def _starts(parts: list[Part]) -> set[int]:
    """Return the widths with which a chain of all parts can begin.

    Modules are edges from width to width, and the chain goes along each once: as many lead to a
    width as away from it, but for the first and the last.
    """
    balance: Counter[int] = Counter()
    for part in parts:
        balance[_intake(part)] += 1
        balance[part.width] -= 1
    odd = {width: excess for width, excess in balance.items() if excess}
    if not odd:
        return set(balance)
    return {width for width in odd if sorted(odd.values()) == [-1, 1] and odd[width] == 1}


def _intake(part: Part) -> int:
    """Return the number of inputs, or for an embedding a width that no part has."""
    return -1 if isinstance(part.layers[0], Embedding) else part.inputs


def _extend(
    chain: list[Part],
    rest: list[Part],
    allowed: Callable[[Part, list[Part]], bool],
    found: list[list[Part]],
    trials: list[int],
) -> None:
    """Append to `found` the chains that begin with `chain`, up to two of them."""
    if not rest:
        found.append(chain)
        return
    for at, part in enumerate(rest):
        trials[0] += 1
        if len(found) > 1 or trials[0] > MAX_TRIALS:
            return
        others = rest[:at] + rest[at + 1 :]
        if _chains([*chain[-1:], part]) and allowed(part, others):
            _extend([*chain, part], others, allowed, found, trials)


def _follows(part: Part, rest: list[Part]) -> bool:
    """Tell whether no part left has the same name with lower numbers."""
    stem, numbers = _split(part.name)
    return all(_split(other.name)[1] > numbers for other in rest if _split(other.name)[0] == stem)


def _split(name: str) -> tuple[str, list[int]]:
    return re.sub(r"\d+", "#", name), [int(digits[:9]) for digits in re.findall(r"\d+", name)]
