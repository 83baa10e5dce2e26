"""BatchNorm1d of PyTorch, and on which side of it an activation belongs."""

from collections.abc import Mapping

import numpy as np

from ..folding import Affine
from ..layers import Activation, Dense
from ..network import MAX_WIDTH
from ..npz import Array
from .options import ReadOptions
from .torch_layers import Keys, values_of
from .torch_order import Part

EPS = 1e-5
"""PyTorch's default; a state dict does not hold it."""


def normalization(
    name: str,
    keys: Keys,
    arrays: Mapping[str, Array],
    source: str,
    options: ReadOptions,
    problems: list[str],
) -> Part | None:
    """Return the scale and offset of a BatchNorm1d module; both of 1 and 0 if not affine.

    With --activation for it, it is a layer of its own that has an activation.
    """
    found = keys[None, False]
    wanted = ["running_mean", "running_var"]
    if "weight" in found or "bias" in found:
        wanted = ["weight", "bias", *wanted]
    missing = [key for key in wanted if key not in found]
    for key in missing:
        problems.append(f"{source}: {name}.{key} is missing; expected {', '.join(wanted)}")
    present = {key: found[key] for key in wanted if key in found}
    values = values_of(present, arrays, source, problems)
    if missing or values is None:
        return None
    mean, variance = values["running_mean"], values["running_var"]
    shape = variance.shape
    wrong = [key for key, array in values.items() if array.ndim != 1 or array.shape != shape]
    for key in wrong:
        problems.append(
            f"{source}: {found[key]} is {values[key].shape}; expected (n,), as all of {name}"
        )
    if not wrong and len(variance) > MAX_WIDTH:
        count = len(variance)
        problems.append(f"{source}: {name} has {count} features; expected at most {MAX_WIDTH}")
        wrong = ["running_var"]
    if not wrong and (variance < 0).any():
        problems.append(
            f"{source}: {found['running_var']} is negative in places; expected variances"
        )
        wrong = ["running_var"]
    if wrong:
        return None
    weight = values.get("weight", np.ones(shape))
    with np.errstate(over="ignore", invalid="ignore"):  # reported by the network
        scale = weight / np.sqrt(variance + EPS)
        offset = values.get("bias", np.zeros(shape)) - mean * scale
    note = f"{name}: BatchNorm1d, eps {EPS:g} assumed (not stored in the file)"
    if name in options.activations:
        return Part(name, (Dense(name, np.diag(scale), offset),), (note,), normalizes=True)
    return Part(name, (Affine(name, scale, offset),), (note,), normalizes=True)


def joined(parts: list[Part], activations: Mapping[str, Activation]) -> list[Part]:
    """Return the parts with each note on which side of a normalization an activation stands.

    A Linear module's activation comes before the normalization behind it. A normalization that
    has one itself takes a linear module before it in: one layer, of the normalization's name.
    """
    found: list[Part] = []
    for part in parts:
        below = found[-1].layers[-1] if found else None
        if part.normalizes and isinstance(below, Dense) and not found[-1].normalizes:
            layer = part.layers[0]
            if below.name in activations or not isinstance(layer, Dense):
                where = (
                    f"{part.name}: comes behind the activation of {below.name} "
                    f"(one behind it is set with --activation {part.name}=relu)"
                )
            else:
                below_notes = found.pop().notes
                scale = np.diag(layer.W)
                with np.errstate(over="ignore", invalid="ignore"):  # reported by the network
                    layer = Dense(part.name, scale[:, None] * below.W,
                                  scale * below.b + layer.b)
                where = f"{part.name}: {below.name} and the normalization behind it as one layer"
                part = Part(part.name, (layer,), (*below_notes, *part.notes), normalizes=True)
            part = Part(part.name, part.layers, (*part.notes, where), normalizes=True)
        found.append(part)
    return found
