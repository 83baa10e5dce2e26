"""Mistakes in the kernels of single instruction sets: their templates and how words are packed."""

from mutant import Mutant

_ISA = "templates/isa"
_LANES = "lstmgen/codegen/layout/lanes.py"


def _core(name: str, precision: str = "q7") -> tuple[str, ...]:
    """Return the test that runs all networks on a core, in one precision."""
    return (f"tests/test_kernels.py::test_equal_on_all_networks[{precision}-{name}]",)


def _saturating(isa: str, ids: str = "") -> tuple[str, ...]:
    return (f"tests/test_kernels_{isa}.py::test_saturating_cells_are_equal{ids}",)


CORTEX_M = (
    Mutant(
        "cortex-m0.n6-floor-of-product",
        f"{_ISA}/armv6m.S.j2",
        "    adds    r4, #1                      @ rule N6",
        "    adds    r4, #0                      @ rule N6",
        _core("cortex-m0"),
    ),
    Mutant(
        "cortex-m0.n6-word-wraps",
        f"{_ISA}/armv6m.S.j2",
        "    bvc     5f\n",
        "    b       5f\n",
        _saturating("armv6m", "[q15-speed]"),
    ),
    Mutant(
        "cortex-m0.n7-full-beyond-the-format",
        f"{_ISA}/armv6m.S.j2",
        "    ble     6f\n",
        "    b       6f\n",
        _core("cortex-m0"),
    ),
    Mutant(
        "cortex-m0.n5-beyond-the-table",
        f"{_ISA}/armv6m.S.j2",
        "    mvns    r2, r2\n    lsrs    r2, r2, #{{ 32 - k.table_bits }}",
        "    lsrs    r2, r2, #{{ 32 - k.table_bits }}",
        _core("cortex-m0"),
    ),
    Mutant(
        "cortex-m0.gates-of-another-table",
        f"{_ISA}/armv6m.S.j2",
        '    ldr     r1, [sp, #8]\n{{ interpolate(k, k.gates.g, "r6") | lines }}',
        '{{ interpolate(k, k.gates.g, "r6") | lines }}\n    ldr     r1, [sp, #8]',
        _core("cortex-m0"),
    ),
    Mutant(
        "cortex-m0.lanes-without-their-half",
        f"{_ISA}/armv6m_columns.j2",
        "    add     {{ sum }}, r12                     @ 2^15: the upper lane is A then\n",
        "",
        _core("cortex-m0"),
    ),
    Mutant(
        "cortex-m0.a-turn-too-few",
        f"{_ISA}/armv6m_columns.j2",
        "{% set turns = count // 8 if count >= 24 else 0 %}",
        "{% set turns = count // 8 - 1 if count >= 24 else 0 %}\n"
        "{% set count = count - 8 if turns else count %}",
        ("tests/test_kernels_armv6m.py::test_equal_with_many_columns[q15-balanced]",),
    ),
    Mutant(
        "cortex-m0.smallest-a-byte-without-its-sign",
        f"{_ISA}/armv6m_small.S.j2",
        "    asrs    r7, r7, #24\n",
        "    lsrs    r7, r7, #24\n",
        ("tests/test_kernels_armv6m.py::test_equal_with_many_columns[q7-size]",),
    ),
    Mutant(
        "cortex-m3.lanes-without-their-half",
        f"{_ISA}/armv7m.S.j2",
        "    mov     lr, #0x8000\n",
        "    mov     lr, #0\n",
        _core("cortex-m3"),
    ),
    Mutant(
        "cortex-m3.n6-end-of-the-other-sign",
        f"{_ISA}/armv7m.S.j2",
        "    adc     r8, r8, #0\n",
        "    adc     r8, r8, #1\n",
        _saturating("armv7m", "[q15-speed]"),
    ),
    Mutant(
        "cortex-m3.n7-rounding-halved",
        f"{_ISA}/armv7m.S.j2",
        '#{{ "0x400000" if narrow else "0x4000" }}',
        '#{{ "0x200000" if narrow else "0x2000" }}',
        _core("cortex-m3"),
    ),
    Mutant(
        "cortex-m3.n6-f-with-bits-below",
        f"{_ISA}/armv7m.S.j2",
        "    bfc     {{ to }}, #0, #16\n",
        "    bfc     {{ to }}, #0, #15\n",
        _core("cortex-m3", "q15"),
    ),
    Mutant(
        "cortex-m3.n5-segments-of-half-the-table",
        f"{_ISA}/armv7m.S.j2",
        "    ssat    {{ slope }}, #{{ k.table_bits }}, {{ v }}, asr #15",
        "    ssat    {{ slope }}, #{{ k.table_bits - 1 }}, {{ v }}, asr #15",
        _core("cortex-m3"),
    ),
    Mutant(
        "cortex-m4.n6-floor-of-product",
        f"{_ISA}/armv7em.S.j2",
        "    adc     r8, r8, r2, asr #{{ k.product_shift }}",
        "    add     r8, r8, r2, asr #{{ k.product_shift }}",
        _core("cortex-m4"),
    ),
    Mutant(
        "cortex-m4.n6-word-wraps",
        f"{_ISA}/armv7em.S.j2",
        "    qadd    r10, r8, r8",
        "    add     r10, r8, r8",
        _saturating("armv7em"),
    ),
    Mutant(
        "cortex-m4.n7-truncates",
        f"{_ISA}/armv7em.S.j2",
        "    mov     r6, #{{ layer.hidden_rounding }}",
        "    mov     r6, #{{ layer.hidden_rounding // 2 }}",
        _core("cortex-m4", "q15"),
    ),
    Mutant(
        "cortex-m4.row-pairs-not-taken-apart",
        f"{_ISA}/armv7em.S.j2",
        "    sub     r10, r10, r11               @ 256 * acc_g\n",
        "",
        _core("cortex-m4"),
    ),
    Mutant(
        "cortex-m4.long-pairs-of-the-other-gate",
        f"{_ISA}/armv7em.S.j2",
        "    sub     r8, r8, r1, asr #8\n",
        "    sub     r8, r8, r12, asr #8\n",
        _core("cortex-m4", "w8a16"),
    ),
    Mutant(
        "cortex-m4.aligned-inputs-keep-what-others-lend",
        f"{_ISA}/armv7em.S.j2",
        "    bic     r7, r7, #{{ (2 ** shift - 1) * 65536 }}\n",
        "",
        ("tests/test_kernels_armv7em.py::test_equal_at_any_size_and_effort[shape3-q7-speed]",),
    ),
    Mutant(
        "cortex-m55.n6-floor-of-product",
        f"{_ISA}/mve_cell.j2",
        "    vadd.i32 q0, q0, r0                 @ t",
        "    vadd.i32 q0, q0, q0                 @ t",
        _core("cortex-m55"),
    ),
    Mutant(
        "cortex-m55.n6-word-wraps",
        f"{_ISA}/mve_cell.j2",
        "    vqshl.s32 q1, q0, #1                @ C' = 2t",
        "    vshl.i32 q1, q0, #1                 @ C' = 2t",
        _saturating("mve", "[speed]"),
    ),
    Mutant(
        "cortex-m55.n7-truncates",
        f"{_ISA}/mve_cell.j2",
        "    vrshr.s32 q0, q0, #15",
        "    vshr.s32 q0, q0, #15",
        _core("cortex-m55", "q15"),
    ),
    Mutant(
        "cortex-m55.n7-full-beyond-the-format",
        f"{_ISA}/mve_cell.j2",
        "    vmin.s32 q0, q0, q7\n",
        "",
        _core("cortex-m55"),
    ),
    Mutant(
        "cortex-m55.n6-f-with-bits-below",
        f"{_ISA}/mve_cell.j2",
        "    vand    q1, q1, q6 ",
        "    vand    q1, q1, q1 ",
        _core("cortex-m55", "q15"),
    ),
    Mutant(
        "cortex-m55.last-lanes-not-cleared",
        f"{_ISA}/mve_columns.j2",
        "    vmladav{{ \"\" if first else \"a\" }}.s{{ part.bits }}",
        "    vmladav{{ \"\" }}.s{{ part.bits }}",
        _core("cortex-m55"),
    ),
)

