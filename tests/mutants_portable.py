"""Mistakes in the templates of portable C."""

from mutant import Mutant

_C = "tests/test_codegen.py::test_the_c_computes_what_the_emulator_computes"
_HOST = "tests/test_variants.py::test_equal_on_the_host"
_ACTIVATION, _DENSE = "templates/activation.c.j2", "templates/dense.c.j2"
_GRU, _LSTM, _WHOLE = "templates/gru.c.j2", "templates/lstm.c.j2", "templates/whole.c.j2"
_FIXED, _SELFTEST = "templates/fixed.j2", "templates/selftest.c.j2"
_FUNCTIONS = "tests/test_functions_c.py"

FUNCTIONS = (
    Mutant(
        "portable.n1-tie-down",
        "templates/model.h.j2",
        "if ((scaled - (float)raw) >= 0.5f) {",
        "if ((scaled - (float)raw) > 0.5f) {",
        ("tests/test_codegen.py::test_the_float_helpers_follow_rule_n1[1.0-q7]",),
    ),
    Mutant(
        "portable.n1-offset-added",
        "templates/model.h.j2",
        "(raw - offset)",
        "(raw + offset)",
        (f"{_FUNCTIONS}::test_offsets_of_features",),
    ),
    Mutant(
        "portable.asr-towards-zero",
        _FIXED,
        "~(~v >> s)",
        "-(-v >> s)",
        (f"{_HOST}[peephole-q15]",),
    ),
    Mutant(
        "portable.n4-limit-not-symmetric",
        _FIXED,
        "(uint_fast8_t)s), -limit, limit);",
        "(uint_fast8_t)s), -limit - 1, limit);",
        (f"{_FUNCTIONS}::test_shifts_and_limits",),
    ),
    Mutant(
        "portable.n4-limit-not-shifted",
        _FIXED,
        "const int32_t largest = {{ view.prefix }}_asr(limit, left);",
        "const int32_t largest = {{ view.prefix }}_asr(limit, 0u);",
        (f"{_FUNCTIONS}::test_shifts_and_limits",),
    ),
    Mutant(
        "portable.n5-distance-without-one",
        _ACTIVATION,
        "(((int32_t)slope2 * distance) + slope2, 16u)",
        "(((int32_t)slope2 * distance), 16u)",
        (f"{_HOST}[gru-q15]",),
    ),
    Mutant(
        "portable.n5-segment-behind-the-last",
        _ACTIVATION,
        "{{ view.half_table - 1 }});\n\n    return (int16_t){{ p }}_interpolate",
        "{{ view.half_table }});\n\n    return (int16_t){{ p }}_interpolate",
        (f"{_FUNCTIONS}::test_tables_cells_and_their_words[q7]",),
    ),
    Mutant(
        "portable.n5-lines-from-another-point",
        _ACTIVATION,
        "(uint32_t)v + {{ view.line_origin }}u",
        "(uint32_t)v + {{ view.line_origin - 1 }}u",
        ("tests/test_kernels_armv6m.py::test_equal_with_tables_of_other_sizes[6]",),
    ),
    Mutant(
        "portable.n6-low-half-dropped",
        _ACTIVATION,
        "((int32_t)i * g) + {{ view.product_rounding }};\n\n    return (high + low)",
        "((int32_t)i * g) + {{ view.product_rounding }};\n\n    (void)low;\n    return (high + 0)",
        (f"{_HOST}[projection-q15]",),
    ),
    Mutant(
        "portable.n6-rounding-halved",
        _ACTIVATION,
        "((int32_t)i * g) + {{ view.product_rounding }};",
        "((int32_t)i * g) + {{ view.product_rounding // 2 }};",
        (f"{_HOST}[projection-q15]",),
    ),
    Mutant(
        "portable.n6-word-wraps-at-two-to-the-30",
        _ACTIVATION,
        "return (c >= 1073741824)",
        "return (c > 1073741824)",
        (f"{_FUNCTIONS}::test_tables_cells_and_their_words[q15]",),
    ),
    Mutant(
        "portable.n6-word-wraps-below",
        _ACTIVATION,
        "((c < -1073741824) ? INT32_MIN : (c * 2))",
        "(int32_t)((uint32_t)c * 2u)",
        (f"{_FUNCTIONS}::test_tables_cells_and_their_words[q15]",),
    ),
    Mutant(
        "portable.n11-rounding-by-row-format",
        _ACTIVATION,
        "(uint_fast8_t)(s - 1u)) + 1, 1u)",
        "(uint_fast8_t)(s - 1u)), 1u)",
        (f"{_FUNCTIONS}::test_functions_without_tables",),
    ),
    Mutant(
        "portable.n12-word-limit-symmetric",
        _ACTIVATION,
        "{{ p }}_clamp(word, -most - 1, most)",
        "{{ p }}_clamp(word, -most, most)",
        (f"{_FUNCTIONS}::test_peepholes",),
    ),
    Mutant(
        "portable.n12-low-half-dropped",
        _ACTIVATION,
        "return high + {{ p }}_asr(low, 16u);",
        "return high + {{ p }}_asr(low, 31u);",
        (f"{_HOST}[peephole-q15]",),
    ),
)

