import re

import numpy as np
import pytest

from lstmgen.codegen.layout import deinterleave, fields, interleave, storage_bits
from lstmgen.codegen.layout.tables import lines
from lstmgen.codegen.layout.words import int16, int32
from lstmgen.emulator import ops
from lstmgen.errors import RangeError
from lstmgen.quantized import TABLE_BITS, Precision
from lstmgen.quantized_layers import QuantizedDense
from lstmgen.quantizer.tables import load_tables

from builders import PRECISIONS, quantized
from compiled import sources


@pytest.mark.parametrize("shape", [(4,), (4, 3), (20, 1), (12, 7)])
def test_interleaving_is_inverted(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    rows = rng.integers(-100, 100, shape)
    packed = interleave(rows)
    assert packed.shape == (shape[0] // 4, *shape[1:], 4)
    np.testing.assert_array_equal(deinterleave(packed), rows)


def test_the_place_of_a_weight() -> None:
    k, n = 3, 5
    rows = np.arange(4 * k * n).reshape(4 * k, n)
    packed = interleave(rows)
    for gate in range(4):
        for unit in range(k):
            for column in range(n):
                assert packed[unit, column, gate] == rows[gate * k + unit, column]


def test_weights_are_stored_as_narrow_as_they_are() -> None:
    assert [storage_bits("w", np.array([0, v])) for v in (127, -128, 128, -32768, 32768)] == [
        *(8, 8, 16, 16),
        32,
    ]
    with pytest.raises(RangeError, match=r"kws_w spans 0\.\.2147483648; expected integers of 32"):
        storage_bits("kws_w", np.array([0, 1 << 31]))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_printed_arrays_give_back_the_layer(precision: Precision) -> None:
    q = quantized("stacked_argmax", precision)
    text = sources(q, target="arc")["model_weights.c"]
    for layer in q.lstms:
        for suffix, rows in (("wx", layer.wx), ("wh", layer.wh), ("bias", layer.bias)):
            values = printed(text, f"model_{layer.name}_{suffix}")
            packed = values.reshape(interleave(rows).shape)
            np.testing.assert_array_equal(deinterleave(packed), rows)
    for dense in q.layers[2:]:
        assert isinstance(dense, QuantizedDense)
        values = printed(text, f"model_{dense.name}_w")
        np.testing.assert_array_equal(values.reshape(dense.w.shape), dense.w)
    np.testing.assert_array_equal(
        printed(text, "model_sigmoid").reshape(q.tables.sigmoid.shape), q.tables.sigmoid
    )


def printed(text: str, symbol: str) -> np.ndarray:
    found = re.search(rf" {symbol}\[[^=]*= (\{{.*?\}});", text, re.DOTALL)
    assert found, symbol
    return np.array(re.findall(r"-?\d+", found[1]), np.int64)


def test_fields_of_several_sizes_are_inverted(rng: np.random.Generator) -> None:
    arrays = {
        "a": rng.integers(-100, 100, (5, 7)),
        "b": rng.integers(-30000, 30000, (5, 3)),
        "c": rng.integers(-(1 << 31), 1 << 31, (5, 1)),
    }
    mixed = fields.Slot((("b", range(3)), ("a", range(2))), 2, 12)
    rest = fields.Slot((("a", range(2, 7)),), 1, 5)
    found = list(fields.turns(range(5), 2, [mixed, rest]))
    found += fields.padding(found, 4)
    assert fields.end(found) == 5 * 17 + 3
    found += fields.turns([4, 3, 2, 1, 0], 5, [fields.column("c", 0, 4)])
    words = fields.pack(found, arrays, behind=6)
    assert 4 * words.size == 5 * 17 + 3 + 5 * 4 + 8
    assert words[-7:-2].tolist() == arrays["c"][::-1, 0].tolist()
    unpacked = fields.unpack(found, words, {name: array.shape for name, array in arrays.items()})
    for name, array in arrays.items():
        np.testing.assert_array_equal(unpacked[name], array)


@pytest.mark.parametrize("bits", TABLE_BITS)
def test_lines_have_the_values_of_rule_n5(bits: int, rng: np.random.Generator) -> None:
    tables = load_tables(bits)
    middle = 1 << (bits + 14)
    edges = np.arange(-middle, middle, 1 << 15)
    v = np.concatenate([edges, edges + 1, edges + 32767, rng.integers(-middle, middle, 5000)])
    for table in (tables.sigmoid, tables.tanh):
        slope2, value = lines(table)[(v + middle) >> 15].T
        np.testing.assert_array_equal(value, int16(value))
        y = int32((value << 16) + slope2 * (v + middle + 1)) >> 16
        np.testing.assert_array_equal(y, ops.activate(table, v))
