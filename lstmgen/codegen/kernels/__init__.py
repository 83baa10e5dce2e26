"""Core-specific kernels of an LSTM layer: which one its actual weights allow, and its data.

A kernel computes the same integers as the portable C in fewer instructions. Each has a
condition that makes it safe, checked here against the weights; where none holds, the layer
gets portable C and `Choice.reason` says why.
"""

from collections.abc import Callable

from ...bounds import LayerBounds
from ...quantized import QuantizedLstm, Tables
from . import armv6m, armv7em, armv7m, avr, mve, rv32imc, x86
from .kernel import EFFORTS, Choice, Effort, Kernel

__all__ = ["EFFORTS", "Choice", "Effort", "Kernel", "choose"]

_Chooser = Callable[[QuantizedLstm, LayerBounds, Tables, Effort, bool], Choice]

_FLAVOURS: dict[str, _Chooser] = {
    "avr": avr.choose,
    "armv6m": armv6m.choose,
    "armv7m": armv7m.choose,
    "armv7em": armv7em.choose,
    "armv8m": armv7em.choose,
    "mve": mve.choose,
    "rv32imc": rv32imc.choose,
    "x86-64": x86.choose,
}
"""By instruction set, what chooses among its kernels."""

_MID_SHIFTED: frozenset[str] = frozenset()


def choose(
    isa: str,
    layer: QuantizedLstm,
    bounds: LayerBounds,
    tables: Tables,
    effort: Effort,
    h_aligned: bool,
) -> Choice:
    """Return the kernel for a layer on an instruction set, or the reason for portable C.

    h_aligned: whether the layer's h begins at a multiple of 4 in the state.
    """
    flavour = _FLAVOURS.get(isa)
    if layer.mid_shift.any() and isa not in _MID_SHIFTED:
        return Choice(None, "its sums over h have a format of their own")
    if flavour is None:
        return Choice(None, f"{isa} has no kernels of its own")
    return flavour(layer, bounds, tables, effort, h_aligned)