LAYERS = (
    Mutant(
        "portable.order-of-gates",
        "templates/isa/portable.j2",
        "acc_f += (int32_t){{ weights }}[unit][n][1] * v;\n"
        "            acc_g += (int32_t){{ weights }}[unit][n][2] * v;",
        "acc_f += (int32_t){{ weights }}[unit][n][2] * v;\n"
        "            acc_g += (int32_t){{ weights }}[unit][n][1] * v;",
        (f"{_HOST}[projection-q15]",),
    ),
    Mutant(
        "portable.n3-input-not-aligned",
        _LSTM,
        "(acc_{{ gate.name }} * {{ layer.x_factor }})",
        "(acc_{{ gate.name }} * 1)",
        (f"{_HOST}[projection-q7]",),
    ),
    Mutant(
        "portable.n7-hidden-state-read-while-it-is-written",
        _LSTM,
        '{% set before = "h" if layer.projection else "before" %}',
        '{% set before = "h" %}\n'
        "{% set _ = layer %}",
        (f"{_HOST}[cell_clip-q15]",),
    ),
    Mutant(
        "portable.n7-full-beyond-the-format",
        _LSTM,
        "((h_new > {{ layer.hidden_limit }}) ? {{ layer.hidden_limit }} : h_new)",
        "h_new",
        (f"{_FUNCTIONS}::test_a_hidden_state_of_8_bits_is_full",),
    ),
    Mutant(
        "portable.n12-output-gate-sees-the-old-cell",
        _LSTM,
        '{{ seen(gate, "word") }}',
        '        (void)word;\n{{ seen(gate, "c[unit]") }}',
        (f"{_HOST}[peephole-q15]",),
    ),
    Mutant(
        "portable.n8-initial-hidden-state-of-zero",
        "templates/reset.j2",
        "state->{{ layer.c_field }}[n] = {{ layer.c0.symbol ~ \"[n]\" if layer.c0 else \"0\" }};\n"
        "        state->{{ layer.h_field }}[n] = {{ layer.h0.symbol",
        "state->{{ layer.c_field }}[n] = {{ layer.c0.symbol ~ \"[n]\" if layer.c0 else \"0\" }};\n"
        "        state->{{ layer.h_field }}[n] = 0 * {{ layer.h0.symbol",
        (f"{_C}[initial_state-q15]",),
    ),
    Mutant(
        "portable.n9-last-class-of-a-tie",
        _DENSE,
        "if ({{ v }} > best) {",
        "if ({{ v }} >= best) {",
        (f"{_FUNCTIONS}::test_the_first_of_the_largest_classes",),
    ),
    Mutant(
        "portable.n9-largest-of-negative-classes",
        _DENSE,
        "int32_t best = -2147483647;",
        "int32_t best = 0;",
        (f"{_FUNCTIONS}::test_the_first_of_the_largest_classes",),
    ),
    Mutant(
        "portable.n9-narrow-truncates",
        _DENSE,
        "+ {{ layer.narrow_rounding }};",
        "+ {{ 0 * layer.narrow_rounding }};",
        (_C + "[sigmoid_everywhere-q7]",),
    ),
    Mutant(
        "portable.n10-sum-truncates",
        _DENSE,
        "uint32_t sum = 32u;",
        "uint32_t sum = 0u;",
        (_C + "[odd_sizes-q15]",),
    ),
    Mutant(
        "portable.n10-class-of-the-last-bit-lost",
        _DENSE,
        "(whole <= 20u)",
        "(whole < 20u)",
        (f"{_FUNCTIONS}::test_probabilities_of_classes_below_the_largest",),
    ),
    Mutant(
        "portable.n10-probability-of-one-wraps",
        _DENSE,
        "((share > 32767u) ? 32767u : share)",
        "share",
        (f"{_FUNCTIONS}::test_probabilities_of_classes_below_the_largest[1-0]",),
    ),
    Mutant(
        "portable.n14-reset-truncates",
        _GRU,
        "((int32_t)reset * h[unit]) + 16384, 15u)",
        "((int32_t)reset * h[unit]), 15u)",
        (f"{_HOST}[gru_reset_before-q15]",),
    ),
    Mutant(
        "portable.n14-reset-of-half-the-sum",
        _GRU,
        "_share(v_u * 2, reset)",
        "_share(v_u, reset)",
        (f"{_HOST}[gru-q15]",),
    ),
    Mutant(
        "portable.n14-hidden-state-not-symmetric",
        _GRU,
        "_clamp(h_new, -{{ layer.hidden_limit }}, {{ layer.hidden_limit }})",
        "_clamp(h_new, -{{ layer.hidden_limit }} - 1, {{ layer.hidden_limit }})",
        (f"{_FUNCTIONS}::test_a_gru_s_state_beyond_its_hidden_state",),
    ),
    Mutant(
        "portable.n15-half-of-a-sum-truncates",
        _WHOLE,
        "_asr(((int32_t)values[n] + h[n]) + 1, 1u)",
        "_asr((int32_t)values[n] + h[n], 1u)",
        (f"{_FUNCTIONS}::test_both_directions_as_one",),
    ),
    Mutant(
        "portable.n15-product-not-limited",
        _WHOLE,
        "(product > {{ 2 ** (bits - 1) - 1 }}) ? {{ 2 ** (bits - 1) - 1 }} : product",
        "product",
        (f"{_FUNCTIONS}::test_both_directions_as_one",),
    ),
    Mutant(
        "portable.n15-backward-without-the-first-step",
        _WHOLE,
        "const uint32_t back = (steps - 1u) - step;",
        "const uint32_t back = (steps - step) % steps;",
        (f"{_HOST}[bidirectional-q15]",),
    ),
    Mutant(
        "portable.n16-row-below-the-table",
        "templates/embedding.c.j2",
        "const int16_t least = (x[0] > 0) ? x[0] : 0;",
        "const int16_t least = x[0];",
        (f"{_FUNCTIONS}::test_rows_beyond_an_embedding",),
    ),
    Mutant(
        "portable.n16-row-behind-the-table",
        "templates/embedding.c.j2",
        "(least < {{ layer.entries - 1 }}) ? least : {{ layer.entries - 1 }}",
        "(least < {{ layer.entries }}) ? least : {{ layer.entries }}",
        (f"{_FUNCTIONS}::test_rows_beyond_an_embedding",),
    ),
    Mutant(
        "portable.own-input-of-the-first-step",
        "templates/model.c.j2",
        '"&x[(steps - 1u) * " ~ P ~ "_INPUTS], "',
        '"&x[(steps - steps) * " ~ P ~ "_INPUTS], "',
        (f"{_FUNCTIONS}::test_the_own_input_of_the_last_step",),
    ),
    Mutant(
        "selftest.crc-of-another-polynomial",
        _SELFTEST,
        "0xedb88320u",
        "0xedb88321u",
        (_C + "[one_unit-q7]",),
    ),
    Mutant(
        "selftest.cells-before-the-hidden-state",
        _SELFTEST,
        "crc = {{ p }}_crc(crc, state.{{ layer.h_field }}[n]);",
        "crc = {{ p }}_crc(crc, state.{{ layer.h_field }}[{{ layer.width - 1 }}u - n]);",
        (_C + "[sequence-q15]",),
    ),
    Mutant(
        "selftest.always-right",
        _SELFTEST,
        '{{ "0x%08xu" % selftest.crc }}) ? 0 : 1;',
        '{{ "0x%08xu" % selftest.crc }}) ? 0 : 0;',
        ("tests/test_codegen.py::test_the_self_test_finds_a_changed_weight",),
    ),
)

PORTABLE = (*FUNCTIONS, *LAYERS)
