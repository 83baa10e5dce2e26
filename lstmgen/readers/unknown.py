"""Files of no known format: what is read instead."""

import os
from typing import NoReturn

from ..errors import ModelError
from .options import ReadOptions

KNOWN_FILES = (
    ".keras, .h5, .onnx, .tflite, .pt or .pth, .safetensors, .npz, "
    "or JSON of RTNeural, NAM or GuitarML"
)


def read(path: str | os.PathLike[str], options: ReadOptions) -> NoReturn:
    """Raise the ModelError that names the formats."""
    raise ModelError(f"{path} is of no format that is read; expected one of {KNOWN_FILES}")