OTHERS = (
    Mutant(
        "riscv32.n6-floor-of-product",
        f"{_ISA}/rv32imc_cell.j2",
        "    addi    {{ f }}, {{ f }}, 1 ",
        "    addi    {{ f }}, {{ f }}, 0 ",
        _core("riscv32"),
    ),
    Mutant(
        "riscv32.n6-word-wraps",
        f"{_ISA}/rv32imc_cell.j2",
        "    bgez    a5, 4f\n",
        "    j       4f\n",
        ("tests/test_kernels_rv32imc.py::test_full_cells_and_outputs_are_equal[q15-speed]",),
    ),
    Mutant(
        "riscv32.n5-beyond-the-table",
        f"{_ISA}/rv32imc_cell.j2",
        "    not     {{ v }}, {{ v }}\n    srai    {{ v }}, {{ v }}, 31",
        "    srai    {{ v }}, {{ v }}, 31",
        _core("riscv32"),
    ),
    Mutant(
        "riscv32.n7-rounding-halved",
        f"{_ISA}/rv32imc_cell.j2",
        "    lui     a7, 1024                    # 2^22",
        "    lui     a7, 512                     # 2^22",
        ("tests/test_kernels_rv32imc.py::test_equal_with_other_tables[q7-9]",),
    ),
    Mutant(
        "riscv32.n5-low-half-kept",
        f"{_ISA}/rv32imc_cell.j2",
        "    and     {{ v }}, {{ v }}, t4\n",
        "",
        _core("riscv32", "q15"),
    ),
    Mutant(
        "riscv32.n7-larger-output-gate-than-fits",
        "lstmgen/codegen/kernels/rv32_cell.py",
        "((1 << 30) - (1 << 22) - 1) // 32767",
        "((1 << 30) - (1 << 22) - 1) // 32767 + 1",
        ("tests/test_kernels_rv32imc.py::test_full_cells_and_outputs_are_equal[q7-speed]",),
    ),
    Mutant(
        "avr.n6-floor-of-product",
        f"{_ISA}/avr_cell.j2",
        "    sec                                 ; 2^",
        "    clc                                 ; 2^",
        _core("avr"),
    ),
    Mutant(
        "avr.n6-word-wraps",
        f"{_ISA}/avr_cell.j2",
        "    rol     r21\n    brvc    6f\n",
        "    rol     r21\n    rjmp    6f\n",
        ("tests/test_kernels_avr.py::test_saturating_states_are_equal_with_any_table[q15-9-speed]",),
    ),
    Mutant(
        "avr.n7-truncates",
        f"{_ISA}/avr_cell.j2",
        "    lsl     r18\n    adc     r24, r28\n    adc     r25, r28\n    movw    r30, r14",
        "    movw    r30, r14",
        _core("avr", "q15"),
    ),
    Mutant(
        "avr.n7-full-beyond-the-format",
        f"{_ISA}/avr_cell.j2",
        "    dec     r25                         ; 127\n",
        "",
        _core("avr"),
    ),
    Mutant(
        "avr.n5-signed-slope-not-corrected",
        f"{_ISA}/avr_cell.j2",
        "    mulsu   r19, r22\n    sbc     r25, r28\n",
        "    mulsu   r19, r22\n",
        _core("avr"),
    ),
    Mutant(
        "avr.n5-quarter-wraps",
        "lstmgen/codegen/kernels/avr.py",
        "if reach_of(layer, bounds).max() >= argument_limit(quarter):",
        "if reach_of(layer, bounds).max() > 2**31:",
        ("tests/test_kernels_avr.py::test_an_argument_as_large_as_a_kernel_takes[1-2]",),
    ),
    Mutant(
        "avr.carries-dropped",
        f"{_ISA}/avr_columns.j2",
        "    adc     {{ sum.bytes[3] }}, r28\n{% endfor %}\n{% endif %}\n{% endmacro %}\n\n"
        "{% macro load_starts",
        "{% endfor %}\n{% endif %}\n{% endmacro %}\n\n{% macro load_starts",
        _core("avr", "w8a16"),
    ),
    Mutant(
        "avr.a-weight-s-offset",
        "lstmgen/codegen/layout/offsets.py",
        "return 1 << (8 * count - 1)",
        "return (1 << (8 * count - 1)) - 1",
        _core("avr"),
    ),
    Mutant(
        "x86-avx2.n6-largest-word-even",
        f"{_ISA}/x86_avx2.j2",
        "_mm256_add_epi32(_mm256_add_epi32(kept, kept), at_top)",
        "_mm256_add_epi32(_mm256_add_epi32(kept, kept), _mm256_and_si256(at_top, bottom))",
        ("tests/test_kernels_x86.py::test_a_cell_that_runs_into_both_ends[run-time]",),
    ),
    Mutant(
        "x86-avx2.n6-rounding-halved",
        f"{_ISA}/x86_avx2.j2",
        "_mm256_set1_epi32({{ view.product_rounding }})",
        "_mm256_set1_epi32({{ view.product_rounding // 2 }})",
        _core("host"),
    ),
    Mutant(
        "x86-avx2.n4-left-shift-not-limited",
        f"{_ISA}/x86_support.j2",
        "const __m256i limited = _mm256_min_epi32(_mm256_max_epi32(sum, low), limit);",
        "const __m256i limited = _mm256_max_epi32(sum, low);",
        ("tests/test_kernels_x86.py::test_equal_on_uncommon_networks[huge_sums-q15-avx2]",),
    ),
    Mutant(
        "x86-sse2.n6-word-wraps",
        f"{_ISA}/x86_sse2.j2",
        "_mm_or_si128(_mm_and_si128(wrong_{{ n }}, end_{{ n }}), "
        "_mm_andnot_si128(wrong_{{ n }}, twice_{{ n }}))",
        "_mm_or_si128(_mm_and_si128(wrong_{{ n }}, twice_{{ n }}), "
        "_mm_andnot_si128(wrong_{{ n }}, twice_{{ n }}))",
        ("tests/test_kernels_x86.py::test_a_cell_that_runs_into_both_ends[sse2]",),
    ),
    Mutant(
        "x86-sse2.n5-segment-behind-the-last",
        f"{_ISA}/x86_support.j2",
        "_mm_set1_epi16({{ view.half_table - 1 }})",
        "_mm_set1_epi16({{ view.half_table }})",
        ("tests/test_kernels_x86.py::test_equal_on_uncommon_networks[extreme_weights-q15-sse2]",),
    ),
    Mutant(
        "x86-plain.columns-in-another-order",
        f"{_ISA}/x86_plain.j2",
        "((n / 2u) * 64u) + (n % 2u)",
        "((n / 2u) * 64u) + ((n + 1u) % 2u)",
        ("tests/test_kernels_x86.py::test_equal_at_any_size[w8a16-plain]",),
    ),
)

