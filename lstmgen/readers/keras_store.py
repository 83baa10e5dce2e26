"""Where Keras' files keep the weights of a layer: by path, or by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ..errors import ModelError
from ..qformat import FloatArray
from ..weights import weights_of
from .hdf5 import Hdf5, shown
from .hdf5_child import shortened
from .keras_config import Entry


@dataclass(frozen=True)
class Slot:
    """An array of a layer: the part of the layer that it lies in, and its name there."""

    part: str
    leaf: str


class Store(Protocol):
    """A file's weights."""

    def take(self, entry: Entry, slots: Sequence[Slot]) -> list[FloatArray]:
        """Return the layer's arrays; a ModelError tells which are missing or too many."""
        ...


class ByPath:
    """Keras 3 and every .keras: layers/<class>_<number>/<part>/vars/<number of array>."""

    def __init__(self, file: Hdf5) -> None:
        self._file = file
        # Keras 2.12 called the topmost group by another name.
        old = "layers" not in file.groups and "_layer_checkpoint_dependencies" in file.groups
        self._old = old

    def take(self, entry: Entry, slots: Sequence[Slot]) -> list[FloatArray]:
        """Return the layer's arrays; see Store."""
        path = entry.path
        if self._old:
            path = "_layer_checkpoint_dependencies" + path.removeprefix("layers")
        where = f"{self._file.source}: layer {entry.name}"
        stored = self._file.text(f"{path}/vars", "name")
        if stored is not None and stored != entry.own:
            raise ModelError(
                f"{where}: its weights at {shortened(path)!a} belong to a layer "
                f"{shortened(stored)!a}; expected those of the config; save the model anew"
            )
        numbers: dict[str, int] = {}
        keys = []
        for slot in slots:
            front = f"{path}/{slot.part}/vars" if slot.part else f"{path}/vars"
            number = numbers[front] = numbers.get(front, -1) + 1
            keys.append(f"{front}/{number}")
        more = [
            f"{front}/{name}"
            for front, last in numbers.items()
            for name in self._file.below(front)
            if name not in {str(n) for n in range(last + 1)}
        ]
        return _arrays(self._file, where, keys, slots, more)


class ByName:
    """.h5: weights in the order of the attribute weight_names of a group for each layer."""

    def __init__(self, file: Hdf5, base: str) -> None:
        self._file = file
        self._base = base

    def take(self, entry: Entry, slots: Sequence[Slot]) -> list[FloatArray]:
        """Return the layer's arrays; see Store."""
        group = f"{self._base}/{entry.group}" if self._base else entry.group
        names = list(self._file.words(group, "weight_names") or ())
        where = f"{self._file.source}: layer {entry.name}"
        if entry.nested:  # the group is that of the model around the layer
            names = [name for name in names if entry.own in name.split("/")[:-1]]
        keys = []
        for slot in slots:
            found = next((name for name in names if leaf_of(name) == slot.leaf), None)
            if found is not None:
                names.remove(found)
            keys.append(f"{group}/{found or slot.leaf}")
        return _arrays(self._file, where, keys, slots, names)


def leaf_of(name: str) -> str:
    """Return the last part of a weight's name, without TensorFlow's number.

    >>> leaf_of("lstm/lstm_cell/kernel:0")
    'kernel'
    """
    return name.rpartition("/")[2].split(":")[0]


def _arrays(
    file: Hdf5, where: str, keys: Sequence[str], slots: Sequence[Slot], more: Sequence[str]
) -> list[FloatArray]:
    problems, values = [], []
    for key, slot in zip(keys, slots, strict=True):
        if key in file.problems:
            problems.append(file.problems[key])
        elif key not in file.arrays:
            name = f"{slot.part} {slot.leaf}".strip()
            problems.append(f"{where}: its {name} is missing; expected an array {shortened(key)!a}")
        else:
            try:
                values.append(weights_of(file.arrays[key], f"{file.source}: {shown(key)}"))
            except ModelError as error:
                problems.append(str(error))
    if more:
        problems.append(
            f"{where}: the array {shortened(more[0])!a} is unknown; expected "
            f"{', '.join(slot.leaf for slot in slots) or 'no arrays'}"
        )
    if problems:
        raise ModelError.of(problems)
    return values
