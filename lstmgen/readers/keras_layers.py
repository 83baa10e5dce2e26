"""From Keras' layers and their weights to the network's own, one after the other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..errors import ModelError, shown
from ..folding import Affine
from ..layers import Activation, Dense, Layer
from ..qformat import FloatArray
from . import keras_cells, keras_recurrent
from .keras_affine import affine_of
from .keras_config import Entry, child, class_of, is_custom
from .keras_functions import check_relu, dense_function
from .keras_store import Slot, Store

_NOTHING = ("InputLayer", "Dropout", "SpatialDropout1D", "GaussianDropout", "GaussianNoise",
            "AlphaDropout", "ActivityRegularization", "Identity")  # fmt: skip
"""Layers that hand their input on once the network is trained."""

_HINTS = {
    "Lambda": "its Python code is never loaded; express it in layers or leave it to the caller",
    "GetItem": "expected x[:, -1, :] of a sequence without a mask, or return_sequences=False",
    "SlicingOpLambda": "expected x[:, -1, :] of a sequence without a mask",
    "RepeatVector": "it repeats one vector for a decoder; expected layers that hand on every step",
}
"""What to say of layers that are not supported beyond that."""


class Builder:
    """Appends layer after layer.

    sequence: whether what is handed on has a time axis. masked: whether Keras leaves steps out.
    """

    def __init__(self, source: str, store: Store, version: int) -> None:
        self.layers: list[Layer | Affine] = []
        self.notes: list[str] = []
        self.problems: list[str] = []
        self.sequence = True
        self.masked = False
        self._source = source
        self._store = store
        self._version = version
        self._shape: tuple[int | None, ...] | None = None  # of the input, batch left out
        self._broken = False
        self._reshaped: str | None = None

    def add(self, entry: Entry) -> None:
        """Append what a layer of Keras computes, or a line to `problems`."""
        try:
            self._take_shape(entry)
            if entry.config.get("__custom__"):
                raise ModelError(
                    f"layer {entry.name} is of the custom class {entry.kind!a}, whose code is "
                    "never loaded; expected Keras' own layers"
                )
            self._check_dtype(entry)
            if entry.mask and not self.masked:
                raise ModelError(
                    f"layer {entry.name} is given a mask; expected one from a Masking layer or "
                    "from Embedding(mask_zero=True)"
                )
            self._handler(entry.kind)(entry)
        except ModelError as error:
            self._broken = True
            start = f"{self._source}: "
            self.problems += [
                line if line.startswith(start) else start + line
                for line in str(error).splitlines()
            ]

    def _handler(self, kind: str) -> Callable[[Entry], None]:
        if kind in _NOTHING:
            return lambda entry: None
        if kind in keras_recurrent.KINDS:
            return self._recurrent
        handlers: Mapping[str, Callable[[Entry], None]] = {
            "Dense": self._dense,
            "TimeDistributed": self._time_distributed,
            "Activation": self._activation,
            "ReLU": self._relu,
            "Softmax": self._softmax,
            "BatchNormalization": self._affine,
            "Normalization": self._affine,
            "Rescaling": self._affine,
            "Embedding": self._embedding,
            "Masking": self._masking,
            "Reshape": self._reshape,
            "Flatten": self._flatten,
            "GetItem": self._last_step,
            "SlicingOpLambda": self._last_step,
        }
        return handlers.get(kind, self._unsupported)

    def _unsupported(self, entry: Entry) -> None:
        hint = _HINTS.get(entry.kind, "expected LSTM, GRU, Bidirectional, Dense and the like")
        raise ModelError(f"layer {entry.name} is a {entry.kind!a}, which is not supported; {hint}")

    def _take_shape(self, entry: Entry) -> None:
        """Note the shape of the input where the first layer states it."""
        shape = entry.config.get("batch_shape", entry.config.get("batch_input_shape"))
        if self._shape is None and not self.layers and isinstance(shape, list):
            dims = [n if isinstance(n, int) and n > 0 else None for n in shape[1:]]
            self._shape = tuple(dims)

    def _check_dtype(self, entry: Entry) -> None:
        policy = entry.config.get("dtype")
        if isinstance(policy, dict) and class_of(policy).startswith("Quantized"):
            raise ModelError(f"layer {entry.name} is quantized; expected the float model")

    @property
    def _width(self) -> int | None:
        """The number of values handed on, where known."""
        if self._broken:
            return None
        if self.layers:
            last = self.layers[-1]
            return int(last.scale.size) if isinstance(last, Affine) else last.width
        return self._shape[-1] if self._shape else None

    def _append(self, *layers: Layer | Affine) -> None:
        if self._reshaped:
            raise ModelError(
                f"layer {layers[0].name} follows {self._reshaped}; expected a Reshape that changes "
                "the shape only at the end, or at the front"
            )
        self.layers += layers

    def _take(self, entry: Entry, *leaves: str, part: str = "") -> list[FloatArray]:
        return self._store.take(entry, [Slot(part, leaf) for leaf in leaves])

    def _recurrent(self, entry: Entry) -> None:
        if not self.sequence:
            raise ModelError(
                f"layer {entry.name} follows a layer with return_sequences=False; expected "
                "return_sequences=True before another recurrent layer"
            )
        every = self.sequence = keras_recurrent.returns_sequences(entry)
        if self.masked and every and entry.config.get("go_backwards"):
            raise ModelError(
                f"layer {entry.name} goes backwards under a mask and returns sequences, which "
                "shifts the outputs against their mask; expected one of them without the other"
            )
        if entry.config.get("stateful"):
            self.notes.append(
                f"{entry.name}: stateful in Keras; step keeps the state until it is reset"
            )
        made = keras_recurrent.recurrent_layers(entry, self._store, self._version)
        self._append(*made)
        self.notes += keras_recurrent.notes_on(made)

    def _dense(self, entry: Entry, part: str = "") -> None:
        config = entry.config if not part else child(child(entry.config, "layer"), "config")
        activation = dense_function(entry, config.get("activation"))
        leaves = ["kernel", "bias"] if config.get("use_bias", True) else ["kernel"]
        arrays = self._take(entry, *leaves, part=part)
        units, shape = config.get("units"), arrays[0].shape
        if isinstance(units, int) and shape[1:] != (units,):
            raise ModelError(
                f"layer {entry.name}: its kernel is {shape}; expected {units} columns, the units "
                "of the config"
            )
        self._append(keras_cells.dense(entry.name, arrays, activation))

    def _time_distributed(self, entry: Entry) -> None:
        inner = child(entry.config, "layer")
        kind = class_of(inner)
        if is_custom(inner) or kind not in ("Dense", "Activation", *_NOTHING):
            raise ModelError(
                f"layer {entry.name} is a TimeDistributed {kind!a}, which is not supported; "
                "expected TimeDistributed(Dense)"
            )
        if kind == "Dense":
            self._dense(entry, "layer")
        elif kind == "Activation":
            self._activation(replace(entry, config=child(inner, "config")))

    def _activation(self, entry: Entry) -> None:
        self._activate(entry, dense_function(entry, entry.config.get("activation")))

    def _relu(self, entry: Entry) -> None:
        check_relu(entry)
        self._activate(entry, "relu")

    def _softmax(self, entry: Entry) -> None:
        if entry.config.get("axis", -1) not in (-1, [-1]):
            raise ModelError(f"layer {entry.name}: axis is not -1; expected the last axis")
        if self.masked and self.sequence:
            raise ModelError(
                f"layer {entry.name}: a Softmax layer under a mask, which is not supported; "
                "expected Activation('softmax')"
            )
        self._activate(entry, "softmax")

    def _activate(self, entry: Entry, activation: Activation) -> None:
        """Give the function to the layer before, or to a dense layer of the unit matrix."""
        if activation == "linear" or self._broken:
            return
        activated = keras_cells.activated(self.layers, activation)
        if activated is not None:
            self.layers = activated
            return
        width = self._width
        if width is None:
            raise ModelError(
                f"layer {entry.name}: the number of its inputs is not known; expected an Input "
                "layer in front that states it"
            )
        self._append(Dense(entry.name, np.eye(width), np.zeros(width), activation))
        self.notes.append(f"{entry.name}: becomes a dense layer of the unit matrix")

    def _affine(self, entry: Entry) -> None:
        self._append(affine_of(entry, self._store, self._width, self.sequence))
        self.notes.append(f"{entry.name}: folded into the weights beside it")

    def _embedding(self, entry: Entry) -> None:
        if self.layers:
            raise ModelError(f"layer {entry.name} is an Embedding; expected it to be the first")
        (table,) = self._take(entry, "embeddings")
        self._append(keras_cells.embedding(entry.name, table))
        self.notes.append(f"{entry.name}: the input is one integer, a row of the table")
        if entry.config.get("mask_zero"):
            self.masked = True
            self.notes.append(_mask_note(entry, "its index is 0"))

    def _masking(self, entry: Entry) -> None:
        if self.layers:
            raise ModelError(
                f"layer {entry.name} is a Masking layer behind {self.layers[-1].name}; expected it "
                "to be the first"
            )
        self.masked = True
        value = entry.config.get("mask_value", 0.0)
        self.notes.append(_mask_note(entry, f"all its inputs are {shown(value)}"))

    def _last_step(self, entry: Entry) -> None:
        """x[:, -1, :]: as a layer before it would give without return_sequences."""
        if entry.slices not in ((None, -1), (None, -1, None)) or not self.sequence or self.masked:
            self._unsupported(entry)
        self.sequence = False

    def _reshape(self, entry: Entry) -> None:
        target = entry.config.get("target_shape")
        if not isinstance(target, list) or not all(isinstance(n, int) for n in target):
            raise ModelError(
                f"layer {entry.name}: target_shape is {shown(target)}; expected integers"
            )
        if not self.layers and not self.masked and len(target) <= 2:
            self._shape = tuple(n if n > 0 else None for n in target)
            self.notes.append(
                f"{entry.name}: left to the caller; give x as (steps, inputs) = {shown(target)}"
            )
            return
        width = self._width
        if width is not None and self.layers and self._keeps(target, width):
            return
        if self.layers and not self.sequence and not self._broken:
            self._reshaped = entry.name  # at the end it is only another view of the outputs
            self.notes.append(
                f"{entry.name}: left to the caller; the outputs are Keras' {shown(target)} in "
                "one row"
            )
            return
        raise ModelError(
            f"layer {entry.name} reshapes to {shown(target)}, which is not supported here; "
            "expected a Reshape of the input or of the last outputs"
        )

    def _keeps(self, target: Sequence[int], width: int) -> bool:
        """Tell whether reshaping to `target` leaves the values handed on as they are."""
        if not self.sequence:
            return list(target) in ([width], [-1], [1, width], [1, -1], [-1, width])
        steps = self._shape[0] if self._shape and len(self._shape) > 1 else None
        return len(target) == 2 and target[1] in (width, -1) and target[0] in (steps, -1)

    def _flatten(self, entry: Entry) -> None:
        if not self.sequence:
            return
        if self.layers and self._shape and self._shape[0] == 1 and not self.masked:
            self.sequence = False  # of a single step
            return
        raise ModelError(
            f"layer {entry.name} flattens a whole sequence, which is not supported; expected "
            "return_sequences=False in the last recurrent layer"
        )


def _mask_note(entry: Entry, when: str) -> str:
    return (
        f"{entry.name}: Keras skips a step if {when}; leave such steps out and run the network "
        "over the number that remain"
    )

