"""What a PyTorch file's pickle says, read without unpickling it.

A pickle is a program for a stack machine that may call anything in Python. This interpreter
knows the few operations that a state dict takes, and the few names of `GLOBALS`, which stand for
descriptions of tensors here: it imports nothing and calls nothing. All else is refused.
"""

import pickletools
import warnings
from collections.abc import Callable
from typing import Any

from ..errors import ModelError
from .torch_globals import (
    DICT,
    PARAMETER,
    SAVE,
    STORAGES,
    TENSOR,
    Global,
    Storage,
    Tensor,
    refuse_globals,
)

MAX_BYTES = 4 << 20
"""Largest pickle; each tensor takes some hundred bytes in it."""

MAX_OPERATIONS = 1 << 19

class _Mark:
    """The bottom of what an operation takes off the stack."""


_MARK = _Mark()


def load(data: bytes, source: str) -> object:
    """Return the dicts, lists, tuples, numbers, texts and Tensors that a pickle describes.

    Lists and dicts may contain themselves. Raises ModelError for anything else.
    """
    try:
        operations = _operations(data, source)
        refuse_globals((str(arg) for name, arg in operations if name in ("GLOBAL", "INST")),
                        source)
        return _Machine(source).run(operations)
    except ModelError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise ModelError(
            f"{source}: data.pkl is damaged ({str(error)[:80]!a}); write or copy the file anew"
        ) from error


def _operations(data: bytes, source: str) -> list[tuple[str, Any]]:
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd escapes in a damaged name
        for operation, argument, _ in pickletools.genops(data):
            found.append((operation.name, argument))
            if len(found) > MAX_OPERATIONS:
                raise ModelError(
                    f"{source}: data.pkl has more than {MAX_OPERATIONS} operations; {SAVE}"
                )
    return found


class _Machine:
    """The stack machine: `stack` and `memo` hold plain values, Globals, Storages and Tensors."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, operations: list[tuple[str, Any]]) -> object:
        """Return what the program leaves behind."""
        for name, argument in operations:
            if name in _CONSTANTS:
                self._stack.append(_CONSTANTS[name]())
            elif name in _ARGUMENTS:
                self._stack.append(argument)
            elif name in _STEPS:
                _STEPS[name](self, argument)
            elif name == "STOP":
                break
            else:
                raise ModelError(
                    f"{self._source}: its pickle uses the operation {name}, which no state dict "
                    f"needs; {SAVE}"
                )
        (value,) = self._stack
        return value

    def _pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise ValueError("a mark instead of a value")
        return value

    def _marked(self) -> list[Any]:
        """Take what stands above the topmost mark off the stack, and the mark."""
        at = len(self._stack) - 1
        while self._stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise ValueError("no mark")
        values = self._stack[at + 1 :]
        del self._stack[at:]
        return values

    def tuple_of(self, count: int) -> None:
        """Make a tuple of that many values."""
        values = [self._pop() for _ in range(count)]
        self._stack.append(tuple(reversed(values)))

    def tuple_marked(self, argument: object) -> None:
        """Make a tuple of all values above the mark."""
        self._stack.append(tuple(self._marked()))

    def append(self, values: list[Any]) -> None:
        """Append to the list on top."""
        _expect(self._stack[-1], list).extend(values)

    def append_one(self, argument: object) -> None:
        """Append one value."""
        self.append([self._pop()])

    def append_marked(self, argument: object) -> None:
        """Append all values above the mark."""
        self.append(self._marked())

    def set_items(self, values: list[Any]) -> None:
        """Put keys and values in turns into the dict on top."""
        target = _expect(self._stack[-1], dict)
        if len(values) % 2:
            raise ValueError("a key without a value")
        for key, value in zip(values[::2], values[1::2], strict=True):
            # Only these are hashed in no time, whatever is in them.
            if not isinstance(key, str | int | None):
                raise ValueError(f"a {type(key).__name__} as a key")
            target[key] = value

    def set_one(self, argument: object) -> None:
        """Put one key and value into a dict."""
        value = self._pop()
        self.set_items([self._pop(), value])

    def set_marked(self, argument: object) -> None:
        """Put all keys and values above the mark into a dict."""
        self.set_items(self._marked())

    def put(self, index: int) -> None:
        """Remember the value on top."""
        value = self._stack[-1]
        if value is _MARK:
            raise ValueError("a mark instead of a value")
        self._memo[index] = value

    def memoize(self, argument: object) -> None:
        """Remember the value on top under the next number."""
        self.put(len(self._memo))

    def get(self, index: int) -> None:
        """Push a value that was remembered."""
        self._stack.append(self._memo[index])

    def refer(self, name: str) -> None:
        """Push a Global."""
        self._stack.append(Global(name))

    def refer_stacked(self, argument: object) -> None:
        """Push the Global whose module and name are on the stack."""
        name, module = _expect(self._pop(), str), _expect(self._pop(), str)
        refuse_globals([f"{module} {name}"], self._source)
        self.refer(f"{module} {name}")

    def persistent(self, argument: object) -> None:
        """Push the Storage of ("storage", class, key, location, count)."""
        word, kind, key, _, count = _expect(self._pop(), tuple)
        name = _expect(kind, Global).name.removeprefix("torch ")
        if word != "storage" or name not in STORAGES:
            raise ValueError("no storage")
        if not _expect(key, str).isdecimal() or not key.isascii():
            raise ValueError("a storage's key is no number")
        self._stack.append(Storage(STORAGES[name], key, _natural(count)))

    def reduce(self, argument: object) -> None:
        """Push what a Global of GLOBALS would return: a dict or a Tensor."""
        arguments, function = _expect(self._pop(), tuple), _expect(self._pop(), Global)
        if function.name == DICT and not arguments:
            self._stack.append({})
        elif function.name == TENSOR:
            storage, offset, shape, strides = arguments[:4]
            sizes = tuple(_natural(n) for n in _expect(shape, tuple))
            steps = tuple(_natural(n) for n in _expect(strides, tuple))
            if len(sizes) != len(steps):
                raise ValueError("a tensor has not as many strides as dimensions")
            self._stack.append(Tensor(_expect(storage, Storage), _natural(offset), sizes, steps))
        elif function.name == PARAMETER:
            self._stack.append(_expect(arguments[0], Tensor))
        else:
            raise ValueError(f"a call of {function.name}")

    def build(self, argument: object) -> None:
        """Drop the attributes of a dict, such as a state dict's _metadata."""
        self._pop()
        _expect(self._stack[-1], dict)

    def nothing(self, argument: object) -> None:
        """Do nothing: version and length of what follows."""

    def mark(self, argument: object) -> None:
        """Push a mark."""
        self._stack.append(_MARK)


def _expect(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{type(value).__name__} instead of {kind.__name__}")
    return value


def _natural(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise ValueError("a size or offset is no natural number")
    return value


_CONSTANTS: dict[str, Callable[[], object]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}

_ARGUMENTS = frozenset({
    "INT", "LONG", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
    "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "SHORT_BINSTRING", "BINSTRING",
})
"""Operations that push their argument."""

_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine.nothing,
    "FRAME": _Machine.nothing,
    "MARK": _Machine.mark,
    "TUPLE": _Machine.tuple_marked,
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "APPEND": _Machine.append_one,
    "APPENDS": _Machine.append_marked,
    "SETITEM": _Machine.set_one,
    "SETITEMS": _Machine.set_marked,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.memoize,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": _Machine.refer,
    "STACK_GLOBAL": _Machine.refer_stacked,
    "BINPERSID": _Machine.persistent,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
}
