"""PyTorch's names of arrays sorted into modules; what all files with such names share.

A module is what stands before the last dot of its arrays' names. Which one it is shows from the
names behind that dot and from the arrays' shapes; see `torch_layers` for what it becomes, and
`torch_order` for the order.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import ModelError
from ..layers import Bidirectional, Gru, Lstm
from ..network import MAX_WEIGHTS
from ..npz import MAX_ARRAYS, Array
from ..weights import DATA_ARRAYS, data_note
from .options import Draft, ReadOptions
from .torch_layers import Keys, Maker, cell_gates, plain, recurrent
from .torch_normalization import joined, normalization
from .torch_order import Part, arrange

RECURRENT = re.compile(
    r"(?:(?P<prefix>.+)\.)?(?P<array>(?:weight|bias)_(?:ih|hh|hr))"
    r"(?:_l(?P<number>\d{1,4}))?(?P<reverse>_reverse)?"
)
_PLAIN = re.compile(
    r"(?:(?P<prefix>.+)\.)?"
    r"(?P<array>weight|bias|running_mean|running_var|num_batches_tracked)"
)

# What wrappers (DataParallel, torch.compile) put in front of every name.
_WRAPPERS = re.compile(r"^(?:module\.|_orig_mod\.)+")

_REFUSED = (
    (r".*parametrizations\..*|.*weight_[gv]", "weight normalization (remove it before saving)"),
    (r".*(_all_weight_values|_packed_params).*", "a quantized module (save the float network)"),
    (r".*in_proj_(weight|bias)", "attention"),
)
"""Names of arrays that stand for something unsupported, and what it is."""

MAX_NAME = 200
"""Longest name of an array."""

_MODULES = "LSTM, GRU, LSTMCell, GRUCell, Linear, Embedding and BatchNorm1d modules"


@dataclass
class _Module:
    """The names in the file of one module's arrays, by their names within it."""

    name: str
    make: Maker
    arrays: Keys = field(default_factory=dict)


def read(
    arrays: Mapping[str, Array],
    source: str,
    name: str,
    options: ReadOptions,
    title: str = "PyTorch state dict",
    ordered: bool = True,
) -> Draft:
    """Return the network of named arrays.

    title: what the file is, for the first note. ordered: whether the order of the arrays is that
    in which the modules were made, and so a hint.
    """
    check_count(len(arrays), source)
    problems: list[str] = []
    data = [key for key in arrays if key in DATA_ARRAYS]
    groups = _grouped(arrays, source, problems)
    notes = [f"{title}; gate order i, f, g, o"]
    chosen = _chosen(groups, options.order, source, problems, notes)
    problems += _sorted_out(chosen, source)
    total = sum(arrays[key].size for keys in chosen.values() for key in keys)
    if total > MAX_WEIGHTS + MAX_WEIGHTS // 8:
        problems.append(f"{source} holds {total} values; expected at most {MAX_WEIGHTS} weights")
        return Draft(source, name, (), notes=tuple(notes), problems=tuple(problems))
    parts = []
    for module in _modules(chosen, arrays):
        part = module.make(module.name, module.arrays, arrays, source, options, problems)
        if part is not None:
            parts.append(part)
    if not problems:
        parts = arrange(parts, source, options.order, ordered, problems, notes)
        parts = joined(parts, options.activations)
    notes += [note for part in parts for note in part.notes]
    notes += _ends_note(parts, options)
    notes += data_note(data)
    layers = tuple(layer for part in parts for layer in part.layers)
    takes = {"order"}
    if problems or any(isinstance(layer, Bidirectional) for layer in layers):
        takes.add("ends")
    return Draft(
        source,
        name,
        layers,
        notes=tuple(notes),
        problems=tuple(problems),
        takes=frozenset(takes),
    )


def check_count(count: int, source: str) -> None:
    """Raise a ModelError if these are more arrays than any network has."""
    if count > MAX_ARRAYS:
        raise ModelError(f"{source} holds {count} arrays; expected at most {MAX_ARRAYS}")


def _grouped(
    arrays: Mapping[str, Array], source: str, problems: list[str]
) -> dict[str, list[str]]:
    """Return by name of a module the names of its arrays as the file has them."""
    groups: dict[str, list[str]] = {}
    known: dict[str, str] = {}
    for key in arrays:
        if key in DATA_ARRAYS:
            continue
        if not key.isprintable() or len(key) > MAX_NAME:
            problems.append(
                f"{source}: array {key[:40]!a}: its name has {len(key)} characters; "
                f"expected at most {MAX_NAME}, all printable"
            )
            continue
        short = _WRAPPERS.sub("", key)
        if short in known:
            problems.append(f"{source}: {known[short]} and {key} are both {short}; expected one")
            continue
        known[short] = key
        match = RECURRENT.fullmatch(short) or _PLAIN.fullmatch(short)
        prefix = match["prefix"] if match else short.rpartition(".")[0]
        groups.setdefault(prefix or "", []).append(key)
    return _named(groups, arrays)


