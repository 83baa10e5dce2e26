"""Kernels for RISC-V cores with 32-bit registers and a multiplier: RV32IMC.

Two or three units share a pass over x and h, so that each value is loaded once for all their
products; the sums stay in registers until the units' new state is stored. Two ways to multiply:

- lanes (rv32_lanes.py): two int8 weights of a column in a word, so that one MUL gives two
  products; for int8 values.
- single (rv32_single.py): a load, MUL and ADD for each weight. It alone has rule N3b.

The templates templates/isa/rv32imc*.j2 print them.
"""

from ...bounds import LayerBounds
from ...qformat import IntArray
from ...quantized import Tables
from ...quantized_layers import QuantizedLstm
from ..layout import passes
from ..layout.lanes import eight_bits
from .kernel import Choice, Effort
from .lanes import refusal
from .rv32_cell import cell_of
from .rv32_dense import choose_dense, unpack_dense
from .rv32_forms import form_of
from .rv32_lanes import LaneKernel, lanes
from .rv32_single import SingleKernel, single

__all__ = ["choose", "choose_dense", "unpack", "unpack_dense"]

Rv32Kernel = LaneKernel | SingleKernel


def choose(
    layer: QuantizedLstm, bounds: LayerBounds, tables: Tables, effort: Effort, h_aligned: bool
) -> Choice:
    """Return the fastest kernel that the weights allow."""
    reason = refusal(layer, bounds)
    if reason:
        return Choice(None, reason)
    cell = cell_of(layer, bounds, tables, effort, h_aligned)
    if isinstance(cell, str):
        return Choice(None, cell)
    reason, form = "", None
    if not (eight_bits(layer.wx) and eight_bits(layer.wh)):
        reason = "weights of more than 8 bits"
    elif not layer.x.storage_bits == layer.h.storage_bits == 8:
        reason = "values of more than 8 bits"
    elif layer.mid_shift.any():
        reason = "sums over h in a format of their own"
    else:
        form = form_of(layer, effort)
        reason = "8-bit weights and values" if form else f"least flash: {effort}"
    if form:
        return Choice(lanes(layer, tables, cell, form, effort, h_aligned), reason)
    return Choice(single(layer, tables, cell, effort, h_aligned), reason)


def unpack(kernel: Rv32Kernel, layer: QuantizedLstm) -> tuple[IntArray, IntArray]:
    """Invert the packing: return the weights (4k, n), (4k, k) that the stream holds."""
    stream = kernel.stream
    if isinstance(kernel, LaneKernel):
        stream = stream[kernel.order_words :]
    return passes.unpack(stream, tuple(zip(kernel.units, kernel.blocks, strict=True)), layer)
