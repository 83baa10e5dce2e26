"""Rounding, bounds and checks exactly where they end: one unit further is another answer."""

from dataclasses import replace

import numpy as np
import pytest

from lstmgen import artefact, reference
from lstmgen.bounds import (
    INT32_MAX,
    LayerBounds,
    argument_limit,
    bound_table,
    clamp_needed,
    magnitude,
    row_bounds,
)
from lstmgen.codegen.describe import _output_clamp
from lstmgen.emulator import Emulator, literal
from lstmgen.emulator.fast import Argument, FastDense
from lstmgen.emulator.fast_variant import FastVariant
from lstmgen.emulator.state import LstmState
from lstmgen.errors import RangeError
from lstmgen.layers import Gru, Lstm
from lstmgen.network import Network
from lstmgen.preconditions import check
from lstmgen.qformat import QFormat, max_frac
from lstmgen.quantized import ADDEND_LIMIT, TABLE_BITS, QuantizedNetwork
from lstmgen.quantized_layers import (
    QuantizedDense,
    QuantizedGru,
    QuantizedLstm,
    integers_of,
    parts_of,
)
from lstmgen.quantizer import quantize
from lstmgen.quantizer.calibrate import measure
from lstmgen.quantizer.chain import Chain
from lstmgen.quantizer.choice import _folds
from lstmgen.quantizer.compensate import Grid, compensated
from lstmgen.quantizer.modes import MODES
from lstmgen.quantizer.moments import moments
from lstmgen.quantizer.recipe import Recipe
from lstmgen.quantizer.rounding import fold_bias, to_nearest
from lstmgen.quantizer.tables import load_tables
from lstmgen.quantizer.widths import Widths
from lstmgen.scaling import InputScaling

from builders import NETWORKS, PRECISIONS, calibration, dense, lstm, nearest, quantized
from variants import VARIANTS, inputs_of


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def variant(name: str, precision: str = "q15") -> QuantizedNetwork:
    network = VARIANTS[name]()
    return quantize(network, precision, inputs_of(network), rounding="nearest")


def with_first(q: QuantizedNetwork, **changes: object) -> QuantizedNetwork:
    """The network with other integers in its first layer."""
    return replace(q, layers=(replace(q.layers[0], **changes), *q.layers[1:]))


# --- Rounding -------------------------------------------------------------------------------


def test_weights_are_limited_alike_on_both_sides():
    weights = np.array([[-2.0, -1.0, -127.5 / 128, 127.4 / 128, 127.5 / 128, 2.0]])
    assert to_nearest(weights, ints(7), 8).tolist() == [[-127, -127, -127, 127, 127, 127]]


def test_weights_are_rounded_to_nearest_ties_up():
    weights = np.array([[-1.75, -1.5, -1.25, -0.5, 0.0, 0.49, 0.5, 1.5]])
    assert to_nearest(weights, ints(0), 8).tolist() == [[-2, -1, -1, 0, 0, 0, 1, 2]]


def test_biases_hold_half_of_what_is_shifted_out():
    shift = ints(-3, -1, 0, 1, 2, 16)
    made = fold_bias(np.full(6, 2.5), np.full(6, 3), shift)
    assert made.tolist() == [20, 20, 20, 20 + 1, 20 + 2, 20 + (1 << 15)]


def test_offsets_are_taken_off_what_is_rounded():
    """Rule N1 for features with formats and offsets of their own, and back."""
    common, scaling = QFormat(16, 4), InputScaling(ints(0, 3), ints(5, -7))
    raw = np.arange(-40, 40)[:, None] + ints(0, 0)
    real = (raw + ints(5, -7)) / 2.0 ** ints(4, 7)
    for by, gained in ((0.0, 0), (0.5, 1), (-0.5, 0), (0.499, 0)):
        found = scaling.unlimited(common, real + by / 2.0 ** ints(4, 7))
        np.testing.assert_array_equal(found, raw + gained)
    np.testing.assert_array_equal(scaling.to_real(common, raw), real)
    np.testing.assert_array_equal(scaling.scaled(common, real) * 16, raw)


