"""Mistakes in the emulator, by the rules of docs/numerics.md."""

from mutant import Mutant

_OPS, _CELLS = "lstmgen/emulator/ops.py", "lstmgen/emulator/cells.py"
_FAST, _LITERAL = "lstmgen/emulator/fast.py", "lstmgen/emulator/literal.py"
_VARIANT, _WALK = "lstmgen/emulator/fast_variant.py", "lstmgen/emulator/__init__.py"
_NUMERICS, _EMULATOR = "tests/test_numerics.py", "tests/test_emulator.py"
_VARIANTS = "tests/test_variants.py"
_LIMITS, _FUNCTIONS = "tests/test_limits.py", "tests/test_functions_c.py"
_EQUAL = f"{_EMULATOR}::test_fast_equals_literal"
_FAST_VARIANTS = f"{_VARIANTS}::test_the_fast_emulator_computes_what_the_literal_one_does"

PRIMITIVES = (
    Mutant(
        "emulator.n1-ties-down",
        "lstmgen/qformat.py",
        "return self.limited(np.floor(np.asarray(real, np.float64) * 2.0**self.frac + 0.5))",
        "return self.limited(np.ceil(np.asarray(real, np.float64) * 2.0**self.frac - 0.5))",
        (f"{_NUMERICS}::test_n1_ties_go_up",),
    ),
    Mutant(
        "emulator.n1-nan-is-the-largest",
        "lstmgen/qformat.py",
        "nan=0.0",
        "nan=np.inf",
        (f"{_NUMERICS}::test_n1_nan_is_zero",),
    ),
    Mutant(
        "emulator.n3-accumulator-unchecked",
        _OPS,
        'return require_int32(values @ weights.T, "N3: the accumulator")',
        "return values @ weights.T",
        (f"{_NUMERICS}::test_preconditions_are_checked",),
    ),
    Mutant(
        "emulator.n4-limit-one-lower",
        _OPS,
        "-limit, limit)\n    left",
        "-limit - 1, limit)\n    left",
        (f"{_NUMERICS}::test_n4_rescale",),
    ),
    Mutant(
        "emulator.n4-limit-not-shifted",
        _OPS,
        "largest = limit >> left",
        "largest = limit >> np.maximum(left - 1, 0)",
        (f"{_NUMERICS}::test_n4_rescale",),
    ),
    Mutant(
        "emulator.n5-distance-without-one",
        _OPS,
        "words[..., 0] * (fraction + 1)",
        "words[..., 0] * fraction",
        (f"{_NUMERICS}::test_n5_every_argument_of_the_smallest_table",),
    ),
    Mutant(
        "emulator.n5-nearest-segment",
        _OPS,
        "segment = np.clip(asr(v, 15), -half, half - 1)",
        "segment = np.clip(asr(v + (1 << 14), 15), -half, half - 1)",
        (f"{_NUMERICS}::test_n5_every_argument_of_the_smallest_table",),
    ),
    Mutant(
        "emulator.n6-floor-of-product",
        _OPS,
        "i * g + (1 << product_shift)",
        "i * g",
        (f"{_NUMERICS}::test_n6_cell",),
    ),
    Mutant(
        "emulator.n6-word-wraps",
        _OPS,
        "return t, np.clip(2 * t, INT32_MIN, INT32_MAX)",
        "return t, (2 * t - INT32_MIN) % (1 << 32) + INT32_MIN",
        ("docs/numerics.md",),
    ),
    Mutant(
        "emulator.n7-rounding-of-another-width",
        _OPS,
        "o * tanh_c + (1 << (29 - frac))",
        "o * tanh_c + (1 << 14)",
        (f"{_NUMERICS}::test_n7_hidden",),
    ),
    Mutant(
        "emulator.n7-full-beyond-the-format",
        _OPS,
        "return np.minimum(asr(product, 30 - frac), (1 << frac) - 1)",
        "return np.minimum(asr(product, 30 - frac), 1 << frac)",
        ("docs/numerics.md",),
    ),
    Mutant(
        "emulator.n9-narrow-truncates",
        _OPS,
        "asr(y + (1 << 7), 8)",
        "asr(y, 8)",
        (f"{_NUMERICS}::test_n9_narrow_every_value",),
    ),
    Mutant(
        "emulator.n9-last-class-of-a-tie",
        _LITERAL,
        "return np.asarray(acc.argmax(-1)[:, None])",
        "return np.asarray(layer.rows - 1 - acc[:, ::-1].argmax(-1)[:, None])",
        (f"{_LIMITS}::test_of_equal_classes_the_first_wins",),
    ),
    Mutant(
        "emulator.n10-sum-truncates",
        _OPS,
        "s = (total + 32) >> 6",
        "s = total >> 6",
        (f"{_NUMERICS}::test_n10_terms_that_alone_would_vanish_count_in_the_sum",),
    ),
    Mutant(
        "emulator.n10-division-truncates",
        _OPS,
        "((1 << 29) + s // 2) // s",
        "(1 << 29) // s",
        (f"{_NUMERICS}::test_n10_softmax_in_plain_integers",),
    ),
    Mutant(
        "emulator.n11-linear-truncates",
        _OPS,
        "rounded = asr(asr(v, shift - 1) + 1, 1)",
        "rounded = asr(v, shift)",
        (f"{_NUMERICS}::test_n11_linear",),
    ),
    Mutant(
        "emulator.n12-word-limited-a-bit-too-low",
        _OPS,
        "saturate(c_word, 32 - left)",
        "saturate(c_word, 31 - left)",
        (f"{_NUMERICS}::test_n12_peephole",),
    ),
    Mutant(
        "emulator.n14-hidden-state-not-symmetric",
        _OPS,
        "return np.clip(asr(t + (1 << (shift - 1)), shift), -hi, hi)",
        "return np.clip(asr(t + (1 << (shift - 1)), shift), -hi - 1, hi)",
        (f"{_NUMERICS}::test_n14_hidden_at_both_ends",),
    ),
    Mutant(
        "emulator.n15-half-of-a-sum-truncates",
        _OPS,
        "return asr(forward + backward + 1, 1)",
        "return asr(forward + backward, 1)",
        ("docs/numerics.md",),
    ),
    Mutant(
        "emulator.n15-product-not-limited",
        _OPS,
        "return np.minimum(product, (1 << (bits - 1)) - 1)",
        "return product",
        ("docs/numerics.md",),
    ),
)

