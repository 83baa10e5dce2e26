"""Keras' files: .keras (Keras 2 and 3), .h5 of a whole model, .h5 of weights alone."""

import os
import re
import zipfile

from ..errors import ModelError
from ..npz import BROKEN
from . import keras_cells, keras_guess
from .hdf5 import MAX_FILE, read_hdf5
from .keras_config import Config, chain_of, parse
from .keras_layers import Builder
from .keras_store import ByName, ByPath, Store
from .options import Draft, ReadOptions, network_name

MAX_CONFIG = 1 << 24
"""Largest config in bytes."""

_WEIGHTS = "model.weights.h5"


def read(path: str | os.PathLike[str], options: ReadOptions) -> Draft:
    """Return what a file of Keras tells."""
    source = str(path)
    name = network_name(path)
    if zipfile.is_zipfile(path):
        return _read_archive(path, source, name)
    file = read_hdf5(path, source)
    text = file.text("", "model_config")
    if text is None and file.words("", "layer_names") is None:
        return keras_guess.of_paths(file, name)
    if text is None:
        return keras_guess.of_names(file, name)
    version, note = _version(file.text("", "keras_version"))
    base = "model_weights" if "model_weights" in file.groups else ""
    store = ByName(file, base)
    return _draft(parse(text, f"{source}: model_config"), store, source, name, version, note)


def _read_archive(path: str | os.PathLike[str], source: str, name: str) -> Draft:
    try:
        with zipfile.ZipFile(path) as archive:
            config = parse(_member(archive, "config.json", MAX_CONFIG, source), source)
            metadata: Config = {}
            if "metadata.json" in archive.namelist():
                metadata = parse(_member(archive, "metadata.json", MAX_CONFIG, source), source)
            data = _member(archive, _WEIGHTS, MAX_FILE, source)
    except BROKEN as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(
            f"{source} is damaged or truncated ({reason!a}); write or copy it anew"
        ) from error
    version, note = _version(metadata.get("keras_version"))
    file = read_hdf5(data, f"{source}: {_WEIGHTS}")
    return _draft(config, ByPath(file), source, name, version, note)


def _member(archive: zipfile.ZipFile, name: str, limit: int, source: str) -> bytes:
    """Return an entry of the archive, which is bounded before it is unpacked."""
    if name not in archive.namelist():
        raise ModelError(f"{source} has no entry {name!a}; expected a .keras file as Keras saves")
    info = archive.getinfo(name)
    if info.file_size > limit:
        raise ModelError(
            f"{source}: {name} unpacks to {info.file_size} bytes; expected at most {limit}"
        )
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ModelError(f"{source}: {name} is packed in an unknown way; save the model anew")
    with archive.open(info) as stream:
        return stream.read(limit)


def _version(text: object) -> tuple[int, str]:
    """Return Keras' major version, 2 or 3, and the note on it."""
    match = re.match(r"(\d{1,3})\.", text) if isinstance(text, str) else None
    if match is None:
        return 3, "Keras model of an unknown version, taken for Keras 3"
    assert isinstance(text, str)
    shown = text[:20] if text.isprintable() else match[1]
    return (3 if int(match[1]) >= 3 else int(match[1])), f"Keras model, written by Keras {shown}"


def _draft(
    config: Config, store: Store, source: str, name: str, version: int, note: str
) -> Draft:
    problems: list[str] = []
    if version < 2:
        problems.append(f"{source}: written by Keras {version}; expected Keras 2 or 3")
    entries = chain_of(config, source, problems)
    builder = Builder(source, store, version)
    for entry in entries:
        builder.add(entry)
    return Draft(
        source,
        name,
        tuple(builder.layers),
        stored=True,
        outputs="sequence" if builder.sequence else "last",
        notes=(note, keras_cells.NOTE, *builder.notes),
        problems=tuple(problems + builder.problems),
    )
