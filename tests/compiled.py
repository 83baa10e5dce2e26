"""Generated C as a library in this process, for tests that call single functions."""

import ctypes
import re
import subprocess
from pathlib import Path

import numpy as np

from lstmgen.codegen import Effort, generate
from lstmgen.qformat import IntArray
from lstmgen.quantized import QuantizedNetwork
from lstmgen.selftest import make_selftest
from lstmgen.target import Target, load_target
from lstmgen.toolchain.size import footprint
from lstmgen.verification import model_files

from tools import need_program

C_WARNINGS = [
    *("-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wsign-conversion", "-Wcast-qual"),
    *("-Wcast-align", "-Wshadow", "-Wundef", "-Wdouble-promotion", "-Werror"),
]
"""What the generated C has to pass, beside the warnings that only C has."""

LANGUAGES = {
    "gcc": ["-std=c99", "-Wstrict-prototypes", "-Wmissing-prototypes"],
    "clang": ["-std=c99", "-Wstrict-prototypes", "-Wmissing-prototypes"],
    "g++": ["-x", "c++", "-std=c++17"],
    "clang++": ["-x", "c++", "-std=c++17"],
}

_INTEGERS = {8: np.int8, 16: np.int16, 32: np.int32}


def sources(
    q: QuantizedNetwork, name: str = "model", target: str = "host", effort: Effort = "speed"
) -> dict[str, str]:
    made = make_selftest(q)
    return generate(q, name=name, target=load_target(target), selftest=made, effort=effort)


def write(files: dict[str, str], folder: Path) -> list[str]:
    """Write the files and return the paths of those in C."""
    folder.mkdir(exist_ok=True)
    for file, text in files.items():
        (folder / file).write_text(text, encoding="utf-8")
    return sorted(str(path) for path in folder.glob("*.c"))


def compile_c(compiler: str, arguments: list[str]) -> None:
    need_program(compiler)
    done = subprocess.run([compiler, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{compiler} {' '.join(arguments)}\n{done.stderr}"


def flash_bytes(
    q: QuantizedNetwork, target: Target, effort: Effort, optimize: str, folder: Path
) -> int:
    """Return the flash that `bench` reports, without running anything; `folder` is a new one."""
    size = footprint(model_files(q, None, target, effort), target, folder, optimize=optimize)
    return size.code_bytes + size.table_bytes + size.weights_bytes


class Library:
    """One instance of a model compiled by the host's gcc."""

    def __init__(
        self, q: QuantizedNetwork, folder: Path, *, name: str = "model", extra: str = ""
    ) -> None:
        self.q, self.name = q, name
        files = sources(q, name)
        if extra:
            files["extra.c"] = extra
        library = folder / "model.so"
        built = write(files, folder)
        compile_c("gcc", ["-O2", "-shared", "-fPIC", "-o", str(library), *built])
        self.functions = ctypes.CDLL(str(library))
        size = re.search(r"_STATE_BYTES (\d+)u", files[f"{name}.h"])
        assert size
        self.memory = np.full(int(size[1]), 0xA5, np.uint8)
        self.call("reset", self.memory)

    def call(self, function: str, *arguments: np.ndarray | int) -> int:
        values = [a if isinstance(a, int) else ctypes.c_void_p(a.ctypes.data) for a in arguments]
        return int(getattr(self.functions, f"{self.name}_{function}")(*values))

    def step(self, x: IntArray) -> IntArray:
        y = np.zeros(self.q.width, _INTEGERS[self.q.y.storage_bits])
        self.call("step", self.memory, self._inputs(x), y)
        return y.astype(np.int64)

    def run(self, x: IntArray) -> IntArray:
        sequence = self.q.outputs == "sequence"
        shape = (len(x), self.q.width) if sequence else (self.q.width,)
        y = np.full(shape, -77, _INTEGERS[self.q.y.storage_bits])
        self.call("run", self.memory, self._inputs(x), len(x), y)
        return y.astype(np.int64)

    def state(self) -> list[tuple[IntArray, IntArray]]:
        """Return (h, C) of each LSTM, read from memory by the documented layout."""
        at, cells, hidden = 0, [], []
        for layer in self.q.lstms:
            cells.append(self.memory[at : at + 4 * layer.units].view(np.int32))
            at += 4 * layer.units
        for layer in self.q.lstms:
            size = layer.units * layer.h.storage_bits // 8
            hidden.append(self.memory[at : at + size].view(_INTEGERS[layer.h.storage_bits]))
            at += size
        return [
            (h.astype(np.int64), cell.astype(np.int64))
            for h, cell in zip(hidden, cells, strict=True)
        ]

    def _inputs(self, x: IntArray) -> np.ndarray:
        return np.ascontiguousarray(x, _INTEGERS[self.q.x.storage_bits])
