"""Keras' files of weights alone: what the layers are is told by names and shapes.

Nothing in them says functions, directions, how halves merge, or (in .weights.h5) the order of
layers of different classes; each assumption is a note.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from ..errors import ModelError
from ..folding import Affine
from ..layers import Bidirectional, Gru, Layer, Lstm
from ..qformat import FloatArray
from ..weights import weights_of
from . import keras_cells
from .hdf5 import Hdf5, shown
from .hdf5_child import shortened
from .keras_order import Block, chained
from .keras_store import leaf_of
from .options import Draft

Part = Mapping[str, FloatArray]
"""Arrays of a cell or a layer by their names in Keras."""

WHOLE = "save the whole model (model.save('model.keras')) to have it told"

_IDLE = ("input", "input_layer", "dropout", "spatial_dropout1d", "gaussian_dropout",
         "gaussian_noise", "alpha_dropout", "activity_regularization", "identity")  # fmt: skip

_UNTOLD = {
    "activation": "its function is not stored; set it on the dense layer before it",
    "re_lu": "set relu on the dense layer before it with --activation",
    "softmax": "set it with --head softmax",
    "masking": "its mask value is not stored; leave out the steps that Keras skips",
    "flatten": "taken to do nothing",
    "reshape": "taken to do nothing",
}
"""Layers without weights whose effect the user has to state."""

_PARTS = {
    "lstm": ("cell",), "gru": ("cell",), "dense": ("",), "time_distributed": ("layer",),
    "bidirectional": ("forward_layer/cell", "backward_layer/cell"), "batch_normalization": ("",),
    "normalization": ("",), "embedding": ("",), "rnn": ("cell",),
}  # fmt: skip
"""By class, where its arrays lie below its group."""

_LEAVES = {
    "dense": ("kernel", "bias"),
    "time_distributed": ("kernel", "bias"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "normalization": ("mean", "variance", "count"),
    "embedding": ("embeddings",),
}
_CELL = ("kernel", "recurrent_kernel", "bias")


def of_paths(file: Hdf5, name: str) -> Draft:
    """Return the network of Keras 3's .weights.h5, its layers ordered by their widths."""
    root = "layers" if "layers" in file.groups else "_layer_checkpoint_dependencies"
    problems, notes = [], ["Keras weights alone (.weights.h5)", keras_cells.NOTE]
    if root not in file.groups:
        found = ", ".join(ascii(shortened(key)) for key in file.below("")[:4]) or "nothing"
        raise ModelError(
            f"{file.source} holds {found}; expected an HDF5 file that Keras wrote, with "
            "model_config, layer_names or layers"
        )
    blocks: dict[str, list[Block]] = {}
    for group in sorted(file.below(root), key=_numbered):
        kind, _ = _numbered(group)
        path = f"{root}/{group}"
        own = file.text(f"{path}/vars", "name") or group
        own = own if own.isprintable() and 0 < len(own) <= 48 else group
        try:
            if kind not in _PARTS:
                notes += _weightless(kind, own, any(k.startswith(f"{path}/") for k in file.arrays))
                continue
            parts = list(_parts_at(file, path, kind))
            blocks.setdefault(kind, []).append(_block(own, kind == "bidirectional", parts, notes))
        except ModelError as error:
            problems += _lines(file.source, error)
    order: Sequence[Block] = []
    if not problems:
        try:
            order = chained(blocks, notes)
        except ModelError as error:
            problems += _lines(file.source, error)
    return _draft(file, name, order, notes, problems)


def of_names(file: Hdf5, name: str) -> Draft:
    """Return the network of Keras 2's save_weights: layers in the model's order."""
    notes, problems = ["Keras weights alone (Keras 2 .h5)", keras_cells.NOTE], []
    blocks: list[Block] = []
    for own in file.words("", "layer_names") or ():
        keys = [f"{own}/{key}" for key in file.words(own, "weight_names") or ()]
        shown = own if own.isprintable() and 0 < len(own) <= 48 else f"layer{len(blocks)}"
        try:
            if not keys:
                notes += _weightless(_numbered(own)[0], shown, False)
                continue
            parts = _parts_of(file, keys)
            both = any(step.startswith("backward_") for key in keys for step in key.split("/"))
            blocks.append(_block(shown, both, parts, notes))
        except ModelError as error:
            problems += _lines(file.source, error)
    return _draft(file, name, blocks, notes, problems)


def _draft(
    file: Hdf5, name: str, blocks: Sequence[Block], notes: list[str], problems: list[str]
) -> Draft:
    layers: list[Layer | Affine] = []
    for number, block in enumerate(blocks):
        following = blocks[number + 1] if number + 1 < len(blocks) else None
        layers += block.merged(following, notes)
    notes.append(
        "not stored and taken to be Keras' defaults: tanh and sigmoid in recurrent layers, "
        f"forward, no mask, states that start at zero; {WHOLE}"
    )
    return Draft(file.source, name, tuple(layers), notes=tuple(notes), problems=tuple(problems))


def _lines(source: str, error: ModelError) -> list[str]:
    start = f"{source}: "
    return [line if line.startswith(start) else start + line for line in str(error).splitlines()]


def _numbered(group: str) -> tuple[str, int]:
    """Return the class and number of a group: lstm_10 comes after lstm_2."""
    match = re.fullmatch(r"(.*?)(?:_(\d{1,6}))?", group, re.DOTALL)
    assert match is not None
    return match[1], int(match[2] or 0)


