"""What may be chosen in quantizing a network, beside its precision."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

Rounding = Literal["auto", "nearest", "compensated"]
ROUNDINGS: tuple[str, ...] = get_args(Rounding)

CONDITIONING_DB = 0.5
"""What formats of single features have to gain: they make the caller's conversion longer."""


@dataclass(frozen=True)
class Recipe:
    """One way to quantize a network.

    compensated: whether weights are rounded by what they do to sums, else to nearest.
    refit_dense, refit_recurrent: whether these layers' weights are first fitted to the
        quantized values they get, with float's sums as target.
    guard_bits: by how many bits the input's range exceeds the largest calibrated value.
    wide_input: whether an input that a dense layer takes has 16 bits in q7 too.
    input_cap, input_offset, input_spare: by how many bits features may be finer than the
        coarsest, whether one-sided ones get an offset, and bits of headroom (conditioning.py).
    mid_shift: as of `quantize`.
    """

    compensated: bool = False
    refit_dense: bool = False
    refit_recurrent: bool = False
    guard_bits: int = 0
    wide_input: bool = False
    input_cap: int = 0
    input_offset: bool = False
    input_spare: int = 0
    mid_shift: bool | None = None

    @property
    def price(self) -> float:
        """By how many dB more than others this one has to be better, for what it asks of users."""
        return CONDITIONING_DB if self.input_cap or self.input_offset else 0.0

    def variations(
        self, precision: str, dense_first: bool, conditionings: Sequence[tuple[int, bool]]
    ) -> list["Recipe"]:
        """Return the recipes that differ from this one in one choice worth trying.

        conditionings: the (input_cap, input_offset) that make a difference to the inputs.
        """
        found = [
            replace(self, compensated=not self.compensated),
            replace(self, refit_dense=not self.refit_dense),
            replace(self, refit_recurrent=not self.refit_recurrent),
        ]
        if precision == "q7" and dense_first:
            found.append(replace(self, wide_input=not self.wide_input))
        if precision != "q7" or self.wide_input:
            # Eight bits cannot spare one.
            found.append(replace(self, guard_bits=1 - self.guard_bits))
        found += [
            replace(self, input_cap=cap, input_offset=offset)
            for cap, offset in [*conditionings, (0, False)]
            if (cap, offset) != (self.input_cap, self.input_offset)
        ]
        if self.input_cap:
            found.append(replace(self, input_spare=1 - self.input_spare))
        if self.mid_shift is None:
            found.append(replace(self, mid_shift=True))
        return found

    def __str__(self) -> str:
        parts = ["compensated" if self.compensated else "to nearest"]
        parts += ["dense layers refitted"] if self.refit_dense else []
        parts += ["recurrent layers refitted"] if self.refit_recurrent else []
        parts += ["a bit of headroom for inputs"] if self.guard_bits else []
        parts += ["16-bit input"] if self.wide_input else []
        if self.input_cap or self.input_offset:
            spare = ", a bit of headroom for finer ones" if self.input_spare else ""
            parts.append(f"inputs by feature{spare}")
        parts += ["mid shifts in all layers"] if self.mid_shift else []
        return ", ".join(parts)
