"""TFLite's fused LSTM operators as layers.

Inputs from 1 on: weights of the input for the gates i, f, c, o (k, n), of the last output
(k, p), peepholes i, f, o (k,), biases (k,), projection (p, k) and its bias; one run of these for
UNIDIRECTIONAL_SEQUENCE_LSTM, two for BIDIRECTIONAL_SEQUENCE_LSTM. Without the weights of i the
gates are coupled, i = 1 - f.
"""

from dataclasses import dataclass, field

import numpy as np

from ..errors import ModelError
from ..layers import Bidirectional, CellFunction, Lstm
from ..qformat import FloatArray
from .tflite_tensors import Graph, Op

UNIDIRECTIONAL = "UNIDIRECTIONAL_SEQUENCE_LSTM"
BIDIRECTIONAL = "BIDIRECTIONAL_SEQUENCE_LSTM"
FUSED = (UNIDIRECTIONAL, BIDIRECTIONAL)

HABITUAL_CLIP = 10.0
"""The cell_clip that the converter writes into every file, though Keras has none."""

_FUNCTIONS: dict[int, CellFunction] = {0: "linear", 1: "relu", 4: "tanh"}
_OTHER_FUNCTIONS = {2: "RELU_N1_TO_1", 3: "RELU6", 5: "SIGN_BIT"}

_GATES = ("input", "forget", "cell", "output")
_PER_DIRECTION = 17
_NORMALIZATION = range(20, 24)
_AUXILIARY = range(39, 48)


def activation_name(number: int) -> str:
    """Return the name of a fused activation that is not supported, for messages."""
    return _OTHER_FUNCTIONS.get(number, f"number {number}")


def fused_layer(graph: Graph, op: Op) -> Lstm | Bidirectional:
    """Return an operator's layer, without the habitual cell_clip; a ModelError lists its problems.

    The layer's name stands for one yet to be given.
    """
    problems = _refusals(graph, op)
    directions = (0,) if op.kind == UNIDIRECTIONAL else (0, 1)
    halves = []
    for direction in directions:
        try:
            halves.append(_Direction(graph, op, direction).lstm())
        except ModelError as error:
            problems += str(error).splitlines()
    if problems:
        raise ModelError.of(dict.fromkeys(problems))
    if len(halves) == 1:
        return halves[0]
    return Bidirectional("bidirectional", halves[0], halves[1])


def _refusals(graph: Graph, op: Op) -> list[str]:
    where, options, problems = graph.where(op), op.options, []
    if op.kind == UNIDIRECTIONAL and any(op.input(n) >= 0 for n in _NORMALIZATION):
        problems.append(
            f"{where}: layer normalization (inputs 20 to 23) is not supported; "
            "expected an LSTM without"
        )
    if op.kind == BIDIRECTIONAL and any(op.input(n) >= 0 for n in _AUXILIARY):
        problems.append(f"{where}: an auxiliary input (inputs 39 to 47) is not supported")
    if op.kind == BIDIRECTIONAL and not options["MergeOutputs"]:
        problems.append(
            f"{where}: merge_outputs is off, which is not supported; expected both directions "
            "in one output"
        )
    if options["FusedActivationFunction"] not in _FUNCTIONS:
        found = activation_name(options["FusedActivationFunction"])
        problems.append(f"{where}: activation {found} is not supported; expected TANH")
    for key in ("CellClip", "ProjClip"):
        if not 0 <= options[key] < np.inf:
            problems.append(f"{where}: {key} is {options[key]}; expected a finite number")
    return problems


