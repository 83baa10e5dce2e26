"""Slices of tensors in a .tflite graph: whole axes, reversed ones, or the last time step."""

from collections.abc import Mapping, Sequence

from .tflite_flow import Flow, FlowError


def sliced(flow: Flow, lengths: Sequence[int], begin: list[int], size: list[int]) -> Flow:
    """Return the flow behind SLICE of a tensor with axes of `lengths`, -1 for open ones."""
    if not len(begin) == len(size) == len(lengths) == len(flow.axes or ()):
        raise FlowError(f"begin {begin} for a tensor of {len(lengths)} axes")
    for axis, (first, count) in enumerate(zip(begin, size, strict=True)):
        length = lengths[axis]
        if first == 0 and count in (-1, length):
            continue
        if count != 1 and not (count == -1 and first == length - 1):
            raise FlowError(f"takes {count} of axis {axis} from {first}; expected all or one")
        flow = flow.step(axis, first, length)
    return flow


def strided(
    flow: Flow,
    lengths: Sequence[int],
    ranges: tuple[list[int], list[int], list[int]],
    masks: Mapping[str, int],
) -> Flow:
    """Return the flow behind STRIDED_SLICE; ranges: begin, end and strides of the axes."""
    begin, end, strides = ranges
    if masks["EllipsisMask"] or masks["NewAxisMask"]:
        raise FlowError("new axes in a slice are not supported")
    if not len(begin) == len(end) == len(strides) <= len(flow.axes or ()) == len(lengths):
        raise FlowError(f"begin {begin} for a tensor of {len(lengths)} axes")
    dropped: list[int] = []
    for axis, (first, last, stride) in enumerate(zip(begin, end, strides, strict=True)):
        bit = 1 << axis
        if masks["ShrinkAxisMask"] & bit:
            flow = flow.step(axis, first, lengths[axis])
            dropped.append(axis)
            continue
        start = None if masks["BeginMask"] & bit else first
        stop = None if masks["EndMask"] & bit else last
        flow = _ranged(flow, axis, lengths[axis], slice(start, stop, stride))
    for axis in reversed(dropped):
        flow = flow.without(axis)
    return flow


def _ranged(flow: Flow, axis: int, length: int, wanted: slice) -> Flow:
    """Return the flow of a range of an axis: all of it, all in reverse, or one step."""
    if length < 0:
        if wanted in (slice(None, None, 1), slice(0, None, 1)):
            return flow
        if wanted == slice(None, None, -1):
            return flow.turned(axis)
        if wanted == slice(-1, None, 1):
            return flow.step(axis, -1, length)
        raise FlowError(f"takes a range of axis {axis}, whose length is open")
    found = range(length)[wanted] if wanted.step else range(0)
    if found == range(length):
        return flow
    if found == range(length)[::-1]:
        return flow.turned(axis)
    if len(found) == 1:
        return flow.step(axis, found[0], length)
    raise FlowError(f"takes {len(found)} of {length} along axis {axis}; expected all or one")
