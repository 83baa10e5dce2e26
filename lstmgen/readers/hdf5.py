"""HDF5 files through h5py, within bounds: plain arrays of numbers, and the texts beside them.

A file may come from anywhere. Only hard links are followed and only data that lies in the file
itself, unpacked, is read; sizes are checked before memory is spent on them.
"""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..errors import ModelError
from ..network import MAX_WEIGHTS
from ..npz import Array
from .formats import need

MAX_VALUES = 2 * MAX_WEIGHTS
"""Most values of all arrays of a file that are read."""

MAX_OBJECTS = 1 << 13
MAX_DEPTH = 24
MAX_TEXT = 1 << 24
"""Largest attribute in bytes."""

SKIPPED = {"optimizer", "optimizer_weights", "seed_generator"}
"""Groups of what is only needed for training."""

_TEXTS = ("model_config", "keras_version", "layer_names", "weight_names", "name")
"""Attributes that are read; Keras splits long ones into layer_names0, layer_names1, ..."""

_MAX_SPLITS = 256

# What h5py raises on damaged files.
_BROKEN = (
    OSError, RuntimeError, LookupError, ValueError, TypeError, OverflowError, AttributeError,
    NotImplementedError, SystemError,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Hdf5:
    """What a file holds.

    arrays: by path, without a slash in front; backslashes, as Keras wrote on Windows, are
        slashes. groups: the paths of all groups. texts: by path of a group and name of an
        attribute. problems: by path, what keeps an object from being read.
    """

    source: str
    arrays: dict[str, Array] = field(default_factory=dict)
    groups: set[str] = field(default_factory=set)
    texts: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def text(self, path: str, key: str) -> str | None:
        """Return an attribute that is one text."""
        words = self.texts.get((path, key), ())
        return words[0] if len(words) == 1 else None

    def words(self, path: str, key: str) -> tuple[str, ...] | None:
        """Return an attribute that is a list of texts, joined if it was split."""
        if (path, key) in self.texts:
            return self.texts[path, key]
        parts: list[str] = []
        for number in range(_MAX_SPLITS):
            if (path, f"{key}{number}") not in self.texts:
                return tuple(parts) if number else None
            parts += self.texts[path, f"{key}{number}"]
        return tuple(parts)

    def below(self, path: str) -> list[str]:
        """Return the names right below a group, sorted: h5py lists them by alphabet."""
        front = f"{path}/" if path else ""
        inside = (key for key in (*self.arrays, *self.groups, *self.problems) if key)
        found = {key[len(front) :].split("/")[0] for key in inside if key.startswith(front)}
        return sorted(found - {""})


def read_hdf5(file: str | os.PathLike[str] | IO[bytes], source: str) -> Hdf5:
    """Return arrays and texts of an HDF5 file; ModelError if it cannot be read at all."""
    h5py = need("h5py", "keras", source)
    try:
        if isinstance(file, str | os.PathLike):
            with Path(file).open("rb") as stream, h5py.File(stream, "r") as opened:
                return _Walk(h5py, source).read(opened)
        with h5py.File(file, "r") as opened:
            return _Walk(h5py, source).read(opened)
    except _BROKEN as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(
            f"{source} is damaged or truncated ({reason!a}); write or copy it anew"
        ) from error
    except MemoryError as error:
        raise ModelError(f"{source} does not fit into this machine's memory") from error


class _Walk:
    """Goes through the groups of a file."""

    def __init__(self, h5py: Any, source: str) -> None:
        self._h5py = h5py
        self._found = Hdf5(source)
        self._left = MAX_VALUES
        self._objects = 0

    def read(self, root: Any) -> Hdf5:
        """Return what lies in and below the group."""
        waiting = [("", root, 0)]
        while waiting:
            path, group, depth = waiting.pop()
            self._found.groups.add(path)
            self._texts(path, group)
            for name in group:
                below = f"{path}/{name}".lstrip("/").replace("\\", "/")
                if name in SKIPPED:
                    continue
                self._objects += 1
                if self._objects > MAX_OBJECTS or depth >= MAX_DEPTH:
                    raise ModelError(
                        f"{self._found.source} has more than {MAX_OBJECTS} objects or groups "
                        f"{MAX_DEPTH} deep; expected the file of a Keras model"
                    )
                problem = self._visit(below, group, name, depth, waiting)
                if problem:
                    self._found.problems[below] = f"{self._found.source}: {below!a} {problem}"
        return self._found

    def _visit(
        self, path: str, group: Any, name: str, depth: int, waiting: list[tuple[str, Any, int]]
    ) -> str | None:
        """Take a child of a group in; return what is wrong with it."""
        if type(group.get(name, getlink=True)) is not self._h5py.HardLink:
            return "is a link to elsewhere, which is never followed; expected data in the file"
        try:
            child = group[name]
        except _BROKEN:
            return "is damaged; write or copy the file anew"
        if isinstance(child, self._h5py.Group):
            waiting.append((path, child, depth + 1))
            return None
        if not isinstance(child, self._h5py.Dataset):
            return "is no array; expected groups and arrays"
        array = self._array(child)
        if isinstance(array, str):
            return array
        self._found.arrays[path] = array
        return None

    def _array(self, dataset: Any) -> Array | str:
        if dataset.is_virtual or dataset.external:
            return "lies in another file, which is never opened; expected data in the file"
        plist = dataset.id.get_create_plist()
        if plist.get_nfilters():
            return "is packed by a filter; unpack the file with: h5repack -f NONE IN OUT"
        dtype, shape = dataset.dtype, dataset.shape
        bfloat16 = dtype.kind == "V" and dtype.itemsize == 2 and dtype.names is None
        if shape is None or not (bfloat16 or (dtype.kind in "iuf" and dtype.itemsize <= 8)):
            return f"holds values of type {str(dtype)[:40]!a}; expected an array of numbers"
        count = math.prod(shape)
        if count > self._left:
            return f"is {shape}; expected at most {MAX_VALUES} values in all arrays of a file"
        if dataset.chunks is not None and math.prod(dataset.chunks) > MAX_VALUES:
            return f"lies in chunks of {dataset.chunks}; expected at most {MAX_VALUES} values"
        if dataset.id.get_storage_size() < count * dtype.itemsize:
            return f"is {shape} but its data are missing; write the file anew"
        self._left -= count
        try:
            values = np.asarray(dataset[()])
        except _BROKEN:
            return "is damaged; write or copy the file anew"
        if bfloat16:  # the upper half of a float32
            values = (values.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        return np.array(values, values.dtype.newbyteorder("="), order="C")

    def _texts(self, path: str, group: Any) -> None:
        for key in group.attrs:
            if key.rstrip("0123456789") not in _TEXTS:
                continue
            attribute = group.attrs.get_id(key)
            size = math.prod(attribute.shape or ()) * attribute.dtype.itemsize
            if size > MAX_TEXT or attribute.dtype.kind not in "SO":
                continue
            self._found.texts[path, key] = tuple(_strings(group.attrs[key]))


def _strings(value: Any) -> Iterator[str]:
    """Yield the texts of an attribute, which may be one or many, bytes or str."""
    for item in np.asarray(value, object).ravel():
        if isinstance(item, bytes):
            yield item.decode("utf-8", "replace")
        elif isinstance(item, str):
            yield item
