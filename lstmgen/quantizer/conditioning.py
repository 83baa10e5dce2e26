"""Formats and offsets of single features, made the network's by folding them into its weights.

A network whose features have little in common, a temperature beside a ratio, or that never go
below 0, gets each feature in a format of its own (rule N1). The rest of the quantizer knows
nothing of this: it sees a network that takes x' = (x - offset) * 2^shift.
"""

from dataclasses import dataclass, replace

import numpy as np

from ..folding import Affine, fold
from ..layers import Dense, Embedding
from ..network import Network
from ..qformat import FloatArray, IntArray, QFormat, max_frac
from ..scaling import MAX_INPUT_OFFSET, MAX_INPUT_SCALE, InputScaling

SCALE_CAPS = (3, MAX_INPUT_SCALE)
"""How much finer features may get: 3 bits, as one that is rarely active may be larger in use than
in calibration, or as much as the data tells."""

_ONE_SIDED = 0.75
"""A feature is given an offset where that takes at least a quarter off its largest magnitude."""


@dataclass(frozen=True, eq=False)
class Conditioning:
    """x' = (x - offset) * 2^shift for each of n features; shift: (n,), offset: (n,) real.

    reach: the largest |x'| to be held.
    """

    shift: IntArray
    offset: FloatArray
    reach: float

    def applied(self, x: FloatArray) -> FloatArray:
        """Return x' for inputs (..., n)."""
        return np.asarray((x - self.offset) * 2.0**self.shift)

    def network(self, network: Network) -> Network:
        """Return the network that takes x' and gives what `network` gives for x."""
        scale: FloatArray = np.ldexp(1.0, -self.shift)
        first = Affine("input", scale, self.offset)
        layers = fold([first, *network.layers])
        last = layers[-1]
        if isinstance(last, Dense) and last.skip is not None:
            # The network's own input once more.
            layers[-1] = replace(
                last, skip=last.skip * scale, b=last.b + first.moved(last.skip)
            )
        reach = self.reach
        if network.input_range is not None:
            ends = np.repeat(np.array(network.input_range)[:, None], network.inputs, 1)
            reach = max(reach, float(np.abs(self.applied(ends)).max()))
        return replace(network, layers=tuple(layers), input_range=(-reach, reach))

    def integers(self, frac: int) -> InputScaling:
        """Return the same of raw inputs of `frac` fraction bits before the shift."""
        offset = self.offset * 2.0 ** (frac + self.shift)
        whole = np.rint(offset).astype(np.int64)
        assert (whole == offset).all()
        return InputScaling(self.shift, whole)

    def __str__(self) -> str:
        scaled, moved = np.count_nonzero(self.shift), np.count_nonzero(self.offset)
        parts = []
        if scaled:
            most = int(self.shift.max())
            parts.append(f"{scaled} of {len(self.shift)} features by up to {most} bits finer")
        if moved:
            parts.append(f"{moved} of {len(self.shift)} less an offset")
        return ", ".join(parts)


def plan(
    network: Network, x: FloatArray, bits: int, cap: int, offsets: bool, spare: int = 0
) -> Conditioning | None:
    """Return formats for the features of inputs x (B, T, n) as they are in these.

    bits: of the raw input. cap: most bits by which a feature gets finer than the coarsest.
    offsets: whether one-sided features get an offset; one that never changes does not, as it
    may in use. spare: bits that finer features and those with an offset leave for larger values
    than those in x. None where nothing would change.
    """
    if isinstance(network.layers[0], Embedding):
        return None
    lo, hi = x.min((0, 1)), x.max((0, 1))
    if network.input_range is not None:
        lo, hi = np.minimum(lo, network.input_range[0]), np.maximum(hi, network.input_range[1])
    peak, half = np.maximum(np.abs(lo), np.abs(hi)), (hi - lo) / 2
    moved = (half < _ONE_SIDED * peak) & (half > 0) & offsets
    own = half * 2.0**spare
    while True:
        reach = np.where(moved, own, peak)
        largest = float(reach.max())
        if not largest:
            return None
        finer = _exponent(largest / np.where(reach > 0, reach, largest))
        finer -= np.where(moved, 0, spare)
        shift = np.clip(finer, 0, cap).astype(np.int64)
        # Offsets are coarse, so that they are whole in any format that the input may get, and
        # fine enough to leave no more than 1/16 of a feature's range beyond.
        finest = max_frac(1.125 * largest, bits) - 2 + shift
        coarse = 3 - _exponent(np.where(half > 0, half, largest))
        step = np.ldexp(1.0, -np.minimum(finest, coarse))
        offset = np.where(moved, np.floor((lo + hi) / 2 / step + 0.5) * step, 0.0)
        beyond = np.abs(offset) * 2.0 ** (finest + 3) > MAX_INPUT_OFFSET
        if not beyond.any():
            break
        # A feature that changes little at a great distance from 0 gets a coarser format.
        own = np.where(beyond, 2 * own, own)
        moved &= ~beyond | (own < _ONE_SIDED * peak)
    if not shift.any() and not offset.any():
        return None
    return Conditioning(shift, offset, largest)


def narrowest(x: QFormat, scaling: InputScaling) -> str:
    """Return what the feature with the smallest range holds, for the user."""
    lo, hi = (scaling.to_real(x, np.full(len(scaling.shift), end)) for end in (x.lo, x.hi))
    at = int(np.argmin(hi - lo))
    return (
        f"the least range has feature {at}, {lo[at]:.6g} .. {hi[at]:.6g}, beyond which it is "
        "limited"
    )


def _exponent(values: FloatArray) -> IntArray:
    """Return floor(log2(values)), exactly: log2 may round up to the next power of two."""
    return np.asarray(np.frexp(values)[1] - 1, np.int64)


def possible(network: Network, x: FloatArray, bits: int) -> list[tuple[int, bool]]:
    """Return the (cap, offsets) that make a difference to inputs x, the mildest first."""
    found: dict[bytes, tuple[int, bool]] = {}
    for offsets in (False, True):
        for cap in (0, *SCALE_CAPS):
            made = plan(network, x, bits, cap, offsets)
            if made is not None:
                key = made.shift.tobytes() + made.offset.tobytes()
                found.setdefault(key, (cap, offsets))
    return list(found.values())
