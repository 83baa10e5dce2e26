"""HDF5 files through h5py, within bounds: plain arrays of numbers, and the texts beside them.

A file may come from anywhere. Only hard links are followed and only data that lies in the file
itself, unpacked, is read; sizes are checked before memory is spent on them. The library itself
may hang or crash on a damaged file, so it runs in a process of its own (hdf5_server.py) with
limits on its time and memory.
"""

import io
import json
import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import ModelError
from ..npz import Array
from .formats import need
from .hdf5_child import shortened
from .hdf5_server import answer_of, stop

MAX_FILE = 1 << 28
"""Largest file in bytes; the optimizer's state is in it."""

_MAX_SPLITS = 256


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


def shown(path: str) -> str:
    """Return a path out of a file for a message: printable, and not too long."""
    short = shortened(path)
    return short if short.isprintable() else ascii(short)


def read_hdf5(file: str | os.PathLike[str] | bytes, source: str) -> Hdf5:
    """Return arrays and texts of an HDF5 file; ModelError if it cannot be read at all."""
    need("h5py", "keras", source)
    data = file if isinstance(file, bytes) else _bytes_of(Path(file), source)
    broken = ModelError(f"{source} is damaged beyond reading; write or copy it anew")
    try:
        with np.load(io.BytesIO(answer_of(data)), allow_pickle=False) as found:
            arrays = {key: found[key] for key in found.files}
        meta = json.loads(arrays.pop("meta").tobytes())
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        stop()  # what answers so is not to be asked again
        raise broken from None
    if meta["error"]:
        raise ModelError(f"{source} {meta['error']}")
    return Hdf5(
        source,
        {key.removeprefix("a/"): array for key, array in arrays.items()},
        set(meta["groups"]),
        {(path, key): tuple(words) for path, key, *words in meta["texts"]},
        {path: f"{source}: {problem}" for path, problem in meta["problems"].items()},
    )


def _bytes_of(file: Path, source: str) -> bytes:
    try:
        size = file.stat().st_size
        if size > MAX_FILE:
            raise ModelError(f"{source} has {size} bytes; expected at most {MAX_FILE}")
        return file.read_bytes()
    except OSError as error:
        raise ModelError(f"{source} cannot be read: {error.strerror or error}") from error

