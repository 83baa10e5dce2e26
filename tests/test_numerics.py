"""The numbered primitives against plain Python integers and against their functions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmgen.emulator import ops
from lstmgen.errors import RangeError
from lstmgen.qformat import QFormat, max_frac
from lstmgen.quantized import TABLE_BITS
from lstmgen.quantizer.tables import dump_tables, fit_tables, load_tables

INT32 = st.integers(-(2**31), 2**31 - 1)


WORST_ERROR = {6: 101, 7: 27, 8: 8.6, 9: 3.0, 10: 1.8, 11: 1.6}
"""Largest error of a table of 2**bits words in LSB of Q0.15, tanh's, rounded up."""


def one(value):
    return np.array([value], np.int64)


@given(real=st.floats(-300, 300), bits=st.sampled_from([8, 13, 16]), frac=st.integers(-2, 16))
def test_n1_input(real, bits, frac):
    q = QFormat(bits, frac)
    expected = min(max(math.floor(real * 2.0**frac + 0.5), q.lo), q.hi)
    assert q.to_raw(real) == expected


def test_n1_nan_is_zero():
    assert QFormat(8, 4).to_raw([math.nan, math.inf, -math.inf]).tolist() == [0, 127, -128]


@pytest.mark.parametrize("magnitude", [0.0, 5e-324, 1e-310, 3e-304, 1e-300, 1e-9])
def test_max_frac_of_next_to_nothing_is_the_limit(magnitude):
    assert max_frac(magnitude, 16) == 31


@given(magnitude=st.floats(1e-6, 1e6), bits=st.sampled_from([8, 13, 16]))
def test_max_frac_is_the_largest_that_fits(magnitude, bits):
    frac = max_frac(magnitude, bits, limit=100)
    largest = 2 ** (bits - 1) - 1
    assert round(magnitude * 2.0**frac) <= largest
    assert magnitude * 2.0 ** (frac + 1) >= largest + 0.5


@given(value=INT32, shift=st.integers(0, 31))
def test_asr(value, shift):
    assert ops.asr(one(value), shift).item() == value >> shift == math.floor(value / 2**shift)


@given(acc=INT32, shift=st.integers(-30, 31), limit=st.sampled_from([2**31 - 1, 2**30]))
def test_n4_rescale(acc, shift, limit):
    if shift >= 0:
        expected = min(max(acc >> shift, -limit), limit)
    else:
        largest = limit >> -shift
        expected = min(max(acc, -largest), largest) << -shift
    assert ops.rescale(one(acc), one(shift), limit).item() == expected


@pytest.mark.parametrize("bits", TABLE_BITS)
def test_n5_error_and_range(bits):
    tables = load_tables(bits)
    v = np.arange(-(2 ** (bits + 15)), 2 ** (bits + 15), 37, dtype=np.int64)
    for table, function, frac in (
        (tables.sigmoid, lambda x: 1 / (1 + np.exp(-x)), tables.sigmoid_frac),
        (tables.tanh, np.tanh, tables.tanh_frac),
    ):
        y = ops.activate(table, v)
        error = np.abs(y - 32768 * function(v * 2.0**-frac))
        assert error.max() < WORST_ERROR[bits]
        assert y.min() >= (0 if table is tables.sigmoid else -32767)
        assert y.max() <= 32767


def test_n5_every_argument_of_the_smallest_table():
    table = load_tables(6).tanh
    v = np.arange(-(2**21), 2**21, dtype=np.int64)
    y = ops.activate(table, v)
    for at in range(0, len(v), 4099):
        value = int(v[at])
        q = min(max(value >> 15, -32), 31)
        low = value & 0xFFFF
        fraction = low - 0x10000 if low >= 0x8000 else low
        slope2, base = (int(word) for word in table[q + 32])
        assert y[at] == base + (slope2 * (fraction + 1) >> 16)


