"""Single functions of the portable C, called by themselves, at the ends of what they take.

What a network hardly ever reaches, such as a cell state of exactly 2^30, against the emulator's
primitives (`ops`), or the whole layer where that has no function of its own.
"""

import ctypes
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lstmgen.emulator import Emulator, ops
from lstmgen.network import Activation, Network
from lstmgen.qformat import QFormat
from lstmgen.quantized import Precision, QuantizedNetwork
from lstmgen.quantized_layers import QuantizedDense, QuantizedEmbedding, QuantizedGru
from lstmgen.quantizer import quantize
from lstmgen.scaling import InputScaling
from lstmgen.verification import default_inputs, verify

from builders import dense, lstm, nearest, quantized
from compiled import compile_c, sources, write
from tools import usable
from variants import VARIANTS, inputs_of

PORTABLE = "arc"
"""A target without kernels."""

TOP = 1 << 31
EDGES = sorted(
    {sign * (1 << bits) + by for bits in (0, 15, 16, 29, 30, 31) for sign in (-1, 1)
     for by in (-2, -1, 0, 1, 2) if -TOP <= sign * (1 << bits) + by < TOP}
)  # fmt: skip
HALVES = np.array([-32768, -32767, -32766, -257, -1, 0, 1, 256, 16384, 32766, 32767])


def variant(name: str, precision: Precision = "q15") -> QuantizedNetwork:
    network = VARIANTS[name]()
    return quantize(network, precision, inputs_of(network), rounding="nearest")


class Functions:
    """The static functions of a model's C, each over arrays of int32."""

    def __init__(
        self, q: QuantizedNetwork, folder: Path, helpers: str = "", **calls: str
    ) -> None:
        """calls: by name the C expression of arguments a, b, c and d; helpers: more C."""
        files = sources(q, target=PORTABLE)
        text = ["#define MODEL_FLOAT_HELPERS", '#include "model.c"', helpers]
        for name, expression in calls.items():
            text.append(
                f"void each_{name}(int32_t n, int32_t *y, const int32_t *pa, const int32_t *pb,\n"
                "    const int32_t *pc, const int32_t *pd);\n"
                f"void each_{name}(int32_t n, int32_t *y, const int32_t *pa, const int32_t *pb,\n"
                "    const int32_t *pc, const int32_t *pd)\n{\n"
                "    for (int32_t i = 0; i < n; i++) {\n"
                "        const int32_t a = pa[i], b = pb[i], c = pc[i], d = pd[i];\n"
                "        (void)a; (void)b; (void)c; (void)d;\n"
                f"        y[i] = {expression};\n    }}\n}}\n"
            )
        write({**files, "each.c": "\n".join(text)}, folder)
        built = [str(folder / name) for name in ("each.c", "model_weights.c")]
        library = folder / "each.so"
        compile_c("gcc", ["-O2", "-shared", "-fPIC", "-o", str(library), *built])
        self.functions = ctypes.CDLL(str(library))

    def __call__(self, name: str, *arguments: object) -> np.ndarray:
        """Return what the expression of that name is for the arguments, by elements."""
        taken = [np.asarray(v) for v in (*arguments, 0, 0, 0, 0)][:4]
        arrays = [np.ascontiguousarray(v, np.int32) for v in np.broadcast_arrays(*taken)]
        y = np.zeros(arrays[0].shape, np.int32)
        at = [ctypes.c_void_p(array.ctypes.data) for array in (y, *arrays)]
        getattr(self.functions, f"each_{name}")(y.size, *at)
        return y.astype(np.int64)


def mesh(*values: object) -> list[np.ndarray]:
    """Return all combinations, one after the other."""
    return [v.ravel() for v in np.meshgrid(*[np.asarray(v, np.int64) for v in values])]


def test_shifts_and_limits(tmp_path: Path) -> None:
    """Rule N4, of any shift to either side, and floor(v / 2^s)."""
    call = Functions(
        quantized("huge_sums", "q15"),
        tmp_path,
        asr="model_asr(a, (uint_fast8_t)b)",
        rescale="model_rescale(a, (int_fast8_t)b, c)",
    )
    v, s = mesh(EDGES, range(32))
    np.testing.assert_array_equal(call("asr", v, s), v >> s)
    v, s, limit = mesh(EDGES, range(-30, 32), [TOP - 1, 1 << 30, (1 << 30) - 1])
    v, s, limit = (a[np.abs(v) < TOP] for a in (v, s, limit))
    np.testing.assert_array_equal(call("rescale", v, s, limit), ops.rescale(v, s, limit))