@pytest.mark.parametrize("name", ["gru", "gru_reset_before"])
def test_both_biases_of_a_gru_hold_it(name):
    q = variant(name)
    layer, real = q.layers[0], VARIANTS[name]().layers[0]
    assert isinstance(layer, QuantizedGru)
    assert isinstance(real, Gru)
    pairs = [(layer.bias, real.b, layer.frac, layer.shift)]
    if layer.reset_after:
        pairs.append((layer.bias_h, real.b_u, layer.frac_h, layer.shift_h))
    for raw, b, frac, shift in pairs:
        assert (shift > 0).any()
        half = np.where(shift > 0, 2.0 ** (shift - 1), 0)
        np.testing.assert_array_equal(raw, np.floor(b * 2.0**frac + 0.5) + half)


@pytest.mark.parametrize("bits", TABLE_BITS)
@pytest.mark.parametrize("name", ["hard_sigmoid", "hard_sigmoid_6"])
def test_hard_sigmoids_stay_within_their_range(name, bits):
    table = load_tables(bits, (name,)).hard[name]
    odd = np.arange(len(table)) & 1
    for at in (np.where(odd, -32768, 0), np.where(odd, -1, 32767)):
        y = table[:, 1] + (table[:, 0] * (at + 1) >> 16)
        assert y.min() >= 0
        assert y.max() <= 32767


def aligned() -> Network:
    """Inputs so large that in q7 they are shifted left before they are multiplied."""
    return Network.of(lstm(8, 9, scale=0.05), input_range=(-12.0, 12.0))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", [*NETWORKS, "aligned"])
