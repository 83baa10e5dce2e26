"""Concat of values that follow from the graph's input, and states of several layers in one."""

from dataclasses import replace

from ..errors import ModelError
from .onnx_axes import position, regroup, sizes_of
from .onnx_folding import new_shape
from .onnx_node import Node, Value
from .onnx_signal import Signal, Stack, concatenated, halves


def concat(node: Node) -> list[Value]:
    """Concat of both directions of a layer, or of layers' states as torch's h_n."""
    values = [node.inputs[at] for at in range(len(node.inputs))]
    rank = len(values[0].parts[0].axes if isinstance(values[0], Stack) else node.signal().axes)
    at = position(node.integer("axis"), rank)
    signals: list[Signal] = []
    for number, value in enumerate(values):
        if isinstance(value, Stack) and value.axis == at:
            signals += value.parts
        else:
            signal = node.signal(number)
            apart = signal.directions and signal.axes[at] == signal.directions
            signals += halves(signal) if apart else (signal,)
    return [signals[0] if len(signals) == 1 else stacked(tuple(signals), at, node)]


def stacked(signals: tuple[Signal, ...], at: int, node: Node) -> Value:
    """Return signals along an axis: one, both directions of a layer, or several layers' states."""
    if len(signals) == 1:
        return signals[0]
    both = concatenated(*signals, at, node.label) if len(signals) == 2 else None
    if both is not None:
        return both
    same = {(signal.source, len(signal.axes)) for signal in signals}
    if not signals or len(same) > 1 or any(signal.axes[at] for signal in signals):
        raise ModelError(
            f"{node.label}: joins {len(signals)} branches; expected the forward and the backward "
            "half of one layer, in that order"
        )
    return Stack(at, signals)


def unstacked(stack: Stack, node: Node) -> Value:
    """Reshape of h_n (layers directions, batch, k) to (layers, directions, batch, k)."""
    parts = stack.parts
    target = new_shape(node, [len(parts), *sizes_of(parts[0].axes[1:])])
    first = target[:2]
    if stack.axis == 0 and -1 in first and 0 not in first:
        known = next((size for size in first if size != -1), 1)
        first[first.index(-1)] = len(parts) // known if isinstance(known, int) else 0
    rest = tuple(part.axes[1:] for part in parts)
    if stack.axis != 0 or first not in ([len(parts), 1], [len(parts) // 2, 2]):
        raise ModelError(
            f"{node.label}: the states of {len(parts)} layers and directions are reshaped; "
            "expected (layers, directions, batch, units)"
        )
    moved = [
        replace(part, axes=((), (), *regroup(axes, target[2:])))
        for part, axes in zip(parts, rest, strict=True)
    ]
    if first[1] == 1:
        return Stack(0, tuple(moved))
    both = [
        concatenated(forward, backward, 1, node.label)
        for forward, backward in zip(moved[::2], moved[1::2], strict=True)
    ]
    found = tuple(signal for signal in both if signal is not None)
    if len(found) < len(both):
        raise ModelError(
            f"{node.label}: pairs states of different layers; expected both directions of one"
        )
    return Stack(0, found)
