"""PyTorch state dicts: np.savez("model.npz", **{k: v.numpy() for k, v in state_dict.items()})."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from ..errors import ModelError
from ..layers import Dense, Layer, Lstm
from ..npz import Array
from ..qformat import FloatArray
from ..weights import DATA_ARRAYS, data_note, weights_of
from .options import Draft

_RECURRENT = re.compile(
    r"(?:(?P<prefix>.+)\.)?(?P<array>(?:weight|bias)_(?:ih|hh))(?:_l(?P<number>\d{1,4}))?"
)
_DENSE = re.compile(r"(?:(?P<prefix>.+)\.)?(?P<array>weight|bias)")

# What wrappers (DataParallel, torch.compile) put in front of every name.
_WRAPPERS = re.compile(r"^(?:module\.|_orig_mod\.)+")

_REFUSED = (
    (r".*_l\d+_reverse", "a bidirectional LSTM"),
    (r".*weight_hr(_l\d+)?", "an LSTM with projection (proj_size)"),
    (r".*(running_mean|running_var|num_batches_tracked)", "batch normalization"),
    (r".*parametrizations\..*|.*weight_[gv]", "weight normalization (remove it before saving)"),
    (r".*(_all_weight_values|_packed_params).*", "a quantized module (save the float network)"),
)
"""Names of arrays that stand for something unsupported, and what it is."""

_RATIOS = {3: "a GRU", 1: "a simple RNN"}
"""Rows per unit of recurrent layers that are no LSTM."""


@dataclass
class _Module:
    """The arrays of one module, by their names within it and, for an LSTM, its layers."""

    name: str
    recurrent: bool
    arrays: dict[int | None, dict[str, str]] = field(default_factory=dict)


def read(arrays: Mapping[str, Array], source: str, name: str) -> Draft:
    """Return the network of a state dict; modules keep the order of their arrays."""
    problems: list[str] = []
    modules: dict[tuple[str, bool], _Module] = {}
    refused: dict[str, list[str]] = {}
    for key in arrays:
        if key in DATA_ARRAYS:
            continue
        what = _unsupported(key)
        if what:
            refused.setdefault(what, []).append(key)
        elif not _place(key, modules):
            problems.append(
                f"{source}: array {key} is unknown; expected those of LSTM, LSTMCell and "
                "Linear modules"
            )
    for what, keys in refused.items():
        more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
        problems.append(f"{source}: {keys[0]}{more}: part of {what}, which is not supported")
    notes = ["PyTorch state dict; gate order i, f, g, o"]
    layers: list[Layer] = []
    for module in modules.values():
        make = _lstms if module.recurrent else _dense
        for made in make(module, arrays, source):
            if isinstance(made, str):
                problems.append(made)
            else:
                layers.append(made[0])
                notes.append(made[1])
    problems += _embeddings(layers, source)
    notes += data_note(key for key in DATA_ARRAYS if key in arrays)
    return Draft(source, name, tuple(layers), notes=tuple(notes), problems=tuple(problems))


def _unsupported(key: str) -> str | None:
    """Return what the array's name stands for, if that is known and not supported."""
    return next((what for pattern, what in _REFUSED if re.fullmatch(pattern, key)), None)


def _place(key: str, modules: dict[tuple[str, bool], _Module]) -> bool:
    """Put an array into its module; return whether its name is known."""
    plain = _WRAPPERS.sub("", key)
    match = _RECURRENT.fullmatch(plain)
    if match:
        number = None if match["number"] is None else int(match["number"])
        name = match["prefix"] or "lstm"
        module = modules.setdefault((name, True), _Module(name, True))
        module.arrays.setdefault(number, {})[match["array"]] = key
        return True
    match = _DENSE.fullmatch(plain)
    if not match:
        return False
    name = match["prefix"] or "dense"
    module = modules.setdefault((name, False), _Module(name, False))
    module.arrays.setdefault(None, {})[match["array"]] = key
    return True


