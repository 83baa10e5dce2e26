"""Core-specific kernels of a layer: which one its actual weights allow, and its data.

A kernel computes the same integers as the portable C in fewer instructions. Each has a
condition that makes it safe, checked here against the weights; where none holds, the layer
gets portable C and `Choice.reason` says why.
"""

from typing import Any, Protocol

from ...bounds import LayerBounds
from ...qformat import IntArray
from ...quantized import Tables
from ...quantized_layers import QuantizedDense, QuantizedLstm
from . import (
    armv6m,
    armv6m_dense,
    armv7em,
    armv7m,
    armv7m_dense,
    avr,
    avr_dense,
    mve,
    mve_dense,
    rv32imc,
    x86,
    x86_dense,
)
from .kernel import EFFORTS, Choice, Effort, Kernel

__all__ = [
    "EFFORTS",
    "Choice",
    "Effort",
    "Kernel",
    "choose",
    "choose_dense",
    "unpack",
    "unpack_dense",
]


class _Flavour(Protocol):
    """What the module of an instruction set has."""

    def choose(
        self,
        layer: QuantizedLstm,
        bounds: LayerBounds,
        tables: Tables,
        effort: Effort,
        h_aligned: bool,
    ) -> Choice: ...

    def unpack(self, kernel: Any, layer: QuantizedLstm) -> tuple[IntArray, IntArray]: ...


class _DenseFlavour(Protocol):
    """What it has for dense layers."""

    def choose_dense(
        self, layer: QuantizedDense, bounds: LayerBounds, effort: Effort
    ) -> Choice: ...

    def unpack_dense(self, kernel: Any, layer: QuantizedDense) -> tuple[IntArray, IntArray]: ...


_FLAVOURS: dict[str, tuple[_Flavour, _DenseFlavour]] = {
    "avr": (avr, avr_dense),
    "armv6m": (armv6m, armv6m_dense),
    "armv7m": (armv7m, armv7m_dense),
    "armv7em": (armv7em, armv7em),
    "armv8m": (armv7em, armv7em),
    "mve": (mve, mve_dense),
    "rv32imc": (rv32imc, rv32imc),
    "x86-64": (x86, x86_dense),
}
"""By instruction set, what chooses among its kernels of LSTM layers, and of dense layers."""


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
    if isa not in _FLAVOURS:
        return Choice(None, f"{isa} has no kernels of its own")
    if not layer.plain:
        return Choice(None, "it is no plain LSTM: peepholes, projection, clips or functions")
    flavour, _ = _FLAVOURS[isa]
    return flavour.choose(layer, bounds, tables, effort, h_aligned)


def choose_dense(
    isa: str, layer: QuantizedDense, bounds: LayerBounds, effort: Effort
) -> Choice:
    """Return the kernel for the sums of a dense layer, or the reason for portable C."""
    if isa not in _FLAVOURS:
        return Choice(None, f"{isa} has no kernels of its own")
    if layer.skip is not None:
        return Choice(None, "it adds the network's own input")
    _, flavour = _FLAVOURS[isa]
    return flavour.choose_dense(layer, bounds, effort)


def unpack(isa: str, kernel: Kernel, layer: QuantizedLstm) -> tuple[IntArray, IntArray]:
    """Return the weights (4k, n), (4k, k) that the stream of a kernel holds."""
    return _FLAVOURS[isa][0].unpack(kernel, layer)


def unpack_dense(isa: str, kernel: Kernel, layer: QuantizedDense) -> tuple[IntArray, IntArray]:
    """Return the weights (m, n) and biases (m,) that the stream of a kernel holds."""
    return _FLAVOURS[isa][1].unpack_dense(kernel, layer)
