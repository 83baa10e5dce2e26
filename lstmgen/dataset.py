"""Input arrays from files: .npy, memory-mapped, or .npz with `x` and what is known of it."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError
from .npz import read_npz
from .qformat import FloatArray, IntArray

_PROBED_VALUES = 1 << 22
"""Values of a block in which NaN and infinity are looked for at a time."""

_BROKEN = (
    ValueError, EOFError, OSError, SyntaxError, OverflowError, TypeError, TokenError,
    MemoryError, RecursionError,
)  # fmt: skip
"""What numpy raises on a damaged .npy, whose header is Python text."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Inputs with what they should give.

    x: (B, T, n) real inputs. label: (B,) or (B, T) class numbers. target: the values that
    the network should output, of its output's shape. lengths: (B,) how many steps of each
    sequence count, 1 to T, or None for all.
    """

    x: NDArray[Any]
    label: NDArray[Any] | None = None
    target: NDArray[Any] | None = None
    lengths: IntArray | None = None


def load_dataset(
    path: str | os.PathLike[str], inputs: int, keys: tuple[str, ...] = ("x",)
) -> Dataset:
    """Read a .npy file of inputs, or an .npz file with them, optional `label`, `target` and
    `lengths`.

    inputs: the width that the network takes. keys: the names under which an .npz may hold
    the inputs; the first one found is taken. Raises ModelError for a file that cannot be
    read, arrays of another shape, and values that are NaN or infinite.
    """
    file = Path(path)
    if not file.is_file():
        raise ModelError(f"{file}: no such file")
    with file.open("rb") as stream:
        magic = stream.read(6)
    if magic == b"\x93NUMPY":
        data = Dataset(_map_npy(file))
    else:
        arrays = read_npz(file)
        key = next((key for key in keys if key in arrays), None)
        if key is None:
            found = ", ".join(arrays) or "nothing"
            raise ModelError(f"{file} holds {found}; expected the inputs as {' or '.join(keys)}")
        # Labels and targets belong to the inputs called x.
        answers = (arrays.get("label"), arrays.get("target")) if key == "x" else (None, None)
        lengths = arrays.get("lengths") if key == "x" else None
        data = Dataset(arrays[key], *answers, lengths)
    check_inputs(data.x, inputs, str(file))
    if data.lengths is not None:
        check_lengths(data.lengths, data.x, str(file))
    _check_answers(data, str(file))
    return data


def load_calibration(path: str | os.PathLike[str], inputs: int) -> FloatArray:
    """Return calibration inputs (B, T, n): a .npy, or of an .npz `x_calib`, else `x`.

    Steps that do not count, beyond the `lengths` of an .npz, are zeros.
    """
    data = load_dataset(path, inputs, ("x_calib", "x"))
    x = np.asarray(data.x, np.float64)
    if data.lengths is None:
        return x
    return np.where((np.arange(x.shape[1]) < data.lengths[:, None])[..., None], x, 0.0)


def check_inputs(x: NDArray[Any], inputs: int, source: str) -> None:
    """Raise ModelError unless x is (B, T, inputs), not empty, of finite numbers."""
    if x.ndim != 3 or x.shape[2] != inputs or 0 in x.shape:
        raise ModelError(
            f"{source}: the inputs are {x.shape}; expected (sequences, steps, {inputs}), "
            f"since the network takes {inputs} inputs"
        )
    if x.dtype.kind not in "fiub":
        raise ModelError(f"{source}: the inputs are of type {x.dtype}; expected numbers")
    rows = max(1, _PROBED_VALUES // (x.shape[1] * x.shape[2]))
    wrong = sum(
        int(np.count_nonzero(~np.isfinite(x[at : at + rows]))) for at in range(0, len(x), rows)
    )
    if wrong:
        raise ModelError(f"{source}: {wrong} inputs are NaN or infinite; expected finite numbers")


def check_lengths(lengths: NDArray[Any], x: NDArray[Any], source: str) -> None:
    """Raise ModelError unless lengths are (B,) whole numbers of steps, 1 to T."""
    batch, steps = x.shape[:2]
    if lengths.shape != (batch,) or lengths.dtype.kind not in "iu":
        raise ModelError(
            f"{source}: lengths are {lengths.dtype} of shape {lengths.shape}; expected {batch} "
            "whole numbers, one a sequence"
        )
    if lengths.min() < 1 or lengths.max() > steps:
        raise ModelError(
            f"{source}: lengths span {lengths.min()}..{lengths.max()}; expected 1..{steps}, the "
            "steps of the inputs"
        )


def _map_npy(file: Path) -> NDArray[Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd headers
            return np.load(file, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except _BROKEN as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        reason = reason if reason.isprintable() else ascii(reason)
        raise ModelError(
            f"{file}: not a readable .npy array ({reason}); write it with np.save"
        ) from None


def _check_answers(data: Dataset, source: str) -> None:
    for name in ("label", "target"):
        known = getattr(data, name)
        if known is not None and (known.ndim == 0 or len(known) != len(data.x)):
            raise ModelError(
                f"{source}: {name} is {known.shape}; expected {len(data.x)} entries, one a sequence"
            )
