"""Ways to damage a model file, all drawn from one `random.Random`."""

import functools
import io
import json
import operator
import os
import pickle
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from structures import HDF5, hdf5, pickle_operations, protobuf

EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 1 << 20, 1 << 24, 1 << 28, 0x7FFFFFFF, 0x80000000,
            0xFFFFFFFF, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
"""What declared sizes and offsets are replaced by."""

TOKENS = ("null", "true", "-1", "0", "1e999", "-1e999", "NaN", "1e308", "9" * 400, "4294967296",
          "9223372036854775807", '""', '"\\u0000"', '"\\ud800"', '"x"', "[]", "{}", "[[]]", ",",
          ":", "[" * 20000, '{"a":' * 20000, '"' + "x" * 5000 + '"')
"""What tokens of JSON are replaced by."""

BOMB_BYTES = (3 << 29, 700 << 20)
"""What a member of an archive unpacks to that is a compression bomb: more than the limit of
memory, or less than it, but not twice."""

_NAME = re.compile(rb"[A-Za-z_][\w./:-]{2,}")
_DIGITS = re.compile(rb"\d+")
_PROTOBUF = re.compile(rb"\x08[\x01-\x1f][\x12\x1a\x22\x28\x32\x3a\x42]")
"""How an ONNX file begins."""

_JSON = re.compile(r'"(?:[^"\\]|\\.)*"|[-+.\w]+|[\[\]{},:]')


