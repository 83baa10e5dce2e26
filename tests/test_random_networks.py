"""Random networks: emulator and C agree on every core, whatever comes.

LSTMGEN_RANDOM_NETWORKS sets how many a core gets; a failure names the seed that repeats it.
"""

import os

import numpy as np
import pytest
from test_kernels import ALIKE, CORES

from lstmgen.emulator import Emulator
from lstmgen.verification import verify

from random_networks import random_case
from tools import usable

COUNT = int(os.environ.get("LSTMGEN_RANDOM_NETWORKS", "6"))


@pytest.mark.parametrize("core", [*CORES, *ALIKE, "riscv64"])
def test_the_c_computes_what_the_emulator_does(core):
    target = usable(core)
    # Other seeds for each core: more networks are seen by some core.
    first = sum(core.encode()) * 1000
    for seed in range(first, first + COUNT):
        case = random_case(seed)
        result = verify(
            case.q, None, target, case.x, effort=case.effort, optimize=case.level
        )
        assert result.equal, f"random_case({seed}): {result.message}"


def test_the_fast_emulator_computes_what_the_literal_one_does():
    for seed in range(20 * COUNT):
        case = random_case(seed)
        fast, literal = (Emulator(case.q, way, batch=len(case.x)) for way in (False, True))
        traces = fast.trace(case.x), literal.trace(case.x)
        for layer in case.q.layers:
            np.testing.assert_array_equal(
                traces[0][layer.name], traces[1][layer.name], f"random_case({seed})"
            )
        for one, other in zip(fast.state, literal.state, strict=True):
            np.testing.assert_array_equal(one.c, other.c, f"random_case({seed})")
