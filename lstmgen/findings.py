"""Where a quantized network loses accuracy on data: by layer, by step, by format, by decision."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from . import reference
from .bounds import certificate
from .budget import Cost, Margins, TableError, costs, margins, table_errors
from .dataset import Dataset
from .emulator import Emulator
from .network import Network
from .qformat import FloatArray, IntArray, QFormat
from .quantized import QuantizedNetwork
from .quantized_layers import (
    QuantizedBidirectional,
    QuantizedDense,
    QuantizedEmbedding,
    QuantizedLstm,
)
from .report import chunk_sequences, classes_of, decides, sqnr_db
from .tallies import Drift, Histogram, Magnitudes, StepErrors

_PAIRS = 256
"""Most pairs of classes that changed decisions are listed by."""

@dataclass(frozen=True)
class Stage:
    """The outputs where the network is quantized up to and including this stage, float beyond.

    name: a layer's, or "input". sqnr_db, rms_error: of those outputs; both None for class
        numbers, sqnr_db where that is no number: without an error, or with nothing else.
    changed: decisions that differ from float's; None for one output.
    share: what the stage adds to the squared error of the outputs, or to the changed decisions
        of an argmax, as a share of the whole; negative where errors cancel. None: nothing lost.
    """

    name: str
    sqnr_db: float | None
    rms_error: float | None
    changed: int | None
    share: float | None


@dataclass(frozen=True)
class Pair:
    """How many decisions for class `float` became one for class `quantized`."""

    float: int
    quantized: int
    count: int


@dataclass(frozen=True)
class Decisions:
    """Decisions that quantization changed, most frequent pairs first; with labels, how."""

    total: int
    changed: int
    classes: int
    pairs: tuple[Pair, ...]
    became_wrong: int | None
    became_right: int | None


@dataclass(frozen=True)
class Findings:
    """Everything that a report shows beside `report.Accuracy`; the largest loss comes first.

    certificate: the bound of every row, as JSON (bounds.certificate).
    """

    name: str
    precision: str
    calibrated: bool
    notes: tuple[str, ...]
    loss: tuple[Stage, ...]
    drift: tuple[Drift, ...]
    histograms: tuple[Histogram, ...]
    tables: tuple[TableError, ...]
    decisions: Decisions | None
    margins: tuple[Margins, ...]
    costs: tuple[Cost, ...]
    certificate: tuple[dict[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """Return what `report --json` prints as `findings`."""
        return asdict(self)


def measure_findings(network: Network, q: QuantizedNetwork, data: Dataset) -> Findings:
    """Run both networks on the data, each sequence up to its length."""
    tally = _Tally(network, q, data)
    for rows, length in _groups(q, data):
        tally.add(rows, length)
    return Findings(
        q.name,
        q.precision,
        q.calibrated,
        q.notes,
        tally.loss(),
        tally.drift(),
        tuple(one.histogram() for one in tally.magnitudes.values()),
        table_errors(q),
        tally.decisions(),
        margins(q),
        costs(q),
        tuple(layer for layer, _ in certificate(q)),
    )


def _groups(q: QuantizedNetwork, data: Dataset) -> Iterator[tuple[IntArray, int]]:
    """Yield sequences of one length that fit into memory together: their rows and the length."""
    batch, steps = data.x.shape[:2]
    lengths = np.full(batch, steps) if data.lengths is None else np.asarray(data.lengths)
    for length in np.unique(lengths).tolist():
        rows = np.flatnonzero(lengths == length)
        # Values, cells and candidates of two float runs at a time, and the emulator's.
        size = max(1, chunk_sequences(q, length) // 4)
        for first in range(0, len(rows), size):
            yield rows[first : first + size], length


class _Tally:
    """The sums over all chunks."""

    def __init__(self, network: Network, q: QuantizedNetwork, data: Dataset) -> None:
        self.network, self.q, self.data = network, q, data
        self.emulator = Emulator(q)
        # Behind the last recurrent layer the trace is of every step, not of what comes out of
        # both ends: the layers there are one stage.
        whole = q.streams or q.outputs == "sequence"
        end = len(q.layers) if whole else q.last_recurrent + 2
        self.stages = ["input", *(layer.name for layer in q.layers[:end])]
        if not whole and end < len(q.layers):
            self.stages[-1] = f"{q.layers[end - 1].name} and what follows"
        self.signal, self.values = 0.0, 0
        self.noise = np.zeros(len(self.stages))
        self.changed = np.zeros(len(self.stages), np.int64)
        self.backward = {part.name for part in q.recurrent if part.direction == "reverse"}
        for layer in q.layers:
            if isinstance(layer, QuantizedBidirectional):
                self.backward.add(layer.backward.name)
        steps = data.x.shape[1]
        self.errors = {layer.name: StepErrors(steps) for layer in q.recurrent}
        if q.outputs == "sequence" and network.activation != "argmax":
            self.errors[""] = StepErrors(steps)
        self.magnitudes = {(name, what): Magnitudes(name, what, f) for name, what, f in _formats(q)}
        self.float_classes: list[IntArray] = []
        self.quantized_classes: list[IntArray] = []
        self.labels: list[IntArray] = []

    def add(self, rows: IntArray, length: int) -> None:
        """Run the sequences `rows`, each of `length` steps."""
        q, network = self.q, self.network
        x = np.asarray(self.data.x[rows, :length], np.float64)
        raw = q.to_raw(x)
        self.emulator.reset(len(x))
        trace = self.emulator.trace(raw)
        exact = reference.run(network, x)
        formats = {part.name: part.y for part in (*q.layers, *q.recurrent)}
        known = {name: formats[name].to_real(values) for name, values in trace.items()}
        if q.streams or q.outputs == "sequence":
            y_raw = trace[q.layers[-1].name]
            y_raw = y_raw if q.outputs == "sequence" else y_raw[:, -1]
        else:
            y_raw = Emulator(q, batch=len(x)).run(raw)
        y = q.y.to_real(y_raw)
        scaled = x if q.scaling is None else q.scaling.scaled(q.x, x)
        self._stages(exact.y, y, known, q.input_to_real(raw))
        for name, errors in self.errors.items():
            # In the order in which the layer takes its steps: there errors could pile up.
            order = slice(None, None, -1 if name in self.backward else 1)
            values = (exact.layers[name], known[name]) if name else (exact.y, y)
            errors.add(values[0][:, order], values[1][:, order])
        for (name, what), magnitudes in self.magnitudes.items():
            source = {"input": scaled, "output": exact.y}.get(what)
            if source is None:
                source = (exact.cells if what == "cell" else exact.layers)[name]
            magnitudes.add(source)
        if decides(network):
            self.float_classes.append(classes_of(network, exact.y).ravel())
            self.quantized_classes.append(classes_of(network, y).ravel())
            self._label(rows, length)

    def _stages(
        self, exact: FloatArray, y: FloatArray, known: dict[str, FloatArray], x: FloatArray
    ) -> None:
        """Replace one layer after the other; x: the quantized inputs."""
        self.signal += float(np.sum(exact**2))
        self.values += exact.size
        so_far: dict[str, FloatArray] = {}
        for at in range(len(self.stages)):
            if at:
                layer = self.q.layers[at - 1]
                halves = layer.halves if isinstance(layer, QuantizedBidirectional) else ()
                so_far |= {part.name: known[part.name] for part in (layer, *halves)}
            # The last stage is what the emulator gave: a softmax's values are in no trace.
            got = y
            if at < len(self.stages) - 1:
                got = reference.resume(self.network, so_far, x)
            self.noise[at] += float(np.sum((got - exact) ** 2))
            if decides(self.network):
                unequal = classes_of(self.network, got) != classes_of(self.network, exact)
                self.changed[at] += np.count_nonzero(unequal)

    def _label(self, rows: IntArray, length: int) -> None:
        if self.data.label is not None:
            label = np.asarray(self.data.label)[rows].astype(np.int64)
            if self.q.outputs == "sequence":
                label = label.reshape(len(rows), -1)[:, :length]
            self.labels.append(label.ravel())

    def loss(self) -> tuple[Stage, ...]:
        """Return the stages, the largest share of the loss first."""
        argmax = self.network.activation == "argmax"
        sums = self.changed.astype(np.float64) if argmax else self.noise
        added = np.diff(sums, prepend=0.0)
        found = []
        for at, name in enumerate(self.stages):
            found.append(
                Stage(
                    name,
                    None if argmax else sqnr_db(self.signal, float(self.noise[at])),
                    None if argmax else float(np.sqrt(self.noise[at] / self.values)),
                    int(self.changed[at]) if decides(self.network) else None,
                    float(added[at] / sums[-1]) if sums[-1] else None,
                )
            )
        return tuple(sorted(found, key=lambda one: -(one.share or 0.0)))

    def drift(self) -> tuple[Drift, ...]:
        """Return the errors over the steps: the outputs' first, then the largest growth first."""
        found = [errors.drift(name or "output") for name, errors in self.errors.items()]
        return tuple(sorted(found, key=lambda one: (one.name != "output", -(one.growth or 0.0))))

    def decisions(self) -> Decisions | None:
        """Return the changed decisions, None for a network that makes none."""
        if not decides(self.network):
            return None
        f, got = np.concatenate(self.float_classes), np.concatenate(self.quantized_classes)
        unequal = f != got
        pairs, counts = np.unique(np.stack([f, got])[:, unequal], axis=1, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:_PAIRS]
        label = np.concatenate(self.labels) if self.labels else None
        last = self.q.layers[-1]
        return Decisions(
            len(f),
            int(np.count_nonzero(unequal)),
            last.rows if isinstance(last, QuantizedDense) else self.network.width,
            tuple(Pair(int(pairs[0, at]), int(pairs[1, at]), int(counts[at])) for at in order),
            None if label is None else int(np.count_nonzero(unequal & (f == label))),
            None if label is None else int(np.count_nonzero(unequal & (got == label))),
        )


def _formats(q: QuantizedNetwork) -> Iterator[tuple[str, str, QFormat]]:
    """Yield name, what it is (a key of sections_values.KINDS), and format of all that has one."""
    if not isinstance(q.layers[0], QuantizedEmbedding):  # whose input is a number of a row
        yield "input", "input", q.x
    for part in q.parts:
        if part.name not in {layer.name for layer in (*q.layers, *q.recurrent)}:
            continue  # a projection, whose values are its layer's
        if isinstance(part, QuantizedEmbedding):
            yield part.name, "embedding", part.y
        elif not isinstance(part, QuantizedDense):
            yield part.name, "hidden", part.h
            if isinstance(part, QuantizedLstm):
                # C = 2c is what int32 holds (rule N6).
                yield part.name, "cell", QFormat(32, q.tables.tanh_frac + 1)
        elif part.activation == "softmax":
            yield part.name, "output", part.y
        elif part.activation != "argmax":
            yield part.name, "dense", part.y
