"""From the arrays of a model file to the layers of a network; what all readers share."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .errors import ModelError
from .layers import Layer
from .network import MAX_WEIGHTS, Network
from .npz import Array
from .qformat import FloatArray

DATA_ARRAYS = ("x", "y", "label", "meta")
"""Arrays that may lie beside the weights in any model file: inputs, outputs, labels, a text."""


def weights_of(array: Array, where: str) -> FloatArray:
    """Return the array in float64; a ModelError naming `where` unless all are finite numbers."""
    if array.dtype.kind not in "iuf":
        raise ModelError(f"{where} holds values of type {array.dtype}; expected numbers")
    if array.size > MAX_WEIGHTS:
        raise ModelError(f"{where} holds {array.size} values; expected at most {MAX_WEIGHTS}")
    with np.errstate(invalid="ignore"):  # a signalling NaN, reported below
        values = np.asarray(array, np.float64)
    wrong = int(np.count_nonzero(~np.isfinite(values)))
    if wrong:
        raise ModelError(
            f"{where} holds {wrong} values that are NaN or infinite; expected finite numbers only"
        )
    return values


def gate_order(text: str) -> str | None:
    """Return `text` with the cell gate called g, if it is an order of i, f, g (or c), o.

    >>> gate_order("ifco"), gate_order("iofc"), gate_order("zrh")
    ('ifgo', 'iofg', None)
    """
    order = text if "g" in text else text.replace("c", "g")
    return order if sorted(order) == sorted("ifgo") else None


def to_ifgo(rows: FloatArray, order: str) -> FloatArray:
    """Reorder the gates along axis 0 from `order`, as of `gate_order`, to i, f, g, o.

    An array whose rows are no multiple of 4 is returned as it is, for the shape checks to name.
    """
    if order == "ifgo" or rows.ndim == 0 or rows.shape[0] % 4:
        return rows
    gates = rows.reshape(4, rows.shape[0] // 4, *rows.shape[1:])
    return gates[[order.index(gate) for gate in "ifgo"]].reshape(rows.shape)


def build_network(
    layers: Sequence[Layer], problems: Sequence[str], source: str, **options: Any
) -> Network:
    """Return the network, or one ModelError with `problems` and what its own checks find."""
    if problems:
        # The chain of layers is not checked: a layer that could not be read would break it.
        shapes = [line for layer in layers for line in layer.shape_problems()]
        raise ModelError.of([*problems, *(f"{source}: {line}" for line in shapes)])
    try:
        return Network(tuple(layers), **options)
    except ModelError as error:
        raise ModelError.of(f"{source}: {line}" for line in str(error).splitlines()) from error


def data_note(arrays: Iterable[str]) -> tuple[str, ...]:
    """Return the note on arrays that are no weights, if there are any."""
    names = ", ".join(arrays)
    return (f"arrays that are no weights, ignored: {names}",) if names else ()
