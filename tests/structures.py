"""Damage inside the structure of a file, which stays whole around it: protobuf, HDF5, pickle.

A flipped bit mostly ends in the parser of a library. Here the parser is content, and the reader
behind it gets what it never expects.
"""

import io
import pickletools
from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random
from typing import Any

import h5py
import numpy as np

NUMBERS = (0, 1, 2, 3, 5, 127, 255, 1 << 15, 1 << 20, 1 << 24, 1 << 31, (1 << 32) - 1, 1 << 40,
           1 << 63, (1 << 64) - 1)
TEXTS = (b"", b"x", b"\xff\xfe", b"a\nb", b"\x1b[2J", b"../../x", b"x" * 5000, b"LSTM", b"GRU",
         b"Sigmoid", b"reverse", b"float64")

HDF5 = b"\x89HDF\r\n\x1a\n"


# Protobuf: a message is a list of fields (number, kind, value).

Field = list[Any]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128 or shift > 63:
            return value, at


def _fields(data: bytes, depth: int = 0) -> list[Field]:
    """Return the fields of a message; what is no message raises ValueError or IndexError."""
    found, at = [], 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        value: Any
        if kind == 0:
            value, at = _varint(data, at)
        elif kind == 2:
            length, at = _varint(data, at)
            value, at = data[at : at + length], at + length
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            value, at = data[at : at + size], at + size
        else:
            raise ValueError
        if at > len(data) or number == 0:
            raise ValueError
        if kind == 2 and depth < 8 and value:
            with suppress(ValueError, IndexError):
                value = _fields(value, depth + 1)
        found.append([number, kind, value])
    return found