PACKING = (
    Mutant(
        "layout.start-of-halves",
        _LANES,
        "words = [i, f + (i << 16), g, o + (g << 16)]",
        "words = [i, f + (i << 16), g, o + (i << 16)]",
        _core("cortex-m0", "q15"),
    ),
    Mutant(
        "layout.bytes-without-offset",
        _LANES,
        "((f + byte) << 16) + ((g + byte) << 8) + o + byte]",
        "((f + byte) << 16) + ((g + byte) << 8) + o]",
        ("tests/test_kernels.py::test_unpacking_gives_the_weights_back[q7-cortex-m0-size]",),
    ),
    Mutant(
        "layout.last-unit-not-marked",
        "lstmgen/codegen/kernels/armv7em.py",
        "words[:-1, 3] |= _MORE",
        "words[:-2, 3] |= _MORE",
        ("tests/test_kernels_armv7em.py::test_equal_at_any_size_and_effort[shape3-q7-size]",),
    ),
    Mutant(
        "layout.order-of-widened-bytes",
        "lstmgen/codegen/layout/pairs.py",
        "fours[:] = fours[:, [0, 2, 1, 3]]",
        "fours[:] = fours[:, [0, 1, 2, 3]]",
        _core("cortex-m4"),
    ),
    Mutant(
        "layout.no-zero-behind-an-odd-column",
        "lstmgen/codegen/layout/pairs.py",
        "(0, columns % 2)],\n    )",
        "(0, columns % 2)],\n        mode=\"edge\",\n    )",
        _core("cortex-m4", "q15"),
    ),
    Mutant(
        "layout.row-pairs-beyond-their-bits",
        "lstmgen/codegen/kernels/armv7em.py",
        "if small and lane_a < 1 << 23:",
        "if small and lane_a < 1 << 30:",
        ("tests/test_kernels_armv7em.py::test_a_row_pair_needs_room_in_its_upper_lane",),
    ),
    Mutant(
        "layout.segments-beyond-their-limit",
        "lstmgen/codegen/kernels/segments.py",
        "            if total.max() > limit:",
        "            if total.max() > limit + 16:",
        ("tests/test_kernels_rv32imc.py::"
         "test_ends_keep_the_limit_in_any_order_and_ordered_has_every_column",),
    ),
    Mutant(
        "layout.fields-of-one-row-s-size",
        "lstmgen/codegen/layout/fields.py",
        "stream += bytes(begin + field.slot.row_bytes - len(stream))",
        "stream += bytes(field.slot.row_bytes % field.slot.size)",
        ("tests/test_layout.py::test_fields_of_several_sizes_are_inverted",),
    ),
    Mutant(
        "layout.edges-of-lines",
        "lstmgen/codegen/layout/tables.py",
        "edge = (np.arange(len(table)) + 1) // 2",
        "edge = np.arange(len(table)) // 2",
        ("tests/test_layout.py::test_lines_have_the_values_of_rule_n5",),
    ),
    Mutant(
        "layout.gates-side-by-side",
        "lstmgen/codegen/layout/portable.py",
        "return np.ascontiguousarray(np.moveaxis(gates, 0, -1))",
        "return np.ascontiguousarray(np.moveaxis(gates[::-1], 0, -1))",
        ("tests/test_layout.py::test_the_place_of_a_weight",),
    ),
    Mutant(
        "layout.width-one-too-narrow",
        "lstmgen/codegen/layout/portable.py",
        "if -(1 << (bits - 1)) <= lo and hi < 1 << (bits - 1):",
        "if -(1 << (bits - 1)) <= lo and hi <= 1 << (bits - 1):",
        ("tests/test_layout.py::test_weights_are_stored_as_narrow_as_they_are",),
    ),
    Mutant(
        "layout.dense-start-of-the-upper-row",
        _LANES,
        "start[1::2] = int32(start[1::2] + (start[0::2][: len(lower)] << 16))",
        "start[1::2] = int32(start[1::2])",
        ("tests/test_kernels.py::test_unpacking_gives_the_weights_back[q15-cortex-m0-speed]",),
    ),
)

KERNELS = (*CORTEX_M, *OTHERS, *PACKING)
