"""The layers that PyTorch's modules become, from the arrays of one module."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from ..errors import ModelError
from ..layers import Bidirectional, Dense, Embedding, Gru, Layer, Lstm, Recurrent
from ..npz import Array
from ..qformat import FloatArray
from ..weights import weights_of
from .options import ReadOptions
from .torch_order import Part

Keys = dict[tuple[int | None, bool], dict[str, str]]
"""By number of a layer (None for a cell) and whether it goes backward, the names in the file by
the names within the module: {(0, False): {"weight_ih": "lstm.weight_ih_l0", ...}}."""

Maker = Callable[
    [str, Keys, Mapping[str, Array], str, ReadOptions, list[str]], Part | None
]
"""Makes a part of a module's name, keys, all arrays, source and options; appends problems."""

def cell_gates(hidden: tuple[int, ...], projection: tuple[int, ...] | None) -> int | None:
    """Return the rows per unit of a recurrent matrix: 4 LSTM, 3 GRU, 1 simple RNN, or None.

    hidden, projection: the shapes of weight_hh and weight_hr.
    """
    shape = hidden if projection is None else projection
    if len(shape) != 2 or len(hidden) != 2 or 0 in shape or 0 in hidden:
        return None
    ratio, rest = divmod(hidden[0], shape[1])
    return ratio if not rest and ratio in (1, 3, 4) else None


def recurrent(
    name: str,
    keys: Keys,
    arrays: Mapping[str, Array],
    source: str,
    options: ReadOptions,
    problems: list[str],
) -> Part | None:
    """Return the layers of an LSTM or GRU module, or of a cell."""
    numbers = sorted({number for number, _ in keys if number is not None})
    for missing in sorted(set(range(len(numbers))) - set(numbers)):
        problems.append(
            f"{source}: {name}.weight_ih_l{missing} is missing; the arrays go up to l{numbers[-1]}"
        )
    several = len({number for number, _ in keys}) > 1
    layers: list[Layer] = []
    notes: list[str] = []
    for number in [*([None] if (None, False) in keys or (None, True) in keys else []), *numbers]:
        layer_name = f"{name}_l{number}" if several and number is not None else name
        suffix = "" if number is None else f"_l{number}"
        halves = []
        for reverse in (False, True):
            if not reverse or (number, True) in keys:
                ending = suffix + ("_reverse" if reverse else "")
                half = _half(
                    layer_name, name, ending, keys.get((number, reverse), {}), arrays, source,
                    problems, notes if not reverse else [],
                )
                halves.append(half)
        if len(halves) == 1 and halves[0] is not None:
            layers.append(halves[0])
        elif len(halves) == 2 and halves[0] is not None and halves[1] is not None:
            forward = replace(halves[0], name=f"{layer_name}_forward")
            backward = replace(halves[1], name=f"{layer_name}_backward")
            ends = options.ends or "step"
            layers.append(Bidirectional(layer_name, forward, backward, ends=ends))
            notes.append(f"{layer_name}: bidirectional, forward values before backward ones")
    return Part(name, tuple(layers), tuple(notes)) if layers else None


def _half(
    name: str,
    module: str,
    suffix: str,
    keys: dict[str, str],
    arrays: Mapping[str, Array],
    source: str,
    problems: list[str],
    notes: list[str],
) -> Recurrent | None:
    """Return one direction of a layer; `suffix` is that of its arrays, such as _l0_reverse."""
    biased = any(key.startswith("bias") for key in keys)
    wanted = ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if biased else ()))
    missing = [key for key in wanted if key not in keys]
    for key in missing:
        problems.append(
            f"{source}: {module}.{key}{suffix} is missing; expected {', '.join(wanted)}"
        )
    values = values_of(keys, arrays, source, problems)
    if missing or values is None:
        return None
    W, U, P = values["weight_ih"], values["weight_hh"], values.get("weight_hr")
    gates = cell_gates(U.shape, None if P is None else P.shape)
    if gates == 1:
        problems.append(
            f"{source}: {keys['weight_hh']} is {U.shape}, a simple RNN, which is not supported; "
            "expected the (4k, k) of an LSTM or the (3k, k) of a GRU"
        )
        return None
    rows = U.shape[0] if U.ndim else 0
    wrong = [key for key in ("bias_ih", "bias_hh") if biased and values[key].shape != (rows,)]
    for key in wrong:
        problems.append(
            f"{source}: {keys[key]} is {values[key].shape}; expected ({rows},), "
            f"the rows of {keys['weight_hh']}"
        )
    if wrong:
        return None
    b_ih = values["bias_ih"] if biased else np.zeros(rows)
    b_hh = values["bias_hh"] if biased else np.zeros(rows)
    with np.errstate(over="ignore"):  # an infinite sum is reported by the network
        bias = b_ih + b_hh
    if gates == 3 and P is None:
        first = 2 * rows // 3  # of the candidate, whose bias_hh stands inside the reset gate
        b = np.concatenate([bias[:first], b_ih[first:]])
        notes.append(f"{name}: GRU, gate order r, z, n")
        if not biased:
            notes.append(f"{name}: no bias arrays, so the bias is zero")
        return Gru(name, W, U, b, b_hh[first:])
    notes.append(
        f"{name}: bias is bias_ih + bias_hh"
        if biased
        else f"{name}: no bias arrays, so the bias is zero"
    )
    if P is not None:
        notes.append(f"{name}: projection by weight_hr (proj_size)")
    return Lstm(name, W, U, bias, projection=P)


def plain(
    name: str,
    keys: Keys,
    arrays: Mapping[str, Array],
    source: str,
    options: ReadOptions,
    problems: list[str],
) -> Part | None:
    """Return the layer of a Linear or Embedding module; without a bias it may be either."""
    found = keys[None, False]
    if "weight" not in found:
        problems.append(f"{source}: {name}.weight is missing; expected it beside {found['bias']}")
        return None
    values = values_of(found, arrays, source, problems)
    if values is None:
        return None
    W = values["weight"]
    if W.ndim != 2:
        seems = (
            "it seems LayerNorm, or another normalization without running statistics"
            if W.ndim == 1
            else "it seems a convolution"
        )
        problems.append(
            f"{source}: {found['weight']} is {W.shape}; expected the (outputs, inputs) of a Linear "
            f"module; {seems}, which is not supported"
        )
        return None
    if "bias" in values:
        return Part(name, (Dense(name, W, values["bias"]),), (f"{name}: Linear",))
    return Part(
        name,
        (Dense(name, W, np.zeros(W.shape[0])),),
        (f"{name}: Linear without bias, so the bias is zero",),
        Embedding(name, W),
    )


def values_of(
    keys: Mapping[str, str], arrays: Mapping[str, Array], source: str, problems: list[str]
) -> dict[str, FloatArray] | None:
    """Return the arrays in float64; None, and problems, if one holds no finite numbers."""
    values = {}
    for key, full in keys.items():
        if key == "num_batches_tracked":
            continue
        try:
            values[key] = weights_of(arrays[full], f"{source}: {full}")
        except ModelError as error:
            problems.append(str(error))
    return values if len(values) == len(keys) - ("num_batches_tracked" in keys) else None
