"""Which convention an .npz file follows, told from the names of its arrays."""

import os
import re
from collections.abc import Mapping

from .. import schema
from ..errors import ModelError
from ..npz import Array, read_npz, shown_name
from ..weights import DATA_ARRAYS
from . import keras_weights, plain, torch_modules
from .options import CONVENTIONS, Draft, ReadOptions, network_name

_READERS = {
    "schema": lambda arrays, source, name: _of_schema(arrays, source),
    "keras": keras_weights.read,
    "plain": plain.read,
    "plain-keras": plain.read_keras,
}

_MARKS = {
    "schema": re.compile(re.escape(schema.KEY)),
    "state-dict": torch_modules.RECURRENT,
    "keras": re.compile(r"arr_\d+"),
    "plain": re.compile(r"[WRb]\d+"),
    "plain-keras": re.compile(r"lstm\d+_[WRb]"),
}
"""A file follows a convention if one of its arrays has a name of this form."""


def read(path: str | os.PathLike[str], options: ReadOptions) -> Draft:
    """Return what the arrays of a file tell, by the convention wanted or the one that fits."""
    arrays = read_npz(path)
    source = str(path)
    name = network_name(path)
    convention = convention_of(arrays, source, options.convention)
    if convention == "state-dict":
        return torch_modules.read(arrays, source, name, options)
    return _READERS[convention](arrays, source, name)


def convention_of(arrays: Mapping[str, Array], source: str, wanted: str | None = None) -> str:
    """Return the one convention (a key of CONVENTIONS) that the arrays' names fit."""
    if wanted is not None and wanted not in CONVENTIONS:
        raise ModelError(
            f"convention {wanted!a} is unknown; expected one of {', '.join(CONVENTIONS)}"
        )
    names = [name for name in arrays if name not in DATA_ARRAYS]
    if not names:
        what = f"only {', '.join(arrays)}, no weights" if arrays else "no arrays"
        raise ModelError(f"{source} holds {what}; expected the arrays of a network")
    fitting = [key for key, mark in _MARKS.items() if any(mark.fullmatch(n) for n in names)]
    if wanted is not None:
        return wanted
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        found = " and ".join(f"{key} ({CONVENTIONS[key]})" for key in fitting)
        raise ModelError(f"{source} fits {found}; say which with --convention")
    shown = ", ".join(shown_name(name) for name in names[:6]) + (", ..." if len(names) > 6 else "")
    raise ModelError(
        f"{source} holds {shown}, which is no LSTM network in a known convention; "
        f"expected {'; '.join(CONVENTIONS.values())}"
    )


def _of_schema(arrays: Mapping[str, Array], source: str) -> Draft:
    network = schema.read_schema(arrays, source)
    return Draft(
        source,
        network.name,
        network.layers,
        stored=True,
        outputs=network.outputs,
        input_range=network.input_range,
        notes=network.notes,
    )
