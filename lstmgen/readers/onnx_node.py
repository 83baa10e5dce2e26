"""An operator of an ONNX graph: its attributes and inputs, and what it is called."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ModelError
from .onnx_folding import integers
from .onnx_signal import Signal, Stack
from .onnx_tensors import Beside, Constant, array_of, text


@dataclass(frozen=True)
class Unread:
    """A value that could not be followed; lines: why, each a problem of the file."""

    lines: tuple[str, ...] = ()


Value = Constant | Signal | Stack | Unread


@dataclass(frozen=True)
class Node:
    """An operator with the values of its inputs.

    type: its name in ONNX, with the domain if that is not ONNX's own; label: for messages.
    inputs: None for one that is left out; outputs: how many it has; opset: ONNX's version.
    """

    type: str
    label: str
    name: str
    attributes: Mapping[str, Any]
    inputs: tuple[Value | None, ...]
    outputs: int
    opset: int

    @property
    def given(self) -> range:
        """The inputs' numbers, up to the first one left out."""
        until = [at for at, value in enumerate(self.inputs) if value is None]
        return range(until[0] if until else len(self.inputs))

    def has(self, at: int) -> bool:
        """Tell whether an input is there."""
        return at < len(self.inputs) and self.inputs[at] is not None

    def constant(self, at: int) -> Constant:
        """Return an input that has to be known."""
        value = self.inputs[at] if self.has(at) else None
        if not isinstance(value, np.ndarray):
            raise ModelError(f"{self.label}: input {at} is not constant; expected a constant")
        return value

    def signal(self, at: int = 0) -> Signal:
        """Return an input that has to follow from the graph's input."""
        value = self.inputs[at] if self.has(at) else None
        if isinstance(value, Stack):
            raise ModelError(
                f"{self.label}: takes the values of several layers at once; expected one layer's"
            )
        if not isinstance(value, Signal):
            raise ModelError(f"{self.label}: input {at} is constant; expected the network's values")
        return value

    def integer(self, key: str, default: int | None = None) -> int:
        """Return an attribute."""
        value = self.attributes.get(key, default)
        if not isinstance(value, int):
            found = _shown_value(value)
            raise ModelError(f"{self.label}: its attribute {key} is {found}; expected an integer")
        return value

    def real(self, key: str, default: float) -> float:
        """Return an attribute."""
        value = self.attributes.get(key, default)
        if not isinstance(value, float):
            found = _shown_value(value)
            raise ModelError(f"{self.label}: its attribute {key} is {found}; expected a number")
        return value

    def integers(self, key: str, default: list[int] | None = None) -> list[int]:
        """Return an attribute."""
        value = self.attributes.get(key, default)
        if not isinstance(value, list) or not all(isinstance(one, int) for one in value):
            raise ModelError(f"{self.label}: its attribute {key} is no list of integers")
        return value

    def axes(self) -> list[int] | None:
        """Return the axes, an input since opset 13 and an attribute before; None for none."""
        if "axes" in self.attributes:
            return self.integers("axes")
        return integers(self.constant(1)) if self.has(1) else None


def shown(name: str | bytes) -> str:
    """Return a name out of a file for a message: printable, and at most 80 characters."""
    name = text(name)
    found = name if name.isprintable() else ascii(name)
    return found if len(found) <= 80 else f"{found[:77]}..."


def _shown_value(value: object) -> str:
    """Return an attribute that should be a number; lists, arrays and graphs may be large."""
    plain = value is None or isinstance(value, str | int | float)
    return ascii(value)[:60] if plain else "of another type"


def label_of(proto: Any) -> str:
    """Return what to call an operator: its type, and its own name or that of its output."""
    name = proto.name or (proto.output[0] if proto.output else "")
    return shown(f"{text(proto.op_type)} {text(name)}".strip())


def attributes_of(proto: Any, label: str, beside: Beside) -> dict[str, Any]:
    """Return an operator's attributes: numbers, text, lists of them, arrays and graphs."""
    found: dict[str, Any] = {}
    for attribute in proto.attribute:
        key, kind = text(attribute.name), attribute.type
        if kind == 1:
            found[key] = float(attribute.f)
        elif kind == 2:
            found[key] = int(attribute.i)
        elif kind == 3:
            found[key] = attribute.s.decode("utf-8", "replace")
        elif kind == 4:
            found[key] = array_of(attribute.t, f"{label}: its {shown(key)}", beside)
        elif kind == 5:
            found[key] = attribute.g
        elif kind == 6:
            found[key] = [float(value) for value in attribute.floats]
        elif kind == 7:
            found[key] = [int(value) for value in attribute.ints]
        elif kind == 8:
            found[key] = [value.decode("utf-8", "replace") for value in attribute.strings]
    return found
