"""What a process of its own reads of an HDF5 file: python -m lstmgen.readers.hdf5_child.

The library for HDF5 can hang or crash on a damaged file, and no exception tells of that. So files
come in by stdin, and what they hold goes out by stdout, as .npz, each behind its length in bytes;
see hdf5_server.py.
"""

import importlib
import io
import json
import math
import os
import sys
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from ..network import MAX_WEIGHTS
from ..npz import Array, npz_bytes

MAX_VALUES = MAX_WEIGHTS + (1 << 20)
"""Most values of all arrays of a file that are read."""

MAX_OBJECTS = 1 << 13
MAX_DEPTH = 24
MAX_TEXT = 1 << 24
"""Largest attribute in bytes."""

MAX_SECONDS = 3
MAX_MEMORY = 1 << 30
"""What a file may take in processor time and address space, where that can be limited."""

PATIENCE = 60
"""Seconds by the clock until a file is given up."""

MAX_ANSWER = 8 * MAX_VALUES + (1 << 26)
"""Most bytes that are told of a file: its arrays, and with them names and texts."""

_LENGTH = 8
"""Bytes of a length, the lowest first; 0 says that nothing can be told."""

SKIPPED = {"optimizer", "optimizer_weights", "seed_generator"}
"""Groups of what is only needed for training."""

_TEXTS = ("model_config", "keras_version", "layer_names", "weight_names", "name")
"""Attributes that are read; Keras splits long ones into layer_names0, layer_names1, ..."""

# What h5py raises on damaged files.
_BROKEN = (
    OSError, RuntimeError, LookupError, ValueError, TypeError, OverflowError, AttributeError,
    NotImplementedError, SystemError,
)  # fmt: skip


class RefusedError(Exception):
    """The file as a whole is no such file; the message says why."""


def shortened(name: str) -> str:
    """Return a name out of a file, not too long for a message even where it has to be escaped."""
    front, back = (100, 40) if name.isascii() and name.isprintable() else (24, 8)
    return name if len(name) <= front + back + 3 else f"{name[:front]}...{name[-back:]}"


def main() -> None:
    """Answer file after file until stdin ends; where there is no fork, one."""
    importlib.import_module("h5py")
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while True:
        try:
            data = receive(requests, 1 << 62)
        except EOFError:
            return
        if sys.platform != "linux":  # elsewhere a fork may not use all libraries, or is none
            _limit()
            send(answers, npz_bytes(read(data)))
            return
        send(answers, _apart(data))


def send(stream: IO[bytes], data: bytes) -> None:
    """Write the bytes behind their length."""
    stream.write(len(data).to_bytes(_LENGTH, "little"))
    stream.write(data)
    stream.flush()


def receive(stream: IO[bytes], most: int = MAX_ANSWER) -> bytes:
    """Return what `send` wrote; EOFError if it is not all there, or more than `most` bytes."""
    size = int.from_bytes(_exactly(stream, _LENGTH), "little")
    if size > most:
        raise EOFError
    return _exactly(stream, size)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _apart(data: bytes) -> bytes:
    """Return what a copy of this process reads, which ends with the file; b"" if it fails."""
    source, sink = os.pipe()
    copy = os.fork()
    if copy == 0:
        try:
            os.close(source)
            nothing = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1):  # the requests and the answers of all files
                os.dup2(nothing, stream)
            _limit()
            with os.fdopen(sink, "wb") as pipe:
                send(pipe, npz_bytes(read(data)))
            os._exit(0)
        finally:
            os._exit(1)
    os.close(sink)
    try:
        with os.fdopen(source, "rb") as pipe:
            answer = receive(pipe)
    except EOFError:
        answer = b""
    _, status = os.waitpid(copy, 0)
    return b"" if status else answer


def read(data: bytes) -> dict[str, Array]:
    """Return arrays by "a/" and their path, and under "meta" the rest as JSON."""
    h5py: Any = importlib.import_module("h5py")
    walk = _Walk(h5py)
    error = None
    try:
        with h5py.File(io.BytesIO(data), "r") as opened:
            walk.read(opened)
    except RefusedError as refused:
        error = str(refused)
    except _BROKEN as broken:
        reason = " ".join(str(broken).split())[:200] or type(broken).__name__
        error = f"is damaged or truncated ({reason!a}); write or copy it anew"
    except MemoryError:
        error = "does not fit into this machine's memory"
    meta = {
        "error": error,
        "groups": sorted(walk.groups),
        "texts": [[*key, *words] for key, words in walk.texts.items()],
        "problems": walk.problems,
    }
    arrays = {f"a/{path}": array for path, array in walk.arrays.items()}
    return {**arrays, "meta": np.frombuffer(json.dumps(meta).encode("ascii"), np.uint8)}


def _limit() -> None:
    """Limit time and memory of this process, on systems that know how."""
    try:
        import resource
        from signal import alarm
    except ImportError:
        return
    alarm(PATIENCE)
    for kind, limit in (("RLIMIT_CPU", MAX_SECONDS), ("RLIMIT_AS", MAX_MEMORY),
                        ("RLIMIT_CORE", 0)):
        try:
            resource.setrlimit(getattr(resource, kind), (limit, limit))
        except (ValueError, OSError):  # a lower limit is set already
            continue


class _Walk:
    """Goes through the groups of a file."""

    def __init__(self, h5py: Any) -> None:
        self._h5py = h5py
        self.arrays: dict[str, Array] = {}
        self.groups: set[str] = set()
        self.texts: dict[tuple[str, str], tuple[str, ...]] = {}
        self.problems: dict[str, str] = {}
        self._left = MAX_VALUES
        self._objects = 0

    def read(self, root: Any) -> None:
        """Take in what lies in and below the group."""
        waiting = [("", root, 0)]
        while waiting:
            path, group, depth = waiting.pop()
            self.groups.add(path)
            self._texts(path, group)
            for name in group:
                below = f"{path}/{name}".lstrip("/").replace("\\", "/")
                if name in SKIPPED:
                    continue
                self._objects += 1
                if self._objects > MAX_OBJECTS or depth >= MAX_DEPTH:
                    raise RefusedError(
                        f"has more than {MAX_OBJECTS} objects or groups "
                        f"{MAX_DEPTH} deep; expected the file of a Keras model"
                    )
                problem = self._visit(below, group, name, depth, waiting)
                if problem:
                    self.problems[below] = f"{shortened(below)!a} {problem}"

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
        self.arrays[path] = array
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
        count, shown = math.prod(shape), str(shape)[:80]
        if count > self._left:
            return f"is {shown}; expected at most {MAX_VALUES} values in all arrays of a file"
        if dataset.chunks is not None and math.prod(dataset.chunks) > MAX_VALUES:
            chunks = str(dataset.chunks)[:80]
            return f"lies in chunks of {chunks}; expected at most {MAX_VALUES} values"
        if dataset.id.get_storage_size() < count * dtype.itemsize:
            return f"is {shown} but its data are missing; write the file anew"
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
            self.texts[path, key] = tuple(_strings(group.attrs[key]))


def _strings(value: Any) -> Iterator[str]:
    """Yield the texts of an attribute, which may be one or many, bytes or str."""
    for item in np.asarray(value, object).ravel():
        if isinstance(item, bytes):
            yield item.decode("utf-8", "replace")
        elif isinstance(item, str):
            yield item


if __name__ == "__main__":
    main()
