"""What `fuzz` compares: each check returns what differs first, or None."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from lstmgen import artefact
from lstmgen.emulator import Emulator
from lstmgen.errors import ModelError, TargetError, ToolError
from lstmgen.layers import Bidirectional, Layer, arrays_of
from lstmgen.network import Network
from lstmgen.output import build
from lstmgen.qformat import IntArray
from lstmgen.quantized import QuantizedNetwork
from lstmgen.readers import read_model
from lstmgen.target import Target, list_targets, load_target
from lstmgen.toolchain import missing_tools
from lstmgen.verification import SANITIZERS, emulate_trace, model_files, verify_trace

from fuzz_case import FuzzCase

TARGETS = tuple(
    name for name in list_targets() if load_target(name).runs and name not in ("arm", "host")
)
"""The targets that take turns: all that run but the host, which gets every network, and another
name of the Cortex-M4."""

TIMEOUT = 180.0
"""Seconds after which a program on a target hangs: it takes one of them."""

_FULL = ("avr has at most", "will not fit in region", "overflowed by", "pass the 64 KiB")
"""What the generator and linkers say where a network is too large for the target."""


class NoRoomError(Exception):
    """The network is too large for the target: nothing was compared."""


@dataclass(frozen=True)
class Finding:
    """A difference, or an exception, whose kind is its type's name."""

    check: str
    text: str
    kind: str = ""

    def like(self, other: "Finding") -> bool:
        """Whether both are of the same check and kind, and so perhaps of the same cause."""
        return (self.check, self.kind) == (other.check, other.kind)


Check = Callable[[FuzzCase, QuantizedNetwork], str | None]


def examine(
    case: FuzzCase, name: str, q: QuantizedNetwork | None = None, check: Check | None = None
) -> Finding | None:
    """Return what the check of that name finds; None also of what cannot be quantized.

    q: the case's integers, where they are known. Raises NoRoomError.
    """
    try:
        q = q or case.quantized()
    except ModelError:
        return None
    except Exception as error:
        return Finding("quantize", _said(error), type(error).__name__)
    if name == "quantize":
        return None
    try:
        found = (check or check_of(name))(case, q)
    except NoRoomError:
        raise
    except Exception as error:
        return Finding(name, _said(error), type(error).__name__)
    return None if found is None else Finding(name, found)


def check_of(name: str) -> Check:
    """Return a check: literal, pieces, files, clang, sanitizers, or the name of a target."""
    if name in ("literal", "pieces", "files"):
        return {"literal": literal, "pieces": pieces, "files": files}[name]
    target, flags = load_target("host" if name in ("clang", "sanitizers") else name), ()
    if name == "clang":
        target = replace(target, compile=replace(target.compile, cc="clang"))
    return partial(compiled, target, SANITIZERS if name == "sanitizers" else flags)


def missing_of(name: str) -> str | None:
    """Return the program that a check lacks, None for none."""
    if name == "clang":
        return None if shutil.which("clang") else "clang"
    host = name in ("sanitizers", "host")
    if not host and name not in TARGETS:
        return None
    return next(iter(missing_tools(load_target("host" if host else name))), None)


def literal(case: FuzzCase, q: QuantizedNetwork) -> str | None:
    """The rules one by one, and what the fast emulator makes of them: every value and state."""
    x = case.inputs(q)
    slow, fast = Emulator(q, literal=True, batch=len(x)), Emulator(q, batch=len(x))
    expected, got = slow.trace(x), fast.trace(x)
    if list(expected) != list(got):
        return f"layers {list(got)}, by the rules {list(expected)}"
    # Steps first, then layers: the first difference is the cause of others.
    steps = max(len(y[0]) for y in expected.values())
    for t in range(steps):
        for name, y in expected.items():
            t_own = t - (steps - y.shape[1])  # behind the last state there is one step
            if t_own >= 0 and (line := _first(name, got[name][:, t_own], y[:, t_own])):
                return f"{line} at step {t}"
    for layer, one, other in zip(q.recurrent, fast.state, slow.state, strict=True):
        for tensor in ("h", "c"):
            values = getattr(one, tensor), getattr(other, tensor)
            if line := _first(f"{layer.name} {tensor}", *values):
                return f"{line} after the last step"
    return None


