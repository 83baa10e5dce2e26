"""Bit-exact inference: the very integers that the generated C computes.

Both ways implement docs/numerics.md: `literal` states it rule by rule with every
precondition checked, `fast` computes the same through float BLAS. Neither shares code with
the C generator; they meet in `QuantizedNetwork` only.
"""

import numpy as np
from numpy.typing import NDArray

from ..bounds import bound_table
from ..errors import ModelError, RangeError
from ..qformat import IntArray
from ..quantized import QuantizedLstm, QuantizedNetwork
from . import literal as _literal
from .fast import FastDense, FastLstm, Floats, Int32s
from .state import LstmState

__all__ = ["Emulator", "LstmState"]

Values = NDArray[np.int64] | Floats | Int32s
"""Raw integers, in the number type of the way that computed them."""


class Emulator:
    """A quantized network with its state, for a batch of independent sequences.

    All values are raw integers in the formats of the network; `q.x.to_raw` quantizes an
    input, `q.y.to_real` gives an output's real value. Raises ModelError for inputs of
    another shape, RangeError for integers beyond the input's format.
    """

    def __init__(self, q: QuantizedNetwork, literal: bool = False, batch: int = 1) -> None:
        self.q = q
        self.literal = literal
        self._fast: list[FastLstm | FastDense] = []
        if not literal:
            for layer, bounds in zip(q.layers, bound_table(q), strict=True):
                kind = FastLstm if isinstance(layer, QuantizedLstm) else FastDense
                self._fast.append(kind(layer, q.tables, bounds))  # type: ignore[arg-type]
        self._last_lstm = max(
            at for at, layer in enumerate(q.layers) if isinstance(layer, QuantizedLstm)
        )
        self.reset(batch)

    def reset(self, batch: int = 1) -> None:
        """Set the initial state for `batch` sequences."""
        self._batch = batch
        self._states = {
            layer.name: LstmState.initial(layer, batch) for layer in self.q.lstms
        }

    @property
    def state(self) -> tuple[LstmState, ...]:
        """The state of each LSTM layer, in order."""
        return tuple(self._states[layer.name] for layer in self.q.lstms)

    @property
    def saturations(self) -> dict[str, int]:
        """How many values each layer has limited since the emulator was made.

        Cell states of an LSTM, results of a linear or relu layer; the fast way counts them.
        """
        return {layer.layer.name: layer.saturations for layer in self._fast}

    def step(self, x: IntArray) -> IntArray:
        """Advance by one time step; x: (batch, n). Return the output, (batch, width)."""
        return _integers(self._run(np.asarray(x)[:, None], "sequence")[-1][:, 0])

    def run(self, x: IntArray) -> IntArray:
        """Advance by T >= 1 time steps; x: (batch, T, n).

        Return the output after the last step, (batch, width), or for a network that outputs
        the sequence that of every step, (batch, T, width).
        """
        y = self._run(np.asarray(x), self.q.outputs)[-1]
        return _integers(y if self.q.outputs == "sequence" else y[:, -1])

    def trace(self, x: IntArray) -> dict[str, IntArray]:
        """Advance as `run` does; return by layer name what it hands on, (batch, T, width).

        Layers behind the last LSTM are computed for every step, whatever the outputs.
        """
        values = self._run(np.asarray(x), "sequence")
        return {layer.name: _integers(y) for layer, y in zip(self.q.layers, values, strict=True)}

    def _run(self, x: IntArray, outputs: str) -> list[Values]:
        self.check(x)
        if self.literal:
            return self._run_literal(x.astype(np.int64), outputs)
        return self._run_fast(x, outputs)

    def check(self, x: IntArray) -> None:
        """Raise what `run` would for these inputs, (batch, T, n)."""
        if x.ndim != 3 or x.shape[2] != self.q.inputs or 0 in x.shape:
            raise ModelError(
                f"inputs are {x.shape}; expected ({self._batch}, steps, {self.q.inputs})"
            )
        if len(x) != self._batch:
            raise ModelError(
                f"{len(x)} sequences for a state of {self._batch}; call reset(batch={len(x)})"
            )
        if x.dtype.kind not in "iu":
            raise ModelError(f"inputs are of type {x.dtype}; expected integers: q.x.to_raw(x)")
        if x.min() < self.q.x.lo or x.max() > self.q.x.hi:
            raise RangeError(
                f"inputs span {x.min()}..{x.max()}; expected {self.q.x.lo}..{self.q.x.hi}, the "
                f"range of {self.q.x} in {self.q.x.bits} bits: q.x.to_raw(x)"
            )

    def _run_literal(self, x: IntArray, outputs: str) -> list[Values]:
        results: list[Values] = []
        for at, layer in enumerate(self.q.layers):
            if isinstance(layer, QuantizedLstm):
                x, state = _literal.lstm(layer, self.q.tables, x, self._states[layer.name])
                self._states[layer.name] = state
            else:
                flat = _literal.dense(layer, self.q.tables, x.reshape(-1, layer.inputs))
                x = flat.reshape(*x.shape[:2], layer.width)
            results.append(x)
            if at == self._last_lstm and outputs == "last":
                x = x[:, -1:]
        return results

    def _run_fast(self, x: IntArray, outputs: str) -> list[Values]:
        values: Values = np.ascontiguousarray(x.transpose(1, 2, 0), np.float32)
        results: list[Values] = []
        for at, layer in enumerate(self._fast):
            if isinstance(layer, FastLstm):
                name = layer.layer.name
                values, self._states[name] = layer.run(values, self._states[name])  # type: ignore[arg-type]
            else:
                values = layer.run(values)  # type: ignore[arg-type]
            results.append(values.transpose(2, 0, 1))
            if at == self._last_lstm and outputs == "last":
                values = values[-1:]
        return results


def _integers(values: Values) -> IntArray:
    return np.ascontiguousarray(values, np.int64)
