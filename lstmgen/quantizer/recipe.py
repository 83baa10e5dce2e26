"""What may be chosen in quantizing a network, beside its precision."""

from dataclasses import dataclass
from typing import Literal, get_args

Rounding = Literal["auto", "nearest", "compensated"]
ROUNDINGS: tuple[str, ...] = get_args(Rounding)


@dataclass(frozen=True)
class Recipe:
    """One way to quantize a network.

    compensated: whether weights are rounded by what they do to sums, else to nearest.
    refit_dense, refit_recurrent: whether these layers' weights are first fitted to the
        quantized values they get, with float's sums as target.
    guard_bits: by how many bits the input's range exceeds the largest calibrated value.
    wide_input: whether a network's input that a dense layer takes has 16 bits in q7 too.
    mid_shift: as of `quantize`.
    """

    compensated: bool = False
    refit_dense: bool = False
    refit_recurrent: bool = False
    guard_bits: int = 0
    wide_input: bool = False
    mid_shift: bool | None = None
    passes: int = 1
    weighted: float = 0.0
    inner_guard_bits: int = 0
