"""The worst stack by the call graph, against a painted one: never less, and little more."""

from pathlib import Path

import numpy as np
import pytest

from lstmgen.errors import ToolError
from lstmgen.network import Network
from lstmgen.quantizer import quantize
from lstmgen.toolchain.build import build_image, compile_all, object_of
from lstmgen.toolchain.count import RUN_STEPS, bench_input, measure
from lstmgen.toolchain.stack import CALL_GRAPH, CallGraph, assembly_frames, read_graph, worst_stack
from lstmgen.verification import model_files

from builders import NETWORKS, PRECISIONS, calibration, dense, lstm, nearest, quantized
from tools import usable
from variants import VARIANTS, inputs_of

CORES = ("cortex-m4", "cortex-m0", "riscv32", "cortex-m3", "cortex-m55")
EFFORTS = ("speed", "balanced", "size")
SLACK = 8
"""What is taken and not written: padding, and registers of a path that was not gone, in bytes."""

TESTED = ("one_unit", "odd_sizes", "extreme_weights", "gru", "projection", "wide", "large")


def network(name, precision):
    if name in NETWORKS:
        return quantized(name, precision)
    if name in VARIANTS:
        made = VARIANTS[name]()
        return quantize(made, precision, inputs_of(made), rounding="nearest")
    shape = {"wide": (9, 32), "large": (40, 180)}[name]
    made = Network.of(lstm(*shape, scale=0.05), dense(shape[1], 6, "softmax"))
    return nearest(made, precision, calibration(made, 2, 3), mid_shift=False)


def painted(q, files, target, optimize: str, folder: Path) -> int:
    """What the bench image measures, less what its own functions between take."""
    image = build_image(files, "bench", target, folder, optimize=optimize)
    inputs = np.random.default_rng(1).integers(*q.input_span, (RUN_STEPS + 2, q.inputs))
    measured = measure(image, bench_input(inputs, 1, q.x.storage_bits // 8), folder / "run")
    options = ("-std=gnu99", "-O2", CALL_GRAPH)
    harness = folder / "harness" / "bench.c"
    compile_all([harness], target, folder, options, [])
    frames = read_graph([object_of(harness, folder)], [], target).frames
    return measured.stack_bytes - max(frames["call_step"], frames["call_run"])


@pytest.mark.parametrize("name", TESTED)
@pytest.mark.parametrize("core", CORES)
def test_the_call_graph_bounds_what_is_painted(core, name, tmp_path):
    target = usable(core)
    turn = CORES.index(core) + TESTED.index(name)
    effort, optimize = EFFORTS[turn // 3 % 3], ("-O2", "-Os")[turn % 2]
    q = network(name, PRECISIONS[turn % 3])
    files = model_files(q, None, target, effort)
    computed = worst_stack(files, target, tmp_path / "graph", optimize=optimize)
    measured = painted(q, files, target, optimize, tmp_path / "image")
    print(f"{core}, {name}, {q.precision}, {effort}, {optimize}: {measured} <= {computed}")
    assert measured <= computed <= measured + SLACK


def test_frames_of_kernels_are_what_they_give_back():
    source = """
    .type   one, %function
one:
    push    {r4-r7, lr}
    movw    r12, #300
    sub     sp, sp, r12
    movw    r12, #300
    add     sp, sp, r12                 @ sp + 300
    pop     {r4-r7, pc}
    .type   two, @function
    addi    sp, sp, -64
    addi    sp, sp, 64
    ret
    .type   three, %function
    push    {r4, lr}
    beq     1f
    pop     {r4, pc}
1:
    ldr     r3, =1000
    add     sp, r3
    pop     {r4-r5, r7, pc}
    .type   four, %function
    vpush   {d8-d15}
    ldr     r4, =-516
    add     sp, r4
    movs    r4, #2
    lsls    r4, r4, #8
    adds    r4, #4
    add     sp, r4
    addw    sp, sp, #20
    vpop    {d8-d15}
    bx      lr
    """
    assert assembly_frames(source) == {"one": 320, "two": 64, "three": 1016, "four": 600}


def test_what_a_call_graph_cannot_tell_is_refused():
    graph = CallGraph({"a": 8, "b": 16}, {"a": frozenset("b"), "b": frozenset("a")})
    with pytest.raises(ToolError, match="a -> b -> a recurses; expected a call graph without"):
        graph.worst("a")
    graph = CallGraph({"a": 8}, {"a": frozenset({"printf"})})
    with pytest.raises(ToolError, match="a -> printf: the frame of printf is not known"):
        graph.worst("a")
    assert CallGraph({"a": 8, "b": 16}, {"a": frozenset("b"), "b": frozenset()}).worst("a") == 24
    last = frozenset({("a", "b")})
    graph = CallGraph({"a": 8, "b": 16}, {"a": frozenset("b"), "b": frozenset()}, last)
    assert graph.worst("a") == 16
