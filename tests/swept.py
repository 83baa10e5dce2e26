"""The C of a network on a target, given operands, and the first of them that it gets wrong."""

from pathlib import Path

import numpy as np

from lstmgen.codegen import Effort
from lstmgen.emulator import Emulator
from lstmgen.qformat import IntArray
from lstmgen.quantized import QuantizedNetwork
from lstmgen.target import Target
from lstmgen.toolchain.build import Sources, build_image
from lstmgen.toolchain.execute import run_image
from lstmgen.verification import model_files

from operands import Sweep


class Swept:
    """A network with one recurrent layer, built once and ready to be given operands."""

    def __init__(
        self,
        q: QuantizedNetwork,
        target: Target,
        folder: Path,
        effort: Effort = "speed",
        files: Sources | None = None,
    ) -> None:
        """files: C to take instead of what is generated."""
        self.q, self.effort = q, effort
        (self.layer,) = q.recurrent
        self.files = model_files(q, None, target, effort) if files is None else files
        room = target.run.input_bytes
        defines = {} if room is None else {"HARNESS_INPUT_BYTES": room}
        self.image = build_image(self.files, "sweep", target, folder, defines=defines)
        h_bytes = self.layer.h.storage_bits // 8
        # As the header documents it: cell words, then h, then padding to whole words.
        k, width = self.layer.units, self.layer.width
        padding = -(4 * k + h_bytes * width) % 4
        state = np.dtype(
            [("c", "<i4", (k,)), ("h", f"<i{h_bytes}", (width,)), ("padding", "u1", (padding,))]
        )
        x_type, y_type = (f"<i{part.storage_bits // 8}" for part in (q.x, q.y))
        self.given = np.dtype([("state", state), ("x", x_type, (q.inputs,))])
        self.made = np.dtype([("state", state), ("y", y_type, (q.width,))])
        self.most = None if room is None else (room - 4) // self.given.itemsize
        self.emulator = Emulator(q)

    @property
    def has_kernel(self) -> bool:
        """Whether the recurrent layer has one; where not it is portable C."""
        return f"_{self.layer.name}_stream" in self.files["model_weights.h"]

    def count(self, sweep: Sweep) -> int:
        """Compare all operands, or those for which the image has room; return how many.

        Raises AssertionError with the first that differs.
        """
        if self.most is not None:
            sweep = sweep.thinned(self.most)
        difference = self.difference(sweep)
        assert difference is None, difference
        return sweep.operands

    def difference(self, sweep: Sweep) -> str | None:
        """Run the operands in C and in Python; say which is the first to differ, if one does."""
        expected = self._emulated(sweep)
        got = self._executed(sweep)
        wrong = np.flatnonzero((got != expected).any(axis=1))
        if not len(wrong):
            return None
        row = int(wrong[0])
        at = int(np.flatnonzero(got[row] != expected[row])[0])
        ends = np.cumsum([self.layer.units, self.layer.width, self.q.width])
        part = int(np.searchsorted(ends, at, side="right"))
        index = at - (0 if part == 0 else ends[part - 1])
        operand = f"x {sweep.x[row].tolist()}, h {sweep.h[row].tolist()}, C {sweep.c[row].tolist()}"
        return (
            f"{self.image.target.name}, {self.q.precision}, {self.effort}, {sweep.what}: "
            f"{len(wrong)} of {len(got)} steps differ, first that from {operand}: "
            f"{'Chy'[part]}[{index}] is {got[row, at]}, expected {expected[row, at]}"
        )

    def _emulated(self, sweep: Sweep) -> IntArray:
        """Return (N, k + p + m): C, h, y after the step."""
        self.emulator.reset(len(sweep.x))
        (state,) = self.emulator.state
        state.h[:], state.c[:] = sweep.h, sweep.c
        y = self.emulator.step(sweep.x)
        (state,) = self.emulator.state
        return np.concatenate([state.c, state.h, y], 1)

    def _executed(self, sweep: Sweep) -> IntArray:
        """Return the same of the C."""
        given = np.zeros(len(sweep.x), self.given)
        given["state"]["c"], given["state"]["h"], given["x"] = sweep.c, sweep.h, sweep.x
        data = np.array([len(given)], "<u4").tobytes() + given.tobytes()
        output = run_image(self.image, data, self.image.folder / "run")
        assert len(output) == len(given) * self.made.itemsize
        found = np.frombuffer(output, self.made)
        parts = (found["state"]["c"], found["state"]["h"], found["y"])
        return np.concatenate([part.astype(np.int64) for part in parts], 1)
