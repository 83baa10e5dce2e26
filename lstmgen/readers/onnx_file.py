"""ONNX files (.onnx): LSTM and GRU networks, their weights and whatever moves axes around them.

The package onnx parses the file; nothing is run. What operators mean is in `onnx_graph`, and
how axes are followed in `onnx_axes` and `onnx_signal`.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ModelError
from ..folding import Affine
from ..layers import Bidirectional, Dense, Gru, Layer, Lstm, arrays_of, parts_of
from ..network import MAX_WEIGHTS, Outputs
from ..qformat import FloatArray
from .formats import need
from .onnx_graph import Walker
from .onnx_node import Unread, Value, shown
from .onnx_signal import Signal, settled
from .onnx_tensors import Beside, text
from .options import Draft, ReadOptions, network_name

MAX_BYTES = 9 * MAX_WEIGHTS
"""Largest file: weights of float64, and what stands around them."""


def read(path: str | os.PathLike[str], options: ReadOptions) -> Draft:
    """Return the network that leads to the first output of the file's graph."""
    source = str(path)
    model = _parsed(path)
    name = network_name(path)
    opsets = [int(one.version) for one in model.opset_import if text(one.domain) in ("", "ai.onnx")]
    walker = Walker(options, max(opsets, default=1), Beside(Path(path).parent))
    try:
        with np.errstate(all="ignore"):  # the network names what is not finite
            outputs = walker.walk(model.graph)
        signal = _main(model.graph, outputs)
        layers, handed, notes = _finished(model.graph, signal, walker.inputs)
        notes += _left_out(model.graph, outputs, signal)
    except ModelError as error:
        problems = tuple(f"{source}: {line}" for line in str(error).splitlines())
        return Draft(source, name, (), stored=True, problems=problems)
    return Draft(
        source, name, layers, stored=True, outputs=handed,
        notes=("ONNX; gates reordered to i, f, g, o (GRU: r, z, n)", *notes, *walker.notes),
    )


def _parsed(path: str | os.PathLike[str]) -> Any:
    onnx = need("onnx", "onnx", path)
    message = need("google.protobuf.message", "onnx", path)
    try:
        size = Path(path).stat().st_size
        if size > MAX_BYTES:
            raise ModelError(f"{path} has {size} bytes; expected at most {MAX_BYTES}")
        data = Path(path).read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from None
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except message.DecodeError:
        raise ModelError(
            f"{path} seems to be an ONNX file, but is damaged; export it again"
        ) from None
    return model


def _main(graph: Any, outputs: list[Value]) -> Signal:
    """Return the graph's first output, or raise all that stands in its way."""
    if not outputs:
        raise ModelError("the graph has no outputs")
    first, name = outputs[0], shown(graph.output[0].name)
    if isinstance(first, Unread):
        raise ModelError.of(first.lines)
    if not isinstance(first, Signal) or first.recurrent is None:
        raise ModelError(
            f"output {name} is no value of one recurrent layer; expected the network's output first"
        )
    return settled(first, f"output {name}")


def _finished(
    graph: Any, signal: Signal, inputs: Mapping[str, Value]
) -> tuple[tuple[Layer | Affine, ...], Outputs, list[str]]:
    """Return the layers under different names, what is handed on, and notes on the axes."""
    output = shown(graph.output[0].name)
    layers = list(signal.layers)
    features, time, batch = signal.features or (), signal.time or (), signal.batch or ()
    source = inputs.get(signal.source)
    if not isinstance(source, Signal):
        raise ModelError(f"the network reads {signal.source}; expected it to read all of an input")
    known = {features, time, batch, time + batch, batch + time, features[:1], features[1:], ()}
    for axis in signal.axes:
        if axis not in known:
            raise ModelError(
                f"output {output} has the axes {signal.layout()}, of which {signal.word(axis)} "
                "mixes features with others: a Transpose is missing or wrong"
            )
    last = signal.taken is not None or (not time and len(signal.axes) < 3)
    if signal.flipped and not last:
        at = signal.recurrent
        layer = layers[at] if at is not None else None
        if at is None or not isinstance(layer, Lstm | Gru) or layer.direction != "reverse":
            raise ModelError(f"output {output} runs backwards; expected it in the order of time")
        layers[at] = replace(layer, direction="flipped")
    words = [
        "1" if not axis else "time" if axis == time else "batch" if axis == batch else "features"
        for axis in source.axes
    ]
    notes = [f"reads the input {signal.source} ({', '.join(words)}), gives the output {output}"]
    if not time:
        notes.append("the graph takes a single time step; the network takes any number")
    return tuple(_named(layers)), "last" if last else "sequence", notes


def _left_out(graph: Any, outputs: list[Value], signal: Signal) -> list[str]:
    """Return a note on further outputs; a ModelError for those of another branch."""
    others = []
    for proto, value in list(zip(graph.output, outputs, strict=True))[1:]:
        others.append(shown(proto.name))
        if not isinstance(value, Signal) or _is_part(value, signal):
            continue
        branch = ", ".join(layer.name for layer in value.layers)
        raise ModelError(
            f"output {others[-1]} follows from {branch or 'the input'}, the first output from "
            f"{', '.join(layer.name for layer in signal.layers)}; expected one output"
        )
    return [f"outputs left out: {', '.join(others[:8])}"] if others else []


def _is_part(value: Signal, signal: Signal) -> bool:
    """Tell whether a value lies on the way to another: its layers are the first of those."""
    return len(value.layers) <= len(signal.layers) and all(
        one.name == other.name and _same(_arrays(one), _arrays(other))
        for one, other in zip(value.layers, signal.layers, strict=False)
    )


def _arrays(layer: Layer | Affine) -> list[FloatArray]:
    if isinstance(layer, Affine):
        return [layer.scale, layer.offset]
    return [array for part in parts_of(layer) for array in arrays_of(part).values()]


def _same(one: list[FloatArray], other: list[FloatArray]) -> bool:
    return len(one) == len(other) and all(map(np.array_equal, one, other))


def _named(layers: Iterable[Layer | Affine]) -> Iterable[Layer | Affine]:
    """Yield the layers with a number behind names that came before."""
    used: set[str] = set()
    for layer in layers:
        name, number = layer.name, 1
        while name in used:
            name, number = f"{layer.name[:56]}_{number}", number + 1
        used.add(name)
        if isinstance(layer, Bidirectional):
            forward = replace(layer.forward, name=f"{name}_forward")
            backward = replace(layer.backward, name=f"{name}_backward")
            yield replace(layer, name=name, forward=forward, backward=backward)
        elif isinstance(layer, Dense | Affine) or name != layer.name:
            yield replace(layer, name=name)
        else:
            yield layer