def _weightless(kind: str, name: str, has_arrays: bool) -> list[str]:
    """Return the notes on a layer without weights of its own, or refuse it."""
    if has_arrays or (kind not in _UNTOLD and kind not in _IDLE):
        raise ModelError(
            f"layer {name!a} seems a {shortened(kind)!a}, which is not supported in a file of "
            f"weights alone; if it only has an odd name, {WHOLE}"
        )
    return [f"{name}: {_UNTOLD[kind]}"] if kind in _UNTOLD else []


def _parts_at(file: Hdf5, path: str, kind: str) -> Iterator[Part]:
    """Yield the arrays of each cell of a layer that lies at a path."""
    places: Sequence[str] = _PARTS[kind]
    if kind == "rnn" and f"{path}/cell/cells" in file.groups:
        cells = sorted(file.below(f"{path}/cell/cells"), key=_numbered)
        if len({_numbered(cell)[0] for cell in cells}) > 1:
            raise ModelError(f"layer at {shown(path)}: cells of different kinds in no known order")
        places = [f"cell/cells/{cell}" for cell in cells]
    leaves = _LEAVES.get(kind, _CELL)
    for place in places:
        front = "/".join(step for step in (path, place, "vars") if step)
        keys = sorted(file.below(front), key=lambda key: (len(key), key))
        if [*keys] != [str(n) for n in range(len(keys))] or not 0 < len(keys) <= len(leaves):
            raise ModelError(
                f"{shown(front)} holds {', '.join(ascii(k[:40]) for k in keys[:4]) or 'nothing'}; "
                f"expected arrays 0 to {len(leaves) - 1}: {', '.join(leaves)}"
            )
        if kind == "batch_normalization" and len(keys) != 4:
            raise ModelError(
                f"{shown(front)} holds {len(keys)} arrays, so scale or center is off; {WHOLE}"
            )
        yield {
            leaf: _array(file, f"{front}/{key}") for leaf, key in zip(leaves, keys, strict=False)
        }


def _parts_of(file: Hdf5, keys: Sequence[str]) -> list[Part]:
    """Return the arrays of each cell of a layer from weights in order."""
    parts: list[dict[str, FloatArray]] = []
    for key in keys:
        leaf = leaf_of(key)
        if not parts or leaf in parts[-1] or leaf == "kernel":
            parts.append({})
        parts[-1][leaf] = _array(file, key)
    return list(parts)


def _array(file: Hdf5, key: str) -> FloatArray:
    if key in file.problems:
        raise ModelError(file.problems[key])
    if key not in file.arrays:
        raise ModelError(f"{file.source}: array {shortened(key)!a} is missing")
    return weights_of(file.arrays[key], f"{file.source}: {shown(key)}")


def _block(name: str, both: bool, parts: Sequence[Part], notes: list[str]) -> Block:
    """Return what a layer's arrays make; both: of a Bidirectional layer."""
    kinds = [set(part) for part in parts]
    if all({"kernel", "recurrent_kernel"} <= kind <= set(_CELL) for kind in kinds):
        if both and len(parts) == 2:
            halves = (f"{name}_forward", f"{name}_backward")
            first, second = (_cell(n, p, notes) for n, p in zip(halves, parts, strict=True))
            return Block(name, (Bidirectional(name, first, second),))
        single = len(parts) == 1
        names = [name] if single else [f"{name}_{n}" for n in range(len(parts))]
        return Block(name, tuple(_cell(n, p, notes) for n, p in zip(names, parts, strict=True)))
    part, kind = parts[0], kinds[0]
    if len(parts) > 1:
        raise ModelError(f"layer {name!a} holds several layers, a model of its own; {WHOLE}")
    if "kernel" in kind and kind <= {"kernel", "bias"} and part["kernel"].ndim == 2:
        return Block(name, (keras_cells.dense(name, list(part.values())),))
    if kind == {"embeddings"}:
        notes.append(f"{name}: the input is one integer, a row of the table")
        return Block(name, (keras_cells.embedding(name, part["embeddings"]),))
    if {"moving_mean", "moving_variance"} <= kind <= set(_LEAVES["batch_normalization"]):
        notes.append(f"{name}: epsilon is not stored and taken to be {keras_cells.EPSILON}")
        gamma, beta = part.get("gamma"), part.get("beta")
        mean, variance = part["moving_mean"], part["moving_variance"]
        made = keras_cells.batch_normalization(name, gamma, beta, mean, variance)
        return Block(name, (made,))
    if {"mean", "variance"} <= kind <= set(_LEAVES["normalization"]):
        made = keras_cells.normalization(name, part["mean"], part["variance"], None)
        return Block(name, (made,))
    found = ", ".join(f"{leaf} {array.shape}" for leaf, array in part.items())
    raise ModelError(
        f"layer {name!a} has arrays {ascii(found)[1:-1][:160]}, which is not supported; expected "
        "those of LSTM, GRU, Bidirectional, Dense, BatchNormalization or Embedding"
    )


def _cell(name: str, part: Part, notes: list[str]) -> Lstm | Gru:
    arrays = [part[leaf] for leaf in _CELL if leaf in part]
    recurrent = part["recurrent_kernel"]
    gates = 0
    if recurrent.ndim == 2 and recurrent.shape[0]:
        gates = recurrent.shape[1] // recurrent.shape[0]
    if gates == 4:
        return keras_cells.lstm(name, arrays)
    if gates == 3:
        made = keras_cells.gru(name, arrays)
        told = "its bias tells" if "bias" in part else "no bias tells; taken for Keras' default"
        notes.append(f"{name}: reset_after {'on' if made.reset_after else 'off'}, {told}")
        return made
    raise ModelError(
        f"layer {name!a}: its recurrent kernel is {recurrent.shape}; expected (k, 4k) of an LSTM "
        "or (k, 3k) of a GRU"
    )

