"""PyTorch's .pt and .pth files: a zip archive of a pickle and of the tensors' values.

What the pickle describes is found out by `torch_pickle`, which runs none of it.
"""

import math
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import ModelError
from ..network import MAX_WEIGHTS
from ..npz import BROKEN, Array
from . import torch_modules
from .bfloat16 import widened
from .options import Draft, ReadOptions, network_name
from .torch_globals import Storage, Tensor
from .torch_pickle import MAX_BYTES, load

LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""How files of torch.save before PyTorch 1.6 begin."""

MAX_ENTRIES = 1 << 16
MAX_STORED = 1 << 29
"""Largest size in bytes of all storages that are read."""

_WEIGHTY = ("weight", "bias", "running_mean", "running_var")
_STATE_DICT = "torch.save(model.state_dict(), ...)"


def read(path: str | os.PathLike[str], options: ReadOptions) -> Draft:
    """Return the network of the one state dict in a file."""
    source = str(path)
    try:
        with open(path, "rb") as stream:  # noqa: PTH123 - path may be any path-like
            if stream.read(len(LEGACY)) == LEGACY:
                raise ModelError(
                    f"{source} is in the format of PyTorch before 1.6, which is not read; load "
                    f"it with PyTorch and save it anew with {_STATE_DICT}"
                )
            with zipfile.ZipFile(stream) as archive:
                where, arrays = _Archive(archive, source).state_dict()
    except MemoryError as error:
        raise ModelError(f"{source} does not fit into this machine's memory") from error
    except BROKEN as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ModelError(
            f"{source} is damaged or truncated ({reason!a}); write or copy it anew"
        ) from error
    title = "PyTorch state dict" + (f" under {where}" if where else "")
    return torch_modules.read(arrays, source, network_name(path), options, title)


@dataclass(frozen=True)
class _Found:
    """A dict in a file, by the keys that lead to it, with names and tensors of modules."""

    path: str
    tensors: dict[str, object]


class _Archive:
    """An open archive, its entries checked before any is read."""

    def __init__(self, archive: zipfile.ZipFile, source: str) -> None:
        self._archive = archive
        self._source = source
        members = archive.infolist()
        names = [member.filename for member in members]
        if len(names) > MAX_ENTRIES:
            raise ModelError(f"{source} has {len(names)} entries; expected at most {MAX_ENTRIES}")
        if len(set(names)) < len(names):
            raise ModelError(f"{source} has several entries of one name; write it anew")
        pickles = [name for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ModelError(
                f"{source} has {len(pickles)} entries data.pkl; expected one, as in a file of "
                f"{_STATE_DICT}"
            )
        self._root = pickles[0].removesuffix("data.pkl")
        if any(name.startswith((f"{self._root}code/", f"{self._root}constants.pkl"))
               for name in names):
            raise ModelError(
                f"{source} is TorchScript (torch.jit.save), whose code is not read; "
                f"save the state dict alone: {_STATE_DICT}"
            )
        self._members = {member.filename: member for member in members}
        self._storages: dict[Storage, Array] = {}
        self._stored = 0
        order = self._entry("byteorder", 16) if self._has("byteorder") else b"little"
        if order not in (b"little", b"big"):
            raise ModelError(f"{source}: byteorder is {order!a}; expected little or big")
        self._order = "<" if order == b"little" else ">"

    def state_dict(self) -> tuple[str, dict[str, Array]]:
        """Return where in the file the state dict is, and its arrays."""
        size = self._members[f"{self._root}data.pkl"].file_size
        if size > MAX_BYTES:
            raise ModelError(
                f"{self._source}: data.pkl has {size} bytes; expected at most {MAX_BYTES}; save "
                f"the state dict alone: {_STATE_DICT}"
            )
        found = list(_model_dicts(load(self._entry("data.pkl", size), self._source)))
        cells = [item for item in found
                 if any(torch_modules.RECURRENT.fullmatch(key) for key in item.tensors)]
        if not cells:
            raise ModelError(
                f"{self._source} holds no arrays of an LSTM or GRU (weight_ih_l0, ...); expected "
                f"those of {_STATE_DICT}"
            )
        if len(found) > 1:
            names = ", ".join(ascii(item.path or "the top")[1:-1][:60] for item in found[:4])
            raise ModelError(
                f"{self._source} holds weights in several dicts: {names}; expected one; "
                f"save that alone: {_STATE_DICT}"
            )
        torch_modules.check_count(len(cells[0].tensors), self._source)
        problems, arrays = [], {}
        for key, value in cells[0].tensors.items():
            where = f"{self._source}: {ascii(key)[:200]}"
            what = torch_modules.unsupported(key)
            try:
                if what and not isinstance(value, Tensor):
                    raise ModelError(f"{where}: part of {what}, which is not supported")
                arrays[key] = self._array(value, where)
            except ModelError as error:
                problems.append(str(error))
        if problems:
            raise ModelError.of(problems)
        return ascii(cells[0].path)[1:-1][:60], arrays

    def _array(self, tensor: object, where: str) -> Array:
        """Return a tensor's values, a view of its storage wherever possible."""
        if not isinstance(tensor, Tensor):
            raise ModelError(f"{where} is a {type(tensor).__name__}; expected a tensor")
        count = math.prod(tensor.shape)
        if count > MAX_WEIGHTS or len(tensor.shape) > 8:
            raise ModelError(
                f"{where} is {str(tensor.shape)[:60]}; expected at most {MAX_WEIGHTS} values "
                "in 8 dimensions"
            )
        last = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
        if count and tensor.offset + last >= tensor.storage.count:
            raise ModelError(
                f"{where} reaches to value {tensor.offset + last} of its storage; expected less "
                f"than {tensor.storage.count}, its length"
            )
        values = self._storage(tensor.storage, where)
        if not count:
            return np.zeros(tensor.shape, values.dtype)
        steps = [step * values.itemsize if n > 1 else 0
                 for n, step in zip(tensor.shape, tensor.strides, strict=True)]
        return np.lib.stride_tricks.as_strided(
            values[tensor.offset :], tensor.shape, steps, writeable=False
        )

    def _storage(self, storage: Storage, where: str) -> Array:
        if storage not in self._storages:
            wide = storage.kind == "bf16"
            dtype = np.dtype(self._order + ("u2" if wide else storage.kind))
            size = storage.count * dtype.itemsize
            name = f"data/{storage.key}"
            if not self._has(name):
                raise ModelError(f"{where}: entry {name} is missing; copy the file anew")
            held = self._members[self._root + name].file_size
            if held != size:
                raise ModelError(
                    f"{where}: entry {name} has {held} bytes; expected {size}, those of "
                    f"{storage.count} values"
                )
            self._stored += size
            if self._stored > MAX_STORED:
                raise ModelError(
                    f"{self._source}: its tensors have more than {MAX_STORED} bytes; expected "
                    f"at most {MAX_WEIGHTS} weights"
                )
            values = np.frombuffer(self._entry(name, size), dtype)
            self._storages[storage] = widened(values) if wide else values
        return self._storages[storage]

    def _has(self, name: str) -> bool:
        return self._root + name in self._members

    def _entry(self, name: str, size: int) -> bytes:
        """Return the bytes of an entry, which are not more than the file's own."""
        member = self._members[self._root + name]
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 0x61:
            raise ModelError(
                f"{self._source}: entry {name} is compressed or encrypted; expected it stored, "
                "as torch.save writes it"
            )
        with self._archive.open(member) as stream:
            return stream.read(size)


def _model_dicts(value: object) -> Iterator[_Found]:
    """Yield the dicts that hold modules' arrays; each once, though they may hold each other."""
    seen: set[int] = set()
    waiting: list[tuple[str, object]] = [("", value)]
    while waiting:
        path, item = waiting.pop()
        if id(item) in seen or not isinstance(item, dict | list | tuple):
            continue
        seen.add(id(item))
        inner = item.items() if isinstance(item, dict) else enumerate(item)
        if isinstance(item, dict):
            named = {key: entry for key, entry in item.items() if isinstance(key, str)}
            if any(isinstance(entry, Tensor) and _weighty(key) for key, entry in named.items()):
                yield _Found(path, named)
                continue
        for key, entry in reversed(list(inner)):
            waiting.append((f"{path}.{str(key)[:40]}"[:200].lstrip("."), entry))


def _weighty(key: str) -> bool:
    return bool(torch_modules.RECURRENT.fullmatch(key)) or key.rpartition(".")[2] in _WEIGHTY
