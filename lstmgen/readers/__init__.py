"""Reading trained networks: `read_model` takes a file of any known convention."""

import os

from ..network import Network
from . import npz
from .options import CONVENTIONS, ReadOptions, complete

__all__ = ["CONVENTIONS", "ReadOptions", "read_model"]


def read_model(path: str | os.PathLike[str], options: ReadOptions | None = None) -> Network:
    """Return the network in a model file; a ModelError lists everything wrong with it.

    The convention is told from the content, not from the file's name. `options` hold what
    arrays cannot tell; each default that was used instead is named in `Network.notes`.
    """
    options = options or ReadOptions()
    return complete(npz.read(path, options.convention), options)
