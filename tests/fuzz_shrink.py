"""The smallest case that still fails: every reduction is kept with which the same check fails."""

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import partial
from typing import Any

import numpy as np

from lstmgen.errors import LstmgenError
from lstmgen.layers import Bidirectional, Dense, Embedding, Gru, Layer, Lstm
from lstmgen.qformat import IntArray

from fuzz_case import FuzzCase, Options

Fails = Callable[[FuzzCase], bool]
Reducer = Callable[[FuzzCase], Iterator[FuzzCase]]

_FEW = 12
"""Up to so many, things are left out one by one as well."""


def shrink(
    case: FuzzCase, fails: Fails, tries: int = 1000,
    progress: Callable[[FuzzCase], None] = lambda case: None,
) -> FuzzCase:
    """Return the smallest failing case that is found by at most `tries` attempts, greedily."""
    left, smaller = tries, True
    while smaller:
        smaller = False
        for reducer in REDUCERS:
            found: FuzzCase | None = case
            while found is not None:
                found = None
                for candidate in reducer(case):
                    if left <= 0:
                        return case
                    left -= 1
                    if fails(candidate):
                        found = case = candidate
                        smaller = True
                        progress(case)
                        break
    return case


def _with_layers(case: FuzzCase, layers: list[Layer]) -> FuzzCase | None:
    """Return the case of these layers, its inputs and widths fitted to them; None if none."""
    last = layers[-1] if layers else None
    inputs = layers[0].inputs if layers else 0
    if isinstance(last, Dense) and last.skip is not None:
        real = not isinstance(layers[0], Embedding)
        skip = _columns(last.skip, inputs) if real else None
        layers = [*layers[:-1], replace(last, skip=skip)]
    try:
        network = replace(case.network, layers=tuple(layers))
    except LstmgenError:
        return None
    names = {part.name for layer in layers for part in _halves(layer)}
    widths = {k: v for k, v in case.options.widths.items() if k.rpartition(".")[0] in names}
    calibration = case.calibration
    if calibration is not None:  # without its embedding, a row's number is as good an input
        calibration = _columns(calibration, inputs)
    return replace(
        case, network=network, options=replace(case.options, widths=widths),
        calibration=calibration, x=_columns(case.x, inputs),
    )


def _columns(array: Any, count: int) -> Any:
    """Return the array with `count` columns: the first ones, or all again and again."""
    return array[..., np.arange(count) % array.shape[-1]]


def _halves(layer: Layer) -> tuple[Any, ...]:
    return layer.halves if isinstance(layer, Bidirectional) else (layer,)


def _on_halves(layer: Layer, change: Callable[[Any], Any]) -> Layer:
    if isinstance(layer, Bidirectional):
        return replace(layer, forward=change(layer.forward), backward=change(layer.backward))
    return change(layer)


def _with_inputs(layer: Layer, keep: IntArray) -> Layer:
    return _on_halves(layer, lambda part: replace(part, W=part.W[:, keep]))