def pieces(case: FuzzCase, q: QuantizedNetwork) -> str | None:
    """A sequence at once, by steps, in pieces, alone and among others of other lengths."""
    x = case.inputs(q)
    batch, steps, _ = x.shape
    whole = Emulator(q, batch=batch)
    y = whole.run(x)
    every = q.outputs == "sequence"
    if q.streams:
        cut = min(steps, 1 + steps // 3)
        for way, ends in (("by steps", range(1, steps + 1)), ("in two pieces", (cut, steps))):
            emulator, start, parts = Emulator(q, batch=batch), 0, []
            for end in sorted(set(ends)):
                if way == "by steps":
                    parts.append(emulator.step(x[:, start])[:, None])
                else:
                    part = emulator.run(x[:, start:end])
                    parts.append(part if every else part[:, None])
                start = end
            got = np.concatenate(parts, 1) if every else parts[-1][:, -1]
            if line := _first(f"outputs {way}", got, y) or _states(q, emulator, whole, way):
                return line
    lengths = 1 + np.arange(batch) % steps
    among = Emulator(q, batch=batch)
    got = among.run(x, lengths)
    for row, length in enumerate(lengths):
        alone = Emulator(q)
        expected = alone.run(x[row : row + 1, :length])
        own = got[row : row + 1, :length] if every else got[row : row + 1]
        if line := _first(f"outputs of sequence {row} among others", own, expected):
            return f"{line}, of {length} steps"
        for layer, one, other in zip(q.recurrent, among.state, alone.state, strict=True):
            state = _first(f"{layer.name} c", one.c[row], other.c[0]) or _first(
                f"{layer.name} h", one.h[row], other.h[0]
            )
            if state:
                return f"{state} after sequence {row} among others"
    return None


def files(case: FuzzCase, q: QuantizedNetwork) -> str | None:
    """The artefact read back: the same integers, outputs, bytes and C; the float model likewise."""
    with tempfile.TemporaryDirectory(prefix="lstmgen-fuzz-") as place:
        path = Path(place) / "network.npz"
        artefact.save(q, path)
        back = artefact.load(path)
        case.network.save(path)
        network = read_model(path)
    if back.digest() != q.digest():
        return "the artefact read back has another digest"
    if artefact.to_bytes(back) != artefact.to_bytes(q):
        return "the artefact read back gives other bytes"
    x = case.inputs(q)
    values = (Emulator(one, batch=len(x)).run(x) for one in (back, q))
    if line := _first("outputs of the artefact read back", *values):
        return line
    target = load_target("host")
    made = [
        build(one, target, name="model", effort=case.options.effort)  # type: ignore[arg-type]
        for one in (q, back)
    ]
    names = sorted({*made[0], *made[1]})
    other = [name for name in names if made[0].get(name) != made[1].get(name)]
    if other:
        return f"the artefact read back gives other files: {', '.join(other)}"
    return _other_network(network, case.network)


def compiled(
    target: Target, flags: tuple[str, ...], case: FuzzCase, q: QuantizedNetwork,
    keep: Path | None = None,
) -> str | None:
    """The C on a target: every output and state, several instances by turns. Raises NoRoomError."""
    trace = emulate_trace(q, case.inputs(q))
    with tempfile.TemporaryDirectory(prefix="lstmgen-fuzz-") as place:
        try:
            sources = model_files(q, None, target, case.options.effort)  # type: ignore[arg-type]
            result = verify_trace(
                trace, sources, target, precision=q.precision, optimize=case.options.level,
                flags=flags, keep=keep or Path(place) / "c", timeout=TIMEOUT,
            )
        except (TargetError, ToolError) as error:
            if any(words in str(error) for words in _FULL):
                raise NoRoomError(str(error)) from error
            raise
    return None if result.equal else replace(result, folder=None).message


def _states(q: QuantizedNetwork, got: Emulator, expected: Emulator, way: str) -> str | None:
    for layer, one, other in zip(q.recurrent, got.state, expected.state, strict=True):
        for tensor in ("h", "c"):
            values = getattr(one, tensor), getattr(other, tensor)
            if line := _first(f"{layer.name} {tensor} {way}", *values):
                return line
    return None


def _first(what: str, got: IntArray, expected: IntArray) -> str | None:
    """Return a line on the first element that differs."""
    if got.shape != expected.shape:
        return f"{what}: shape {got.shape}, expected {expected.shape}"
    wrong = np.argwhere(got != expected)
    if not len(wrong):
        return None
    at = tuple(map(int, wrong[0]))
    place = "".join(f"[{index}]" for index in at)
    return f"{what}{place}: got {got[at]}, expected {expected[at]}"


def _other_network(got: Network, expected: Network) -> str | None:
    """Return what of the model read back is not what was saved."""
    keys = ("outputs", "input_range", "name")
    found = [key for key in keys if getattr(got, key) != getattr(expected, key)]
    if len(got.layers) != len(expected.layers):
        return "the model read back has another number of layers"
    for one, other in zip(got.layers, expected.layers, strict=True):
        found += _other_layer(one, other)
    return f"the model read back has other {', '.join(found)}" if found else None


def _other_layer(one: Layer, other: Layer) -> list[str]:
    if type(one) is not type(other):
        return [f"{other.name}, which became a {type(one).__name__}"]
    if isinstance(one, Bidirectional) and isinstance(other, Bidirectional):
        keys = ("name", "merge", "ends")
        ways = [key for key in keys if getattr(one, key) != getattr(other, key)]
        both = zip(one.halves, other.halves, strict=True)
        return [*ways, *(line for f, b in both for line in _other_layer(f, b))]
    assert not isinstance(one, Bidirectional)
    assert not isinstance(other, Bidirectional)
    mine, theirs = arrays_of(one), arrays_of(other)
    found = [f"{other.name}.{key}" for key in sorted(mine.keys() ^ theirs.keys())]
    found += [
        f"{other.name}.{key}" for key in mine.keys() & theirs.keys()
        if not np.array_equal(mine[key], theirs[key])
    ]
    words = {key: value for key, value in vars(other).items() if key not in theirs}
    return found + [
        f"{other.name}.{key}" for key, value in words.items()
        if key not in mine and getattr(one, key) != value
    ]


def _said(error: Exception) -> str:
    """Return an exception with the place in lstmgen that it comes from."""
    place, step = "", error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        if "lstmgen" in Path(code.co_filename).parts:
            place = f" at {Path(code.co_filename).name}:{step.tb_lineno}"
        step = step.tb_next
    return f"{type(error).__name__}{place}: {error}"
