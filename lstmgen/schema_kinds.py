"""What an entry of the description in a model.npz may say, by type of layer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import shown
from .folding import Affine
from .layers import Bidirectional, Dense, Embedding, Gru, Lstm
from .network import is_name
from .weights import gate_order, gru_gate_order

SAVED_NAME_RULE = "expected a name of 1 to 64 printable characters"


@dataclass(frozen=True)
class _Rule:
    """What the value of a key has to be, and what to say of another value."""

    holds: Callable[[Any], bool]
    otherwise: str


# Which words a key knows is checked by the layer itself.
_WORD = _Rule(lambda value: isinstance(value, str), "; expected a name such as 'relu'")
_FLAG = _Rule(lambda value: isinstance(value, bool), "; expected true or false")
LIMIT = _Rule(lambda value: is_number(value), "; expected a number, or no such key")
_GATES = _Rule(
    lambda value: isinstance(value, str) and gate_order(value) is not None,
    ", an unknown gate order; expected an order of i, f, g (or c), o such as 'ifgo'",
)
_GRU_GATES = _Rule(
    lambda value: isinstance(value, str) and gru_gate_order(value) is not None,
    ", an unknown gate order; expected an order of r, z, n (or h) such as 'rzn'",
)
_HALF = _Rule(lambda value: isinstance(value, dict), "; expected an object with type lstm or gru")


@dataclass(frozen=True)
class Kind:
    """A type of layer: its class, the keys it may have, arrays it must have and may have."""

    made: type
    keys: Mapping[str, _Rule]
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


_CELL = {"gate": _WORD, "cell": _WORD, "clip": LIMIT, "direction": _WORD}

KINDS = {
    "lstm": Kind(
        Lstm,
        {"gates": _GATES, **_CELL, "output": _WORD, "cell_clip": LIMIT},
        ("W", "U", "b"),
        ("h0", "c0", "peephole", "projection"),
    ),
    "gru": Kind(
        Gru,
        {"gates": _GRU_GATES, **_CELL, "reset_after": _FLAG},
        ("W", "U", "b"),
        ("b_u", "h0"),
    ),
    "bidirectional": Kind(
        Bidirectional,
        {"merge": _WORD, "ends": _WORD, "forward": _HALF, "backward": _HALF},
        (),
    ),
    "dense": Kind(Dense, {"activation": _WORD}, ("W", "b"), ("skip",)),
    "embedding": Kind(Embedding, {}, ("table",)),
    "normalization": Kind(Affine, {}, ("mean", "std")),
}
ALWAYS = ("activation", "merge", "ends")
"""Keys that are written though they have the default."""

HALVES = ("forward", "backward")


def entry_problems(entry: Any) -> Iterator[str]:
    """Yield a line for everything wrong with an entry, its arrays aside."""
    if not isinstance(entry, dict):
        yield f"it is {shown(entry)}; expected an object with type and name"
        return
    kind = entry.get("type")
    if not isinstance(kind, str) or kind not in KINDS:
        yield f"type is {shown(kind)}; expected one of {', '.join(KINDS)}"
        return
    keys = KINDS[kind].keys
    yield from unknown_keys(entry, ("type", "name", *keys), f"{kind} layer")
    if not is_saved_name(entry.get("name")):
        yield f"name is {shown(entry.get('name'))}; {SAVED_NAME_RULE}"
    yield from _value_problems(entry, keys)
    for key in HALVES if kind == "bidirectional" else ():
        if key not in entry:
            yield f"{key} is missing{_HALF.otherwise}"
        elif isinstance(entry[key], dict):
            yield from (f"{key}: {line}" for line in _half_problems(entry[key]))


def _half_problems(entry: dict[str, Any]) -> Iterator[str]:
    kind = entry.get("type")
    if kind not in ("lstm", "gru"):
        yield f"type is {shown(kind)}; expected 'lstm' or 'gru'"
        return
    keys = {key: rule for key, rule in KINDS[kind].keys.items() if key != "direction"}
    yield from unknown_keys(entry, ("type", *keys), f"{kind} half")
    yield from _value_problems(entry, keys)


def _value_problems(entry: dict[str, Any], keys: Mapping[str, _Rule]) -> Iterator[str]:
    for key, rule in keys.items():
        if key in entry and not rule.holds(entry[key]):
            yield f"{key} is {shown(entry[key])}{rule.otherwise}"


def unknown_keys(found: dict[str, Any], known: Sequence[str], what: str) -> Iterator[str]:
    """Yield a line for each key that is not known."""
    for key in found:
        if key not in known:
            yield f"key {shown(key)} is unknown; a {what} has {', '.join(known)}"


def is_saved_name(name: object) -> bool:
    """Whether a value is a name that a file can hold."""
    return is_name(name) and len(str(name)) <= 64


def is_number(value: Any) -> bool:
    """Whether a value is a finite number that a float holds; true and false are none."""
    return type(value) in (int, float) and abs(value) < 1e300
