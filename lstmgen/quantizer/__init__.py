"""From a float network to integers: formats, rounding and the overflow proof."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..errors import ModelError
from ..layers import Dense
from ..network import Network
from ..preconditions import check
from ..qformat import FloatArray
from ..quantized import PRECISIONS, TABLE_BITS, Precision, QuantizedNetwork
from .calibrate import Ranges, measure, range_note
from .chain import Chain
from .chain import input_bits as width_of_input
from .choice import choose
from .conditioning import Conditioning, narrowest, plan, possible
from .modes import MODES
from .recipe import ROUNDINGS, Offers, Recipe, Rounding
from .widths import Widths, wide_inputs

_KEPT = 4
"""Preparations kept: of two folds, the best so far and the one on trial."""

__all__ = ["MODES", "ROUNDINGS", "Rounding", "quantize"]


def quantize(
    network: Network,
    precision: Precision = "w8a16",
    calibration: FloatArray | None = None,
    table_bits: int | None = None,
    mid_shift: bool | None = None,
    rounding: Rounding = "auto",
    widths: Mapping[str, int | str] | None = None,
    input_bits: int | None = None,
    common_input: bool = False,
) -> QuantizedNetwork:
    """Quantize `network` by docs/numerics.md and prove that nothing overflows.

    calibration: (B, T, n) typical inputs, from which the formats of the input and of
        dense results are taken, and by which weights are rounded; without it safe
        assumptions and rounding to nearest, stated in the notes.
    table_bits: 2**table_bits words per activation table instead of the precision's own.
    mid_shift: whether sums over the hidden state get a format of their own (rule N3b); None:
        in the layers where that promises to be worth its instructions.
    rounding: "nearest", "compensated" (errors of a row's weights make up for each other), or
        "auto": what of both and of further choices is best on held-back calibration data.
    widths: bits, 8 or 16, of single layers' weights, such as {"lstm0.U": 16, "head.W": 8}.
    input_bits: of the network's input, 8 to 16; None: the precision's, or in q7 by "auto".
    common_input: whether all features of the input have one format, with no offsets, even
        where "auto" would find others to be better.
    Raises ModelError for calibration data that does not fit, for weights so large that no
    format holds them, and for widths of what is no layer.
    """
    if precision not in PRECISIONS:
        raise ModelError(f"precision {precision!r}; expected one of {', '.join(PRECISIONS)}")
    if rounding not in ROUNDINGS:
        raise ModelError(f"rounding {rounding!r}; expected one of {', '.join(ROUNDINGS)}")
    bits = MODES[precision].table if table_bits is None else table_bits
    if bits not in TABLE_BITS:
        raise ModelError(
            f"table bits {bits}; expected {TABLE_BITS.start} to {TABLE_BITS.stop - 1}"
        )
    if calibration is None and rounding == "compensated":
        raise ModelError(
            "rounding 'compensated' needs calibration data: give --calibration FILE, or leave "
            "--rounding out"
        )
    run = _Run(network, precision, bits, Widths.of(network, widths or {}, input_bits))
    start = Recipe(mid_shift=mid_shift, input_bits=input_bits)
    if calibration is None:
        q = run.quantized(network, measure(network, None), start, None)
        note = "no calibration data: weights are rounded to nearest"
        return replace(q, notes=(*q.notes, note))
    ranges = measure(network, calibration)
    data = np.asarray(calibration, np.float64)
    # States of 8 bits are noise enough to mislead what is fitted to them closely.
    recipe = replace(start, compensated=True, refit_dense=True, firm=precision == "q7")
    chooses = rounding == "auto" and data.shape[0] * data.shape[1] > 1
    refused = None
    try:
        # First, as it refuses what no rounding can hold.
        q = run.quantized(network, ranges, start, data)
    except ModelError as error:
        # Formats of single features may hold what a common one does not.
        if not chooses or common_input:
            raise
        refused = error
    if rounding == "nearest":
        return q
    note, ranged = f"rounding {recipe}", ""
    if chooses:
        width = width_of_input(network, MODES[precision], start)
        offers = Offers(
            precision,
            wide_inputs(network, precision) if input_bits is None else (),
            isinstance(network.layers[0], Dense),
            [] if common_input else possible(network, data, width),
        )
        if network.input_range is not None and not (offers.conditionings or common_input):
            free = replace(network, input_range=None)
            if possible(free, data, width):
                ranged = "; the declared input range is every feature's, so all have one format"
        chosen = choose(network, data, run.by, recipe, offers)
        recipe = chosen.recipe
        if refused is not None and not chosen.held:
            raise refused
        nearest = "no format" if refused is not None else f"{chosen.nearest:.1f} dB"
        note = (
            f"rounding {recipe}: {chosen.decibel:.1f} dB on held-back calibration data, "
            f"to nearest {nearest}{ranged}"
        )
    q = run.by(recipe, data)
    return replace(q, notes=(*q.notes, note))


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A network and calibration data with the inputs conditioned, and what was measured."""

    conditioning: Conditioning | None
    network: Network
    data: FloatArray
    ranges: Ranges


class _Run:
    """The quantization of one network in one precision, by any recipe."""

    def __init__(
        self, network: Network, precision: Precision, bits: int, widths: Widths
    ) -> None:
        self.network, self.precision, self.bits, self.widths = network, precision, bits, widths
        self.known: dict[tuple[object, ...], tuple[FloatArray, _Prepared]] = {}

    def by(self, recipe: Recipe, data: FloatArray) -> QuantizedNetwork:
        """Return the network quantized by a recipe and by calibration data (B, T, n)."""
        ready = self._prepared(recipe, data)
        q = self.quantized(ready.network, ready.ranges, recipe, ready.data)
        found = ready.conditioning
        if found is None:
            return q
        own = len(self.network.notes)
        scaling = found.integers(q.x.frac)
        note = f"inputs by feature: {found}; {narrowest(q.x, scaling)}"
        notes = (*self.network.notes, note, *q.notes[own:])
        return replace(q, scaling=scaling, notes=notes)

    def _prepared(self, recipe: Recipe, data: FloatArray) -> _Prepared:
        """Run the float network, but for the few preparations that were made last."""
        width = width_of_input(self.network, MODES[self.precision], recipe)
        ways = recipe.input_cap, recipe.input_offset, recipe.input_spare
        key = (id(data), width, *ways) if any(ways) else (id(data),)
        if key not in self.known:
            network, own, found = self.network, data, None
            if recipe.input_cap or recipe.input_offset:
                found = plan(network, data, width, *ways)
            if found is not None:
                network, own = found.network(network), found.applied(data)
            for old in list(self.known)[: 1 - _KEPT]:
                del self.known[old]
            # With the data, so that nothing else gets its id.
            ranges = measure(network, own)
            if found is not None:
                ranges = replace(ranges, note=range_note(self.network, data))
            ready = _Prepared(found, network, own, ranges)
            self.known[key] = data, ready
        return self.known[key][1]

    def quantized(
        self, network: Network, ranges: Ranges, recipe: Recipe, data: FloatArray | None
    ) -> QuantizedNetwork:
        """Return `network`, ours or one that takes other inputs, quantized by a recipe."""
        own = self.widths.with_input(network, MODES[self.precision], recipe.input_bits)
        chain = Chain(network, self.precision, self.bits, ranges, recipe, own, data)
        q = QuantizedNetwork(
            name=network.name,
            precision=self.precision,
            outputs=network.outputs,
            tables=chain.tables,
            layers=tuple(chain.layers()),
            notes=(*network.notes, ranges.note + ranges.warning, *self.widths.notes(network, own)),
            calibrated=ranges.measured,
        )
        check(q)
        return q
