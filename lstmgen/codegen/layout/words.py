"""Integers in 32-bit words."""

from ...qformat import IntArray


def int32(value: IntArray) -> IntArray:
    """Return the value modulo 2**32 as a signed number."""
    return ((value & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000


def halves(words: IntArray) -> tuple[IntArray, IntArray]:
    """Return the low and the high half of each word, as signed numbers."""
    return ((words & 0xFFFF) ^ 0x8000) - 0x8000, words >> 16


def round_up(count: int, multiple: int) -> int:
    """Return the least multiple that is not below `count`."""
    return -(-count // multiple) * multiple