class Payload:
    """An object whose pickle creates a file when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return shutil.copyfile, (os.devnull, str(self.marker))


def mutated(data: bytes, r: Random, marker: Path, whole: bool = True) -> bytes:
    """Return the file with one to three kinds of damage; pickles in it would create `marker`.

    whole: whether the file is not damaged yet, as HDF5's library has to know.
    """
    for number in range(r.choice((1, 1, 1, 2, 3))):
        data = _once(data, r, marker, whole=whole and number == 0)
    return data


def _once(data: bytes, r: Random, marker: Path, whole: bool) -> bytes:
    if whole and data.startswith(HDF5) and r.random() < 0.5:
        return hdf5(data, r)
    if _PROTOBUF.match(data) and r.random() < 0.6:
        return protobuf(data, r)
    if data[:4] == b"PK\x03\x04" and r.random() < 0.7:
        return rezipped(data, r, marker, whole)
    if data[:1] in b"{[" and data and r.random() < 0.8:
        return json_tokens(data, r)
    if data[8:9] == b"{" and r.random() < 0.6:
        return headed_json(data, r)
    if r.random() < 0.01:
        return pickle.dumps(Payload(marker), r.randrange(6))
    return r.choice(_BYTES)(data, r)


# Bytes.


def flip(data: bytes, r: Random) -> bytes:
    out = bytearray(data)
    for _ in range(r.choice((1, 1, 2, 4, 16)) if out else 0):
        out[r.randrange(len(out))] ^= 1 << r.randrange(8)
    return bytes(out)


def truncate(data: bytes, r: Random) -> bytes:
    return data[: r.randrange(len(data) + 1)]


def overwrite(data: bytes, r: Random) -> bytes:
    at, length = r.randrange(len(data) + 1), r.choice((1, 2, 4, 8, 16, 64, 256))
    run = r.choice((bytes(length), b"\xff" * length, r.randbytes(length)))
    return data[:at] + run[: len(data) - at] + data[at + length :]


def insert(data: bytes, r: Random) -> bytes:
    at = r.randrange(len(data) + 1)
    return data[:at] + r.randbytes(r.choice((1, 4, 33))) + data[at:]


def cut(data: bytes, r: Random) -> bytes:
    at = r.randrange(len(data) + 1)
    return data[:at] + data[at + r.choice((1, 4, 8, 33, 500)) :]


def duplicate(data: bytes, r: Random) -> bytes:
    at, length = r.randrange(len(data) + 1), r.choice((4, 16, 100, 1000))
    return data[: at + length] + data[at : at + length] * r.choice((1, 1, 50)) + data[at + length :]


def inflate(data: bytes, r: Random) -> bytes:
    """Replace an integer, most likely a small one as sizes are, by another."""
    width, order = r.choice((1, 2, 4, 4, 4, 8)), r.choice("<<<>")
    if len(data) < width:
        return data
    form = order + {1: "B", 2: "H", 4: "I", 8: "Q"}[width]
    at = 0
    for _ in range(20):
        at = r.randrange(len(data) - width + 1)
        at -= at % r.choice((1, width))
        if 0 < struct.unpack_from(form, data, at)[0] < 65536:
            break
    value = struct.unpack_from(form, data, at)[0]
    new = r.choice((*EXTREMES, value + 1, value - 1, value * 2, value * 1000, len(data)))
    return data[:at] + struct.pack(form, new % (1 << 8 * width)) + data[at + width :]


def swap_names(data: bytes, r: Random) -> bytes:
    """Exchange two names, cut or padded so that nothing else moves."""
    names = list(_NAME.finditer(data))
    if len(names) < 2:
        return flip(data, r)
    first, second = sorted(r.sample(names, 2), key=lambda match: match.start())
    out = bytearray(data)
    for to, of in ((first, second), (second, first)):
        length = to.end() - to.start()
        out[to.start() : to.end()] = of.group()[:length].ljust(length, b"_")
    return bytes(out)


def digits(data: bytes, r: Random) -> bytes:
    """Replace a number in text, in as many or in more digits."""
    numbers = list(_DIGITS.finditer(data))
    if not numbers:
        return flip(data, r)
    found = r.choice(numbers)
    length = found.end() - found.start()
    new = r.choice((b"9" * length, b"0" * length, b"-" + b"1" * (length - 1), b"9" * 20, b"1e9"))
    return data[: found.start()] + new + data[found.end() :]


_BYTES: tuple[Callable[[bytes, Random], bytes], ...] = (
    flip, flip, truncate, overwrite, overwrite, insert, cut, duplicate, inflate, inflate, inflate,
    swap_names, swap_names, digits,
)


# JSON.


def json_tokens(data: bytes, r: Random) -> bytes:
    """Replace, drop, repeat or swap tokens; now and then a whole value, by its path."""
    text = data.decode("utf-8", "replace")
    if r.random() < 0.3:
        return _json_value(text, r).encode("utf-8", "replace")
    tokens = list(_JSON.finditer(text))
    if len(tokens) < 2:
        return flip(data, r)
    one, two = sorted(r.sample(tokens, 2), key=lambda match: match.start())
    first, second = r.choice((
        (r.choice(TOKENS), two.group()), ("", two.group()), (one.group() * 2, two.group()),
        (two.group(), one.group()), (two.group(), two.group()), (one.group(), ""),
    ))
    out = text[: one.start()] + first + text[one.end() : two.start()] + second + text[two.end() :]
    return out.encode("utf-8", "replace")


def _json_value(text: str, r: Random) -> str:
    try:
        root = json.loads(text)
    except (ValueError, RecursionError):
        return text
    places: list[tuple[Any, Any]] = []
    todo = [root]
    while todo and len(places) < 10000:
        node = todo.pop()
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in items:
            places.append((node, key))
            if isinstance(value, dict | list) and value:
                todo.append(value)
    if not places:
        return text
    (node, key), (other, name) = r.choice(places), r.choice(places)
    what = r.randrange(4)
    if what == 0:
        del node[key]
    elif what == 1:
        node[key] = r.choice((None, True, -1, 0, 1 << 70, 1e308, "x", "\0", [], {}, [[1]], [0] * 9))
    elif what == 2:
        node[key] = json.loads(json.dumps(other[name]))
    elif isinstance(node, list):
        node.extend(node[: 1 + key] * r.choice((1, 1, 40)))
    else:
        node[f"{key}_"] = node[key]
    return json.dumps(root)


def headed_json(data: bytes, r: Random) -> bytes:
    """Change the JSON of a file that begins with its length in 8 bytes, and that length."""
    length = struct.unpack_from("<Q", data)[0]
    header = json_tokens(data[8 : 8 + length], r)
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


# Archives.


def rezipped(data: bytes, r: Random, marker: Path, whole: bool = False) -> bytes:
    """Pack the members anew, so that checksums are right, with one of them changed.

    whole: whether the file was not damaged before.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members: list[list[Any]] = [
                [info.filename, archive.read(info)]
                for info in archive.infolist() if info.file_size < 1 << 22
            ]
    except Exception:  # an archive that is damaged already: any way will do
        return flip(data, r)
    if not members:
        return flip(data, r)
    texts = [member for member in members if _is_text(member[1])]
    chosen = r.choice(texts if texts and r.random() < 0.4 else members)
    name, content = chosen
    what = r.random()
    if what < 0.04:
        size = r.choice((*BOMB_BYTES[:1] * 9, BOMB_BYTES[1]))
        return bombed(name, size, r.choice("<>"), r.random() < 0.3)
    if what < 0.10:
        chosen[1] = pickled(name, content, r, marker)
    elif what < 0.15:
        members.remove(chosen)
    elif what < 0.19:
        members.append([name, r.choice(members)[1]])
    elif what < 0.25:
        other = r.choice(members)
        chosen[0], other[0] = other[0], chosen[0]
    elif what < 0.29:
        chosen[0] = r.choice(("../../x.npy", "/x.npy", "x" * 300 + ".npy", "\x1b[2J.npy", ".npy"))
    elif whole and content.startswith(HDF5) and r.random() < 0.6:
        chosen[1] = hdf5(content, r)
    elif content[:1] == b"\x80" and r.random() < 0.6:
        chosen[1] = pickle_operations(content, r)
    elif content[:1] in b"{[" and content:
        chosen[1] = json_tokens(content, r)
    elif _is_text(content) and r.random() < 0.8:
        chosen[1] = npy_text(content, r)
    else:
        chosen[1] = r.choice(_BYTES)(content, r)
    return zipped([(name, content) for name, content in members], r.random() < 0.3)


