"""Operators of ONNX whose inputs are all known: what weights and shapes are computed by."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..network import MAX_WEIGHTS
from .onnx_axes import Size, position
from .onnx_tensors import Constant, dtype_of

if TYPE_CHECKING:
    from .onnx_node import Node

MAX_LIST = 1 << 12
"""Largest number of values of a shape, or of anything else computed from sizes."""


def is_known(op: str) -> bool:
    """Tell whether operators of that type can be computed."""
    return op in _FUNCTIONS


def folded(node: "Node") -> list[Constant]:
    """Return the outputs of an operator; numpy's errors stay as they are."""
    values = [node.constant(n) for n in node.given]
    results = [_array(result) for result in _FUNCTIONS[node.type](node, values)]
    if any(result.dtype == object and result.size > MAX_LIST for result in results):
        raise ValueError("more sizes than a shape has")
    return results


def _array(value: Any) -> Constant:
    """Return an array as it is, and an element of one as an array without axes."""
    if isinstance(value, np.ndarray):
        return value
    if not isinstance(value, Size):
        return np.asarray(value)
    single = np.empty((), object)
    single[()] = value
    return single


def bounded(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape; ValueError if an array of it would be too large."""
    product = 1
    for size in shape:
        product *= max(0, int(size))
    if product > MAX_WEIGHTS or len(shape) > 16:
        raise ValueError(f"{product} values in {len(shape)} axes")
    return shape


def integers(values: Constant) -> list[int]:
    """Return the elements as integers; TypeError for sizes that are not known."""
    if values.size > MAX_LIST:
        raise ValueError(f"{values.size} numbers where few are expected")
    if any(isinstance(value, Size) for value in values.ravel().tolist()):
        raise TypeError("a size that the file leaves open")
    return [int(value) for value in values.ravel().tolist()]


def slices(node: "Node", rank: int) -> list[tuple[int, slice]]:
    """Return (axis, slice) for each axis that a Slice cuts; attributes before opset 10."""
    if "starts" in node.attributes:
        starts, ends = node.integers("starts"), node.integers("ends")
        axes = node.integers("axes", list(range(len(starts))))
        steps = [1] * len(starts)
    else:
        starts, ends = integers(node.constant(1)), integers(node.constant(2))
        axes = integers(node.constant(3)) if node.has(3) else list(range(len(starts)))
        steps = integers(node.constant(4)) if node.has(4) else [1] * len(starts)
    found = []
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 0 and end < -(1 << 30):
            found.append((position(axis, rank), slice(start, None, step)))
        else:
            found.append((position(axis, rank), slice(start, end, step)))
    return found


def new_shape(node: "Node", shape: list[Any]) -> list[Any]:
    """Return the target of a Reshape with 0 replaced by the sizes `shape` of its input."""
    given = node.constant(1) if node.has(1) else np.array(node.integers("shape"))
    target: list[Any] = [
        size if isinstance(size, Size) else int(size) for size in given.ravel().tolist()
    ]
    if node.integer("allowzero", 0) == 0:
        for at, size in enumerate(target):
            if isinstance(size, int) and size == 0:
                target[at] = shape[at]
    return target


def of_range(node: "Node", shape: Constant) -> Constant:
    """Return the part of a shape that an operator Shape asks for."""
    return shape[node.integer("start", 0) : node.integer("end", len(shape))]


def parts(node: "Node", size: int | None) -> list[int]:
    """Return the sizes that a Split cuts an axis into."""
    if node.has(1) or "split" in node.attributes:
        return integers(node.constant(1)) if node.has(1) else node.integers("split")
    if size is None or node.outputs < 1:
        raise ValueError("an axis of open size")
    each = -(-size // node.outputs)
    return [each] * (node.outputs - 1) + [size - each * (node.outputs - 1)]


def _slice(node: "Node", values: list[Constant]) -> list[Constant]:
    cut = [slice(None)] * values[0].ndim
    for axis, part in slices(node, values[0].ndim):
        cut[axis] = part
    return [values[0][tuple(cut)]]


def _concat(node: "Node", values: list[Constant]) -> list[Constant]:
    bounded((sum(value.size for value in values),))
    return [np.concatenate(values, node.integer("axis"))]


def _reshape(node: "Node", values: list[Constant]) -> list[Constant]:
    return [values[0].reshape(integers(np.array(new_shape(node, list(values[0].shape)), object)))]


def _flatten(node: "Node", values: list[Constant]) -> list[Constant]:
    axis = node.integer("axis", 1)
    rows = int(np.prod(values[0].shape[: axis if axis >= 0 else values[0].ndim + axis]))
    return [values[0].reshape(rows, values[0].size // max(rows, 1))]


def _squeeze(node: "Node", values: list[Constant]) -> list[Constant]:
    axes = node.axes()
    return [np.squeeze(values[0], None if axes is None else tuple(axes))]


def _unsqueeze(node: "Node", values: list[Constant]) -> list[Constant]:
    axes = node.axes() or []
    bounded((1,) * (values[0].ndim + len(axes)))
    return [np.expand_dims(values[0], tuple(axes))]


def _transpose(node: "Node", values: list[Constant]) -> list[Constant]:
    return [values[0].transpose(node.integers("perm", list(range(values[0].ndim))[::-1]))]


def _cast(node: "Node", values: list[Constant]) -> list[Constant]:
    if values[0].dtype == object:
        return values
    return [values[0].astype(dtype_of(node.integer("to"), f"{node.label}: its result"))]


def _gather(node: "Node", values: list[Constant]) -> list[Constant]:
    axis = position(node.integer("axis", 0), values[0].ndim)
    if values[1].dtype.kind not in "iu":
        raise TypeError(f"indices of type {values[1].dtype}")
    indices = values[1].astype(np.int64)
    row = values[0].size // max(values[0].shape[axis], 1)
    bounded((row, indices.size))
    return [np.take(values[0], indices, axis)]


def _expand(node: "Node", values: list[Constant]) -> list[Constant]:
    """An open size becomes 1: such a constant is as good along its axis."""
    shape = bounded(tuple(
        1 if isinstance(size, Size) else int(size) for size in values[-1].ravel()[:17].tolist()
    ))
    if node.type == "Expand":
        full = bounded(np.broadcast_shapes(values[0].shape, shape))
        return [np.broadcast_to(values[0], full)]
    if node.type == "Tile":
        bounded(tuple(n * size for n, size in zip(shape, values[0].shape, strict=True)))
        return [np.tile(values[0], shape)]
    value = node.attributes.get("value", np.zeros(1, np.float32))
    return [np.broadcast_to(value.ravel()[:1].reshape(()), shape)]


def _split(node: "Node", values: list[Constant]) -> list[Constant]:
    axis = position(node.integer("axis", 0), values[0].ndim)
    sizes = parts(node, values[0].shape[axis])
    if sum(sizes) != values[0].shape[axis] or min(sizes) < 0:
        raise ValueError(f"parts of {sizes[:8]} of an axis of {values[0].shape[axis]}")
    return list(np.split(values[0], np.cumsum(sizes)[:-1], axis))


def _numpy(function: Callable[..., Any]) -> Callable[["Node", list[Constant]], list[Constant]]:
    def computed(node: "Node", values: list[Constant]) -> list[Constant]:
        bounded(np.broadcast_shapes(*(value.shape for value in values)))
        if any(isinstance(v, Size) for value in values if value.dtype == object
               for v in value.ravel().tolist()) and node.type != "Mul":
            raise TypeError("a size that the file leaves open")
        return [np.asarray(function(*values))]

    return computed


def _divide(a: Constant, b: Constant) -> Constant:
    if a.dtype.kind == "f":
        return np.asarray(a / b)
    if not np.all(b):
        raise ValueError("a division by 0")
    return np.asarray(a // b)


def _equal(node: "Node", values: list[Constant]) -> list[Constant]:
    """Equal; an open size differs from numbers below 0, which stand for "as it is" in shapes."""
    bounded(np.broadcast_shapes(*(value.shape for value in values)))
    a, b = np.broadcast_arrays(*values)
    if object not in (a.dtype, b.dtype):
        return [np.equal(a, b)]
    pairs = list(zip(a.ravel().tolist(), b.ravel().tolist(), strict=True))
    for one, other in pairs:
        open_sizes = [isinstance(value, Size) for value in (one, other)]
        number = other if open_sizes[0] else one
        if any(open_sizes) and one != other and (all(open_sizes) or int(number) >= 0):
            raise TypeError("a size that the file leaves open")
    return [np.array([one == other for one, other in pairs], bool).reshape(a.shape)]


def _where(node: "Node", values: list[Constant]) -> list[Constant]:
    bounded(np.broadcast_shapes(*(value.shape for value in values)))
    return [np.where(*values)]


_FUNCTIONS: dict[str, Callable[["Node", list[Constant]], list[Constant]]] = {
    "Identity": lambda node, values: values[:1],
    "Slice": _slice,
    "Concat": _concat,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Cast": _cast,
    "Gather": _gather,
    "Shape": lambda node, values: [of_range(node, np.array(values[0].shape, np.int64))],
    "Expand": _expand,
    "Tile": _expand,
    "ConstantOfShape": _expand,
    "Split": _split,
    "Add": _numpy(np.add),
    "Sub": _numpy(np.subtract),
    "Mul": _numpy(np.multiply),
    "Div": _numpy(_divide),
    "Neg": _numpy(np.negative),
    "Sqrt": _numpy(np.sqrt),
    "Equal": _equal,
    "Where": _where,
    "Greater": _numpy(np.greater),
    "Less": _numpy(np.less),
    "And": _numpy(np.logical_and),
    "Or": _numpy(np.logical_or),
    "Not": _numpy(np.logical_not),
}
