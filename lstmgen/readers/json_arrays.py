"""Nested lists of numbers in JSON as arrays, and other values that have to be what they are."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import ModelError
from ..npz import Array
from ..qformat import FloatArray
from ..weights import weights_of
from .torch_modules import check_count


def array_of(value: object, where: str) -> Array:
    """Return the array that nested lists of numbers, equally long, stand for."""
    try:
        array = np.array(value)
    except (ValueError, OverflowError, TypeError):  # lists of different lengths
        array = np.array(None)
    if not isinstance(value, list) or array.dtype.kind not in "iuf":
        raise ModelError(f"{where} is not a list of numbers, nor of such lists of equal lengths")
    return array


def floats_of(value: object, where: str) -> FloatArray:
    """Return such an array in float64, all of it finite."""
    return weights_of(array_of(value, where), where)


def arrays_of(values: Mapping[str, object], source: str) -> dict[str, Array]:
    """Return all of them by name; a ModelError lists those that are none."""
    check_count(len(values), source)
    arrays, problems = {}, []
    for key, value in values.items():
        try:
            arrays[key] = array_of(value, f"{source}: {ascii(key)[:200]}")
        except ModelError as error:
            problems.append(str(error))
    if problems:
        raise ModelError.of(problems)
    return arrays


def natural(values: Mapping[str, Any], key: str, where: str, largest: int) -> int:
    """Return a number from 1 to `largest`."""
    value = values.get(key)
    if type(value) is not int or not 1 <= value <= largest:
        raise ModelError(
            f"{where}: {key} is {str(value)[:40]!a}; expected a number from 1 to {largest}"
        )
    return value
