"""Whether the layers of an artefact file fit together, before their integers are looked at."""

from .errors import shown
from .layers import ACTIVATIONS, HEADS
from .network import MAX_WEIGHTS, MAX_WIDTH
from .qformat import QFormat
from .quantized import MAX_ENTRIES, PRECISIONS, QuantizedNetwork
from .quantized_layers import (
    QuantizedDense,
    QuantizedEmbedding,
    QuantizedGru,
    QuantizedLayer,
    QuantizedLstm,
    QuantizedPart,
    QuantizedRecurrent,
    integers_of,
)
from .scaling import MAX_INPUT_OFFSET, MAX_INPUT_SCALE

MOST_BITS = 32
"""The widest format of a value."""


def structure_problems(q: QuantizedNetwork) -> list[str]:
    """Return what of types, shapes and the chain of layers is wrong, a line each."""
    problems = []
    if q.precision not in PRECISIONS:
        known = ", ".join(PRECISIONS)
        problems.append(f"precision is {shown(q.precision)}; expected one of {known}")
    if q.outputs not in ("last", "sequence"):
        problems.append(f"outputs is {shown(q.outputs)}; expected 'last' or 'sequence'")
    if not q.recurrent:
        problems.append("no LSTM layer; expected at least one")
    names = [layer.name for layer in (*q.parts, *q.layers)]
    if len(set(names)) < len({id(layer) for layer in (*q.parts, *q.layers)}):
        problems.append("two layers have one name; expected a name each")
    for part in q.parts:
        problems += _shape_problems(part)
    if problems:
        return problems
    problems += _size_problems(q)
    for below, above in zip(q.layers, q.layers[1:], strict=False):
        if above.inputs != below.width or above.x != below.y or isinstance(
            above, QuantizedEmbedding
        ):
            problems.append(
                f"{above.name} takes {above.inputs} values of {above.x}; expected "
                f"{below.width} of {below.y}, as {below.name} hands on"
            )
    problems += _scaling_problems(q)
    for layer in q.layers:
        problems += _format_problems(layer, q, last=layer is q.layers[-1])
    between = {layer.y.storage_bits for layer in q.layers[: q.last_recurrent + 1]}
    if not q.streams and len(between) > 1:
        problems.append(f"values between layers have {sorted(between)} bits; expected one width")
    return problems


def _shape_problems(layer: QuantizedPart) -> list[str]:
    matrices = [v for v in integers_of(layer).values() if v.ndim > 1]
    if isinstance(layer, QuantizedEmbedding):
        return [] if layer.table.ndim == 2 and layer.table.size else [f"{layer.name}: no table"]
    core = (layer.w,) if isinstance(layer, QuantizedDense) else (layer.wx, layer.wh)
    if any(m.ndim != 2 or 0 in m.shape for m in core) or any(m.ndim != 2 for m in matrices):
        return [f"{layer.name}: weights are not matrices"]
    expected: dict[str, tuple[int, ...]] = {}
    rows = core[0].shape[0]
    if isinstance(layer, QuantizedLstm):
        k, p = layer.units, layer.width
        rows = 4 * k
        expected |= {"wx": (rows, layer.inputs), "wh": (rows, p), "h0": (p,), "c0": (k,)}
        expected["mid_shift"] = (rows,)
        if layer.peephole is not None:
            expected["peephole"] = (3, k)
        linear = layer.projection
        if linear is None and p != k:
            return [f"{layer.name}.wh is {layer.wh.shape}; expected ({rows}, {k})"]
        if linear is not None and (linear.rows, linear.inputs, linear.activation) != (
            p, k, "linear"
        ):
            return [f"{layer.name}: its projection is {linear.w.shape}; expected ({p}, {k})"]
        if linear is not None and (
            linear.skip is not None
            or linear.y.bits not in (8, 16)
            or (linear.argument_frac != linear.y.frac).any()
        ):
            return [f"{layer.name}: its projection hands on no hidden state of 8 or 16 bits"]
    elif isinstance(layer, QuantizedGru):
        k = layer.units
        rows = 3 * k
        expected |= {"wx": (rows, layer.inputs), "wh": (rows, k)}
        expected |= dict.fromkeys(("h0", "c0", "bias_h", "frac_h"), (k,))
    elif layer.skip is not None:
        expected["skip"] = (rows, layer.skip.shape[1])
    expected |= dict.fromkeys(("bias", "frac", "argument_frac"), (rows,))
    return [
        f"{layer.name}.{key} is {getattr(layer, key).shape}; expected {shape}"
        for key, shape in expected.items()
        if getattr(layer, key).shape != shape
    ]


