"""Bit-exact inference: the very integers that the generated C computes.

Both ways implement docs/numerics.md: `literal` states it rule by rule with every
precondition checked, `fast` computes the same through float BLAS. Neither shares code with
the C generator; they meet in `QuantizedNetwork` only.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..bounds import LayerBounds, bound_table
from ..errors import ModelError, RangeError
from ..qformat import IntArray
from ..quantized import QuantizedNetwork, Tables
from ..quantized_layers import (
    QuantizedBidirectional,
    QuantizedDense,
    QuantizedEmbedding,
    QuantizedLstm,
    QuantizedRecurrent,
)
from . import literal as _literal
from . import ops
from .fast import FastDense, FastLstm, Values
from .fast_variant import FastVariant
from .state import LstmState

__all__ = ["Emulator", "LstmState"]


class Emulator:
    """A quantized network with its state, for a batch of independent sequences.

    All values are raw integers in the formats of the network; `q.to_raw` quantizes an
    input, `q.y.to_real` gives an output's real value. Raises ModelError for inputs of
    another shape, RangeError for integers beyond the input's format.

    A network that does not stream (`q.streams`) has no `step`; each `run` starts from the
    initial state, and takes whole sequences.
    """

    def __init__(self, q: QuantizedNetwork, literal: bool = False, batch: int = 1) -> None:
        self.q = q
        self.literal = literal
        self._recurrent: dict[str, FastLstm | FastVariant | _LiteralRecurrent] = {}
        self._dense: dict[str, FastDense | _LiteralDense] = {}
        for part, bounds in zip(q.parts, bound_table(q), strict=True):
            if isinstance(part, QuantizedRecurrent):
                self._recurrent[part.name] = _recurrent(part, q.tables, bounds, literal)
            elif isinstance(part, QuantizedDense):
                made = _LiteralDense if literal else FastDense
                self._dense[part.name] = made(part, q.tables, bounds)
        self.reset(batch)

    def reset(self, batch: int = 1) -> None:
        """Set the initial state for `batch` sequences."""
        self._batch = batch
        self._states = {
            layer.name: LstmState.initial(layer, batch) for layer in self.q.recurrent
        }

    @property
    def state(self) -> tuple[LstmState, ...]:
        """The state of each recurrent layer (`q.recurrent`), in order."""
        return tuple(self._states[layer.name] for layer in self.q.recurrent)

    @property
    def saturations(self) -> dict[str, int]:
        """How many values each layer has limited since the emulator was made.

        Cell states of an LSTM, results of a linear or relu layer; the fast way counts them.
        """
        runners = (*self._recurrent.values(), *self._dense.values())
        return {runner.layer.name: runner.saturations for runner in runners}

    def step(self, x: IntArray) -> IntArray:
        """Advance by one time step; x: (batch, n). Return the output, (batch, width)."""
        if not self.q.streams:
            raise ModelError(
                f"{self.q.name} needs whole sequences, as a layer goes through them from the "
                "end; run(x) instead of step(x)"
            )
        return _integers(self._run(np.asarray(x)[:, None], "sequence")[-1][:, 0])

    def run(self, x: IntArray, lengths: IntArray | None = None) -> IntArray:
        """Advance by T >= 1 time steps; x: (batch, T, n).

        Return the output after the last step, (batch, width), or for a network that outputs
        the sequence that of every step, (batch, T, width).
        lengths: (batch,) how many steps of each sequence count, 1 to T; those beyond are not
        taken, and have outputs of 0. None: all.
        """
        x = np.asarray(x)
        if lengths is None:
            y = self._run(x, self.q.outputs)[-1]
            return _integers(y if self.q.outputs == "sequence" else y[:, -1])
        self.check(x)
        return self._run_lengths(x, np.asarray(lengths))

    def trace(self, x: IntArray) -> dict[str, IntArray]:
        """Advance as `run` does; return by layer name what it hands on, (batch, T, width).

        The halves of a bidirectional layer stand beside it. Layers behind the last recurrent
        one are computed for every step, whatever the outputs.
        """
        self.check(np.asarray(x))
        return {name: _integers(y) for name, y in self._walk(np.asarray(x), "sequence")}

    def _run_lengths(self, x: IntArray, lengths: IntArray) -> IntArray:
        """Run the sequences of each length together."""
        steps = x.shape[1]
        if lengths.shape != x.shape[:1] or lengths.min() < 1 or lengths.max() > steps:
            raise ModelError(
                f"lengths are {lengths.shape} of {lengths.min()}..{lengths.max()}; expected "
                f"({len(x)},) of 1..{steps}"
            )
        whole, batch = self._states, self._batch
        shape = (batch, steps) if self.q.outputs == "sequence" else (batch,)
        y = np.zeros((*shape, self.q.width), np.int64)
        after = {name: LstmState(s.h.copy(), s.c.copy()) for name, s in whole.items()}
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            self._batch = len(rows)
            self._states = {n: LstmState(s.h[rows], s.c[rows]) for n, s in whole.items()}
            part = self.run(x[rows, :length])
            if self.q.outputs == "sequence":
                y[rows, :length] = part
            else:
                y[rows] = part
            for name, state in self._states.items():
                after[name].h[rows], after[name].c[rows] = state.h, state.c
        self._states, self._batch = after, batch
        return y

    def _run(self, x: IntArray, outputs: str) -> list[Values]:
        self.check(x)
        return [y for _, y in self._walk(x, outputs)]

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
            raise ModelError(f"inputs are of type {x.dtype}; expected integers: q.to_raw(x)")
        lo, hi = self.q.input_span
        if x.min() < lo or x.max() > hi:
            raise RangeError(
                f"inputs span {x.min()}..{x.max()}; expected {lo}..{hi}, the "
                f"range of {self.q.x} in {self.q.x.bits} bits: q.to_raw(x)"
            )

    def _walk(self, x: IntArray, outputs: str) -> Iterator[tuple[str, Values]]:
        """Yield by layer name what it hands on, (batch, T, width), T = 1 behind the last state
        where that is the output."""
        if not self.q.streams:
            self.reset(self._batch)
        values: Values = np.ascontiguousarray(x.transpose(1, 2, 0), np.int64)
        own = values
        for at, layer in enumerate(self.q.layers):
            last = at == self.q.last_recurrent and outputs == "last"
            if isinstance(layer, QuantizedBidirectional):
                y, newest, halves = self._bidirectional(layer, values, last)
                for half, part in zip(layer.halves, halves, strict=True):
                    yield half.name, part.transpose(2, 0, 1)
            elif isinstance(layer, QuantizedRecurrent):
                y = self._one_way(layer, values, layer.direction)
                newest = y[:1] if layer.direction == "reverse" else y[-1:]
            elif isinstance(layer, QuantizedEmbedding):
                y = layer.table[values[:, 0].astype(np.int64)].transpose(0, 2, 1)
            else:
                y = self._dense[layer.name].run(values, own)
            values = y
            if last:
                values, own = newest, own[-1:]
            yield layer.name, values.transpose(2, 0, 1)

    def _one_way(self, layer: QuantizedRecurrent, x: Values, direction: str) -> Values:
        ordered = x if direction == "forward" else x[::-1]
        runner = self._recurrent[layer.name]
        y, self._states[layer.name] = runner.run(ordered, self._states[layer.name])
        return y[::-1] if direction == "reverse" else y

    def _bidirectional(
        self, layer: QuantizedBidirectional, x: Values, last: bool
    ) -> tuple[Values, Values, tuple[Values, Values]]:
        """Return the values of every step, the last ones, and those of both halves.

        Where only the values at the last time step are wanted, the backward half takes one.
        """
        by_step = layer.ends == "step"
        f = self._one_way(layer.forward, x, "forward")
        b = self._one_way(layer.backward, x[-1:] if last and by_step else x, "reverse")

        def merged(f: Values, b: Values) -> Values:
            whole = f.astype(np.int64), b.astype(np.int64)
            return ops.merge(layer.merge, *whole, layer.y.bits, axis=1)

        newest = merged(f[-1:], b[-1:] if by_step else b[:1])
        return (newest if last and by_step else merged(f, b)), newest, (f, b)


class _LiteralRecurrent:
    """A recurrent layer by `literal`, with arrays as the fast ones have them."""

    saturations = 0

    def __init__(self, layer: QuantizedRecurrent, tables: Tables) -> None:
        self.layer, self.tables = layer, tables

    def run(self, x: Values, state: LstmState) -> tuple[Values, LstmState]:
        ordered = x.transpose(2, 0, 1).astype(np.int64)
        y, state = _literal.recurrent(self.layer, self.tables, ordered, state)
        return y.transpose(1, 2, 0), state


class _LiteralDense:
    """A dense layer likewise."""

    saturations = 0

    def __init__(self, layer: QuantizedDense, tables: Tables, bounds: LayerBounds) -> None:
        self.layer, self.tables = layer, tables
        del bounds  # checked, not used

    def run(self, x: Values, own: Values) -> Values:
        steps, _, batch = x.shape
        flat, own = (
            v.transpose(0, 2, 1).reshape(steps * batch, -1).astype(np.int64) for v in (x, own)
        )
        y = _literal.dense(self.layer, self.tables, flat, own)
        return y.reshape(steps, batch, -1).transpose(0, 2, 1)


def _recurrent(
    layer: QuantizedRecurrent, tables: Tables, bounds: LayerBounds, literal: bool
) -> FastLstm | FastVariant | _LiteralRecurrent:
    if literal:
        return _LiteralRecurrent(layer, tables)
    if isinstance(layer, QuantizedLstm) and layer.plain:
        return FastLstm(layer, tables, bounds)
    return FastVariant(layer, tables, bounds)


def _integers(values: NDArray[np.int64] | Values) -> IntArray:
    return np.ascontiguousarray(values, np.int64)
