"""The formats of model files, told from a file's first bytes and from what an archive holds.

A format's module is imported when a file of it is read, and takes no framework: see
`need` for what some of them want installed.
"""

import importlib
import os
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from ..errors import ModelError
from ..npz import BROKEN, is_other_file
from .options import Draft, ReadOptions

HEAD_BYTES = 64
"""Bytes from the front of a file that tell its format, if it is no archive."""


@dataclass(frozen=True)
class Format:
    """A format: its name for people, how its files begin or what they hold, and its reader.

    head: whether a file that begins so, no zip archive, may be of the format.
    entries: whether a zip archive with these entries may be.
    module: the module of this package with `read(path, options) -> Draft`.
    """

    name: str
    module: str
    head: Callable[[bytes], bool] = lambda head: False
    entries: Callable[[list[str]], bool] = lambda names: False

    def read(self, path: str | os.PathLike[str], options: ReadOptions) -> Draft:
        """Return what a file of the format tells."""
        module = importlib.import_module(f".{self.module}", __package__)
        draft: Draft = module.read(path, options)
        return draft


_ONNX = re.compile(rb"\x08[\x01-\x1f][\x12\x1a\x22\x28\x32\x3a\x42]")
"""How an ONNX file begins: its ir_version, then one of the fields that may follow."""

FORMATS = (
    Format("npz", "npz", entries=lambda names: any(name.endswith(".npy") for name in names)),
    Format("ONNX", "onnx_file", head=lambda head: _ONNX.match(head) is not None),
    Format(
        "PyTorch",
        "torch_zip",
        head=lambda head: head.startswith(b"\x80\x02\x8a\x0al\xfc\x9cF"),
        entries=lambda names: any(f"/{name}".endswith("/data.pkl") for name in names),
    ),
    Format(
        "safetensors",
        "safetensors",
        head=lambda head: head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 40,
    ),
    Format(
        "JSON",
        "json_models",
        head=lambda head: head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")[:1] == b"{",
    ),
    Format("Keras .keras", "keras", entries=lambda names: "config.json" in names),
    Format("Keras .h5", "keras", head=lambda head: head.startswith(b"\x89HDF\r\n\x1a\n")),
    Format("TFLite", "tflite_file", head=lambda head: head[4:8] == b"TFL3"),
)


UNKNOWN = Format("unknown", "unknown")


def format_of(path: str | os.PathLike[str]) -> Format:
    """Return the format of a file; for one that is none, or not there, one whose reader says so."""
    if not Path(path).is_file():
        return FORMATS[0]  # whose reader says so
    try:
        with Path(path).open("rb") as file:
            head = file.read(HEAD_BYTES)
        names = zipfile.ZipFile(path).namelist() if head[:4] == b"PK\x03\x04" else None
    except BROKEN:
        return FORMATS[0]  # whose reader says what is wrong
    for known in FORMATS:
        if known.head(head) if names is None else known.entries(names):
            return known
    if names is None and not head.startswith(b"PK") and not is_other_file(head):
        return UNKNOWN
    return FORMATS[0]


def need(module: str, extra: str, path: str | os.PathLike[str]) -> ModuleType:
    """Import what a reader needs beyond numpy; a ModelError names the extra that has it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ModelError(
            f"{path}: reading it needs the package {module}; "
            f"install it with: pip install 'lstmgen[{extra}]'"
        ) from None