@pytest.mark.parametrize("precision", ["q15", "q7"])
def test_tables_cells_and_their_words(precision: Precision, tmp_path: Path) -> None:
    """Rules N5 and N6 on both sides of each segment's edge, and of where words are limited."""
    q = variant("projection", precision)
    k = q.tables.product_shift
    call = Functions(
        q,
        tmp_path,
        sigmoid="model_activate(model_sigmoid, a)",
        tanh="model_activate(model_tanh, a)",
        cell="model_cell(a, (int16_t)b, (int16_t)c, (int16_t)d)",
        word="model_cell_word(a)",
    )
    edges = np.arange(-len(q.tables.tanh) - 4, len(q.tables.tanh) + 4) << 15
    v = np.concatenate([edges + by for by in (-2, -1, 0, 1, 2, 16384)] + [EDGES])
    np.testing.assert_array_equal(call("sigmoid", v), ops.activate(q.tables.sigmoid, v))
    np.testing.assert_array_equal(call("tanh", v), ops.activate(q.tables.tanh, v))
    gates, both = HALVES[HALVES >= 0], HALVES[HALVES >= -32767]
    word, i, f, g = mesh(EDGES, gates, gates, both)
    t, _ = ops.cell(word, i, f, g, k)
    np.testing.assert_array_equal(call("cell", word, i, f, g), t)
    t = np.array(EDGES)
    np.testing.assert_array_equal(call("word", t), np.clip(2 * t, -TOP, TOP - 1))


def test_functions_without_tables(tmp_path: Path) -> None:
    """Rule N11 from any V."""
    call = Functions(variant("relu"), tmp_path, linear="model_linear(a, (uint_fast8_t)b, c)")
    v, s = mesh(np.concatenate([EDGES, np.arange(-70, 70), np.arange(-9, 9) << 14]), range(2, 18))
    for low, rectified in ((0, True), (-32767, False)):
        expected = [ops.linear(v[s == n], n, rectified) for n in range(2, 18)]
        got = [call("linear", v[s == n], n, low) for n in range(2, 18)]
        np.testing.assert_array_equal(np.concatenate(got), np.concatenate(expected))


def test_peepholes(tmp_path: Path) -> None:
    """Rule N12 from any cell word, both ends of int32 among them."""
    call = Functions(
        variant("peephole_large"),
        tmp_path,
        share="model_share(a, (int16_t)b)",
        peephole="model_peephole(a, b, (int16_t)c, (uint_fast8_t)d)",
    )
    word, factor = mesh(EDGES, HALVES)
    np.testing.assert_array_equal(call("share", word, factor), ops.share(word, factor))
    for left in range(14):
        v, word, weight = mesh([1 - (1 << 30), 0, (1 << 30) - 1], EDGES, HALVES[1:])
        expected = ops.peephole(v, word, weight, left)
        np.testing.assert_array_equal(call("peephole", v, word, weight, left), expected)


JOINED = """
static int32_t joined(int32_t first, int32_t second)
{
    VALUE values[1] = {(VALUE)first};
    const VALUE h[1] = {(VALUE)second};

    model_WAY(h, 1u, values);
    return values[0];
}
"""


