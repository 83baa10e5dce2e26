"""Count what a step executes by the times that the bench image took."""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ToolError
from .build import Image
from .execute import RUN_TIMEOUT, instructions_per_tick, run_image

LOOP_ROUNDS = (1_000, 101_000, 1_001_000)
"""Rounds of the loops by which the image's counter is checked; harness/bench.c has them."""

RUN_STEPS = 2
"""Steps of the `run` whose stack is measured; harness/bench.c has it."""

_MEASURE, _STEP_FROM_RESET, _STEP_FROM_STATE = range(3)
"""What the image can be asked for, by the first word of its input."""


@dataclass(frozen=True)
class Measurement:
    """What an image measured of itself: worst stack in bytes, and each step's count.

    counts: executed instructions (AVR: cycles) from the first of the step function to its
    return; empty where the machine cannot count.
    """

    stack_bytes: int
    counts: tuple[int, ...]


def bench_input(x: np.ndarray, warm: int, input_bytes: int) -> bytes:
    """Return the bench image's input: `x` (steps, n) raw, of which RUN_STEPS are for the
    stack, then `warm` to warm up, and the rest to be counted."""
    steps = len(x) - RUN_STEPS - warm
    return struct.pack("<III", _MEASURE, warm, steps) + _raw(x, input_bytes)


def steps_input(x: np.ndarray, input_bytes: int, state: bytes | None = None) -> bytes:
    """Return the input for taking the steps `x` (steps, n), from the reset or from `state`.

    The image's output is the state behind them, as such a `state`.
    """
    start = _STEP_FROM_RESET if state is None else _STEP_FROM_STATE
    steps = struct.pack("<I", len(x))
    return struct.pack("<I", start) + (state or b"") + steps + _raw(x, input_bytes)


def _raw(x: np.ndarray, input_bytes: int) -> bytes:
    return x.astype(f"<i{input_bytes}").tobytes()


def measure(
    image: Image, data: bytes, folder: Path, *, timeout: float = RUN_TIMEOUT
) -> Measurement:
    """Run a bench image and return what it measured.

    Raises ToolError where the counter fails its check against loops of known length.
    """
    output = run_image(image, data, folder, timeout=timeout, counted=True)
    words = np.frombuffer(output, "<u4").astype(np.int64)
    stack, (nothing_cost, round_cost) = int(words[:3].max()), words[3:5]
    if image.target.run.runner == "native":
        return Measurement(stack, ())
    low, high, wraps = words[5:].reshape(-1, 3).T
    times = np.rint((low + (high << 32)) * instructions_per_tick(image.target)).astype(np.int64)
    wrap_cost = _wrap_cost(times[:3], wraps[:3], int(round_cost), image)
    counts = times - wraps * wrap_cost
    return Measurement(stack, tuple(int(c) for c in counts[4:] - counts[3] + nothing_cost))


def _wrap_cost(times: np.ndarray, wraps: np.ndarray, round_cost: int, image: Image) -> int:
    """Return what serving one overflow of the counter costs, and check the counter by it."""
    excess = np.diff(times) - np.diff(LOOP_ROUNDS) * round_cost
    served = np.diff(wraps)
    cost = int(excess[1] // served[1]) if served[1] else 0
    if np.any(excess != served * cost):
        raise ToolError(
            f"the counter of {image.target.name} is wrong: loops of {LOOP_ROUNDS} rounds of "
            f"{round_cost} took {times.tolist()} with {wraps.tolist()} overflows; "
            "check run.clock_hz of the target"
        )
    return cost
