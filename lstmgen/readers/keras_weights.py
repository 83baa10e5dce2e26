"""Keras weights in order: np.savez("model.npz", *model.get_weights()).

The arrays have no names (arr_0, arr_1, ...); shapes tell what they are. A recurrent kernel is
(k, 4k) or (k, 3k), so a kernel followed by one belongs to an LSTM or a GRU, four equal vectors
are batch normalization, two and a number are standardisation, and any other two-dimensional
array belongs to a dense layer, or in front, without bias, to an embedding. Two equal recurrent
layers are a bidirectional one where the widths leave no other reading. Chained widths leave no
second reading but for a SimpleRNN, which looks like two dense layers and is refused.
"""

from collections.abc import Mapping, Sequence

from ..errors import ModelError
from ..folding import Affine
from ..layers import Bidirectional, Dense, Embedding, Gru, Layer, Lstm
from ..npz import Array
from ..qformat import FloatArray
from ..weights import DATA_ARRAYS, data_note, weights_of
from . import keras_cells
from .keras_order import Block
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
    layers: list[Layer | Affine] = []
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

    def layers(self, notes: list[str]) -> list[Layer | Affine]:
        """Return all layers, and append a note for each."""
        found: list[Layer | Affine] = []
        while self._at < len(self._values):
            start = self._at
            self._refuse()
            try:
                layer = self._next(found)
            except ModelError as error:
                raise ModelError(f"{self._source}: {self._keys[start]}: {error}") from error
            found.append(layer)
            notes.append(f"{layer.name}: {', '.join(self._keys[start : self._at])}")
            if isinstance(layer, Lstm | Gru | Dense) and not self._has_bias(layer):
                notes.append(f"{layer.name}: no bias array, so the bias is zero")
            notes += _assumed(layer)
        blocks = [Block(layer.name, (layer,)) for layer in _paired(found)]
        merged: list[Layer | Affine] = []
        for number, block in enumerate(blocks):
            following = blocks[number + 1] if number + 1 < len(blocks) else None
            merged += block.merged(following, notes)
        return merged

    def _next(self, before: Sequence[Layer | Affine]) -> Layer | Affine:
        kinds = [type(layer) for layer in before]
        if self._is_recurrent(4):
            rows = self._values[self._at + 1].shape[1]
            name = f"lstm{kinds.count(Lstm)}"
            return keras_cells.lstm(name, self._arrays(2, ((rows,),)))
        if self._is_recurrent(3):
            rows = self._values[self._at + 1].shape[1]
            name = f"gru{kinds.count(Gru)}"
            return keras_cells.gru(name, self._arrays(2, ((rows,), (2, rows))))
        if self._values[self._at].ndim == 1:
            name = f"norm{kinds.count(Affine)}"
            if len(self._run()) == 2:
                mean, variance, _ = self._arrays(3)
                return keras_cells.normalization(name, mean, variance, None)
            gamma, beta, mean, variance = self._arrays(4)
            return keras_cells.batch_normalization(name, gamma, beta, mean, variance)
        following = self._values[self._at + 1 : self._at + 3]
        if not self._at and following and following[0].shape[:1] == self._values[0].shape[1:]:
            self._at = 1
            recurrent = self._is_recurrent(4) or self._is_recurrent(3)
            self._at = 0
            if recurrent:
                return keras_cells.embedding("embedding0", *self._arrays(1))
        columns = self._values[self._at].shape[1]
        return keras_cells.dense(f"dense{kinds.count(Dense)}", self._arrays(1, ((columns,),)))

    def _arrays(self, count: int, biases: Sequence[tuple[int, ...]] = ()) -> list[FloatArray]:
        """Take `count` arrays, and a bias of one of the shapes if there is one."""
        following = self._values[self._at + count : self._at + count + 1]
        if following and following[0].shape in biases:
            count += 1
        self._at += count
        return self._values[self._at - count : self._at]

    def _has_bias(self, layer: Lstm | Gru | Dense) -> bool:
        """Tell whether the array taken last was the layer's bias."""
        rows = layer.b.size
        after = isinstance(layer, Gru) and layer.reset_after
        return self._values[self._at - 1].shape == ((2, rows) if after else (rows,))

    def _is_recurrent(self, gates: int) -> bool:
        """Tell whether kernel and recurrent kernel of that many gates come next."""
        pair = self._values[self._at : self._at + 2]
        if len(pair) < 2 or pair[0].ndim != 2 or pair[1].ndim != 2 or 0 in pair[1].shape:
            return False
        k, columns = pair[1].shape
        return bool(columns == gates * k == pair[0].shape[1])

    def _run(self) -> list[str]:
        """Return the names of the equally long vectors that come next."""
        first, run = self._values[self._at], []
        for key, value in zip(self._keys[self._at :], self._values[self._at :], strict=True):
            if first.ndim != 1 or value.shape != first.shape:
                break
            run.append(key)
        return run

    def _is_normalization(self) -> bool:
        run, after = len(self._run()), self._values[self._at + 2 : self._at + 3]
        return run == 4 or (run == 2 and bool(after) and after[0].shape == ())

    def _refuse(self) -> None:
        """Raise a ModelError if the next arrays are something that is not supported."""
        key, first = self._keys[self._at], self._values[self._at]
        where = f"{self._source}: {key}"
        if (first.ndim != 2 or 0 in first.shape) and not (first.size and self._is_normalization()):
            run = ", ".join(self._run())
            what = (
                f"{run} to be normalization, expected as gamma, beta, mean, variance"
                if run
                else "a convolution or another layer"
            )
            raise ModelError(
                f"{where} is {first.shape}; expected a kernel (inputs, outputs) here; it seems "
                f"{what}, which is not supported"
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
        self._refuse_vectors()

    def _refuse_vectors(self) -> None:
        """Refuse four vectors behind a kernel: bias and three, or no bias and four."""
        start, self._at = self._at, self._at + 1
        first = self._values[start]
        run = self._run() if self._at < len(self._values) else []
        fits = first.ndim == 2 and run and self._values[self._at].shape == first.shape[1:]
        self._at = start
        if fits and 1 < len(run) != 5:
            raise ModelError(
                f"{self._source}: {', '.join(run[:6])} may be a bias and normalization or only "
                "the latter; expected a bias and gamma, beta, mean, variance; save the whole model "
                "(model.save('model.keras'))"
            )


def _assumed(layer: Layer | Affine) -> list[str]:
    """Return what had to be assumed of a layer."""
    if isinstance(layer, Embedding):
        return [
            f"{layer.name}: taken for an embedding, whose input is one integer; a dense layer "
            "without bias looks the same"
        ]
    if isinstance(layer, Affine):
        return [
            f"{layer.name}: normalization; if of batches, epsilon taken to be {keras_cells.EPSILON}"
        ]
    if isinstance(layer, Gru):
        return [f"{layer.name}: a GRU, reset_after {'on' if layer.reset_after else 'off'}"]
    return []


def _paired(layers: Sequence[Layer | Affine]) -> list[Layer | Affine]:
    """Return the layers with two equal recurrent ones as the halves of a bidirectional one.

    They are if the second cannot take the first's values, or if what follows takes both's.
    """
    found: list[Layer | Affine] = []
    at = 0
    while at < len(layers):
        first, second = layers[at], layers[at + 1] if at + 1 < len(layers) else None
        following = Block("", (layers[at + 2],)).inputs if at + 2 < len(layers) else None
        if (
            isinstance(first, Lstm | Gru)
            and isinstance(second, Lstm | Gru)
            and type(first) is type(second)
            and first.W.shape == second.W.shape
            and (first.inputs != first.units or following == 2 * first.units)
        ):
            name = f"bidirectional{sum(isinstance(layer, Bidirectional) for layer in found)}"
            found.append(Bidirectional(name, first, second))
            at += 2
        else:
            found.append(first)
            at += 1
    return found