def test_a_row_s_format_is_the_largest_that_fits(name, precision):
    """With one fraction bit more a weight, the shift or the sum would not fit (rule N2)."""
    network = aligned() if name == "aligned" else NETWORKS[name]()
    mode = MODES[precision]
    q = nearest(network, precision, calibration(network), mid_shift=False)
    reach = -q.x.lo
    for layer, real in zip(q.layers, network.layers, strict=True):
        if isinstance(layer, QuantizedLstm):
            assert isinstance(real, Lstm)
            assert bool(layer.x_shift) == (precision == "q7") or name != "aligned"
            finer = layer.frac + 1
            beyond = finer - layer.argument_frac > mode.max_right_shift
            for weights, frac, bits in (
                (real.W, finer - layer.x.frac - layer.x_shift, mode.input_weights),
                (real.U, finer - layer.h.frac, mode.hidden_weights),
            ):
                for row, peak in enumerate(np.abs(weights).max(1)):
                    beyond[row] |= peak == 0.0 or frac[row] > max_frac(float(peak), bits)
            worst = (
                np.abs(layer.wx).sum(1) * (reach << layer.x_shift)
                + np.abs(layer.wh).sum(1) * 32768
                + np.abs(layer.bias)
            )
            assert (beyond | (worst > INT32_MAX // 4)).all()
        reach = magnitude(layer)


@pytest.mark.parametrize("activation", ["linear", "relu", "sigmoid", "tanh", "softmax"])
def test_every_activation_is_close_to_float(activation):
    network = Network.of(lstm(3, 8, scale=0.3), dense(8, 5, activation), outputs="sequence")
    x = calibration(network, 8, 20)
    q = nearest(network, "q15", x)
    y = q.y.to_real(Emulator(q, batch=len(x)).run(q.to_raw(x)))
    np.testing.assert_allclose(y, reference.run(network, x).y, atol=2e-3)


@pytest.mark.parametrize("sequences", [1, 2, 5])
def test_recipes_are_judged_by_data_that_did_not_round(sequences):
    network = NETWORKS["sequence"]()
    x = np.arange(sequences * 6 * 2.0).reshape(sequences, 6, 2)
    folds = _folds(network, x)
    assert len(folds) == 2
    for own, held in folds:
        assert own.size
        assert held.size
        assert not set(own.ravel()) & set(held.ravel())
    np.testing.assert_array_equal(folds[0][0], folds[1][1])
    np.testing.assert_array_equal(folds[0][1], folds[1][0])


def test_a_guard_bit_doubles_the_input_s_range():
    network = NETWORKS["sequence"]()
    x = calibration(network)
    ranges = measure(network, x)
    plain, guarded = (
        Chain(network, "q15", 9, ranges, Recipe(guard_bits=bits), Widths(), x).layers()[0].x
        for bits in (0, 1)
    )
    assert guarded == replace(plain, frac=plain.frac - 1)


def test_moves_end_at_the_limits():
    """A weight at its limit does not make up for what another one loses."""
    x = np.repeat(np.arange(-50, 51)[:, None], 2, 1)
    given = moments(x, np.ones(2))
    for sign in (1, -1):
        grid = Grid(np.ones((1, 2)), ints(3, 3))
        found, _ = compensated(sign * np.array([[3.4, 9.0]]), grid, given)
        assert np.abs(found).max() <= 3


# --- Bounds ---------------------------------------------------------------------------------


def test_a_sum_of_2_to_the_31_overflows():
    none = np.zeros(3, np.bool_)
    at = ints(INT32_MAX, INT32_MAX + 1, 0)
    bounds = LayerBounds("layer", at, ints(0, 0, INT32_MAX + 1), none, none)
    assert bounds.overflows.tolist() == [False, True, True]


@pytest.mark.parametrize("limit", [3, 4, 6, 7, 8, 15])
@pytest.mark.parametrize("shift", [-3, -1, 0, 1, 2])
def test_clamps_are_where_some_sum_needs_them(shift, limit):
    for bound in range(80):
        acc = np.arange(-bound, bound + 1)
        v = acc * 2.0**-shift
        needed = np.abs(np.floor(v)).max() > limit
        found = clamp_needed(ints(bound), ints(shift), ints(limit))[0]
        # The negative side's floor may be told where it is not: of whole multiples.
        assert found or not needed
        if shift <= 0 or bound % (1 << shift):
            assert found == needed


def test_what_is_added_up_is_limited_so_that_the_sum_fits():
    """Rules N12 and N14: two addends below 2^30 each."""
    k = 7
    for name, addends in (("gru", range(2 * k, 3 * k)), ("gru_reset_before", ()),
                          ("peephole", [*range(2 * k), *range(3 * k, 4 * k)]), ("projection", ())):
        limit = argument_limit(variant(name).layers[0])
        expected = np.full(len(limit), INT32_MAX)
        expected[list(addends)] = ADDEND_LIMIT
        np.testing.assert_array_equal(limit, expected)


def test_the_bound_of_the_network_s_own_input():
    q = variant("skip")
    head = q.layers[-1]
    assert isinstance(head, QuantizedDense)
    assert head.skip is not None
    h = q.lstms[0].h.hi
    expected = np.abs(head.w).sum(1) * h + np.abs(head.bias) + np.abs(head.skip).sum(1) * -q.x.lo
    np.testing.assert_array_equal(bound_table(q)[-1].bound, expected)


@pytest.mark.parametrize("precision", ["q15", "q7"])
@pytest.mark.parametrize("name", ["gru", "gru_reset_before"])
def test_the_bounds_of_a_gru_are_reached(name, precision):
    """For each row, the inputs that make its sums largest."""
    q = variant(name, precision)
    layer, bounds = q.layers[0], bound_table(q)[0]
    assert isinstance(layer, QuantizedGru)
    k = layer.units
    h = layer.h.hi if layer.h.bits == 16 else -layer.h.lo
    for row in range(3 * k):
        from_x = sum(abs(int(w)) * (-q.x.lo << layer.x_shift) for w in layer.wx[row])
        from_h = sum(abs(int(w)) * h for w in layer.wh[row])
        apart = layer.reset_after and row >= 2 * k
        both = from_x + abs(int(layer.bias[row])) + (0 if apart else from_h)
        assert bounds.bound[row] == both
        inner = from_h + abs(int(layer.bias_h[row - 2 * k])) if apart else 0
        assert bounds.partial[row] == inner


@pytest.mark.parametrize("mid", [1, 3])
def test_a_mid_shift_s_floor_is_part_of_the_bound(mid):
    """A sum over h of -8 * 2^mid - 1 becomes -9, whatever its bound."""
    q = with_first(nearest(Network.of(lstm(1, 1)), "q15", mid_shift=False),
                   bias=ints(*[(8 << mid) + 1] * 4), mid_shift=ints(*[mid] * 4),
                   wh=np.zeros((4, 1), np.int64), wx=np.ones((4, 1), np.int64))
    layer = q.layers[0]
    assert isinstance(layer, QuantizedLstm)
    assert row_bounds(layer, 100).bound.tolist() == [100 + 9] * 4


@pytest.mark.parametrize("activation", ["linear", "relu"])
@pytest.mark.parametrize("shift", [-2, 0, 1, 3])
def test_an_output_is_limited_where_some_sum_needs_it(activation, shift):
    made = dense(2, 1, activation)
    network = Network.of(made, lstm(1, 1), input_range=(-1.0, 1.0))
    layer = nearest(network, "q15").layers[0]
    assert isinstance(layer, QuantizedDense)
    layer = replace(layer, frac=layer.argument_frac + shift, y=QFormat(8, layer.y.frac))
    for bound in range(1200):
        low, high = _output_clamp(layer, ints(bound))
        v = np.floor(np.array([-bound, bound]) * 2.0**-shift)
        needed = v[1] > 127 or (v[0] < -128 and activation == "linear")
        assert high is not None or not needed
        assert low == (0 if activation == "relu" else None if high is None else -128)
        if v[0] >= -127 and v[1] <= 126:
            assert high is None


# --- The fast emulator ----------------------------------------------------------------------


@pytest.mark.parametrize("limit", [INT32_MAX, ADDEND_LIMIT, 1 << 30])
@pytest.mark.parametrize("shift", [-9, -2, -1, 0, 1, 5, 31])
def test_fast_arguments_are_those_of_rule_n4(shift, limit):
    edges = [0, 1, 2, limit >> 3, limit >> 2, limit >> 1, limit, INT32_MAX]
    acc = np.array([s * edge + by for edge in edges for s in (-1, 1) for by in (-1, 0, 1)])
    acc = acc[np.abs(acc) <= INT32_MAX]
    at, shifts, limits = ints(INT32_MAX), ints(shift), ints(limit)
    clamped = clamp_needed(at, shifts, limits)
    bounds = LayerBounds("layer", at, 0 * at, clamped, clamped)
    fast = Argument((np.ones((1, 1), np.int64),), ints(0), shifts, bounds, ints(0), limits)
    v = np.empty((1, len(acc)), np.int32)
    fast.to_int(fast.weights[0] @ acc[None].astype(fast.dtype), v)
    np.testing.assert_array_equal(v[0], literal.ops.rescale(acc, shifts, limits))


@pytest.mark.parametrize("magnitude", [1 << 9, 1 << 12, 1 << 15])
def test_fast_sums_are_exact_on_both_sides_of_a_float_s_bits(magnitude, rng):
    """Of 24 bits a float holds each integer, of 25 every other one."""
    q = nearest(Network.of(dense(16, 40, name="pre"), lstm(40, 1)), "q7")
    layer = q.layers[0]
    assert isinstance(layer, QuantizedDense)
    layer = replace(
        layer,
        w=rng.integers(1 - magnitude, magnitude, layer.w.shape),
        bias=0 * layer.bias,
        y=QFormat(32, layer.y.frac),
        frac=layer.argument_frac,
    )
    x = rng.integers(-128, 128, (9, 16, 5))
    x[0] = np.where(layer.w[:1].T >= 0, 127, -128)
    bounds = row_bounds(layer, 128)
    fast = FastDense(layer, q.tables, bounds).run(x.astype(np.float64), x)
    exact = np.einsum("ri,tib->trb", layer.w, x)
    assert np.abs(exact).max() > bounds.bound.max() // 2
    np.testing.assert_array_equal(fast, exact)


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("precision", ["q15", "w8a16", "q7"])
def test_gru_sums_beyond_their_limits(precision, reset_after):
    """Both addends of a candidate far beyond 2^30, of either sign, with the reset gate open."""
    r = np.random.default_rng(4)
    k = 6
    W, U = r.uniform(-3000, 3000, (3 * k, 2)), r.uniform(-2000, 2000, (3 * k, k))
    W[:k], U[:k] = 0, 0
    b = np.concatenate([np.full(k, 15.0), np.full(k, 0.0), r.normal(0, 9, k)])
    network = Network.of(
        Gru("gru0", W, U, b, r.normal(0, 9, k) * reset_after, reset_after), outputs="sequence"
    )
    q = quantize(network, precision, calibration(network), rounding="nearest")
    (layer,), (bounds,) = q.layers, bound_table(q)
    assert isinstance(layer, QuantizedGru)
    assert bounds.clamped.any()
    x = r.choice([q.x.lo, q.x.hi, 0, 5], (40, 12, 2))
    h0 = r.choice([-layer.h.hi, layer.h.hi, 0], (40, k))
    state = LstmState(h0, h0 * 2)
    expected, after = literal.recurrent(layer, q.tables, x, state)
    fast = FastVariant(layer, q.tables, bounds)
    h, last = fast.run(x.transpose(1, 2, 0), state)
    np.testing.assert_array_equal(h.transpose(2, 0, 1), expected)
    np.testing.assert_array_equal(last.c, after.c)


@pytest.mark.parametrize("literally", [False, True])
def test_of_equal_classes_the_first_wins(literally):
    q = quantized("stacked_argmax", "q15")
    head = q.layers[-1]
    assert isinstance(head, QuantizedDense)
    for row in range(4):
        bias = np.where(np.arange(4) >= row, 5, -(1 << 20))
        tied = replace(head, w=0 * head.w, bias=bias)
        emulator = Emulator(replace(q, layers=(*q.layers[:-1], tied)), literally)
        assert emulator.run(np.zeros((1, 2, 4), np.int64)).tolist() == [[row]]


def test_cells_limited_at_either_end_are_counted():
    made = nearest(Network.of(lstm(1, 2), outputs="sequence"), "q15")
    layer = made.lstms[0]
    bias = np.repeat([1 << 30, 1 << 30, 0, 0], 2)
    for g, c0 in ((1, INT32_MAX - 1), (-1, -INT32_MAX - 1)):
        q = with_first(
            made,
            wx=0 * layer.wx,
            wh=0 * layer.wh,
            bias=bias + g * np.repeat([0, 0, 1 << 28, 0], 2),
            c0=ints(c0 & ~1, 0),
            frac=layer.argument_frac,
            mid_shift=0 * layer.mid_shift,
        )
        emulator = Emulator(q)
        emulator.run(np.zeros((1, 3, 1), np.int64))
        assert emulator.saturations["lstm0"] == 3


# --- Files ----------------------------------------------------------------------------------


def test_every_integer_is_part_of_the_digest():
    for name in ("initial_state", "peephole", "gru", "skip", "embedding", "bidirectional_mixed"):
        q = variant(name)
        for at, layer in enumerate(q.layers):
            for number, part in enumerate(parts_of(layer)):
                for key, array in integers_of(part).items():
                    if not array.ndim or not array.size or number:
                        continue
                    before = q.digest()
                    kept = array.copy()
                    array.flat[-1] ^= 1
                    changed = q.digest()
                    array[...] = kept
                    assert changed != before, (name, at, key)
                    assert q.digest() == before


@pytest.mark.parametrize("value", [127, 128, -128, -129, 32767, 32768, -32768, -32769])
def test_arrays_are_stored_as_narrow_as_their_ends_allow(value):
    stored = artefact._smallest(ints(0, value))
    assert stored.tolist() == [0, value]
    assert stored.itemsize == (1 if -128 <= value < 128 else 2 if -32768 <= value < 32768 else 4)


# --- Preconditions --------------------------------------------------------------------------


def refused(q: QuantizedNetwork, message: str) -> None:
    with pytest.raises(RangeError, match=message):
        check(q)


@pytest.mark.parametrize("key", ["wx", "wh"])
def test_the_lowest_weight_of_16_bits_is_refused(key):
    q = quantized("one_unit", "q15")
    zeros = {name: getattr(q.lstms[0], name) * 0 for name in ("wx", "wh", "bias")}
    check(with_first(q, **{**zeros, key: zeros[key] - 32767}))
    lowest = with_first(q, **{**zeros, key: zeros[key] - 32768})
    refused(lowest, rf"{key} spans -32768\.\.-32768; expected -32767")


def test_a_shift_by_32_is_refused():
    q = quantized("one_unit", "q15")
    argument = q.lstms[0].argument_frac
    zeros = {"wx": np.zeros((4, 1), int), "wh": np.zeros((4, 1), int), "bias": np.zeros(4, int)}
    check(with_first(q, frac=argument + 31, **zeros))
    refused(with_first(q, frac=argument + 32, **zeros), r"shift spans 32\.\.32; expected -30\.\.31")


@pytest.mark.parametrize("row", [0, -1])
@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_a_table_is_flat_at_both_ends(name, row):
    q = quantized("one_unit", "q15")
    table = getattr(q.tables, name).copy()
    table[row] = 1, 100
    changed = replace(q, tables=replace(q.tables, **{name: table}))
    refused(changed, f"{name} table: first and last slope are not 0")


@pytest.mark.parametrize("row", [100, 101])
@pytest.mark.parametrize("base", [32767, -32767])
def test_a_table_stays_within_its_range_at_both_ends_of_a_segment(row, base):
    """An even segment rises from its base, an odd one up to it."""
    q = quantized("one_unit", "q15")
    table = q.tables.tanh.copy()
    table[row] = 100, base
    leaves = (base > 0) == (row % 2 == 0)
    changed = replace(q, tables=replace(q.tables, tanh=table))
    if leaves:
        refused(changed, "tanh table reaches")
    else:
        check(changed)
