"""The activations of LSTM and GRU nodes, their parameters included."""

from collections.abc import Iterator
from typing import Any, get_args

from ..errors import ModelError
from ..layers import CellFunction, GateFunction
from .onnx_node import Node

_NAMED = {"sigmoid": "sigmoid", "tanh": "tanh", "relu": "relu"}
"""ONNX's names, which stand for the same in any case, and this project's."""

_ALPHA = {"hardsigmoid": 0.2, "affine": 0.0, "leakyrelu": 0.01, "thresholdedrelu": 1.0,
          "scaledtanh": 0.0, "elu": 1.0}
_BETA = {"hardsigmoid": 0.5, "affine": 0.0, "scaledtanh": 0.0}
"""Activations with parameters, and their defaults; where ONNX names none, onnxruntime's."""

_GATES = (get_args(GateFunction), "Sigmoid, or HardSigmoid with alpha 0.2 or 1/6 and beta 0.5")
_CELLS = (get_args(CellFunction), "Tanh, Sigmoid or Relu")
"""What there is of this project's functions, and of ONNX's."""

_USES = {"LSTM": {"gates": _GATES, "cell": _CELLS, "output": _CELLS},
         "GRU": {"gates": _GATES, "candidate": _CELLS}}
"""What an activation is for, in the order of the attribute."""


def functions_of(node: Node, directions: int) -> list[list[str]]:
    """Return the activations of each direction by this project's names, as ONNX orders them."""
    uses = _USES[node.type]
    found = list(_functions(node)) or ["sigmoid", "tanh", "tanh"][: len(uses)] * directions
    if len(found) != len(uses) * directions:
        raise ModelError(
            f"{node.label}: {len(found)} activations; expected {len(uses)} for each of "
            f"{directions} directions"
        )
    pairs = zip(found, [*uses.items()] * directions, strict=True)
    problems = [
        f"{node.label}: activation {name} of its {use} is not supported; expected {expected}"
        for name, (use, (known, expected)) in pairs
        if name not in known
    ]
    if problems:
        raise ModelError.of(dict.fromkeys(problems))
    return [found[at : at + len(uses)] for at in range(0, len(found), len(uses))]


def _functions(node: Node) -> Iterator[str]:
    """Yield each activation by this project's name, or ONNX's own where there is none."""
    names = node.attributes.get("activations", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ModelError(f"{node.label}: its activations are no list of names")
    alphas, betas = (
        _parameters(node, key, [name.lower() for name in names], defaults)
        for key, defaults in (("alpha", _ALPHA), ("beta", _BETA))
    )
    for name, alpha, beta in zip(names, alphas, betas, strict=True):
        plain = name.lower()
        if plain == "hardsigmoid" and abs(beta - 0.5) < 1e-6 and abs(alpha - 0.2) < 1e-6:
            yield "hard_sigmoid"
        elif plain == "hardsigmoid" and abs(beta - 0.5) < 1e-6 and abs(alpha - 1 / 6) < 1e-6:
            yield "hard_sigmoid_6"
        elif plain == "affine" and (alpha, beta) == (1.0, 0.0):
            yield "linear"
        elif plain in _ALPHA:
            given = f", beta {beta:g}" if plain in _BETA else ""
            yield f"{name} (alpha {alpha:g}{given})"
        else:
            yield _NAMED.get(plain, f"{name[:40]!a}")


def _parameters(
    node: Node, key: str, names: list[str], defaults: dict[str, float]
) -> list[float]:
    """Return alpha or beta of each activation.

    The attribute holds a value for each activation that takes one. Some exporters write one for
    each activation: as good where both readings agree.
    """
    values: Any = node.attributes.get(f"activation_{key}", [])
    takers = [at for at, name in enumerate(names) if name in defaults]
    if len(values) not in (0, len(takers)) and (
        len(values) != len(names) or [values[at] for at in takers] != values[: len(takers)]
    ):
        raise ModelError(
            f"{node.label}: {len(values)} values of activation_{key}; expected {len(takers)}, "
            "for its activations that take one"
        )
    found = [defaults.get(name, 0.0) for name in names]
    for at, value in zip(takers, values, strict=False):
        found[at] = float(value)
    return found
