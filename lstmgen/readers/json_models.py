"""JSON files of audio models: which of RTNeural, NAM and GuitarML wrote one, and what they share.

All of them compute an output for each sample, so that their outputs are the sequence.
"""

import os
from pathlib import Path

from ..errors import ModelError
from . import guitarml, nam, rtneural
from .json_text import MAX_BYTES, parse
from .options import Draft, ReadOptions, network_name

_EXPECTED = (
    "expected RTNeural's in_shape and layers, a PyTorch state dict as lists, NAM's architecture "
    "or GuitarML's model_data"
)


def read(path: str | os.PathLike[str], options: ReadOptions) -> Draft:
    """Return the network of a file of any of these kinds."""
    source, name = str(path), network_name(path)
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ModelError(f"{source} cannot be read: {error.strerror or error}") from error
    values = parse(data, source)
    if not isinstance(values, dict):
        raise ModelError(f"{source} is JSON of another kind; {_EXPECTED}")
    if "architecture" in values:
        return nam.read(values, source, name)
    if "model_data" in values and "state_dict" in values:
        return guitarml.read(values, source, name, options)
    if "layers" in values and "in_shape" in values:
        return rtneural.read(values, source, name)
    if any(rtneural.is_state_dict_key(key) for key in values):
        return rtneural.read_state_dict(values, source, name, options)
    if "class_name" in values or "modelTopology" in values:
        raise ModelError(
            f"{source} is a Keras architecture without weights; save the whole model: "
            "model.save('model.keras')"
        )
    shown = ", ".join(ascii(key[:40]) for key in list(values)[:6]) or "nothing"
    raise ModelError(f"{source} holds {shown}; {_EXPECTED}")