@dataclass
class _Direction:
    """The tensors of one direction; `direction` is 0, or 1 for a second one."""

    graph: Graph
    op: Op
    direction: int
    problems: list[str] = field(default_factory=list)

    def lstm(self) -> Lstm:
        first = 1 + _PER_DIRECTION * self.direction
        coupled = self.op.input(first) < 0
        gates = range(1 if coupled else 0, 4)
        W = [self._weight(first + g, f"{_GATES[g]} weights", 2) for g in gates]
        U = [self._weight(first + 4 + g, f"recurrent {_GATES[g]} weights", 2) for g in gates]
        b = [self._weight(first + 11 + g, f"{_GATES[g]} bias", 1) for g in gates]
        peepholes = [self._peephole(first + 8 + g) for g in range(1 if coupled else 0, 3)]
        projection = self._projection(first + 15)
        state = 18 if self.op.kind == UNIDIRECTIONAL else 35 + 2 * self.direction
        h0, c0 = self._start(state), self._start(state + 1)
        given = [array for array in peepholes if array is not None]
        if given and len(given) != len(peepholes):
            self.problems.append(f"{self._where()}: some peepholes are missing; expected all")
        rows = [(f"{_GATES[g]} weights", w) for g, w in zip(gates, W, strict=True)]
        rows += [(f"recurrent {_GATES[g]} weights", u) for g, u in zip(gates, U, strict=True)]
        if not self.problems:
            self._check(rows, b, given)
        if self.problems:
            raise ModelError.of(self.problems)
        p = np.stack(given) if given else None
        joined = [np.concatenate(arrays) for arrays in (W, U, b)]
        if coupled:  # sigma(-z) = 1 - sigma(z): i of the negated rows of f is 1 - f
            k = len(b[0])
            joined = [np.concatenate([-array[:k], array]) for array in joined]
            p = None if p is None else np.stack([-p[0], p[0], p[1]])
        function = _FUNCTIONS.get(self.op.options["FusedActivationFunction"], "tanh")
        limit = float(self.op.options["CellClip"])
        return Lstm(
            "lstm", joined[0], joined[1], joined[2], h0, c0, p, projection,
            cell=function, output=function,
            cell_clip=None if limit in (0.0, HABITUAL_CLIP) else limit,
        )

    def _where(self) -> str:
        return self.graph.where(self.op)

    def _array(self, number: int, what: str) -> FloatArray | None:
        """Return the values of an input that must be a constant; None with a problem noted."""
        tensor = self.graph.constant(self.op.input(number))
        if tensor is None:
            found = "missing" if self.op.input(number) < 0 else "no constant"
            self.problems.append(
                f"{self._where()}: input {number}, the {what}, is {found}; expected weights"
            )
            return None
        try:
            return self.graph.values(tensor)
        except ModelError as error:
            self.problems.append(str(error))
            return None

    def _weight(self, number: int, what: str, dims: int) -> FloatArray:
        values = self._array(number, what)
        if values is not None and (values.ndim != dims or 0 in values.shape):
            expected = "(k, n)" if dims == 2 else "(k,)"
            self.problems.append(
                f"{self._where()}: input {number}, the {what}, is {values.shape}; "
                f"expected {expected}"
            )
        return np.zeros((1,) * dims) if values is None else values

    def _peephole(self, number: int) -> FloatArray | None:
        return self._weight(number, "peepholes", 1) if self.op.input(number) >= 0 else None

    def _projection(self, number: int) -> FloatArray | None:
        if self.op.input(number) < 0:
            return None
        values = self._weight(number, "projection", 2)
        if self.op.options["ProjClip"]:
            self.problems.append(
                f"{self._where()}: proj_clip is {self.op.options['ProjClip']:g}, which is not "
                "supported; expected 0"
            )
        if self.op.input(number + 1) >= 0:
            bias = self._array(number + 1, "bias of the projection")
            if bias is not None and bias.any():
                self.problems.append(
                    f"{self._where()}: input {number + 1}, the bias of the projection, is not "
                    "zero, which is not supported; expected none"
                )
        return values

    def _start(self, number: int) -> FloatArray | None:
        """Return the initial state (k,) if there is one: a constant; a variable starts at 0."""
        index = self.op.input(number)
        if index < 0 or self.graph.tensors[index].variable:
            return None
        values = self._array(number, "initial state")
        if values is None or not values.any():
            return None
        rows = values.reshape(-1, values.shape[-1]) if values.ndim else values.reshape(1, 1)
        if (rows != rows[0]).any():
            self.problems.append(
                f"{self._where()}: input {number}, the initial state, differs from sequence to "
                "sequence; expected one for all"
            )
        return np.asarray(rows[0])

    def _check(
        self,
        rows: list[tuple[str, FloatArray]],
        biases: list[FloatArray],
        peepholes: list[FloatArray],
    ) -> None:
        """Note each tensor whose shape differs from that of the output gate's."""
        half = len(rows) // 2
        k = rows[-1][1].shape[0]
        for at, (what, array) in enumerate(rows):
            columns = rows[half - 1 if at < half else -1][1].shape[1]
            if array.shape != (k, columns):
                self.problems.append(
                    f"{self._where()}: the {what} are {array.shape}; expected ({k}, {columns}), "
                    "as those of the output gate"
                )
        for what, arrays in (("bias", biases), ("peephole", peepholes)):
            for array in arrays:
                if array.shape != (k,):
                    self.problems.append(
                        f"{self._where()}: a {what} is {array.shape}; expected ({k},)"
                    )

