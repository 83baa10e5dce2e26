"""Reading and writing .npz files: bounded and never unpickling in, byte-reproducible out.

An .npz is a zip archive of .npy arrays. A file may come from anywhere, so every size in it is
checked before memory is spent on it, and each way in which it can be broken is a ModelError.
"""

import ast
import io
import math
import os
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError, OutputError

MAX_BYTES = 3 << 28
"""Largest total size of the arrays of a file, uncompressed: with all else below 1 GiB, since no
array is held twice but a small one in Fortran order."""

_MAX_FORTRAN = 1 << 27

MAX_ARRAYS = 4096
MAX_NAME = 200
"""Longest name of an array; messages quote names."""

MAX_DIMS = 8
MAX_HEADER = 10_000
"""Largest .npy header in bytes; numpy's own limit."""

Array = NDArray[Any]

_MAGIC = b"\x93NUMPY"
_PART = 1 << 20
_ENCRYPTED = 0x01 | 0x40
_PATCHED = 0x20
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest date a zip can hold; fixed, so that the same arrays give the same bytes."""

BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    LookupError,
    OverflowError,
    OSError,
)
"""What zipfile, zlib and the operating system raise on damaged archives."""

_FROM_KERAS = "np.savez('model.npz', *model.get_weights())"
_FROM_TORCH = "np.savez('model.npz', **{k: v.numpy() for k, v in model.state_dict().items()})"

# What other files begin with, or as zip archives contain, and what to do instead.
_OTHER_FILES = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", _FROM_KERAS),
    (b"\x93NUMPY", "a single .npy array", "np.savez('model.npz', name=array, ...)"),
    (b"\x80", "a pickle", _FROM_TORCH),
)
_OTHER_ARCHIVES = (
    ("data.pkl", "a PyTorch file", _FROM_TORCH),
    ("model.weights.h5", "a Keras file", _FROM_KERAS),
)


def shown_name(name: str) -> str:
    """Return a name out of a file in quotes, printable and not too long for a message."""
    text = ascii(name)  # before it is cut: an escape may take ten characters for one
    return text if len(text) <= 66 else f"{text[:62]}...{text[0]}"


def read_npz(path: str | os.PathLike[str], limit: int = MAX_BYTES) -> dict[str, Array]:
    """Return the arrays of an .npz file by name, in the order of the file, in native byte order.

    limit: the largest total size in bytes. Booleans, integers, floats up to 64 bits and text
    are read; anything else, above all pickled objects, is refused with a ModelError.
    """
    file = Path(path)
    if not file.exists():
        raise ModelError(f"{file}: no such file")
    if not file.is_file():
        raise ModelError(f"{file} is not a regular file; expected an .npz file")
    try:
        with file.open("rb") as stream:
            return _read(stream, str(file), limit)
    except PermissionError as error:
        raise ModelError(f"{file}: permission denied") from error
    except MemoryError as error:
        raise ModelError(f"{file} does not fit into this machine's memory") from error


def npz_bytes(arrays: Mapping[str, Array]) -> bytes:
    """Return the .npz file of the arrays; equal arrays in equal order give equal bytes.

    Nothing is compressed, since what deflate writes differs between versions of zlib.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            member.create_system = 3
            member.external_attr = 0o644 << 16
            archive.writestr(member, _npy_bytes(array))
    return buffer.getvalue()


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, Array]) -> None:
    """Write the arrays to `path` at once: a reader sees the old file or the new one."""
    file = Path(path)
    data = npz_bytes(arrays)
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        try:
            part.write_bytes(data)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{file} cannot be written: {error.strerror or error}") from error


def is_other_file(start: bytes) -> bool:
    """Whether a file that begins so is of a kind for which `read_npz` says what to do instead."""
    return any(start.startswith(magic) for magic, _, _ in _OTHER_FILES)


def _npy_bytes(array: Array) -> bytes:
    # Not ascontiguousarray: it would make 0-d arrays 1-d.
    plain = np.asarray(array, order="C")
    plain = plain.astype(plain.dtype.newbyteorder("<"), copy=False)
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, plain, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def _read(stream: IO[bytes], source: str, limit: int) -> dict[str, Array]:
    start = stream.read(8)
    if not start.startswith(b"PK"):
        for magic, kind, instead in _OTHER_FILES:
            if start.startswith(magic):
                raise ModelError(f"{source} is {kind}; expected an .npz file, as from {instead}")
        raise ModelError(f"{source} is not an .npz file (no zip archive); write it with np.savez")
    try:
        with zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            _check_members(members, source, limit)
            return {
                member.filename.removesuffix(".npy"): _member(archive, member, source)
                for member in members
            }
    except BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(
            f"{source} is damaged or truncated ({reason[:120]!a}); write or copy it anew"
        ) from error