def _named(groups: dict[str, list[str]], arrays: Mapping[str, Array]) -> dict[str, list[str]]:
    """Give a module without a name, as one that was saved alone, the name of what it is."""
    named: dict[str, list[str]] = {}
    for prefix, keys in groups.items():
        if prefix:
            named.setdefault(prefix, []).extend(keys)
            continue
        shapes = {_WRAPPERS.sub("", key): arrays[key].shape for key in keys}
        cell = "gru" if cell_gates(shapes.get("weight_hh_l0", shapes.get("weight_hh", ())),
                                   None) == 3 else "lstm"
        rest = "norm" if any(map(_of_normalization, shapes)) else "dense"
        for key in keys:
            name = cell if RECURRENT.fullmatch(_WRAPPERS.sub("", key)) else rest
            named.setdefault(name, []).append(key)
    return named


def _of_normalization(short: str) -> bool:
    return short.rpartition(".")[2].startswith(("running_", "num_batches"))


def _chosen(
    groups: dict[str, list[str]],
    order: Sequence[str],
    source: str,
    problems: list[str],
    notes: list[str],
) -> dict[str, list[str]]:
    """Return the modules that the network has: all, or those of --order."""
    if not order:
        return groups
    for name in dict.fromkeys(order):
        if name not in groups:
            known = ", ".join(groups) or "none"
            problems.append(
                f"{source}: --order: {name!a} names no module; modules here: {known}"
            )
        elif order.count(name) > 1:
            problems.append(
                f"{source}: --order names {name!a} {order.count(name)} times; expected once"
            )
    left = [name for name in groups if name not in order]
    if left:
        notes.append(f"modules that --order leaves out: {', '.join(left)}")
    return {name: keys for name, keys in groups.items() if name in order}


def _sorted_out(chosen: dict[str, list[str]], source: str) -> Iterator[str]:
    """Yield a line for what is not supported or unknown, and take it out of the groups."""
    refused: dict[str, list[str]] = {}
    for name, keys in chosen.items():
        kept = []
        for key in keys:
            what = unsupported(key)
            short = _WRAPPERS.sub("", key)
            if what:
                refused.setdefault(what, []).append(key)
            elif not (RECURRENT.fullmatch(short) or _PLAIN.fullmatch(short)):
                yield f"{source}: array {key} is unknown; expected those of {_MODULES}"
            else:
                kept.append(key)
        chosen[name] = kept
    for what, named in refused.items():
        more = f" and {len(named) - 1} more" if len(named) > 1 else ""
        yield f"{source}: {named[0]}{more}: part of {what}, which is not supported"


def unsupported(key: str) -> str | None:
    """Return what the array's name stands for, if that is known and not supported."""
    return next((what for pattern, what in _REFUSED if re.fullmatch(pattern, key)), None)


def _modules(
    groups: dict[str, list[str]], arrays: Mapping[str, Array]
) -> list[_Module]:
    """Return the modules, recurrent arrays and others of one prefix apart."""
    modules: dict[tuple[str, Maker], _Module] = {}
    for name, keys in groups.items():
        shorts = [_WRAPPERS.sub("", key) for key in keys]
        normalizes = any(map(_of_normalization, shorts))
        for key, short in zip(keys, shorts, strict=True):
            match = RECURRENT.fullmatch(short)
            part: tuple[int | None, bool] = (None, False)
            make: Maker = recurrent if match else normalization if normalizes else plain
            if match:
                number = None if match["number"] is None else int(match["number"])
                part = (number, match["reverse"] is not None)
            else:
                match = _PLAIN.fullmatch(short)
                assert match is not None
            module = modules.setdefault((name, make), _Module(name, make))
            module.arrays.setdefault(part, {})[match["array"]] = key
    return list(modules.values())


def _ends_note(parts: list[Part], options: ReadOptions) -> Iterator[str]:
    """Yield a note on what the last value of a bidirectional layer is, if it is handed on."""
    found = [
        layer
        for part in parts
        for layer in part.layers
        if isinstance(layer, Bidirectional | Lstm | Gru)
    ]
    last = found[-1] if found else None
    if not isinstance(last, Bidirectional) or options.outputs == "sequence":
        return
    meaning = {
        "step": "output[:, -1], where the backward half has read one step",
        "state": "the last states h_n of both directions",
    }[last.ends]
    if options.ends is not None:
        yield f"{last.name}: last values are {meaning} (set by --ends)"
    else:
        other = "state for h_n" if last.ends == "step" else "step for output[:, -1]"
        yield (
            f"{last.name}: last values are {meaning} "
            f"(not stored in the file; set it with --ends {other})"
        )
