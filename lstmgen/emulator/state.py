"""The state of one recurrent layer for a batch of sequences."""

from dataclasses import dataclass

import numpy as np

from ..qformat import IntArray
from ..quantized_layers import QuantizedRecurrent


@dataclass(frozen=True, eq=False)
class LstmState:
    """h: (batch, p) hidden state, c: (batch, k) cell words C = 2c (rules N6 and N14)."""

    h: IntArray
    c: IntArray

    @classmethod
    def initial(cls, layer: QuantizedRecurrent, batch: int) -> "LstmState":
        """Return the layer's initial state for `batch` sequences."""
        return cls(np.tile(layer.h0, (batch, 1)), np.tile(layer.c0, (batch, 1)))
