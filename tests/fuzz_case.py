"""What `fuzz` compares, each from its seed alone: a network, how it is quantized, raw inputs."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lstmgen import artefact
from lstmgen.artefact_structure import structure_problems
from lstmgen.bounds import LayerBounds, bound_table
from lstmgen.codegen import EFFORTS
from lstmgen.errors import LstmgenError, ModelError
from lstmgen.layers import Bidirectional, Dense, Embedding, Gru, Layer, Lstm
from lstmgen.network import Network
from lstmgen.preconditions import check
from lstmgen.qformat import FloatArray, IntArray
from lstmgen.quantized import QuantizedNetwork
from lstmgen.quantized_layers import QuantizedLstm, QuantizedPart, integers_of
from lstmgen.quantizer import quantize
from lstmgen.readers import read_model
from lstmgen.verification import default_inputs

from builders import PRECISIONS, with_mid_shifts
from random_networks import LEVELS, random_network

DAMAGES = ("most", "least", "zero", "one", "full", "empty", "finer", "coarser")
"""What one integer becomes: weights at the ends of their width, 0 or 1; a bias that takes its row
to either end of int32; a row with another shift."""


@dataclass(frozen=True)
class Damage:
    """One change of an integer behind the quantizer: part and place as shares of all there are,
    so that a smaller network has a place for it too."""

    part: float
    place: float
    kind: str


@dataclass(frozen=True)
class Options:
    """How a network is quantized and its C generated and compiled; the defaults are the simplest.

    The first ones are those of `quantize`. shifted: rule N3b's shifts that no quantizer would
    choose, "layer" or "row". damages: changes of integers that keep the proof.
    """

    precision: str = "w8a16"
    rounding: str = "nearest"
    table_bits: int | None = None
    mid_shift: bool | None = False
    widths: dict[str, int] = field(default_factory=dict)
    input_bits: int | None = None
    common_input: bool = True
    shifted: str = ""
    damages: tuple[Damage, ...] = ()
    effort: str = "speed"
    level: str = "-O2"

    def __str__(self) -> str:
        default = Options()
        found = {key: value for key, value in vars(self).items() if value != getattr(default, key)}
        if self.damages:
            found["damages"] = [f"{d.kind}@{d.part:.2f}/{d.place:.2f}" for d in self.damages]
        return ", ".join(f"{key}={value}" for key, value in found.items()) or "all by default"


@dataclass(frozen=True, eq=False)
class FuzzCase:
    """A network, options, real calibration data (B, T, n) or None, raw inputs x (B, T, n)."""

    network: Network
    options: Options
    calibration: FloatArray | None
    x: IntArray

    def quantized(self) -> QuantizedNetwork:
        """Return the integers; raises ModelError for what cannot be quantized."""
        o = self.options
        q = quantize(
            self.network, o.precision, self.calibration, o.table_bits,  # type: ignore[arg-type]
            o.mid_shift, o.rounding, o.widths, o.input_bits,  # type: ignore[arg-type]
            o.common_input,
        )
        if o.shifted and any(isinstance(layer, QuantizedLstm) for layer in q.layers):
            q = with_mid_shifts(q, by_row=o.shifted == "row")
        for damage in o.damages:
            q = _damaged(q, damage)
        return q

    def inputs(self, q: QuantizedNetwork) -> IntArray:
        """Return x within the input's format, which a smaller network may have changed."""
        return np.clip(self.x, *q.input_span)

    def __str__(self) -> str:
        layers = " + ".join(map(_words, self.network.layers))
        batch, steps, _ = self.x.shape
        return f"{layers}; outputs {self.network.outputs}; {batch} x {steps} steps"

    def save(self, folder: Path) -> None:
        """Write the case for `load`, and as files that the commands take."""
        folder.mkdir(parents=True, exist_ok=True)
        self.network.save(folder / "model.npz")
        np.save(folder / "input.npy", self.x)
        if self.calibration is not None:
            np.save(folder / "calibration.npy", self.calibration)
        text = json.dumps(asdict(self.options), indent=1)
        (folder / "options.json").write_text(text + "\n", encoding="utf-8")
        try:
            artefact.save(self.quantized(), folder / "quantized.npz")
        except Exception as error:  # it may be what fails
            (folder / "quantized.txt").write_text(f"{error}\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "FuzzCase":
        entries = json.loads((folder / "options.json").read_text(encoding="utf-8"))
        damages = tuple(Damage(**entry) for entry in entries.pop("damages"))
        path = folder / "calibration.npy"
        return cls(
            read_model(folder / "model.npz"),
            Options(**entries, damages=damages),
            np.load(path) if path.exists() else None,
            np.load(folder / "input.npy"),
        )


def fuzz_case(seed: int) -> FuzzCase:
    """Return the case of a seed; its x is empty, (0, 1, n), where it cannot be quantized."""
    r = np.random.default_rng([20, seed])
    network = _decorated(random_network(r), r)
    calibration = _calibration(network, r) if r.random() < 0.7 else None
    options = _options(network, r)
    if calibration is None and options.rounding == "compensated":
        options = replace(options, rounding="nearest")  # what it would be refused for
    case = FuzzCase(network, options, calibration, np.zeros((0, 1, network.inputs), np.int64))
    try:
        q = case.quantized()
    except ModelError:  # any other error is a fault
        return case
    return replace(case, x=_inputs(q, r))


def _options(network: Network, r: np.random.Generator) -> Options:
    embedded = isinstance(network.layers[0], Embedding)
    names = list(_width_names(network)) if r.random() < 0.3 else []
    return Options(
        precision=str(r.choice(PRECISIONS)),
        rounding=str(r.choice(["nearest", "compensated", "auto"], p=[0.4, 0.4, 0.2])),
        table_bits=None if r.random() < 0.7 else int(r.integers(6, 12)),
        mid_shift=[None, False, True][r.integers(3)],
        widths={name: int(r.choice([8, 16])) for name in names if r.random() < 0.6},
        input_bits=int(r.integers(8, 17)) if r.random() < 0.2 and not embedded else None,
        common_input=bool(r.random() < 0.3),
        shifted=str(r.choice(["", "layer", "row"], p=[0.86, 0.07, 0.07])),
        damages=_damages(r) if r.random() < 0.3 else (),
        effort=str(r.choice(EFFORTS)),
        level=str(r.choice(LEVELS)),
    )


def _damages(r: np.random.Generator) -> tuple[Damage, ...]:
    return tuple(
        Damage(float(r.random()), float(r.random()), str(r.choice(DAMAGES)))
        for _ in range(int(r.integers(1, 13)))
    )


def _width_names(network: Network) -> Iterator[str]:
    for layer in network.layers:
        for part in layer.halves if isinstance(layer, Bidirectional) else (layer,):
            if isinstance(part, Embedding):
                continue
            yield f"{part.name}.W"
            if not isinstance(part, Dense):
                yield f"{part.name}.U"
            if isinstance(part, Lstm) and part.projection is not None:
                yield f"{part.name}.P"


def _calibration(network: Network, r: np.random.Generator) -> FloatArray:
    """Return typical inputs, at times of features with little in common."""
    first = network.layers[0]
    if isinstance(first, Embedding):
        return r.integers(0, first.entries, (4, 8, 1)).astype(np.float64)
    x = r.normal(0, 0.7, (4, 8, network.inputs))
    kind = r.integers(4)
    if kind == 0:
        x = x * 10.0 ** r.uniform(-3, 3, network.inputs) + r.normal(0, 3, network.inputs)
    elif kind == 1:
        x = np.abs(x) * r.choice([0.01, 1.0, 300.0])
    return x


def _inputs(q: QuantizedNetwork, r: np.random.Generator) -> IntArray:
    """Return raw inputs: those of `default_inputs`, and of ends and zeros in any order."""
    steps = int(r.integers(1, 25)) if r.random() < 0.15 else int(r.integers(1, 8))
    lo, hi = q.input_span
    some = r.choice([lo, hi, 0, max(lo, -1), min(hi, 1), lo // 2, hi // 2], (2, steps, q.inputs))
    x = np.concatenate([default_inputs(q, r, steps=steps), some])
    return x[r.permutation(len(x))].astype(np.int64)


def _decorated(network: Network, r: np.random.Generator) -> Network:
    """Add what `random_network` has not: initial states, zeros and extremes, embedding, skip."""
    layers = [_extremes(layer, r) for layer in network.layers]
    width, last = network.inputs, layers[-1]
    if r.random() < 0.12:
        table = r.normal(0, r.choice([0.1, 1.0, 30.0]), (int(r.integers(1, 40)), width))
        layers.insert(0, Embedding("words", table))
    elif isinstance(last, Dense) and r.random() < 0.2:
        skip = r.normal(0, 0.5, (last.W.shape[0], width))
        layers[-1] = replace(last, skip=skip)
    span = (-float(r.uniform(0.1, 9)), float(r.uniform(0.1, 9))) if r.random() < 0.2 else None
    return replace(network, layers=tuple(layers), input_range=span)


def _extremes(layer: Layer, r: np.random.Generator) -> Layer:
    if isinstance(layer, Bidirectional):
        halves = {}
        for way in ("forward", "backward"):
            # By the names that a saved one has.
            half = replace(_extremes(getattr(layer, way), r), name=f"{layer.name}_{way}")
            halves[way] = half
        return replace(layer, **halves)
    changed: dict[str, Any] = {}
    if isinstance(layer, Lstm | Gru) and r.random() < 0.2:
        changed["h0"] = r.uniform(-1, 1, layer.width)
        if isinstance(layer, Lstm):
            changed["c0"] = r.normal(0, r.choice([1.0, 30.0, 400.0]), layer.units)
    blank = r.random() < 0.04  # nothing but zeros, as of a layer that was pruned away
    for key in ("W", "U", "b"):
        array = getattr(layer, key, None)
        if array is None or not (blank or r.random() < 0.12):
            continue
        kind = 0 if blank else r.integers(5)
        if kind == 0:
            array = np.zeros_like(array)
        elif kind == 1:
            array = array * r.choice([1e-6, 1e-3, 100.0])
        elif kind == 2:
            array = np.where(r.random(array.shape) < 0.9, 0.0, array)
        elif kind == 3:
            # Powers of two, at which formats change.
            array = np.where(array < 0, -1.0, 1.0) * 2.0 ** r.integers(-6, 4)
        else:
            array = array.copy()
            array[..., -1] *= 50
        changed[key] = array
    return replace(layer, **changed)


def _damaged(q: QuantizedNetwork, damage: Damage) -> QuantizedNetwork:
    """Return the network with one change, or as it is where that would break what is proved."""
    parts = q.parts
    part = parts[int(damage.part * len(parts))]
    changed = _changed_part(part, damage, dict(zip(map(id, parts), bound_table(q), strict=True)))
    found = replace(q, layers=tuple(_exchanged(layer, part, changed) for layer in q.layers))
    if structure_problems(found):
        return q
    try:
        check(found)
    except LstmgenError:
        return q
    return found


def _changed_part(
    part: QuantizedPart, damage: Damage, bounds: dict[int, LayerBounds]
) -> QuantizedPart:
    arrays = integers_of(part)
    key, step = {
        "full": ("bias", 0), "empty": ("bias", 0), "finer": ("frac", 1), "coarser": ("frac", -1)
    }.get(damage.kind, ("", 0))
    if not key:
        names = [name for name in ("wx", "wh", "w", "table", "skip", "peephole") if name in arrays]
        key = names[int(damage.place * 7919) % len(names)]
    if key not in arrays:
        return part
    array = arrays[key].copy()
    at = np.unravel_index(int(damage.place * array.size), array.shape)
    most = 127 if np.abs(array).max() <= 127 else 32767
    if key == "bias":
        # As much as the proof allows: what the row's sums leave of int32.
        own = bounds[id(part)]
        rest = max(own.bound[at], own.partial[at]) - abs(array[at])
        array[at] = 2**31 - 1 - rest
        if damage.kind == "empty":
            array[at] = -array[at]
    elif key == "frac":
        array[at] += step * (1 + int(damage.place * 1009) % 6)
    else:
        array[at] = {"most": most, "least": -most, "zero": 0, "one": 1}[damage.kind]
    return replace(part, **{key: array})


def _exchanged(layer: Any, old: QuantizedPart, new: QuantizedPart) -> Any:
    """Return the layer with the part `old` in it replaced, halves and projections too."""
    if layer is old:
        return new
    for key in ("forward", "backward", "projection"):
        inner = getattr(layer, key, None)
        if inner is not None:
            layer = replace(layer, **{key: _exchanged(inner, old, new)})
    return layer


def _words(layer: Layer) -> str:
    if isinstance(layer, Bidirectional):
        return f"both({_words(layer.forward)}, {_words(layer.backward)}, {layer.merge})"
    kind = type(layer).__name__.lower()
    own = []
    for key, value in vars(layer).items():
        default = type(layer).__dataclass_fields__[key].default
        if key in ("name", "W", "U", "b", "b_u", "table"):
            continue
        if isinstance(value, np.ndarray):
            own.append(key)
        elif value != default:
            own.append(f"{key} {value}")
    size = f"{layer.inputs}>{layer.width}"
    return f"{kind}({', '.join([size, *own])})"