def _check_members(members: list[zipfile.ZipInfo], source: str, limit: int) -> None:
    if len(members) > MAX_ARRAYS:
        raise ModelError(f"{source} holds {len(members)} arrays; expected at most {MAX_ARRAYS}")
    problems = []
    names = [member.filename for member in members]
    for ending, kind, instead in _OTHER_ARCHIVES:
        if any(name.endswith(ending) for name in names):
            raise ModelError(f"{source} is {kind}; expected an .npz file, as from {instead}")
    for member in members:
        where = f"{source}: member {shown_name(member.filename)}"
        if not member.filename.endswith(".npy") or not member.filename.isprintable():
            problems.append(f"{where} is no .npy array; expected what np.savez writes")
        elif len(member.filename) > MAX_NAME + len(".npy"):
            problems.append(
                f"{where} has a name of {len(member.filename)} characters; "
                f"expected at most {MAX_NAME}"
            )
        elif names.count(member.filename) > 1:
            problems.append(f"{where} occurs {names.count(member.filename)} times; expected once")
        elif member.flag_bits & _ENCRYPTED:
            problems.append(f"{where} is encrypted; write it without a password")
        elif member.flag_bits & _PATCHED or member.compress_type not in (
            zipfile.ZIP_STORED,
            zipfile.ZIP_DEFLATED,
        ):
            problems.append(
                f"{where} is packed in an unknown way; "
                "expected what np.savez or np.savez_compressed writes"
            )
    total = sum(member.file_size for member in members)
    if total > limit:
        problems.append(f"{source} unpacks to {total} bytes; expected at most {limit}")
    if problems:
        raise ModelError.of(dict.fromkeys(problems))


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, source: str) -> Array:
    where = f"{source}: {member.filename.removesuffix('.npy')}"
    with archive.open(member) as stream:
        dtype, fortran, shape = _header(stream, where)
        count = math.prod(shape)
        size = count * dtype.itemsize
        if fortran and len(shape) > 1 and _MAX_FORTRAN < size <= member.file_size:
            raise ModelError(
                f"{where} has {size} bytes in Fortran order; expected at most {_MAX_FORTRAN}: "
                "save np.ascontiguousarray of it"
            )
        # Bounded by file_size, whose sum over the members the caller has bounded.
        data = _filled(stream, min(size, member.file_size) + 1)
    if len(data) != size:
        more = "more than " if len(data) > size else ""
        found = min(len(data), size)
        raise ModelError(f"{where} has {more}{found} bytes; expected {size} for its shape {shape}")
    values = np.frombuffer(data, dtype, count).reshape(shape, order="F" if fortran else "C")
    if dtype.kind == "U" and count and dtype.itemsize:
        codes = np.frombuffer(data, np.dtype(np.uint32).newbyteorder(dtype.byteorder))
        if codes.max(initial=0) > 0x10FFFF:
            raise ModelError(f"{where} holds text that is no Unicode; write the file anew")
    if not values.dtype.isnative:
        values = values.byteswap(inplace=True).view(dtype.newbyteorder("="))
    return np.asarray(values, order="C")


def _filled(stream: IO[bytes], size: int) -> bytearray:
    """Return up to `size` bytes of a stream, which are held once."""
    data = bytearray(size)  # zeros take no memory before they are written to
    end = 0
    with memoryview(data) as view:
        while end < size:
            part = stream.read(min(_PART, size - end))
            if not part:
                break
            view[end : end + len(part)] = part
            end += len(part)
    del data[end:]
    return data


def _header(stream: IO[bytes], where: str) -> tuple[np.dtype[Any], bool, tuple[int, ...]]:
    """Return dtype, Fortran order and shape of a .npy stream, and leave it at the data."""
    start = stream.read(8)
    if len(start) < 8 or not start.startswith(_MAGIC) or start[6] not in (1, 2, 3):
        raise ModelError(f"{where} is no .npy array of version 1 to 3; write it with np.savez")
    form = "<H" if start[6] == 1 else "<I"
    (length,) = struct.unpack(form, stream.read(struct.calcsize(form)))
    if length > MAX_HEADER:
        raise ModelError(f"{where} has a header of {length} bytes; expected at most {MAX_HEADER}")
    text = stream.read(length).decode("utf-8" if start[6] == 3 else "latin-1")
    broken = ModelError(f"{where} has a damaged .npy header; write the file anew")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes in a damaged header
            header = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise broken from error
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise broken
    shape, fortran = header["shape"], header["fortran_order"]
    # type() instead of isinstance(): a bool is no length.
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise broken
    if not isinstance(fortran, bool):
        raise broken
    if len(shape) > MAX_DIMS:
        raise ModelError(f"{where} has {len(shape)} dimensions; expected at most {MAX_DIMS}")
    return _dtype(header["descr"], where), fortran, shape


def _dtype(descr: object, where: str) -> np.dtype[Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of deprecated aliases in a damaged header
            dtype = np.dtype(descr) if isinstance(descr, str) else None
    except (TypeError, ValueError, SyntaxError, OverflowError):
        dtype = None
    if dtype is not None and dtype.hasobject:
        raise ModelError(
            f"{where} holds pickled Python objects, which are never loaded; "
            "save arrays of numbers, one per name"
        )
    if dtype is None or dtype.kind not in "biufUS" or (dtype.kind == "f" and dtype.itemsize > 8):
        raise ModelError(
            f"{where} holds values of type {str(descr)[:40]!a}; "
            "expected booleans, integers, floats of 16 to 64 bits, or text"
        )
    return dtype
