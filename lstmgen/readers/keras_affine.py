"""Keras' layers that scale and shift each feature: normalization and rescaling."""

from typing import Any

import numpy as np

from ..errors import ModelError, shown
from ..folding import Affine
from ..qformat import FloatArray
from . import keras_cells
from .keras_config import Entry, child
from .keras_store import Slot, Store


def affine_of(entry: Entry, store: Store, width: int | None, sequence: bool) -> Affine:
    """Return what a BatchNormalization, Normalization or Rescaling layer computes.

    width: of its input, where known; sequence: whether that has a time axis.
    """
    if entry.kind == "Rescaling":
        return _rescaling(entry, width)
    axis = entry.config.get("axis", -1)
    last = 2 if sequence else 1
    if axis not in (-1, [-1], last, [last], [], None):  # none: one mean for all features
        raise ModelError(
            f"layer {entry.name}: axis is {shown(axis)}; expected the last axis, the features"
        )
    if entry.kind == "BatchNormalization":
        return _batch_normalization(entry, store)
    return _normalization(entry, store, width)


def _batch_normalization(entry: Entry, store: Store) -> Affine:
    config = entry.config
    names = ["gamma"] if config.get("scale", True) else []
    names += ["beta"] if config.get("center", True) else []
    names += ["moving_mean", "moving_variance"]
    arrays = store.take(entry, [Slot("", name) for name in names])
    found = dict(zip(names, arrays, strict=True))
    epsilon: Any = config.get("epsilon", keras_cells.EPSILON)
    if not isinstance(epsilon, int | float) or not 0 <= epsilon < np.inf:
        raise ModelError(f"layer {entry.name}: epsilon is {shown(epsilon)}; expected a number")
    return keras_cells.batch_normalization(
        entry.name,
        found.get("gamma"),
        found.get("beta"),
        found["moving_mean"],
        found["moving_variance"],
        float(epsilon),
    )


def _normalization(entry: Entry, store: Store, width: int | None) -> Affine:
    if entry.config.get("mean") is None and entry.config.get("variance") is None:
        slots = [Slot("", name) for name in ("mean", "variance", "count")]
        mean, variance, _ = store.take(entry, slots)
    else:
        mean, variance = (_vector(entry, key) for key in ("mean", "variance"))
    invert = bool(entry.config.get("invert"))
    return keras_cells.normalization(entry.name, mean, variance, width, invert)


def _rescaling(entry: Entry, width: int | None) -> Affine:
    scale, offset = (_vector(entry, key) for key in ("scale", "offset"))
    size = width if scale.size == offset.size == 1 else max(scale.size, offset.size)
    if not size or {scale.size, offset.size} - {1, size}:
        raise ModelError(
            f"layer {entry.name}: scale and offset are {scale.shape} and {offset.shape}; "
            "expected one number for each input, whose number the Input layer has to state"
        )
    return Affine(entry.name, np.resize(scale, size), np.resize(offset, size))


def _vector(entry: Entry, key: str) -> FloatArray:
    """Return a number or (nested) list of numbers of a config as a vector."""
    value: Any = entry.config.get(key)
    if isinstance(value, dict):  # a serialized array
        value = child(value, "config").get("value", value)
    try:
        found = np.asarray(value, np.float64).ravel()
    except (ValueError, TypeError, OverflowError):
        found = np.full(1, np.nan)
    if not found.size or not np.isfinite(found).all():
        raise ModelError(f"layer {entry.name}: {key} is {shown(value)}; expected numbers")
    return found
