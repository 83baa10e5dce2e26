"""Keras' recurrent layers: from config and weights to the network's own layers."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

from ..errors import ModelError
from ..layers import Bidirectional, Direction, Ends, Gru, Layer, Lstm, Merge, recurrent_parts
from ..qformat import FloatArray
from . import keras_cells
from .keras_config import Config, Entry, child, class_of, is_custom, snake
from .keras_functions import function_name
from .keras_store import Slot, Store

KINDS = ("LSTM", "GRU", "RNN", "Bidirectional")

_MERGES: dict[str, Merge] = {
    "concat": "concat", "sum": "sum", "ave": "average", "mul": "multiply",
}  # fmt: skip

_CELLS = ("tanh", "sigmoid", "relu", "linear")


def recurrent_layers(entry: Entry, store: Store, version: int) -> list[Layer]:
    """Return the layers that a recurrent layer of Keras stands for.

    version: of Keras, 2 or 3, which tells what hard_sigmoid is.
    """
    where = f"layer {entry.name}"
    if entry.kind == "Bidirectional":
        return [_bidirectional(entry, store, version)]
    problems: list[str] = []
    cells = _cells(entry.kind, entry.config, "", where, problems)
    kinds = [_Cell(where, kind, config, part, version) for kind, config, part in cells]
    problems += [line for cell in kinds for line in cell.problems()]
    if entry.config.get("time_major"):
        problems.append(f"{where}: time_major is on; expected the batch first")
    if problems:
        raise ModelError.of(problems)
    taken = _taken(entry, store, kinds)
    backwards = bool(entry.config.get("go_backwards"))
    # A stack of cells goes back as one: what its first cell hands on is in processing order.
    sequence = bool(entry.config.get("return_sequences"))
    first: Direction = "forward"
    if backwards:
        first = "flipped" if sequence or len(kinds) > 1 else "reverse"
    layers: list[Layer] = []
    for number, (cell, arrays) in enumerate(zip(kinds, taken, strict=True)):
        name = entry.name if len(kinds) == 1 else f"{entry.name}_{number}"
        layers.append(cell.layer(name, arrays, "forward" if number else first))
    return layers


def _bidirectional(entry: Entry, store: Store, version: int) -> Bidirectional:
    where, config = f"layer {entry.name}", entry.config
    forward = child(config, "layer")
    backward = child(config, "backward_layer") or _reversed(forward)
    problems = []
    merge = config.get("merge_mode", "concat")
    if not isinstance(merge, str) or merge not in _MERGES:
        problems.append(
            f"{where}: merge_mode {ascii(merge)[:60]} has two outputs or is unknown; expected one "
            f"of {', '.join(_MERGES)}"
        )
    cells: list[_Cell] = []
    for part, half in (("forward_layer", forward), ("backward_layer", backward)):
        inner = child(half, "config")
        found = _cells(class_of(half), inner, part, f"{where} ({part})", problems)
        if is_custom(half):
            problems.append(f"{where}: a custom class {class_of(half)!a} is never loaded")
        if len(found) > 1:
            problems.append(f"{where} ({part}): a stack of cells; expected one LSTM or GRU")
        if bool(inner.get("go_backwards")) != (part == "backward_layer"):
            problems.append(
                f"{where} ({part}): go_backwards is {bool(inner.get('go_backwards'))}; expected "
                "the first layer to go forward and the second backward"
            )
        cells += [_Cell(f"{where} ({part})", *cell, version) for cell in found]
    problems += [line for cell in cells for line in cell.problems()]
    if problems:
        raise ModelError.of(problems)
    taken = _taken(entry, store, cells)
    halves = [
        cell.layer(f"{entry.name}_{side}", arrays, "forward")
        for cell, arrays, side in zip(cells, taken, ("forward", "backward"), strict=True)
    ]
    ends: Ends = "step" if returns_sequences(entry) else "state"
    return Bidirectional(entry.name, halves[0], halves[1], _MERGES[merge], ends)


def returns_sequences(entry: Entry) -> bool:
    """Tell whether a recurrent layer hands on every step."""
    config = entry.config
    if entry.kind == "Bidirectional":
        config = child(child(config, "layer"), "config")
    return bool(config.get("return_sequences"))


def notes_on(layers: Sequence[Layer]) -> Iterator[str]:
    """Yield a sentence for each variant that is easily read wrong."""
    for layer in layers:
        if isinstance(layer, Bidirectional):
            yield f"{layer.name}: bidirectional, {layer.merge}"
        elif isinstance(layer, Lstm | Gru) and layer.direction == "reverse":
            yield f"{layer.name}: goes backwards"
        elif isinstance(layer, Lstm | Gru) and layer.direction == "flipped":
            yield f"{layer.name}: goes backwards; its outputs stand in the order computed"
        for part in recurrent_parts(layer):
            if part.gate != "sigmoid":
                formula = "z/6" if part.gate == "hard_sigmoid_6" else "0.2 z"
                yield f"{part.name}: hard_sigmoid is clip({formula} + 0.5, 0, 1)"
            if isinstance(part, Gru):
                yield f"{part.name}: reset_after {'on' if part.reset_after else 'off'}"


def _reversed(layer: Config) -> Config:
    """Return the backward half that Keras makes where the config has none."""
    config = child(layer, "config")
    return {**layer, "config": {**config, "go_backwards": not config.get("go_backwards", False)}}


def _taken(entry: Entry, store: Store, cells: Sequence["_Cell"]) -> list[list[FloatArray]]:
    """Return each cell's arrays."""
    slots = [cell.slots() for cell in cells]
    arrays = iter(store.take(entry, [slot for each in slots for slot in each]))
    return [[next(arrays) for _ in each] for each in slots]


