"""The formats of model files, told from a file's first bytes and from what an archive holds.

A format's module is imported when a file of it is read, and takes no framework: see
`need` for what some of them want installed.
"""

import importlib
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from ..errors import ModelError
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


FORMATS = (
    Format("npz", "npz", entries=lambda names: any(name.endswith(".npy") for name in names)),
    Format("TFLite", "tflite_file", head=lambda head: head[4:8] == b"TFL3"),
)


def format_of(path: str | os.PathLike[str]) -> Format:
    """Return the format of a file; a ModelError for a file that is none, or not there."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(HEAD_BYTES)
        names = zipfile.ZipFile(path).namelist() if head[:4] == b"PK\x03\x04" else None
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return FORMATS[0]  # whose reader says what is wrong
    for known in FORMATS:
        if known.head(head) if names is None else known.entries(names):
            return known
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
