"""What may be chosen in quantizing a network, beside its precision."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

Rounding = Literal["auto", "nearest", "compensated"]
ROUNDINGS: tuple[str, ...] = get_args(Rounding)

CONDITIONING_DB = 0.5
"""What formats of single features have to gain: they make the caller's conversion longer."""

WIDE_INPUT_DB = 1.3
"""What an input wider than the hidden state has to gain in a recurrent layer, where it costs on
some cores the fastest kernel, on AVR any."""

MID_SHIFT_DB = 0.8
"""What a mid shift in all layers has to gain: a handful of instructions for each unit."""

LOOSE_DB = 0.8
"""What weights not held firmly have to gain in q7: its states are noise enough to mislead."""


@dataclass(frozen=True)
class Recipe:
    """One way to quantize a network.

    compensated: whether weights are rounded by what they do to sums, else to nearest.
    firm: whether weights of inputs that hardly vary are held more firmly to what they are.
    refit_dense, refit_recurrent: whether these layers' weights are first fitted to the
        quantized values they get, with float's sums as target.
    guard_bits: by how many bits the input's range exceeds the largest calibrated value.
    input_bits: the width of the network's input, None for the precision's own.
    input_cap, input_offset, input_spare: by how many bits features may be finer than the
        coarsest, whether one-sided ones get an offset, and bits of headroom (conditioning.py).
    mid_shift: as of `quantize`.
    """

    compensated: bool = False
    firm: bool = False
    refit_dense: bool = False
    refit_recurrent: bool = False
    guard_bits: int = 0
    input_bits: int | None = None
    input_cap: int = 0
    input_offset: bool = False
    input_spare: int = 0
    mid_shift: bool | None = None

    def variations(self, offers: "Offers") -> list["Recipe"]:
        """Return the recipes that differ from this one in one choice worth trying.

        Inputs come first, as nothing else helps where they are bad, and rounding to nearest last:
        what makes compensation fail is tried before.
        """
        # Of 16 bits one is left for values that calibration does not hold: with a format for
        # each feature it is the more likely that one of them meets such. Eight bits have none.
        spare = 0 if offers.precision == "q7" else 1
        ways = [(cap, offset, spare) for cap, offset in offers.conditionings]
        found = [
            replace(self, input_cap=way[0], input_offset=way[1], input_spare=way[2])
            for way in [*ways, (0, False, 0)]
            if way[:2] != (self.input_cap, self.input_offset)
        ]
        if (self.input_cap or self.input_offset) and not spare:
            found.append(replace(self, input_spare=1 - self.input_spare))
        for bits in offers.wide:
            other = None if self.input_bits == bits else bits
            found.append(replace(self, input_bits=other))
        if offers.precision != "q7" or (self.input_bits or 8) > 8:
            # Eight bits cannot spare one.
            found.append(replace(self, guard_bits=1 - self.guard_bits))
        if self.compensated:
            found += [
                replace(self, refit_dense=not self.refit_dense),
                replace(self, refit_recurrent=not self.refit_recurrent),
                replace(self, firm=not self.firm),
            ]
        if self.mid_shift is None:
            found.append(replace(self, mid_shift=True))
        plain = replace(
            self, compensated=False, firm=False, refit_dense=False, refit_recurrent=False
        )
        found.append(plain if self.compensated else replace(self, compensated=True))
        return found

    def __str__(self) -> str:
        parts = ["compensated" if self.compensated else "to nearest"]
        parts += ["held firmly"] if self.firm else []
        parts += ["dense layers refitted"] if self.refit_dense else []
        parts += ["recurrent layers refitted"] if self.refit_recurrent else []
        parts += ["a bit of headroom for inputs"] if self.guard_bits else []
        parts += [f"{self.input_bits}-bit input"] if self.input_bits else []
        if self.input_cap or self.input_offset:
            parts.append("inputs by feature")
        parts += ["mid shifts in all layers"] if self.mid_shift else []
        return ", ".join(parts)


@dataclass(frozen=True)
class Offers:
    """What a network and its calibration data leave to choose.

    wide: widths of the input to try beside the precision's own. dense_first: whether a dense
        layer takes them. conditionings: the (input_cap, input_offset) that make a difference.
    """

    precision: str
    wide: Sequence[int] = ()
    dense_first: bool = False
    conditionings: Sequence[tuple[int, bool]] = ()

    def price(self, recipe: Recipe) -> float:
        """Return by how many dB more than others a recipe has to be better."""
        wide = recipe.input_bits in self.wide and not self.dense_first
        features = recipe.input_cap or recipe.input_offset
        loose = self.precision == "q7" and recipe.compensated and not recipe.firm
        prices = (
            (loose, LOOSE_DB),
            (wide, WIDE_INPUT_DB),
            (features, CONDITIONING_DB),
            (recipe.mid_shift, MID_SHIFT_DB),
        )
        return sum(decibel for asked, decibel in prices if asked)