def _cells(
    kind: str, config: Config, part: str, where: str, problems: list[str]
) -> list[tuple[str, Config, str]]:
    """Return class, config and place of each cell of a layer."""
    front = f"{part}/" if part else ""
    if kind in ("LSTM", "GRU"):
        return [(kind, config, f"{front}cell")]
    if kind != "RNN":
        problems.append(f"{where}: a {kind!a}; expected an LSTM or a GRU")
        return []
    cell = child(config, "cell")
    stacked = class_of(cell) == "StackedRNNCells"
    cells = child(cell, "config").get("cells") if stacked else [cell]
    found: list[tuple[str, Config, str]] = []
    counts: dict[str, int] = {}
    for item in cells if isinstance(cells, list) else []:
        name = class_of(item) if isinstance(item, dict) else "nothing"
        number = counts[name] = counts.get(name, -1) + 1
        if name not in ("LSTMCell", "GRUCell") or is_custom(item):
            problems.append(
                f"{where}: its cell is a {name!a}, which is not supported; expected LSTMCell or "
                "GRUCell"
            )
            continue
        place = f"cells/{snake(name)}" + (f"_{number}" if number else "") if stacked else ""
        place = f"{front}cell/{place}".rstrip("/")
        found.append((name.removesuffix("Cell"), child(item, "config"), place))
    if not found and not problems:
        problems.append(f"{where}: it has no cells; expected LSTMCell or GRUCell")
    return found


class _Cell:
    """An LSTM or GRU cell: its functions, its arrays, the layer they make."""

    def __init__(self, where: str, kind: str, config: Config, part: str, version: int) -> None:
        self._where = where
        self._kind = kind
        self._config = config
        self._part = part
        self._version = version
        self._cell = function_name(config.get("activation", "tanh"))
        gate = function_name(config.get("recurrent_activation", "sigmoid"))
        self._gate = "hard_sigmoid_6" if gate == "hard_sigmoid" and version > 2 else gate

    def problems(self) -> list[str]:
        """Return a line for each function that is not supported."""
        found = []
        if self._cell not in _CELLS:
            found.append(
                f"{self._where}: activation {self._cell} is not supported; expected one of "
                f"{', '.join(_CELLS)}"
            )
        if self._gate not in ("sigmoid", "hard_sigmoid", "hard_sigmoid_6"):
            found.append(
                f"{self._where}: recurrent_activation {self._gate} is not supported; expected "
                "sigmoid or hard_sigmoid"
            )
        return found

    def slots(self) -> list[Slot]:
        """Return the arrays that the cell has."""
        leaves = ["kernel", "recurrent_kernel"]
        if self._config.get("use_bias", True):
            leaves.append("bias")
        return [Slot(self._part, leaf) for leaf in leaves]

    def layer(
        self, name: str, arrays: Sequence[FloatArray], direction: Direction
    ) -> Lstm | Gru:
        """Return the layer; a ModelError if its arrays do not fit the config."""
        units, recurrent = self._config.get("units"), arrays[1]
        if isinstance(units, int) and recurrent.shape[:1] != (units,):
            raise ModelError(
                f"{self._where}: its recurrent kernel is {recurrent.shape}; expected {units} rows, "
                "the units of the config"
            )
        functions: dict[str, Any] = {"gate": self._gate, "cell": self._cell}
        if self._kind == "LSTM":
            layer = keras_cells.lstm(name, arrays, output=self._cell, **functions)
            return replace(layer, direction=direction)
        after = self._config.get("reset_after")
        if after is None and len(arrays) < 3:
            after = False  # Keras before 2.2 knew nothing else
        made = keras_cells.gru(name, arrays, cast("bool | None", after), **functions)
        return replace(made, direction=direction)
