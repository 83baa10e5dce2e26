"""What the generated C asks of whoever links it: memcpy, memset, for softmax a division, no RAM."""

import subprocess
from pathlib import Path

import pytest

from lstmgen.quantized import QuantizedNetwork
from lstmgen.quantized_layers import QuantizedDense, QuantizedEmbedding
from lstmgen.quantizer import quantize
from lstmgen.target import Target
from lstmgen.toolchain.build import compile_all, model_flags, write_model
from lstmgen.toolchain.elf import read_elf
from lstmgen.toolchain.tools import tool_beside

from builders import NETWORKS, PRECISIONS, quantized
from compiled import sources
from tools import usable
from variants import VARIANTS, inputs_of

CORES = ("cortex-m0", "cortex-m4", "riscv32")
OPTIMIZE = ("-Os", "-O2")
WRITABLE = (".data", ".bss", ".sdata", ".sbss", ".tdata", ".tbss")
COPYING = {"memcpy", "memset"}
DIVISIONS = {"__aeabi_uidiv", "__aeabi_uidivmod"}
"""Cortex-M0 has no instruction for it. gcc names the signed one beside it and calls it nowhere."""

TESTED = (
    *("stacked_argmax", "sequence", "extreme_weights", "odd_sizes", "huge_sums", "one_class"),
    *("gru", "peephole", "embedding"),
)


def network(name: str, precision) -> QuantizedNetwork:
    if name in NETWORKS:
        return quantized(name, precision)
    made = VARIANTS[name]()
    return quantize(made, precision, inputs_of(made), rounding="nearest")


def divides(q: QuantizedNetwork) -> bool:
    """A softmax does, and the self-test of an embedding, whose row numbers are remainders."""
    return any(
        isinstance(layer, QuantizedEmbedding)
        or (isinstance(layer, QuantizedDense) and layer.activation == "softmax")
        for layer in q.layers
    )


def compiled(q: QuantizedNetwork, target: Target, optimize: str, folder: Path) -> list[Path]:
    folder.mkdir()
    files = write_model(sources(q, target=target.name), folder)
    return compile_all(files, target, folder, model_flags(target, optimize), [])


def called(objects: list[Path], target: Target) -> set[str]:
    """What relocations refer to that none of the objects defines."""
    objdump = tool_beside(target, "objdump")
    lines = [
        line.split()
        for path in objects
        for line in subprocess.run(
            [objdump, "-r", path], capture_output=True, text=True, check=True
        ).stdout.splitlines()
    ]
    names = {line[2].split("+")[0].split("-")[0] for line in lines if len(line) == 3}
    defined = {name for path in objects for name in read_elf(path).symbols}
    return {n for n in names - defined if not n.startswith((".", "*", "VALUE"))}


def undefined(objects: list[Path], target: Target) -> set[str]:
    nm = tool_beside(target, "nm")
    done = subprocess.run([nm, "-u", *objects], capture_output=True, text=True, check=True)
    names = {line.split()[-1] for line in done.stdout.splitlines() if line.startswith(" ")}
    return names - {name for path in objects for name in read_elf(path).symbols}


@pytest.mark.parametrize("optimize", OPTIMIZE)
@pytest.mark.parametrize("core", CORES)
def test_what_is_left_to_link(core: str, optimize: str, tmp_path: Path) -> None:
    target = usable(core)
    for at, name in enumerate(TESTED):
        q = network(name, PRECISIONS[(at + CORES.index(core)) % 3])
        objects = compiled(q, target, optimize, tmp_path / name)
        names = undefined(objects, target)
        known = COPYING | (DIVISIONS if core == "cortex-m0" and divides(q) else set())
        assert called(objects, target) <= known, name
        unsigned_of = {n.replace("_idiv", "_uidiv") for n in names}
        assert unsigned_of <= known, name
        for path in objects:
            held = {s.name: s.size for s in read_elf(path).sections if s.name.startswith(WRITABLE)}
            assert not any(held.values()), (name, path.name, held)
            commons = subprocess.run(
                [tool_beside(target, "nm"), "-P", path], capture_output=True, text=True, check=True
            ).stdout
            assert not [line for line in commons.splitlines() if line.split()[1] in "BbCDdGgSs"]


@pytest.mark.parametrize("core", ["cortex-m0", "riscv32"])
def test_wide_arithmetic_would_be_found(core: str, tmp_path: Path) -> None:
    """A product of 64 bits and a counter, as a careless change could bring them."""
    target = usable(core)
    source = tmp_path / "careless.c"
    source.write_text(
        "static long long sum;\n"
        "long long add(long long a, long long b) { sum += a / b; return sum; }\n",
        encoding="utf-8",
    )
    objects = compile_all([source], target, tmp_path, model_flags(target, "-O2"), [])
    assert called(objects, target) & {"__aeabi_ldivmod", "__divdi3"}
    assert undefined(objects, target) & {"__aeabi_ldivmod", "__divdi3"}
    assert any(s.size for s in read_elf(objects[0]).sections if s.name.startswith(WRITABLE))