def _is_text(content: bytes) -> bool:
    return content[:6] == b"\x93NUMPY" and b"'descr': '<U" in content[:64]


def npy_text(content: bytes, r: Random) -> bytes:
    """Change the tokens of JSON that is the text of a .npy array, and keep the array whole."""
    try:
        text = str(np.load(io.BytesIO(content), allow_pickle=False))
    except ValueError:  # damaged already
        return flip(content, r)
    changed = json_tokens(text.encode("utf-8", "replace"), r).decode("utf-8", "replace")
    buffer = io.BytesIO()
    np.save(buffer, np.array(changed), allow_pickle=False)
    return buffer.getvalue()


def zipped(members: list[tuple[str, bytes]], deflate: bool = False) -> bytes:
    buffer = io.BytesIO()
    how = zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", how) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = how
            archive.fp.seek(0, 2)  # type: ignore[union-attr]
            archive.NameToInfo.pop(info.filename, None)  # or a second one of a name would warn
            archive.writestr(info, content)
    return buffer.getvalue()


def pickled(name: str, content: bytes, r: Random, marker: Path) -> bytes:
    """Return a member that creates `marker` if it is unpickled."""
    bomb = pickle.dumps(Payload(marker), 2)
    if name.endswith(".npy"):
        return _npy_head("|O", r.choice(("", "1,"))) + bomb
    if content[:1] == b"\x80" and r.random() < 0.5:
        return bomb[:-1] + b"0" + content[2:]  # the bomb, dropped from the stack, then the rest
    return bomb


@functools.cache
def _crc_of_zeros(size: int) -> tuple[int, list[int]]:
    """Return the checksum of zeros behind one of 0, and what each bit of that one changes."""
    block = bytes(size)
    plain = zlib.crc32(block)
    return plain, [zlib.crc32(block, 1 << bit) ^ plain for bit in range(32)]


@functools.cache
def _deflated_zeros(head: bytes, size: int) -> tuple[bytes, int]:
    """Return `head` and `size` zeros, a multiple of 1 MiB, as raw deflate, and their checksum."""
    block = bytes(1 << 20)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    one = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    plain, bits = _crc_of_zeros(len(block))
    crc = zlib.crc32(head)
    for _ in range(size >> 20):  # as zlib.crc32(block, crc), which would take a second in all
        crc = functools.reduce(operator.xor, (b for n, b in enumerate(bits) if crc >> n & 1), plain)
    return first + one * (size >> 20) + packer.flush(), crc


def _npy_head(descr: str, shape: str, fortran: bool = False) -> bytes:
    header = f"{{'descr': {descr!r}, 'fortran_order': {fortran}, 'shape': ({shape}), }}"
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def bombed(name: str, size: int, order: str = "<", fortran: bool = False) -> bytes:
    """Return an archive whose one member, by that name, unpacks to `size` zeros; in a .npy
    behind a header that says so."""
    head = b""
    if name.endswith(".npy"):
        head = _npy_head(f"{order}f4", f"{size // 8}, 2" if fortran else f"{size // 4},", fortran)
    raw, crc = _deflated_zeros(head, size)
    path = name.encode()
    common = struct.pack("<HHHHHIIIHH", 20, 0x800, 8, 0, 0x21, crc, len(raw), len(head) + size,
                         len(path), 0)
    local = b"PK\x03\x04" + common + path + raw
    central = b"PK\x01\x02\x14\x00" + common + struct.pack("<HHHII", 0, 0, 0, 0, 0) + path
    end = struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)
    return local + central + b"PK\x05\x06" + end
