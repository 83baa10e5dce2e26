"""What may be chosen in quantizing a network, beside its precision."""

from dataclasses import dataclass, replace
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
    input_bits: the width of the network's input, None for the precision's own.
    mid_shift: as of `quantize`.
    """

    compensated: bool = False
    refit_dense: bool = False
    refit_recurrent: bool = False
    guard_bits: int = 0
    input_bits: int | None = None
    mid_shift: bool | None = None

    def variations(self, precision: str, wide: tuple[int, ...]) -> list["Recipe"]:
        """Return the recipes that differ from this one in one choice worth trying.

        wide: widths of the input beside the precision's own.
        """
        found = [
            replace(self, refit_dense=not self.refit_dense),
            replace(self, refit_recurrent=not self.refit_recurrent),
        ]
        for bits in wide:
            other = None if self.input_bits == bits else bits
            found.append(replace(self, input_bits=other))
        if precision != "q7" or (self.input_bits or 8) > 8:
            # Eight bits cannot spare one.
            found.append(replace(self, guard_bits=1 - self.guard_bits))
        if self.mid_shift is None:
            found.append(replace(self, mid_shift=True))
        return found

    def __str__(self) -> str:
        parts = ["compensated" if self.compensated else "to nearest"]
        parts += ["dense layers refitted"] if self.refit_dense else []
        parts += ["recurrent layers refitted"] if self.refit_recurrent else []
        parts += ["a bit of headroom for inputs"] if self.guard_bits else []
        parts += [f"{self.input_bits}-bit input"] if self.input_bits else []
        parts += ["mid shifts in all layers"] if self.mid_shift else []
        return ", ".join(parts)