@pytest.mark.parametrize("bits", TABLE_BITS)
def test_shipped_tables_are_the_fit(bits):
    shipped, fitted = load_tables(bits), fit_tables(bits)
    for name in ("sigmoid", "tanh", "exp2"):
        np.testing.assert_array_equal(getattr(shipped, name), getattr(fitted, name))


def test_table_file_is_what_the_fit_writes():
    from lstmgen.quantizer import tables

    assert tables._FILE.read_text(encoding="utf-8") == dump_tables()


@given(
    c=st.integers(-(2**30), 2**30 - 1).map(lambda c: 2 * c) | st.just(2**31 - 1),
    i=st.integers(0, 32767),
    f=st.integers(0, 32767),
    g=st.integers(-32767, 32767),
    k=st.integers(8, 13),
)
def test_n6_cell(c, i, f, g, k):
    t, word = ops.cell(one(c), one(i), one(f), one(g), k)
    expected = (c * f >> 16) + ((i * g + 2**k) >> k)
    assert t.item() == expected
    assert word.item() == min(max(2 * expected, -(2**31)), 2**31 - 1)
    # The same in 32-bit steps, as C does it.
    assert (c >> 16) * f + ((c & 0xFFFF) * f >> 16) == c * f >> 16


@given(o=st.integers(0, 32767), t=st.integers(-32767, 32767), bits=st.sampled_from([8, 16]))
def test_n7_hidden(o, t, bits):
    h = ops.hidden(one(o), one(t), bits).item()
    assert h == min(math.floor(o * t / 2 ** (31 - bits) + 0.5), 2 ** (bits - 1) - 1)
    assert -(2 ** (bits - 1)) <= h
    assert abs(h) <= 32766 or bits == 8


def test_n9_narrow_every_value():
    y = np.arange(-32767, 32768)
    expected = [min(math.floor(v / 256 + 0.5), 127) for v in y.tolist()]
    assert ops.narrow(y).tolist() == expected


@given(st.lists(st.integers(-(2**30), 2**30), min_size=1, max_size=40))
def test_n10_softmax(logits):
    v = np.array([logits], np.int64)
    p = ops.softmax(v, load_tables(7).exp2)[0]
    real = np.exp2((v[0] - v[0].max()) / 2.0**20)
    assert np.abs(p / 32768 - real / real.sum()).max() < 4 / 32768
    assert p[np.argmax(v)] == p.max()


def test_n10_most_classes_fit_int32():
    p = ops.softmax(np.zeros((1, 2047), np.int64), load_tables(7).exp2)
    assert set(p.ravel().tolist()) == {16}


def test_preconditions_are_checked():
    with pytest.raises(RangeError, match="N3: the accumulator"):
        ops.accumulate(one(2**20)[None], one(2**20)[None])
    with pytest.raises(RangeError, match="N6: 0 <= f <= 32767"):
        ops.cell(one(0), one(0), one(-1), one(0), 10)
    with pytest.raises(RangeError, match="N10"):
        ops.softmax(one(2**30 + 1)[None], load_tables(7).exp2)
    with pytest.raises(RangeError, match="0 <= shift <= 31"):
        ops.asr(one(1), 32)


@pytest.mark.parametrize("bits", [8, 13, 16])
@pytest.mark.parametrize("frac", [-2, 0, 6, 16])
def test_n1_ties_go_up(bits, frac):
    q = QFormat(bits, frac)
    raw = np.arange(q.lo, q.hi)
    np.testing.assert_array_equal(q.to_raw((raw + 0.5) * q.step), raw + 1)
    assert q.to_raw((q.hi + 0.5) * q.step) == q.hi
    assert q.to_raw((q.lo - 0.5) * q.step) == q.lo