def _size_problems(q: QuantizedNetwork) -> list[str]:
    """Return what is beyond the limits of a float network, which the C's types rely on."""
    problems = []
    for part in q.parts:
        rows = part.width if isinstance(part, QuantizedEmbedding) else len(part.bias)
        if isinstance(part, QuantizedRecurrent):
            rows = part.units
        if max(part.inputs, rows) > MAX_WIDTH:
            problems.append(
                f"{part.name}: {part.inputs} inputs, {rows} outputs; "
                f"expected at most {MAX_WIDTH} each"
            )
    tables = sum(p.table.size for p in q.parts if isinstance(p, QuantizedEmbedding))
    if q.macs_per_step + tables > MAX_WEIGHTS:
        problems.append(f"{q.macs_per_step + tables} weights; expected at most {MAX_WEIGHTS}")
    return problems


def _scaling_problems(q: QuantizedNetwork) -> list[str]:
    """Return what of the features' own formats is wrong."""
    if q.scaling is None:
        return []
    shift, offset = q.scaling.shift, q.scaling.offset
    if isinstance(q.layers[0], QuantizedEmbedding):
        return ["an embedding's input has no formats of features"]
    if shift.shape != (q.inputs,) or offset.shape != (q.inputs,):
        return [f"input: formats for {shift.shape}, {offset.shape} features of {q.inputs}"]
    problems = []
    if shift.min() < 0 or shift.max() > MAX_INPUT_SCALE:
        problems.append(
            f"input.shift spans {shift.min()}..{shift.max()}; expected 0..{MAX_INPUT_SCALE}"
        )
    if offset.min() < -MAX_INPUT_OFFSET or offset.max() > MAX_INPUT_OFFSET:
        problems.append(f"input.offset reaches beyond {MAX_INPUT_OFFSET}")
    return problems


def _format_problems(layer: QuantizedLayer, q: QuantizedNetwork, last: bool) -> list[str]:
    problems = []
    if not 8 <= layer.x.bits <= 16:
        problems.append(f"{layer.name} takes {layer.x.bits} bits; expected 8 to 16")
    if isinstance(layer, QuantizedEmbedding):
        if layer.entries > MAX_ENTRIES or layer.y.bits not in range(8, 17):
            problems.append(f"{layer.name}: {layer.entries} rows of {layer.y.bits} bits")
        return problems
    if not isinstance(layer, QuantizedDense):
        return problems
    if layer.skip is not None and (
        not last or layer.skip_x != q.x or layer.skip.shape[1] != q.inputs
    ):
        problems.append(f"{layer.name}.skip does not fit the network's input")
    if layer.activation not in ACTIVATIONS or (layer.activation in HEADS and not last):
        problems.append(f"{layer.name}: activation {shown(layer.activation)} has no place here")
    elif layer.activation in ("linear", "relu", "argmax"):
        raw = layer.activation == "argmax" or layer.y.bits == MOST_BITS
        common = layer.frac[0] if raw else layer.y.frac
        made = QFormat(16, 0) if layer.activation == "argmax" else QFormat(32, int(common))
        if raw and (layer.y != made or (layer.frac != common).any() or not last):
            problems.append(f"{layer.name}: raw outputs need one format on the last layer")
        if (layer.argument_frac != common).any() or (not raw and not 8 <= layer.y.bits <= 16):
            problems.append(f"{layer.name}.argument_frac does not belong to its output format")
    elif layer.activation == "softmax" and layer.y != QFormat(16, 15):
        problems.append(f"{layer.name}: output is {layer.y}; expected Q0.15 of a softmax")
    elif layer.y.frac != layer.y.bits - 1 or layer.y.bits not in (8, 16):
        problems.append(f"{layer.name}: output is {layer.y}; expected Q0.7 or Q0.15")
    return problems
