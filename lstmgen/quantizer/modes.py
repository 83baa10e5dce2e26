"""The three precisions; they differ by constants only, the rules are the same."""

from dataclasses import dataclass

from ..quantized import Precision

DENSE_WEIGHT_BITS = 16
"""Dense weights have 16 bits in every precision: they are few."""


@dataclass(frozen=True)
class Mode:
    """The widths of one precision, in bits.

    input: of the network's input and of dense results that feed an LSTM.
    hidden: of the hidden state, Q0.(hidden-1), and of dense results that feed a dense layer.
    input_weights, hidden_weights: of the LSTM's W and U.
    dense_weights: of a dense layer's weights, and of a projection.
    table: m, for tables of 2**m words.
    max_right_shift: the largest shift s_r that takes an accumulator to a gate's argument;
        0 keeps all shifts of q7 left shifts, 16 lets a kernel fold the table index into it.
    """

    input: int
    hidden: int
    input_weights: int
    hidden_weights: int
    table: int
    max_right_shift: int
    dense_weights: int = DENSE_WEIGHT_BITS


# w8a16 spends three bits of the input so that its 16-bit input weights keep about 11 useful
# ones at the product format that they share with the 8-bit recurrent weights (rule N2).
MODES: dict[Precision, Mode] = {
    "q15": Mode(16, 16, 16, 16, table=9, max_right_shift=16),
    "w8a16": Mode(13, 16, 16, 8, table=8, max_right_shift=16),
    "q7": Mode(8, 8, 8, 8, table=7, max_right_shift=0),
}
