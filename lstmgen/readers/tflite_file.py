"""TensorFlow Lite files with fused LSTM operators, float or quantized."""

import os
from collections.abc import Iterator

import numpy as np

from ..errors import ModelError
from ..layers import Bidirectional, Lstm
from .formats import need
from .options import Draft, ReadOptions, network_name
from .tflite_flow import named
from .tflite_graph import KERAS, follow
from .tflite_load import load
from .tflite_lstm import FUSED, HABITUAL_CLIP, UNIDIRECTIONAL, fused_layer
from .tflite_tensors import Graph, Tensor


def read(path: str | os.PathLike[str], options: ReadOptions) -> Draft:
    """Return what a .tflite file tells; its layers have no names, so they are given some."""
    graph = load(path, need("tflite", "tflite", path), FUSED)
    name = network_name(path)
    if not set(FUSED) & set(graph.kinds):
        return Draft(graph.source, name, (), problems=(_unfused(graph),))
    fused: dict[int, Lstm | Bidirectional | None] = {}
    problems: list[str] = []
    for op in graph.ops:
        if op.kind in FUSED:
            try:
                fused[op.number] = fused_layer(graph, op)
            except ModelError as error:
                fused[op.number] = None
                problems += str(error).splitlines()
    flow, ranged, found = follow(graph, fused)
    problems += found
    if flow is None or problems:
        return Draft(graph.source, name, (), problems=tuple(dict.fromkeys(problems)))
    return Draft(
        graph.source,
        name,
        named(flow.layers),
        stored=True,
        outputs="last" if flow.taken else "sequence",
        input_range=_input_range(ranged),
        notes=tuple(_notes(graph, options)),
    )


def _unfused(graph: Graph) -> str:
    """Return the message for a file without a fused operator."""
    if "WHILE" in graph.kinds:
        what = "runs its LSTM as a loop (WHILE)"
    elif {"LOGISTIC", "TANH"} <= set(graph.kinds):
        what = "has its LSTM unrolled into single operators, if it is one"
    else:
        shown = ", ".join(graph.kinds[:6]) + (", ..." if len(graph.kinds) > 6 else "")
        what = f"has the operators {shown or 'none'}"
    return f"{graph.source} {what}; expected {UNIDIRECTIONAL}: {KERAS}"


def _input_range(tensor: Tensor | None) -> tuple[float, float] | None:
    """Return what a quantized input can hold."""
    if tensor is None or tensor.type not in ("INT8", "UINT8", "INT16") or tensor.scale.size != 1:
        return None
    info = np.iinfo(tensor.type.lower())
    zero = float(tensor.zero[0]) if tensor.zero.size else 0.0
    lo, hi = ((limit - zero) * float(tensor.scale[0]) for limit in (info.min, info.max))
    return (lo, hi) if np.isfinite([lo, hi]).all() and lo < hi else None


def _notes(graph: Graph, options: ReadOptions) -> Iterator[str]:
    yield "TFLite, fused LSTM operators; a tensor for each of the gates i, f, c, o (c is g)"
    fused = [op for op in graph.ops if op.kind in FUSED]
    if any(op.input(1) < 0 for op in fused):
        yield "coupled gates (CIFG): the input gate's rows are the forget gate's, negated"
    if any(op.options["CellClip"] == HABITUAL_CLIP for op in fused) and options.cell_clip is None:
        yield (
            f"cell_clip {HABITUAL_CLIP:g}, which every converter writes, is left out; "
            f"--cell-clip {HABITUAL_CLIP:g} keeps it"
        )
    whole = sorted(kind for kind in graph.weight_types if not kind.startswith("FLOAT"))
    if whole:
        yield (
            f"warning: weights are quantized ({', '.join(whole)}) and were dequantized: "
            "lstmgen's rounding comes on top of theirs; better give the float model"
        )
    if "FLOAT16" in graph.weight_types:
        yield "some weights are float16"