@pytest.mark.parametrize("precision", ["q15", "q7"])
@pytest.mark.parametrize(("merge", "way"), [("sum", "halve"), ("multiply", "multiply")])
def test_both_directions_as_one(
    merge: str, way: str, precision: Precision, tmp_path: Path
) -> None:
    """Rule N15 at both ends of the format."""
    q = variant(f"bidirectional_{merge}", precision)
    bits = q.recurrent[0].h.bits
    text = JOINED.replace("VALUE", f"int{bits}_t").replace("WAY", way)
    call = Functions(q, tmp_path, text, joined="joined(a, b)")
    most = 1 << (bits - 1)
    values = [-most, 1 - most, -most // 2 - 1, -3, -2, -1, 0, 1, 2, most // 2, most - 2, most - 1]
    f, b = mesh(values, values)
    np.testing.assert_array_equal(call("joined", f, b), ops.merge(merge, f, b, bits))


VALUE = """
static int32_t value(int32_t row, int32_t n)
{
    const model_input x[1] = {(model_input)row};
    int16_t y[MODEL_WORDS_OUTPUTS];

    model_words_step(x, y);
    return y[n];
}
"""


def test_rows_beyond_an_embedding(tmp_path: Path) -> None:
    """The first or the last row is taken (rule N16)."""
    q = variant("embedding")
    layer = q.layers[0]
    assert isinstance(layer, QuantizedEmbedding)
    call = Functions(q, tmp_path, VALUE, value="value(a, b)")
    row, column = mesh([-32768, -1, 0, 1, 9, 10, 11, 12, 32767], range(layer.width))
    expected = layer.table[np.clip(row, 0, layer.entries - 1), column]
    np.testing.assert_array_equal(call("value", row, column), expected)


# --- Whole layers ---------------------------------------------------------------------------


def assert_equal(q: QuantizedNetwork, steps: int = 4) -> None:
    """The portable C computes what both emulators do, whatever the inputs."""
    x = default_inputs(q, np.random.default_rng(3), steps=steps)
    fast, literal = (Emulator(q, way, batch=len(x)).run(x) for way in (False, True))
    np.testing.assert_array_equal(fast, literal)
    result = verify(q, None, replace(usable("host"), isa="portable"), x)
    assert result.equal, result.message


@pytest.mark.parametrize("end", [TOP - 1, -TOP])
def test_a_hidden_state_of_8_bits_is_full(end: int) -> None:
    """Rule N7 with o and tanh(c) of nearly 1: 128 becomes 127, -128 stays."""
    q = quantized("runaway_cell", "q7")
    full = replace(q, layers=(replace(q.layers[0], c0=np.array([end])),))
    h = Emulator(full).run(np.zeros((1, 1, 1), np.int64)).item()
    assert h == (127 if end > 0 else -128)
    assert_equal(full)


@pytest.mark.parametrize("end", [TOP - 1, -TOP])
@pytest.mark.parametrize(("name", "precision"), [("gru", "q15"), ("gru_reset_before", "q7")])
def test_a_gru_s_state_beyond_its_hidden_state(name: str, precision: Precision, end: int) -> None:
    """Rule N14: h is limited alike on both sides, as long as z keeps the state."""
    q = variant(name, precision)
    layer = q.layers[0]
    assert isinstance(layer, QuantizedGru)
    k = layer.units
    bias = layer.bias.copy()
    bias[k : 2 * k] = 1 << 29
    kept = replace(layer, bias=bias, wx=layer.wx // 8, wh=layer.wh // 8, c0=np.full(k, end))
    full = replace(q, layers=(kept, *q.layers[1:]))
    emulator = Emulator(full)
    emulator.run(np.zeros((1, 1, q.inputs), np.int64))
    assert emulator.state[0].h.ravel().tolist() == [layer.h.hi if end > 0 else -layer.h.hi] * k
    assert_equal(full)


def with_head(activation: Activation, bias: list[int]) -> QuantizedNetwork:
    """A network whose accumulators are their biases."""
    q = nearest(Network.of(lstm(1, 1), dense(1, len(bias), activation)), "q15")
    head = q.layers[1]
    assert isinstance(head, QuantizedDense)
    frac = np.full(len(bias), 20)
    y = QFormat(32, 20) if head.y.bits == 32 else head.y
    made = replace(head, w=0 * head.w, bias=np.array(bias), frac=frac, argument_frac=frac, y=y)
    return replace(q, layers=(q.layers[0], made))


@pytest.mark.parametrize(
    "bias", [[5, 5, 5], [-9, -7, -7], [1 - TOP, 1 - TOP], [1 - TOP, TOP - 1, TOP - 1], [-1, 0]]
)
def test_the_first_of_the_largest_classes(bias: list[int]) -> None:
    """Rule N9: of equal ones, of negative ones, at both ends of int32."""
    q = with_head("argmax", bias)
    y = Emulator(q).run(np.zeros((1, 1, 1), np.int64)).item()
    assert y == bias.index(max(bias))
    assert_equal(q, steps=1)


@pytest.mark.parametrize(
    ("classes", "below"),
    [(1, 0), (2, 5 << 15), (2, 1), (64, 20 << 20), (64, (20 << 20) + 1), (64, (20 << 20) - 32768)],
)
def test_probabilities_of_classes_below_the_largest(classes: int, below: int) -> None:
    """Rule N10: what is too small for a probability of its own counts in the sum."""
    top = 3 << 20
    assert_equal(with_head("softmax", [top, *[top - below] * (classes - 1)]), steps=1)


def test_the_own_input_of_the_last_step() -> None:
    """What a layer adds behind the last step alone is that step's input (rule N9)."""
    q = variant("skip")
    x = default_inputs(q, np.random.default_rng(4), steps=5)
    last = replace(q, outputs="last")
    for way in (False, True):
        every = Emulator(q, way, batch=len(x)).run(x)
        np.testing.assert_array_equal(Emulator(last, way, batch=len(x)).run(x), every[:, -1])
    assert_equal(last)


ONE_FEATURE = """
static model_input one_feature(float value, int32_t j)
{
    const float real[MODEL_INPUTS] = { value, value };
    model_input x[MODEL_INPUTS];

    model_input_from_float(real, x);
    return x[j];
}
"""


def test_offsets_of_features(tmp_path: Path) -> None:
    """Rule N1 for inputs with formats and offsets of their own, ties and both ends."""
    scaling = InputScaling(np.array([0, 5]), np.array([100, -3]))
    q = replace(quantized("sequence", "q15"), scaling=scaling)
    call = Functions(q, tmp_path, ONE_FEATURE, raw="one_feature((float)a * 0x1p-20f, b)")
    near = np.arange(-300, 300) << 5
    a, b = mesh(np.concatenate([near, near + 16, [1 - (1 << 24), (1 << 24) - 1]]), [0, 1])
    expected = q.to_raw(np.stack([a, a], 1) * 2.0**-20)[np.arange(len(a)), b]
    np.testing.assert_array_equal(call("raw", a, b), expected)
    assert {q.x.lo, q.x.hi} <= set(expected.tolist())
