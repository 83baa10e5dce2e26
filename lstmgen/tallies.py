"""Sums over chunks of data from which a report's figures follow: errors by step, magnitudes."""

from dataclasses import dataclass

import numpy as np

from .qformat import FloatArray, IntArray, QFormat

_LOWEST, _HIGHEST = -48, 48
"""Exponents that magnitudes are counted under; what lies beyond joins the nearest."""

_BINS = 64
"""Most points of an error over the steps."""


@dataclass(frozen=True)
class Drift:
    """The rms error of a layer's values, or of the outputs, against the time step.

    Of a layer that goes backwards step 0 is a sequence's last, which it takes first.
    steps: the first step of each point; rms: over the steps up to the next point.
    growth: rms over the last quarter of the steps by that over the first; climb: by that over the
        third, above 1 where errors still grow at the end. Both None where that is no number, and
        of fewer than 4 steps.
    """

    name: str
    steps: tuple[int, ...]
    rms: tuple[float, ...]
    growth: float | None
    climb: float | None


class StepErrors:
    """Squared errors of values (B, T, width), step by step."""

    def __init__(self, steps: int) -> None:
        self.noise = np.zeros(steps)
        self.count = np.zeros(steps)

    def add(self, expected: FloatArray, got: FloatArray) -> None:
        """Count in the values of sequences that begin at the first step."""
        steps = expected.shape[1]
        self.noise[:steps] += np.sum((got - expected) ** 2, (0, 2))
        self.count[:steps] += expected.shape[0] * expected.shape[2]

    def drift(self, name: str) -> Drift:
        """Return the errors as points over the steps."""
        steps = int(np.count_nonzero(self.count))
        first = np.unique(np.linspace(0, steps, min(steps, _BINS), endpoint=False).astype(np.int64))
        noise = np.add.reduceat(self.noise[:steps], first)
        count = np.add.reduceat(self.count[:steps], first)
        quarter = steps // 4
        return Drift(
            name,
            tuple(first.tolist()),
            tuple(np.sqrt(noise / count).tolist()),
            self._ratio(slice(steps - quarter, steps), slice(0, quarter)),
            self._ratio(slice(steps - quarter, steps), slice(steps - 2 * quarter, steps - quarter)),
        )

    def _ratio(self, part: slice, other: slice) -> float | None:
        """Return the rms error over the one part by that over the other."""
        noise = self.noise[other].sum()
        if not noise:
            return None
        mean = self.noise[part].sum() / self.count[part].sum()
        return float(np.sqrt(mean / (noise / self.count[other].sum())))


@dataclass(frozen=True)
class Histogram:
    """How large a tensor's float values are, beside the format that has to hold them.

    exponents, counts: values of 2^e <= |value| < 2^(e + 1), from the least to the largest.
    format: as text; step, limit: its real resolution and largest magnitude.
    max_abs: the largest |value|. headroom_bits: log2(limit / max_abs), what the format has to
        spare. clipped: values more than a step beyond it; lost: values other than 0 that round to
        0. sqnr_db: what rounding to the format alone leaves. It is None without an error, and
        headroom_bits if all values are 0.
    """

    name: str
    what: str
    format: str
    bits: int
    step: float
    limit: float
    values: int
    max_abs: float
    headroom_bits: float | None
    sqnr_db: float | None
    clipped: int
    lost: int
    exponents: tuple[int, ...]
    counts: tuple[int, ...]


class Magnitudes:
    """Counts of values by their power of two."""

    def __init__(self, name: str, what: str, format_: QFormat) -> None:
        self.name, self.what, self.format = name, what, format_
        self.counts: IntArray = np.zeros(_HIGHEST - _LOWEST + 1, np.int64)
        self.values = self.clipped = self.lost = 0
        self.max_abs = self.signal = self.noise = 0.0

    def add(self, values: FloatArray) -> None:
        """Count in float values of any shape."""
        size = np.abs(values[values != 0])
        # frexp: size = m * 2^e with 1/2 <= m < 1, exact where log2 may round up.
        exponents = np.clip(np.frexp(size)[1] - 1, _LOWEST, _HIGHEST)
        self.counts += np.bincount(exponents - _LOWEST, minlength=len(self.counts))
        self.values += values.size
        self.signal += float(np.sum(values**2))
        self.noise += float(np.sum((self.format.to_real(self.format.to_raw(values)) - values) ** 2))
        limit = (self.format.hi + 1.0) * self.format.step
        self.clipped += int(np.count_nonzero(size > limit))
        self.lost += int(np.count_nonzero(size < self.format.step / 2))
        self.max_abs = max(self.max_abs, float(size.max(initial=0.0)))

    def histogram(self) -> Histogram:
        """Return what was counted."""
        used = np.flatnonzero(self.counts)
        span = range(int(used[0]), int(used[-1]) + 1) if len(used) else range(0)
        limit = self.format.hi * self.format.step
        return Histogram(
            self.name,
            self.what,
            str(self.format),
            self.format.bits,
            self.format.step,
            limit,
            self.values,
            self.max_abs,
            float(np.log2(limit / self.max_abs)) if self.max_abs else None,
            float(10 * np.log10(self.signal / self.noise)) if self.noise else None,
            self.clipped,
            self.lost,
            tuple(at + _LOWEST for at in span),
            tuple(int(self.counts[at]) for at in span),
        )
