"""Float layers for `lstmgen inspect`: a line for people, an object for programs."""

from dataclasses import fields
from typing import Any

from ..layers import Bidirectional, Dense, Embedding, Gru, Layer, Lstm, Recurrent
from ..network import Network

_CHOICES = {"gate": "gates", "cell": "cell", "output": "output", "clip": "clip",
            "cell_clip": "cell clip"}
"""Choices of a recurrent layer that are worth a word where they are not the default."""


def layer_text(layer: Layer) -> str:
    """Return a layer in one line: its kind, widths, and everything that is not the default."""
    if isinstance(layer, Bidirectional):
        forward, backward = (recurrent_text(half) for half in layer.halves)
        halves = f"forward {forward}; backward {backward}"
        halves = f"both {forward}" if forward == backward else halves
        ends = "" if layer.ends == "state" else ", last the values at the last step"
        return f"both ways {layer.inputs} -> {layer.width}, {layer.merge}{ends}: {halves}"
    if isinstance(layer, Dense):
        skip = ", plus the network's input" if layer.skip is not None else ""
        return f"dense {layer.inputs} -> {layer.W.shape[0]}, {layer.activation}{skip}"
    if isinstance(layer, Embedding):
        return f"embedding of {layer.entries} -> {layer.width}"
    return recurrent_text(layer)


def recurrent_text(layer: Recurrent) -> str:
    """Return an LSTM or GRU layer in one line."""
    words = [f"{'LSTM' if isinstance(layer, Lstm) else 'GRU'} {layer.inputs} -> {layer.units}"]
    if layer.direction != "forward":
        words.append(layer.direction)
    if isinstance(layer, Gru) and not layer.reset_after:
        words.append("reset before the product")
    if isinstance(layer, Lstm) and layer.peephole is not None:
        words.append("peepholes")
    if isinstance(layer, Lstm) and layer.projection is not None:
        words.append(f"projection {layer.width}")
    if initial := _initial(layer):
        words.append(f"initial {' and '.join(initial)}")
    for field in fields(layer):
        value = getattr(layer, field.name)
        if field.name in _CHOICES and value != field.default:
            shown = f"{value:g}" if isinstance(value, float) else value
            words.append(f"{_CHOICES[field.name]} {shown}")
    return ", ".join(words)


def run_text(network: Network) -> str:
    """Return how the network can be run."""
    if network.streams:
        return "streams: a step at a time (step), or a whole sequence (run)"
    return "whole sequences only (run, no step): a layer needs what comes later"


def layer_json(layer: Layer) -> dict[str, Any]:
    """Return a layer for --json, every choice with its value."""
    found: dict[str, Any] = {
        "name": layer.name,
        "type": type(layer).__name__.lower(),
        "inputs": layer.inputs,
        "outputs": layer.width,
        "activation": layer.activation if isinstance(layer, Dense) else None,
    }
    if isinstance(layer, Bidirectional):
        found |= {"merge": layer.merge, "ends": layer.ends}
        found |= {"forward": layer_json(layer.forward), "backward": layer_json(layer.backward)}
    elif isinstance(layer, Dense):
        found["skip"] = layer.skip is not None
    elif isinstance(layer, Embedding):
        found["entries"] = layer.entries
    else:
        found |= {"units": layer.units, "direction": layer.direction, "initial": _initial(layer)}
        found |= {key: getattr(layer, key) for key in _CHOICES if hasattr(layer, key)}
        if isinstance(layer, Gru):
            found["reset_after"] = layer.reset_after
        else:
            found["peepholes"] = layer.peephole is not None
            found["projection"] = None if layer.projection is None else layer.width
    return found


def _initial(layer: Recurrent) -> list[str]:
    return [key for key in ("h0", "c0") if getattr(layer, key, None) is not None]
