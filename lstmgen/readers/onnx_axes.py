"""The axes of tensors whose values are not known: what each one is made of, and how they move.

An axis is a tuple of atoms, such as (directions, features); its size is the product of theirs,
so the axis () has size 1. Moving, merging and splitting axes keeps the atoms, which tell at
each operator whether an axis is the time, the batch or the features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .onnx_tensors import Constant


@dataclass(frozen=True, eq=False)
class Atom:
    """An axis as it came into being; size: None if the file leaves it open."""

    name: str
    size: int | None


Axis = tuple[Atom, ...]
Axes = tuple[Axis, ...]


@dataclass(frozen=True)
class Size:
    """The size of an axis that the file leaves open, as an element of a computed shape."""

    axis: Axis

    def __mul__(self, other: object) -> "Size":
        if isinstance(other, Size):
            return Size(self.axis + other.axis)
        if other == 1:
            return self
        raise TypeError("a size that the file leaves open is multiplied")

    __rmul__ = __mul__


def axis_of(name: str, size: int | None) -> Axis:
    """Return a new axis; one of size 1 has no atoms."""
    return () if size == 1 else (Atom(name, size),)


def size_of(axis: Axis) -> int | None:
    """Return the axis' size, None if it is open."""
    product = 1
    for atom in axis:
        if atom.size is None:
            return None
        product *= atom.size
    return product


def shape_of(axes: Axes) -> Constant:
    """Return the value of an operator Shape: integers and, where one is open, a Size."""
    sizes = sizes_of(axes)
    if not any(isinstance(size, Size) for size in sizes):
        return np.array(sizes, np.int64)
    shape = np.empty(len(axes), object)
    shape[:] = sizes
    return shape


def sizes_of(axes: Axes) -> list[int | Size]:
    """Return the sizes of axes as `shape_of` has them, as a list."""
    sizes = [(size_of(axis), axis) for axis in axes]
    return [Size(axis) if size is None else size for size, axis in sizes]


def position(axis: int, rank: int) -> int:
    """Return an axis number that may be negative as one from 0."""
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} of {rank} axes")
    return axis % rank


def regroup(axes: Axes, target: Sequence[object], splitting: bool = False) -> Axes:
    """Return the axes after a Reshape to `target`: sizes, -1 once for what is left over.

    splitting: whether atoms may be split, as no layer has told yet what they are.
    Raises ValueError for one that would tear an axis apart.
    """
    atoms = tuple(atom for axis in axes for atom in axis)
    wild = [at for at, size in enumerate(target) if isinstance(size, int) and size == -1]
    if len(wild) > 1:
        raise ValueError("a shape with more than one -1")
    if not wild:
        groups, rest = _take(atoms, target, splitting)
        if rest:
            raise ValueError("a shape of fewer values")
        return groups
    head, rest = _take(atoms, target[: wild[0]], splitting)
    tail, rest = _take(rest[::-1], target[: wild[0] : -1], splitting, backwards=True)
    return (*head, rest[::-1], *(group[::-1] for group in tail[::-1]))


def _take(
    atoms: Axis, sizes: Sequence[object], splitting: bool, backwards: bool = False
) -> tuple[Axes, Axis]:
    """Take a group of atoms off the front for each size; return the groups and what is left."""
    groups: list[Axis] = []
    for size in sizes:
        if isinstance(size, Size):
            wanted = size.axis[::-1] if backwards else size.axis
            group, atoms = atoms[: len(wanted)], atoms[len(wanted) :]
            if group != wanted:
                raise ValueError("a shape that takes an axis for another")
        else:
            group, atoms = _take_one(atoms, int(size), splitting)  # type: ignore[call-overload]
        groups.append(group)
    return tuple(groups), atoms


def _take_one(atoms: Axis, size: int, splitting: bool) -> tuple[Axis, Axis]:
    group: Axis = ()
    product = 1
    while product < size:
        if not atoms:
            raise ValueError("a shape of more values")
        atom, atoms = atoms[0], atoms[1:]
        if atom.size is None:
            if group:
                raise ValueError("a shape that merges an axis of open size")
            return (atom,), atoms
        part, rest = divmod(size, product)
        if splitting and not rest and atom.size > part and atom.size % part == 0:
            halves = [part, atom.size // part]
            first, second = (axis_of(f"part of {atom.name}", n) for n in halves)
            return group + first, second + atoms
        group += (atom,)
        product *= atom.size
    if product != size:
        raise ValueError("a shape that tears an axis apart")
    return group, atoms
