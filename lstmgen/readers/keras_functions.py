"""Activation functions as Keras' configs name them."""

from typing import cast

from ..errors import ModelError
from ..layers import Activation
from .keras_config import Entry, class_of

_DENSE = ("linear", "relu", "tanh", "sigmoid", "softmax")


def function_name(value: object) -> str:
    """Return the name of an activation function in a config; None is linear."""
    if value is None:
        return "linear"
    if isinstance(value, dict):
        inner = value.get("config")
        plain = isinstance(inner, str) and class_of(value) == "function"
        registered = value.get("registered_name") in (None, "function", inner)
        own = str(value.get("module", "")).split(".")[0] == "keras"
        known = plain and registered and own
        return _word(inner if known else f"custom {class_of(value)} {ascii(inner)[:40]}")
    return {"softmax_v2": "softmax"}.get(str(value), _word(value))


def _word(value: object) -> str:
    """Return a value for a message, on one line and not too long."""
    text = str(value)
    return text if len(text) <= 120 and text.isprintable() else ascii(text[:60])


def dense_function(entry: Entry, value: object) -> Activation:
    """Return the function of a dense or an activation layer; a ModelError for an unknown one."""
    name = function_name(value)
    if name not in _DENSE:
        raise ModelError(
            f"layer {entry.name}: activation {name} is not supported; expected one of "
            f"{', '.join(_DENSE)}"
        )
    return cast(Activation, name)


def check_relu(entry: Entry) -> None:
    """Raise ModelError for a ReLU layer with a limit, a slope or a threshold."""
    limits = {"max_value": None, "negative_slope": 0, "threshold": 0}
    found = [key for key, plain in limits.items() if (entry.config.get(key) or plain) != plain]
    if found:
        value = ascii(entry.config[found[0]])[:60]
        raise ModelError(f"layer {entry.name}: {found[0]} is {value}; expected a plain ReLU")