def _picks(count: int) -> Iterator[Callable[[int], IntArray]]:
    """Yield ways to keep some of `count` things: either half, or all but one."""
    if count < 2:
        return
    yield lambda n: np.arange((n + 1) // 2)
    yield lambda n: np.arange(n // 2, n)
    if count <= _FEW:
        for at in range(count):
            yield partial(_without, at)


def _without(at: int, count: int) -> IntArray:
    return np.delete(np.arange(count), min(at, count - 1)) if count > 1 else np.arange(1)


def _rows(array: Any, gates: int, keep: IntArray) -> Any:
    """Return (gates * k, ...) with the units `keep` of each gate."""
    k = len(array) // gates
    return array.reshape(gates, k, *array.shape[1:])[:, keep].reshape(-1, *array.shape[1:])


def _with_units(part: Any, keep: IntArray) -> Any:
    """Return a recurrent layer with some of its units."""
    gates = 4 if isinstance(part, Lstm) else 3
    changed = {key: _rows(getattr(part, key), gates, keep) for key in ("W", "U", "b")}
    if isinstance(part, Gru):
        changed["b_u"] = part.b_u[keep]
    for key in ("c0", "peephole", "projection"):
        array = getattr(part, key, None)
        if array is not None:
            changed[key] = array[..., keep]
    if getattr(part, "projection", None) is None:
        changed["U"] = changed["U"][:, keep]
        if part.h0 is not None:
            changed["h0"] = part.h0[keep]
    return replace(part, **changed)


def _with_width(part: Lstm, keep: IntArray) -> Lstm:
    """Return a projected layer with some of the values it hands on."""
    assert part.projection is not None
    h0 = None if part.h0 is None else part.h0[keep]
    return replace(part, U=part.U[:, keep], projection=part.projection[keep], h0=h0)


def _handed_on(layer: Layer, pick: Callable[[int], IntArray]) -> IntArray:
    """Return which of the values handed on are left if `pick` chooses among the units."""
    if isinstance(layer, Bidirectional) and layer.merge == "concat":
        f, b = (_handed_on(half, pick) for half in layer.halves)
        return np.concatenate([f, layer.forward.width + b])
    first = _halves(layer)[0]
    if getattr(first, "projection", None) is not None:
        return np.arange(first.width)
    return pick(first.width)


# The reducers, the most promising first.


def _sequences(case: FuzzCase) -> Iterator[FuzzCase]:
    if len(case.x) > 1:
        for row in range(len(case.x)):
            yield replace(case, x=case.x[row : row + 1])
        for pick in _picks(len(case.x)):
            yield replace(case, x=case.x[pick(len(case.x))])


def _steps(case: FuzzCase) -> Iterator[FuzzCase]:
    steps = case.x.shape[1]
    for part in (slice(1), slice(steps // 2), slice(steps // 2, None), slice(-1), slice(1, None)):
        x = case.x[:, part]
        if 0 < x.shape[1] < steps:
            yield replace(case, x=x)


def _options(case: FuzzCase) -> Iterator[FuzzCase]:
    own = case.options
    for at in range(len(own.damages) + 1 if own.damages else 0):
        fewer = () if at == 0 else own.damages[: at - 1] + own.damages[at:]
        yield replace(case, options=replace(own, damages=fewer))
    if case.calibration is not None:
        yield replace(case, calibration=None)
    for key in sorted(own.widths):
        rest = {k: v for k, v in own.widths.items() if k != key}
        yield replace(case, options=replace(own, widths=rest))
    for entry in fields(Options):
        if entry.name in ("damages", "precision", "widths"):
            continue
        if getattr(own, entry.name) != entry.default and entry.name != "common_input":
            yield replace(case, options=replace(own, **{entry.name: entry.default}))
    if not own.common_input:
        yield replace(case, options=replace(own, common_input=True))
    if case.network.input_range is not None:
        yield replace(case, network=replace(case.network, input_range=None))


def _layers(case: FuzzCase) -> Iterator[FuzzCase]:
    layers = list(case.network.layers)
    for at in range(len(layers)):
        rest = layers[:at] + layers[at + 1 :]
        if 0 < at < len(layers) - 1:
            width = layers[at - 1].width
            after = layers[at + 1]
            keep = np.arange(width) % after.inputs
            rest[at] = _with_inputs(after, keep)
        if found := _with_layers(case, rest):
            yield found
    for at, layer in enumerate(layers):
        if isinstance(layer, Bidirectional):
            for half in layer.halves:
                rest = list(layers)
                rest[at] = half
                if at + 1 < len(layers):
                    after = layers[at + 1]
                    rest[at + 1] = _with_inputs(after, np.arange(half.width) % after.inputs)
                if found := _with_layers(case, rest):
                    yield found


def _units(case: FuzzCase) -> Iterator[FuzzCase]:
    layers = list(case.network.layers)
    for at, layer in enumerate(layers):
        if isinstance(layer, Embedding):
            choices = [
                (replace(layer, table=layer.table[:, pick(layer.width)]), pick(layer.width))
                for pick in _picks(layer.width)
            ]
        elif isinstance(layer, Dense):
            rows = layer.W.shape[0]
            choices = []
            for pick in _picks(rows):
                keep = pick(rows)
                skip = None if layer.skip is None else layer.skip[keep]
                changed: Layer = replace(layer, W=layer.W[keep], b=layer.b[keep], skip=skip)
                choices.append((changed, keep))
        else:
            most = max(half.units for half in _halves(layer))
            choices = [
                (
                    _on_halves(layer, lambda h, pick=pick: _with_units(h, pick(h.units))),
                    _handed_on(layer, pick),
                )
                for pick in _picks(most)
            ]
            if isinstance(layer, Lstm) and layer.projection is not None:
                kept = [pick(layer.width) for pick in _picks(layer.width)]
                choices += [(_with_width(layer, keep), keep) for keep in kept]
        for changed, keep in choices:
            rest = [*layers[:at], changed, *layers[at + 1 :]]
            if at + 1 < len(layers):
                rest[at + 1] = _with_inputs(layers[at + 1], keep)
            if found := _with_layers(case, rest):
                yield found


def _inputs(case: FuzzCase) -> Iterator[FuzzCase]:
    first, *rest = case.network.layers
    if isinstance(first, Embedding):
        for keep in (pick(first.entries) for pick in _picks(first.entries)):
            if found := _with_layers(case, [replace(first, table=first.table[keep]), *rest]):
                yield found
        return
    for pick in _picks(first.inputs):
        keep = pick(first.inputs)
        fewer = replace(
            case, x=case.x[..., keep],
            calibration=None if case.calibration is None else case.calibration[..., keep],
        )
        last = case.network.layers[-1]
        layers = [_with_inputs(first, keep), *rest]
        if isinstance(last, Dense) and last.skip is not None:
            layers[-1] = replace(last, skip=last.skip[:, keep])
        if found := _with_layers(fewer, layers):
            yield found


def _variants(case: FuzzCase) -> Iterator[FuzzCase]:
    if case.network.outputs == "sequence":
        yield replace(case, network=replace(case.network, outputs="last"))
    for layer, change in _each_part(case):
        if isinstance(layer, Embedding):
            continue
        for entry in fields(layer):
            value = getattr(layer, entry.name)
            plain: Any = {"activation": "linear", "direction": "forward"}.get(
                entry.name, entry.default
            )
            if entry.name in ("name", "W", "U", "b", "b_u") or value is plain:
                continue
            if not isinstance(value, np.ndarray) and value == plain:
                continue
            if entry.name == "projection":
                continue  # changes shapes: below
            if (found := change(replace(layer, **{entry.name: plain}))) is not None:
                yield found
        if isinstance(layer, Lstm) and layer.projection is not None:
            keep = np.arange(layer.units) % layer.width
            h0 = None if layer.h0 is None else layer.h0[keep]
            plain = replace(layer, U=layer.U[:, keep], projection=None, h0=h0)
            if (found := change(plain, keep)) is not None:
                yield found


def _each_part(case: FuzzCase) -> Iterator[tuple[Any, Callable[..., FuzzCase | None]]]:
    """Yield each layer or half, and what makes a case of another in its place, which hands on
    `keep` of the old one's values."""
    layers = list(case.network.layers)
    for at, layer in enumerate(layers):
        for way, part in zip(("forward", "backward"), _halves(layer), strict=False):

            def change(
                new: Any, keep: IntArray | None = None, at: int = at, way: str = way
            ) -> FuzzCase | None:
                rest, old = list(layers), layers[at]
                both = isinstance(old, Bidirectional)
                rest[at] = replace(old, **{way: new}) if both else new  # type: ignore[arg-type]
                if keep is not None and at + 1 < len(rest):
                    rest[at + 1] = _with_inputs(layers[at + 1], keep)
                return _with_layers(case, rest)

            yield part, change


def _weights(case: FuzzCase) -> Iterator[FuzzCase]:
    for layer, change in _each_part(case):
        for key, value in vars(layer).items():
            if not isinstance(value, np.ndarray):
                continue
            for fewer in _zeroed(value):
                if (found := change(replace(layer, **{key: fewer}))) is not None:
                    yield found


def _digits(case: FuzzCase) -> Iterator[FuzzCase]:
    """Weights of few digits, all of an array's or one by one."""
    for layer, change in _each_part(case):
        for key, value in vars(layer).items():
            if not isinstance(value, np.ndarray):
                continue
            for rounded in (np.round(value), np.round(value, 1)):
                if not np.array_equal(rounded, value):
                    found = change(replace(layer, **{key: rounded}))
                    if found is not None:
                        yield found


def _calibration(case: FuzzCase) -> Iterator[FuzzCase]:
    data = case.calibration
    if data is None:
        return
    for fewer in (data[:1], data[:, :1], data[:, : len(data[0]) // 2], np.round(data)):
        if fewer.size and not np.array_equal(fewer, data):
            yield replace(case, calibration=fewer)


def _values(case: FuzzCase) -> Iterator[FuzzCase]:
    for fewer in _zeroed(case.x):
        yield replace(case, x=fewer)


def _zeroed(array: Any) -> Iterator[Any]:
    """Yield the array with all of its non-zero values at 0, a half of them, or one."""
    places = np.flatnonzero(array)
    groups = [places]
    if len(places) > 1:
        groups += [places[: len(places) // 2], places[len(places) // 2 :]]
    if 2 < len(places) <= _FEW:
        groups += [places[at : at + 1] for at in range(len(places))]
    for group in groups:
        if len(group):
            fewer = array.copy()
            fewer.reshape(-1)[group] = 0
            yield fewer


REDUCERS: tuple[Reducer, ...] = (
    _sequences, _steps, _options, _layers, _units, _inputs, _variants, _weights, _values,
    _calibration, _digits,
)
