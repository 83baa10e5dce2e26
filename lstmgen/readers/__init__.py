"""Reading trained networks: `read_model` takes a file of any known format."""

import os

import numpy as np

from ..network import Network
from .formats import format_of
from .options import CONVENTIONS, Draft, ReadOptions, complete

__all__ = ["CONVENTIONS", "Draft", "ReadOptions", "read_model"]


def read_model(path: str | os.PathLike[str], options: ReadOptions | None = None) -> Network:
    """Return the network in a model file; a ModelError lists everything wrong with it.

    The format is told from the content, not from the file's name. `options` hold what a file
    cannot tell; each default that was used instead is named in `Network.notes`.
    """
    options = options or ReadOptions()
    with np.errstate(all="ignore"):  # the network names weights that are not finite
        return complete(format_of(path).read(path, options), options)