def _packed(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def _message(fields: list[Field]) -> bytes:
    out = b""
    for number, kind, value in fields:
        out += _packed(number << 3 | kind)
        if kind == 0:
            out += _packed(value)
        else:
            content = _message(value) if isinstance(value, list) else value
            out += (_packed(len(content)) if kind == 2 else b"") + content
    return out


def _messages(fields: list[Field]) -> Iterator[list[Field]]:
    yield fields
    for _, _, value in fields:
        if isinstance(value, list) and value:
            yield from _messages(value)


def protobuf(data: bytes, r: Random) -> bytes:
    """Change a field: its number, its value, its place; drop, repeat or exchange it."""
    try:
        root = _fields(data)
    except (ValueError, IndexError):  # damaged already
        return data
    messages = list(_messages(root))
    message, other = r.choice(messages), r.choice(messages)
    if not message or not other:
        return data
    at, to = r.randrange(len(message)), r.randrange(len(other))
    what, kind = r.random(), message[at][1]
    if what < 0.15:
        del message[at]
    elif what < 0.25:
        message[at:at] = [message[at]] * r.choice((1, 1, 40))
    elif what < 0.4 and message is other:
        message[at], message[to] = message[to], message[at]
    elif what < 0.5:
        message[at] = [message[at][0], other[to][1], _plain(other[to][2])]
    elif what < 0.55:
        message[at][0] = r.choice((*range(1, 20), 1000))
    elif kind == 0:
        value = message[at][2]
        message[at][2] = r.choice((*NUMBERS, value + 1, value * 2, max(0, value - 1)))
    elif kind == 2:
        message[at][2] = r.choice((*TEXTS, r.randbytes(8), _plain(message[at][2]) * 2))
    else:
        message[at][2] = r.choice((b"\0", b"\xff", b"\x7f")) * len(message[at][2])
    return _message(root)


def _plain(value: Any) -> Any:
    return _message(value) if isinstance(value, list) else value


# HDF5.


def hdf5(data: bytes, r: Random) -> bytes:
    """Drop, rename, link, replace or reshape an object or an attribute, by the library itself.

    The file has to be whole: on a damaged one the library could hang.
    """
    buffer = io.BytesIO(data)
    with h5py.File(buffer, "r+") as file:
        places: list[tuple[Any, str]] = []
        file.visit(lambda name: places.append((file, name)) or None)
        groups = [file, *(file[name] for _, name in places if isinstance(file[name], h5py.Group))]
        attributes = [(group, key) for group in groups for key in sorted(group.attrs)]
        try:
            if attributes and r.random() < 0.45:
                _attribute(*r.choice(attributes), r.choice(attributes), r)
            elif places:
                _object(file, [name for _, name in places], r)
        except (ValueError, KeyError, OSError, RuntimeError, TypeError):
            pass  # what the library does not do, as to put a group into itself
    return buffer.getvalue()


def _attribute(group: Any, key: str, other: tuple[Any, str], r: Random) -> None:
    value = group.attrs[key]
    what = r.random()
    if what < 0.15:
        del group.attrs[key]
    elif what < 0.3:
        group.attrs[key] = other[0].attrs[other[1]]
    elif what < 0.5:
        group.attrs[key] = r.choice((7, 1.5, np.zeros((3, 2)), "", "x", b"\xff", [b"a", b"a"],
                                     np.zeros(0), h5py.Empty("f"), "\x1b[2J", "x" * 9000))
    elif isinstance(value, str | bytes):
        from damages import json_tokens  # which imports this module

        text = value.encode() if isinstance(value, str) else value
        group.attrs[key] = json_tokens(text, r).decode("utf-8", "replace").replace("\0", "")[:60000]
    elif np.ndim(value) == 1:
        items = list(value)
        r.shuffle(items)
        group.attrs[key] = np.array(items[: r.randrange(len(items) + 1)] or ["x"], object)


def _object(file: Any, names: list[str], r: Random) -> None:
    one, two = r.choice(names), r.choice(names)
    what = r.random()
    if what < 0.15:
        del file[one]
    elif what < 0.35:
        file.move(one, f"{one}_" if r.random() < 0.5 else r.choice(("0", "x/y", "a" * 300, "\x1b")))
    elif what < 0.5:
        link = r.choice((h5py.SoftLink(f"/{two}"), h5py.SoftLink("/nowhere"),
                         h5py.ExternalLink("/etc/passwd", "/"), h5py.ExternalLink("x.h5", "/")))
        _put(file, one, link)
    elif what < 0.6:
        _put(file, one, file[two])  # a hard link: groups may contain themselves
    else:
        _put(file, one, r.choice(_VALUES)(r))


def _put(file: Any, name: str, value: object) -> None:
    parent, _, leaf = name.rpartition("/")
    place = file[parent] if parent else file
    if isinstance(value, tuple):
        del place[leaf]
        shape, dtype, chunks = value
        place.create_dataset(leaf, shape, dtype, chunks=chunks)
        return
    del place[leaf]
    place[leaf] = value


_VALUES: tuple[Callable[[Random], object], ...] = (
    lambda r: r.random(),
    lambda r: np.full((3, 8), np.nan),
    lambda r: np.zeros([r.randrange(6) for _ in range(r.randrange(4))]),
    lambda r: np.arange(r.choice((0, 1, 7, 100, 5000)), dtype=r.choice("bHiqefd")),
    lambda r: np.array([b"text"]),
    lambda r: np.zeros(3, [("a", "f4"), ("b", "i2")]),
    lambda r: np.ones((4, 4), complex),
    lambda r: ((1 << 40, 1 << 20), "f4", (1 << 10, 1)),  # without data, by the TiB
    lambda r: ((1 << 24, 4), "f8", (1 << 20, 4)),
    lambda r: ((8, 16), "f4", (8, 16)),
)


# Pickle.


def pickle_operations(data: bytes, r: Random) -> bytes:
    """Drop, repeat, move or exchange operations of a pickle."""
    try:
        starts = [at for _, _, at in pickletools.genops(data)]
    except Exception:  # damaged already
        return data
    parts = [data[at:to] for at, to in zip(starts, [*starts[1:], len(data)], strict=True)]
    for _ in range(r.choice((1, 1, 2, 5))):
        at, to = r.randrange(len(parts)), r.randrange(len(parts))
        what = r.randrange(5)
        if what == 0 and len(parts) > 1:
            del parts[at]
        elif what == 1:
            parts[at:at] = [parts[at]] * r.choice((1, 1, 50))
        elif what == 2:
            parts[at], parts[to] = parts[to], parts[at]
        elif what == 3:
            parts[at] = parts[to]
        else:
            parts[at] = r.choice(_OPERATIONS)
    return b"".join(parts)


_OPERATIONS = (b"N", b"(", b"t", b"R", b"b", b"0", b"2", b"}", b"]", b"Q", b"o", b"cos\nsystem\n",
               b"cbuiltins\neval\n", b"h\x00", b"j\xff\xff\0\0", b"\x8a\x08" + b"\xff" * 8,
               b"V" + b"x" * 999 + b"\n")
"""What takes the place of an operation: constants, calls, names, numbers of the memo."""