@pytest.mark.parametrize("bits", [8, 13, 16])
def test_max_frac_of_what_rounds_to_just_too_much(bits):
    """Half a unit above the largest integer rounds up, beyond the format."""
    largest = 2 ** (bits - 1) - 1
    assert max_frac((largest + 0.5) * 2.0**-3, bits) == 2
    assert max_frac(np.nextafter((largest + 0.5) * 2.0**-3, 0), bits) == 3


@given(v=INT32, shift=st.integers(2, 20), rectified=st.booleans())
def test_n11_linear(v, shift, rectified):
    expected = (v + (1 << (shift - 1))) >> shift
    expected = min(max(expected, 0 if rectified else -32767), 32767)
    assert ops.linear(one(v), shift, rectified).item() == expected


@given(
    v=st.integers(-(2**30) + 1, 2**30 - 1),
    word=INT32 | st.sampled_from([2**31 - 1, -(2**31), 2**30, -(2**30)]),
    weight=st.integers(-32767, 32767),
    left=st.integers(0, 13),
)
def test_n12_peephole(v, word, weight, left):
    most = 1 << (31 - left)
    seen = min(max(word, -most), most - 1)
    expected = v + ((seen * weight) >> 16) * 2**left
    assert ops.peephole(one(v), one(word), one(weight), left).item() == expected


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("shift", [4, 11])
def test_n14_hidden_at_both_ends(bits, shift):
    hi = 2 ** (bits - 1) - 1
    for h in (-hi - 3, -hi - 2, -hi - 1, -hi, -1, 0, hi - 1, hi, hi + 1):
        half = 1 << (shift - 1)
        for t, expected in (((h << shift) - half - 1, h - 1), ((h << shift) - half, h)):
            assert ops.gru_hidden(one(t), shift, bits).item() == min(max(expected, -hi), hi)


@pytest.mark.parametrize("bits", [8, 16])
def test_n15_both_directions_as_one(bits):
    hi = 2 ** (bits - 1) - 1
    values = np.array([-hi - 1, -hi, -hi + 1, -258, -3, -2, -1, 0, 1, 2, 127, hi - 1, hi])
    values = values[np.abs(values) <= hi + 1]
    f, b = (v.ravel() for v in np.meshgrid(values, values))
    assert ops.merge("sum", f, b, bits).tolist() == [
        math.floor((x + y) / 2 + 0.5) for x, y in zip(f.tolist(), b.tolist(), strict=True)
    ]
    assert ops.merge("multiply", f, b, bits).tolist() == [
        min(math.floor(x * y / 2 ** (bits - 1) + 0.5), hi)
        for x, y in zip(f.tolist(), b.tolist(), strict=True)
    ]


@given(st.lists(st.integers(-(2**30), 2**30), min_size=1, max_size=9))
def test_n10_softmax_in_plain_integers(logits):
    """Rule N10 as it is written, in numbers of any size."""
    table = load_tables(7).exp2.tolist()
    e20 = []
    for v in logits:
        d = v - max(logits)
        fraction, whole = d % (1 << 20), -(d >> 20)
        slope2, base = table[fraction >> 15]
        low = (fraction & 0xFFFF ^ 0x8000) - 0x8000
        mantissa = base + (slope2 * (low + 1) >> 16)
        e20.append(mantissa * 64 >> whole if whole <= 20 else 0)
    total = (sum(e20) + 32) >> 6
    reciprocal = (2**29 + total // 2) // total
    expected = [min((((e + 32) >> 6) * reciprocal + 2**13) >> 14, 32767) for e in e20]
    assert ops.softmax(np.array([logits]), load_tables(7).exp2)[0].tolist() == expected


def test_n10_terms_that_alone_would_vanish_count_in_the_sum():
    """63 classes whose e20 is 1: with 20 whole bits below the largest, not with 21."""
    def largest(below):
        v = np.full((1, 64), -below << 20)
        v[0, 0] = 0
        return ops.softmax(v, load_tables(7).exp2)[0, 0]

    assert (largest(20), largest(21)) == (32766, 32767)
