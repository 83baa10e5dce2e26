"""Keras weights in order: np.savez("model.npz", *model.get_weights()).

The arrays have no names (arr_0, arr_1, ...); shapes tell what they are. A recurrent kernel is
(k, 4k), so a kernel followed by one belongs to an LSTM, and any other two-dimensional array to a
dense layer; both may be followed by a bias. Chained widths leave no second reading but for a
SimpleRNN, which looks like two dense layers and is refused.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import ModelError
from ..layers import Dense, Layer, Lstm
from ..npz import Array
from ..qformat import FloatArray
from ..weights import DATA_ARRAYS, data_note, weights_of
from .options import Draft

_NAMED = "use PyTorch's or lstmgen's own names (docs/model-npz.md) for such a network"


def read(arrays: Mapping[str, Array], source: str, name: str) -> Draft:
    """Return the network of weights in Keras' order; layers are named lstm0, dense0, ..."""
    problems: list[str] = []
    numbers: dict[int, str] = {}
    for key in arrays:
        digits = key.removeprefix("arr_")
        if digits != key and digits.isdecimal() and digits == str(int(digits[:9])):
            numbers[int(digits)] = key
        elif key not in DATA_ARRAYS:
            problems.append(f"{source}: array {key!a} is unknown; expected arr_0, arr_1, ...")
    for number in sorted(set(range(len(numbers))) - set(numbers)):
        last = max(numbers)
        problems.append(f"{source}: arr_{number} is missing; the arrays go up to arr_{last}")
    values: dict[str, FloatArray] = {}
    for number in sorted(numbers):
        key = numbers[number]
        try:
            values[key] = weights_of(arrays[key], f"{source}: {key}")
        except ModelError as error:
            problems.append(str(error))
    notes = ["Keras weights in order; kernels transposed, gate order i, f, c, o (c is g)"]
    layers: list[Layer] = []
    if not problems:
        try:
            layers = _Parser(values, source).layers(notes)
        except ModelError as error:
            problems.append(str(error))
    notes += data_note(key for key in DATA_ARRAYS if key in arrays)
    return Draft(source, name, tuple(layers), notes=tuple(notes), problems=tuple(problems))


class _Parser:
    """Takes layer by layer off the front of the list of arrays."""

    def __init__(self, values: Mapping[str, FloatArray], source: str) -> None:
        self._keys = list(values)
        self._values = list(values.values())
        self._source = source
        self._at = 0

    def layers(self, notes: list[str]) -> list[Layer]:
        """Return all layers, and append a note for each."""
        layers: list[Layer] = []
        while self._at < len(self._values):
            start = self._at
            self._refuse(layers)
            kinds = [type(layer) for layer in layers]
            layer: Layer
            if self._is_recurrent(4):
                layer = self._lstm(f"lstm{kinds.count(Lstm)}")
            else:
                layer = self._dense(f"dense{kinds.count(Dense)}")
            layers.append(layer)
            notes.append(f"{layer.name}: {', '.join(self._keys[start : self._at])}")
            if self._values[self._at - 1].ndim == 2:
                notes.append(f"{layer.name}: no bias array, so the bias is zero")
        return layers

    def _lstm(self, name: str) -> Lstm:
        kernel, recurrent = self._take(), self._take()
        rows = recurrent.shape[1]
        return Lstm(name, _turned(kernel), _turned(recurrent), self._bias(rows))

    def _dense(self, name: str) -> Dense:
        kernel = self._take()
        return Dense(name, _turned(kernel), self._bias(kernel.shape[1]))

    def _take(self) -> FloatArray:
        self._at += 1
        return self._values[self._at - 1]

    def _bias(self, rows: int) -> FloatArray:
        """Take the bias if there is one: no layer begins with a one-dimensional array."""
        following = self._values[self._at : self._at + 1]
        if following and following[0].ndim == 1 and following[0].shape == (rows,):
            return self._take()
        return np.zeros(rows)

    def _is_recurrent(self, gates: int, at: int | None = None) -> bool:
        """Tell whether the arrays at `at` are kernel and recurrent kernel of that many gates."""
        at = self._at if at is None else at
        pair = self._values[at : at + 2]
        if len(pair) < 2 or pair[0].ndim != 2 or pair[1].ndim != 2 or 0 in pair[1].shape:
            return False
        k, columns = pair[1].shape
        return bool(columns == gates * k == pair[0].shape[1])

    def _refuse(self, layers: Sequence[Layer]) -> None:
        """Raise a ModelError if the next arrays are something that is not supported."""
        key, first = self._keys[self._at], self._values[self._at]
        where = f"{self._source}: {key}"
        if first.ndim != 2 or 0 in first.shape:
            vectors = self._vectors()
            what = (
                f"{vectors} to be normalization (gamma, beta, mean, variance)"
                if vectors
                else "a convolution or another layer"
            )
            raise ModelError(
                f"{where} is {first.shape}; expected a kernel (inputs, outputs) here; it seems "
                f"{what}, which is not supported"
            )
        if self._is_recurrent(3):
            raise ModelError(
                f"{where} and {self._keys[self._at + 1]} are kernels of a GRU, "
                "which is not supported"
            )
        if self._is_recurrent(1):
            raise ModelError(
                f"{where} and {self._keys[self._at + 1]} fit a SimpleRNN, which is not supported, "
                f"or two dense layers; {_NAMED}"
            )
        if len(self._values) > self._at + 1:
            second = self._values[self._at + 1]
            if second.ndim == 2 and second.shape[0] == 4 * second.shape[1] == first.shape[0]:
                raise ModelError(
                    f"{where} is {first.shape} and {self._keys[self._at + 1]} {second.shape}, in "
                    f"PyTorch's orientation; expected Keras' (n, 4k) and (k, 4k); {_NAMED}"
                )
        below = layers[-1] if layers else None
        if isinstance(below, Lstm) and self._is_recurrent(4):
            same = first.shape[::-1] == below.W.shape
            if same and below.inputs != below.units:
                raise ModelError(
                    f"{where} repeats the shapes of {below.name}: a Bidirectional layer, "
                    "which is not supported"
                )

    def _vectors(self) -> str:
        """Return the run of equally long vectors at the front, such as 'arr_3, arr_4 seem'."""
        first = self._values[self._at]
        run = []
        for key, value in zip(self._keys[self._at :], self._values[self._at :], strict=True):
            if first.ndim != 1 or value.shape != first.shape:
                break
            run.append(key)
        return ", ".join(run)


def _turned(kernel: FloatArray) -> FloatArray:
    return np.ascontiguousarray(kernel.T)