def _lstms(
    module: _Module, arrays: Mapping[str, Array], source: str
) -> Iterator[tuple[Lstm, str] | str]:
    """Yield the module's layers, each with a note, or what is wrong with them."""
    numbers = sorted(number for number in module.arrays if number is not None)
    for missing in sorted(set(range(len(numbers))) - set(numbers)):
        yield (
            f"{source}: {module.name}.weight_ih_l{missing} is missing; "
            f"the arrays go up to l{numbers[-1]}"
        )
    several = len(module.arrays) > 1
    for number in [*([None] if None in module.arrays else []), *numbers]:
        name = f"{module.name}_l{number}" if several and number is not None else module.name
        keys = module.arrays[number]
        biased = any(key.startswith("bias") for key in keys)
        wanted = ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if biased else ()))
        suffix = "" if number is None else f"_l{number}"
        missing_keys = [key for key in wanted if key not in keys]
        for key in missing_keys:
            yield f"{source}: {module.name}.{key}{suffix} is missing; expected {', '.join(wanted)}"
        try:
            values = {
                key: weights_of(arrays[full], f"{source}: {full}") for key, full in keys.items()
            }
        except ModelError as error:
            yield str(error)
            continue
        if missing_keys:
            continue
        other = _other_cell(values["weight_hh"])
        if other:
            yield (
                f"{source}: {keys['weight_hh']} is {values['weight_hh'].shape}, {other}, "
                "which is not supported; expected the (4k, k) of an LSTM"
            )
            continue
        yield from _lstm(name, values, keys, source)


def _lstm(
    name: str, values: dict[str, FloatArray], keys: dict[str, str], source: str
) -> Iterator[tuple[Lstm, str] | str]:
    rows = values["weight_hh"].shape[0] if values["weight_hh"].ndim else 0
    if "bias_ih" not in values:
        layer = Lstm(name, values["weight_ih"], values["weight_hh"], np.zeros(rows))
        yield layer, f"{name}: no bias arrays, so the bias is zero"
        return
    wrong = [key for key in ("bias_ih", "bias_hh") if values[key].shape != (rows,)]
    for key in wrong:
        yield (
            f"{source}: {keys[key]} is {values[key].shape}; expected ({rows},), "
            f"the rows of {keys['weight_hh']}"
        )
    if wrong:
        return
    with np.errstate(over="ignore"):  # an infinite sum is reported by the network
        bias = values["bias_ih"] + values["bias_hh"]
    layer = Lstm(name, values["weight_ih"], values["weight_hh"], bias)
    yield layer, f"{name}: bias is bias_ih + bias_hh"


def _dense(
    module: _Module, arrays: Mapping[str, Array], source: str
) -> Iterator[tuple[Dense, str] | str]:
    keys = module.arrays[None]
    if "weight" not in keys:
        yield f"{source}: {module.name}.weight is missing; expected it beside {keys['bias']}"
        return
    try:
        values = {key: weights_of(arrays[full], f"{source}: {full}") for key, full in keys.items()}
    except ModelError as error:
        yield str(error)
        return
    shape = values["weight"].shape
    if len(shape) != 2:
        yield (
            f"{source}: {keys['weight']} is {shape}; expected the (outputs, inputs) of a Linear "
            "module; convolution and normalization are not supported"
        )
        return
    if "bias" not in values and module.name.rpartition(".")[2].lower().startswith("emb"):
        yield f"{source}: {keys['weight']} belongs to an embedding, which is not supported"
        return
    if "bias" in values:
        yield Dense(module.name, values["weight"], values["bias"]), f"{module.name}: Linear"
        return
    layer = Dense(module.name, values["weight"], np.zeros(shape[0]))
    yield layer, f"{module.name}: Linear without bias, so the bias is zero"


def _other_cell(recurrent: FloatArray) -> str | None:
    """Return the kind of cell that a recurrent matrix belongs to, if it is no LSTM's."""
    if recurrent.ndim != 2 or 0 in recurrent.shape:
        return None
    ratio, rest = divmod(recurrent.shape[0], recurrent.shape[1])
    return None if rest else _RATIOS.get(ratio)


def _embeddings(layers: list[Layer], source: str) -> Iterator[str]:
    """Yield a line for a first layer that fits the next one only as an embedding."""
    if len(layers) < 2:
        return
    first, second = layers[0], layers[1]
    if not isinstance(first, Dense) or not isinstance(second, Dense | Lstm) or second.W.ndim != 2:
        return
    entries, width = first.W.shape
    if not first.b.any() and entries != second.inputs == width:
        yield (
            f"{source}: {first.name}.weight is {first.W.shape} and {second.name} takes {width} "
            "inputs, as after an embedding, which is not supported"
        )