LAYERS = (
    Mutant(
        "emulator.n3-input-not-aligned",
        _LITERAL,
        "from_x = ops.accumulate(layer.wx, x << layer.x_shift)\n    acc",
        "from_x = ops.accumulate(layer.wx, x)\n    acc",
        (_EQUAL,),
    ),
    Mutant(
        "emulator.n3b-bias-behind-the-shift",
        _LITERAL,
        "ops.asr(from_h, layer.mid_shift) + from_x",
        "ops.asr(from_h - layer.bias, layer.mid_shift) + ops.asr(layer.bias, layer.mid_shift)"
        " + from_x",
        (f"{_EMULATOR}::test_fast_equals_literal_with_mid_shifts",),
    ),
    Mutant(
        "emulator.n12-output-gate-sees-the-old-cell",
        _CELLS,
        "v_o = ops.peephole(v_o, c, layer.peephole[2]",
        "v_o = ops.peephole(v_o, c_word, layer.peephole[2]",
        (f"{_VARIANTS}::test_close_to_float[peephole-q15]",),
    ),
    Mutant(
        "emulator.n11-limit-of-the-candidate-too-low",
        _CELLS,
        "    wide, fine = layer.clip, None if layer.clip is None else 2 * layer.clip",
        "    wide, fine = layer.clip, layer.clip",
        (_VARIANTS + "::test_equal_on_the_host[clip-q15]",),
    ),
    Mutant(
        "emulator.n13-rounding-of-h-of-8-bits",
        _CELLS,
        "m = ops.hidden(o, y, 16)",
        "m = ops.hidden(o, y, layer.h.bits)",
        (f"{_VARIANTS}::test_equal_on_the_host[projection-q7]",),
    ),
    Mutant(
        "emulator.n14-gates-add-up-to-less-than-one",
        _CELLS,
        "ops.cell(c_word, 32768 - z, z, n",
        "ops.cell(c_word, 32767 - z, z, n",
        (f"{_VARIANTS}::test_equal_on_the_host[gru-q15]",),
    ),
    Mutant(
        "emulator.n14-reset-truncates",
        _LITERAL,
        "ops.asr(r * state.h + (1 << 14), 15)",
        "ops.asr(r * state.h, 15)",
        (f"{_FAST_VARIANTS}[gru_reset_before-q15]",),
    ),
    Mutant(
        "fast.gates-in-another-order",
        _FAST,
        "_GATE_ORDER = (0, 1, 3, 2)",
        "_GATE_ORDER = (1, 0, 3, 2)",
        (_EQUAL,),
    ),
    Mutant(
        "fast.n3-sums-beyond-a-float",
        _FAST,
        "int(bounds.bound.max()) < 1 << 24",
        "int(bounds.bound.max()) < 1 << 27",
        (f"{_LIMITS}::test_fast_sums_are_exact_on_both_sides_of_a_float_s_bits",),
    ),
    Mutant(
        "fast.n4-limit-no-multiple",
        _FAST,
        "((most >> left) << left)",
        "most",
        (f"{_LIMITS}::test_fast_arguments_are_those_of_rule_n4",),
    ),
    Mutant(
        "fast.n3b-floor-behind-the-left-shift",
        _FAST,
        "left = np.where(mid > 0, np.maximum(-shift, 0), 0)",
        "left = np.zeros_like(shift)",
        (f"{_EMULATOR}::test_fast_equals_literal_with_mid_shifts",),
    ),
    Mutant(
        "fast.n6-largest-word-even",
        _FAST,
        "        c |= above  # INT32_MAX, the only odd word\n",
        "",
        (f"{_EMULATOR}::test_cell_reaches_and_leaves_both_ends",),
    ),
    Mutant(
        "fast.n6-low-half-of-15-bits",
        _FAST,
        "np.bitwise_and(c, 0xFFFF, out=high)",
        "np.bitwise_and(c, 0x7FFF, out=high)",
        (_EQUAL,),
    ),
    Mutant(
        "fast.n7-full-beyond-the-format",
        _FAST,
        "np.minimum(tanh_c, 127, out=tanh_c)",
        "np.minimum(tanh_c, 128, out=tanh_c)",
        (_EQUAL,),
    ),
    Mutant(
        "fast.n9-last-class-of-a-tie",
        _FAST,
        "return np.asarray(v.argmax(1)[:, None], np.int32)",
        "return np.asarray(v.shape[1] - 1 - v[:, ::-1].argmax(1)[:, None], np.int32)",
        (f"{_LIMITS}::test_of_equal_classes_the_first_wins",),
    ),
    Mutant(
        "fast.n14-limits-of-other-rows",
        _VARIANT,
        "np.arange(len(rows)), limit[rows])",
        "np.arange(len(rows)), limit[: len(rows)])",
        (f"{_LIMITS}::test_gru_sums_beyond_their_limits",),
    ),
    Mutant(
        "emulator.own-input-of-the-first-step",
        _WALK,
        "values, own = newest, own[-1:]",
        "values, own = newest, own[:1]",
        (f"{_FUNCTIONS}::test_the_own_input_of_the_last_step",),
    ),
    Mutant(
        "emulator.n15-last-value-of-the-backward-half",
        _WALK,
        "newest = merged(f[-1:], b[-1:] if by_step else b[:1])",
        "newest = merged(f[-1:], b[-1:])",
        (f"{_VARIANTS}::test_close_to_float[bidirectional-q15]",),
    ),
    Mutant(
        "emulator.saturations-only-above",
        _FAST,
        "int(np.count_nonzero(above)) + int(np.count_nonzero(t < -(1 << 30)))",
        "int(np.count_nonzero(above))",
        (f"{_LIMITS}::test_cells_limited_at_either_end_are_counted",),
    ),
)

EMULATOR = (*PRIMITIVES, *LAYERS)
