"""Every primitive on every core, under QEMU: all 16-bit operands, and samples of 32 bits.

What is compared is the emitted C, kernels and portable alike, with the emulator. Each core prints
how many operands were equal: `make primitives` shows it. Kernels of each effort, and other seeds,
have as many as one likes with `make soak` (soak.py).
"""

from dataclasses import replace

import numpy as np
import pytest

from lstmgen.quantizer import quantize
from lstmgen.verification import model_files

from builders import PRECISIONS
from operands import cell_sweeps, extremes, head_sweep, noise
from primitives import HEADS, SHIFTS, cells, heads, products
from swept import Swept
from tools import usable
from variants import VARIANTS, inputs_of

CORES = ("host", "cortex-m0", "cortex-m3", "cortex-m4", "cortex-m55", "riscv32")
EFFORTS = ("speed", "balanced", "size")
SHAPES = ((1, 1), (9, 17), (28, 20))
STEPS = 2048
FEW = 1 << 14
"""Steps of heads with many rows."""

STREAMING = tuple(
    name
    for name in VARIANTS
    if name not in ("projection_peephole", "gru_stacked", "gru_then_lstm")
    and not name.startswith(("reverse", "flipped", "bidirectional"))
)
"""Variants with a step and one layer that has a state."""


def tell(what: str, operands: int) -> None:
    print(f"{what}: {operands:,} operands equal".replace(",", " "))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("core", CORES)
def test_gates_and_cells(core, precision, tmp_path):
    """Rules N3 to N7: each gate at all inputs, both halves of C, tanh(c), noise and extremes."""
    turn = CORES.index(core) + PRECISIONS.index(precision)
    q = cells(precision, SHIFTS[turn % 3])
    # The host has no kernel for size.
    effort = EFFORTS[(turn // 3 + turn) % (2 if core == "host" else 3)]
    swept = Swept(q, usable(core), tmp_path, effort)
    assert swept.has_kernel
    operands = sum(swept.count(sweep) for sweep in cell_sweeps(q))
    tell(f"{core}, {precision}, {swept.effort}, gates and cells", operands)
    assert operands >= 1_000_000


@pytest.mark.parametrize("core", CORES)
def test_dense_layers(core, tmp_path):
    """Rules N9 and N10: requantization by every shift, tables, softmax, of any pair of h."""
    operands = 0
    for at, head in enumerate(HEADS):
        q = heads(PRECISIONS[(at + CORES.index(core)) % 3], head)
        swept = Swept(q, usable(core), tmp_path / head)
        steps = FEW if q.layers[1].rows > 6 else 1 << 16
        operands += swept.count(head_sweep(q, count=steps))
    tell(f"{core}, dense layers", operands)
    assert operands >= 1_000_000


@pytest.mark.parametrize("core", CORES)
def test_products(core, tmp_path):
    """Rule N3: sums that come near to 2^31, of noise and of the ends of the ranges."""
    operands = 0
    for at, precision in enumerate(PRECISIONS):
        shape = SHAPES[(at + CORES.index(core)) % 3]
        q = products(precision, *shape)
        effort = EFFORTS[(at + CORES.index(core) // 3) % 3]
        swept = Swept(q, usable(core), tmp_path / precision, effort)
        operands += swept.count(noise(q, 0, STEPS)) + swept.count(extremes(q, 0, STEPS))
    tell(f"{core}, products", operands)


@pytest.mark.parametrize("core", ["host", "cortex-m0", "riscv32"])
def test_portable_c(core, tmp_path):
    """What a core without kernels gets, and a layer that none of them is safe for."""
    target = replace(usable(core), isa="portable")
    precision = PRECISIONS[CORES.index(core) % 3]
    q = cells(precision, "rows", seed=1)
    swept = Swept(q, target, tmp_path)
    assert not swept.has_kernel
    tell(f"{core}, portable C", sum(swept.count(sweep) for sweep in cell_sweeps(q)))


@pytest.mark.parametrize("core", ["cortex-m0", "riscv32"])
def test_variants(core, tmp_path):
    """Rules N11 to N14 from any state: portable C, half of it on each of two cores."""
    operands = 0
    for at, name in enumerate(STREAMING[core == "riscv32" :: 2]):
        network = VARIANTS[name]()
        precision = PRECISIONS[at % 3]
        q = quantize(network, precision, inputs_of(network), rounding="nearest")
        swept = Swept(q, usable(core), tmp_path / name)
        operands += swept.count(noise(q, 0, STEPS)) + swept.count(extremes(q, 0, STEPS))
    tell(f"{core}, variants", operands)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_avr_samples(precision, tmp_path):
    """As many operands as an image carries along, of each kind."""
    q = cells(precision, SHIFTS[PRECISIONS.index(precision)])
    swept = Swept(q, usable("avr"), tmp_path)
    assert swept.has_kernel
    tell(f"avr, {precision}", sum(swept.count(sweep) for sweep in cell_sweeps(q)))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_operands_reach_what_they_are_for(precision):
    """Each gate from end to end of its table, all segments of it, all h."""
    q = cells(precision, "gates")
    layer = q.lstms[0]
    half = 1 << (q.tables.bits - 1)
    sweeps = {sweep.what: sweep for sweep in cell_sweeps(q)}
    for at, gate in enumerate("ifgo"):
        sweep = sweeps[f"gate {gate}"]
        row = at * layer.units
        assert len(np.unique(sweep.x[:, at])) == q.x.hi - q.x.lo + 1
        acc = (sweep.x @ layer.wx[row] << layer.x_shift) + sweep.h @ layer.wh[row]
        v = np.floor((acc + layer.bias[row]) * 2.0 ** -layer.shift[row]).astype(np.int64)
        assert set(range(-half, half)) <= set(np.unique(v >> 15))
        assert len(np.unique(v)) > 50_000
    assert len(np.unique(sweeps["gate i"].h[:, 0])) in (256, (1 << 16) - 1)
    for half_of_c, shift in (("high", 16), ("low", 0)):
        words = sweeps[f"{half_of_c} half of C"].c
        assert len(np.unique((words >> shift) & 0xFFFF)) == 1 << 16


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("distance) + slope2, 16u", "distance), 16u", "gate i"),
        (">= 1073741824)", "> 1073741824)", "saturation"),
        ("& 0xffffu) * (uint32_t)f", "& 0xfffeu) * (uint32_t)f", "low half of C"),
    ],
)
def test_one_wrong_bit_is_found(old, new, where, tmp_path):
    """A rule that is not quite kept, in C, and what is said of it."""
    target = replace(usable("host"), isa="portable")
    q = cells("q15", "rows")
    files = dict(model_files(q, None, target))
    assert old in files["model.c"]
    files["model.c"] = files["model.c"].replace(old, new)
    swept = Swept(q, target, tmp_path, files=files)
    found = {sweep.what: swept.difference(sweep) for sweep in cell_sweeps(q)}
    assert found[where] is not None
    assert f"host, q15, speed, {where}: " in found[where]
    assert " steps differ, first that from x [" in found[where]
