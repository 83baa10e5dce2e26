"""How weights lie in memory: one module for each kind of kernel, all packing and unpacking here.

A kernel reads its layer's integers as a stream, from front to back. Each layout can be undone:
`unpack...` gives the matrices back, and tests do so for every layout.
"""

from .portable import deinterleave, interleave, storage_bits

__all__ = ["deinterleave", "interleave", "storage_bits"]
