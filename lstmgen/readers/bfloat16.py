"""bfloat16, the upper half of a float32, which numpy does not have."""

import numpy as np
from numpy.typing import NDArray


def widened(halves: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the float32 values whose upper 16 bits these are.

    >>> widened(np.array([0x3F80, 0xC000], np.uint16)).tolist()
    [1.0, -2.0]
    """
    return (halves.astype(np.uint32) << 16).view(np.float32)
